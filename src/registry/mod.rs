//! Which servers exist, and how they are.

mod breaker;
mod directory;
pub(crate) mod discovery;
mod endpoint;
pub(crate) mod file;
mod gauge;
mod health;
mod instance;
mod namespace;
mod outward;
mod route;
mod server;

use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    access,
    domain::{
        Clock, HttpRoute, HttpRouteForm, InstanceId, InvalidName, InvalidUrl, Misfit, Prefixing,
    },
    observe::Metrics,
    problem::{Classify, Kind, chain},
    store::{self, Store},
    upstream::Upstream,
};

pub(crate) use breaker::Circuit;
pub(crate) use directory::Directory;
pub(crate) use gauge::{Gauge, InFlight, Outcome};
pub(crate) use instance::{InstanceChange, InstanceForm};
pub(crate) use namespace::{Contents, NamespaceChange, NewNamespace};
pub(crate) use outward::Outward;
pub(crate) use route::{Lane, is_stored};
pub(crate) use server::{Form, ServerChange};

/// What may be registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Servers there may be at most.
    pub(crate) max_servers: usize,
    /// Namespaces of one organization.
    pub(crate) max_namespaces: usize,
    /// How names are qualified where neither server nor namespace says: `always`, `conflict` or
    /// `never`.
    pub(crate) prefix: Prefixing,
    /// Instances of one server.
    pub(crate) max_instances: usize,
    /// When an instance that fails is left alone, and for how long.
    pub(crate) breaker: breaker::Settings,
    /// How instances are looked at that nobody calls.
    pub(crate) health: health::Settings,
    /// Where servers are discovered.
    pub(crate) discovery: discovery::Settings,
    /// Routes of HTTP requests that every organization has.
    pub(crate) routes: Vec<HttpRouteForm>,
    /// Routes of one organization.
    pub(crate) max_routes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_servers: 1_000,
            max_namespaces: 1_000,
            prefix: Prefixing::Always,
            max_instances: 100,
            breaker: breaker::Settings::default(),
            health: health::Settings::default(),
            discovery: discovery::Settings::default(),
            routes: Vec::new(),
            max_routes: 200,
        }
    }
}

/// The register of servers.
#[derive(Clone)]
pub(crate) struct Registry(Arc<Inner>);

struct Inner {
    settings: Settings,
    store: Store,
    upstream: Upstream,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    directory: ArcSwap<Directory>,
    /// Up to which change the directory was read; held while it is read, so that an older reading
    /// never replaces a newer one.
    seen: Mutex<Option<u64>>,
    changed: watch::Sender<u64>,
    health: health::Book,
    missing: discovery::Missing,
    routes_of_file: Arc<[Arc<HttpRoute>]>,
}

impl Registry {
    /// Reads what is registered.
    pub(crate) fn new(
        settings: Settings,
        store: &Store,
        upstream: &Upstream,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let routes_of_file = settings.routes_of_file()?.into();
        let registry = Self(Arc::new(Inner {
            routes_of_file,
            settings,
            store: store.clone(),
            upstream: upstream.clone(),
            metrics: metrics.clone(),
            clock,
            directory: ArcSwap::default(),
            seen: Mutex::default(),
            changed: watch::Sender::new(0),
            health: health::Book::default(),
            missing: discovery::Missing::default(),
        }));
        registry.reload()?;
        Ok(registry)
    }

    /// The view everyone reads: immutable, replaced whole when something changes.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.0.directory.load_full()
    }

    /// Counts the views there were.
    pub(crate) fn version(&self) -> u64 {
        *self.0.changed.borrow()
    }

    /// Tells of every new view.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Keeps up with the store until `stop`: also with changes whose makers did not stay to see
    /// them through.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut changes = self.0.store.changes();
        while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
            if let Err(error) = self.settle().await {
                tracing::warn!(error = chain(&error), "the servers cannot be read again");
            }
        }
    }

    /// Reads what is registered, and lets go of what is not any more: its processes have ended
    /// when this returns, and are told to end even where nobody waits for that.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        let departed = self.reload()?;
        join_all(departed.iter().map(|instance| self.0.upstream.retire(instance))).await;
        Ok(())
    }

    /// Reads what is registered if anything changed; gives the instances that are not any more.
    fn reload(&self) -> Result<Vec<InstanceId>, Error> {
        let mut seen = self.0.seen.lock();
        let snapshot = self.0.store.read()?;
        let last = Some(snapshot.last_sequence()?);
        if *seen == last {
            return Ok(Vec::new());
        }
        let routes = route::Routes::new(&self.0.routes_of_file, snapshot.routes()?);
        let (servers, namespaces) = (snapshot.servers()?, snapshot.namespaces()?);
        let directory = Directory::new(servers, namespaces, routes, self.0.settings.prefix);
        self.keep_gauges(&directory);
        let before = self.0.directory.swap(Arc::new(directory));
        *seen = last;
        let now = self.directory();
        self.0.changed.send_modify(|version| *version += 1);
        for server in before.all().filter(|server| !now.has(&server.id)) {
            self.0.metrics.forget(&server.name);
        }
        let instances = |of: &Directory| -> HashSet<InstanceId> {
            of.all().flat_map(|server| &server.instances).map(|it| it.id).collect()
        };
        let kept = instances(&now);
        Ok(instances(&before).into_iter().filter(|instance| !kept.contains(instance)).collect())
    }
}

/// Gauges of instances that nobody called yet.
#[cfg(test)]
pub(crate) fn gauges_for_tests(count: usize) -> Vec<Arc<Gauge>> {
    let began = crate::domain::FixedClock::default().tick();
    (0..count).map(|_| Arc::new(Gauge::new(began))).collect()
}

/// Why something is not registered, or not found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such server.
    #[error("there is no server {0:?}")]
    NoSuchServer(String),
    /// A name that is taken.
    #[error("there is a server {0:?} already; deregister it first, or choose another name")]
    Taken(String),
    /// The name of the built-in server.
    #[error("{0:?} is the gateway's own server")]
    BuiltIn(String),
    /// A name that is no good.
    #[error("{member}: {source}")]
    Name {
        /// Which member of the form.
        member: &'static str,
        /// Why.
        source: InvalidName,
    },
    /// A URL that is no good.
    #[error("url: {source}")]
    Url {
        /// Why.
        source: InvalidUrl,
    },
    /// Something else of the form that is no good.
    #[error("{member}: {reason}")]
    Form {
        /// Which member.
        member: &'static str,
        /// Why.
        reason: String,
    },
    /// As many servers as the organization may have.
    #[error("there are {0} servers already, which is the limit of this organization")]
    QuotaExceeded(u32),
    /// No such namespace.
    #[error("there is no namespace {0:?}")]
    NoSuchNamespace(String),
    /// A namespace's name that is taken.
    #[error("there is a namespace {0:?} already")]
    NamespaceTaken(String),
    /// A namespace that holds servers.
    #[error("there are servers in it, {0}; retire them first, or delete it with force")]
    NotEmpty(usize),
    /// The namespace of all that say none.
    #[error("the default namespace stays: servers that name none stand in it")]
    DefaultNamespace,
    /// As many namespaces as there may be.
    #[error("there are {0} namespaces already, which is the limit registry.max_namespaces")]
    TooManyNamespaces(usize),
    /// A program that the caller may not have run.
    #[error("a server that is a program runs on the gateway's machine: {0}")]
    Program(#[from] access::Error),
    /// A key that is limited to other places.
    #[error("this key is limited to other namespaces or servers")]
    Limited,
    /// As many servers as there may be.
    #[error("there are {0} servers already, which is the limit registry.max_servers")]
    TooMany(usize),
    /// As many instances as a server may have.
    #[error("a server has at most {0} instances, which is the limit registry.max_instances")]
    TooManyInstances(usize),
    /// No such instance.
    #[error("the server has no instance {0:?}")]
    NoSuchInstance(String),
    /// The only instance of a server.
    #[error("it is the server's only instance; deregister the server instead")]
    OnlyInstance,
    /// No such route.
    #[error("there is no route {0:?}")]
    NoSuchRoute(String),
    /// Something of a route that is no good.
    #[error("the route is not right at {0}")]
    Route(#[from] Misfit),
    /// A route's name or mount that is taken.
    #[error("another route has {0:?} already")]
    RouteTaken(String),
    /// One of the settings file.
    #[error("{0:?} stands in the settings file; change it there")]
    RouteOfFile(String),
    /// As many routes as there may be.
    #[error("there are {0} routes already, which is the limit registry.max_routes")]
    TooManyRoutes(usize),
    /// The store could not be read or written.
    #[error("the store did not take it")]
    Store(#[from] store::Error),
}

impl Error {
    /// No such namespace, as far as the caller may know.
    pub(crate) fn no_such_namespace(name: &str) -> Self {
        Self::NoSuchNamespace(name.chars().take(80).collect())
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchServer(_)
            | Self::NoSuchNamespace(_)
            | Self::NoSuchInstance(_)
            | Self::NoSuchRoute(_) => Kind::NotFound,
            Self::Taken(_)
            | Self::BuiltIn(_)
            | Self::NamespaceTaken(_)
            | Self::NotEmpty(_)
            | Self::OnlyInstance
            | Self::RouteTaken(_)
            | Self::RouteOfFile(_)
            | Self::DefaultNamespace => Kind::Conflict,
            Self::Program(error) => error.kind(),
            Self::Limited => Kind::Forbidden,
            Self::QuotaExceeded(_) => Kind::Quota,
            Self::Name { .. } | Self::Url { .. } | Self::Form { .. } | Self::Route(_) => {
                Kind::Invalid
            }
            Self::TooMany(_)
            | Self::TooManyNamespaces(_)
            | Self::TooManyInstances(_)
            | Self::TooManyRoutes(_) => Kind::Limited,
            Self::Store(error) => error.kind(),
        }
    }
}
