//! Rules: a rate limit as calls are held against it.

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use ipnet::IpNet;
use parking_lot::Mutex;

use super::count::{Look, Quota};
use crate::{
    domain::{
        Dimension, ItemKind, LimitStanding, Principal, PrincipalKind, RateLimit, Server, Target,
        Timestamp, Window, household, qualify,
    },
    wire::Call,
};

/// The longest key that is remembered, in characters.
const LONGEST_KEY: usize = 300;
/// Refusals that are remembered of a rule.
const REMEMBERED: usize = 20;

/// A rate limit as calls are held against it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    /// Stands before its keys.
    id: String,
    /// The same, where all gateways count.
    id_of_all: String,
    dimensions: Box<[Dimension]>,
    only: Box<[(Dimension, Box<[Wanted]>)]>,
    pub(super) quotas: Box<[(Window, Quota)]>,
    pub(super) counts: Arc<Counts>,
}

/// What became of the calls that a rule was asked about, since the gateway started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) allowed: AtomicU64,
    pub(super) refused: AtomicU64,
    lately: Mutex<Vec<Refused>>,
}

/// Somebody who was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// By what they were counted.
    pub(crate) key: String,
    /// When last.
    pub(crate) at: Timestamp,
    /// How often since they are remembered.
    pub(crate) times: u64,
}

impl Counts {
    /// Counts a call that was refused.
    pub(super) fn refuse(&self, key: &str, at: Timestamp) {
        let key: &str = &key.chars().take(LONGEST_KEY).collect::<String>();
        self.refused.fetch_add(1, Relaxed);
        let mut lately = self.lately.lock();
        let known = lately.iter().position(|refused| refused.key == key);
        let before = known.map_or(0, |at| lately.remove(at).times);
        lately.insert(0, Refused { key: key.to_owned(), at, times: before + 1 });
        lately.truncate(REMEMBERED);
    }

    /// Who was refused, the last first.
    pub(super) fn lately(&self) -> Vec<Refused> {
        self.lately.lock().clone()
    }
}

/// What a value must be.
#[derive(Debug)]
enum Wanted {
    Text(String),
    /// Whatever begins so.
    Prefix(String),
    Network(IpNet),
}

impl Wanted {
    fn new(dimension: Dimension, text: &str, names: &Names) -> Self {
        if dimension == Dimension::Ip {
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            if let Some(network) = text.parse().ok().or_else(address) {
                return Self::Network(network);
            }
        }
        if let Some(prefix) = text.strip_suffix('*') {
            return Self::Prefix(prefix.to_owned());
        }
        let id = names.get(&(dimension, text.to_owned()));
        Self::Text(id.map_or(text, String::as_str).to_owned())
    }

    fn is(&self, value: &str) -> bool {
        match self {
            Self::Text(text) => text == value,
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Network(_) => false,
        }
    }
}

/// The ids of what people call by names.
pub(super) type Names = HashMap<(Dimension, String), String>;

/// What limits look at: a call that is permitted.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) principal: &'a Principal,
    pub(super) target: &'a Target,
    pub(super) call: &'a Call,
}

impl Facts<'_> {
    /// Writes what a call is in one respect; false where it is nothing.
    fn write(&self, dimension: Dimension, out: &mut String) -> bool {
        let principal = self.principal;
        let written = match dimension {
            Dimension::Organization => write!(out, "{}", principal.organization),
            Dimension::Namespace => match self.target.server() {
                Some(server) => write!(out, "{}", server.namespace),
                None => return false,
            },
            // A person is one, whatever they show; who is none is counted by what they show.
            Dimension::User => match principal.person {
                Some(person) => write!(out, "{person}"),
                None => write!(out, "{}", principal.kind),
            },
            Dimension::ApiKey => match &principal.kind {
                PrincipalKind::Key(id) => write!(out, "{id}"),
                _ => return false,
            },
            Dimension::Role => write!(out, "{}", principal.role),
            Dimension::Ip => match self.call.from {
                Some(address) => write!(out, "{}", household(address)),
                None => return false,
            },
            Dimension::Server => match self.target.server() {
                Some(server) => write!(out, "{}", server.name),
                None => return false,
            },
            Dimension::Tool => match self.item(Some(ItemKind::Tool)) {
                Some((server, name)) => write!(out, "{}", qualified(server, name)),
                None => return false,
            },
            Dimension::Endpoint => match self.item(None) {
                Some((server, name)) => write!(out, "{}", qualified(server, name)),
                None => write!(out, "{}", self.call.method()),
            },
            Dimension::Method => write!(out, "{}", self.call.method()),
        };
        written.is_ok()
    }

    fn item(&self, kind: Option<ItemKind>) -> Option<(Option<&Server>, &str)> {
        let item = self.target.item().filter(|item| kind.is_none_or(|kind| item.kind == kind))?;
        Some((self.target.server().map(|server| &**server), &item.name))
    }

    fn is(&self, dimension: Dimension, wanted: &Wanted, value: &str) -> bool {
        match (dimension, wanted) {
            (Dimension::Ip, Wanted::Network(network)) => {
                self.call.from.is_some_and(|address| network.contains(&address.to_canonical()))
            }
            // Also by the server's own name for it, and by the server's id.
            (Dimension::Tool | Dimension::Endpoint, _) => {
                wanted.is(value) || self.item(None).is_some_and(|(_, name)| wanted.is(name))
            }
            (Dimension::Server, _) => {
                let id = || self.target.server().is_some_and(|it| wanted.is(&it.id.to_string()));
                wanted.is(value) || id()
            }
            _ => wanted.is(value),
        }
    }
}

fn qualified(server: Option<&Server>, name: &str) -> String {
    server.map_or_else(|| name.to_owned(), |server| qualify(&server.name, name))
}

impl Rule {
    /// The rule of a limit. It goes on with what was counted, where there was one before it.
    pub(super) fn new(limit: &RateLimit, names: &Names, before: Option<&Arc<Self>>) -> Self {
        let wanted = |(dimension, values): (&Dimension, &Vec<String>)| {
            let values = values.iter().map(|value| Wanted::new(*dimension, value, names));
            (*dimension, values.collect())
        };
        let quota = |window: &Window| (*window, Quota::new(limit.algorithm, *window, limit.burst));
        // What is counted one way means nothing another way.
        let algorithm = limit.algorithm.as_str();
        let id = format!("{}:{algorithm}", limit.id);
        let id_of_all = format!("{}/{}:{algorithm}", limit.organization, limit.name);
        Self {
            name: limit.name.as_str().into(),
            id,
            id_of_all,
            dimensions: limit.scope.dimensions().into(),
            only: limit.only.iter().map(wanted).collect(),
            quotas: limit.windows.iter().map(quota).collect(),
            counts: before.map(|before| before.counts.clone()).unwrap_or_default(),
        }
    }

    /// The same key for all gateways, which know the same limits under other ids.
    pub(super) fn key_of_all(&self, key: &str) -> String {
        format!("{}{}", self.id_of_all, key.strip_prefix(&self.id).unwrap_or(key))
    }

    /// Where a call stands with one of its windows, that passed everywhere or not.
    pub(super) fn standing(
        &self,
        (window, _): &(Window, Quota),
        look: &Look,
        (now_ms, is_counted): (u64, bool),
    ) -> LimitStanding {
        let is_left = look.passes() && !is_counted;
        let remaining = look.remaining + u64::from(is_left);
        LimitStanding {
            name: self.name.clone(),
            window: *window,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_ms: look.reset_ms,
            now_ms,
            wait_ms: look.wait_ms,
        }
    }

    /// Under which key a call is counted, without the window; none where it is not.
    pub(super) fn key(&self, facts: Facts<'_>) -> Option<String> {
        let mut value = String::new();
        for (dimension, wanted) in &self.only {
            value.clear();
            let is_one = facts.write(*dimension, &mut value)
                && wanted.iter().any(|wanted| facts.is(*dimension, wanted, &value));
            if !is_one {
                return None;
            }
        }
        let mut key = String::with_capacity(128);
        key.push_str(&self.id);
        for dimension in &self.dimensions {
            let _ = write!(key, "|{}=", dimension.as_str());
            if !facts.write(*dimension, &mut key) {
                return None;
            }
        }
        Some(key)
    }

    /// The key of whom these values describe; none where something of them is missing.
    pub(super) fn key_of(&self, value: impl Fn(Dimension) -> Option<String>) -> Option<String> {
        let mut key = self.id.clone();
        for dimension in &self.dimensions {
            let _ = write!(key, "|{}={}", dimension.as_str(), value(*dimension)?);
        }
        Some(key)
    }

    /// By what somebody is counted, as people read it.
    pub(super) fn shown<'a>(&self, key: &'a str) -> &'a str {
        let rest = key.strip_prefix(&self.id).unwrap_or(key);
        rest.strip_prefix('|').unwrap_or("everybody")
    }
}
