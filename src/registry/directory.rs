//! The directory: every server under its names, as one immutable view.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::route::Routes;
use crate::domain::{
    Namespace, NamespaceId, OrganizationId, Prefixing, Scope, Server, ServerId, Sight, Slug, State,
};

/// The name of the built-in server. It is in no directory and in every scope but other servers'.
pub(crate) const BUILT_IN: &str = "tollhouse";

/// Every server and namespace, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    servers: BTreeMap<(OrganizationId, Slug), Arc<Server>>,
    by_id: HashMap<ServerId, Arc<Server>>,
    namespaces: Vec<Namespace>,
    pub(super) routes: Routes,
    prefix: Prefixing,
}

impl Directory {
    /// The name of the gateway's own server.
    pub(crate) const BUILT_IN: &str = BUILT_IN;

    pub(super) fn new(
        servers: Vec<Server>,
        mut namespaces: Vec<Namespace>,
        routes: Routes,
        prefix: Prefixing,
    ) -> Self {
        namespaces.sort_by(|a, b| a.slug.cmp(&b.slug));
        let all = servers.into_iter().map(Arc::new);
        let by_id: HashMap<_, _> = all.map(|server| (server.id, server)).collect();
        let key = |server: &Arc<Server>| (server.organization, server.name.clone());
        let servers = by_id.values().map(|server| (key(server), server.clone())).collect();
        Self { servers, by_id, namespaces, routes, prefix }
    }

    /// Every server that lies in somebody's sight, by name.
    pub(crate) fn servers(&self, sight: &Sight) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values().filter(|server| sight.shows(server))
    }

    /// Every server of the house.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values()
    }

    /// The server as it is registered now; as it was, where it is not any more.
    pub(crate) fn current(&self, server: Arc<Server>) -> Arc<Server> {
        self.by_id.get(&server.id).cloned().unwrap_or(server)
    }

    /// Whether a server is registered.
    pub(crate) fn has(&self, server: &ServerId) -> bool {
        self.by_id.contains_key(server)
    }

    /// The server of an id.
    pub(crate) fn by_id(&self, server: &ServerId) -> Option<&Arc<Server>> {
        self.by_id.get(server)
    }

    /// A server by its name or its id, where it lies in somebody's sight.
    pub(crate) fn find(&self, sight: &Sight, name: &str) -> Option<&Arc<Server>> {
        if let Ok(slug) = name.parse::<Slug>()
            && let Some(server) = self.servers.get(&(sight.organization, slug))
        {
            return Some(server).filter(|server| sight.shows(server));
        }
        let id: ServerId = name.parse().ok()?;
        self.by_id.get(&id).filter(|server| sight.shows(server))
    }

    /// The servers that take calls of MCP through an endpoint, by name. None where there is no such
    /// endpoint.
    pub(crate) fn in_scope(&self, sight: &Sight, scope: &Scope) -> Option<Vec<Arc<Server>>> {
        let active = |server: &&Arc<Server>| !server.is_plain() && self.takes_calls(server);
        match scope {
            Scope::Everything => Some(self.servers(sight).filter(active).cloned().collect()),
            Scope::Namespace(slug) => {
                let namespace = self.namespace(sight, slug.as_str())?;
                if !namespace.is_active {
                    return None;
                }
                let inside = |server: &&Arc<Server>| server.namespace == namespace.id;
                let servers = self.servers(sight).filter(active).filter(inside);
                Some(servers.cloned().collect())
            }
            Scope::Server(name) => {
                let server = self.find(sight, name).filter(active)?;
                Some(vec![server.clone()])
            }
        }
    }

    /// Whether a server is switched on, and where it stands too.
    pub(super) fn takes_calls(&self, server: &Server) -> bool {
        server.state == State::Active && self.is_active(server.namespace)
    }

    /// Every namespace that lies in somebody's sight, by name.
    pub(crate) fn namespaces(&self, sight: &Sight) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter().filter(|namespace| self.shows(sight, namespace))
    }

    /// A namespace by its name or its id, where it lies in somebody's sight.
    pub(crate) fn namespace(&self, sight: &Sight, name: &str) -> Option<&Namespace> {
        let id: Option<NamespaceId> = name.parse().ok();
        let is_meant = |it: &&Namespace| it.slug.as_str() == name || Some(it.id) == id;
        self.namespaces(sight).find(is_meant)
    }

    /// Whoever is limited to single servers sees the namespaces that these are in.
    fn shows(&self, sight: &Sight, namespace: &Namespace) -> bool {
        let has_shown = || self.servers(sight).any(|server| server.namespace == namespace.id);
        namespace.organization == sight.organization
            && sight.may_show(namespace.id)
            && (!sight.names_servers() || has_shown())
    }

    fn is_active(&self, namespace: NamespaceId) -> bool {
        let found = self.namespaces.iter().find(|it| it.id == namespace);
        found.is_none_or(|namespace| namespace.is_active)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Limits, Timestamp};

    const HERE: OrganizationId = OrganizationId::fixed(1);
    const THERE: OrganizationId = OrganizationId::fixed(2);

    fn namespace(number: u128, organization: OrganizationId, slug: &str) -> Namespace {
        let slug = slug.parse().expect("a slug");
        Namespace::new(NamespaceId::fixed(number), organization, slug, Timestamp::from_ms(0))
    }

    fn server(number: u128, namespace: &Namespace, name: &str) -> Server {
        Server {
            id: ServerId::fixed(number),
            organization: namespace.organization,
            namespace: namespace.id,
            name: name.parse().expect("a slug"),
            description: String::new(),
            state: State::Active,
            prefixing: None,
            timeout_seconds: None,
            max_in_flight: None,
            origin: None,
            cache: crate::domain::CachePolicy::default(),
            keeps_bodies: false,
            checks: None,
            labels: None,
            instances: Vec::new(),
            created_at: Timestamp::from_ms(0),
            updated_at: Timestamp::from_ms(0),
            on_change: None,
            balance: crate::domain::Balance::default(),
        }
    }

    fn directory() -> Directory {
        let (a, b) = (namespace(1, HERE, "a"), namespace(2, HERE, "b"));
        let (c, off) = (namespace(3, THERE, "a"), namespace(4, HERE, "off"));
        let servers = vec![
            server(11, &a, "one"),
            server(12, &a, "two"),
            server(13, &b, "three"),
            server(14, &c, "one"),
            server(15, &off, "asleep"),
        ];
        let off = Namespace { is_active: false, ..off };
        Directory::new(servers, vec![a, b, c, off], Routes::default(), Prefixing::Always)
    }

    fn limited(namespaces: &[u128], servers: &[u128]) -> Sight {
        let limits = Limits {
            namespaces: namespaces.iter().map(|it| NamespaceId::fixed(*it)).collect(),
            servers: servers.iter().map(|it| ServerId::fixed(*it)).collect(),
        };
        Sight { organization: HERE, limits: Some(limits.into()) }
    }

    fn seen(sight: &Sight) -> (Vec<u128>, String) {
        let directory = directory();
        let known = |server: &Arc<Server>| (11..=15).find(|it| ServerId::fixed(*it) == server.id);
        let servers = directory.servers(sight).filter_map(known).collect();
        let namespaces: Vec<&str> =
            directory.namespaces(sight).map(|namespace| namespace.slug.as_str()).collect();
        (servers, namespaces.join(" "))
    }

    #[test]
    fn what_lies_out_of_sight_is_not_there() {
        assert_eq!(seen(&Sight::whole(THERE)), (vec![14], "a".into()));
        assert_eq!(seen(&limited(&[1], &[])), (vec![11, 12], "a".into()));
        assert_eq!(seen(&limited(&[], &[13])), (vec![13], "b".into()));
        assert_eq!(seen(&limited(&[1], &[11, 13])), (vec![11], "a".into()));
        assert_eq!(seen(&limited(&[9], &[])), (vec![], String::new()));
    }

    #[test]
    fn names_and_ids_of_others_find_nothing() {
        let directory = directory();
        let (mine, other) = (ServerId::fixed(11), ServerId::fixed(14));
        let find = |sight: &Sight, name: &str| directory.find(sight, name).map(|found| found.id);

        assert_eq!(find(&Sight::whole(HERE), "one"), Some(mine));
        assert_eq!(find(&Sight::whole(THERE), "one"), Some(other));
        assert_eq!(find(&Sight::whole(HERE), &other.to_string()), None);
        assert_eq!(find(&limited(&[2], &[]), "one"), None);
        assert_eq!(find(&limited(&[2], &[]), &mine.to_string()), None);
    }

    #[test]
    fn a_namespace_that_is_off_offers_nothing() {
        let (directory, sight) = (directory(), Sight::whole(HERE));
        let names = |scope: &Scope| {
            let found = directory.in_scope(&sight, scope)?;
            Some(found.iter().map(|server| server.name.to_string()).collect::<Vec<_>>())
        };

        let off = Scope::Namespace("off".parse().expect("a slug"));
        assert_eq!(names(&Scope::Everything).expect("there").len(), 3);
        assert_eq!((names(&off), names(&Scope::Server("asleep".into()))), (None, None));
    }
}
