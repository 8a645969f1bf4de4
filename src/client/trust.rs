//! The office: what servers changed, and the lock of all they say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Client, Error, manage::segment};

/// A definition that does not count, and what it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeView {
    /// Names exactly this definition.
    pub id: String,
    /// What kind of item.
    pub kind: String,
    /// The server's own name for it.
    pub name: String,
    /// `pending` or `rejected`.
    pub status: String,
    /// Whether there is nothing that it changes.
    #[serde(default)]
    pub is_new: bool,
    /// To which clients it is shown; none where that is all.
    #[serde(default)]
    pub clients: Option<String>,
    /// When it was seen first.
    #[serde(default)]
    pub seen_at: String,
    /// Where it has characters that nobody sees.
    #[serde(default)]
    pub hides: Vec<String>,
    /// What is another.
    #[serde(default)]
    pub fields: Vec<FieldView>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A field of a definition that is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldView {
    /// The members that lead to it.
    pub field: String,
    /// What stood there.
    #[serde(default)]
    pub before: Option<String>,
    /// What stands there.
    #[serde(default)]
    pub now: Option<String>,
}

/// What somebody decides about changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// They count.
    Approve,
    /// They do not.
    Reject,
}

/// The definitions of every server, to be kept and compared with later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The form of it.
    pub version: u32,
    /// The servers, by name.
    pub servers: BTreeMap<String, LockedServer>,
}

/// The definitions of one server, each by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedServer {
    /// How it is spoken to.
    #[serde(default)]
    pub transport: String,
    /// Where it is, over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The names of what is shown to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<String>>,
    /// Its program and arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The names of what is added to its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// What it tells models of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Its tools.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// Its prompts.
    #[serde(default)]
    pub prompts: BTreeMap<String, String>,
    /// Its resource templates.
    #[serde(default)]
    pub templates: BTreeMap<String, String>,
    /// Definitions that wait for review, and are in no lock.
    #[serde(default, skip_serializing)]
    pub held: u64,
}

/// A lock, and the servers that it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Locking {
    /// What is offered now.
    pub lock: Lock,
    /// Servers that do not answer, and why.
    pub silent: BTreeMap<String, String>,
}

impl Client {
    /// What a server changed that does not count.
    pub async fn changes(&self, server: &str) -> Result<Vec<ChangeView>, Error> {
        self.get(&format!("/gateway/servers/{}/changes", segment(server))).await
    }

    /// Decides changes of a server by their ids.
    pub async fn decide(
        &self,
        server: &str,
        ids: &[String],
        decision: Decision,
    ) -> Result<(), Error> {
        let verb = match decision {
            Decision::Approve => "approve",
            Decision::Reject => "reject",
        };
        let path = format!("/gateway/servers/{}/changes/{verb}", segment(server));
        self.post::<Value>(&path, &json!({ "ids": ids })).await.map(drop)
    }

    /// Every definition that servers offer now.
    pub async fn lock(&self) -> Result<Locking, Error> {
        self.get("/api/admin/lock").await
    }
}
