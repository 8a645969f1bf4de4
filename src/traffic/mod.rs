//! How much, and where to.

mod balance;
mod cache;
pub(crate) mod limit;
mod retry;
mod route;
mod table;
mod ticket;

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Clock, Slug, Strategy},
    problem::{Classify, Kind, Problem},
    registry::Registry,
    store::Store,
};

pub(crate) use cache::Keeping;
pub(crate) use route::{Candidates, Pick, Route, SHORTEST_ATTEMPT};
pub(crate) use ticket::{Counted, Ticket};

/// How much may pass at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Calls in flight at most, in the whole house.
    pub(crate) max_in_flight: usize,
    /// Calls in flight at most towards one server that does not say itself.
    pub(crate) max_in_flight_per_server: usize,
    /// Calls that wait for a place towards one server.
    pub(crate) max_queued_per_server: usize,
    /// How long they wait, in milliseconds.
    pub(crate) queue_ms: u32,
    /// How calls are shared among the instances of servers that say nothing of it: `round_robin`,
    /// `least_connections`, `weighted`, `health_based`, `random` or `ewma`.
    pub(crate) strategy: Strategy,
    /// How many calls to a server may be made again, of a hundred.
    pub(crate) retry_percent: u32,
    /// How many calls may pass in how long.
    pub(crate) limits: limit::Settings,
    /// How much of what servers said is kept.
    pub(crate) cache: cache::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_in_flight: 10_000,
            max_in_flight_per_server: 2_000,
            max_queued_per_server: 1_000,
            queue_ms: 1_000,
            strategy: Strategy::RoundRobin,
            retry_percent: 10,
            limits: limit::Settings::default(),
            cache: cache::Settings::default(),
        }
    }
}

/// Counts what is in flight and chooses where calls go.
#[derive(Clone)]
pub(crate) struct Traffic(Arc<Inner>);

struct Inner {
    settings: Settings,
    counts: Arc<ticket::Counts>,
    registry: Registry,
    limiter: limit::Limiter,
    cache: cache::Cache,
    clock: Arc<dyn Clock>,
    tables: ArcSwap<table::Tables>,
    /// Held while tables are made, so that only one makes them.
    making: Mutex<()>,
}

impl Traffic {
    /// An empty road. Fails where the rate limits are wrong or cannot be read.
    pub(crate) fn new(
        settings: Settings,
        (store, registry): (&Store, &Registry),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, limit::Error> {
        let limiter = limit::Limiter::new(settings.limits.clone(), store, clock.clone())?;
        Ok(Self(Arc::new(Inner {
            limiter,
            cache: cache::Cache::new(settings.cache.clone(), clock.clone()),
            counts: Arc::new(ticket::Counts::new(settings.clone())),
            settings,
            registry: registry.clone(),
            clock,
            tables: ArcSwap::default(),
            making: Mutex::new(()),
        })))
    }
}

/// Why a call is not let onto the road.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The house is full.
    #[error("the gateway is carrying {0} calls, which is its limit; try again in a second")]
    Full(usize),
    /// One server has enough to do.
    #[error("{server} is working on {limit} calls, which is its limit; try again in a second")]
    Busy {
        /// Which server.
        server: Slug,
        /// How many it may have.
        limit: usize,
    },
    /// More calls than a rate limit lets pass.
    #[error(
        "the rate limit {name} lets {limit} calls pass in {window} s; try again in {wait} s",
        name = .0.by.name, limit = .0.by.window.limit, window = .0.by.window.seconds,
        wait = .0.wait_seconds()
    )]
    Exceeded(Box<limit::Exceeded>),
    /// A server has no instance that takes calls.
    #[error("{0} has no instance that takes calls")]
    NoInstance(Slug),
    /// Policies let a call go to none of a server's instances, or to none that takes calls.
    #[error("{0} has no instance that takes calls and to which policies let this one go")]
    NoneAllowed(Slug),
    /// All instances of a server failed again and again, and are left alone for a while.
    #[error("{server}: {reason}; it is asked again in {wait_seconds} s")]
    Resting {
        /// Which server.
        server: Slug,
        /// Why the one was that is tried first.
        reason: String,
        /// For how long, in seconds.
        wait_seconds: u64,
    },
}

impl Error {
    /// Seconds after which trying again may help.
    pub(crate) const RETRY_AFTER_SECONDS: u64 = 1;

    /// The failure, as it is told to a client, with when to try again.
    pub(crate) fn into_problem(self) -> Problem {
        let (wait, server) = match &self {
            Self::Full(_) => (Some(Self::RETRY_AFTER_SECONDS), None),
            Self::Busy { server, .. } => (Some(Self::RETRY_AFTER_SECONDS), Some(server.clone())),
            Self::NoInstance(server) | Self::NoneAllowed(server) => (None, Some(server.clone())),
            Self::Exceeded(exceeded) => (Some(exceeded.wait_seconds()), None),
            Self::Resting { server, wait_seconds, .. } => {
                (Some((*wait_seconds).max(1)), Some(server.clone()))
            }
        };
        let limit = match &self {
            Self::Exceeded(exceeded) => {
                Some((exceeded.by.name.to_string(), exceeded.standings.clone()))
            }
            _ => None,
        };
        let mut problem = Problem::from(self);
        if let Some((name, standings)) = limit {
            problem = problem.with_data("rate_limit", name).with_standings(standings);
        }
        if let Some(server) = server {
            problem = problem.with_data("server", server.as_str());
        }
        match wait {
            Some(wait) => problem.with_retry_after(wait),
            None => problem,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Full(_) | Self::Busy { .. } => Kind::Limited,
            Self::Exceeded(_) => Kind::RateLimited,
            Self::NoInstance(_) | Self::NoneAllowed(_) | Self::Resting { .. } => Kind::Unavailable,
        }
    }
}
