//! The transports: how each one is, and what is going on over it.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    access::Caller,
    admin::{
        House,
        desk::{Failure, Visitor},
        sessions,
    },
    edge::{SessionView, Traffic},
    registry::Registry,
    wire::{Revision, meta},
};

/// Sessions that a status shows; the list of sessions has all.
const SHOWN: usize = 100;

/// How long a client may take to answer a ping.
pub(super) const PING: Duration = Duration::from_secs(5);

/// A family of transports, as the doors name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family(pub(super) &'static [&'static str]);

/// Streamable HTTP, over the network and over the local socket.
pub(super) const STREAMABLE: Family = Family(&["http", "unix"]);
/// HTTP with a stream of events beside it.
pub(super) const SSE: Family = Family(&["sse"]);
/// All whose clients read streams of events.
pub(super) const EVENTS: Family = Family(&["sse", "http", "unix"]);
/// WebSocket.
pub(super) const WEBSOCKET: Family = Family(&["ws"]);

impl Family {
    /// Whether a session goes by one of these.
    pub(super) fn has(self, session: &SessionView) -> bool {
        self.0.contains(&session.via)
    }

    fn traffic(self, house: &House, caller: &Caller) -> Traffic {
        let organization = caller.principal().organization;
        let traffic = house.sessions().map(|them| them.traffic(self.0, organization));
        traffic.unwrap_or_default()
    }
}

/// Whether a transport is served. Says nothing of what is inside.
pub(super) async fn health(uri: http::Uri) -> Response {
    let name = uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
    let (transport, capabilities): (_, &[&str]) = match name {
        "rpc" => ("rpc", &["requests", "batch", "introspection"]),
        "sse" => ("sse", &["events", "broadcast", "replay"]),
        "ws" => ("websocket", &["messages", "broadcast", "ping"]),
        "stdio" => ("stdio", &["process", "send"]),
        _ => ("streamable_http", &["requests", "streaming", "sessions", "resumption"]),
    };
    let body = json!({ "status": "healthy", "transport": transport, "capabilities": capabilities });
    Json(body).into_response()
}

/// What the gateway speaks.
pub(super) async fn capabilities() -> Response {
    let revisions: Vec<&str> = Revision::ALL.iter().map(|it| it.as_str()).collect();
    let server: Value = serde_json::from_str(meta::IMPLEMENTATION).expect("our own name");
    Json(json!({
        "capabilities": {
            "tools": { "listChanged": true },
            "prompts": { "listChanged": true },
            "resources": { "listChanged": true, "subscribe": true },
            "completions": {},
            "logging": {},
        },
        "protocol_version": Revision::NEWEST.as_str(),
        "protocol_versions": revisions,
        "server_info": server,
        "transports": ["streamable_http", "sse", "websocket", "stdio", "rpc", "rest"],
        "modes": MODES,
    }))
    .into_response()
}

const MODES: [&str; 2] = ["json", "sse"];

/// Sessions over Streamable HTTP.
pub(super) async fn mcp_status(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
) -> Result<Response, Failure> {
    let Traffic { active, total, .. } = STREAMABLE.traffic(&house, &caller);
    Ok(Json(json!({
        "active_sessions": active,
        "total_sessions": total,
        "transport_mode": "streamable_http",
        "sessions": listed(STREAMABLE, &house, &registry, &caller),
        "supported_modes": MODES,
    }))
    .into_response())
}

/// Sessions over HTTP with a stream of events.
pub(super) async fn sse_status(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
) -> Result<Response, Failure> {
    let Traffic { active, total, told } = SSE.traffic(&house, &caller);
    Ok(Json(json!({
        "active_connections": active,
        "total_connections": total,
        "sessions": listed(SSE, &house, &registry, &caller),
        "metrics": { "events_sent": told },
        "transport_type": "SSE",
    }))
    .into_response())
}

/// Sessions over WebSocket.
pub(super) async fn ws_status(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
) -> Result<Response, Failure> {
    let Traffic { active, total, .. } = WEBSOCKET.traffic(&house, &caller);
    Ok(Json(json!({
        "active_connections": active,
        "total_connections": total,
        "sessions": listed(WEBSOCKET, &house, &registry, &caller),
        "transport_type": "WEBSOCKET",
    }))
    .into_response())
}

/// Numbers of WebSocket.
pub(super) async fn ws_metrics(
    Visitor(caller): Visitor,
    State(house): State<House>,
) -> Result<Response, Failure> {
    let Traffic { active, total, told } = WEBSOCKET.traffic(&house, &caller);
    Ok(Json(json!({
        "connections": { "active": active, "total": total },
        "messages": { "sent": told },
    }))
    .into_response())
}

fn listed(family: Family, house: &House, registry: &Registry, caller: &Caller) -> Vec<Value> {
    let directory = registry.directory();
    let open = sessions::all(house, &directory, caller).into_iter().filter(SessionView::is_open);
    let shown = open.filter(|session| family.has(session)).take(SHOWN);
    shown.map(|session| sessions::shown(&session, &directory, caller)).collect()
}
