//! How to speak to one instance: at a URL or to a child process, in today's revision or an older
//! one. Whoever asks here speaks today's dialect and need not know which it is.
//!
//! Everything has a limit: time, size, how much at once. What a server does wrong becomes an
//! [`Error`] for those who asked it, and for nobody else.

mod backoff;
mod callers;
mod child;
mod dialogue;
mod document;
mod error;
mod execute;
mod handshake;
mod heard;
mod http;
mod lines;
mod link;
pub(crate) mod oauth;
mod own;
mod party;
mod peer;
mod plain;
mod pool;
mod probe;
mod settings;
mod stderr;
mod stdio;
mod task;
#[cfg(test)]
mod tests;
mod view;
mod warden;
mod watch;
mod way;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{select, sync::broadcast, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::warden::warden;
pub(crate) use self::{
    callers::{Ear, MidCall, News, Question},
    child::Environment,
    document::Document,
    error::{Error, Exit},
    execute::Run,
    http::{Papers, UnusablePapers, may_be_shown},
    party::{Ask, Party},
    peer::{Capabilities, Peer},
    plain::Parcel,
    settings::Settings,
    stdio::ChildView,
    task::with_tasks,
    view::ConversationView,
    watch::{ByOwner, Wanted},
};
use self::{oauth::Account, pool::Pool};
use crate::{
    domain::{Clock, Endpoint, Instance, InstanceId, ServerAuth, Transport},
    wire::Answer,
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
    pub(crate) async fn ask(&self, instance: &Instance, ask: Ask<'_>) -> Result<Answer, Error> {
        self.0.connection(instance, ask.account)?.ask(ask).await
    }

    /// The longest answer that is read whole, in bytes.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.0.settings().answer_bytes
    }

    /// Ends what was spoken with an account that is not there any more.
    pub(crate) fn forget(&self, account: &Account) {
        self.0.forget(account);
    }

    /// Ends the conversations that servers had with a client that is gone.
    pub(crate) fn leave(&self, owner: &str) {
        self.0.leave(owner);
    }

    /// Tells what servers say that is not about a call: that their lists or resources changed.
    pub(crate) fn news(&self) -> broadcast::Receiver<News> {
        self.0.news()
    }

    /// What the instance says of itself: asked once and remembered.
    pub(crate) async fn describe(
        &self,
        instance: &Instance,
        account: Option<&Account>,
        deadline: Instant,
    ) -> Result<Arc<Peer>, Error> {
        self.0.connection(instance, account)?.describe(deadline).await
    }

    /// What the instance said of itself, if it was asked.
    pub(crate) fn peer(&self, instance: &InstanceId) -> Option<Arc<Peer>> {
        self.0.known(instance)?.peer()
    }

    /// The name of the transport to the instance: the one that was found, where one was.
    pub(crate) fn transport(&self, instance: &Instance) -> &'static str {
        let found = self.0.known(&instance.id).and_then(|connection| connection.transport());
        found.map_or(instance.endpoint.transport(), Transport::as_str)
    }

    /// Has the instance tell of what is wanted, and of nothing else.
    pub(crate) fn watch(&self, instance: &Instance, wanted: &Wanted, by_owner: ByOwner) {
        // Of one where everybody has their own account, nobody hears for all.
        if matches!(instance.endpoint, Endpoint::Http { auth: ServerAuth::OAuth(_), .. }) {
            return;
        }
        if instance.endpoint.is_plain() {
            return;
        }
        let is_known = self.0.known(&instance.id).is_some();
        if !is_known && *wanted == Wanted::default() {
            return;
        }
        if let Ok(connection) = self.0.connection(instance, None) {
            connection.watch(wanted, by_owner);
        }
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
