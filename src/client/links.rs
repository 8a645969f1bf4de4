//! The office: people's own accounts at servers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Client, Error, manage::segment};

const LINKS: &str = "/auth/links";

/// Somebody's account at a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// Its id.
    pub id: String,
    /// At which server.
    #[serde(default)]
    pub server: Option<String>,
    /// Who gives its tokens.
    #[serde(default)]
    pub issuer: String,
    /// Whether they must sign in there again.
    #[serde(default)]
    pub is_over: bool,
    /// When they signed in there.
    #[serde(default)]
    pub linked_at: String,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A sign-in at a server that is about to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkBegun {
    /// At which server.
    pub server: String,
    /// The page of the gateway where it begins, in a browser.
    pub page: String,
    /// Where it goes on, where it has begun already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Client {
    /// The caller's accounts at servers.
    pub async fn links(&self) -> Result<Vec<LinkView>, Error> {
        self.get(LINKS).await
    }

    /// Begins to connect the caller's account at a server.
    pub async fn link(&self, server: &str) -> Result<LinkBegun, Error> {
        self.post(LINKS, &json!({ "server": server })).await
    }

    /// Ends one of the caller's accounts here, and gives its tokens back.
    pub async fn unlink(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("{LINKS}/{}", segment(id))).await
    }
}
