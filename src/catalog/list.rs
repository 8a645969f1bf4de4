//! Listing: what an endpoint shows, fresh enough.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    access::Veil,
    catalog::{
        Catalog, Error, Offered, View,
        find::shows,
        merge::{Merged, Missing},
        owned,
        shelf::{Offer, Place, Shelf, State},
    },
    domain::{ItemKind, Scope, Server, ServerId, Slug},
    registry::Directory,
    upstream::{Capabilities, Peer},
    wire::Askable,
};

/// Views whose merged lists are kept at the same time.
const MERGED_VIEWS: usize = 1_000;

/// A page of a list.
pub(crate) struct Listed {
    /// The result, as JSON.
    pub(crate) result: Bytes,
    /// Whether clients of every revision can read its items.
    pub(crate) fits_all: bool,
}

/// What an endpoint has.
#[derive(Debug)]
pub(crate) struct Discovered {
    /// What is offered.
    pub(crate) capabilities: Capabilities,
    /// The extensions that any server knows, each as the first of them says.
    pub(crate) extensions: Map<String, Value>,
    /// What the one server behind the endpoint tells models, where it is one.
    pub(crate) instructions: Option<String>,
}

/// Lists that are waited for, and until when.
#[derive(Default)]
pub(super) struct Awaited {
    pub(super) places: Vec<Place>,
    pub(super) wait: Duration,
}

/// What is to be asked for before a list goes out.
struct Due {
    awaited: Awaited,
    /// What is asked for meanwhile.
    wanted: Vec<Place>,
    /// How long the rest holds.
    fresh_until: Instant,
}

impl Due {
    fn nothing(fresh_until: Instant) -> Self {
        Self { awaited: Awaited::default(), wanted: Vec::new(), fresh_until }
    }

    fn wait_for(&mut self, place: Place, wait: Duration) {
        self.awaited.places.push(place);
        self.awaited.wait = self.awaited.wait.max(wait);
    }

    fn wait_first(&mut self, place: Place, left: Duration) {
        if !left.is_zero() {
            self.wait_for(place, left);
        }
    }

    fn want(&mut self, place: Place) {
        self.wanted.push(place);
    }

    fn holds(&mut self, until: Instant) {
        self.fresh_until = self.fresh_until.min(until);
    }
}

impl Catalog {
    /// A page of the items of a kind.
    pub(crate) async fn list(
        &self,
        view: &View,
        veil: &Veil<'_>,
        kind: ItemKind,
        cursor: Option<&str>,
    ) -> Result<Listed, Error> {
        self.check_endpoint(view, veil)?;
        let merged = self.fresh(view).await?;
        for missing in &merged.missing {
            self.0.metrics.missing(&missing.server);
        }
        let size = self.0.settings.page_size;
        let result = if veil.is_clear() {
            merged.page(kind, cursor, size)?
        } else {
            let servers = self.servers(view)?;
            let is_hidden = |name: &Slug| {
                servers.iter().any(|server| server.name == *name && !veil.shows_server(server))
            };
            let missing: Vec<Missing> =
                merged.missing.iter().filter(|it| !is_hidden(&it.server)).cloned().collect();
            merged.page_of(kind, cursor, (size, &missing), |offer, entry| {
                shows(veil, &offer.server, kind, (&entry.name, &entry.annotations))
            })?
        };
        Ok(Listed { result, fits_all: merged.fits_all(kind) })
    }

    /// What an endpoint has. A server that has not answered yet may have everything; where it is
    /// the only one, it is worth a wait.
    pub(crate) async fn discover(&self, view: &View, veil: &Veil<'_>) -> Result<Discovered, Error> {
        self.check_endpoint(view, veil)?;
        let merged = match view.scope {
            Scope::Server(_) => self.fresh(view).await?,
            Scope::Everything | Scope::Namespace(_) => self.merged(view)?,
        };
        let peers = || merged.offers.iter().filter_map(|offer| offer.peer.as_deref());
        let answered = |name: &Slug| merged.offers.iter().any(|offer| offer.server.name == *name);
        let is_one_silent = merged.missing.iter().any(|missing| !answered(&missing.server));
        let may = |has: fn(&Peer) -> bool| is_one_silent || peers().any(has);
        let own = merged.offers.iter().any(|offer| offer.peer.is_none());
        let instructions = match view.scope {
            Scope::Server(_) => {
                merged.offers.iter().find_map(|offer| offer.vetted.instructions.clone())
            }
            _ => None,
        };
        let mut extensions = Map::new();
        for (name, how) in peers().flat_map(|peer| &peer.extensions) {
            extensions.entry(name).or_insert_with(|| how.clone());
        }
        Ok(Discovered {
            extensions,
            capabilities: Capabilities {
                tools: own || may(|peer| peer.capabilities.tools),
                prompts: may(|peer| peer.capabilities.prompts),
                resources: may(|peer| peer.capabilities.resources),
                completions: may(|peer| peer.capabilities.completions),
                logging: may(|peer| peer.capabilities.logging),
                subscribe: may(|peer| peer.capabilities.subscribe),
            },
            instructions,
        })
    }

    /// Refuses the endpoint of a server of which nothing may be known, as if there were none.
    pub(super) fn check_endpoint(&self, view: &View, veil: &Veil<'_>) -> Result<(), Error> {
        if veil.is_clear() || !matches!(view.scope, Scope::Server(_)) {
            return Ok(());
        }
        if self.servers(view)?.iter().all(|server| veil.shows_server(server)) {
            return Ok(());
        }
        Err(Error::NoEndpoint(view.scope.clone()))
    }

    /// What tells one state of an endpoint's lists from another, by kind.
    pub(crate) fn digests(&self, view: &View) -> Result<[u64; 4], Error> {
        Ok(self.merged(view)?.digests())
    }

    /// Tells of every change of a list, and of much that is none.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// How much a server offers, and what of it is left out; none while it does not answer.
    pub(crate) fn offered(&self, server: &ServerId) -> Option<(Offered, Option<String>)> {
        let shelves = self.0.shelves.lock();
        let offer = shelves.get(&Place::shared(*server))?.offer()?;
        Some((offer.count(), offer.note.clone()))
    }

    /// Waits until a server has been asked, and says what came of it.
    pub(crate) async fn introduce(&self, server: &Server) -> Result<(), String> {
        if server.is_plain() {
            // It offers nothing here; whether it is there can be told.
            let check = self.0.registry.check(server, &server.instances[0]).await;
            let failure = check.and_then(|check| check.failure);
            return failure.map_or(Ok(()), |failure| Err(failure.to_string()));
        }
        let wait = Duration::from_millis(self.0.settings.first_wait_ms);
        let place = Place::shared(server.id);
        self.wait_for(Awaited { places: vec![place], wait }).await;
        let shelves = self.0.shelves.lock();
        match shelves.get(&place).map(|shelf| &shelf.state) {
            Some(State::Full { .. }) => Ok(()),
            Some(State::Failed { reason, .. }) => Err(reason.clone()),
            Some(State::Empty) | None => Err(STARTING.to_owned()),
        }
    }

    /// What an endpoint shows, after waiting for those who are due and likely to answer.
    pub(super) async fn fresh(&self, view: &View) -> Result<Arc<Merged>, Error> {
        let merged = self.merged(view)?;
        let now = self.0.clock.tick();
        if merged.fresh_until.lock().is_some_and(|until| now < until) {
            return Ok(merged);
        }
        let servers = self.servers(view)?;
        let shared = self.wait_for_due(self.due(&servers, now)).await;
        // Which servers tell clients apart is known only once they have answered.
        let apart = self.due_apart(view, &servers, self.0.clock.tick());
        let apart = self.wait_for_due(apart).await;
        let merged = self.merged(view)?;
        *merged.fresh_until.lock() = shared.zip(apart).map(|(one, other)| one.min(other));
        Ok(merged)
    }

    /// What an endpoint shows, as far as is known now.
    pub(super) fn merged(&self, view: &View) -> Result<Arc<Merged>, Error> {
        // Also a change that no shelf has followed yet holds from its answer on.
        let version = *self.0.version.borrow() + self.0.registry.version();
        if let Some(merged) = self.0.merged.load().get(view)
            && merged.version == version
        {
            return Ok(merged.clone());
        }
        let merged = Arc::new(self.merge(version, view)?);
        // Those of older versions go. Keys with limits of their own may be many, and each sees its
        // own; when there are too many, whoever comes next has theirs made anew.
        self.0.merged.rcu(|known| {
            let is_current = |(_, merged): &(&View, &Arc<Merged>)| merged.version == version;
            let current = known.iter().filter(is_current);
            let kept = if known.len() < MERGED_VIEWS { usize::MAX } else { 0 };
            let mut known: HashMap<_, _> =
                current.take(kept).map(|(key, merged)| (key.clone(), merged.clone())).collect();
            known.insert(view.clone(), merged.clone());
            known
        });
        Ok(merged)
    }

    fn merge(&self, version: u64, view: &View) -> Result<Merged, Error> {
        let directory = self.0.registry.directory();
        let mut offers: Vec<(Arc<Offer>, _)> = Vec::new();
        let mut missing = Vec::new();
        let mut told = [0_u64; 4];
        {
            let shelves = self.0.shelves.lock();
            for server in self.servers(view)? {
                let known = shelves.get(&Place::shared(server.id)).unwrap_or(&Shelf::NEW);
                for (all, of_one) in told.iter_mut().zip(known.told) {
                    *all = all.wrapping_add(of_one);
                }
                let reason = match &known.state {
                    State::Full { offer, .. } => {
                        let apart = place_apart(known, &server, view);
                        let apart = apart.and_then(|place| shelves.get(&place));
                        let shown = apart.and_then(Shelf::offer).unwrap_or(offer);
                        offers.push((shown.clone(), directory.prefixing(&server)));
                        let Some(State::Failed { reason, .. }) = apart.map(|shelf| &shelf.state)
                        else {
                            continue;
                        };
                        format!("what it shows only to clients that it can ask something: {reason}")
                    }
                    State::Failed { reason, .. } => {
                        if let Some((offer, age)) = self.last_known(known) {
                            offers.push((offer, directory.prefixing(&server)));
                            let reason = format!("{reason}; this is what it offered {age} s ago");
                            let missing_now = Missing::new(&server.name, reason);
                            missing.push(Missing { stale: true, ..missing_now });
                            continue;
                        }
                        reason.clone()
                    }
                    State::Empty => STARTING.to_owned(),
                };
                missing.push(Missing::new(&server.name, reason));
            }
        }
        if shows_own(view) {
            offers.push((owned::offer(), crate::domain::Prefixing::Always));
            offers.sort_by(|(a, _), (b, _)| a.server.name.cmp(&b.server.name));
        }
        let merged = Merged::new(version, &view.scope, offers, missing, self.0.settings.page_size);
        Ok(merged.told_so_often(told))
    }

    /// What a server that does not answer offered last, and how many seconds ago, where that is to
    /// be shown.
    fn last_known(&self, of: &Shelf) -> Option<(Arc<Offer>, u64)> {
        let (offer, at) = of.last.as_ref()?;
        let age = self.0.clock.tick().saturating_duration_since(*at).as_secs();
        (age < self.0.settings.last_known_seconds).then(|| (offer.clone(), age))
    }

    fn servers(&self, view: &View) -> Result<Vec<Arc<Server>>, Error> {
        if is_own(&view.scope) && shows_own(view) {
            return Ok(Vec::new());
        }
        let servers = self.0.registry.directory().in_scope(&view.sight, &view.scope);
        servers.ok_or_else(|| Error::NoEndpoint(view.scope.clone()))
    }

    /// Which servers must be asked before a list goes out, and how long the list will hold. Those
    /// that are only a little behind are asked meanwhile; those that failed are asked again by
    /// themselves, and nobody waits for them.
    fn due(&self, servers: &[Arc<Server>], now: Instant) -> Due {
        let settings = &self.0.settings;
        let stale = Duration::from_millis(settings.stale_ms);
        let wait = Duration::from_millis(settings.wait_ms);
        let mut due = Due::nothing(now + Duration::from_millis(settings.fresh_ms));
        let shelves = self.0.shelves.lock();
        for server in servers {
            let place = Place::shared(server.id);
            let known = shelves.get(&place).unwrap_or(&Shelf::NEW);
            match &known.state {
                State::Empty => due.wait_first(place, self.first_wait(known, now)),
                State::Failed { .. } => {}
                State::Full { .. }
                    if self.0.upstream.is_asleep(self.0.registry.spokesman(server)) => {}
                State::Full { at, offer } => {
                    let fresh = settings.fresh(server, offer.holds);
                    match now.saturating_duration_since(*at) {
                        age if age < fresh => due.holds(*at + fresh),
                        age if !fresh.is_zero() && age < fresh.max(stale) => due.want(place),
                        _ => due.wait_for(place, wait),
                    }
                }
            }
        }
        due
    }

    /// The same for what servers show only to clients that they can ask something.
    fn due_apart(&self, view: &View, servers: &[Arc<Server>], now: Instant) -> Due {
        let fresh = Duration::from_millis(self.0.settings.askable_fresh_ms);
        let wait = Duration::from_millis(self.0.settings.wait_ms);
        let mut due = Due::nothing(now + fresh);
        // In this order, as everywhere.
        let wanted = self.0.wanted.lock();
        let shelves = self.0.shelves.lock();
        for server in servers {
            let shared = shelves.get(&Place::shared(server.id)).unwrap_or(&Shelf::NEW);
            let Some(place) = place_apart(shared, server, view) else { continue };
            let known = shelves.get(&place).unwrap_or(&Shelf::NEW);
            match &known.state {
                State::Empty => due.wait_first(place, self.first_wait(known, now)),
                State::Failed { retry_at, .. } if now < *retry_at => due.holds(*retry_at),
                // The shared list changed, and this one may have changed with it.
                State::Full { .. } if known.asked_since.is_some() || wanted.contains(&place) => {
                    due.wait_for(place, wait);
                }
                State::Full { at, .. } if now < *at + fresh => due.holds(*at + fresh),
                State::Failed { .. } | State::Full { .. } => due.want(place),
            }
        }
        due
    }

    /// How long a server is still waited for that has not answered yet. Counted from when it was
    /// first asked: one that hangs delays the first lists, not every list.
    fn first_wait(&self, known: &Shelf, now: Instant) -> Duration {
        let asked = known.asked_since.unwrap_or(now);
        let first_wait = Duration::from_millis(self.0.settings.first_wait_ms);
        first_wait.saturating_sub(now.saturating_duration_since(asked))
    }

    /// Asks those that are due, waits for those that must be waited for, and says how long what is
    /// known then will hold.
    async fn wait_for_due(&self, due: Due) -> Option<Instant> {
        let Due { awaited, wanted, fresh_until } = due;
        let holds = awaited.places.is_empty() && wanted.is_empty();
        if !wanted.is_empty() {
            self.want(wanted);
        }
        if !awaited.places.is_empty() {
            self.wait_for(awaited).await;
        }
        holds.then_some(fresh_until)
    }

    /// Asks for servers and waits until each has answered, or failed, or the time is over.
    pub(super) async fn wait_for(&self, awaited: Awaited) {
        let mut version = self.0.version.subscribe();
        let since = self.0.clock.tick();
        let is_settled = |shelf: Option<&Shelf>| match shelf.map(|shelf| &shelf.state) {
            Some(State::Full { at, .. }) => *at >= since,
            Some(State::Failed { .. }) => true,
            Some(State::Empty) | None => false,
        };
        let is_gone = |id: &ServerId| !self.0.registry.directory().has(id);
        let all_settled = || {
            let shelves = self.0.shelves.lock();
            awaited
                .places
                .iter()
                .all(|place| is_settled(shelves.get(place)) || is_gone(&place.server))
        };
        self.want(awaited.places.iter().copied());
        let waiting = async {
            while !all_settled() {
                if version.changed().await.is_err() {
                    return;
                }
            }
        };
        // What is not there by then is named as missing.
        drop(tokio::time::timeout(awaited.wait, waiting).await);
    }
}

/// Why a server that has not answered yet is missing.
const STARTING: &str = "it has not answered yet";

/// Whether the gateway's own tools are part of what an endpoint shows. Whoever is limited to some
/// servers is limited to these.
fn shows_own(view: &View) -> bool {
    let is_there = matches!(view.scope, Scope::Everything) || is_own(&view.scope);
    is_there && view.sight.limits.is_none()
}

/// Whether an endpoint is that of the gateway's own server.
fn is_own(scope: &Scope) -> bool {
    matches!(scope, Scope::Server(name) if &**name == Directory::BUILT_IN)
}

/// Where it stands what a server shows to such clients, where that is not what it shows to all.
fn place_apart(shared: &Shelf, server: &Server, view: &View) -> Option<Place> {
    let is_apart = view.askable != Askable::NOTHING && shared.tells_clients_apart();
    is_apart.then_some(Place { server: server.id, askable: view.askable })
}
