//! Consents: what somebody lets a client do for them.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{Permission, Permissions};

/// What somebody lets a client do for them, until they take it back or it ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The client's id.
    pub client: String,
    /// What the client calls itself.
    pub name: String,
    /// Where its people are sent back to.
    pub redirect: String,
    /// The endpoint that its tokens open, and no other: a URL.
    pub resource: String,
    /// What its tokens are good for there.
    pub scopes: TokenScopes,
    /// HMAC-SHA-256 of the code it was begun with, by which a second use is known.
    pub code: [u8; 32],
}

/// What a token of a client may be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TokenScope {
    /// Seeing what is on offer, and reading it.
    #[serde(rename = "mcp:read")]
    Read,
    /// Calling tools.
    #[serde(rename = "mcp:call")]
    Call,
}

impl TokenScope {
    /// Every scope.
    pub const ALL: [Self; 2] = [Self::Read, Self::Call];

    /// The scope as it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "mcp:read",
            Self::Call => "mcp:call",
        }
    }

    /// What it lets a client do, in words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Read => "see the tools, resources and prompts you may use, and read them",
            Self::Call => "call tools in your name",
        }
    }

    /// What it is good for, as far as the person may do it.
    #[must_use]
    pub const fn permissions(self) -> Permissions {
        match self {
            Self::Read => Permissions::NONE
                .with(Permission::ItemsList)
                .with(Permission::ResourcesRead)
                .with(Permission::PromptsGet),
            Self::Call => Permissions::NONE.with(Permission::ToolsCall),
        }
    }
}

/// Several scopes. Prints them as they are sent, with a space between.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenScopes(BTreeSet<TokenScope>);

impl TokenScopes {
    /// Every scope.
    #[must_use]
    pub fn all() -> Self {
        Self(TokenScope::ALL.into())
    }

    /// The scopes that a text names, without those that there are not.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let named = |scope: &TokenScope| text.split(' ').any(|word| word == scope.as_str());
        Self(TokenScope::ALL.into_iter().filter(named).collect())
    }

    /// The scopes to ask for by whoever has a token that is good for `has` and needs one that is
    /// good for `lacks` too; none where no scope is.
    #[must_use]
    pub fn to_reach(has: Permissions, lacks: Permission) -> Option<Self> {
        let gives = |scope: &TokenScope| scope.permissions().has(lacks);
        TokenScope::ALL.iter().any(gives).then(|| {
            let is_had = |scope: &TokenScope| has.include(scope.permissions());
            Self(TokenScope::ALL.into_iter().filter(|it| is_had(it) || gives(it)).collect())
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of the others are among them.
    #[must_use]
    pub fn include(&self, others: &Self) -> bool {
        self.0.is_superset(&others.0)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = TokenScope> {
        self.0.iter().copied()
    }

    /// What they are good for together.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.iter().flat_map(|scope| scope.permissions().iter()).collect()
    }
}

impl fmt::Display for TokenScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(TokenScope::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_scopes_and_what_is_none_is_left_out() {
        assert_eq!(TokenScopes::read("openid mcp:call offline_access").to_string(), "mcp:call");
        assert_eq!(TokenScopes::read("mcp:call mcp:read"), TokenScopes::all());
        for none in ["", "mcp", "MCP:READ", "mcp:read,mcp:call", "mcp:read\tmcp:call"] {
            assert!(TokenScopes::read(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn no_scope_reaches_beyond_what_every_role_may_have() {
        use crate::domain::Role;

        assert!(Role::User.permissions().include(TokenScopes::all().permissions()));
    }

    #[test]
    fn whoever_needs_more_is_told_what_to_ask_for_with_what_they_have() {
        let read = TokenScope::Read.permissions();
        let to_reach = |has, lacks| TokenScopes::to_reach(has, lacks).map(|it| it.to_string());

        let more = to_reach(read, Permission::ToolsCall);
        assert_eq!(more.as_deref(), Some("mcp:read mcp:call"));
        let first = to_reach(Permissions::NONE, Permission::ItemsList);
        assert_eq!(first.as_deref(), Some("mcp:read"));
        assert_eq!(to_reach(read, Permission::ServersRead), None);
    }
}
