//! The office: what people gave clients leave for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Error, manage::segment};

const CONSENTS: &str = "/auth/consents";

/// Leave that somebody gave to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsentView {
    /// Its id.
    pub id: String,
    /// Who gave it.
    #[serde(default)]
    pub username: String,
    /// What the client calls itself.
    #[serde(default)]
    pub client_name: String,
    /// The endpoint that its tokens open.
    #[serde(default)]
    pub resource: String,
    /// What they are good for there.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When it got tokens last.
    #[serde(default)]
    pub renewed_at: String,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Client {
    /// What somebody gave clients leave for: the caller, or whoever is named.
    pub async fn consents(&self, user: Option<&str>) -> Result<Vec<ConsentView>, Error> {
        let whose = user.map_or_else(String::new, |user| format!("?user={}", segment(user)));
        self.get(&format!("{CONSENTS}{whose}")).await
    }

    /// Takes leave back.
    pub async fn consent_revoke(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("{CONSENTS}/{}", segment(id))).await
    }
}
