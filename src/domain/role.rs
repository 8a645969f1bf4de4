//! Roles, and the permissions they stand for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the roles admin, user, viewer, api_user")]
pub struct UnknownRole(pub String);

/// What somebody is. A role expands to permissions in [`Role::permits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the house.
    Admin,
    /// Uses tools and sees what there is.
    User,
    /// Sees what there is.
    Viewer,
    /// A program that uses tools.
    ApiUser,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::User, Self::Viewer, Self::ApiUser];

    /// The role's name, as stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Viewer => "viewer",
            Self::ApiUser => "api_user",
        }
    }

    /// Whether the role may do this.
    #[must_use]
    pub const fn permits(self, permission: Permission) -> bool {
        match permission {
            Permission::ItemsList | Permission::ResourcesRead | Permission::PromptsGet => true,
            Permission::ToolsCall => !matches!(self, Self::Viewer),
            Permission::ServersRead => !matches!(self, Self::ApiUser),
            Permission::ServersWrite
            | Permission::KeysRead
            | Permission::KeysWrite
            | Permission::MetricsRead
            | Permission::SessionsRead
            | Permission::SessionsWrite
            | Permission::SessionsManage
            | Permission::StdioExecute
            | Permission::SystemManage => matches!(self, Self::Admin),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// One thing somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See the lists of tools, resources and prompts.
    ItemsList,
    /// Call a tool.
    ToolsCall,
    /// Read a resource.
    ResourcesRead,
    /// Get a prompt, or complete one of its arguments.
    PromptsGet,
    /// See servers and their health.
    ServersRead,
    /// Register, change and retire servers.
    ServersWrite,
    /// See API keys, without their text.
    KeysRead,
    /// Make and revoke API keys.
    KeysWrite,
    /// Read the metrics.
    MetricsRead,
    /// See the sessions of others.
    SessionsRead,
    /// Say something in a session of somebody else's, and end it.
    SessionsWrite,
    /// Say something in all sessions of the organization.
    SessionsManage,
    /// Run a program of the operator's list.
    StdioExecute,
    /// Claim the house and read its settings.
    SystemManage,
}

impl Permission {
    /// The permission as `thing:action`, for people and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ItemsList => "items:list",
            Self::ToolsCall => "tools:call",
            Self::ResourcesRead => "resources:read",
            Self::PromptsGet => "prompts:get",
            Self::ServersRead => "servers:read",
            Self::ServersWrite => "servers:write",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::MetricsRead => "metrics:read",
            Self::SessionsRead => "sessions:read",
            Self::SessionsWrite => "sessions:write",
            Self::SessionsManage => "sessions:manage",
            Self::StdioExecute => "stdio:execute",
            Self::SystemManage => "system:manage",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_looks_and_does_not_touch() {
        assert!(Role::Viewer.permits(Permission::ItemsList));
        assert!(!Role::Viewer.permits(Permission::ToolsCall));
        assert!(!Role::User.permits(Permission::ServersWrite));
    }

    #[test]
    fn a_role_reads_what_it_prints() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
    }
}
