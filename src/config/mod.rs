//! All settings, gathered from the rooms.
//!
//! A value comes from the last of these that says it: the rooms' defaults, a YAML file, the
//! environment, the command line. Nothing below this room reads the environment.

mod alias;
mod check;
mod environment;
mod fault;
mod file;
mod flags;
mod ledger;
mod listen;
mod near;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use self::ledger::Ledger;
use crate::{
    access, admin, catalog, edge, links, observe, pipeline, registry, store, traffic, trust,
    upstream,
};

pub(crate) use self::{
    environment::Environment,
    fault::{Fault, Faults, Origin},
    file::File,
    flags::Flags,
    ledger::Entry,
    near::nearest,
};

/// The unix socket in the data folder on which a running gateway answers its own machine.
const SOCKET: &str = "tollhouse.sock";

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder that holds all state.
    pub(crate) data: PathBuf,
    /// The address and port that is listened on.
    #[serde(deserialize_with = "listen::read")]
    pub(crate) listen: SocketAddr,
    /// Says that something in front of the gateway speaks TLS; without it only loopback addresses
    /// are listened on.
    pub(crate) i_terminate_tls_elsewhere: bool,
    /// The URL that clients know the gateway by, where it is not the address it listens on.
    pub(crate) public_url: Option<String>,
    /// Seconds for which running calls may go on after the gateway was told to stop.
    pub(crate) drain_seconds: u64,
    /// The memory.
    pub(crate) store: store::Settings,
    /// The diary and the log.
    pub(crate) observe: observe::Settings,
    /// Who may do what.
    pub(crate) access: access::Settings,
    /// How servers are spoken to.
    pub(crate) upstream: upstream::Settings,
    /// Which servers there are.
    pub(crate) registry: registry::Settings,
    /// How people sign in at them.
    pub(crate) links: links::Settings,
    /// How far they are trusted.
    pub(crate) trust: trust::Settings,
    /// How much at once.
    pub(crate) traffic: traffic::Settings,
    /// What is on offer.
    pub(crate) catalog: catalog::Settings,
    /// The path of a call.
    pub(crate) pipeline: pipeline::Settings,
    /// The doors.
    pub(crate) edge: edge::Settings,
    /// Programs that may be run over HTTP.
    pub(crate) stdio_bridge: admin::BridgeSettings,
}

impl Settings {
    fn with_defaults(data: PathBuf) -> Self {
        Self {
            data,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            i_terminate_tls_elsewhere: false,
            public_url: None,
            drain_seconds: 10,
            store: store::Settings::default(),
            observe: observe::Settings::default(),
            access: access::Settings::default(),
            upstream: upstream::Settings::default(),
            registry: registry::Settings::default(),
            links: links::Settings::default(),
            trust: trust::Settings::default(),
            traffic: traffic::Settings::default(),
            catalog: catalog::Settings::default(),
            pipeline: pipeline::Settings::default(),
            edge: edge::Settings::default(),
            stdio_bridge: admin::BridgeSettings::default(),
        }
    }

    /// Settles every value, or says everything that is wrong.
    pub(crate) fn load(
        flags: &Flags,
        environment: &Environment,
        file: Option<&File>,
    ) -> Result<Loaded, Faults> {
        let defaults = Self::with_defaults(environment.data_folder().unwrap_or_default());
        let mut ledger = Ledger::new(&defaults);
        if let Some(file) = file {
            file.enter(&mut ledger);
        }
        environment.enter(&mut ledger);
        flags.enter(&mut ledger);
        ledger.close()
    }

    /// Where a gateway that runs on this data answers its own machine.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join(SOCKET)
    }

    /// The URL that clients on this machine use, or the public one.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        let public = self.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        public.unwrap_or_else(|| format!("http://{}", listen::reachable(address)))
    }
}

/// Settled settings.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// Every value, and where it came from.
    pub(crate) entries: Vec<Entry>,
    /// What is probably not meant, one sentence each.
    pub(crate) warnings: Vec<String>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
}

/// Reads the settings that hold for this process.
pub(crate) fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, Faults> {
    let file = File::find(flags.config.as_deref().map(Path::new), environment)?;
    let mut loaded = Settings::load(flags, environment, file.as_ref())?;
    loaded.file = file.map(|file| file.path);
    // A relative folder is relative to where the process was started; it may move later.
    if let Ok(absolute) = std::path::absolute(&loaded.settings.data) {
        loaded.settings.data = absolute;
    }
    Ok(loaded)
}
