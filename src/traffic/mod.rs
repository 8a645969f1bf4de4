//! How much, and where to.

mod route;
mod ticket;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    domain::Slug,
    problem::{Classify, Kind},
};

pub(crate) use route::{Candidates, Route};
pub(crate) use ticket::Ticket;

/// How much may pass at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Calls in flight at most, in the whole house.
    pub(crate) max_in_flight: usize,
    /// Calls in flight at most towards one server.
    pub(crate) max_in_flight_per_server: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_in_flight: 10_000, max_in_flight_per_server: 2_000 }
    }
}

/// Counts what is in flight and chooses where calls go.
#[derive(Clone)]
pub(crate) struct Traffic(Arc<ticket::Counts>);

impl Traffic {
    /// An empty road.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(ticket::Counts::new(settings)))
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
}

impl Error {
    /// Seconds after which trying again may help.
    pub(crate) const RETRY_AFTER_SECONDS: u64 = 1;
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Full(_) | Self::Busy { .. } => Kind::Limited,
        }
    }
}
