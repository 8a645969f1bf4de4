//! The office: REST for people and their tools. Every route, on one screen.

mod desk;
mod health;
mod keys;
mod servers;
mod setup;
mod status;

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

use crate::{
    access::Access,
    catalog::Catalog,
    domain::{Clock, Timestamp},
    edge::Sessions,
    observe::Metrics,
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
        .route("/auth/api-keys", get(keys::list).post(keys::create))
        .route("/auth/api-keys/{id}", delete(keys::revoke))
        .fallback(desk::no_such_path)
        .method_not_allowed_fallback(desk::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(office.clone(), desk::tell_problems))
        .with_state(office)
}
