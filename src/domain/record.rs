//! What the book says: lines of the audit and entries of the change feed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Actor, Digest, OrganizationId, Timestamp};

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
    /// Something that was asked of the gateway's office.
    Request,
    /// Somebody's try to sign in.
    SignIn,
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
            Self::Request => "request",
            Self::SignIn => "sign_in",
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
    /// Nothing: somebody wanted it, and may not.
    Refused,
}

impl Change {
    /// The change as it stands in actions such as `server.created`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Refused => "refused",
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
    /// Whose thing it is; none where it belongs to no organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationId>,
    /// The address whoever did it came from, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// What it was before, as JSON without secrets: what is different now, or all of it where it
    /// is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is now, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// The SHA-256 over the same of the line before and all else that stands here; none in lines
    /// of before there was a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Digest>,
}

impl AuditLine {
    /// What chains the line to the one before it.
    ///
    /// # Panics
    ///
    /// Never: a line is always JSON.
    #[must_use]
    pub fn link(&self, before: Option<Digest>) -> Digest {
        let plain = Self { chain: None, ..self.clone() };
        let text = serde_json::to_vec(&plain).expect("a line is always JSON");
        let before = before.map_or([0; 32], |digest| digest.0);
        Digest(openssl::sha::sha256(&[&before[..], &text].concat()))
    }

    /// The line, chained to the one before it.
    #[must_use]
    pub fn chained(self, before: Option<Digest>) -> Self {
        let chain = Some(self.link(before));
        Self { chain, ..self }
    }
}

/// What somebody wanted and may not: a line of the audit that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// About what kind of thing it was.
    pub noun: Noun,
    /// What was wanted.
    pub id: String,
    /// What it is called, or what is missing.
    pub name: String,
    /// Whose it is.
    pub organization: Option<OrganizationId>,
    /// What is to be said beside that.
    pub detail: Option<String>,
}

/// The end of the audit, kept apart from its lines, so that none can be cut off unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The number of the last line.
    pub sequence: u64,
    /// What chains it.
    pub chain: Digest,
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
