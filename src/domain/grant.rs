//! Grants: permissions as people give them to a key, `thing:action`, with `*` for all of either.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Permission, Permissions};

/// Text that grants nothing there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no permission; one is thing:action, such as tools:call, servers:* or *")]
pub struct InvalidGrant(pub String);

/// What a grant's name was in predecessors, and what it is here.
const FORMER: &[(&str, &[&str])] = &[
    ("admin", &["*"]),
    (
        "gateway:read",
        &["items:list", "resources:read", "prompts:get", "servers:read", "namespaces:read"],
    ),
    ("gateway:write", &["servers:write", "namespaces:write"]),
    ("tool_execute", &["tools:call"]),
    ("tool_read", &["items:list"]),
    ("resource_read", &["resources:read"]),
    ("prompt_read", &["prompts:get"]),
    ("server_read", &["servers:read"]),
    ("server_write", &["servers:write"]),
    ("server_manage", &["servers:*"]),
    ("session_read", &["sessions:read"]),
    ("session_write", &["sessions:write"]),
    ("session_manage", &["sessions:*"]),
    ("user_read", &["users:read"]),
    ("user_write", &["users:write"]),
    ("user_manage", &["users:*"]),
    ("namespace_read", &["namespaces:read"]),
    ("namespace_write", &["namespaces:write"]),
    ("namespace_manage", &["namespaces:*"]),
    ("org_read", &["organizations:read"]),
    ("org_manage", &["organizations:*"]),
    ("metrics_read", &["metrics:read"]),
    ("api_key_manage", &["keys:*"]),
    ("system_manage", &["system:manage"]),
];

/// One permission, or all that fit a pattern. It matches at least one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grant(Box<str>);

impl Grant {
    /// The grants that a text means: one, or several where a predecessor had one word for them.
    pub fn read(text: &str) -> Result<Vec<Self>, InvalidGrant> {
        match FORMER.iter().find(|(former, _)| *former == text) {
            Some((_, now)) => now.iter().map(|grant| grant.parse()).collect(),
            None => Ok(vec![text.parse()?]),
        }
    }

    /// The grant as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names one permission, and is no pattern.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// What it grants. One that a later release wrote may grant nothing here.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        let (thing, action) = self.0.split_once(':').unwrap_or((&self.0, &self.0));
        let fits = |pattern: &str, word: &str| pattern == "*" || pattern == word;
        let granted = Permission::ALL.into_iter().filter(|permission| {
            let name = permission.as_str();
            name.split_once(':').is_some_and(|(its, does)| fits(thing, its) && fits(action, does))
        });
        granted.collect()
    }
}

impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let grant = Self(text.into());
        if grant.permissions() == Permissions::NONE {
            return Err(InvalidGrant(text.chars().take(80).collect()));
        }
        Ok(grant)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(text: &str) -> Vec<&'static str> {
        let grants = Grant::read(text).expect(text);
        let all: Permissions = grants.iter().flat_map(|it| it.permissions().iter()).collect();
        all.names()
    }

    #[test]
    fn a_star_stands_for_every_thing_or_every_action() {
        assert_eq!(granted("tools:call"), ["tools:call"]);
        assert_eq!(granted("keys:*"), ["keys:read", "keys:write"]);
        assert_eq!(granted("*:call"), ["tools:call"]);
        assert_eq!(granted("*").len(), Permission::ALL.len());
        assert_eq!(granted("*:*").len(), Permission::ALL.len());
    }

    #[test]
    fn what_grants_nothing_is_refused() {
        for bad in ["", ":", "tools", "tools:", "tools:burn", "Tools:Call", "tools:call:x", "t*"] {
            assert!(Grant::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_words_of_predecessors_mean_something_that_there_is() {
        for (former, _) in FORMER {
            assert!(Grant::read(former).is_ok_and(|grants| !grants.is_empty()), "{former}");
        }
        assert_eq!(granted("gateway:write"), ["servers:write", "namespaces:write"]);
    }
}
