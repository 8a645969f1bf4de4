//! What is on offer: every server's tools, prompts and resources, under names that do not clash.
//!
//! Servers are asked in the background and answer onto a shelf each. Lists are merged from the
//! shelves; a server that does not answer is named, and never hides the others.

mod fetch;
mod find;
mod list;
mod lock;
mod merge;
mod names;
mod owned;
mod param_header;
mod refresh;
mod shelf;
mod template;
mod vet;
mod view;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::{
    catalog::{
        merge::Merged,
        shelf::{Place, Shelf},
    },
    domain::{Clock, InvalidCursor, ItemKind, Scope, Server, Slug, Target},
    links::Links,
    observe::Metrics,
    problem::{Classify, Kind},
    registry::Registry,
    trust::Trust,
    upstream::Upstream,
};

pub(crate) use find::sought;
pub(crate) use lock::Locked;
pub(crate) use param_header::Argument;
pub(crate) use shelf::Offered;
pub(crate) use view::View;

/// How lists are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Milliseconds for which a server's lists are served without asking it again, where it does
    /// not say itself how long they hold.
    pub(crate) fresh_ms: u64,
    /// The longest that a server can say.
    pub(crate) longest_fresh_ms: u64,
    /// Milliseconds for which they are served while it is asked again.
    pub(crate) stale_ms: u64,
    /// Milliseconds for which lists are served that a server of an older revision has for clients
    /// it can ask something. To ask for them takes a session, or a process, of its own.
    pub(crate) askable_fresh_ms: u64,
    /// Milliseconds a list waits for servers that have answered before.
    pub(crate) wait_ms: u64,
    /// Milliseconds a list waits for servers that have never answered, which may have to start.
    pub(crate) first_wait_ms: u64,
    /// Milliseconds a server has to give all its lists.
    pub(crate) ask_ms: u64,
    /// Milliseconds it has the first time.
    pub(crate) first_ask_ms: u64,
    /// Servers that are asked at the same time.
    pub(crate) asked_at_once: usize,
    /// Items of one kind that are taken from one server.
    pub(crate) items_per_server: usize,
    /// Bytes of one item.
    pub(crate) item_bytes: usize,
    /// Bytes of all items that are taken from one server.
    pub(crate) bytes_per_server: usize,
    /// Items on one page of a merged list.
    pub(crate) page_size: usize,
    /// Seconds after which a server that failed once is asked again; doubled each time.
    pub(crate) retry_seconds: u64,
    /// Seconds that doubling ends at.
    pub(crate) retry_max_seconds: u64,
    /// Seconds for which a server that does not answer is shown with what it offered last, marked
    /// as stale; 0 leaves it out, and says so.
    pub(crate) last_known_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fresh_ms: 10_000,
            longest_fresh_ms: 3_600_000,
            stale_ms: 60_000,
            askable_fresh_ms: 300_000,
            wait_ms: 5_000,
            first_wait_ms: 20_000,
            ask_ms: 5_000,
            first_ask_ms: 60_000,
            asked_at_once: 16,
            items_per_server: 2_000,
            item_bytes: 256 << 10,
            bytes_per_server: 8 << 20,
            page_size: 1_000,
            retry_seconds: 1,
            retry_max_seconds: 30,
            last_known_seconds: 0,
        }
    }
}

impl Settings {
    /// How long what a server offers is taken for fresh: as the operator says, or it does itself.
    fn fresh(&self, server: &Server, holds: Option<Duration>) -> Duration {
        if let Some(seconds) = server.cache.lists_seconds {
            return Duration::from_secs(seconds.into());
        }
        let least = Duration::from_secs(1);
        let said = holds.map(|holds| holds.clamp(least, self.longest_fresh().max(least)));
        said.unwrap_or(Duration::from_millis(self.fresh_ms))
    }

    fn longest_fresh(&self) -> Duration {
        Duration::from_millis(self.longest_fresh_ms.max(self.fresh_ms))
    }
}

/// The catalog of the house.
#[derive(Clone)]
pub(crate) struct Catalog(Arc<Inner>);

struct Inner {
    settings: Settings,
    registry: Registry,
    trust: Trust,
    links: Links,
    upstream: Upstream,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    shelves: Mutex<BTreeMap<Place, Shelf>>,
    /// Counts every change of a shelf or of the directory.
    version: watch::Sender<u64>,
    wanted: Mutex<HashSet<Place>>,
    wake: Notify,
    merged: ArcSwap<HashMap<View, Arc<Merged>>>,
}

impl Catalog {
    /// An empty catalog. [`Catalog::run`] fills it.
    pub(crate) fn new(
        settings: Settings,
        (registry, trust, links): (&Registry, &Trust, &Links),
        upstream: &Upstream,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            registry: registry.clone(),
            trust: trust.clone(),
            links: links.clone(),
            upstream: upstream.clone(),
            metrics: metrics.clone(),
            clock,
            shelves: Mutex::default(),
            version: watch::Sender::new(0),
            wanted: Mutex::default(),
            wake: Notify::new(),
            merged: ArcSwap::default(),
        }))
    }
}

/// Why something is not found or not listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such server or namespace.
    #[error("there is no endpoint {0}")]
    NoEndpoint(Scope),
    /// No such item, or none the caller may see.
    #[error("unknown {kind}: {name}")]
    Unknown {
        /// What kind of item was asked for.
        kind: ItemKind,
        /// Under which name.
        name: String,
    },
    /// An item that is held. Only those who may use it are told so.
    #[error("the {kind} {name} is held: its server changed it, and nobody has approved of that")]
    Held {
        /// What kind of item was asked for.
        kind: ItemKind,
        /// Under which name.
        name: String,
        /// What it would be.
        target: Box<Target>,
    },
    /// A URI that several servers have.
    #[error("several servers have {uri}: ask for {}", choices.join(" or "))]
    Ambiguous {
        /// As it was asked for.
        uri: String,
        /// As each server's goes by here.
        choices: Vec<String>,
    },
    /// No route, or none the caller may use.
    #[error("there is nothing at this path")]
    NoRoute,
    /// A method that is not served.
    #[error("method not found: {0}")]
    NoMethod(String),
    /// A cursor that is none.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
}

impl Error {
    /// The longest name that is repeated in an error, in characters.
    const NAME_LIMIT: usize = 200;

    /// A URI that these servers have, each its own.
    fn ambiguous(uri: &str, owners: &[&Slug]) -> Self {
        let choices = owners.iter().map(|server| names::mark(uri, server)).collect();
        Self::Ambiguous { uri: uri.to_owned(), choices }
    }

    /// An item that would be this if it were not held.
    fn held(target: Target, kind: ItemKind, name: &str) -> Self {
        let name = name.chars().take(Self::NAME_LIMIT).collect();
        Self::Held { kind, name, target: Box::new(target) }
    }

    /// Nothing of that kind and name, as far as the caller may know.
    pub(crate) fn unknown(kind: ItemKind, name: &str) -> Self {
        Self::Unknown { kind, name: name.chars().take(Self::NAME_LIMIT).collect() }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoEndpoint(_) | Self::Unknown { .. } | Self::NoRoute | Self::NoMethod(_) => {
                Kind::NotFound
            }
            Self::Held { .. } => Kind::Conflict,
            Self::Cursor(_) | Self::Ambiguous { .. } => Kind::Invalid,
        }
    }
}
