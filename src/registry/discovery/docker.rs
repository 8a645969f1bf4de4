//! Containers of Docker whose labels say that they are servers.
//!
//! | label | says |
//! |---|---|
//! | `tollhouse.enable` | `true`: it is one |
//! | `tollhouse.name` | its name, else the container's; containers of one name are its instances |
//! | `tollhouse.port` | the port it listens on, else the only one it exposes |
//! | `tollhouse.path` | the path of its endpoint, else `/mcp` |
//! | `tollhouse.description` | what it is for |
//! | `tollhouse.weight` | how many calls this instance takes |

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use bollard::{
    API_DEFAULT_VERSION,
    models::{ContainerSummary, PortSummaryTypeEnum},
    query_parameters::ListContainersOptionsBuilder,
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Source;
use crate::registry::file::Found;

/// Containers of Docker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether they are looked at. Whoever may start containers may then name servers.
    pub(crate) enabled: bool,
    /// Where Docker listens.
    pub(crate) socket: PathBuf,
    /// What stands before the names of labels, with a dot.
    pub(crate) prefix: String,
    /// How long it may take to answer, in seconds.
    pub(crate) timeout_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            socket: "/var/run/docker.sock".into(),
            prefix: "tollhouse".into(),
            timeout_seconds: 10,
        }
    }
}

/// A Docker on this machine.
pub(super) struct Docker(pub(super) Settings);

impl Source for Docker {
    fn name(&self) -> String {
        format!("docker:{}", self.0.socket.display())
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<Found>, String>> {
        Box::pin(async {
            let socket = self.0.socket.to_string_lossy();
            let timeout = self.0.timeout_seconds.max(1).into();
            let docker = bollard::Docker::connect_with_unix(&socket, timeout, API_DEFAULT_VERSION);
            let docker = docker.map_err(|error| format!("{socket}: {error}"))?;
            let wanted = format!("{}.enable=true", self.0.prefix);
            let filters = HashMap::from([("label", vec![&*wanted]), ("status", vec!["running"])]);
            let options = ListContainersOptionsBuilder::default().filters(&filters).build();
            let all = docker.list_containers(Some(options)).await;
            Ok(self.servers(&all.map_err(|error| format!("{socket}: {error}"))?))
        })
    }
}

impl Docker {
    /// The servers that containers are instances of.
    fn servers(&self, containers: &[ContainerSummary]) -> Vec<Found> {
        let mut servers: BTreeMap<String, Vec<&ContainerSummary>> = BTreeMap::new();
        for container in containers {
            let name = self.label(container, "name").map(str::to_owned);
            let own = || container.names.as_ref()?.first()?.strip_prefix('/').map(str::to_owned);
            if let Some(name) = name.or_else(own) {
                servers.entry(name).or_default().push(container);
            }
        }
        let server = |(name, mut of_it): (String, Vec<&ContainerSummary>)| {
            // In one order, whatever Docker's is.
            of_it.sort_by(|a, b| a.id.cmp(&b.id));
            let instances: Result<Vec<Value>, String> =
                of_it.iter().map(|container| self.instance(container)).collect();
            let form = instances.map(|instances| {
                let mut form = json!({ "name": name, "instances": instances });
                if let Some(text) = self.label(of_it[0], "description") {
                    form["description"] = text.into();
                }
                form
            });
            Found { name, form, needs: BTreeSet::new() }
        };
        servers.into_iter().map(server).collect()
    }

    fn label<'a>(&self, container: &'a ContainerSummary, name: &str) -> Option<&'a str> {
        let label = format!("{}.{name}", self.0.prefix);
        container.labels.as_ref()?.get(&label).map(|text| text.trim())
    }

    fn instance(&self, container: &ContainerSummary) -> Result<Value, String> {
        let id = container.id.as_deref().unwrap_or_default().chars().take(12).collect::<String>();
        let (host, port) = self.place(container).map_err(|wrong| format!("{id}: {wrong}"))?;
        let path = self.label(container, "path").unwrap_or("/mcp");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut form = json!({
            "url": format!("http://{host}:{port}{slash}{path}"),
            "metadata": { "container_id": id, "backend": "docker" },
        });
        if let Some(weight) = self.label(container, "weight") {
            let weight: u16 =
                weight.parse().map_err(|_| format!("{id}: the weight is no number"))?;
            form["weight"] = weight.into();
        }
        Ok(form)
    }

    /// Where a container can be reached: a port of this machine, if it has one, else its own
    /// address.
    fn place(&self, container: &ContainerSummary) -> Result<(String, u16), String> {
        let ports = container.ports.as_deref().unwrap_or_default();
        let tcp = || ports.iter().filter(|port| port.typ != Some(PortSummaryTypeEnum::UDP));
        let own: BTreeSet<u16> = tcp().map(|port| port.private_port).collect();
        let port = match self.label(container, "port") {
            Some(text) => text.parse().map_err(|_| format!("the port {text:?} is no number"))?,
            None if own.len() == 1 => own.first().copied().unwrap_or_default(),
            None => return Err("say which port it listens on, in the label port".to_owned()),
        };
        let published = tcp().find(|it| it.private_port == port && it.public_port.is_some());
        if let Some(public) = published.and_then(|it| it.public_port) {
            let host = published.and_then(|it| it.ip.as_deref()).unwrap_or("127.0.0.1");
            let host = match host {
                "" | "0.0.0.0" | "::" => "127.0.0.1",
                host => host,
            };
            let is_six = host.contains(':');
            return Ok((if is_six { format!("[{host}]") } else { host.to_owned() }, public));
        }
        let networks = container.network_settings.as_ref().and_then(|it| it.networks.as_ref());
        let mut addresses: Vec<&str> = networks
            .into_iter()
            .flat_map(HashMap::values)
            .filter_map(|network| network.ip_address.as_deref().filter(|it| !it.is_empty()))
            .collect();
        addresses.sort_unstable();
        let address = addresses.first().ok_or("it has neither a published port nor an address")?;
        Ok(((*address).to_owned(), port))
    }
}
