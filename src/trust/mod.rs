//! What servers said first: definitions are pinned when they are first seen, and watched.
//!
//! The first answer of a server pins everything in it (trust on first use), with one line in the
//! audit. From then on a definition that is new or another is a change: it counts at once and the
//! audit tells of it, or it is held until somebody approves of it, as the server's `on_change`
//! says. Pins survive that an item vanishes, a restart, and everything but the end of the server.
//!
//! **What is hashed**: all that a tool, prompt or resource template says (name, title, description,
//! schemas, annotations, icons and whatever else) but `_meta`, as canonical JSON; and the server's
//! instructions. Resources are content, and change.
//!
//! **Kinds of clients**: a server may show to clients that can be asked something what it does not
//! show to others. Each kind of client has a version of its own, so that two which differ do not
//! push each other out; a definition that counts for one counts for all. Only the very first answer
//! is first sight: a new kind of client gives a server no second one.
//!
//! Decisions are made in memory; a task notes them in the store, many at a time.

mod book;
mod changes;
mod difference;
mod note;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::book::{Departed, Known};
use crate::{
    domain::{Clock, Digest, OnChange, PinKind, Server, ServerId, Standing},
    problem::{Classify, Kind},
    store::{self, Store},
    wire::canonical,
};

pub(crate) use changes::Verdict;
pub(crate) use sweep::{Sweep, sweep, sweep_text};

/// How far servers are trusted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// What happens when a server says something else than it did, where it does not say that
    /// itself: `accept` or `review`.
    pub(crate) on_change: OnChange,
    /// What happens to text with characters that nobody sees: `strip` or `refuse`.
    pub(crate) hidden: Hidden,
    /// Pins of one server; beyond, those of items that vanished go, the oldest first.
    pub(crate) pins_per_server: usize,
    /// Bytes of definitions that are kept of one server; beyond, the same.
    pub(crate) bytes_per_server: usize,
    /// Seconds between two notes in the store, and lines in the audit, of what one server changed;
    /// zero waits for none.
    pub(crate) note_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_change: OnChange::Accept,
            hidden: Hidden::Strip,
            pins_per_server: 10_000,
            bytes_per_server: 32 << 20,
            note_seconds: 60,
        }
    }
}

/// What happens to text with characters that nobody sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hidden {
    /// They are taken out.
    Strip,
    /// The item is left out.
    Refuse,
}

/// What is said of an item without being part of its definition: it differs from time to time.
const UNPINNED: [&str; 1] = ["_meta"];

/// An item as a server shows it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// What kind.
    pub(crate) kind: PinKind,
    /// The server's own name for it.
    pub(crate) name: Box<str>,
    /// Which definition.
    pub(crate) digest: Digest,
    /// The definition.
    text: Text,
    /// Where it has characters that nobody sees.
    pub(crate) hides: Vec<String>,
}

/// A definition, as far as it had to be read.
#[derive(Debug, Clone)]
enum Text {
    /// In canonical form.
    Canonical(Box<str>),
    /// As its server wrote it, byte for byte as when its digest was made.
    Written(Bytes),
}

impl Text {
    fn canonical(self) -> Box<str> {
        match self {
            Self::Canonical(text) => text,
            Self::Written(json) => {
                let json = std::str::from_utf8(&json).unwrap_or_default();
                canonical(json, &UNPINNED).unwrap_or_default().into()
            }
        }
    }
}

impl Shown {
    /// A definition that is read for the first time; none where it is no object.
    pub(crate) fn read(
        kind: PinKind,
        name: impl Into<Box<str>>,
        json: &str,
        hides: Vec<String>,
    ) -> Option<Self> {
        let text = canonical(json, &UNPINNED)?;
        let digest = Digest(openssl::sha::sha256(text.as_bytes()));
        Some(Self { kind, name: name.into(), digest, text: Text::Canonical(text.into()), hides })
    }

    /// A definition whose bytes are those of which this digest was made, and which hides nothing.
    pub(crate) fn again(kind: PinKind, name: Box<str>, digest: Digest, json: Bytes) -> Self {
        Self { kind, name, digest, text: Text::Written(json), hides: Vec::new() }
    }
}

/// The room's handle. Clones share what is known.
#[derive(Clone)]
pub(crate) struct Trust(Arc<Inner>);

struct Inner {
    settings: Settings,
    store: Store,
    clock: Arc<dyn Clock>,
    book: Mutex<HashMap<ServerId, Known>>,
    /// Servers that are not any more, of which the store still knows.
    departed: Mutex<Vec<Departed>>,
    wake: Notify,
    /// Held by whoever writes, so that the store never sees an older state after a newer one.
    turn: tokio::sync::Mutex<()>,
}

impl Trust {
    /// Reads what is pinned.
    pub(crate) fn new(
        settings: Settings,
        store: &Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let snapshot = store.read()?;
        let mut book: HashMap<ServerId, Known> =
            snapshot.pins()?.into_iter().map(|pins| (pins.id, Known::noted(pins))).collect();
        for pin in snapshot.pinned()? {
            if let Some(known) = book.get_mut(&pin.server) {
                known.items.insert((pin.kind, pin.name), pin.versions);
            }
        }
        Ok(Self(Arc::new(Inner {
            settings,
            store: store.clone(),
            clock,
            book: Mutex::new(book),
            departed: Mutex::default(),
            wake: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        })))
    }

    /// What happens to text with characters that nobody sees.
    pub(crate) fn hidden(&self) -> Hidden {
        self.0.settings.hidden
    }

    /// What happens when a server changes what it says.
    pub(crate) fn on_change(&self, server: &Server) -> OnChange {
        server.on_change.unwrap_or(self.0.settings.on_change)
    }

    /// Weighs what a server shows to such clients, and says which of it is held.
    pub(crate) fn weigh(
        &self,
        server: &Server,
        clients: Option<&str>,
        shown: Vec<Shown>,
    ) -> HashSet<(PinKind, Box<str>)> {
        let now = self.0.clock.now();
        let mut rule = book::Rule::of(self.on_change(server));
        let mut book = self.0.book.lock();
        let known = book.entry(server.id).or_insert_with(|| {
            rule = book::Rule::Take;
            Known::met(server, now)
        });
        let mut seen = HashSet::new();
        let mut held = HashSet::new();
        for shown in shown {
            let key = (shown.kind, shown.name.clone());
            if known.see(shown, clients, rule, now) == Standing::Approved {
                seen.insert(key);
            } else {
                held.insert(key);
            }
        }
        let is_here = |key: &book::Key| seen.contains(key) || held.contains(key);
        known.trim(&self.0.settings, is_here);
        if known.has_news() {
            self.0.wake.notify_one();
        }
        held
    }

    /// Whether a server may be asked for an item that it does not list. One whose changes are
    /// reviewed is asked only for what counts.
    pub(crate) fn may_ask(&self, server: &Server, kind: PinKind, name: &str) -> bool {
        if self.on_change(server) == OnChange::Accept {
            return true;
        }
        self.standings(server, kind, name).is_some_and(|mut all| all.all(Standing::counts))
    }

    /// Whether a definition of an item waits, or was rejected.
    pub(crate) fn is_held(&self, server: &Server, kind: PinKind, name: &str) -> bool {
        self.on_change(server) == OnChange::Review
            && self
                .standings(server, kind, name)
                .is_some_and(|mut all| all.any(|standing| !standing.counts()))
    }

    /// How the definitions of an item stand; none where it is not known.
    fn standings(
        &self,
        server: &Server,
        kind: PinKind,
        name: &str,
    ) -> Option<impl Iterator<Item = Standing> + use<>> {
        let book = self.0.book.lock();
        let versions = book.get(&server.id)?.items.get(&(kind, name.into()))?;
        let all: Vec<Standing> = versions.iter().map(|version| version.standing).collect();
        (!all.is_empty()).then(|| all.into_iter())
    }

    /// How many changes of a server wait for somebody to look at them.
    pub(crate) fn pending(&self, server: &ServerId) -> usize {
        let book = self.0.book.lock();
        let versions =
            book.get(server).into_iter().flat_map(|known| known.items.values().flatten());
        versions.filter(|version| version.standing == Standing::Pending).count()
    }

    /// Forgets servers that are not any more.
    pub(crate) fn retain(&self, is_there: impl Fn(&ServerId) -> bool) {
        let mut book = self.0.book.lock();
        let gone: Vec<ServerId> = book.keys().filter(|id| !is_there(id)).copied().collect();
        let departed = gone.iter().filter_map(|id| Some(book.remove(id)?.depart(*id)));
        let departed: Vec<Departed> = departed.collect();
        drop(book);
        if !departed.is_empty() {
            self.0.departed.lock().extend(departed);
            self.0.wake.notify_one();
        }
    }
}

/// Why a change is not decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing that waits, or was rejected, goes by it.
    #[error("there is no change {0:?} of this server; it may have changed again")]
    NoSuchChange(String),
    /// Nothing is named.
    #[error("ids: name at least one change, and at most {}", changes::DECIDED_AT_ONCE)]
    HowMany,
    /// The store could not be read or written.
    #[error("the store did not take it")]
    Store(#[from] store::Error),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchChange(_) => Kind::NotFound,
            Self::HowMany => Kind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }
}
