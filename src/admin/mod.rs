//! The office: REST for people and their tools. Every route, on one screen.

mod app_token;
mod audit;
mod auth;
mod bridge;
mod changes;
mod desk;
mod health;
mod http_routes;
mod instances;
mod keys;
mod limits;
mod namespaces;
mod oauth;
mod organizations;
mod outward;
mod permissions;
mod policies;
mod processes;
mod push;
mod registry_file;
mod requests;
mod route;
mod servers;
mod sessions;
mod setup;
mod stats;
mod status;
mod templates;
mod transports;
mod users;

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
};
use tokio_util::sync::CancellationToken;

pub(crate) use bridge::Settings as BridgeSettings;

use self::route::{Need, Route, delete, get, patch, post, put};
use crate::{
    access::{Access, Site},
    catalog::Catalog,
    domain::{Clock, OrganizationId, Permission, Timestamp},
    edge::Sessions,
    links::Links,
    observe::{Book, Metrics},
    pipeline::Pipeline,
    problem::{Kind, Problem},
    registry::Registry,
    store::Store,
    traffic::Traffic,
    trust::Trust,
    upstream::Upstream,
};

/// The largest body the office reads, in bytes.
const BODY_BYTES: usize = 1 << 20;

/// What the office works with. A handler sees only what it names.
#[derive(Clone, FromRef)]
pub(crate) struct Office {
    pub(crate) access: Access,
    pub(crate) site: Site,
    pub(crate) registry: Registry,
    pub(crate) links: Links,
    pub(crate) trust: Trust,
    pub(crate) catalog: Catalog,
    pub(crate) traffic: Traffic,
    pub(crate) upstream: Upstream,
    pub(crate) pipeline: Pipeline,
    pub(crate) bridge: BridgeSettings,
    pub(crate) store: Store,
    pub(crate) book: Book,
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
    closing: CancellationToken,
    sessions: std::sync::OnceLock<Sessions>,
}

impl House {
    /// A house that is not open yet.
    pub(crate) fn new(listen: String, data: PathBuf, started_at: Timestamp) -> Self {
        let is_ready = AtomicBool::new(false);
        let sessions = std::sync::OnceLock::new();
        let closing = CancellationToken::new();
        Self(Arc::new(Facts { listen, data, started_at, is_ready, closing, sessions }))
    }

    /// Says whether calls are served.
    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Release);
        if !is_ready {
            self.0.closing.cancel();
        }
    }

    /// Cancelled when the house closes: what the office streams ends then.
    fn closing(&self) -> CancellationToken {
        self.0.closing.clone()
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

    fn open_sessions_of(&self, organization: OrganizationId) -> usize {
        self.0.sessions.get().map_or(0, |sessions| sessions.count_of(organization))
    }

    fn open_sessions(&self) -> usize {
        self.0.sessions.get().map_or(0, Sessions::count)
    }
}

/// Every route of the office, and what one needs for it.
fn routes() -> Vec<Route> {
    use Need::{Known, May, Nothing};
    use Permission as P;
    let mut routes = vec![
        get("/health", Nothing, health::live),
        get("/ready", Nothing, health::ready),
        get("/gateway/health", Nothing, health::gateway),
        get("/metrics", May(P::MetricsRead), health::metrics),
        get("/api/admin/status", May(P::ServersRead), status::show),
        post("/api/admin/setup", May(P::SystemManage), setup::claim),
        get("/api/admin/permissions", Known, permissions::list),
        get("/servers", May(P::ServersRead), servers::list),
        get("/gateway/servers", May(P::ServersRead), servers::list),
        post("/gateway/servers", May(P::ServersWrite), servers::register),
        get("/gateway/servers/{name}", May(P::ServersRead), servers::show),
        patch("/gateway/servers/{name}", May(P::ServersWrite), servers::change),
        delete("/gateway/servers/{name}", May(P::ServersWrite), servers::retire),
        get("/gateway/servers/{name}/changes", May(P::ServersWrite), changes::list),
        post("/gateway/servers/{name}/changes/approve", May(P::ServersWrite), changes::approve),
        post("/gateway/servers/{name}/changes/reject", May(P::ServersWrite), changes::reject),
        get("/api/admin/lock", May(P::ServersWrite), changes::lock),
        put("/gateway/servers/{name}/auth", May(P::ServersWrite), outward::change_auth),
        put("/gateway/servers/{name}/tls", May(P::ServersWrite), outward::change_tls),
        get("/mcp/{server}/health", May(P::ServersRead), instances::health),
        get("/api/admin/sessions", May(P::SessionsRead), sessions::list),
        // One's own session needs no permission.
        get("/api/admin/sessions/{id}", Known, sessions::show),
        delete("/api/admin/sessions/{id}", Known, sessions::end),
        get("/api/admin/processes", May(P::ServersWrite), processes::list),
        get("/admin/audit", May(P::AuditRead), audit::list),
        get("/api/admin/audit", May(P::AuditRead), audit::list),
        get("/api/admin/audit/report", May(P::AuditRead), audit::report),
        get("/api/admin/audit/verify", May(P::SystemManage), audit::verify),
    ];
    routes.extend(book());
    routes.extend(places());
    routes.extend(signing_in());
    routes.extend(clients_of_people());
    routes.extend(people());
    routes.extend(policies());
    routes.extend(rate_limits());
    routes.extend(http_routes());
    routes.extend(transports());
    routes
}

/// The book of calls, and what is summed up from it.
fn book() -> Vec<Route> {
    use Need::May;
    use Permission as P;
    let paths = [
        ["/admin/logs", "/admin/logs/{id}", "/admin/requests", "/admin/stats"],
        ["/api/admin/logs", "/api/admin/logs/{id}", "/api/admin/requests", "/api/admin/stats"],
    ];
    let of = |[logs, one, requests, stats]: [&'static str; 4]| {
        [
            // Of calls, where `type=request` says so; and then one needs what those need.
            get(logs, May(P::AuditRead), requests::logs),
            get(one, May(P::LogsRead), requests::show),
            get(requests, May(P::LogsRead), requests::list),
            get(stats, May(P::LogsRead), stats::list),
        ]
    };
    let mut routes: Vec<Route> = paths.into_iter().flat_map(of).collect();
    routes.extend([
        get("/api/admin/requests/live", May(P::LogsRead), requests::live),
        get("/api/admin/requests/export", May(P::LogsRead), requests::export),
        get("/api/admin/requests/{id}", May(P::LogsRead), requests::show),
    ]);
    routes
}

/// The instances of servers; predecessors call a server a template.
fn places() -> Vec<Route> {
    use Need::May;
    use Permission as P;
    let check = "/gateway/servers/{name}/instances/{instance}/check";
    let mut routes = vec![
        post(check, May(P::ServersWrite), instances::check),
        get("/gateway/templates", May(P::ServersRead), templates::names),
        get("/gateway/registry", May(P::ServersRead), templates::registry),
        get("/gateway/stats", May(P::ServersRead), templates::stats),
        post("/gateway/registry/import", May(P::ServersWrite), registry_file::read),
        post("/gateway/registry/sync", May(P::SystemManage), registry_file::sync),
        get("/gateway/registry/export", May(P::ServersWrite), registry_file::write),
    ];
    for [all, one] in [
        ["/gateway/servers/{name}/instances", "/gateway/servers/{name}/instances/{instance}"],
        ["/gateway/templates/{name}/instances", "/gateway/templates/{name}/instances/{instance}"],
    ] {
        routes.extend([
            get(all, May(P::ServersRead), instances::list),
            post(all, May(P::ServersWrite), instances::add),
            patch(one, May(P::ServersWrite), instances::change),
            delete(one, May(P::ServersWrite), instances::remove),
        ]);
    }
    routes
}

/// Signing in, and what people see and change of themselves.
fn signing_in() -> Vec<Route> {
    use Need::{Known, May, Nothing};
    let mut routes = vec![
        post("/auth/totp", Known, auth::enrol),
        delete("/auth/totp", Known, auth::drop_second_factor),
        post("/auth/totp/confirm", Known, auth::confirm),
        // What they bring is looked at.
        post("/auth/a2a/token", Nothing, app_token::exchange),
        post("/api/admin/signing-keys/rotate", May(Permission::SystemManage), keys::rotate),
    ];
    for [login, refresh, logout, profile, password] in [
        ["/auth/login", "/auth/refresh", "/auth/logout", "/auth/profile", "/auth/password"],
        [
            "/api/auth/login",
            "/api/auth/refresh",
            "/api/auth/logout",
            "/api/auth/profile",
            "/api/auth/password",
        ],
    ] {
        routes.extend([
            // What they bring is looked at.
            post(login, Nothing, auth::login),
            post(refresh, Nothing, auth::refresh),
            post(logout, Known, auth::logout),
            get(profile, Known, auth::profile),
            put(profile, Known, auth::change_profile),
            post(password, Known, auth::change_password),
        ]);
    }
    routes
}

/// Clients that act for people: how they get leave and tokens, and how leave is taken back.
fn clients_of_people() -> Vec<Route> {
    use Need::{Known, Nothing};
    vec![
        get("/.well-known/oauth-protected-resource", Nothing, oauth::resource),
        get("/.well-known/oauth-protected-resource/{*path}", Nothing, oauth::resource_at),
        get("/.well-known/oauth-authorization-server", Nothing, oauth::server),
        get("/.well-known/oauth-authorization-server/{*path}", Nothing, oauth::server_at),
        // What they bring is looked at.
        get("/oauth/authorize", Nothing, oauth::authorize),
        post("/oauth/authorize", Nothing, oauth::authorize),
        post("/oauth/token", Nothing, oauth::exchange),
        post("/oauth/register", Nothing, oauth::register),
        post("/oauth/revoke", Nothing, oauth::revoke),
        get("/auth/consents", Known, oauth::list),
        delete("/auth/consents/{id}", Known, oauth::take_back),
        // The other way round: people's accounts at servers.
        get("/oauth/client.json", Nothing, oauth::client),
        get("/oauth/servers/{name}", Nothing, oauth::connect),
        post("/oauth/servers/{name}", Nothing, oauth::connect),
        get("/oauth/callback", Nothing, oauth::come_back),
        post("/oauth/callback", Nothing, oauth::come_back),
        get("/auth/links", Known, oauth::links),
        post("/auth/links", Known, oauth::link),
        delete("/auth/links/{id}", Known, oauth::unlink),
    ]
}

/// People, keys, and what they belong to.
fn people() -> Vec<Route> {
    use Need::May;
    use Permission as P;
    let mut routes = vec![
        get("/auth/api-keys", May(P::KeysRead), keys::list),
        post("/auth/api-keys", May(P::KeysWrite), keys::create),
        get("/auth/api-keys/{id}", May(P::KeysRead), keys::show),
        put("/auth/api-keys/{id}", May(P::KeysWrite), keys::change),
        patch("/auth/api-keys/{id}", May(P::KeysWrite), keys::change),
        delete("/auth/api-keys/{id}", May(P::KeysWrite), keys::revoke),
    ];
    for [all, one] in [["/auth/users", "/auth/users/{user}"], USERS] {
        routes.extend([
            get(all, May(P::UsersRead), users::list),
            post(all, May(P::UsersWrite), users::create),
            get(one, May(P::UsersRead), users::show),
            put(one, May(P::UsersWrite), users::change),
            patch(one, May(P::UsersWrite), users::change),
            delete(one, May(P::UsersWrite), users::remove),
        ]);
    }
    let [all, one] = ORGANIZATIONS;
    routes.extend([
        get(all, May(P::OrganizationsRead), organizations::list),
        post(all, May(P::OrganizationsManage), organizations::create),
        get(one, May(P::OrganizationsRead), organizations::show),
        put(one, May(P::OrganizationsManage), organizations::change),
        patch(one, May(P::OrganizationsManage), organizations::change),
        delete(one, May(P::OrganizationsManage), organizations::remove),
    ]);
    let [all, one] = NAMESPACES;
    routes.extend([
        get(all, May(P::NamespacesRead), namespaces::list),
        post(all, May(P::NamespacesWrite), namespaces::create),
        get(one, May(P::NamespacesRead), namespaces::show),
        put(one, May(P::NamespacesWrite), namespaces::change),
        patch(one, May(P::NamespacesWrite), namespaces::change),
        delete(one, May(P::NamespacesWrite), namespaces::remove),
        get("/api/admin/namespaces/{namespace}/servers", May(P::ServersRead), namespaces::servers),
        get(
            "/api/admin/namespaces/{namespace}/sessions",
            May(P::SessionsRead),
            namespaces::sessions,
        ),
    ]);
    routes
}

const USERS: [&str; 2] = ["/api/admin/users", "/api/admin/users/{user}"];
const ORGANIZATIONS: [&str; 2] =
    ["/api/admin/organizations", "/api/admin/organizations/{organization}"];
const NAMESPACES: [&str; 2] = ["/api/admin/namespaces", "/api/admin/namespaces/{namespace}"];

/// Policies, at each of their paths.
fn policies() -> Vec<Route> {
    use Need::May;
    use Permission as P;
    let paths = [
        ["/policies", "/policies/{id}", "/policies/test", "/policies/replay"],
        [
            "/api/admin/policies",
            "/api/admin/policies/{id}",
            "/api/admin/policies/test",
            "/api/admin/policies/replay",
        ],
    ];
    let of = |[all, one, test, replay]: [&'static str; 4]| {
        [
            get(all, May(P::PoliciesRead), policies::list),
            post(all, May(P::PoliciesWrite), policies::create),
            post(test, May(P::PoliciesRead), policies::test),
            post(replay, May(P::PoliciesRead), policies::replay),
            get(one, May(P::PoliciesRead), policies::show),
            put(one, May(P::PoliciesWrite), policies::update),
            patch(one, May(P::PoliciesWrite), policies::update),
            delete(one, May(P::PoliciesWrite), policies::remove),
        ]
    };
    paths.into_iter().flat_map(of).collect()
}

/// Rate limits, and how they are used.
fn rate_limits() -> Vec<Route> {
    use Need::May;
    use Permission as P;
    let [all, one] = ["/api/admin/rate-limits", "/api/admin/rate-limits/{id}"];
    vec![
        get(all, May(P::PoliciesRead), limits::list),
        post(all, May(P::PoliciesWrite), limits::create),
        get("/api/admin/rate-limits/usage", May(P::PoliciesRead), limits::usage),
        get(one, May(P::PoliciesRead), limits::show),
        put(one, May(P::PoliciesWrite), limits::update),
        patch(one, May(P::PoliciesWrite), limits::update),
        delete(one, May(P::PoliciesWrite), limits::remove),
    ]
}

/// Routes of plain HTTP requests, which are part of the register.
fn http_routes() -> Vec<Route> {
    use Need::May;
    use Permission as P;
    let [all, one] = ["/api/admin/routes", "/api/admin/routes/{id}"];
    vec![
        get(all, May(P::ServersRead), http_routes::list),
        post(all, May(P::ServersWrite), http_routes::create),
        post("/api/admin/routes/test", May(P::ServersRead), http_routes::test),
        get(one, May(P::ServersRead), http_routes::show),
        put(one, May(P::ServersWrite), http_routes::update),
        patch(one, May(P::ServersWrite), http_routes::update),
        delete(one, May(P::ServersWrite), http_routes::remove),
    ]
}

/// How the transports are, and what is said over them beside calls.
fn transports() -> Vec<Route> {
    use Need::{Known, May, Nothing};
    use Permission as P;
    vec![
        get("/rpc/health", Nothing, transports::health),
        get("/sse/health", Nothing, transports::health),
        get("/ws/health", Nothing, transports::health),
        get("/mcp/health", Nothing, transports::health),
        get("/stdio/health", Nothing, transports::health),
        get("/mcp/capabilities", May(P::ItemsList), transports::capabilities),
        get("/mcp/status", May(P::SessionsRead), transports::mcp_status),
        get("/sse/status", May(P::SessionsRead), transports::sse_status),
        get("/ws/status", May(P::SessionsRead), transports::ws_status),
        get("/ws/metrics", May(P::SessionsRead), transports::ws_metrics),
        // One's own session needs no permission.
        post("/sse/events", Known, push::event),
        post("/sse/broadcast", May(P::SessionsManage), push::broadcast),
        get("/sse/replay/{session}", Known, push::replay),
        post("/ws/send", Known, push::send),
        post("/ws/broadcast", May(P::SessionsManage), push::ws_broadcast),
        post("/ws/ping", Known, push::ping),
        delete("/ws/close", Known, push::close),
        get("/stdio/process", May(P::ServersWrite), bridge::look),
        post("/stdio/process", May(P::ServersWrite), bridge::act),
        // What is sent walks the path like any call.
        post("/stdio/send", Known, bridge::send),
        post("/stdio/execute", May(P::StdioExecute), bridge::execute),
    ]
}

/// The office, ready to be entered.
pub(crate) fn router(office: Office) -> Router {
    route::hang(routes(), &office)
        .fallback(desk::no_such_path)
        .method_not_allowed_fallback(desk::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(office.clone(), desk::tell_problems))
        .with_state(office)
}
