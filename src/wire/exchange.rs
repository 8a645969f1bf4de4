//! One request of HTTP that is carried as it is, because it is no message of MCP.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method as Verb};
use serde_json::json;

use crate::{
    domain::{HttpRoute, RouteRule},
    wire::Request,
};

/// A request that came by a route.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The route.
    pub route: Arc<HttpRoute>,
    /// Which of its rules it fits.
    pub rule: usize,
    /// Its method.
    pub verb: Verb,
    /// The path behind the route's own.
    pub path: String,
    /// What stands behind the question mark, if there is one.
    pub query: Option<String>,
    /// Its headers, as the server is to see them.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Exchange {
    /// The rule that it fits.
    #[must_use]
    pub fn rule(&self) -> &RouteRule {
        &self.route.rules[self.rule]
    }

    /// What a call says that carries it: as if a tool of the route's name were called with these
    /// arguments. Policies read them.
    #[must_use]
    pub fn request(&self) -> Request {
        let arguments = json!({
            "method": self.verb.as_str(),
            "path": self.path,
            "query": self.query,
        });
        let params = json!({ "name": self.route.name.as_str(), "arguments": arguments });
        Request::of_exchange(&params.to_string())
    }

    /// The path and query that the server is asked for.
    #[must_use]
    pub fn target(&self) -> String {
        let path = self.rule().request.path(&self.path);
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }
}
