//! Policies of a gateway.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Client, Error, manage::segment};

/// Policies asked for at once: more than there can be on one page.
const ALL: u32 = 1_000;

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyView {
    /// What it goes by in paths.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its place among others.
    #[serde(default)]
    pub priority: u16,
    /// What it does.
    #[serde(default)]
    pub actions: Value,
    /// Whether it is asked at all.
    #[serde(default)]
    pub is_active: bool,
    /// `store`, or `file` for the settings file.
    #[serde(default)]
    pub origin: String,
    /// Why it cannot be compiled, where that is so.
    #[serde(default)]
    pub error: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// How a call would be decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// `allow`, `deny` or `role`.
    pub decision: String,
    /// Whether it would be made.
    pub allowed: bool,
    /// Whether lists show what it is about.
    #[serde(default)]
    pub listed: bool,
    /// The policy that decides.
    #[serde(default)]
    pub policy: Option<String>,
    /// What that policy says of itself.
    #[serde(default)]
    pub message: Option<String>,
    /// Every active policy, in the order in which they are asked.
    #[serde(default)]
    pub policies: Vec<PolicyStep>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What one policy says of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyStep {
    /// Its name.
    pub policy: String,
    /// Its place among others.
    #[serde(default)]
    pub priority: u16,
    /// What it would do.
    #[serde(default)]
    pub effect: String,
    /// Whether it holds.
    #[serde(default)]
    pub holds: String,
    /// What was asked for that.
    #[serde(default)]
    pub checks: Vec<PolicyCheck>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One field against one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyCheck {
    /// Where it stands in the policy.
    pub at: String,
    /// What is looked at.
    pub field: String,
    /// How it is compared.
    pub operator: String,
    /// What the field holds.
    #[serde(default)]
    pub found: Value,
    /// Whether that is as it should be.
    #[serde(default)]
    pub holds: String,
}

/// How a call that was made would be decided today.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayedCall {
    /// `allowed`, `denied`, `depends` or `unknown`, without the policy that is tried.
    pub before: String,
    /// The same, with it.
    pub after: String,
    /// The policy that decides afterwards.
    #[serde(default)]
    pub policy: Option<String>,
    /// Why nobody can say.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Client {
    /// All policies, those that are asked first at the top.
    pub async fn policies(&self) -> Result<Vec<PolicyView>, Error> {
        self.get(&format!("/policies?limit={ALL}")).await
    }

    /// One policy, by id or name.
    pub async fn policy(&self, id: &str) -> Result<PolicyView, Error> {
        self.get(&format!("/policies/{}", segment(id))).await
    }

    /// Makes a policy.
    pub async fn policy_create(&self, definition: &Value) -> Result<PolicyView, Error> {
        self.post("/policies", definition).await
    }

    /// Changes a policy: what the definition does not say stays as it is.
    pub async fn policy_update(&self, id: &str, definition: &Value) -> Result<PolicyView, Error> {
        let request = self.request(Method::PUT, &format!("/policies/{}", segment(id)))?;
        self.manage(request.json(definition)).await
    }

    /// Removes a policy.
    pub async fn policy_delete(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("/policies/{}", segment(id))).await
    }

    /// How a call would be decided, and why.
    pub async fn policy_test(&self, question: &Value) -> Result<PolicyAnswer, Error> {
        self.post("/policies/test", question).await
    }

    /// How calls that were made would be decided without and with a policy, in their order.
    pub async fn policy_replay(
        &self,
        policy: &Value,
        calls: &[&Value],
    ) -> Result<Vec<ReplayedCall>, Error> {
        self.post("/policies/replay", &json!({"policy": policy, "calls": calls})).await
    }
}
