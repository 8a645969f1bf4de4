//! What is wrong with the settings, where it was said, and what to do.

use std::{fmt, path::PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said it.
    Default,
    /// A line of a file.
    File {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
    },
    /// One or more environment variables.
    Variable(String),
    /// The command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The setting, or what stands in its place.
    pub(crate) key: String,
    /// What was said, secrets masked.
    pub(crate) value: Option<String>,
    /// Where it was said.
    pub(crate) origin: Origin,
    /// What is wrong with it.
    pub(crate) wrong: String,
    /// What to do.
    pub(crate) fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, ": {value}")?;
        }
        if self.origin == Origin::Default {
            write!(f, " (the default)")?;
        } else {
            write!(f, " (from {})", self.origin)?;
        }
        write!(f, " {}\n    {}", self.wrong, self.fix)
    }
}

/// Everything that is wrong. Never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

/// Whether a setting's value is nobody's business.
pub(super) fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    ["password", "secret", "token", "credential"].iter().any(|word| name.contains(word))
        || name == "key"
        || name.ends_with("_key")
        // It may hold a password.
        || key.to_ascii_lowercase().ends_with("redis.url")
}

/// A value as it may be shown.
pub(super) fn shown(key: &str, value: &serde_json::Value) -> String {
    if is_secret(key) && !value.is_null() { "[secret]".to_owned() } else { value.to_string() }
}
