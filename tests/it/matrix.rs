//! Every route and every method, asked by everybody there can be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Answer, App, Browser, Gateway, access, eventually, gateway_meta};

/// A route as it is asked here: its method and path, how that is asked, and the status for whoever
/// may. Nothing is changed by any of them: they name what is not there, or say too little.
struct Sample {
    route: (&'static str, &'static str),
    path: &'static str,
    body: Option<&'static str>,
    status: u16,
}

const fn sample(
    method: &'static str,
    route: &'static str,
    path: &'static str,
    status: u16,
) -> Sample {
    Sample { route: (method, route), path, body: None, status }
}

const fn sending(
    method: &'static str,
    route: &'static str,
    path: &'static str,
    status: u16,
) -> Sample {
    Sample { route: (method, route), path, body: Some("{}"), status }
}

const NOBODY: &str = "/auth/users/nobody";
const APPROVE: &str = "/gateway/servers/{name}/changes/approve";
const REJECT: &str = "/gateway/servers/{name}/changes/reject";
const NO_KEY: &str = "/auth/api-keys/000000000000";

const PLACES: &str = "/gateway/servers/{name}/instances";
const PLACE: &str = "/gateway/servers/{name}/instances/{instance}";
const CHECK: &str = "/gateway/servers/{name}/instances/{instance}/check";
const OLDER_PLACES: &str = "/gateway/templates/{name}/instances";
const OLDER_PLACE: &str = "/gateway/templates/{name}/instances/{instance}";
const ITS: &str = "/gateway/servers/nobody/instances";
const ITS_ONE: &str = "/gateway/servers/nobody/instances/x";
const OLDER: &str = "/gateway/templates/nobody/instances";
const OLDER_ONE: &str = "/gateway/templates/nobody/instances/x";

/// The instances of a server that is not there.
const INSTANCES: [Sample; 12] = [
    sending("POST", "/gateway/registry/sync", "/gateway/registry/sync", 200),
    sending("POST", "/gateway/registry/import", "/gateway/registry/import", 422),
    sample("GET", "/gateway/registry/export", "/gateway/registry/export", 200),
    sample("GET", PLACES, ITS, 404),
    sending("POST", PLACES, ITS, 404),
    sending("PATCH", PLACE, ITS_ONE, 404),
    sample("DELETE", PLACE, ITS_ONE, 404),
    sample("POST", CHECK, "/gateway/servers/nobody/instances/x/check", 404),
    sample("GET", OLDER_PLACES, OLDER, 404),
    sending("POST", OLDER_PLACES, OLDER, 404),
    sending("PATCH", OLDER_PLACE, OLDER_ONE, 404),
    sample("DELETE", OLDER_PLACE, OLDER_ONE, 404),
];

/// Signing in, and one's own account. A key belongs to no sign-in.
const SIGNING_IN: [Sample; 16] = [
    sending("POST", "/auth/login", "/auth/login", 422),
    sending("POST", "/auth/refresh", "/auth/refresh", 422),
    sample("POST", "/auth/logout", "/auth/logout", 400),
    sample("GET", "/auth/profile", "/auth/profile", 200),
    sending("PUT", "/auth/profile", "/auth/profile", 422),
    sending("POST", "/auth/password", "/auth/password", 422),
    sending("POST", "/api/auth/login", "/api/auth/login", 422),
    sending("POST", "/api/auth/refresh", "/api/auth/refresh", 422),
    sample("POST", "/api/auth/logout", "/api/auth/logout", 400),
    sample("GET", "/api/auth/profile", "/api/auth/profile", 200),
    sending("PUT", "/api/auth/profile", "/api/auth/profile", 422),
    sending("POST", "/api/auth/password", "/api/auth/password", 422),
    sending("POST", "/auth/totp", "/auth/totp", 422),
    sending("DELETE", "/auth/totp", "/auth/totp", 422),
    sending("POST", "/auth/totp/confirm", "/auth/totp/confirm", 422),
    sample("POST", "/api/admin/signing-keys/rotate", "/api/admin/signing-keys/rotate", 200),
];

/// Lists, and how things are.
const LISTS: [&str; 45] = [
    "/api/admin/audit/report",
    "/admin/requests",
    "/api/admin/requests",
    "/admin/stats",
    "/api/admin/stats",
    "/admin/logs",
    "/api/admin/logs",
    "/admin/audit",
    "/api/admin/audit",
    "/api/admin/audit/verify",
    "/api/admin/routes",
    "/api/admin/rate-limits",
    "/api/admin/rate-limits/usage",
    "/gateway/templates",
    "/gateway/registry",
    "/gateway/stats",
    "/health",
    "/ready",
    "/gateway/health",
    "/rpc/health",
    "/sse/health",
    "/ws/health",
    "/mcp/health",
    "/stdio/health",
    "/metrics",
    "/api/admin/status",
    "/api/admin/permissions",
    "/servers",
    "/gateway/servers",
    "/api/admin/sessions",
    "/api/admin/processes",
    "/api/admin/lock",
    "/auth/api-keys",
    "/auth/users",
    "/api/admin/users",
    "/api/admin/organizations",
    "/api/admin/namespaces",
    "/policies",
    "/api/admin/policies",
    "/mcp/capabilities",
    "/mcp/status",
    "/sse/status",
    "/ws/status",
    "/ws/metrics",
    "/stdio/process",
];

/// What names what is not there, or says too little.
const ASKED: [Sample; 33] = [
    sample("GET", "/admin/logs/{id}", "/admin/logs/nobody", 404),
    sample("GET", "/api/admin/logs/{id}", "/api/admin/logs/nobody", 404),
    sample("GET", "/api/admin/requests/{id}", "/api/admin/requests/nobody", 404),
    sample("GET", "/api/admin/requests/live", "/api/admin/requests/live?level=loud", 400),
    sample("GET", "/api/admin/requests/export", "/api/admin/requests/export?format=xml", 400),
    sending("POST", "/api/admin/setup", "/api/admin/setup", 422),
    sending("POST", "/gateway/servers", "/gateway/servers", 422),
    sample("GET", "/gateway/servers/{name}", "/gateway/servers/nobody", 404),
    sample("DELETE", "/gateway/servers/{name}", "/gateway/servers/nobody", 404),
    sending("PATCH", "/gateway/servers/{name}", "/gateway/servers/nobody", 404),
    sample("GET", "/gateway/servers/{name}/changes", "/gateway/servers/nobody/changes", 404),
    sending("POST", APPROVE, "/gateway/servers/nobody/changes/approve", 422),
    sending("POST", REJECT, "/gateway/servers/nobody/changes/reject", 422),
    sending("PUT", "/gateway/servers/{name}/auth", "/gateway/servers/nobody/auth", 422),
    sending("PUT", "/gateway/servers/{name}/tls", "/gateway/servers/nobody/tls", 404),
    sample("GET", "/mcp/{server}/health", "/mcp/nobody/health", 404),
    sample("GET", "/api/admin/sessions/{id}", "/api/admin/sessions/x", 404),
    sample("DELETE", "/api/admin/sessions/{id}", "/api/admin/sessions/x", 404),
    sending("POST", "/auth/api-keys", "/auth/api-keys", 422),
    sample("GET", "/auth/api-keys/{id}", NO_KEY, 404),
    sending("PUT", "/auth/api-keys/{id}", NO_KEY, 404),
    sending("PATCH", "/auth/api-keys/{id}", NO_KEY, 404),
    sample("DELETE", "/auth/api-keys/{id}", NO_KEY, 404),
    sending("POST", "/sse/events", "/sse/events", 422),
    sending("POST", "/sse/broadcast", "/sse/broadcast", 422),
    sample("GET", "/sse/replay/{session}", "/sse/replay/x", 404),
    sending("POST", "/ws/send", "/ws/send", 400),
    sending("POST", "/ws/broadcast", "/ws/broadcast", 200),
    sample("POST", "/ws/ping", "/ws/ping", 400),
    sample("DELETE", "/ws/close", "/ws/close", 400),
    sample("POST", "/stdio/process", "/stdio/process?action=status", 200),
    sending("POST", "/stdio/send", "/stdio/send", 400),
    sending("POST", "/stdio/execute", "/stdio/execute", 400),
];

/// Clients that act for people, and what is told of how they get leave.
const CLIENTS: [Sample; 19] = [
    sample("GET", RESOURCE, RESOURCE, 200),
    sample("GET", RESOURCE_AT, "/.well-known/oauth-protected-resource/mcp/nobody", 200),
    sample("GET", ISSUER, ISSUER, 200),
    sample("GET", ISSUER_AT, "/.well-known/oauth-authorization-server/x", 404),
    sample("GET", "/oauth/authorize", "/oauth/authorize", 400),
    sending("POST", "/oauth/authorize", "/oauth/authorize", 403),
    sending("POST", "/oauth/token", "/oauth/token", 400),
    sending("POST", "/oauth/register", "/oauth/register", 400),
    sending("POST", "/oauth/revoke", "/oauth/revoke", 400),
    sample("GET", "/auth/consents", "/auth/consents", 200),
    sample("DELETE", "/auth/consents/{id}", "/auth/consents/x", 404),
    sample("GET", "/oauth/client.json", "/oauth/client.json", 200),
    sample("GET", "/oauth/servers/{name}", "/oauth/servers/nobody", 200),
    sending("POST", "/oauth/servers/{name}", "/oauth/servers/nobody", 403),
    sample("GET", "/oauth/callback", "/oauth/callback", 200),
    sending("POST", "/oauth/callback", "/oauth/callback", 403),
    sample("GET", "/auth/links", "/auth/links", 200),
    sending("POST", "/auth/links", "/auth/links", 422),
    sample("DELETE", "/auth/links/{id}", "/auth/links/x", 404),
];

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const RESOURCE_AT: &str = "/.well-known/oauth-protected-resource/{*path}";
const ISSUER: &str = "/.well-known/oauth-authorization-server";
const ISSUER_AT: &str = "/.well-known/oauth-authorization-server/{*path}";

fn samples() -> Vec<Sample> {
    let mut all: Vec<Sample> = LISTS.map(|path| sample("GET", path, path, 200)).into();
    all.extend(ASKED);
    all.extend(INSTANCES);
    all.extend(SIGNING_IN);
    all.extend(CLIENTS);
    // What it shows stands in its body as well as at the door.
    let body = Some(r#"{"grant_type":"password"}"#);
    let (route, path) = (("POST", "/auth/a2a/token"), "/auth/a2a/token");
    all.push(Sample { route, path, body, status: 400 });
    all.extend(things("/auth/users", "/auth/users/{user}", NOBODY));
    all.extend(things("/api/admin/users", "/api/admin/users/{user}", "/api/admin/users/nobody"));
    all.extend(things(
        "/api/admin/organizations",
        "/api/admin/organizations/{organization}",
        "/api/admin/organizations/nobody",
    ));
    all.extend(things(
        "/api/admin/namespaces",
        "/api/admin/namespaces/{namespace}",
        "/api/admin/namespaces/nobody",
    ));
    let (list, one) = ("/api/admin/rate-limits", "/api/admin/rate-limits/{id}");
    all.extend(things(list, one, "/api/admin/rate-limits/nobody"));
    let (list, one) = ("/api/admin/routes", "/api/admin/routes/{id}");
    all.extend(things(list, one, "/api/admin/routes/nobody"));
    all.push(sending("POST", "/api/admin/routes/test", "/api/admin/routes/test", 422));
    all.extend(things("/policies", "/policies/{id}", "/policies/nobody"));
    all.push(sending("POST", "/policies/test", "/policies/test", 422));
    all.push(sending("POST", "/policies/replay", "/policies/replay", 422));
    let (list, one) = ("/api/admin/policies", "/api/admin/policies/{id}");
    all.extend(things(list, one, "/api/admin/policies/nobody"));
    all.push(sending("POST", "/api/admin/policies/test", "/api/admin/policies/test", 422));
    all.push(sending("POST", "/api/admin/policies/replay", "/api/admin/policies/replay", 422));
    let inside = "/api/admin/namespaces/{namespace}/servers";
    all.push(sample("GET", inside, "/api/admin/namespaces/nobody/servers", 404));
    let inside = "/api/admin/namespaces/{namespace}/sessions";
    all.push(sample("GET", inside, "/api/admin/namespaces/nobody/sessions", 404));
    all
}

/// What can be made, shown, changed and deleted.
fn things(list: &'static str, one: &'static str, missing: &'static str) -> [Sample; 5] {
    [
        sending("POST", list, list, 422),
        sample("GET", one, missing, 404),
        sending("PUT", one, missing, 404),
        sending("PATCH", one, missing, 404),
        sample("DELETE", one, missing, 404),
    ]
}

/// Somebody who asks.
struct Actor {
    name: String,
    key: Option<String>,
    /// What they may do; none where nobody knows them.
    may: Option<BTreeSet<String>>,
}

struct House {
    gateway: Gateway,
    actors: Vec<Actor>,
    /// What each route needs.
    needs: BTreeMap<(String, String), String>,
}

fn house() -> House {
    let gateway = Gateway::start();
    let told = gateway.ask("GET", "/api/admin/permissions", None).json();
    let rows = told["data"].as_array().expect("permissions").clone();
    let of_role = |role: &str| -> BTreeSet<String> {
        let has = |row: &&Value| row["roles"].as_array().expect("roles").contains(&json!(role));
        rows.iter().filter(has).map(|row| row["name"].as_str().expect("a name").into()).collect()
    };
    let all: BTreeSet<String> =
        rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect();
    let mut actors = vec![Actor {
        name: "superuser".into(),
        key: Some(gateway.key.clone()),
        may: Some(all.clone()),
    }];
    let mut known = |name: &str, key: String, may: BTreeSet<String>| {
        actors.push(Actor { name: name.to_owned(), key: Some(key), may: Some(may) });
    };
    for role in ["user", "viewer", "api_user"] {
        let key = gateway.make_key("", &json!({"name": role, "role": role})).1;
        known(role, key, of_role(role));
    }
    gateway.make_user("", "admin-here", "admin");
    let form = json!({"name": "a", "role": "admin", "user_id": "admin-here"});
    known("admin", gateway.make_key("", &form).1, of_role("admin"));
    known("other tenant", gateway.make_tenant(&json!({"slug": "other"})), of_role("admin"));
    for permission in &all {
        let form = json!({"name": permission, "permissions": [permission]});
        known(permission, gateway.make_key("", &form).1, [permission.clone()].into());
    }
    let form = json!({"name": "bot", "type": "a2a", "scopes": ["items:list", "tools:*"]});
    let may = ["items:list", "tools:call"].map(str::to_owned).into();
    known("a2a", gateway.make_key("", &form).1, may);
    actors.extend(strangers(&gateway));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let routes = told["routes"].as_array().expect("routes");
    let needs = routes
        .iter()
        .map(|row| ((text(&row["method"]), text(&row["path"])), text(&row["needs"])))
        .collect();
    House { gateway, actors, needs }
}

/// Those whom nobody knows, or knows any more.
fn strangers(gateway: &Gateway) -> Vec<Actor> {
    let form = |name: &str| json!({"name": name, "role": "admin"});
    let stranger =
        |name: &str, key: Option<String>| Actor { name: name.to_owned(), key, may: None };
    let (revoked, revoked_text) = gateway.make_key("", &form("revoked"));
    assert_eq!(gateway.ask("DELETE", &format!("/auth/api-keys/{revoked}"), None).status, 200);
    let (inactive, inactive_text) = gateway.make_key("", &form("inactive"));
    let path = format!("/auth/api-keys/{inactive}");
    assert_eq!(gateway.ask("PATCH", &path, Some(r#"{"is_active":false}"#)).status, 200);
    let (expiring, expired_text) = gateway.make_key("", &form("expired"));
    let soon = json!({"expires_at": in_a_moment()}).to_string();
    let path = format!("/auth/api-keys/{expiring}");
    assert_eq!(gateway.ask("PATCH", &path, Some(&soon)).status, 200);
    eventually("the key expires", || {
        let said = gateway.ask_as(Some(&expired_text), "GET", "/api/admin/permissions", None);
        (said.status == 401).then_some(())
    });
    gateway.make_user("", "left", "admin");
    let owned = json!({"name": "left", "role": "admin", "user_id": "left"});
    let left = gateway.make_key("", &owned).1;
    assert_eq!(
        gateway.ask("PATCH", "/auth/users/left", Some(r#"{"is_active":false}"#)).status,
        200
    );
    let mut browser = Browser::signed_in(gateway, "admin");
    let app = App::register(gateway, "App");
    let other = [("resource", &*format!("{}/default", app.resource))];
    let code = browser.allow(&app.path(&other));
    let elsewhere = access(&app.exchange(&code, &other).json()).to_owned();
    vec![
        stranger("anonymous", None),
        stranger("of another audience", Some(elsewhere)),
        stranger("garbage", Some("thk_live_nonsense".into())),
        stranger("revoked", Some(revoked_text)),
        stranger("inactive", Some(inactive_text)),
        stranger("expired", Some(expired_text)),
        stranger("of somebody switched off", Some(left)),
    ]
}

#[expect(clippy::disallowed_methods, reason = "a key ends by the real clock")]
fn in_a_moment() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let end = i64::try_from(now.as_millis()).expect("a time") + 1_000;
    tollhouse::domain::Timestamp::from_ms(end).to_string()
}

#[test]
fn every_route_asks_for_what_it_declares() {
    let House { gateway, actors, needs } = house();
    let samples = samples();

    let asked: BTreeSet<_> = samples.iter().map(|sample| sample.route).collect();
    let declared: BTreeSet<_> = needs.keys().map(|(method, path)| (&**method, &**path)).collect();
    assert_eq!(declared, asked, "each route has an entry in this test");
    let mut wrong = Vec::new();
    for Sample { route: (method, route), path, body, status } in &samples {
        let need = &needs[&((*method).to_owned(), (*route).to_owned())];
        for Actor { name, key, may } in &actors {
            let is_let_in = |may: &BTreeSet<String>| need == "known" || may.contains(need);
            let expected = match may {
                _ if need == "public" => *status,
                None => 401,
                Some(may) if is_let_in(may) => *status,
                Some(_) => 403,
            };
            let said = gateway.ask_as(key.as_deref(), method, path, *body);
            if said.status != expected {
                let text = said.text();
                wrong.push(format!(
                    "{method} {path} as {name}: {}, not {expected}: {text}",
                    said.status
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn whoever_signed_in_may_what_their_role_may_until_they_are_switched_off() {
    let House { gateway, actors, needs } = house();
    let sign_in = r#"{"email":"vera@example.com","password":"correct horse battery staple 9"}"#;
    let account = sign_in.replace('}', r#","role":"viewer"}"#);
    assert_eq!(gateway.ask("POST", "/auth/users", Some(&account)).status, 201);
    let said = gateway.ask_as(None, "POST", "/auth/login", Some(sign_in));
    let token = said.json()["access_token"].as_str().expect("a token").to_owned();
    let viewer = actors.iter().find(|actor| actor.name == "viewer").expect("a viewer");
    let may = viewer.may.as_ref().expect("permissions");
    let wrong = |token: &str, expected: &dyn Fn(&str) -> u16| -> Vec<String> {
        let asked = LISTS.iter().map(|path| {
            let need = &needs[&("GET".to_owned(), (*path).to_owned())];
            let status = gateway.ask_as(Some(token), "GET", path, None).status;
            (path, need, status, if need == "public" { 200 } else { expected(need) })
        });
        asked.filter(|it| it.2 != it.3).map(|it| format!("{it:?}")).collect()
    };

    let is_let_in = |need: &str| need == "known" || may.contains(need);
    let as_viewer = |need: &str| if is_let_in(need) { 200 } else { 403 };
    assert_eq!(wrong(&token, &as_viewer), Vec::<String>::new());
    let half = token.rfind('.').expect("a signature") + 40;
    let other = if token.as_bytes()[half] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &token[..half], &token[half + 1..]);
    assert_eq!(wrong(&forged, &|_| 401), Vec::<String>::new());

    let off = Some(r#"{"is_active":false}"#);
    assert_eq!(gateway.ask("PATCH", "/auth/users/vera@example.com", off).status, 200);
    assert_eq!(wrong(&token, &|_| 401), Vec::<String>::new());
}

/// A call of MCP as it is made here, with what it needs.
const CALLS: [(&str, &str, &str); 7] = [
    ("server/discover", "", "items:list"),
    ("tools/list", "", "items:list"),
    ("prompts/list", "", "items:list"),
    ("resources/list", "", "items:list"),
    ("tools/call", r#""name":"tollhouse__current_time","arguments":{},"#, "tools:call"),
    ("prompts/get", r#""name":"nobody","#, "prompts:get"),
    ("resources/read", r#""uri":"file:///nobody","#, "resources:read"),
];

#[test]
fn every_method_asks_for_what_it_needs() {
    let House { gateway, actors, .. } = house();

    for (method, params, need) in CALLS {
        for Actor { name, key, may } in &actors {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{}}}}}"#,
                gateway_meta()
            );
            let said = call(&gateway, key.as_deref(), "/mcp", method, &body);
            let rpc = gateway.ask_as(key.as_deref(), "POST", "/rpc", Some(&body));
            let is_permitted = may.as_ref().is_some_and(|may| may.contains(need));
            for said in [&said, &rpc] {
                let told = || format!("{method} as {name}: {} {}", said.status, said.text());
                match (may, need) {
                    (None, _) => assert_eq!(said.status, 401, "{}", told()),
                    (Some(_), "items:list") if is_permitted => {
                        assert!(said.json()["result"].is_object(), "{}", told());
                    }
                    (Some(_), "items:list") => assert_eq!(said.status, 403, "{}", told()),
                    (Some(_), "tools:call") if is_permitted => {
                        assert!(said.json()["result"]["content"].is_array(), "{}", told());
                    }
                    // What one may not use is what is not there.
                    (Some(_), _) => {
                        assert_eq!(
                            (said.status, &said.json()["error"]["code"]),
                            (200, &json!(-32602)),
                            "{}",
                            told()
                        );
                    }
                }
            }
        }
    }
}

fn call(gateway: &Gateway, key: Option<&str>, path: &str, method: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {}", key.unwrap_or_default());
    let parsed: Value = serde_json::from_str(body).expect("JSON");
    let name = ["name", "uri"].into_iter().find_map(|it| parsed["params"][it].as_str());
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", method),
    ];
    headers.extend(name.map(|name| ("Mcp-Name", name)));
    headers.extend(key.map(|_| ("Authorization", &*bearer)));
    gateway.send(&crate::support::request("POST", path, &gateway.address, &headers, Some(body)))
}

#[test]
fn a_refused_body_is_not_read_before_its_sender_is_judged() {
    let gateway = Gateway::start();
    let viewer = gateway.make_key("", &json!({"name": "v", "role": "viewer"})).1;

    for body in ["{nope", r#"{"role":"admin"}"#, r#"{"username":"x","is_superuser":true}"#] {
        let said = gateway.ask_as(Some(&viewer), "POST", "/auth/users", Some(body));
        assert_eq!(said.status, 403, "{}", said.text());
    }
}
