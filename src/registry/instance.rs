//! Instances: joining and leaving a server, and what is different about one of them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Deserialize;

use crate::{
    access::Caller,
    domain::{Instance, InstanceId, Permission, Secret, Server, ServerAuth, ServerTls, State},
    registry::{
        Error, Registry,
        endpoint::{Command, EndpointForm, wrong},
    },
};

/// The most members of an instance's metadata.
const MEMBERS: usize = 32;
/// The longest of them, in bytes.
const MEMBER_LIMIT: usize = 256;

/// Another place where a server runs. Spellings of the predecessors are understood.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct InstanceForm {
    /// Where it is served over HTTP.
    #[serde(alias = "endpoint")]
    url: Option<String>,
    /// What is shown there with every request.
    headers: BTreeMap<String, Secret>,
    /// How the gateway says there who it is.
    auth: ServerAuth,
    /// What is shown there in the TLS handshake.
    tls: ServerTls,
    /// How messages travel there; where nothing is said, that is found out.
    #[serde(alias = "protocol")]
    transport: Option<String>,
    /// The program that is it, alone or with its arguments.
    command: Option<Command>,
    /// The program's arguments.
    args: Vec<String>,
    /// What is added to the program's cleared environment.
    #[serde(alias = "env_vars")]
    env: BTreeMap<String, Secret>,
    /// Where the program starts.
    #[serde(alias = "working_dir")]
    cwd: Option<PathBuf>,
    /// How many calls it takes where another of weight 1 takes one.
    weight: Option<u16>,
    /// Whether it takes calls.
    state: State,
    /// What it is like: region, tier, cost, or anything else.
    #[serde(alias = "instance_metadata")]
    metadata: BTreeMap<String, String>,
    /// What runs it, as predecessors say it; kept as metadata.
    backend: Option<String>,
    /// The name of its server, as predecessors repeat it.
    #[serde(alias = "template")]
    template_name: Option<String>,
}

/// What is to be different about an instance.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct InstanceChange {
    weight: Option<u16>,
    state: Option<State>,
    metadata: Option<BTreeMap<String, String>>,
}

impl InstanceForm {
    /// The instance the form describes, or the first thing wrong with it.
    pub(super) fn check(self, server: &str) -> Result<Instance, Error> {
        if self.template_name.is_some_and(|name| name != server) {
            return Err(wrong("template_name", "it is another server's name"));
        }
        let mut metadata = self.metadata;
        if let Some(backend) = self.backend {
            metadata.entry("backend".to_owned()).or_insert(backend);
        }
        let weight = match (self.weight, metadata.get("weight")) {
            (Some(weight), _) => weight,
            (None, Some(text)) => text.trim().parse().map_err(|_| bad_weight())?,
            (None, None) => 1,
        };
        let endpoint = EndpointForm {
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
        let instance =
            Instance { weight, state: self.state, metadata, ..Instance::new(endpoint.check()?) };
        check(&instance)?;
        Ok(instance)
    }
}

/// What holds of every instance.
pub(super) fn check(instance: &Instance) -> Result<(), Error> {
    if !(1..=Instance::MAX_WEIGHT).contains(&instance.weight) {
        return Err(bad_weight());
    }
    let is_long = |text: &String| text.is_empty() || text.len() > MEMBER_LIMIT;
    let has_long = |(name, value): (&String, &String)| is_long(name) || value.len() > MEMBER_LIMIT;
    if instance.metadata.len() > MEMBERS || instance.metadata.iter().any(has_long) {
        return Err(wrong("metadata", "it has more than 32 members, or one over 256 bytes"));
    }
    Ok(())
}

/// Either all instances of a server speak MCP, or none does.
pub(super) fn check_alike(instances: &[Instance]) -> Result<(), Error> {
    let plain = instances.iter().filter(|instance| instance.endpoint.is_plain()).count();
    if plain == 0 || plain == instances.len() {
        return Ok(());
    }
    Err(wrong("transport", "either all instances of a server are plain HTTP, or none is"))
}

fn bad_weight() -> Error {
    wrong("weight", "it must be a whole number between 1 and 100")
}

pub(super) const fn is_program(instance: &Instance) -> bool {
    instance.endpoint.is_program()
}

impl Registry {
    /// Adds an instance to a server.
    pub(crate) async fn join(
        &self,
        caller: &Caller,
        name: &str,
        form: InstanceForm,
    ) -> Result<(Arc<Server>, InstanceId), Error> {
        let known = self.known(caller, name)?;
        let instance = form.check(known.name.as_str())?;
        if is_program(&instance) {
            caller.may(Permission::StdioExecute)?;
        }
        let (id, limit) = (instance.id, self.0.settings.max_instances);
        let server = self.rewrite(caller, &known, move |server| {
            if server.instances.len() >= limit {
                return Err(Error::TooManyInstances(limit));
            }
            server.instances.push(instance);
            check_alike(&server.instances)
        });
        Ok((server.await?, id))
    }

    /// Changes an instance.
    pub(crate) async fn change_instance(
        &self,
        caller: &Caller,
        (name, instance): (&str, &str),
        wanted: InstanceChange,
    ) -> Result<(Arc<Server>, InstanceId), Error> {
        let known = self.known(caller, name)?;
        let id = instance_of(&known, instance)?;
        let missing = no_such(instance);
        let server = self.rewrite(caller, &known, move |server| {
            let found = server.instances.iter_mut().find(|it| it.id == id).ok_or(missing)?;
            found.weight = wanted.weight.unwrap_or(found.weight);
            found.state = wanted.state.unwrap_or(found.state);
            if let Some(metadata) = wanted.metadata {
                found.metadata = metadata;
            }
            check(found)
        });
        Ok((server.await?, id))
    }

    /// Takes an instance away: it is asked no more, and its process ends.
    pub(crate) async fn part(
        &self,
        caller: &Caller,
        name: &str,
        instance: &str,
    ) -> Result<Arc<Server>, Error> {
        let known = self.known(caller, name)?;
        let id = instance_of(&known, instance)?;
        let missing = no_such(instance);
        let server = self.rewrite(caller, &known, move |server| {
            if !server.instances.iter().any(|it| it.id == id) {
                return Err(missing);
            }
            if server.instances.len() == 1 {
                return Err(Error::OnlyInstance);
            }
            server.instances.retain(|it| it.id != id);
            Ok(())
        });
        server.await
    }
}

/// Has so many processes of a server run: copies of its first are added, or its last taken away.
pub(super) fn scale(server: &mut Server, replicas: usize, limit: usize) -> Result<(), Error> {
    let others = server.instances.iter().filter(|it| !is_program(it)).count();
    let Some(first) = server.instances.iter().find(|it| is_program(it)).cloned() else {
        return Err(wrong("replicas", "only programs can be started more than once"));
    };
    if replicas == 0 || others + replicas > limit {
        let reason = format!("it must lie between 1 and {}", limit.saturating_sub(others));
        return Err(wrong("replicas", &reason));
    }
    let mut kept = 0;
    server.instances.retain(|it| {
        kept += usize::from(is_program(it));
        !is_program(it) || kept <= replicas
    });
    for _ in kept..replicas {
        server.instances.push(Instance { id: InstanceId::fresh(), ..first.clone() });
    }
    Ok(())
}

fn instance_of(server: &Server, text: &str) -> Result<InstanceId, Error> {
    let id = text.parse::<InstanceId>().map_err(|_| no_such(text))?;
    let is_its = server.instances.iter().any(|it| it.id == id);
    if is_its { Ok(id) } else { Err(no_such(text)) }
}

fn no_such(text: &str) -> Error {
    Error::NoSuchInstance(text.chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(form: serde_json::Value) -> Result<Instance, Error> {
        serde_json::from_value::<InstanceForm>(form).expect("a form").check("files")
    }

    #[test]
    fn instances_of_the_predecessors_are_understood() {
        let read = read(json!({
            "template_name": "files", "endpoint": "http://127.0.0.1:7071/mcp", "transport": "http",
            "backend": "docker", "metadata": {"weight": "3", "region": "eu"},
        }));
        let instance = read.expect("a good form");

        assert_eq!((instance.weight, instance.metadata["backend"].as_str()), (3, "docker"));
        assert_eq!(instance.metadata["region"], "eu");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let url = "http://127.0.0.1:7071/mcp";
        for (member, form) in [
            ("weight", json!({"url": url, "weight": 0})),
            ("weight", json!({"url": url, "weight": 101})),
            ("weight", json!({"url": url, "metadata": {"weight": "heavy"}})),
            ("metadata", json!({"url": url, "metadata": {"x": "y".repeat(257)}})),
            ("template_name", json!({"url": url, "template_name": "others"})),
            ("url", json!({})),
        ] {
            let error = read(form.clone()).expect_err(&form.to_string()).to_string();
            assert!(error.starts_with(&format!("{member}:")), "{error}");
        }
    }
}
