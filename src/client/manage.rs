//! The office: set-up, servers, keys, status.
//!
//! Views keep what a newer gateway adds in `more`, so that it can be passed on.

use std::{collections::BTreeMap, fmt::Write};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Balance, CacheWish, Client, Error};
use crate::domain::{CheckPolicy, Secret, ServerAuth, ServerTls};

/// Servers and keys asked for at once: more than there can be.
const ALL: u32 = 100_000;

/// What a claimed gateway gives its administrator.
#[derive(Debug, Clone, Deserialize)]
pub struct Claim {
    /// The first API key, shown this once.
    pub api_key: Secret,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Launch {
    /// At a URL.
    Http {
        /// Its MCP endpoint.
        url: String,
        /// Shown there with every request.
        headers: BTreeMap<String, String>,
        /// How the gateway says there who it is.
        auth: ServerAuth,
        /// What is shown there in the TLS handshake.
        tls: ServerTls,
    },
    /// As a child process of the gateway.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Added to its environment.
        env: BTreeMap<String, String>,
        /// Where it starts.
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
    },
}

/// A server to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerForm {
    /// Its name.
    pub name: String,
    /// How it is reached.
    #[serde(flatten)]
    pub launch: Launch,
    /// How messages travel there; none leaves it to the gateway to find out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// How its names are qualified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where it is grouped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long its calls may take, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How many calls may be in flight towards it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_bodies: bool,
    /// What happens when it says something else than it did: `accept` or `review`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_change: Option<String>,
    /// How calls are shared among its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// How many processes of its program run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<usize>,
}

/// A registered server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What people want of it.
    #[serde(default)]
    pub state: String,
    /// How it was found to be.
    #[serde(default)]
    pub health: String,
    /// How it is spoken to.
    #[serde(default)]
    pub transport: String,
    /// Where it is, over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its program, on stdio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The program's arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// What it offers, once it has been asked.
    #[serde(flatten)]
    pub offered: Offered,
    /// Why it did not answer, when it was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl ServerView {
    /// Where it is: its URL or command line.
    #[must_use]
    pub fn location(&self) -> String {
        let command = || {
            let words = self.command.iter().chain(&self.args);
            shell_words::join(words.map(String::as_str))
        };
        self.url.clone().unwrap_or_else(command)
    }
}

/// What a server offers, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<u64>,
    /// Its prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<u64>,
    /// Its resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<u64>,
    /// Its templates of resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<u64>,
}

/// How a gateway is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// How long it has been up, in seconds.
    pub uptime_seconds: u64,
    /// Whether it has an administrator.
    pub claimed: bool,
    /// Where it listens; nowhere when it only serves this command.
    #[serde(default)]
    pub listen: Option<String>,
    /// How its memory is.
    pub store: StoreStatus,
    /// How its servers are.
    pub servers: Vec<ServerStatus>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// How a gateway's memory is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The word for it.
    pub state: String,
    /// Why, when it is not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// How one server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// What people want of it.
    #[serde(default)]
    pub state: String,
    /// How it was found to be.
    #[serde(default)]
    pub health: String,
    /// Which era of the protocol it speaks, once it has been asked.
    #[serde(default)]
    pub era: Option<String>,
    /// Which revision.
    #[serde(default)]
    pub revision: Option<String>,
    /// How it is spoken to.
    #[serde(default)]
    pub transport: String,
    /// Tools it offers, once it has been asked.
    #[serde(default)]
    pub tools: Option<u64>,
    /// Calls it is working on.
    #[serde(default)]
    pub in_flight: Option<u64>,
    /// Why it is not well.
    #[serde(default)]
    pub last_error: Option<String>,
    /// What its process wrote to standard error last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stderr_tail: Vec<String>,
    /// Since when it has been as it is.
    #[serde(default)]
    pub since: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A key to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyForm {
    /// What it is for.
    pub name: String,
    /// What it may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// When it ends, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What it may do, in place of a role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Namespaces it is limited to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Servers it is limited to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Who holds it: `user` or `a2a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What it is for, at length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What is to be different about a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyUpdate {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The same at length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What it may do, in place of a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
    /// Namespaces it is limited to; none where it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Servers it is limited to; none where it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<String>>,
    /// When it ends, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether it opens anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do; none where it has permissions of its own.
    #[serde(default)]
    pub role: Option<String>,
    /// What it may do, one by one.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// When it was used last, as far as that is noted.
    #[serde(default)]
    pub last_used_at: Option<String>,
    /// Whether it opens anything.
    #[serde(default)]
    pub is_active: bool,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Something that can be permitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionView {
    /// Its name, `thing:action`.
    pub name: String,
    /// What it lets somebody do.
    #[serde(default)]
    pub description: String,
    /// Who has it by their role.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A key just made.
#[derive(Debug, Clone, Deserialize)]
pub struct NewKey {
    /// Its text, shown this once.
    pub key: Secret,
    /// What is known of it.
    #[serde(flatten)]
    pub view: KeyView,
}

impl Client {
    /// Claims a gateway that nobody has claimed. Only on its own machine.
    pub async fn setup(&self, username: &str, password: &Secret) -> Result<Claim, Error> {
        let form = json!({"username": username, "password": password.expose()});
        self.post("/api/admin/setup", &form).await
    }

    /// How the gateway and its servers are.
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("/api/admin/status").await
    }

    /// All registered servers.
    pub async fn servers(&self) -> Result<Vec<ServerView>, Error> {
        self.get(&format!("/gateway/servers?limit={ALL}")).await
    }

    /// Registers a server and waits, within limits, until it has been asked what it offers.
    /// One that does not answer is registered all the same.
    pub async fn introduce(&self, form: &ServerForm) -> Result<ServerView, Error> {
        self.post("/gateway/servers?wait=true", form).await
    }

    /// Registers a server, whether it answers or not.
    pub async fn register(&self, form: &ServerForm) -> Result<ServerView, Error> {
        self.post("/gateway/servers", form).await
    }

    /// Takes a server out, by id or name.
    pub async fn deregister(&self, server: &str) -> Result<(), Error> {
        self.delete(&format!("/gateway/servers/{}", segment(server))).await
    }

    /// Changes how the gateway says to a server who it is.
    pub async fn server_auth(&self, server: &str, auth: &ServerAuth) -> Result<ServerView, Error> {
        self.put(&format!("/gateway/servers/{}/auth", segment(server)), auth).await
    }

    /// Changes what a server is shown in the TLS handshake.
    pub async fn server_tls(&self, server: &str, tls: &ServerTls) -> Result<ServerView, Error> {
        self.put(&format!("/gateway/servers/{}/tls", segment(server)), tls).await
    }

    /// Makes an API key.
    pub async fn key_create(&self, form: &KeyForm) -> Result<NewKey, Error> {
        self.post("/auth/api-keys", form).await
    }

    /// All API keys, without their secrets.
    pub async fn key_list(&self) -> Result<Vec<KeyView>, Error> {
        self.get(&format!("/auth/api-keys?limit={ALL}")).await
    }

    /// Everything that can be permitted.
    pub async fn permissions(&self) -> Result<Vec<PermissionView>, Error> {
        self.get("/api/admin/permissions").await
    }

    /// One API key.
    pub async fn key_show(&self, key: &str) -> Result<KeyView, Error> {
        self.get(&format!("/auth/api-keys/{}", segment(key))).await
    }

    /// Changes an API key.
    pub async fn key_update(&self, key: &str, form: &KeyUpdate) -> Result<KeyView, Error> {
        self.patch(&format!("/auth/api-keys/{}", segment(key)), form).await
    }

    /// Ends an API key.
    pub async fn key_revoke(&self, key: &str) -> Result<(), Error> {
        self.delete(&format!("/auth/api-keys/{}", segment(key))).await
    }

    /// Has tokens signed with a new key from now on.
    pub async fn signing_key_rotate(&self) -> Result<(), Error> {
        let path = "/api/admin/signing-keys/rotate";
        self.post::<serde_json::Value>(path, &serde_json::json!({})).await.map(drop)
    }
}

/// What stands behind the question mark for these names and values.
pub(super) fn query(pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", segment(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Text as one segment of a path, whatever it holds.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let mut segment = String::new();
    for byte in text.bytes() {
        if plain(byte) {
            segment.push(char::from(byte));
        } else {
            write!(segment, "%{byte:02X}").expect("a String takes everything");
        }
    }
    // A path would climb on these.
    if ["", ".", ".."].contains(&segment.as_str()) { segment.replace('.', "%2E") } else { segment }
}
