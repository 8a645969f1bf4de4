//! Tickets: a place in flight, given back on drop.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    access::Permit,
    domain::{LimitStandings, ServerId, Target},
    traffic::{Error, Settings, Traffic},
    wire::Call,
};

/// What is in flight now.
pub(super) struct Counts {
    settings: Settings,
    all: AtomicUsize,
    by_server: Mutex<HashMap<ServerId, usize>>,
}

impl Counts {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, all: AtomicUsize::new(0), by_server: Mutex::default() }
    }
}

/// A place in flight. Only [`Traffic::admit`] gives one, and forwarding asks for it.
pub(crate) struct Ticket {
    counts: Arc<Counts>,
    server: Option<ServerId>,
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
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        let Some(server) = self.server else { return };
        let mut by_server = self.counts.by_server.lock();
        if let Some(count) = by_server.get_mut(&server) {
            *count -= 1;
            if *count == 0 {
                by_server.remove(&server);
            }
        }
    }
}

impl Traffic {
    /// A place for a call, if there is one, and no rate limit has anything against it. Only a call
    /// that is permitted may ask.
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
        let mut ticket =
            Ticket { counts: counts.clone(), server: None, standings: LimitStandings::default() };
        if let Some(server) = target.server() {
            let limit = counts.settings.max_in_flight_per_server;
            let mut by_server = counts.by_server.lock();
            let count = by_server.entry(server.id).or_default();
            if *count >= limit {
                drop(by_server);
                return Err(Error::Busy { server: server.name.clone(), limit });
            }
            *count += 1;
            ticket.server = Some(server.id);
        }
        // Last, so that no call is counted that has no place.
        if counted == Counted::Yes {
            let principal = permit.caller().principal();
            let taken = self.0.limiter.take(principal, target, call).await;
            ticket.standings = taken.map_err(Error::Exceeded)?;
        }
        Ok(ticket)
    }

    /// Calls in flight towards a server.
    pub(crate) fn in_flight(&self, server: &ServerId) -> usize {
        self.0.counts.by_server.lock().get(server).copied().unwrap_or_default()
    }
}
