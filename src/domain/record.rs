//! What the book says: lines of the audit and entries of the change feed.

use serde::{Deserialize, Serialize};

use super::{Actor, Timestamp};

/// What kind of thing a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noun {
    /// An organization.
    Organization,
    /// A namespace.
    Namespace,
    /// A person's account.
    User,
    /// An API key.
    Key,
    /// A server with its instances.
    Server,
    /// Somebody's sign-in.
    Login,
    /// A key that signs tokens.
    SigningKey,
    /// Somebody's second factor.
    SecondFactor,
    /// A policy.
    Policy,
    /// A rate limit.
    RateLimit,
    /// A route of HTTP requests.
    HttpRoute,
    /// What is pinned of a server.
    Pins,
    /// Somebody's account at a server.
    Link,
}

impl Noun {
    /// The noun as it stands in actions such as `server.created`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Namespace => "namespace",
            Self::User => "user",
            Self::Key => "key",
            Self::Server => "server",
            Self::Login => "login",
            Self::SigningKey => "signing_key",
            Self::SecondFactor => "second_factor",
            Self::Policy => "policy",
            Self::RateLimit => "rate_limit",
            Self::HttpRoute => "route",
            Self::Pins => "pins",
            Self::Link => "link",
        }
    }
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there before.
    Created,
    /// It was there and is different now.
    Updated,
    /// It is gone.
    Deleted,
}

impl Change {
    /// The change as it stands in actions such as `server.created`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// One line of the audit: who did what to which thing, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its place in the book; no number is missing.
    pub sequence: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// To what kind of thing.
    pub noun: Noun,
    /// Which one.
    pub id: String,
    /// What was done.
    pub change: Change,
    /// What people call it.
    pub name: String,
    /// What is to be said beside that, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One entry of the ordered feed that mirrors follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// Its place in the feed, equal to that of its audit line.
    pub sequence: u64,
    /// What kind of thing changed.
    pub noun: Noun,
    /// Which one.
    pub id: String,
    /// What happened to it.
    pub change: Change,
}
