//! Discovery: servers that others run or write down are registered here, changed as they change,
//! and retired once they have been gone for a while.
//!
//! Sources are off until the settings name them, and only what came from a source is changed or
//! taken out because of it. A source that cannot be read says nothing of its servers: none goes.

mod docker;
mod folder;
mod kubernetes;
mod mdns;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Caller,
    domain::{Secret, Server, ServerId},
    problem::chain,
    registry::{
        Form, Registry,
        file::{self, Found},
    },
};

/// Where servers are discovered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether the sources are looked at by themselves; else only when somebody asks.
    pub(crate) sync: bool,
    /// How often they are, in seconds.
    pub(crate) interval_seconds: u32,
    /// How long a server must be gone before it is retired, in seconds.
    pub(crate) grace_seconds: u32,
    /// A folder of definitions, one file for each or for several, in JSON, YAML or TOML.
    pub(crate) folder: Option<PathBuf>,
    /// Files of clients, such as `~/.cursor/mcp.json`.
    pub(crate) files: Vec<PathBuf>,
    /// Variables of the gateway's own environment that `${NAME}` in these may stand for.
    pub(crate) env: Vec<String>,
    /// Containers of Docker.
    pub(crate) docker: docker::Settings,
    /// Services of Kubernetes.
    pub(crate) kubernetes: kubernetes::Settings,
    /// Servers that announce themselves on the local network.
    pub(crate) mdns: mdns::Settings,
    /// What these variables hold, and where `~` is: known once the gateway starts.
    #[serde(skip)]
    pub(crate) variables: BTreeMap<String, Secret>,
    #[serde(skip)]
    pub(crate) home: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sync: false,
            interval_seconds: 60,
            grace_seconds: 300,
            folder: None,
            files: Vec::new(),
            env: Vec::new(),
            docker: docker::Settings::default(),
            kubernetes: kubernetes::Settings::default(),
            mdns: mdns::Settings::default(),
            variables: BTreeMap::new(),
            home: None,
        }
    }
}

/// Where servers are found.
trait Source: Send + Sync {
    /// What it is called; it stands at the servers that came from it.
    fn name(&self) -> String;

    /// The servers that it names now; or why it cannot be read.
    fn find(&self) -> BoxFuture<'_, Result<Vec<Found>, String>>;
}

impl Settings {
    /// A path in which `~` stands for the home of whoever runs the gateway.
    fn at_home(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }

    fn sources(&self) -> Vec<Box<dyn Source>> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        if let Some(folder) = &self.folder {
            sources.push(Box::new(folder::Folder(folder.clone(), self.at_home(folder))));
        }
        for file in &self.files {
            sources.push(Box::new(folder::File(file.clone(), self.at_home(file))));
        }
        if self.docker.enabled {
            sources.push(Box::new(docker::Docker(self.docker.clone())));
        }
        if self.kubernetes.enabled {
            sources.push(Box::new(kubernetes::Kubernetes(self.kubernetes.clone())));
        }
        if self.mdns.enabled {
            sources.push(Box::new(mdns::Mdns(self.mdns.clone())));
        }
        sources
    }
}

/// What became of a server that a source names, or of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    /// Which server; nothing where it is about the source itself.
    pub(crate) name: String,
    /// Which source.
    pub(crate) source: String,
    /// `registered`, `updated`, `unchanged`, `gone`, `removed`, `refused` or `unreadable`.
    pub(crate) outcome: &'static str,
    /// Why, where there is something to say.
    pub(crate) reason: String,
}

/// Since when servers are gone from their sources.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<HashMap<ServerId, Instant>>);

/// What would become of what was found: all there is to do.
enum Step {
    Register(Form),
    Update(Arc<Server>, Form),
    Retire(Arc<Server>),
    Nothing,
}

impl Registry {
    /// Looks at every source and registers, changes and retires what has changed there, in the name
    /// of somebody; or only says what would be.
    pub(crate) async fn sync(&self, caller: &Caller, is_dry_run: bool) -> Vec<Told> {
        let mut told = Vec::new();
        for source in self.0.settings.discovery.sources() {
            let name = source.name();
            let round = Round { registry: self, caller, source: &name, is_dry_run };
            match source.find().await {
                Ok(found) => told.extend(Box::pin(round.take(found)).await),
                Err(reason) => {
                    tracing::warn!(source = name, reason, "a source of servers cannot be read");
                    told.push(round.about("", "unreadable", reason));
                }
            }
        }
        told
    }

    /// Looks at the sources now and then, until `stop`, in the name of the house's owner.
    pub(crate) async fn discover(
        &self,
        owner: impl Fn() -> Option<Caller>,
        stop: CancellationToken,
    ) {
        let settings = &self.0.settings.discovery;
        if !settings.sync || settings.sources().is_empty() {
            return stop.cancelled().await;
        }
        let interval = Duration::from_secs(settings.interval_seconds.max(1).into());
        let mut rounds = tokio::time::interval(interval);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(rounds.tick()).await.is_some() {
            let Some(owner) = owner() else { continue };
            stop.run_until_cancelled(Box::pin(self.sync(&owner, false))).await;
        }
    }
}

/// One look at one source, in the name of somebody.
struct Round<'a> {
    registry: &'a Registry,
    caller: &'a Caller,
    source: &'a str,
    is_dry_run: bool,
}

impl Round<'_> {
    async fn take(&self, found: Vec<Found>) -> Vec<Told> {
        let (mut told, mut named) = (Vec::new(), BTreeSet::new());
        for found in found {
            let planned = if named.insert(found.name.clone()) {
                self.plan(&found)
            } else {
                Err("the source names it twice".to_owned())
            };
            told.push(self.done(&found.name, planned).await);
        }
        for (server, left) in self.gone(&named) {
            let name = server.name.to_string();
            if left.is_zero() {
                told.push(self.done(&name, Ok((Step::Retire(server), "removed"))).await);
            } else {
                let reason = format!("it is retired in {} s, unless it comes back", left.as_secs());
                told.push(self.about(&name, "gone", reason));
            }
        }
        told
    }

    /// What is to be done about a server that the source names.
    fn plan(&self, found: &Found) -> Result<(Step, &'static str), String> {
        let variables = &self.registry.0.settings.discovery.variables;
        let unknown = found.needs.iter().filter(|name| !variables.contains_key(*name));
        let missing: Vec<&str> = unknown.map(String::as_str).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(format!("it needs {missing}; name them in registry.discovery.env"));
        }
        let open = |name: &String| Some((name.clone(), variables.get(name)?.expose().to_owned()));
        let opened: BTreeMap<String, String> = found.needs.iter().filter_map(open).collect();
        let form = file::filled(found.form.as_ref().map_err(Clone::clone)?, &opened);
        let read = || serde_json::from_value::<Form>(form.clone()).map_err(|it| it.to_string());
        let described = self.registry.described(self.caller, read()?);
        let described = described.map_err(|error| chain(&error))?;
        let (directory, sight) = (self.registry.directory(), self.caller.principal().sight());
        let Some(known) = directory.find(&sight, described.name.as_str()).cloned() else {
            return Ok((Step::Register(read()?), "registered"));
        };
        if known.origin.as_deref() != Some(self.source) {
            let by = known.origin.as_deref().unwrap_or("a person");
            return Err(format!("{by} registered a server of that name"));
        }
        if !self.is_dry_run {
            self.registry.0.missing.0.lock().remove(&known.id);
        }
        if known.is_as(&described) {
            return Ok((Step::Nothing, "unchanged"));
        }
        Ok((Step::Update(known, read()?), "updated"))
    }

    async fn done(&self, name: &str, planned: Result<(Step, &'static str), String>) -> Told {
        let (step, outcome) = match planned {
            Ok(planned) => planned,
            Err(reason) => return self.about(name, "refused", reason),
        };
        let (registry, caller) = (self.registry, self.caller);
        let done = match step {
            _ if self.is_dry_run => return self.about(name, outcome, String::new()),
            Step::Nothing => return self.about(name, outcome, String::new()),
            Step::Register(form) => {
                let origin = Some(self.source.into());
                registry.register_from(caller, form, origin).await.map(drop)
            }
            Step::Update(server, form) => registry.become_as(caller, &server, form).await.map(drop),
            Step::Retire(server) => registry.retire(caller, server.name.as_str()).await,
        };
        match done {
            Ok(()) => {
                let source = self.source;
                tracing::info!(server = name, source, outcome, "a source of servers changed");
                self.about(name, outcome, String::new())
            }
            Err(error) => self.about(name, "refused", chain(&error)),
        }
    }

    /// The servers of the source that it does not name any more, and after how long they are
    /// retired.
    fn gone(&self, named: &BTreeSet<String>) -> Vec<(Arc<Server>, Duration)> {
        let inner = &self.registry.0;
        let (directory, now) = (self.registry.directory(), inner.clock.tick());
        let grace = Duration::from_secs(inner.settings.discovery.grace_seconds.into());
        let mut missing = inner.missing.0.lock();
        missing.retain(|id, _| directory.has(id));
        let sight = self.caller.principal().sight();
        let gone = directory.servers(&sight).filter(|server| {
            server.origin.as_deref() == Some(self.source) && !named.contains(server.name.as_str())
        });
        gone.map(|server| {
            let since = if self.is_dry_run {
                missing.get(&server.id).copied().unwrap_or(now)
            } else {
                *missing.entry(server.id).or_insert(now)
            };
            (server.clone(), grace.saturating_sub(now.saturating_duration_since(since)))
        })
        .collect()
    }

    fn about(&self, name: &str, outcome: &'static str, reason: String) -> Told {
        Told { name: name.to_owned(), source: self.source.to_owned(), outcome, reason }
    }
}
