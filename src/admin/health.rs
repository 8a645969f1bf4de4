//! Live, ready, and the metrics.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use crate::{
    admin::House,
    domain::{Clock, Health},
    observe::Metrics,
    registry::Registry,
    store::{Condition, Store},
};

/// Whether the process is alive.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "healthy" })).into_response()
}

/// Whether calls are served.
pub(super) async fn ready(State(house): State<House>) -> Response {
    if house.is_ready() {
        Json(json!({ "status": "ready" })).into_response()
    } else {
        let body = Json(json!({ "status": "starting" }));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

/// How the gateway and its servers are, without a name of any.
pub(super) async fn gateway(
    State(house): State<House>,
    State(registry): State<Registry>,
    State(store): State<Store>,
    State(clock): State<Arc<dyn Clock>>,
) -> Response {
    let directory = registry.directory();
    let total = directory.all().count();
    let instances: Vec<&'static str> = directory
        .all()
        .flat_map(|server| &server.instances)
        .filter_map(|instance| Some(registry.gauge(&instance.id)?.health().as_str()))
        .collect();
    let count = |wanted: &str| instances.iter().filter(|health| **health == wanted).count();
    let database = match store.state() {
        Condition::Writable => "writable",
        Condition::ReadOnly { .. } => "read_only",
    };
    let status = if database == "writable" { "healthy" } else { "degraded" };
    Json(json!({
        "status": status,
        "database": database,
        "templates": total,
        "instances": {
            "total": instances.len(),
            "healthy": count(Health::Healthy.as_str()),
            "unhealthy": count("unhealthy"),
        },
        "uptime_seconds": house.uptime_seconds(&*clock),
    }))
    .into_response()
}

/// Every metric, in the text format of Prometheus.
pub(super) async fn metrics(
    State(metrics): State<Metrics>,
    State(house): State<House>,
) -> Response {
    metrics.sessions(house.open_sessions());
    let kind = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, metrics.text()).into_response()
}

impl House {
    /// Seconds since the start.
    pub(super) fn uptime_seconds(&self, clock: &dyn Clock) -> i64 {
        (clock.now().as_ms() - self.0.started_at.as_ms()) / 1_000
    }
}
