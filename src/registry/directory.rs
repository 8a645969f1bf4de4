//! The directory: every server under its names, as one immutable view.

use std::{collections::BTreeMap, sync::Arc};

use crate::domain::{
    Namespace, NamespaceId, OrganizationId, Prefixing, Scope, Server, ServerId, Slug, State,
};

/// The name of the built-in server. It is in no directory and in every scope but other servers'.
pub(crate) const BUILT_IN: &str = "tollhouse";

/// Every server and namespace, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    servers: BTreeMap<(OrganizationId, Slug), Arc<Server>>,
    namespaces: Vec<Namespace>,
    prefix: Prefixing,
}

impl Directory {
    /// The name of the gateway's own server.
    pub(crate) const BUILT_IN: &str = BUILT_IN;

    pub(super) fn new(servers: Vec<Server>, namespaces: Vec<Namespace>, prefix: Prefixing) -> Self {
        let keyed = |server: Server| ((server.organization, server.name.clone()), Arc::new(server));
        Self { servers: servers.into_iter().map(keyed).collect(), namespaces, prefix }
    }

    /// Every server of an organization, by name.
    pub(crate) fn servers(
        &self,
        organization: OrganizationId,
    ) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values().filter(move |server| server.organization == organization)
    }

    /// Every server of the house.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values()
    }

    /// Whether a server is registered.
    pub(super) fn has(&self, server: &ServerId) -> bool {
        self.all().any(|known| known.id == *server)
    }

    /// A server by its name or its id.
    pub(crate) fn find(&self, organization: OrganizationId, name: &str) -> Option<&Arc<Server>> {
        if let Ok(slug) = name.parse::<Slug>()
            && let Some(server) = self.servers.get(&(organization, slug))
        {
            return Some(server);
        }
        let id: ServerId = name.parse().ok()?;
        self.servers(organization).find(|server| server.id == id)
    }

    /// The servers that take calls through an endpoint, by name. None where there is no such
    /// endpoint.
    pub(crate) fn in_scope(
        &self,
        organization: OrganizationId,
        scope: &Scope,
    ) -> Option<Vec<Arc<Server>>> {
        let active = |server: &&Arc<Server>| server.state == State::Active;
        match scope {
            Scope::Everything => Some(self.servers(organization).filter(active).cloned().collect()),
            Scope::Namespace(slug) => {
                let namespace = self.namespace(organization, slug)?.id;
                let inside = |server: &&Arc<Server>| server.namespace == namespace;
                let servers = self.servers(organization).filter(active).filter(inside);
                Some(servers.cloned().collect())
            }
            Scope::Server(name) => {
                let server = self.find(organization, name).filter(active)?;
                Some(vec![server.clone()])
            }
        }
    }

    /// A namespace by its name.
    pub(crate) fn namespace(
        &self,
        organization: OrganizationId,
        slug: &Slug,
    ) -> Option<&Namespace> {
        let of = |namespace: &&Namespace| namespace.organization == organization;
        self.namespaces.iter().filter(of).find(|namespace| namespace.slug == *slug)
    }

    /// The name of a namespace.
    pub(crate) fn namespace_name(&self, id: NamespaceId) -> Option<&Slug> {
        self.namespaces.iter().find(|namespace| namespace.id == id).map(|found| &found.slug)
    }

    /// How a server's names are qualified.
    pub(crate) fn prefixing(&self, server: &Server) -> Prefixing {
        let namespace = self.namespaces.iter().find(|namespace| namespace.id == server.namespace);
        let default = || namespace.and_then(|namespace| namespace.prefixing).unwrap_or(self.prefix);
        server.prefixing.unwrap_or_else(default)
    }
}
