//! Policies: who may use which tool, prompt or resource, beyond what roles say.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Actor, OrganizationId, PolicyId, Timestamp};

/// Text that names no type of policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not supported; the types are access, rate_limit, routing and security")]
pub struct UnknownPolicyType(pub String);

/// What a policy is for, in people's eyes. Each type may have every effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyType {
    /// Who may do what.
    #[default]
    Access,
    /// How often who may do what.
    RateLimit,
    /// Where calls go.
    Routing,
    /// What must hold, and what must not get out.
    Security,
}

impl PolicyType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Access, Self::RateLimit, Self::Routing, Self::Security];

    /// The type's name, as stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::RateLimit => "rate_limit",
            Self::Routing => "routing",
            Self::Security => "security",
        }
    }
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PolicyType {
    type Err = UnknownPolicyType;

    fn from_str(text: &str) -> Result<Self, UnknownPolicyType> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownPolicyType(text.chars().take(80).collect()))
    }
}

/// A policy as people write it. What its conditions and actions mean is known once they are
/// compiled; here they are kept as they were written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its id.
    pub id: PolicyId,
    /// Whose calls it is about.
    pub organization: OrganizationId,
    /// What people call it, unique in the organization.
    pub name: String,
    /// Why it is there.
    #[serde(default)]
    pub description: String,
    /// What it is for.
    pub r#type: PolicyType,
    /// Its place among others: the higher, the earlier it is asked.
    pub priority: u16,
    /// When it holds.
    pub conditions: Value,
    /// What it does then.
    pub actions: Value,
    /// Whether it is asked at all.
    pub is_active: bool,
    /// Who made it.
    pub created_by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl Policy {
    /// The priority of a policy that says none.
    pub const DEFAULT_PRIORITY: u16 = 100;
    /// The lowest and the highest priority.
    pub const PRIORITIES: std::ops::RangeInclusive<u16> = 1..=1_000;
}

/// Who decided about a call, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A policy allows it.
    Allow,
    /// A policy denies it.
    Deny,
    /// No policy says anything of it, so the caller's role decides.
    Role,
}

impl Decision {
    /// The decision as a word for records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Role => "role",
        }
    }
}

/// What policies said of one call, for the journal: enough to explain it later.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// How it was decided.
    pub decision: Decision,
    /// The policy that decided.
    pub policy: Option<Arc<str>>,
    /// What that policy says about itself, or why it could not be evaluated.
    pub message: Option<String>,
    /// The policies whose redactions the answer passes.
    pub redacted_by: Vec<Arc<str>>,
    /// What was looked at: each field with its value, as JSON.
    pub inputs: Vec<(Arc<str>, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_what_it_prints_and_names_what_is_supported() {
        for kind in PolicyType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let said = "transform".parse::<PolicyType>().expect_err("unsupported").to_string();
        assert!(said.contains("routing and security"), "{said}");
    }
}
