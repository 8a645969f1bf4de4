//! The audit of a gateway: who changed what.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Error, manage::query};

/// A line of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditView {
    /// Its number.
    pub id: u64,
    /// When it was written.
    pub created_at: String,
    /// What was done, such as `server.created`.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: String,
    /// To which.
    pub resource_id: String,
    /// What people call it.
    #[serde(default)]
    pub resource_name: String,
    /// Who did it.
    pub actor_id: String,
    /// What is to be said beside that.
    #[serde(default)]
    pub detail: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A report made of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// What accounts and keys could do, and when: a row for each time in which it was the same.
    pub access: Vec<Map<String, Value>>,
    /// Who changed what, how often, and when first and last.
    pub changes: Vec<Map<String, Value>>,
}

/// Whether the audit is what was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditCheck {
    /// Lines that were looked at.
    pub lines: u64,
    /// Lines of before there was a chain.
    #[serde(default)]
    pub unchained: u64,
    /// What chains the last line.
    #[serde(default)]
    pub head: Option<String>,
    /// What is wrong, the first first.
    #[serde(default)]
    pub faults: Vec<AuditFault>,
}

/// What is wrong with a line of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditFault {
    /// Which line.
    pub sequence: u64,
    /// What is wrong.
    pub reason: String,
}

impl Client {
    /// Lines of the audit, the newest first. What is looked for is named as in the path's query,
    /// such as `("action", "server.created")`, `limit` and `offset` too.
    pub async fn audit(&self, wanted: &[(&str, String)]) -> Result<Vec<AuditView>, Error> {
        self.get(&format!("/api/admin/audit?{}", query(wanted))).await
    }

    /// Who could do what and when, and who changed what; `since` and `until` are moments.
    pub async fn audit_report(&self, about: &[(&str, String)]) -> Result<AuditReport, Error> {
        self.get(&format!("/api/admin/audit/report?{}", query(about))).await
    }

    /// Verifies the whole audit.
    pub async fn audit_verify(&self) -> Result<AuditCheck, Error> {
        self.get("/api/admin/audit/verify").await
    }
}
