//! The environment: a snapshot of it, and the settings it holds.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Fault, Origin,
    alias::{ALIASES, Meaning, NO_SETTINGS},
    fault::shown,
    ledger::Ledger,
    listen,
};
use crate::{domain::Secret, registry::discovery, upstream};

const PREFIX: &str = "TOLLHOUSE_";
const NEST: &str = "__";

/// The variables as they were when the process began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. Text that is not Unicode keeps its readable part.
    pub(crate) fn capture() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect())
    }

    /// A variable; an empty one counts as not set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where data lies when nobody says: none without a home.
    pub(super) fn data_folder(&self) -> Option<PathBuf> {
        Some(self.folder("XDG_DATA_HOME", ".local/share")?.join("tollhouse"))
    }

    /// Where a settings file is looked for, best first.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let own = self.folder("XDG_CONFIG_HOME", ".config");
        let folders = own.into_iter().chain([PathBuf::from("/etc")]);
        folders.map(|folder| folder.join("tollhouse/config.yaml")).collect()
    }

    /// Where the command line keeps what its user signed in to: nowhere without a home.
    pub(crate) fn logins(&self) -> Option<PathBuf> {
        Some(self.folder("XDG_CONFIG_HOME", ".config")?.join("tollhouse/logins.json"))
    }

    /// What child processes find in their environment.
    pub(crate) fn for_children(&self) -> upstream::Environment {
        upstream::Environment {
            path: self.get("PATH").unwrap_or_default().into(),
            home: self.get("HOME").map(Into::into),
            lang: self.get("LANG").map(Into::into),
        }
    }

    /// What discovery may know of it: the variables that its settings name, and where home is.
    pub(crate) fn for_discovery(&self, settings: &mut discovery::Settings) {
        let named = |name: &String| Some((name.clone(), Secret::new(self.get(name)?)));
        settings.variables = settings.env.iter().filter_map(named).collect();
        settings.home = self.get("HOME").map(Into::into);
    }

    fn folder(&self, variable: &str, in_home: &str) -> Option<PathBuf> {
        let absolute =
            |name: &str| self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(in_home)))
    }

    /// A program of this name on the search path, or at this path.
    pub(crate) fn program(&self, command: &str) -> Option<PathBuf> {
        if command.contains('/') {
            return Some(PathBuf::from(command)).filter(|path| is_program(path));
        }
        let folders = self.get("PATH")?.split(':').map(Path::new);
        folders.map(|folder| folder.join(command)).find(|path| is_program(path))
    }

    /// Enters all settings that variables hold.
    pub(super) fn enter(&self, ledger: &mut Ledger) {
        let mut said: BTreeMap<String, Vec<Said<'_>>> = BTreeMap::new();
        for (name, text) in &self.0 {
            let known = ALIASES.iter().find(|(alias, _)| alias == name);
            match (known, own_key(name)) {
                (Some((_, Meaning::Unused(instead))), _) => {
                    ledger.warn(format!("{name} is not used by this version: {instead}"));
                }
                (Some((_, meaning)), _) => {
                    let key = format!("{}{}", meaning.key(), meaning.part());
                    said.entry(key).or_default().push(Said { name, text: meaning.translate(text) });
                }
                (None, Some(key)) if ledger.value(&key).is_some() && !ledger.is_group(&key) => {
                    said.entry(key).or_default().push(Said { name, text: text.clone() });
                }
                (None, Some(key)) => unknown(ledger, name, &key),
                (None, None) => {}
            }
        }
        whole_address(&mut said, ledger);
        for (key, said) in said {
            enter_one(ledger, &key, &said);
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }
}

/// What a variable says of a setting.
struct Said<'a> {
    name: &'a str,
    text: String,
}

impl Meaning {
    fn key(self) -> &'static str {
        match self {
            Self::Setting(key) | Self::Seconds(key) | Self::Level(key) => key,
            Self::Host | Self::Port => "listen",
            Self::Unused(_) => "",
        }
    }

    fn part(self) -> &'static str {
        match self {
            Self::Host => ":host",
            Self::Port => ":port",
            _ => "",
        }
    }
}

/// The setting that a variable of our own prefix names.
fn own_key(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX).filter(|_| !NO_SETTINGS.contains(&name))?;
    Some(rest.to_ascii_lowercase().replace(NEST, "."))
}

fn unknown(ledger: &mut Ledger, name: &str, key: &str) {
    let origin = Origin::Variable(name.to_owned());
    if key.contains('.') {
        ledger.unknown(key, origin);
        return;
    }
    // Container platforms set names such as TOLLHOUSE_PORT for a service that is called so.
    let guess = ledger.guess(key).map(|near| {
        let variable = near.to_ascii_uppercase().replace('.', NEST);
        format!("; did you mean {PREFIX}{variable}?")
    });
    ledger.warn(format!("{name} is not a setting and is ignored{}", guess.unwrap_or_default()));
}

/// Makes one address of a host and a port that came apart.
fn whole_address(said: &mut BTreeMap<String, Vec<Said<'_>>>, ledger: &Ledger) {
    let whole = said.get("listen").and_then(|said| said.first()).map(|said| said.text.clone());
    let so_far = ledger.value("listen").and_then(Value::as_str).unwrap_or_default();
    let mut address = whole.clone().unwrap_or_else(|| so_far.to_owned());
    let host = said.remove("listen:host").into_iter().flatten().next();
    let port = said.remove("listen:port").into_iter().flatten().next();
    let names: Vec<&str> = [&host, &port].into_iter().flatten().map(|part| part.name).collect();
    let Some(name) = names.first().copied() else { return };
    if let Some(host) = &host {
        address = listen::with_host(&address, &host.text);
    }
    if let Some(port) = &port {
        address = listen::with_port(&address, &port.text);
    }
    let parts = said.entry("listen".to_owned()).or_default();
    parts.push(Said { name, text: address.clone() });
    if let Some(second) = names.get(1) {
        parts.push(Said { name: second, text: address });
    }
}

/// Enters what variables say of one setting, when they agree.
fn enter_one(ledger: &mut Ledger, key: &str, said: &[Said<'_>]) {
    let first = &said[0];
    let names = said.iter().map(|said| said.name).collect::<Vec<_>>().join(" and ");
    let origin = Origin::Variable(names.clone());
    if said.iter().all(|other| ledger.agree(key, &first.text, &other.text)) {
        ledger.enter(key, &Value::from(first.text.as_str()), origin);
        return;
    }
    let values = said.iter().map(|said| shown(key, &Value::from(said.text.as_str())));
    ledger.fault(Fault {
        key: key.to_owned(),
        value: Some(values.collect::<Vec<_>>().join(" and ")),
        origin,
        wrong: "are two names of one setting that say different things".into(),
        fix: format!("keep one of {names}"),
    });
}

/// Whether this is a file that may be run.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
