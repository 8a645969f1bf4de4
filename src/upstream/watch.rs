//! Watching: what a server is asked to tell of without a call.
//!
//! Servers of today's revision tell what they are asked for, as long as one request stands open;
//! older ones tell of lists by themselves, and of resources that were subscribed to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::{party::Ask, pool::Connection, way::Way};
use crate::wire::{Address, Era, Method, Request};

/// What somebody wants to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whether its lists change.
    pub(crate) lists: bool,
    /// Which of its resources change.
    pub(crate) resources: BTreeSet<Box<str>>,
}

/// Which resources each client wants to hear of.
pub(crate) type ByOwner = BTreeMap<Arc<str>, BTreeSet<Box<str>>>;

/// What an instance is asked to tell of now.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<State>);

/// URIs of resources, as their server writes them.
pub(super) type Resources = BTreeSet<Box<str>>;

#[derive(Debug, Default)]
struct State {
    wanted: Wanted,
    /// Who wants to hear of which resources.
    by_owner: ByOwner,
    /// Ends what was asked for last.
    standing: Option<DropGuard>,
    /// Until when a server that refused is left alone.
    rests_until: Option<Instant>,
    /// Whether the server may have forgotten what it was asked for.
    is_forgotten: bool,
    is_over: Arc<std::sync::atomic::AtomicBool>,
}

/// How long a server that does not let itself be watched is left alone.
const REST: Duration = Duration::from_secs(30);
/// How long the request before is left standing, so that nothing falls between the two.
const OVERLAP: Duration = Duration::from_millis(250);
/// Longer than anything is watched without a change.
const FOREVER: Duration = Duration::from_hours(24);
/// How long a server may take to take up or end a subscription.
const LIMIT: Duration = Duration::from_secs(30);

impl Watch {
    /// The resources that a client wants to hear of.
    pub(super) fn of(&self, owner: &str) -> Resources {
        self.0.lock().by_owner.get(owner).cloned().unwrap_or_default()
    }

    /// Whether nobody wants to hear of anything.
    pub(super) fn is_blank(&self) -> bool {
        let state = self.0.lock();
        state.wanted == Wanted::default() && state.by_owner.is_empty() && state.standing.is_none()
    }

    /// Asks for nothing any more.
    pub(super) fn end(&self) {
        self.0.lock().standing = None;
    }
}

impl Connection {
    /// Has the instance tell what is wanted, and nothing else. One that sleeps is woken only for a
    /// resource somebody wants to hear of.
    pub(super) fn watch(self: &Arc<Self>, wanted: &Wanted, by_owner: ByOwner) {
        use std::sync::atomic::Ordering::Relaxed;
        let mut state = self.watch.0.lock();
        state.by_owner = by_owner;
        let is_over = state.is_over.load(Relaxed);
        let now = Instant::now();
        if is_over && state.standing.take().is_some() {
            state.rests_until = Some(now + REST);
            state.is_forgotten = true;
        }
        let is_resting = state.rests_until.is_some_and(|until| now < until);
        let stands = state.standing.is_some();
        let wants_any = wanted.lists || !wanted.resources.is_empty();
        let must_wait = self.is_asleep() && wanted.resources.is_empty();
        if state.wanted == *wanted && (stands || !wants_any || is_resting || must_wait) {
            return;
        }
        let mut before = std::mem::replace(&mut state.wanted, wanted.clone());
        if std::mem::take(&mut state.is_forgotten) {
            before = Wanted::default();
        }
        let old = state.standing.take();
        if must_wait && wants_any {
            return;
        }
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        state.is_over = Arc::clone(&over);
        let stop = CancellationToken::new();
        let (connection, wanted) = (Arc::clone(self), wanted.clone());
        let watching = stop.clone();
        self.tasks().spawn(async move {
            // Boxed, because it lives on in the task of every instance.
            let asking = Box::pin(connection.tell_of(&before, &wanted));
            watching.run_until_cancelled(asking).await;
            over.store(true, Relaxed);
        });
        state.standing = wants_any.then(|| stop.drop_guard());
        if let Some(old) = old {
            self.tasks().spawn(async move {
                tokio::time::sleep(OVERLAP).await;
                drop(old);
            });
        }
    }

    async fn tell_of(&self, before: &Wanted, wanted: &Wanted) {
        match self.describe(Instant::now() + LIMIT).await {
            Ok(peer) if peer.era == Era::Modern => self.listen_to(wanted).await,
            Ok(_) => self.subscribe(before, wanted).await,
            Err(error) => debug!(%error, "a server cannot be watched"),
        }
    }

    async fn listen_to(&self, wanted: &Wanted) {
        if *wanted == Wanted::default() {
            return;
        }
        let lists = wanted.lists;
        let filter = json!({"notifications": {
            "toolsListChanged": lists,
            "promptsListChanged": lists,
            "resourcesListChanged": lists,
            "resourceSubscriptions": wanted.resources,
        }});
        let request = Request::make(&Method::Listen, &filter.to_string());
        let ask = Ask::plain(&request, Address::default(), Instant::now() + FOREVER);
        let ask = Ask { is_standing: wanted.resources.is_empty(), ..ask };
        if let Err(error) = self.way().ask(ask).await {
            debug!(%error, "a server tells of no changes any more");
        }
    }

    /// Subscribes to what was not wanted before, and ends what is not wanted any more. Stands as
    /// long as something is wanted.
    async fn subscribe(&self, before: &Wanted, wanted: &Wanted) {
        let deadline = Instant::now() + LIMIT;
        subscribe(self.way(), &before.resources, &wanted.resources, deadline).await;
        if wanted.lists || !wanted.resources.is_empty() {
            self.way().stand(Instant::now() + LIMIT).await;
        }
    }
}

/// Has a server of an older revision tell of changes of resources that it was not asked to tell of
/// before, and of none that are not wanted any more.
pub(super) async fn subscribe(
    way: &Way,
    before: &Resources,
    wanted: &Resources,
    deadline: Instant,
) {
    for (method, uris) in [
        (Method::Subscribe, wanted.difference(before)),
        (Method::Unsubscribe, before.difference(wanted)),
    ] {
        for uri in uris {
            let request = Request::make(&method, &json!({ "uri": uri }).to_string());
            let ask = Ask::plain(&request, Address::default(), deadline);
            if let Err(error) = way.ask(ask).await {
                debug!(%error, "{method} did not succeed");
            }
        }
    }
}
