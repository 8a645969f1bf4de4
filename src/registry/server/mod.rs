//! Registering and retiring servers.

mod check;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Deserialize;

use crate::{
    access::Caller,
    domain::{
        Balance, CachePolicy, CheckPolicy, Instance, InstanceId, Namespace, NamespaceId, OnChange,
        OrganizationId, Permission, Prefixing, Secret, Server, ServerAuth, ServerId, ServerTls,
        Sight, Slug, State, Timestamp,
    },
    registry::{
        Directory, Error, InstanceForm, Registry, Settings,
        endpoint::{Command, EndpointForm, TEXT_LIMIT, wrong},
        instance::{self, is_program, scale},
        namespace,
    },
    store::Draft,
};

/// What somebody asks to be registered. Spellings of the predecessors are understood.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    /// The server's name.
    pub(crate) name: String,
    /// What it is for.
    #[serde(default)]
    description: String,
    /// Where it is served over HTTP.
    #[serde(default, alias = "endpoint")]
    url: Option<String>,
    /// What is shown there with every request.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// How the gateway says there who it is.
    #[serde(default)]
    auth: ServerAuth,
    /// What is shown there in the TLS handshake.
    #[serde(default)]
    tls: ServerTls,
    /// How messages travel there; where nothing is said, that is found out.
    #[serde(default, alias = "protocol")]
    transport: Option<String>,
    /// The program that is it, alone or with its arguments.
    #[serde(default)]
    command: Option<Command>,
    /// The program's arguments.
    #[serde(default)]
    args: Vec<String>,
    /// What is added to the program's cleared environment.
    #[serde(default, alias = "env_vars")]
    env: BTreeMap<String, Secret>,
    /// Where the program starts.
    #[serde(default, alias = "working_dir")]
    cwd: Option<PathBuf>,
    /// How its names are qualified.
    #[serde(default)]
    prefix: Option<Prefixing>,
    /// Where it is grouped.
    #[serde(default)]
    namespace: Option<String>,
    /// How long a call may take.
    #[serde(default)]
    timeout_seconds: Option<u32>,
    /// How many calls may be in flight towards it.
    #[serde(default)]
    max_in_flight: Option<u32>,
    /// How long what it says is kept.
    #[serde(default)]
    cache: CachePolicy,
    /// Which version it is.
    #[serde(default)]
    version: Option<String>,
    /// Words that it goes by with others.
    #[serde(default)]
    tags: Option<Vec<String>>,
    /// Anything else that people write on it.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    /// How it is looked at when nobody calls it.
    #[serde(default)]
    checks: CheckPolicy,
    /// Whether it is kept what is said in calls of it.
    #[serde(default)]
    keep_bodies: bool,
    /// What happens when it says something else than it did.
    #[serde(default)]
    on_change: Option<OnChange>,
    /// Where it runs, if in more than one place.
    #[serde(default)]
    instances: Vec<InstanceForm>,
    /// How many processes of its program run.
    #[serde(default)]
    replicas: Option<usize>,
    /// How calls are shared among its instances.
    #[serde(default, alias = "load_balancer")]
    balance: Balance,
}

/// What is to be different about a server.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerChange {
    /// What happens when it says something else than it did.
    #[serde(default)]
    on_change: Option<OnChange>,
    /// How calls are shared among its instances.
    #[serde(default, alias = "load_balancer")]
    balance: Option<Balance>,
    /// How many calls may be in flight towards it.
    #[serde(default)]
    max_in_flight: Option<u32>,
    /// How long what it says is kept.
    #[serde(default)]
    cache: Option<CachePolicy>,
    /// Which version it is.
    #[serde(default)]
    version: Option<String>,
    /// Words that it goes by with others.
    #[serde(default)]
    tags: Option<Vec<String>>,
    /// Anything else that people write on it.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    /// How it is looked at when nobody calls it.
    #[serde(default)]
    checks: Option<CheckPolicy>,
    /// Whether it is kept what is said in calls of it.
    #[serde(default)]
    keep_bodies: Option<bool>,
    /// What people want of it.
    #[serde(default)]
    state: Option<State>,
    /// How many processes of its program run.
    #[serde(default)]
    replicas: Option<usize>,
}

impl Registry {
    /// Registers a server.
    pub(crate) async fn register(&self, caller: &Caller, form: Form) -> Result<Arc<Server>, Error> {
        self.register_from(caller, form, None).await
    }

    /// The same of a server that was discovered somewhere.
    pub(super) async fn register_from(
        &self,
        caller: &Caller,
        form: Form,
        origin: Option<Box<str>>,
    ) -> Result<Arc<Server>, Error> {
        let mut made = self.register_all(caller, vec![(form, origin)]).await?;
        made.pop().expect("as many as were asked for")
    }

    /// Registers servers with one change, and tells of each what became of it: what is wrong with
    /// one keeps no other out.
    pub(crate) async fn register_all(
        &self,
        caller: &Caller,
        forms: Vec<(Form, Option<Box<str>>)>,
    ) -> Result<Vec<Result<Arc<Server>, Error>>, Error> {
        let sight = caller.principal().sight();
        if sight.names_servers() {
            return Err(Error::Limited);
        }
        let described = |(form, origin)| {
            let (server, wanted) = self.checked(caller, form)?;
            Ok::<_, Error>((Server { origin, ..server }, wanted))
        };
        let described: Vec<_> = forms.into_iter().map(described).collect();
        let (seen, settings) = (sight.clone(), self.0.settings.clone());
        let actor = caller.actor();
        let written = self.0.store.write(&actor, move |change| {
            let mut known = change.servers()?;
            let mut entered = Vec::new();
            for described in described {
                let one = match described {
                    Ok((server, wanted)) => {
                        match enter(change, &mut known, server, wanted, (&seen, &settings)) {
                            Err(error @ Error::Store(_)) => return Err(error),
                            one => one,
                        }
                    }
                    Err(error) => Err(error),
                };
                entered.push(one);
            }
            Ok(entered)
        });
        let entered = written.await?;
        self.settle().await?;
        let directory = self.directory();
        let found = |(id, name): (ServerId, Slug)| {
            directory.by_id(&id).cloned().ok_or_else(|| Error::NoSuchServer(name.to_string()))
        };
        Ok(entered.into_iter().map(|one| one.and_then(found)).collect())
    }

    /// Whether a form could be registered, as far as that is known without doing it.
    pub(crate) fn would_register(&self, caller: &Caller, form: Form) -> Result<(), Error> {
        self.checked(caller, form).map(drop)
    }

    /// The server that a form describes, registered nowhere.
    pub(super) fn described(&self, caller: &Caller, form: Form) -> Result<Server, Error> {
        Ok(self.checked(caller, form)?.0)
    }

    /// Has a server become as a form describes it, in the namespace where it stands.
    pub(super) async fn become_as(
        &self,
        caller: &Caller,
        known: &Server,
        form: Form,
    ) -> Result<Arc<Server>, Error> {
        let described = self.described(caller, form)?;
        self.rewrite(caller, known, move |server| {
            server.become_as(described);
            Ok(())
        })
        .await
    }

    /// The server that a form describes, and the namespace it is to stand in.
    fn checked(&self, caller: &Caller, form: Form) -> Result<(Server, Slug), Error> {
        let organization = caller.principal().sight().organization;
        let wanted = form.namespace.as_deref().map(|name| slug("namespace", name)).transpose()?;
        let wanted = wanted.unwrap_or_else(Namespace::default_slug);
        let limit = self.0.settings.max_instances;
        let server = form.check(organization, (self.0.clock.now(), limit))?;
        if server.instances.iter().any(is_program) || server.checks().is_program() {
            caller.may(Permission::StdioExecute)?;
        }
        Ok((server, wanted))
    }

    /// Changes a server.
    pub(crate) async fn change_server(
        &self,
        caller: &Caller,
        name: &str,
        wanted: ServerChange,
    ) -> Result<Arc<Server>, Error> {
        let (known, limit) = (self.known(caller, name)?, self.0.settings.max_instances);
        let is_program = wanted.checks.as_ref().is_some_and(CheckPolicy::is_program);
        if wanted.replicas.is_some() || is_program {
            caller.may(Permission::StdioExecute)?;
        }
        let server = self.rewrite(caller, &known, move |server| {
            if let Some(replicas) = wanted.replicas {
                scale(server, replicas, limit)?;
            }
            server.on_change = wanted.on_change.or(server.on_change);
            server.state = wanted.state.unwrap_or(server.state);
            server.keeps_bodies = wanted.keep_bodies.unwrap_or(server.keeps_bodies);
            if let Some(most) = wanted.max_in_flight {
                check::in_flight(Some(most))?;
                server.max_in_flight = Some(most);
            }
            if let Some(cache) = wanted.cache {
                check::cache(&cache)?;
                server.cache = server.cache.changed(cache);
            }
            if let Some(checks) = wanted.checks {
                check::checks(&checks)?;
                server.checks = server.checks().clone().changed(checks).kept();
            }
            let said = (wanted.version, wanted.tags, wanted.metadata);
            server.labels = check::labels(server.labels.take(), said)?;
            if let Some(balance) = wanted.balance {
                check::balance(&balance)?;
                server.balance = balance;
            }
            Ok(())
        });
        server.await
    }

    /// A server as somebody knows it, by name or id.
    pub(crate) fn known(&self, caller: &Caller, name: &str) -> Result<Arc<Server>, Error> {
        let unknown = || Error::NoSuchServer(name.chars().take(80).collect());
        let sight = caller.principal().sight();
        self.directory().find(&sight, name).cloned().ok_or_else(unknown)
    }

    /// Changes what is kept of a server, and gives it as it is then.
    pub(super) async fn rewrite(
        &self,
        caller: &Caller,
        known: &Server,
        edit: impl FnOnce(&mut Server) -> Result<(), Error> + Send + 'static,
    ) -> Result<Arc<Server>, Error> {
        let (id, now) = (known.id, self.0.clock.now());
        let (missing, actor) = (Error::NoSuchServer(known.name.to_string()), caller.actor());
        let write = self.0.store.write(&actor, move |change| {
            let mut server = change.server(&id)?.ok_or(missing)?;
            edit(&mut server)?;
            server.updated_at = now;
            change.put_server(&server)?;
            Ok::<_, Error>(())
        });
        write.await?;
        self.settle().await?;
        self.known(caller, known.name.as_str())
    }

    /// Retires a server: it is asked no more, and its children end.
    pub(crate) async fn retire(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        if name == Directory::BUILT_IN {
            return Err(Error::BuiltIn(name.to_owned()));
        }
        let known = self.known(caller, name)?;
        let (id, missing) = (known.id, Error::NoSuchServer(known.name.to_string()));
        self.0
            .store
            .write(&caller.actor(), move |change| {
                if change.remove_server(&id)?.is_none() {
                    return Err(missing);
                }
                Ok(())
            })
            .await?;
        self.settle().await
    }
}

/// Enters a server into its namespace, which is made where there is none of that name. Gives its id
/// and name, and adds it to those that are known.
fn enter(
    change: &mut Draft<'_>,
    known: &mut Vec<Server>,
    server: Server,
    wanted: Slug,
    (sight, settings): (&Sight, &Settings),
) -> Result<(ServerId, Slug), Error> {
    if known.len() >= settings.max_servers {
        return Err(Error::TooMany(settings.max_servers));
    }
    let mine = || known.iter().filter(|other| other.organization == server.organization);
    if mine().any(|other| other.name == server.name) {
        return Err(Error::Taken(server.name.to_string()));
    }
    let quotas = change.organization(&server.organization)?.map(|found| found.quotas);
    let quota = quotas.map_or(0, |quotas| quotas.max_servers);
    if mine().count() >= quota as usize {
        return Err(Error::QuotaExceeded(quota));
    }
    let found = namespace::find(change, server.organization, wanted.as_str())?;
    let namespace = found.as_ref().map_or_else(NamespaceId::fresh, |found| found.id);
    // Nobody who is limited to some namespaces sees one that is made now.
    if !sight.may_show(namespace) {
        return Err(Error::Limited);
    }
    if found.is_none() {
        let made = Namespace::new(namespace, server.organization, wanted, server.created_at);
        namespace::enter(change, &made, settings.max_namespaces)?;
    }
    let server = Server { namespace, ..server };
    change.put_server(&server)?;
    let entered = (server.id, server.name.clone());
    known.push(server);
    Ok(entered)
}

impl Form {
    /// The server the form describes, or the first thing wrong with it.
    fn check(
        self,
        organization: OrganizationId,
        (now, max_instances): (Timestamp, usize),
    ) -> Result<Server, Error> {
        let name = slug("name", &self.name)?;
        if name.as_str() == Directory::BUILT_IN {
            return Err(Error::BuiltIn(name.to_string()));
        }
        if self.description.len() > TEXT_LIMIT {
            return Err(wrong("description", "it is longer than 4,096 bytes"));
        }
        if let Some(seconds) = self.timeout_seconds
            && !(1..=3_600).contains(&seconds)
        {
            return Err(wrong("timeout_seconds", "it must lie between 1 and 3,600"));
        }
        check::in_flight(self.max_in_flight)?;
        check::cache(&self.cache)?;
        check::checks(&self.checks)?;
        let (cache, checks) = (self.cache, self.checks.clone());
        let said = (self.version.clone(), self.tags.clone(), self.metadata.clone());
        let labels = check::labels(None, said)?;
        check::balance(&self.balance)?;
        let (description, prefixing) = (self.description.clone(), self.prefix);
        let (timeout_seconds, max_in_flight) = (self.timeout_seconds, self.max_in_flight);
        let (on_change, balance) = (self.on_change, self.balance.clone());
        let keeps_bodies = self.keep_bodies;
        let instances = self.instances(max_instances)?;
        instance::check_alike(&instances)?;
        Ok(Server {
            id: ServerId::fresh(),
            organization,
            // It is entered into one later.
            namespace: NamespaceId::fixed(0),
            name,
            description,
            state: State::Active,
            prefixing,
            timeout_seconds,
            max_in_flight,
            instances,
            created_at: now,
            updated_at: now,
            on_change,
            balance,
            cache,
            checks: checks.kept(),
            labels,
            keeps_bodies,
            origin: None,
        })
    }

    /// Its instances: the one that stands in the form itself, once or more often, or a list.
    fn instances(self, limit: usize) -> Result<Vec<Instance>, Error> {
        let own = EndpointForm {
            url: self.url,
            headers: self.headers,
            auth: self.auth,
            tls: self.tls,
            transport: self.transport,
            command: self.command,
            args: self.args,
            env: self.env,
            cwd: self.cwd,
        };
        let replicas = self.replicas.unwrap_or(1);
        let count = if self.instances.is_empty() { replicas } else { self.instances.len() };
        if count > limit {
            return Err(Error::TooManyInstances(limit));
        }
        if !self.instances.is_empty() {
            if !own.is_empty() || self.replicas.is_some() {
                return Err(wrong("instances", "give either instances, or one url or command"));
            }
            return self.instances.into_iter().map(|form| form.check(&self.name)).collect();
        }
        let first = Instance::new(own.check()?);
        if replicas == 0 || (replicas > 1 && !is_program(&first)) {
            return Err(wrong("replicas", "only programs are started more than once, or once"));
        }
        let copies = (1..replicas).map(|_| Instance { id: InstanceId::fresh(), ..first.clone() });
        Ok(copies.chain([first.clone()]).collect())
    }
}

fn slug(member: &'static str, text: &str) -> Result<Slug, Error> {
    text.parse().map_err(|source| Error::Name { member, source })
}
