//! Who somebody is: people, programs, and the one who did it.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Email, KeyId, Limits, OrganizationId, Permission, Permissions, Role, Sight, SubjectId,
    Timestamp, UserId, organization::yes,
};

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Where they belong.
    pub organization: OrganizationId,
    /// What they sign in with.
    pub username: String,
    /// Where they are written to, and what they may sign in with too.
    #[serde(default)]
    pub email: Option<Email>,
    /// What people call them.
    #[serde(default)]
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Whether they stand above organizations. Before this was written down there was one account,
    /// that of whoever claimed the house.
    #[serde(default = "yes")]
    pub is_superuser: bool,
    /// The argon2id hash of their password, as a PHC string.
    pub password_hash: String,
    /// Whether they may sign in.
    pub is_active: bool,
    /// Whether their address was proved to be theirs.
    #[serde(default)]
    pub email_verified: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it was changed last; none where it never was.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

impl User {
    /// All that they may do.
    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        if self.is_superuser { Permissions::all() } else { self.role.permissions() }
    }
}

/// What kind of caller stands at the door.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// The bearer of an API key.
    Key(KeyId),
    /// Somebody who signed in.
    User(UserId),
    /// Somebody whom another issuer vouches for.
    Federated(SubjectId),
    /// The owner of this machine's data folder, over its local socket.
    Operator,
    /// Nobody in particular: authentication is off.
    Anonymous,
}

impl PrincipalKind {
    /// Every kind's word.
    pub const WORDS: [&str; 5] = ["key", "user", "federated", "operator", "anonymous"];

    /// The kind alone, without which one of it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::User(_) => "user",
            Self::Federated(_) => "federated",
            Self::Operator => "operator",
            Self::Anonymous => "anonymous",
        }
    }
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Federated(id) => write!(f, "federated:{id}"),
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
    /// What they are.
    pub role: Role,
    /// What they may do.
    pub permissions: Permissions,
    /// What their key is limited to, where it is.
    pub limits: Option<Arc<Limits>>,
    /// The person behind it, where there is one with an account.
    pub person: Option<UserId>,
    /// What their credential is good for, whatever else they may.
    pub within: Permissions,
}

impl Principal {
    /// Whether they may do this.
    #[must_use]
    pub const fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }

    /// Whether a policy may let them do this where their role does not: nobody made them less than
    /// their role, and what they show is good for it.
    #[must_use]
    pub const fn may_be_let(&self, permission: Permission) -> bool {
        self.within.has(permission)
            && self.permissions.include(self.role.permissions().and(self.within))
    }

    /// How far they see.
    #[must_use]
    pub fn sight(&self) -> Sight {
        Sight { organization: self.organization, limits: self.limits.clone() }
    }
}

/// Who made a change, as it stands in the audit line. Written down alone, it is their name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Actor {
    name: String,
    from: Option<IpAddr>,
}

impl Actor {
    /// The gateway itself, with the reason it acts.
    #[must_use]
    pub fn system(reason: &str) -> Self {
        Self::from(format!("system:{reason}"))
    }

    /// The same, who came from this address.
    #[must_use]
    pub fn at(self, from: Option<IpAddr>) -> Self {
        Self { from, ..self }
    }

    /// The address they came from, where it is known.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.from
    }

    /// The actor as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl From<String> for Actor {
    fn from(name: String) -> Self {
        Self { name, from: None }
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.name
    }
}

impl From<&PrincipalKind> for Actor {
    fn from(kind: &PrincipalKind) -> Self {
        Self::from(kind.to_string())
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        Self::from(&principal.kind)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_claimed_the_house_before_stands_above_organizations() {
        let stored = serde_json::json!({
            "id": UserId::fixed(7), "organization": OrganizationId::fixed(1), "username": "ana",
            "role": "admin", "password_hash": "$argon2id$", "is_active": true, "created_at": 5,
        });

        let user: User = serde_json::from_value(stored).expect("readable");

        assert!(user.is_superuser && user.permissions() == Permissions::all());
    }
}
