//! Organizations and the namespaces in them.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{NamespaceId, OrganizationId, Prefixing, Slug, Timestamp};

/// Text that names no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the plans free, pro, enterprise")]
pub struct UnknownPlan(pub String);

/// What an organization pays for, as it is written down. What it may use stands in its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// The one that new organizations have.
    #[default]
    Free,
    /// The one in the middle.
    Pro,
    /// The largest.
    Enterprise,
}

impl Plan {
    /// Every plan.
    pub const ALL: [Self; 3] = [Self::Free, Self::Pro, Self::Enterprise];

    /// Its name, as stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
        }
    }
}

impl FromStr for Plan {
    type Err = UnknownPlan;

    fn from_str(text: &str) -> Result<Self, UnknownPlan> {
        let found = Self::ALL.into_iter().find(|plan| plan.as_str() == text);
        found.ok_or_else(|| UnknownPlan(text.to_owned()))
    }
}

/// How much an organization may have, and how long what it did is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// Servers that are registered at the same time.
    pub max_servers: u32,
    /// Sessions that are open at the same time.
    pub max_sessions: u32,
    /// Days for which whoever keeps its logs is to keep them.
    pub log_retention_days: u32,
}

impl Quotas {
    /// What a new organization has, unless something else is said.
    pub const NEW: Self = Self { max_servers: 10, max_sessions: 100, log_retention_days: 7 };

    /// What the organization has that exists from the start: whoever runs a gateway for themselves
    /// meets only the limits of the gateway.
    pub const FIRST: Self =
        Self { max_servers: 1_000, max_sessions: 20_000, log_retention_days: 7 };

    // Before limits were written down there was no other organization than the first.
    const fn first() -> Self {
        Self::FIRST
    }
}

/// A tenant. One exists from the start; a laptop never has to know the word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name in paths.
    pub slug: Slug,
    /// What people call it; its slug, where that says it all.
    #[serde(default)]
    pub name: String,
    /// What it pays for.
    #[serde(default)]
    pub plan: Plan,
    /// What it may have.
    #[serde(default = "Quotas::first")]
    pub quotas: Quotas,
    /// Whether anybody of it is let in.
    #[serde(default = "yes")]
    pub is_active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last; none where it never was.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

impl Organization {
    /// A new organization, as it is where nothing else is said.
    #[must_use]
    pub const fn new(id: OrganizationId, slug: Slug, created_at: Timestamp) -> Self {
        Self {
            id,
            slug,
            name: String::new(),
            plan: Plan::Free,
            quotas: Quotas::NEW,
            is_active: true,
            created_at,
            updated_at: None,
        }
    }
}

/// A group of servers with an endpoint of its own, `/mcp/{slug}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its id.
    pub id: NamespaceId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name in paths, unique in the organization.
    pub slug: Slug,
    /// What people call it; its slug, where that says it all.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// How names are qualified here, unless a server says otherwise.
    #[serde(default)]
    pub prefixing: Option<Prefixing>,
    /// Whether its servers are offered.
    #[serde(default = "yes")]
    pub is_active: bool,
    /// What people write down about it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last; none where it never was.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

impl Namespace {
    /// The slug of the namespace that every organization has.
    pub const DEFAULT: &str = "default";

    /// A new namespace, as it is where nothing else is said.
    #[must_use]
    pub const fn new(
        id: NamespaceId,
        organization: OrganizationId,
        slug: Slug,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            organization,
            slug,
            name: String::new(),
            description: String::new(),
            prefixing: None,
            is_active: true,
            metadata: BTreeMap::new(),
            created_at,
            updated_at: None,
        }
    }

    /// The slug of the namespace that every organization has.
    #[must_use]
    pub fn default_slug() -> Slug {
        Self::DEFAULT.parse().expect("our own word is a slug")
    }
}

pub(super) const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_before_there_were_limits_is_not_limited() {
        let id = OrganizationId::fixed(1);
        let stored = serde_json::json!({"id": id, "slug": "default", "created_at": 5});

        let organization: Organization = serde_json::from_value(stored).expect("readable");

        assert_eq!((organization.quotas, organization.is_active), (Quotas::FIRST, true));
    }

    #[test]
    fn a_namespace_stored_before_it_could_be_switched_off_is_on() {
        let (id, organization) = (NamespaceId::fixed(2), OrganizationId::fixed(1));
        let stored = serde_json::json!({
            "id": id, "organization": organization, "slug": "default", "created_at": 5,
        });

        let namespace: Namespace = serde_json::from_value(stored).expect("readable");

        assert_eq!(
            namespace,
            Namespace::new(id, organization, Namespace::default_slug(), Timestamp::from_ms(5))
        );
    }
}
