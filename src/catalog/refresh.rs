//! Refreshing: one task asks servers for what they offer, each at most once at a time.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{
        Catalog,
        fetch::is_listing,
        shelf::{Offer, Place, Shelf, State},
    },
    domain::{Instance, ItemKind, Server, ServerId},
    problem::chain,
    registry::Outcome,
    upstream,
    wire::Askable,
};

type Fetched = (Arc<Server>, Askable, Result<Offer, upstream::Error>);

impl Catalog {
    /// Keeps the shelves until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut asking: FuturesUnordered<BoxFuture<'static, Fetched>> = FuturesUnordered::new();
        let mut changes = self.0.registry.changes();
        self.follow_directory();
        loop {
            self.start_wanted(&mut asking);
            let retry = self.next_retry();
            tokio::select! {
                () = stop.cancelled() => return,
                Some((server, askable, outcome)) = asking.next() => {
                    self.settle(&server, askable, outcome);
                }
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(retry) => self.want_failed(),
                Ok(()) = changes.changed() => self.follow_directory(),
            }
        }
    }

    /// Asks for servers to be asked again soon.
    pub(super) fn want(&self, places: impl IntoIterator<Item = Place>) {
        self.0.wanted.lock().extend(places);
        self.0.wake.notify_one();
    }

    /// A server says that a list of its is another now, to one client alone or to all. Those who
    /// listen hear it once the list has been asked for again, also where it looks the same.
    pub(crate) fn changed(&self, server: &ServerId, kind: ItemKind, owner: Option<&str>) {
        if owner.is_some_and(is_listing) {
            // It is being asked already.
            return;
        }
        if let Some(shelf) = self.0.shelves.lock().get_mut(&Place::shared(*server)) {
            shelf.told[kind as usize] += 1;
        }
        self.suspect(server);
        if owner.is_none() {
            self.suspect_apart(server);
        }
    }

    /// A server's lists may be others now: it says so, or a call found it wanting. What it is
    /// answering already may be older than that.
    pub(crate) fn suspect(&self, server: &ServerId) {
        let place = Place::shared(*server);
        let is_wanted = is_wanted(self.0.shelves.lock().get_mut(&place));
        if is_wanted {
            self.want([place]);
        }
    }

    /// The same of what it shows to clients that it can ask something.
    fn suspect_apart(&self, server: &ServerId) {
        self.suspect_where(|place| place.server == *server && !place.is_shared());
    }

    /// The same of what it shows to anybody.
    pub(super) fn suspect_all(&self, server: &ServerId) {
        self.suspect_where(|place| place.server == *server);
    }

    fn suspect_where(&self, is_meant: impl Fn(&Place) -> bool) {
        let mut shelves = self.0.shelves.lock();
        let meant = shelves.iter_mut().filter(|(place, _)| is_meant(place));
        let wanted: Vec<Place> =
            meant.filter_map(|(place, shelf)| is_wanted(Some(shelf)).then_some(*place)).collect();
        drop(shelves);
        self.want(wanted);
    }

    /// Makes room for new servers, clears away retired ones, and asks those that cost nothing to
    /// ask. Children are started when somebody needs them.
    fn follow_directory(&self) {
        let directory = self.0.registry.directory();
        let mut shelves = self.0.shelves.lock();
        shelves.retain(|place, _| directory.has(&place.server));
        let mut new = Vec::new();
        for server in directory.all().filter(|server| !server.is_plain()) {
            shelves.entry(Place::shared(server.id)).or_insert_with(|| {
                new.push(server.clone());
                Shelf::NEW
            });
        }
        drop(shelves);
        self.forget_retired();
        self.bump();
        let awake =
            |server: &Arc<Server>| !self.0.upstream.is_asleep(self.0.registry.spokesman(server));
        self.want(new.iter().filter(|server| awake(server)).map(|it| Place::shared(it.id)));
    }

    /// What was said by servers that are not any more is of no use to anybody.
    fn forget_retired(&self) {
        let directory = self.0.registry.directory();
        self.0.trust.retain(|known| directory.has(known));
    }

    /// Asks those that are wanted and not being asked, as many at once as may be.
    fn start_wanted(&self, asking: &mut FuturesUnordered<BoxFuture<'static, Fetched>>) {
        let directory = self.0.registry.directory();
        let mut wanted = self.0.wanted.lock();
        wanted.retain(|place| {
            if asking.len() >= self.0.settings.asked_at_once {
                return true;
            }
            let server = directory.by_id(&place.server).filter(|it| !it.is_plain());
            if let Some(server) = server
                && let Some(limit_ms) = self.begin(*place)
            {
                asking.push(Box::pin(self.clone().ask(server.clone(), place.askable, limit_ms)));
            }
            false
        });
    }

    /// Marks a server as being asked and says how long it has; none where it is asked already.
    fn begin(&self, place: Place) -> Option<u64> {
        let mut shelves = self.0.shelves.lock();
        // Somebody may ask for a server before this task has heard of it.
        let asked = shelves.entry(place).or_insert(Shelf::NEW);
        if asked.asked_since.is_some() {
            return None;
        }
        asked.asked_since = Some(self.0.clock.tick());
        let settings = &self.0.settings;
        Some(if asked.has_answered { settings.ask_ms } else { settings.first_ask_ms })
    }

    async fn ask(self, server: Arc<Server>, askable: Askable, limit_ms: u64) -> Fetched {
        let deadline = Instant::now() + Duration::from_millis(limit_ms);
        let mut tried = Vec::new();
        loop {
            let instance = self.0.registry.spokesman_but(&server, &tried);
            let left = u32::try_from(server.instances.len() - tried.len()).unwrap_or(1).max(1);
            let by = Instant::now() + deadline.saturating_duration_since(Instant::now()) / left;
            let began = self.0.clock.tick();
            let outcome = self.fetch((server.clone(), instance), askable, by).await;
            tried.push(instance.id);
            if askable == Askable::NOTHING {
                let took = self.0.clock.tick().saturating_duration_since(began);
                self.note((&server, instance), &outcome, took);
            }
            let is_last = tried.len() >= server.instances.len() || Instant::now() >= deadline;
            if outcome.is_ok() || is_last {
                return (server, askable, outcome);
            }
        }
    }

    /// Takes note of how an instance was when it was asked what it offers.
    fn note(
        &self,
        whose: (&Arc<Server>, &Instance),
        outcome: &Result<Offer, upstream::Error>,
        took: Duration,
    ) {
        let place = Place::shared(whose.0.id);
        match outcome {
            Ok(_) => self.0.registry.found(whose.0, whose.1, Outcome::Answered(took)),
            // What it offers is still known, and each sees by themselves whether they may use it.
            Err(upstream::Error::NoToken { .. }) if self.offer_of(place).is_some() => {}
            Err(error) => {
                self.0.registry.found(whose.0, whose.1, Outcome::Failed(&error.to_string()));
            }
        }
    }

    /// Puts what came of asking on the server's shelf.
    fn settle(
        &self,
        server: &Arc<Server>,
        askable: Askable,
        outcome: Result<Offer, upstream::Error>,
    ) {
        let place = Place { server: server.id, askable };
        let now = self.0.clock.tick();
        let mut shelves = self.0.shelves.lock();
        // It may have been retired meanwhile.
        let Some(asked) = shelves.get_mut(&place) else {
            drop(shelves);
            self.forget_retired();
            return;
        };
        asked.asked_since = None;
        let is_suspect = std::mem::take(&mut asked.is_suspect);
        match outcome {
            Ok(offer) => {
                asked.has_answered = true;
                let is_another = asked.offer().is_some_and(|before| !before.is_like(&offer));
                let offer = Arc::new(offer);
                asked.last = Some((offer.clone(), now));
                asked.state = State::Full { offer, at: now };
                drop(shelves);
                if place.is_shared() && is_another {
                    self.suspect_apart(&server.id);
                }
            }
            // What it offers is still known, and each sees by themselves whether they may use it.
            Err(upstream::Error::NoToken { .. }) if asked.offer().is_some() => drop(shelves),
            Err(error) => {
                let failures = match asked.state {
                    State::Failed { failures, .. } => failures + 1,
                    _ => 1,
                };
                let retry_at = now + self.retry_after(failures);
                let reason = error.to_string();
                asked.state = State::Failed { reason, failures, retry_at };
                drop(shelves);
                tracing::debug!(server = %server.name, error = chain(&error), failures, "could not list");
            }
        }
        if is_suspect {
            self.want([place]);
        }
        self.bump();
    }

    fn retry_after(&self, failures: u32) -> Duration {
        let settings = &self.0.settings;
        let doubled = settings.retry_seconds.saturating_mul(1 << (failures - 1).min(16));
        Duration::from_secs(doubled.clamp(1, settings.retry_max_seconds.max(1)))
    }

    fn next_retry(&self) -> Duration {
        const LONG: Duration = Duration::from_hours(1);
        let now = self.0.clock.tick();
        let shelves = self.0.shelves.lock();
        let resting = shelves
            .iter()
            .filter(|(place, shelf)| place.is_shared() && shelf.asked_since.is_none());
        let waits = resting.filter_map(|(_, shelf)| match shelf.state {
            State::Failed { retry_at, .. } => Some(retry_at.saturating_duration_since(now)),
            _ => None,
        });
        waits.min().unwrap_or(LONG).max(Duration::from_millis(10))
    }

    fn want_failed(&self) {
        let now = self.0.clock.tick();
        let is_due = |shelf: &Shelf| matches!(shelf.state, State::Failed { retry_at, .. } if retry_at <= now);
        let due: Vec<Place> = {
            let shelves = self.0.shelves.lock();
            let due = shelves.iter().filter(|(place, shelf)| place.is_shared() && is_due(shelf));
            due.map(|(place, _)| *place).collect()
        };
        self.want(due);
    }

    fn bump(&self) {
        self.0.version.send_modify(|version| *version += 1);
    }
}

/// Whether a server whose lists may be others now is to be asked. One that was registered just now
/// may have no shelf yet, and is asked all the same.
fn is_wanted(shelf: Option<&mut Shelf>) -> bool {
    match shelf {
        Some(shelf) if shelf.asked_since.is_some() => {
            shelf.is_suspect = true;
            false
        }
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_suspected_is_asked_unless_it_is_being_asked() {
        assert!(is_wanted(None));
        let mut shelf = Shelf::NEW;
        assert!(is_wanted(Some(&mut shelf)) && !shelf.is_suspect);
        shelf.asked_since = Some(crate::domain::Clock::tick(&crate::domain::SystemClock));
        assert!(!is_wanted(Some(&mut shelf)) && shelf.is_suspect);
    }
}
