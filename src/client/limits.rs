//! Rate limits of a gateway.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Error, manage::segment};

/// A rate limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitView {
    /// What it goes by in paths.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// By what calls are counted.
    #[serde(default)]
    pub scope: String,
    /// Which calls are counted.
    #[serde(default, rename = "match")]
    pub only: Map<String, Value>,
    /// How they are counted.
    #[serde(default)]
    pub algorithm: String,
    /// How many may pass in how long.
    #[serde(default)]
    pub limits: Vec<LimitWindow>,
    /// Whether it holds at all.
    #[serde(default)]
    pub is_active: bool,
    /// `store`, or `file` for the settings file.
    #[serde(default)]
    pub origin: String,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// So many calls in so long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitWindow {
    /// How many.
    pub limit: u32,
    /// In how long, such as `1m`.
    pub window: String,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What became of the calls that a rate limit was asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitUsage {
    /// Which limit.
    pub name: String,
    /// By what calls are counted.
    #[serde(default)]
    pub scope: String,
    /// Calls that passed since the gateway started; none where they are other people's too.
    #[serde(default)]
    pub allowed: Option<u64>,
    /// Calls that did not.
    #[serde(default)]
    pub refused: Option<u64>,
    /// Who was refused, the last first.
    #[serde(default)]
    pub refused_lately: Vec<RefusedView>,
    /// How whoever was asked for stands with it, for each window.
    #[serde(default)]
    pub standings: Vec<StandingView>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Somebody whom a rate limit refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedView {
    /// By what they were counted.
    pub key: String,
    /// When last.
    pub at: String,
    /// How often.
    #[serde(default)]
    pub times: u64,
}

/// How somebody stands with one window of a rate limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingView {
    /// How many calls may pass.
    pub limit: u32,
    /// In how long, in seconds.
    pub window_seconds: u32,
    /// How many more may pass now.
    pub remaining: u32,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Client {
    /// All rate limits.
    pub async fn limits(&self) -> Result<Vec<LimitView>, Error> {
        self.get("/api/admin/rate-limits").await
    }

    /// One rate limit, by id or name.
    pub async fn limit(&self, id: &str) -> Result<LimitView, Error> {
        self.get(&format!("/api/admin/rate-limits/{}", segment(id))).await
    }

    /// Makes a rate limit.
    pub async fn limit_create(&self, definition: &Value) -> Result<LimitView, Error> {
        self.post("/api/admin/rate-limits", definition).await
    }

    /// Changes a rate limit: what the definition does not say stays as it is.
    pub async fn limit_update(&self, id: &str, definition: &Value) -> Result<LimitView, Error> {
        let path = format!("/api/admin/rate-limits/{}", segment(id));
        self.manage(self.request(Method::PATCH, &path)?.json(definition)).await
    }

    /// Removes a rate limit.
    pub async fn limit_delete(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("/api/admin/rate-limits/{}", segment(id))).await
    }

    /// What became of the calls that rate limits were asked about; and how those stand with them
    /// who are named, by what they are and which, such as `("user", "ana")`.
    pub async fn limit_usage(&self, named: &[(String, String)]) -> Result<Vec<LimitUsage>, Error> {
        let pairs =
            named.iter().map(|(what, which)| format!("{}={}", segment(what), segment(which)));
        let pairs = pairs.collect::<Vec<_>>().join("&");
        self.get(&format!("/api/admin/rate-limits/usage?{pairs}")).await
    }
}
