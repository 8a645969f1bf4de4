//! Servers: what is behind the gateway, and how each instance is reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Balance, Endpoint, InstanceId, NamespaceId, OnChange, OrganizationId, Prefixing, ServerAuth,
    ServerId, Slug, Timestamp,
};

/// A named server with one or more instances that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Where it is grouped.
    pub namespace: NamespaceId,
    /// Its name, unique in the organization.
    pub name: Slug,
    /// What it is for, in a person's words.
    #[serde(default)]
    pub description: String,
    /// What people want of it.
    pub state: State,
    /// How its names are qualified; none leaves it to the namespace.
    #[serde(default)]
    pub prefixing: Option<Prefixing>,
    /// How long a call may take, in seconds; none leaves it to the settings.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
    /// How many calls may be in flight towards it; none leaves it to the settings.
    #[serde(default)]
    pub max_in_flight: Option<u32>,
    /// Where it runs. Never empty.
    pub instances: Vec<Instance>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// What happens when it says something else than it did; none leaves it to the settings.
    #[serde(default)]
    pub on_change: Option<OnChange>,
    /// How calls are shared among its instances.
    #[serde(default)]
    pub balance: Balance,
    /// How long what it says is kept.
    #[serde(default)]
    pub cache: CachePolicy,
    /// How it is looked at when nobody calls it.
    #[serde(default)]
    pub checks: Option<Box<CheckPolicy>>,
    /// What people write on it, where they do.
    #[serde(default)]
    pub labels: Option<Box<Labels>>,
    /// Whether it is kept what is said in calls of it.
    #[serde(default)]
    pub keeps_bodies: bool,
    /// Where it was discovered; none where somebody registered it.
    #[serde(default)]
    pub origin: Option<Box<str>>,
}

impl Server {
    /// How it is looked at when nobody calls it.
    #[must_use]
    pub fn checks(&self) -> &CheckPolicy {
        self.checks.as_deref().unwrap_or(CheckPolicy::OF_SETTINGS)
    }

    /// The words that it goes by with others.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        self.labels.as_ref().map_or(&[], |labels| &labels.tags)
    }

    /// Whether it speaks no MCP, but plain HTTP: then all its instances do.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.instances.iter().any(|instance| instance.endpoint.is_plain())
    }

    /// Whether it is as another describes it, whatever people want of it and when it was made.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let instance = |(own, other): (&Instance, &Instance)| {
            own.endpoint == other.endpoint
                && own.weight == other.weight
                && own.metadata == other.metadata
        };
        self.description == other.description
            && self.prefixing == other.prefixing
            && self.timeout_seconds == other.timeout_seconds
            && self.max_in_flight == other.max_in_flight
            && self.cache == other.cache
            && self.checks == other.checks
            && self.labels == other.labels
            && self.keeps_bodies == other.keeps_bodies
            && self.balance == other.balance
            && self.on_change == other.on_change
            && self.instances.len() == other.instances.len()
            && self.instances.iter().zip(&other.instances).all(instance)
    }

    /// Becomes as another describes it. Instances that stay where they are stay what they are.
    pub fn become_as(&mut self, other: Self) {
        let mut before = std::mem::take(&mut self.instances);
        self.instances = other.instances;
        for instance in &mut self.instances {
            let same = before.iter().position(|old| old.endpoint == instance.endpoint);
            if let Some(old) = same.map(|at| before.swap_remove(at)) {
                (instance.id, instance.state) = (old.id, old.state);
            }
        }
        self.description = other.description;
        self.prefixing = other.prefixing;
        self.timeout_seconds = other.timeout_seconds;
        self.max_in_flight = other.max_in_flight;
        self.cache = other.cache;
        self.checks = other.checks;
        self.labels = other.labels;
        self.keeps_bodies = other.keeps_bodies;
        self.balance = other.balance;
        self.on_change = other.on_change;
    }
}

/// How long what a server says is kept, and said again in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CachePolicy {
    /// How long resources are, in seconds; none leaves it to the server, and 0 keeps nothing.
    pub resources_seconds: Option<u32>,
    /// How long lists are, in seconds; none leaves it to the server.
    pub lists_seconds: Option<u32>,
    /// How long answers of tools are that only read, in seconds. Where nothing is said, or 0, they
    /// are not.
    pub tools_seconds: Option<u32>,
    /// For whom; none leaves it to the server.
    pub scope: Option<CacheScope>,
}

impl CachePolicy {
    /// The longest that anything is kept, in seconds: a day.
    pub const LONGEST: u32 = 86_400;

    /// The policy with what another says in place of what it said; one that says nothing takes all
    /// of it back.
    #[must_use]
    pub fn changed(self, by: Self) -> Self {
        if by == Self::default() {
            return by;
        }
        Self {
            resources_seconds: by.resources_seconds.or(self.resources_seconds),
            lists_seconds: by.lists_seconds.or(self.lists_seconds),
            tools_seconds: by.tools_seconds.or(self.tools_seconds),
            scope: by.scope.or(self.scope),
        }
    }
}

/// What people write on a server, for themselves, for lists and for policies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// Which version it is.
    pub version: String,
    /// Words that it goes by with others, each once, in order.
    pub tags: Vec<String>,
    /// Anything else.
    pub metadata: BTreeMap<String, String>,
}

impl Labels {
    /// Tags of a server.
    pub const TAGS: usize = 32;
    /// Letters of a tag, or of a version.
    pub const WORD: usize = 64;
    /// Members of the rest.
    pub const MEMBERS: usize = 32;
    /// Letters of one of them.
    pub const MEMBER: usize = 256;
}

/// How instances of a server are looked at when nobody calls them; what is not said is left to the
/// settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckPolicy {
    /// How often, in seconds; 0 for never.
    pub interval_seconds: Option<u32>,
    /// How long it may take, in seconds.
    pub timeout_seconds: Option<u32>,
    /// The program that looks, with its arguments: an instance is well where it ends with 0. Where
    /// there is none, the gateway asks by itself.
    pub command: Vec<String>,
}

impl CheckPolicy {
    /// The policy that says nothing.
    pub const OF_SETTINGS: &Self =
        &Self { interval_seconds: None, timeout_seconds: None, command: Vec::new() };
    /// The longest time between two looks, in seconds: a day.
    pub const LONGEST: u32 = 86_400;
    /// The longest that one may take, in seconds.
    pub const SLOWEST: u32 = 300;
    /// Words of a command.
    pub const WORDS: usize = 64;

    /// The policy as a server holds it, where it says something.
    #[must_use]
    pub fn kept(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| self.into())
    }

    /// Whether a program looks.
    #[must_use]
    pub const fn is_program(&self) -> bool {
        !self.command.is_empty()
    }

    /// The policy with what another says in place of what it said; one that says nothing takes all
    /// of it back.
    #[must_use]
    pub fn changed(self, by: Self) -> Self {
        if by == Self::default() {
            return by;
        }
        Self {
            interval_seconds: by.interval_seconds.or(self.interval_seconds),
            timeout_seconds: by.timeout_seconds.or(self.timeout_seconds),
            command: if by.is_program() { by.command } else { self.command },
        }
    }
}

/// For whom an answer that was kept is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheScope {
    /// For whoever asked.
    #[default]
    Private,
    /// For everybody who may ask.
    Public,
}

/// One place where a server runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// How it is reached.
    pub endpoint: Endpoint,
    /// How many calls it takes where another of weight 1 takes one, and the server goes by weight.
    #[serde(default = "one")]
    pub weight: u16,
    /// What people want of it.
    #[serde(default)]
    pub state: State,
    /// What it is like: `region`, `tier`, `cost`, or anything else.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

const fn one() -> u16 {
    1
}

impl Instance {
    /// The heaviest weight.
    pub const MAX_WEIGHT: u16 = 100;

    /// A new instance, like any other.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        let (id, metadata) = (InstanceId::fresh(), BTreeMap::new());
        Self { id, endpoint, weight: 1, state: State::Active, metadata }
    }

    /// Whether everybody is somebody else there, with an account of their own.
    #[must_use]
    pub const fn is_personal(&self) -> bool {
        match &self.endpoint {
            Endpoint::Http { auth, .. } => {
                matches!(auth, ServerAuth::OAuth(_) | ServerAuth::TokenExchange(_))
            }
            Endpoint::Stdio { .. } => false,
        }
    }
}

/// What people want of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It takes calls.
    #[default]
    Active,
    /// It is switched off.
    Inactive,
    /// It is being worked on.
    Maintenance,
}

/// How a server was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// It has not been asked yet.
    #[default]
    Unknown,
    /// It answered last time.
    Healthy,
    /// It did not.
    Unhealthy {
        /// Why, in words that name no internals.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
}

impl Health {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy { .. } => "unhealthy",
        }
    }
}
