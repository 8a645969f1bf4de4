//! How an instance is reached: which of the transports, behind one face.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{
    Error, Peer,
    http::Http,
    link::Link,
    party::{Ask, Guest},
    plain::Plain,
    probe::Probed,
    stdio::Stdio,
};
use crate::wire::Answer;

/// How an instance is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// At a URL where what is spoken there is found out.
    Probed(Arc<Probed>),
    Http(Arc<Http>),
    Link(Arc<Link>),
    Stdio(Arc<Stdio>),
    /// At a URL where no MCP is spoken.
    Plain(Arc<Plain>),
}

impl Way {
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        match self {
            Self::Probed(probed) => probed.ask(ask).await,
            Self::Http(http) => http.ask(ask).await,
            Self::Link(link) => link.ask(ask).await,
            Self::Stdio(stdio) => stdio.ask(ask).await,
            Self::Plain(_) => Err(Error::NoMcp),
        }
    }

    pub(super) async fn describe(&self, deadline: Instant) -> Result<Arc<Peer>, Error> {
        match self {
            Self::Probed(probed) => probed.describe(deadline).await,
            Self::Http(http) => http.describe(deadline).await,
            Self::Link(link) => link.describe(deadline).await,
            Self::Stdio(stdio) => stdio.describe(deadline).await,
            Self::Plain(_) => Err(Error::NoMcp),
        }
    }

    /// Another conversation with the same instance, for one client alone.
    pub(super) fn for_one(&self, guest: Guest) -> Self {
        match self {
            Self::Probed(probed) => Self::Probed(Arc::new(probed.for_one(guest))),
            Self::Http(http) => Self::Http(Arc::new(http.for_one(guest))),
            Self::Link(link) => Self::Link(Arc::new(link.for_one(guest))),
            Self::Stdio(stdio) => Self::Stdio(Arc::new(stdio.for_one(guest))),
            Self::Plain(plain) => Self::Plain(plain.clone()),
        }
    }

    /// Keeps open what the instance tells on its own, and returns when that has come to an end
    /// and with it all that was subscribed to. Not everywhere is that known.
    pub(super) async fn stand(&self, deadline: Instant) {
        match self {
            Self::Probed(probed) => probed.stand(deadline).await,
            Self::Link(link) => link.stand(deadline).await,
            Self::Http(_) | Self::Stdio(_) | Self::Plain(_) => std::future::pending().await,
        }
    }

    /// Where what it begins beside its calls runs.
    pub(super) fn tasks(&self) -> &TaskTracker {
        match self {
            Self::Probed(probed) => probed.tasks(),
            Self::Http(http) => http.tasks(),
            Self::Link(link) => link.tasks(),
            Self::Stdio(stdio) => stdio.tasks(),
            Self::Plain(plain) => &plain.ground.tasks,
        }
    }

    /// Whether nothing is known of the instance that could not be found out anew: it is at a URL,
    /// and no conversation with it is open.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Probed(probed) => probed.peer().is_none(),
            Self::Http(http) => http.peer().is_none(),
            Self::Link(_) | Self::Stdio(_) | Self::Plain(_) => false,
        }
    }

    /// Gives up what nobody needs any more.
    pub(super) fn rest(&self) {
        match self {
            Self::Probed(probed) => probed.purge(),
            Self::Http(http) => http.purge(),
            Self::Link(link) => link.purge(),
            Self::Stdio(stdio) => stdio.sleep_if_idle(),
            Self::Plain(_) => {}
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Probed(probed) => probed.close().await,
            Self::Http(http) => http.close().await,
            Self::Link(link) => link.close().await,
            Self::Stdio(stdio) => stdio.close().await,
            Self::Plain(_) => {}
        }
    }
}
