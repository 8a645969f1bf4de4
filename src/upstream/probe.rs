//! Which of the transports over HTTP a server speaks: found by asking, and remembered for as long
//! as it holds.
//!
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#backwards-compatibility>

use std::sync::Arc;

use futures_util::future::join;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{
    Error, Peer,
    error::{Limit, Oddity},
    http::Http,
    link::Link,
    party::{Ask, Guest},
};
use crate::{domain::Transport, wire::Answer};

/// An instance at a URL that is asked which transport it speaks.
#[derive(Debug)]
pub(super) struct Probed {
    streamable: Arc<Http>,
    sse: Arc<Link>,
    found: Mutex<Option<Found>>,
    /// Held by whoever probes, so that only one does.
    probing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Streamable,
    Sse,
}

impl Probed {
    pub(super) fn tasks(&self) -> &TaskTracker {
        self.streamable.tasks()
    }

    pub(super) fn new(streamable: Http, sse: Link) -> Self {
        Self {
            streamable: Arc::new(streamable),
            sse: Arc::new(sse),
            found: Mutex::default(),
            probing: tokio::sync::Mutex::default(),
        }
    }

    /// Another conversation with the same server, for one client alone.
    pub(super) fn for_one(&self, guest: Guest) -> Self {
        let streamable = self.streamable.for_one(guest.clone());
        let one = Self::new(streamable, self.sse.for_one(guest));
        *one.found.lock() = *self.found.lock();
        one
    }

    /// Puts a question and waits for its answer.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        let found = self.found(ask.deadline).await?;
        match self.ask_over(found, ask).await {
            Err(error) if speaks_otherwise(&error) => {
                self.forget(found);
                if error.was_delivered() {
                    return Err(error);
                }
                let found = self.found(ask.deadline).await?;
                Box::pin(self.ask_over(found, ask)).await
            }
            outcome => outcome,
        }
    }

    async fn ask_over(&self, found: Found, ask: Ask<'_>) -> Result<Answer, Error> {
        match found {
            Found::Streamable => self.streamable.ask(ask).await,
            Found::Sse => self.sse.ask(ask).await,
        }
    }

    /// What the server says of itself.
    pub(super) async fn describe(&self, deadline: Instant) -> Result<Arc<Peer>, Error> {
        let found = self.found(deadline).await?;
        let outcome = self.describe_over(found, deadline).await;
        if !outcome.as_ref().is_err_and(speaks_otherwise) {
            return outcome;
        }
        self.forget(found);
        let found = self.found(deadline).await?;
        self.describe_over(found, deadline).await
    }

    async fn describe_over(&self, found: Found, deadline: Instant) -> Result<Arc<Peer>, Error> {
        match found {
            Found::Streamable => self.streamable.describe(deadline).await,
            Found::Sse => self.sse.describe(deadline).await,
        }
    }

    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        match (*self.found.lock())? {
            Found::Streamable => self.streamable.peer(),
            Found::Sse => self.sse.peer(),
        }
    }

    /// What it was found to speak.
    pub(super) fn transport(&self) -> Transport {
        match *self.found.lock() {
            Some(Found::Streamable) => Transport::StreamableHttp,
            Some(Found::Sse) => Transport::Sse,
            None => Transport::Auto,
        }
    }

    /// Returns when what the server tells on its own may have come to an end.
    pub(super) async fn stand(&self, deadline: Instant) {
        match self.found(deadline).await {
            Ok(Found::Sse) => self.sse.stand(deadline).await,
            Ok(Found::Streamable) => std::future::pending().await,
            Err(_) => {}
        }
    }

    /// Refuses what was asked when nobody called, and nobody called since.
    pub(super) fn purge(&self) {
        self.streamable.purge();
        self.sse.purge();
    }

    pub(super) async fn close(&self) {
        join(self.streamable.close(), self.sse.close()).await;
    }

    async fn found(&self, deadline: Instant) -> Result<Found, Error> {
        let known = *self.found.lock();
        match known {
            Some(found) => Ok(found),
            None => Box::pin(self.find_out(deadline)).await,
        }
    }

    async fn find_out(&self, deadline: Instant) -> Result<Found, Error> {
        let limit = Limit::until(deadline);
        let probing = timeout_at(deadline, self.probing.lock()).await;
        let _probing = probing.map_err(|_| Error::TooSlow { limit, was_delivered: false })?;
        if let Some(found) = *self.found.lock() {
            return Ok(found);
        }
        let found = self.probe(deadline).await?;
        *self.found.lock() = Some(found);
        Ok(found)
    }

    async fn probe(&self, deadline: Instant) -> Result<Found, Error> {
        let refused = match self.streamable.describe(deadline).await {
            Ok(_) => return Ok(Found::Streamable),
            Err(error) if is_refusal(&error) => error,
            Err(error) => return Err(error),
        };
        match self.sse.describe(deadline).await {
            Ok(_) => {
                debug!("a server speaks HTTP+SSE");
                Ok(Found::Sse)
            }
            // Neither is spoken there, and the newer one is what people mean.
            Err(error) if speaks_otherwise(&error) => Err(refused),
            Err(error) => Err(error),
        }
    }

    fn forget(&self, found: Found) {
        // Another may have found something else already.
        let mut known = self.found.lock();
        if *known == Some(found) {
            *known = None;
        }
    }
}

/// Whether a POST was refused as by those who know only an older transport.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Unopened(error) => is_refusal(error),
        Error::Refused { status } => {
            let older =
                [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            older.contains(status)
        }
        _ => false,
    }
}

/// Whether a failure says that this transport is not spoken there.
fn speaks_otherwise(error: &Error) -> bool {
    match error {
        Error::Unopened(error) => speaks_otherwise(error),
        Error::NotMcp { source } => matches!(source, Oddity::ContentType(_) | Oddity::NoAnswer),
        error => is_refusal(error),
    }
}
