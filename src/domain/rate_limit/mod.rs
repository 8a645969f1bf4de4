//! Rate limits: how many calls may pass in how long.

mod form;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use form::RateLimitForm;

use crate::domain::{Actor, OrganizationId, RateLimitId, Timestamp};

/// Text that names nothing by which calls are counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the scopes {names}", names = Dimension::NAMES)]
pub struct UnknownDimension(pub String);

/// By what calls are told apart when they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// The organization of who calls.
    Organization,
    /// The namespace of the server that is called.
    Namespace,
    /// Who calls: a person, with all keys and apps of theirs.
    User,
    /// The API key that was shown.
    ApiKey,
    /// The role of who calls.
    Role,
    /// The address that the call comes from; of IPv6, its first 64 bits.
    Ip,
    /// The server that is called.
    Server,
    /// The tool that is called.
    Tool,
    /// The tool, prompt or resource that is used, or else the method.
    Endpoint,
    /// The method of MCP.
    Method,
}

impl Dimension {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Organization,
        Self::Namespace,
        Self::User,
        Self::ApiKey,
        Self::Role,
        Self::Ip,
        Self::Server,
        Self::Tool,
        Self::Endpoint,
        Self::Method,
    ];

    const NAMES: &'static str = "organization, namespace, user, api_key, role, ip, server, tool, endpoint, method and global, joined by +";

    /// Its name, as stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Namespace => "namespace",
            Self::User => "user",
            Self::ApiKey => "api_key",
            Self::Role => "role",
            Self::Ip => "ip",
            Self::Server => "server",
            Self::Tool => "tool",
            Self::Endpoint => "endpoint",
            Self::Method => "method",
        }
    }
}

impl FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(text: &str) -> Result<Self, UnknownDimension> {
        // Also as predecessors call it.
        let name = match text.strip_suffix("_id").unwrap_or(text) {
            "org" => "organization",
            "key" => "api_key",
            "ip_range" => "ip",
            name => name,
        };
        let found = Self::ALL.into_iter().find(|it| it.as_str() == name);
        found.ok_or_else(|| UnknownDimension(text.chars().take(80).collect()))
    }
}

/// What calls are counted by: each combination of these by itself, and all calls together where
/// there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitScope(Vec<Dimension>);

impl LimitScope {
    const GLOBAL: &'static str = "global";

    /// By these, each once.
    #[must_use]
    pub fn of(mut dimensions: Vec<Dimension>) -> Self {
        dimensions.sort_unstable();
        dimensions.dedup();
        Self(dimensions)
    }

    /// By what.
    #[must_use]
    pub fn dimensions(&self) -> &[Dimension] {
        &self.0
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(Self::GLOBAL);
        }
        for (index, dimension) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { "+" };
            write!(f, "{joint}{}", dimension.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for LimitScope {
    type Err = UnknownDimension;

    fn from_str(text: &str) -> Result<Self, UnknownDimension> {
        if text == Self::GLOBAL {
            return Ok(Self::default());
        }
        let parts = text.split('+').map(|part| part.trim().parse());
        Ok(Self::of(parts.collect::<Result<_, _>>()?))
    }
}

/// How calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Those of this window, and of the one before as much as still reaches into the last
    /// `window`: two counters, the older weighted by its share.
    #[default]
    SlidingWindow,
    /// Each takes a token from a bucket, which fills up evenly.
    TokenBucket,
    /// Those of this window; windows follow one another, the first at the epoch of Unix.
    FixedWindow,
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::SlidingWindow, Self::TokenBucket, Self::FixedWindow];

    /// Its name, as stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlidingWindow => "sliding_window",
            Self::TokenBucket => "token_bucket",
            Self::FixedWindow => "fixed_window",
        }
    }
}

/// So many calls in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// How many calls.
    pub limit: u32,
    /// In how long, in seconds.
    pub seconds: u32,
}

impl Window {
    /// The largest limit. Larger ones limit nothing.
    pub const MOST: u32 = 1_000_000;
    /// The longest window: 31 days, in seconds.
    pub const LONGEST: u32 = 31 * 86_400;

    /// Its length.
    #[must_use]
    pub const fn span(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }
}

/// A rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Its id.
    pub id: RateLimitId,
    /// Whose calls it is about.
    pub organization: OrganizationId,
    /// What people call it, unique in the organization; it stands in headers.
    pub name: String,
    /// Why it is there.
    pub description: String,
    /// By what calls are counted.
    pub scope: LimitScope,
    /// Which calls are counted: those of which each of these is one of the values.
    pub only: BTreeMap<Dimension, Vec<String>>,
    /// How they are counted.
    pub algorithm: Algorithm,
    /// How many may pass in how long, the shortest window first. All hold at once.
    pub windows: Vec<Window>,
    /// How many tokens a bucket holds; as many as come in a window where nothing is said.
    pub burst: Option<u32>,
    /// Whether it holds at all.
    pub is_active: bool,
    /// Who made it.
    pub created_by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What was counted for some keys, as it is written down: of each the key, hashed, and what the
/// limiter makes of two numbers more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitTallies {
    /// Which part of the table.
    pub shard: u8,
    /// What was counted.
    pub tallies: Vec<(u64, u64, u64)>,
}

/// Where somebody stands with a rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitStanding {
    /// What the limit is called.
    pub name: Arc<str>,
    /// Its window.
    pub window: Window,
    /// How many more calls may pass now.
    pub remaining: u32,
    /// After how long all of it may be used again, in milliseconds.
    pub reset_ms: u64,
    /// When it was looked at, in milliseconds since 1970.
    pub now_ms: u64,
    /// After how long one call may pass; 0 where one may pass now, or this one did.
    pub wait_ms: u64,
}

impl LimitStanding {
    /// When all of it may be used again, in seconds since 1970.
    #[must_use]
    pub const fn resets_at(&self) -> u64 {
        (self.now_ms + self.reset_ms).div_ceil(1_000)
    }
}

/// Where a call stands with every rate limit that counts it. Small, because every answer and every
/// problem has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitStandings(Option<Arc<Vec<LimitStanding>>>);

impl LimitStandings {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[LimitStanding] {
        self.0.as_ref().map_or(&[], |all| all.as_slice())
    }

    /// The one that lets the fewest calls more pass.
    #[must_use]
    pub fn tightest(&self) -> Option<&LimitStanding> {
        self.all().iter().min_by_key(|it| (std::cmp::Reverse(it.wait_ms), it.remaining))
    }
}

impl From<Vec<LimitStanding>> for LimitStandings {
    fn from(all: Vec<LimitStanding>) -> Self {
        Self((!all.is_empty()).then(|| Arc::new(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_what_it_prints() {
        for (text, printed) in [
            ("global", "global"),
            ("user", "user"),
            ("tool+user", "user+tool"),
            ("org_id + ip_range", "organization+ip"),
            ("key+key", "api_key"),
        ] {
            let scope: LimitScope = text.parse().expect("a scope");
            assert_eq!(scope.to_string(), printed);
            assert_eq!(printed.parse(), Ok(scope));
        }
        let said = "user+moon".parse::<LimitScope>().expect_err("unknown").to_string();
        assert!(said.contains("\"moon\"") && said.contains("api_key"), "{said}");
    }
}
