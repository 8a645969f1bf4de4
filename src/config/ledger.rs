//! The ledger: every value said so far, who said it, and what was wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Fault, Faults, Loaded, Origin, Settings, check,
    fault::{is_secret, shown},
    near::nearest,
};

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The setting, its groups before it: `access.enabled`.
    pub(crate) key: String,
    /// Its value, secrets masked.
    pub(crate) value: Value,
    /// Who said so.
    pub(crate) origin: Origin,
}

/// Collects values in the order in which they overrule each other.
pub(super) struct Ledger {
    defaults: Value,
    tree: Value,
    origins: BTreeMap<String, Origin>,
    faults: Vec<Fault>,
    faulty: BTreeSet<String>,
    warnings: Vec<String>,
}

impl Ledger {
    pub(super) fn new(defaults: &Settings) -> Self {
        let defaults = serde_json::to_value(defaults).expect("settings are plain values");
        Self {
            tree: defaults.clone(),
            defaults,
            origins: BTreeMap::new(),
            faults: Vec::new(),
            faulty: BTreeSet::new(),
            warnings: Vec::new(),
        }
    }

    /// The value that holds so far; none where there is no such setting.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.tree.pointer(&pointer(key))
    }

    /// Whether the name stands for settings below it.
    pub(super) fn is_group(&self, key: &str) -> bool {
        key.is_empty() || self.value(key).is_some_and(Value::is_object)
    }

    /// Takes a value, or notes what is wrong with it. `text` also passes for what it spells.
    pub(super) fn enter(&mut self, key: &str, value: &Value, origin: Origin) {
        if let Some(reading) = readings(value).into_iter().find(|it| self.fits(key, it)) {
            *self.tree.pointer_mut(&pointer(key)).expect("it fits there") = reading;
            self.origins.insert(key.to_owned(), origin);
            return;
        }
        let (wrong, fix) = self.misfit(key, value);
        self.fault(Fault {
            key: key.to_owned(),
            value: Some(shown(key, value)),
            origin,
            wrong,
            fix,
        });
    }

    /// Whether both say the same of a setting.
    pub(super) fn agree(&self, key: &str, one: &str, other: &str) -> bool {
        let reading = |text: &str| {
            readings(&Value::from(text)).into_iter().find(|reading| self.fits(key, reading))
        };
        one == other || reading(one).is_some_and(|one| Some(one) == reading(other))
    }

    fn fits(&self, key: &str, value: &Value) -> bool {
        let is_limit = !check::is_empty_limit(key, value) && !check::is_boundless(value);
        is_limit && self.trial(key, value).is_ok()
    }

    /// Reads the defaults with this one value in them, so that one wrong value hides no other.
    fn trial(&self, key: &str, value: &Value) -> Result<Settings, String> {
        let mut tree = self.defaults.clone();
        let place = tree.pointer_mut(&pointer(key)).ok_or("there is no such setting")?;
        *place = value.clone();
        Settings::deserialize_tree(tree)
    }

    fn misfit(&self, key: &str, value: &Value) -> (String, String) {
        let default = self.defaults.pointer(&pointer(key)).unwrap_or(&Value::Null);
        let usual = format!("write for example {}", shown(key, default));
        match default {
            Value::Bool(_) => ("is neither true nor false".into(), "write true or false".into()),
            Value::Number(_) if check::is_empty_limit(key, value) => {
                ("would allow nothing at all".into(), usual)
            }
            Value::Number(_) => ("is not a whole number of the allowed size".into(), usual),
            Value::Null => (self.refusal(key, value), "leave it out, or write it in full".into()),
            _ => (self.refusal(key, value), usual),
        }
    }

    fn refusal(&self, key: &str, value: &Value) -> String {
        // A secret must not come back in the words of a complaint.
        if is_secret(key) {
            return "is not of the right form".to_owned();
        }
        let said = self.trial(key, value).err().unwrap_or_default();
        format!("is not understood: {said}")
    }

    /// Notes something that must be put right.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.faulty.insert(fault.key.clone());
        self.faults.push(fault);
    }

    /// Notes a name that stands for no setting.
    pub(super) fn unknown(&mut self, key: &str, origin: Origin) {
        let fix = self.guess(key).map_or_else(
            || "leave it out; 'tollhouse config show' lists all settings".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        let wrong = "is not a setting".to_owned();
        self.fault(Fault { key: key.to_owned(), value: None, origin, wrong, fix });
    }

    /// The setting that a name was probably meant for.
    pub(super) fn guess(&self, key: &str) -> Option<String> {
        let keys: Vec<String> = leaves(&self.defaults).into_iter().map(|(key, _)| key).collect();
        let known = || keys.iter().map(String::as_str);
        let groups = self.defaults.as_object().into_iter().flat_map(|tree| tree.keys());
        let last = key.rsplit('.').next().unwrap_or(key);
        // A right name in the wrong group is the commoner slip.
        let moved = || known().find(|known| known.rsplit('.').next() == Some(last));
        nearest(key, known().chain(groups.map(String::as_str))).or_else(moved).map(str::to_owned)
    }

    /// Notes what is probably not meant.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The settings, when nothing was wrong.
    pub(super) fn close(mut self) -> Result<Loaded, Faults> {
        let settings = Settings::deserialize_tree(self.tree.clone());
        let settings = settings.expect("every value was tried on its own");
        let origin = |key: &str| self.origins.get(key).cloned().unwrap_or(Origin::Default);
        let found = check::together(&settings, &origin);
        // A rule over a value that is wrong itself would only add noise.
        let is_sound =
            |rule: &check::Breach| !rule.about.iter().any(|key| self.faulty.contains(*key));
        let found = found.into_iter().filter(is_sound).map(|rule| rule.fault);
        self.faults.extend(found.collect::<Vec<_>>());
        if !self.faults.is_empty() {
            return Err(Faults(self.faults));
        }
        let entries = leaves(&self.tree).into_iter().map(|(key, value)| Entry {
            value: if is_secret(&key) && !value.is_null() {
                Value::from("[secret]")
            } else {
                value
            },
            origin: self.origins.get(&key).cloned().unwrap_or(Origin::Default),
            key,
        });
        let entries = entries.collect();
        Ok(Loaded { settings, entries, warnings: self.warnings, file: None })
    }
}

impl Settings {
    fn deserialize_tree(tree: Value) -> Result<Self, String> {
        serde_json::from_value(tree).map_err(|error| error.to_string())
    }
}

/// What a value may be meant as. Variables and flags are text; files say what they mean.
fn readings(value: &Value) -> Vec<Value> {
    let mut readings = vec![value.clone()];
    if let Value::String(text) = value {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => readings.push(Value::Bool(true)),
            "false" | "no" | "off" | "0" => readings.push(Value::Bool(false)),
            _ => {}
        }
        readings.extend(serde_json::from_str(text).ok());
    }
    readings
}

/// Every setting below a group, in the order of the tree.
fn leaves(tree: &Value) -> Vec<(String, Value)> {
    fn walk(prefix: &str, tree: &Value, found: &mut Vec<(String, Value)>) {
        for (name, value) in tree.as_object().into_iter().flatten() {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if value.as_object().is_some_and(|group| !group.is_empty()) {
                walk(&key, value, found);
            } else {
                found.push((key, value.clone()));
            }
        }
    }
    let mut found = Vec::new();
    walk("", tree, &mut found);
    found
}

fn pointer(key: &str) -> String {
    key.split('.')
        .fold(String::new(), |path, name| path + "/" + &name.replace('~', "~0").replace('/', "~1"))
}
