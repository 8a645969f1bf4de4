//! Pins: which definitions of a server's items count, and since when.
//!
//! A definition that was not there at first sight, or is another than it was, is either taken as it
//! is or waits for somebody to look at it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ItemKind, ServerId, Slug, Timestamp};

/// What happens when a server says something else than it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// It counts, and the audit tells of it.
    #[default]
    Accept,
    /// It is held until somebody approves of it.
    Review,
}

/// What can be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinKind {
    /// What a server tells models of itself.
    Instructions,
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource template.
    Template,
}

impl PinKind {
    /// The kind's name, as stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Template => "template",
        }
    }

    /// The kind of pin for an item. Resources have none: they are content, which changes.
    #[must_use]
    pub const fn of(kind: ItemKind) -> Option<Self> {
        match kind {
            ItemKind::Tool => Some(Self::Tool),
            ItemKind::Prompt => Some(Self::Prompt),
            ItemKind::Template => Some(Self::Template),
            ItemKind::Resource => None,
        }
    }
}

impl fmt::Display for PinKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The SHA-256 of a definition in its canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a definition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It counts.
    Approved,
    /// It waits for somebody to look at it.
    Pending,
    /// Somebody looked at it, and it does not count.
    Rejected,
}

impl Standing {
    /// Whether it is what clients are shown.
    #[must_use]
    pub fn counts(self) -> bool {
        self == Self::Approved
    }
}

/// A definition that a server showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Which.
    pub digest: Digest,
    /// To which clients: what these can be asked, as JSON; none where all are shown the same.
    #[serde(default)]
    pub clients: Option<Box<str>>,
    /// How it stands.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
    /// How long it is.
    pub bytes: u32,
}

/// What is pinned of one item of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Whose it is.
    pub server: ServerId,
    /// What kind of item.
    pub kind: PinKind,
    /// The server's own name for it; empty for instructions.
    pub name: Box<str>,
    /// Its definitions: for each kind of client at most one that counts and one that does not.
    pub versions: Vec<Version>,
}

/// A definition as its server wrote it, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Whose it is.
    pub server: ServerId,
    /// Which.
    pub digest: Digest,
    /// The JSON.
    pub text: Box<str>,
    /// Where it has characters that nobody sees.
    #[serde(default)]
    pub hides: Vec<String>,
}

/// That a server was met, and everything pinned that it showed then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// Which server.
    pub id: ServerId,
    /// Its name.
    pub server: Slug,
    /// When it was met.
    pub since: Timestamp,
}
