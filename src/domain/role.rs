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
            Permission::ServersRead | Permission::NamespacesRead => !matches!(self, Self::ApiUser),
            Permission::ServersWrite
            | Permission::KeysRead
            | Permission::KeysWrite
            | Permission::SessionsRead
            | Permission::SessionsWrite
            | Permission::SessionsManage
            | Permission::UsersRead
            | Permission::UsersWrite
            | Permission::NamespacesWrite
            | Permission::OrganizationsRead
            | Permission::PoliciesRead
            | Permission::PoliciesWrite
            | Permission::AuditRead
            | Permission::LogsRead => matches!(self, Self::Admin),
            // These reach beyond an organization, and so does no role.
            Permission::MetricsRead
            | Permission::StdioExecute
            | Permission::SystemManage
            | Permission::OrganizationsManage => false,
        }
    }

    /// All that the role may do.
    #[must_use]
    pub const fn permissions(self) -> Permissions {
        let mut all = Permissions::NONE;
        let mut index = 0;
        while index < Permission::ALL.len() {
            let permission = Permission::ALL[index];
            if self.permits(permission) {
                all = all.with(permission);
            }
            index += 1;
        }
        all
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
    /// Run a program on the gateway's machine.
    StdioExecute,
    /// Claim the house and read its settings.
    SystemManage,
    /// See the accounts of people.
    UsersRead,
    /// Make, change and delete accounts of people.
    UsersWrite,
    /// See namespaces.
    NamespacesRead,
    /// Make, change and delete namespaces.
    NamespacesWrite,
    /// See the organization, its plan and its limits.
    OrganizationsRead,
    /// Stand above organizations: make, change and delete them, and work in each.
    OrganizationsManage,
    /// See policies, and try what they would decide.
    PoliciesRead,
    /// Make, change and remove policies.
    PoliciesWrite,
    /// See who changed what.
    AuditRead,
    /// See what was called, and by whom.
    LogsRead,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 24] = [
        Self::ItemsList,
        Self::ToolsCall,
        Self::ResourcesRead,
        Self::PromptsGet,
        Self::ServersRead,
        Self::ServersWrite,
        Self::KeysRead,
        Self::KeysWrite,
        Self::MetricsRead,
        Self::SessionsRead,
        Self::SessionsWrite,
        Self::SessionsManage,
        Self::StdioExecute,
        Self::SystemManage,
        Self::UsersRead,
        Self::UsersWrite,
        Self::NamespacesRead,
        Self::NamespacesWrite,
        Self::OrganizationsRead,
        Self::OrganizationsManage,
        Self::PoliciesRead,
        Self::PoliciesWrite,
        Self::AuditRead,
        Self::LogsRead,
    ];

    /// What it lets somebody do, in words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::ItemsList => "see the lists of tools, resources and prompts",
            Self::ToolsCall => "call tools",
            Self::ResourcesRead => "read resources",
            Self::PromptsGet => "get prompts, and complete their arguments",
            Self::ServersRead => "see servers and how they are",
            Self::ServersWrite => {
                "register, change and retire servers, and see how they are reached"
            }
            Self::KeysRead => "see API keys, without their text",
            Self::KeysWrite => "make, change and revoke API keys",
            Self::MetricsRead => "read the metrics of the whole gateway",
            Self::SessionsRead => "see the sessions of others",
            Self::SessionsWrite => "say something in a session of somebody else's, and end it",
            Self::SessionsManage => "say something in all sessions of the organization",
            Self::StdioExecute => {
                "run programs on the gateway's machine: servers that are programs, and those the operator lists"
            }
            Self::SystemManage => "manage the gateway itself",
            Self::UsersRead => "see the accounts of people",
            Self::UsersWrite => "make, change and delete accounts of people",
            Self::NamespacesRead => "see namespaces",
            Self::NamespacesWrite => "make, change and delete namespaces",
            Self::OrganizationsRead => "see the organization, its plan and its limits",
            Self::OrganizationsManage => "make, change and delete organizations, and work in each",
            Self::PoliciesRead => "see policies, and try what they would decide",
            Self::PoliciesWrite => "make, change and delete policies",
            Self::AuditRead => "see who changed what, and when",
            Self::LogsRead => "see what was called, by whom, and how it ended",
        }
    }

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
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::NamespacesRead => "namespaces:read",
            Self::NamespacesWrite => "namespaces:write",
            Self::OrganizationsRead => "organizations:read",
            Self::OrganizationsManage => "organizations:manage",
            Self::PoliciesRead => "policies:read",
            Self::PoliciesWrite => "policies:write",
            Self::AuditRead => "audit:read",
            Self::LogsRead => "logs:read",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions: one bit each, so that asking for one costs one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u64);

impl Permissions {
    /// Nothing at all.
    pub const NONE: Self = Self(0);

    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        let mut all = Self::NONE;
        let mut index = 0;
        while index < Permission::ALL.len() {
            all = all.with(Permission::ALL[index]);
            index += 1;
        }
        all
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | 1 << permission as u64)
    }

    /// Whether one is among them.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & 1 << permission as u64 != 0
    }

    /// What both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of the others are among them.
    #[must_use]
    pub const fn include(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.has(*permission))
    }

    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Permission::as_str).collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
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
    fn no_role_reaches_beyond_its_organization() {
        for above in [
            Permission::OrganizationsManage,
            Permission::SystemManage,
            Permission::StdioExecute,
            Permission::MetricsRead,
        ] {
            assert!(Role::ALL.into_iter().all(|role| !role.permits(above)), "{above}");
        }
    }

    #[test]
    fn every_permission_has_a_bit_a_name_and_words_of_its_own() {
        use std::collections::BTreeSet;

        let names: BTreeSet<_> = Permission::ALL.iter().map(|it| it.as_str()).collect();
        let words: BTreeSet<_> = Permission::ALL.iter().map(|it| it.words()).collect();

        assert_eq!((names.len(), words.len()), (Permission::ALL.len(), Permission::ALL.len()));
        assert_eq!(Permissions::all().iter().count(), Permission::ALL.len());
        assert_eq!(Permissions::all().0.count_ones() as usize, Permission::ALL.len());
    }

    #[test]
    fn a_set_has_what_was_put_in_and_nothing_else() {
        let viewer = Role::Viewer.permissions();

        assert!(viewer.has(Permission::ItemsList) && !viewer.has(Permission::ToolsCall));
        assert!(
            Role::User.permissions().include(viewer) && !viewer.include(Role::User.permissions())
        );
        assert_eq!(Role::User.permissions().and(viewer), viewer);
        assert_eq!(viewer.iter().collect::<Permissions>(), viewer);
    }

    #[test]
    fn a_role_reads_what_it_prints() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
    }
}
