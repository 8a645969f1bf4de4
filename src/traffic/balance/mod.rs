//! Balancing: which instance is next. One strategy, one file.
//!
//! Strategies choose among the seats of a table, one seat an instance, that are open to the call:
//! they only read what gauges show, and take no lock.

mod ewma;
mod health_based;
mod least_connections;
mod random;
mod round_robin;
mod weighted;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use smallvec::SmallVec;

use crate::{domain::Strategy, registry::Gauge};

/// One instance at a table.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) gauge: Arc<Gauge>,
    pub(super) weight: u16,
    /// Whether people want it to take calls.
    pub(super) is_active: bool,
    /// How well it matches what is preferred; smaller is better.
    pub(super) rank: u16,
}

/// Which seats are open to a call: at least one.
#[derive(Debug)]
pub(super) enum Open {
    /// Every one of so many.
    All(usize),
    /// Those at these places of the table, in its order.
    Some(SmallVec<[u16; 32]>),
}

impl Open {
    /// How many.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Some(places) => places.len(),
        }
    }

    /// The place of the open seat of this number.
    pub(super) fn at(&self, number: usize) -> usize {
        match self {
            Self::All(_) => number,
            Self::Some(places) => places[number].into(),
        }
    }

    /// Whether the seat at a place is open.
    fn has(&self, place: usize) -> bool {
        match self {
            Self::All(count) => place < *count,
            Self::Some(places) => places.iter().any(|it| usize::from(*it) == place),
        }
    }
}

/// A way to choose.
pub(super) trait Choose: Send + Sync + std::fmt::Debug {
    /// Chooses among the open seats: the place of one of them.
    fn choose(&self, seats: &[Seat], open: &Open) -> usize;
}

/// The chooser of a strategy for a table.
pub(super) fn chooser(strategy: Strategy, seats: &[Seat]) -> Box<dyn Choose> {
    match strategy {
        Strategy::RoundRobin => Box::new(round_robin::RoundRobin::default()),
        Strategy::LeastConnections => Box::new(least_connections::LeastConnections::default()),
        Strategy::Weighted => Box::new(weighted::Weighted::new(seats)),
        Strategy::HealthBased => Box::new(health_based::HealthBased),
        Strategy::Random => Box::new(random::Random),
        Strategy::Ewma => Box::new(ewma::Ewma),
    }
}

/// Turns: a number that goes up with each call.
#[derive(Debug, Default)]
struct Turns(AtomicUsize);

impl Turns {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Among equals the first after a place that moves on, so that none is preferred.
fn smallest<K: PartialOrd>(open: &Open, from: usize, key: impl Fn(usize) -> K) -> usize {
    let from = from % open.len();
    let mut places = (from..open.len()).chain(0..from).map(|number| open.at(number));
    let first = places.next().expect("a seat is open");
    let best = places.fold((first, key(first)), |(best, least), at| {
        let key = key(at);
        if key < least { (at, key) } else { (best, least) }
    });
    best.0
}

/// A number in `0..below` that nobody can foresee well enough to mind.
fn any(below: usize) -> usize {
    fastrand::usize(..below)
}

#[cfg(test)]
mod tests;
