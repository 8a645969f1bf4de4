//! The settings file: YAML, every value with its line.

use std::{
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Environment, Fault, Faults, Origin, ledger::Ledger};

/// The largest file that is read.
const BYTES_LIMIT: u64 = 1 << 20;

/// A file of settings.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) text: String,
}

impl File {
    /// The named file, or else the first that is there. A named one must be there.
    pub(super) fn find(
        named: Option<&Path>,
        environment: &Environment,
    ) -> Result<Option<Self>, Faults> {
        let candidates = match named {
            Some(path) => vec![path.to_owned()],
            None => environment.files(),
        };
        for path in candidates {
            match read(&path) {
                Ok(text) => return Ok(Some(Self { path, text })),
                Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
                Err(error) => return Err(unreadable(&path, named.is_some(), &error)),
            }
        }
        Ok(None)
    }

    /// Enters everything that the file says.
    pub(super) fn enter(&self, ledger: &mut Ledger) {
        match serde_saphyr::from_str::<Spanned<Node>>(&self.text) {
            Ok(root) => self.walk("", root, ledger),
            Err(error) => ledger.fault(self.not_yaml(&error)),
        }
    }

    fn not_yaml(&self, error: &serde_saphyr::Error) -> Fault {
        let line = error.location().map_or(0, |place| place.line());
        let (wrong, fix) = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or("one setting");
                (format!("says {key} twice"), "keep one of the two")
            }
            other => {
                let said = other.to_string();
                let said = said.lines().next().unwrap_or_default();
                let fix = "check the indentation and the quotes on that line";
                (format!("is not YAML: {said}"), fix)
            }
        };
        Fault {
            key: "the settings file".into(),
            value: None,
            origin: Origin::File { path: self.path.clone(), line },
            wrong,
            fix: fix.into(),
        }
    }

    fn walk(&self, key: &str, node: Spanned<Node>, ledger: &mut Ledger) {
        let origin = |line| Origin::File { path: self.path.clone(), line };
        let line = node.referenced.line();
        match node.value {
            Node::Map(members) if ledger.is_group(key) => {
                for (name, member) in members {
                    let line = name.referenced.line();
                    let name = name.value;
                    let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                    if ledger.value(&key).is_some() && !key.ends_with('.') {
                        self.walk(&key, member, ledger);
                    } else {
                        ledger.unknown(&key, origin(line));
                    }
                }
            }
            // A group with nothing below it says nothing.
            Node::Plain(Value::Null) if ledger.is_group(key) => {}
            other if ledger.is_group(key) => ledger.fault(Fault {
                key: if key.is_empty() { "the settings file".into() } else { key.to_owned() },
                value: Some(other.into_value().to_string()),
                origin: origin(line),
                wrong: "stands where a group of settings belongs".into(),
                fix: "write the group's settings below it, indented".into(),
            }),
            other => ledger.enter(key, &other.into_value(), origin(line)),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(BYTES_LIMIT + 1).read_to_string(&mut text)?;
    if read as u64 > BYTES_LIMIT {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn unreadable(path: &Path, is_named: bool, error: &io::Error) -> Faults {
    let origin = if is_named {
        Origin::Flag("--config")
    } else {
        Origin::File { path: path.to_owned(), line: 1 }
    };
    Faults(vec![Fault {
        key: "the settings file".into(),
        value: Some(path.display().to_string()),
        origin,
        wrong: format!("cannot be read: {error}"),
        fix: "name a file that this user may read with --config FILE".into(),
    }])
}

/// A YAML value that remembers the lines of what is below it.
#[derive(Debug)]
enum Node {
    Plain(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Plain(value) => value,
            Self::List(items) => items.into_iter().map(|item| item.value.into_value()).collect(),
            Self::Map(members) => members
                .into_iter()
                .map(|(name, member)| (name.value, member.value.into_value()))
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting or a group of settings")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }
}
