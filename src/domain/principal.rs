//! Who somebody is: people, programs, and the one who did it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KeyId, OrganizationId, Role, Timestamp, UserId};

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Where they belong.
    pub organization: OrganizationId,
    /// What they sign in with.
    pub username: String,
    /// What they may do.
    pub role: Role,
    /// The argon2id hash of their password, as a PHC string.
    pub password_hash: String,
    /// Whether they may sign in.
    pub is_active: bool,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// What kind of caller stands at the door.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// The bearer of an API key.
    Key(KeyId),
    /// Somebody who signed in.
    User(UserId),
    /// The owner of this machine's data folder, over its local socket.
    Operator,
    /// Nobody in particular: authentication is off.
    Anonymous,
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Operator => f.write_str("operator"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// Who somebody is, once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Which caller.
    pub kind: PrincipalKind,
    /// Where they belong.
    pub organization: OrganizationId,
    /// What they may do.
    pub role: Role,
}

/// Who made a change: the name that stands in the audit line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// The gateway itself, with the reason it acts.
    #[must_use]
    pub fn system(reason: &str) -> Self {
        Self(format!("system:{reason}"))
    }

    /// The actor as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&PrincipalKind> for Actor {
    fn from(kind: &PrincipalKind) -> Self {
        Self(kind.to_string())
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        Self(principal.kind.to_string())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
