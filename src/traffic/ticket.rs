//! Tickets: a place in flight, given back on drop; and the queue of those who wait for one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

use crate::{
    access::Permit,
    domain::{LimitStandings, Server, ServerId, Target},
    traffic::{Error, Settings, Traffic},
    wire::Call,
};

/// What is in flight now, and what waits.
pub(super) struct Counts {
    settings: Settings,
    all: AtomicUsize,
    lanes: Mutex<HashMap<ServerId, Lane>>,
}

/// What is in flight towards one server, and who waits for a place, the first first.
#[derive(Default)]
struct Lane {
    in_flight: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

impl Counts {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, all: AtomicUsize::new(0), lanes: Mutex::default() }
    }

    /// A place towards a server, at once or after a while.
    async fn place(self: &Arc<Self>, server: &Server) -> Result<Place, Error> {
        let limit = server.max_in_flight.map_or(self.settings.max_in_flight_per_server, |it| {
            usize::try_from(it).unwrap_or(usize::MAX)
        });
        let busy = || Error::Busy { server: server.name.clone(), limit };
        let place = match self.step_up(server.id, limit) {
            Ok(place) => place,
            Err(None) => return Err(busy()),
            Err(Some(turn)) => {
                let patience = Duration::from_millis(self.settings.queue_ms.into());
                // Boxed, because few wait and all would carry it.
                let waited = Box::pin(timeout(patience, turn)).await;
                waited.ok().and_then(Result::ok).ok_or_else(busy)?
            }
        };
        Ok(place)
    }

    /// A place, or else a turn to wait for, or none where too many wait.
    fn step_up(
        self: &Arc<Self>,
        server: ServerId,
        limit: usize,
    ) -> Result<Place, Option<oneshot::Receiver<Place>>> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.entry(server).or_default();
        if lane.in_flight < limit {
            lane.in_flight += 1;
            return Ok(Place(Some((self.clone(), server))));
        }
        let most = self.settings.max_queued_per_server;
        if lane.waiting.len() >= most {
            // Who has given up waits no more.
            lane.waiting.retain(|turn| !turn.is_closed());
        }
        if lane.waiting.len() >= most {
            return Err(None);
        }
        let (turn, mine) = oneshot::channel();
        lane.waiting.push_back(turn);
        Err(Some(mine))
    }

    /// Hands a place that is free to whoever waits longest, or gives it up.
    fn step_down(self: &Arc<Self>, server: ServerId) {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.get_mut(&server) else { return };
        while let Some(turn) = lane.waiting.pop_front() {
            match turn.send(Place(Some((self.clone(), server)))) {
                Ok(()) => return,
                // Nobody took it, and it is handed to the next.
                Err(mut place) => place.0 = None,
            }
        }
        lane.in_flight -= 1;
        if lane.in_flight == 0 {
            lanes.remove(&server);
        }
    }
}

/// A place in flight towards a server. Whoever is handed one and is gone has given it back.
struct Place(Option<(Arc<Counts>, ServerId)>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((counts, server)) = self.0.take() {
            counts.step_down(server);
        }
    }
}

/// A place in flight. Only [`Traffic::admit`] gives one, and forwarding asks for it.
pub(crate) struct Ticket {
    counts: Arc<Counts>,
    place: Option<Place>,
    standings: LimitStandings,
}

impl Ticket {
    /// Where the call stands with the rate limits that count it.
    pub(crate) fn standings(&self) -> LimitStandings {
        self.standings.clone()
    }
}

/// Whether a call is counted by rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// As it should be.
    Yes,
    /// It goes on with one that was counted when it began.
    Already,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        drop(self.place.take());
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    /// A place for a call, if there is one in time, and no rate limit has anything against it. Only
    /// a call that is permitted may ask.
    pub(crate) async fn admit(
        &self,
        permit: &Permit,
        target: &Target,
        (call, counted): (&Call, Counted),
    ) -> Result<Ticket, Error> {
        let counts = &self.0.counts;
        let limit = counts.settings.max_in_flight;
        if counts.all.fetch_add(1, Ordering::Relaxed) >= limit {
            counts.all.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Full(limit));
        }
        let standings = LimitStandings::default();
        let mut ticket = Ticket { counts: counts.clone(), place: None, standings };
        if let Some(server) = target.server() {
            ticket.place = Some(counts.place(server).await?);
        }
        // Last, so that no call is counted that has no place.
        if counted == Counted::Yes {
            let taken = self.0.limiter.take(permit, target, call).await;
            ticket.standings = taken.map_err(Error::Exceeded)?;
        }
        Ok(ticket)
    }

    /// Calls in flight towards a server.
    pub(crate) fn in_flight(&self, server: &ServerId) -> usize {
        self.0.counts.lanes.lock().get(server).map_or(0, |lane| lane.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(most: usize) -> Arc<Counts> {
        let settings =
            Settings { max_queued_per_server: most, queue_ms: 1_000, ..Settings::default() };
        Arc::new(Counts::new(settings))
    }

    fn waiting(counts: &Arc<Counts>) -> oneshot::Receiver<Place> {
        match counts.step_up(ServerId::fixed(1), 1) {
            Err(Some(turn)) => turn,
            Err(None) => panic!("too many wait"),
            Ok(_) => panic!("there was a place"),
        }
    }

    #[test]
    fn who_waits_longest_is_next_and_who_is_gone_is_passed_over() {
        let counts = counts(3);
        let server = ServerId::fixed(1);
        let place = counts.step_up(server, 1).ok().expect("a place");
        let (mut first, gone, mut third) = (waiting(&counts), waiting(&counts), waiting(&counts));
        assert!(matches!(counts.step_up(server, 1), Err(None)), "the queue is full");
        drop(gone);
        let mut fourth = waiting(&counts);

        drop(place);
        let place = first.try_recv().expect("the first is next");
        assert!(third.try_recv().is_err() && fourth.try_recv().is_err());
        drop(place);
        let place = third.try_recv().expect("the second is gone");
        // Handed a place in the moment in which it gives up.
        drop(place);
        drop(fourth);
        assert!(counts.lanes.lock().is_empty(), "all places are given back");
    }
}
