//! The office: REST for people and their tools. Every route, on one screen.

mod auth;
mod bridge;
mod desk;
mod health;
mod keys;
mod processes;
mod push;
mod servers;
mod sessions;
mod setup;
mod status;
mod transports;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware,
    routing::{delete, get, post},
};

pub(crate) use bridge::Settings as BridgeSettings;

use crate::{
    access::Access,
    catalog::Catalog,
    domain::{Clock, Timestamp},
    edge::Sessions,
    observe::Metrics,
    pipeline::Pipeline,
    problem::{Kind, Problem},
    registry::Registry,
    store::Store,
    traffic::Traffic,
    upstream::Upstream,
};

/// The largest body the office reads, in bytes.
const BODY_BYTES: usize = 1 << 20;

/// What the office works with. A handler sees only what it names.
#[derive(Clone, FromRef)]
pub(crate) struct Office {
    pub(crate) access: Access,
    pub(crate) registry: Registry,
    pub(crate) catalog: Catalog,
    pub(crate) traffic: Traffic,
    pub(crate) upstream: Upstream,
    pub(crate) pipeline: Pipeline,
    pub(crate) bridge: BridgeSettings,
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) house: House,
}

/// Facts about the running gateway.
#[derive(Clone)]
pub(crate) struct House(Arc<Facts>);

struct Facts {
    listen: String,
    data: PathBuf,
    started_at: Timestamp,
    is_ready: AtomicBool,
    sessions: std::sync::OnceLock<Sessions>,
}

impl House {
    /// A house that is not open yet.
    pub(crate) fn new(listen: String, data: PathBuf, started_at: Timestamp) -> Self {
        let is_ready = AtomicBool::new(false);
        let sessions = std::sync::OnceLock::new();
        Self(Arc::new(Facts { listen, data, started_at, is_ready, sessions }))
    }

    /// Says whether calls are served.
    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Release);
    }

    /// Tells where sessions can be counted. The doors are hung after the office is furnished.
    pub(crate) fn set_sessions(&self, sessions: Sessions) {
        // Only the first doors count; there are no others.
        drop(self.0.sessions.set(sessions));
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Acquire)
    }

    /// The sessions, once the doors are hung.
    fn sessions(&self) -> Result<&Sessions, Problem> {
        let closed = || Problem::new(Kind::Unavailable, "the doors are not open yet");
        self.0.sessions.get().ok_or_else(closed)
    }

    fn open_sessions(&self) -> usize {
        self.0.sessions.get().map_or(0, Sessions::count)
    }
}

/// The routes of the office.
pub(crate) fn router(office: Office) -> Router {
    Router::new()
        // Open to everybody: says nothing of what is inside.
        .route("/health", get(health::live))
        .route("/ready", get(health::ready))
        .route("/gateway/health", get(health::gateway))
        // Behind a permission, which each handler asks for first.
        .route("/metrics", get(health::metrics))
        .route("/api/admin/status", get(status::show))
        .route("/api/admin/setup", post(setup::claim))
        .route("/servers", get(servers::list))
        .route("/gateway/servers", get(servers::list).post(servers::register))
        .route("/gateway/servers/{name}", get(servers::show).delete(servers::retire))
        .route("/mcp/{server}/health", get(servers::health))
        .route("/api/admin/sessions", get(sessions::list))
        .route("/api/admin/sessions/{id}", get(sessions::show).delete(sessions::end))
        .route("/api/admin/processes", get(processes::list))
        .route("/auth/api-keys", get(keys::list).post(keys::create))
        .route("/auth/api-keys/{id}", delete(keys::revoke))
        .merge(signing_in())
        .merge(transports())
        .fallback(desk::no_such_path)
        .method_not_allowed_fallback(desk::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(office.clone(), desk::tell_problems))
        .with_state(office)
}

/// Signing in, and what people see and change of themselves. Whoever is known may do that.
fn signing_in() -> Router<Office> {
    let each = |prefix: &str| {
        let path = |name: &str| format!("{prefix}/auth/{name}");
        Router::new()
            // Open to everybody: what they bring is looked at.
            .route(&path("login"), post(auth::login))
            .route(&path("refresh"), post(auth::refresh))
            .route(&path("logout"), post(auth::logout))
            .route(&path("profile"), get(auth::profile).put(auth::change_profile))
            .route(&path("password"), post(auth::change_password))
    };
    each("")
        .merge(each("/api"))
        .route("/auth/totp", post(auth::enrol).delete(auth::drop_second_factor))
        .route("/auth/totp/confirm", post(auth::confirm))
        // Behind a permission.
        .route("/api/admin/signing-keys/rotate", post(keys::rotate))
}

/// How the transports are, and what is said over them beside calls.
fn transports() -> Router<Office> {
    Router::new()
        // Open to everybody: says nothing of what is inside.
        .route("/rpc/health", get(transports::health))
        .route("/sse/health", get(transports::health))
        .route("/ws/health", get(transports::health))
        .route("/mcp/health", get(transports::health))
        .route("/stdio/health", get(transports::health))
        // Behind a permission.
        .route("/mcp/capabilities", get(transports::capabilities))
        .route("/mcp/status", get(transports::mcp_status))
        .route("/sse/status", get(transports::sse_status))
        .route("/ws/status", get(transports::ws_status))
        .route("/ws/metrics", get(transports::ws_metrics))
        .route("/sse/events", post(push::event))
        .route("/sse/broadcast", post(push::broadcast))
        .route("/sse/replay/{session}", get(push::replay))
        .route("/ws/send", post(push::send))
        .route("/ws/broadcast", post(push::ws_broadcast))
        .route("/ws/ping", post(push::ping))
        .route("/ws/close", delete(push::close))
        .route("/stdio/process", get(bridge::look).post(bridge::act))
        .route("/stdio/send", post(bridge::send))
        .route("/stdio/execute", post(bridge::execute))
}
