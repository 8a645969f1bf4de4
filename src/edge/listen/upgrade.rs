//! Connections that stop speaking HTTP: what goes on with them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

/// A socket of any kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// What is left of a connection once HTTP is over on it: the socket, and what was read already.
pub(crate) struct Rest {
    pub(crate) socket: Box<dyn Socket>,
    pub(crate) read: Bytes,
}

type Onward = Box<dyn FnOnce(Rest) -> BoxFuture<'static, ()> + Send>;

/// How a connection goes on after its last answer, in whose extensions this travels. It goes on
/// in its own place at the door, and ends with the door.
#[derive(Clone)]
pub(crate) struct Upgrade(Arc<Mutex<Option<Onward>>>);

impl Upgrade {
    /// A connection that goes on like this.
    pub(crate) fn new(
        onward: impl FnOnce(Rest) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(onward)))))
    }

    /// What to do with the rest of the connection.
    pub(super) fn onward(self) -> Option<Onward> {
        self.0.lock().take()
    }
}
