//! How to speak to one instance: over HTTP or to a child process, in today's revision or an older
//! one. Whoever asks here speaks today's dialect and need not know which it is.
//!
//! Everything has a limit: time, size, how much at once. What a server does wrong becomes an
//! [`Error`] for those who asked it, and for nobody else.

mod backoff;
mod child;
mod dialogue;
mod error;
mod handshake;
mod heard;
mod http;
mod peer;
mod pool;
mod settings;
mod stderr;
mod stdio;
#[cfg(test)]
mod tests;
mod warden;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{select, time::Instant};
use tokio_util::sync::CancellationToken;

use self::pool::Pool;
pub use self::warden::warden;
pub(crate) use self::{
    child::Environment,
    error::{Error, Exit},
    http::may_be_shown,
    peer::{Capabilities, Peer},
    settings::Settings,
    stdio::ChildView,
};
use crate::{
    domain::{Clock, Endpoint, Instance, InstanceId},
    wire::{Address, Answer, Request},
};

/// How often processes are looked at that nobody may need any more.
const ROUND: Duration = Duration::from_secs(5);

/// Speaks to instances of servers.
#[derive(Debug, Clone)]
pub(crate) struct Upstream(Arc<Pool>);

impl Upstream {
    /// Prepares to speak. `warden` is the gateway's own binary, run around each child process so
    /// that none outlives the gateway; without it children are started directly. `folder` is
    /// where children start that are told nothing else.
    pub(crate) fn new(
        settings: Settings,
        warden: Option<PathBuf>,
        folder: PathBuf,
        environment: Environment,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Pool::new(settings, warden, folder, environment, clock).map(|pool| Self(Arc::new(pool)))
    }

    /// Asks one instance. What the instance is, is asked with [`Self::describe`].
    pub(crate) async fn ask(
        &self,
        instance: &Instance,
        request: &Request,
        address: Address<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        self.0.connection(instance)?.ask(request, address, deadline).await
    }

    /// What the instance says of itself: asked once and remembered.
    pub(crate) async fn describe(
        &self,
        instance: &Instance,
        deadline: Instant,
    ) -> Result<Arc<Peer>, Error> {
        self.0.connection(instance)?.describe(deadline).await
    }

    /// What the instance said of itself, if it was asked.
    pub(crate) fn peer(&self, instance: &InstanceId) -> Option<Arc<Peer>> {
        self.0.known(instance)?.peer()
    }

    /// Whether the instance is a process that does not run: not started yet, stopped, or crashed.
    /// A call wakes it; what can wait should not.
    pub(crate) fn is_asleep(&self, instance: &Instance) -> bool {
        match self.0.known(&instance.id) {
            Some(connection) => connection.is_asleep(),
            None => matches!(instance.endpoint, Endpoint::Stdio { .. }),
        }
    }

    /// What is known of the instance's process, where it is one.
    pub(crate) fn child(&self, instance: &InstanceId) -> Option<ChildView> {
        self.0.known(instance)?.child()
    }

    /// Ends the connection to an instance that is gone for good: its process, its session, and what
    /// was known of it. Calls still on their way to it fail.
    pub(crate) async fn retire(&self, instance: &InstanceId) {
        self.0.retire(instance).await;
    }

    /// Stops processes that nobody calls, until it is stopped itself.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(ROUND);
        loop {
            select! {
                _ = rounds.tick() => self.0.sleep_if_idle(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Ends all connections. When it returns, no process it started is left.
    pub(crate) async fn close(&self) {
        self.0.close().await;
    }
}
