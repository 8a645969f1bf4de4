//! What goes on in a running gateway: sessions of its clients, processes of its servers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Error, manage::segment};

/// Sessions asked for at once: as many as a gateway shows.
const PAGE: usize = 1_000;
/// Pages of sessions that are asked for.
const PAGES: usize = 100;

/// A session of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientSession {
    /// Its id.
    pub id: String,
    /// How far it is.
    #[serde(default)]
    pub status: String,
    /// How it is spoken.
    #[serde(default)]
    pub protocol: String,
    /// Who opened it.
    #[serde(default)]
    pub principal: String,
    /// What its client calls itself.
    #[serde(default)]
    pub client_id: Option<String>,
    /// When it was opened.
    #[serde(default)]
    pub started_at: String,
    /// When its client was heard of last.
    #[serde(default)]
    pub last_activity: String,
    /// More about it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A process of a server, or a conversation with one for a single client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerProcess {
    /// The server's name.
    pub server: String,
    /// Whether it is a process or a session.
    #[serde(default)]
    pub kind: String,
    /// How it is.
    #[serde(default)]
    pub status: String,
    /// The number of the process.
    #[serde(default)]
    pub pid: Option<i64>,
    /// When it was started.
    #[serde(default)]
    pub started_at: Option<String>,
    /// How often it was started anew.
    #[serde(default)]
    pub restarts: Option<u64>,
    /// Whose it is.
    #[serde(default)]
    pub owner: String,
    /// Calls it is working on.
    #[serde(default)]
    pub in_flight: u64,
    /// What it wrote last to its standard error.
    #[serde(default)]
    pub last_line: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Client {
    /// The sessions that are open, and those that ended lately.
    pub async fn sessions(&self) -> Result<Vec<ClientSession>, Error> {
        let mut all: Vec<ClientSession> = Vec::new();
        for page in 0..PAGES {
            let path = format!("/api/admin/sessions?limit={PAGE}&offset={}", page * PAGE);
            let found: Vec<ClientSession> = self.get(&path).await?;
            let is_last = found.len() < PAGE;
            all.extend(found);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Ends a session.
    pub async fn session_end(&self, session: &str) -> Result<(), Error> {
        self.delete(&format!("/api/admin/sessions/{}", segment(session))).await
    }

    /// The processes of servers, and conversations for single clients.
    pub async fn processes(&self) -> Result<Vec<ServerProcess>, Error> {
        self.get("/api/admin/processes").await
    }
}
