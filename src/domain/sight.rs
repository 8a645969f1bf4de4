//! How far somebody sees: what lies beyond does not exist for them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{NamespaceId, OrganizationId, Server, ServerId};

/// What a key is limited to. A list without entries limits nothing; where both have some, both
/// must fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Servers of these namespaces only.
    #[serde(default)]
    pub namespaces: Vec<NamespaceId>,
    /// These servers only.
    #[serde(default)]
    pub servers: Vec<ServerId>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.namespaces.is_empty() && self.servers.is_empty()
    }

    /// The same, with only this namespace and this server left; none where they lie beyond.
    #[must_use]
    pub fn narrowed(
        &self,
        namespace: Option<NamespaceId>,
        server: Option<ServerId>,
    ) -> Option<Self> {
        let is_beyond = namespace.is_some_and(|namespace| !self.has(namespace))
            || server.is_some_and(|it| !self.servers.is_empty() && !self.servers.contains(&it));
        let namespaces = namespace.map_or_else(|| self.namespaces.clone(), |one| vec![one]);
        let servers = server.map_or_else(|| self.servers.clone(), |one| vec![one]);
        (!is_beyond).then_some(Self { namespaces, servers })
    }

    /// Whether nothing lies within the others that does not lie within these.
    #[must_use]
    pub fn include(&self, others: &Self) -> bool {
        fn is_within<T: PartialEq>(all: &[T], some: &[T]) -> bool {
            all.is_empty() || (!some.is_empty() && some.iter().all(|one| all.contains(one)))
        }
        is_within(&self.namespaces, &others.namespaces) && is_within(&self.servers, &others.servers)
    }

    fn has(&self, namespace: NamespaceId) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(&namespace)
    }
}

/// What somebody can come to know of: the servers of an organization, or some of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sight {
    /// Whose servers.
    pub organization: OrganizationId,
    /// Which of them; all, where nothing is limited.
    pub limits: Option<Arc<Limits>>,
}

impl Sight {
    /// Everything of an organization.
    #[must_use]
    pub const fn whole(organization: OrganizationId) -> Self {
        Self { organization, limits: None }
    }

    /// Whether a server lies within it.
    #[must_use]
    pub fn shows(&self, server: &Server) -> bool {
        server.organization == self.organization
            && self.limits.as_ref().is_none_or(|limits| {
                limits.has(server.namespace)
                    && (limits.servers.is_empty() || limits.servers.contains(&server.id))
            })
    }

    /// Whether a namespace may lie within it, as far as its id tells.
    #[must_use]
    pub fn may_show(&self, namespace: NamespaceId) -> bool {
        self.limits.as_ref().is_none_or(|limits| limits.has(namespace))
    }

    /// Whether single servers are named.
    #[must_use]
    pub fn names_servers(&self) -> bool {
        self.limits.as_ref().is_some_and(|limits| !limits.servers.is_empty())
    }
}
