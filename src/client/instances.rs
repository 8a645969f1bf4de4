//! The office: where servers run, and how calls are shared among these places.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::CheckPolicy;

use super::{Client, Error, Launch, ServerView, manage::segment};

/// How calls are shared among the instances of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Which instance is next; none leaves it to the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Which instances are taken before the others.
    pub prefer: Vec<String>,
    /// Whether instances that are programs are called only while no other can be.
    #[serde(default)]
    pub stdio_fallback: bool,
}

/// What is to be different about a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerChange {
    /// What happens when it says something else than it did: `accept` or `review`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_change: Option<String>,
    /// What people want of it: `active`, `inactive` or `maintenance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How many calls may be in flight towards it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// How calls are shared among its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// How long what it says is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheWish>,
    /// Words that it goes by with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// How it is looked at when nobody calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<CheckPolicy>,
    /// Whether it is kept what is said in calls of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_bodies: Option<bool>,
    /// How many processes of its program run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<usize>,
}

/// How long what a server says is kept, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheWish {
    /// Resources, in seconds; none leaves it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources_seconds: Option<u32>,
    /// Lists, in seconds; none leaves it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_seconds: Option<u32>,
    /// What tools answer that only read, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_seconds: Option<u32>,
    /// `private` or `public`; none leaves it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Another place where a server runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceForm {
    /// How it is reached.
    #[serde(flatten)]
    pub launch: Launch,
    /// How messages travel there; none leaves it to the gateway to find out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// What is said of it.
    #[serde(flatten)]
    pub traits: InstanceChange,
}

/// What is said of an instance; none leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct InstanceChange {
    /// How many calls it takes where another of weight 1 takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// What people want of it: `active`, `inactive` or `maintenance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What it is like: `region`, `tier`, `cost`, or anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A place where a server runs, and how it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its id.
    pub id: String,
    /// How it is spoken to.
    #[serde(default)]
    pub transport: String,
    /// Where it is.
    #[serde(default)]
    pub location: String,
    /// What people want of it.
    #[serde(default)]
    pub state: String,
    /// How many calls it takes where another of weight 1 takes one.
    #[serde(default)]
    pub weight: u16,
    /// How it was found to be.
    #[serde(default)]
    pub health: String,
    /// Whether it is called: `closed`, `open` or `half_open`.
    #[serde(default)]
    pub circuit: String,
    /// Calls there were.
    #[serde(default)]
    pub calls: u64,
    /// Calls that failed.
    #[serde(default)]
    pub failed_calls: u64,
    /// The mean latency of late, in milliseconds.
    #[serde(default)]
    pub latency_ms: f64,
    /// Why it did not answer last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Client {
    /// Changes a server.
    pub async fn server_change(
        &self,
        server: &str,
        change: &ServerChange,
    ) -> Result<ServerView, Error> {
        self.patch(&format!("/gateway/servers/{}", segment(server)), change).await
    }

    /// The instances of a server.
    pub async fn instances(&self, server: &str) -> Result<Vec<InstanceView>, Error> {
        self.get(&places(server)).await
    }

    /// Adds an instance to a server.
    pub async fn instance_add(
        &self,
        server: &str,
        form: &InstanceForm,
    ) -> Result<InstanceView, Error> {
        self.post(&places(server), form).await
    }

    /// Changes an instance.
    pub async fn instance_change(
        &self,
        server: &str,
        instance: &str,
        change: &InstanceChange,
    ) -> Result<InstanceView, Error> {
        self.patch(&place(server, instance), change).await
    }

    /// Takes an instance away.
    pub async fn instance_remove(&self, server: &str, instance: &str) -> Result<(), Error> {
        self.delete(&place(server, instance)).await
    }

    /// Has the gateway look at an instance now.
    pub async fn instance_check(
        &self,
        server: &str,
        instance: &str,
    ) -> Result<InstanceView, Error> {
        let nothing = serde_json::json!({});
        self.post(&format!("{}/check", place(server, instance)), &nothing).await
    }
}

/// What became of a server that a file names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedView {
    /// Its name.
    pub name: String,
    /// `registered`, `ready` (it would be), `there`, `needs`, `left_out` or `refused`.
    pub outcome: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What must be known first.
    #[serde(default)]
    pub needs: Vec<String>,
}

/// What became of a server that a source names, or of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncedView {
    /// Which server; empty where it is about the source itself.
    pub name: String,
    /// Which source.
    pub source: String,
    /// `registered`, `updated`, `unchanged`, `gone`, `removed`, `refused` or `unreadable`.
    pub outcome: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

impl Client {
    /// Registers the servers that a file names, or tells what would become of each.
    pub async fn import(
        &self,
        text: &str,
        variables: &BTreeMap<String, String>,
        is_dry_run: bool,
    ) -> Result<Vec<ImportedView>, Error> {
        let asked = serde_json::json!({
            "text": text,
            "variables": variables,
            "dry_run": is_dry_run,
        });
        self.post("/gateway/registry/import", &asked).await
    }

    /// Looks at the sources of servers that the settings name, or tells what would come of it.
    pub async fn sync(&self, is_dry_run: bool) -> Result<Vec<SyncedView>, Error> {
        self.post("/gateway/registry/sync", &serde_json::json!({ "dry_run": is_dry_run })).await
    }

    /// Everything that is registered, without secrets.
    pub async fn export(&self) -> Result<Value, Error> {
        self.get("/gateway/registry/export").await
    }
}

fn places(server: &str) -> String {
    format!("/gateway/servers/{}/instances", segment(server))
}

fn place(server: &str, instance: &str) -> String {
    format!("{}/{}", places(server), segment(instance))
}
