//! Routes of HTTP requests of a gateway.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Error, manage::segment};

const ALL: &str = "/api/admin/routes";

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// What it goes by in paths of the office.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Where it begins.
    #[serde(default)]
    pub path: String,
    /// Where else it begins.
    #[serde(default)]
    pub mount: Option<String>,
    /// Which requests go where.
    #[serde(default)]
    pub rules: Vec<RouteRuleView>,
    /// Whether it is there at all.
    #[serde(default)]
    pub is_active: bool,
    /// `store`, or `file` for the settings file.
    #[serde(default)]
    pub origin: String,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteRuleView {
    /// Where requests go.
    pub server: String,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Where a request would go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTest {
    /// By which route.
    pub route: String,
    /// By which of its rules, counted from 0.
    pub rule: usize,
    /// To which server.
    pub server: String,
    /// What that speaks: `http` or `mcp`.
    pub protocol: String,
    /// What it is asked for, where that is plain HTTP.
    pub path: Option<String>,
}

impl Client {
    /// All routes.
    pub async fn routes(&self) -> Result<Vec<RouteView>, Error> {
        self.get(ALL).await
    }

    /// One route, by id or name.
    pub async fn route(&self, id: &str) -> Result<RouteView, Error> {
        self.get(&format!("{ALL}/{}", segment(id))).await
    }

    /// Makes a route.
    pub async fn route_create(&self, definition: &Value) -> Result<RouteView, Error> {
        self.post(ALL, definition).await
    }

    /// Changes a route: what the definition does not say stays as it is.
    pub async fn route_update(&self, id: &str, definition: &Value) -> Result<RouteView, Error> {
        let path = format!("{ALL}/{}", segment(id));
        self.manage(self.request(Method::PATCH, &path)?.json(definition)).await
    }

    /// Removes a route.
    pub async fn route_delete(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("{ALL}/{}", segment(id))).await
    }

    /// Says where a request would go: its `path`, `method`, `host` and `headers`.
    pub async fn route_test(&self, request: &Value) -> Result<RouteTest, Error> {
        self.post(&format!("{ALL}/test"), request).await
    }
}
