//! Where a call is addressed, and where it goes.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Item, Permission, Server, Slug};

/// What a client can see through the endpoint it uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// `/mcp`: all servers the caller may use.
    Everything,
    /// `/mcp/{namespace}`: the servers of one namespace.
    Namespace(Slug),
    /// `/servers/{id or name}/mcp`: one server, under its own names.
    Server(Box<str>),
}

impl Scope {
    /// Which endpoint a path is, if it is one of MCP.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        if path == "/mcp" {
            return Some(Self::Everything);
        }
        if let Some(namespace) = path.strip_prefix("/mcp/") {
            return namespace.parse().ok().map(Self::Namespace);
        }
        let server = path.strip_prefix("/servers/")?.strip_suffix("/mcp")?;
        (!server.is_empty() && !server.contains('/')).then(|| Self::Server(server.into()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("/mcp"),
            Self::Namespace(slug) => write!(f, "/mcp/{slug}"),
            Self::Server(name) => write!(f, "/servers/{name}/mcp"),
        }
    }
}

/// What a call is about, once its name has been looked up.
#[derive(Debug, Clone)]
pub enum Target {
    /// The gateway answers by itself: lists, discovery, its own tools.
    House {
        /// What the caller needs for it.
        permission: Permission,
        /// Its own item, where the call names one.
        item: Option<Item>,
    },
    /// An item of one server.
    Item {
        /// Whose item.
        server: Arc<Server>,
        /// Which one.
        item: Item,
        /// What the caller needs for it.
        permission: Permission,
    },
}

impl Target {
    /// What the caller needs.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        match self {
            Self::House { permission, .. } | Self::Item { permission, .. } => *permission,
        }
    }

    /// The server the call goes to, if it leaves the house.
    #[must_use]
    pub const fn server(&self) -> Option<&Arc<Server>> {
        match self {
            Self::House { .. } => None,
            Self::Item { server, .. } => Some(server),
        }
    }

    /// The item the call names, under its server's own name.
    #[must_use]
    pub const fn item(&self) -> Option<&Item> {
        match self {
            Self::House { item, .. } => item.as_ref(),
            Self::Item { item, .. } => Some(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_paths_of_mcp() {
        let team = "team".parse().expect("a slug");
        assert_eq!(Scope::at("/mcp"), Some(Scope::Everything));
        assert_eq!(Scope::at("/mcp/team"), Some(Scope::Namespace(team)));
        assert_eq!(Scope::at("/servers/time/mcp"), Some(Scope::Server("time".into())));

        for other in ["/", "/mcp/", "/mcp/rpc", "/mcp/a/b", "/servers//mcp", "/servers/a/b/mcp"] {
            assert_eq!(Scope::at(other), None, "{other}");
        }
    }
}
