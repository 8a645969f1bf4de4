//! Organizations beside each other: what is another's does not exist.

use serde_json::{Value, json};

use crate::support::{Answer, FakeServer, Gateway, Socket, eventually};

const TOOL: &str = r#"{"name":"canary_tool","inputSchema":{"type":"object"}}"#;
const RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"canary"}]}"#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;

/// Two organizations beside the first. Acme has a server, a namespace, a key and a session.
struct House {
    gateway: Gateway,
    acme: String,
    umbra: String,
    /// Names and ids of what is Acme's, by what it is.
    theirs: Vec<(&'static str, String)>,
    _server: FakeServer,
}

fn house() -> House {
    let server = FakeServer::modern(TOOL, RESULT);
    let gateway = Gateway::start();
    let acme = gateway.make_tenant(&json!({"slug": "acme"}));
    let umbra = gateway.make_tenant(&json!({"slug": "umbra"}));
    let as_acme = |verb: &str, path: &str, form: &Value| {
        let said = gateway.ask_as(Some(&acme), verb, path, Some(&form.to_string()));
        assert_eq!(said.status, 201, "{}", said.text());
        said.json()["data"].clone()
    };
    let space = as_acme("POST", "/api/admin/namespaces", &json!({"slug": "canary-space"}));
    let form = json!({"name": "canary", "url": server.url, "namespace": "canary-space"});
    let registered = as_acme("POST", "/gateway/servers?wait=true", &form);
    assert_eq!(registered["tools"], 1, "{registered}");
    let user = json!({"username": "canary-ana", "email": "canary@acme.org", "password": "correct horse battery staple"});
    let user = as_acme("POST", "/auth/users", &user);
    let key = as_acme("POST", "/auth/api-keys", &json!({"name": "canary-key"}));
    let policy = json!({
        "name": "canary-policy", "conditions": {"tool.name": "canary"}, "actions": {"effect": "deny"},
    });
    let policy = as_acme("POST", "/policies", &policy);
    let opened = open_session(&gateway, &acme, "/mcp");
    assert_eq!(opened.status, 200, "{}", opened.text());
    let session = opened.headers["mcp-session-id"].clone();
    let organization = user["organization_id"].as_str().expect("an id").to_owned();
    let id = |thing: &Value| thing["id"].as_str().expect("an id").to_owned();
    let theirs = vec![
        ("server", "canary".to_owned()),
        ("server", id(&registered)),
        ("namespace", "canary-space".to_owned()),
        ("namespace", id(&space)),
        ("user", "canary-ana".to_owned()),
        ("user", "canary@acme.org".to_owned()),
        ("user", id(&user)),
        ("key", id(&key)),
        ("policy", "canary-policy".to_owned()),
        ("policy", id(&policy)),
        ("session", session),
        ("organization", "acme".to_owned()),
        ("organization", organization),
    ];
    House { gateway, acme, umbra, theirs, _server: server }
}

fn open_session(gateway: &Gateway, key: &str, path: &str) -> Answer {
    gateway.ask_as(Some(key), "POST", path, Some(INITIALIZE))
}

/// An answer without what differs from one request to the next, and without what was asked for.
fn told(said: &Answer, name: &str) -> (u16, String) {
    let id = said.headers.get("x-request-id").cloned().unwrap_or_default();
    let text = said.text().replace(&id, "REQUEST").replace(name, "NAME");
    let text = match text.split_once("session_id=") {
        Some((before, after)) => before.to_owned() + &after[32..],
        None => text,
    };
    let text = match text.split_once("\"timestamp\":\"") {
        Some((before, after)) => format!("{before}{}", &after[after.find('"').expect("an end")..]),
        None => text,
    };
    (said.status, text)
}

/// Ways to a server.
const TO_SERVERS: [(&str, &str); 16] = [
    ("GET", "/gateway/servers/NAME"),
    ("PATCH", "/gateway/servers/NAME"),
    ("GET", "/gateway/servers/NAME/changes"),
    ("POST", "/gateway/servers/NAME/changes/approve"),
    ("POST", "/gateway/servers/NAME/changes/reject"),
    ("DELETE", "/gateway/servers/NAME"),
    ("GET", "/mcp/NAME/health"),
    ("GET", "/mcp/NAME/tools/list"),
    ("GET", "/mcp/NAME/resources/list"),
    ("POST", "/mcp/NAME/tools/call"),
    ("POST", "/servers/NAME/mcp"),
    ("POST", "/servers/NAME/rpc"),
    ("GET", "/servers/NAME/sse"),
    ("POST", "/stdio/process?action=stop&server=NAME"),
    ("GET", "/stdio/process?action=status&server=NAME"),
    ("GET", "/api/admin/sessions?server=NAME"),
];

/// Every way there is to ask for a thing by its name.
fn ways(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "server" => &TO_SERVERS,
        "namespace" => &[
            ("GET", "/api/admin/namespaces/NAME"),
            ("PATCH", "/api/admin/namespaces/NAME"),
            ("DELETE", "/api/admin/namespaces/NAME?force=true"),
            ("GET", "/api/admin/namespaces/NAME/servers"),
            ("GET", "/api/admin/namespaces/NAME/sessions"),
            ("POST", "/mcp/NAME"),
            ("GET", "/mcp/NAME/sse"),
        ],
        "user" => &[
            ("GET", "/auth/users/NAME"),
            ("PATCH", "/auth/users/NAME"),
            ("DELETE", "/api/admin/users/NAME"),
        ],
        "key" => &[
            ("GET", "/auth/api-keys/NAME"),
            ("PATCH", "/auth/api-keys/NAME"),
            ("DELETE", "/auth/api-keys/NAME"),
        ],
        "policy" => &[
            ("GET", "/policies/NAME"),
            ("PUT", "/policies/NAME"),
            ("PATCH", "/api/admin/policies/NAME"),
            ("DELETE", "/api/admin/policies/NAME"),
        ],
        "session" => &[
            ("GET", "/api/admin/sessions/NAME"),
            ("DELETE", "/api/admin/sessions/NAME"),
            ("GET", "/sse/replay/NAME"),
            ("POST", "/sse/events?session_id=NAME"),
            ("POST", "/ws/send?session_id=NAME"),
            ("POST", "/ws/ping?session_id=NAME"),
            ("DELETE", "/ws/close?session_id=NAME"),
        ],
        _ => &[
            ("GET", "/api/admin/organizations/NAME"),
            ("PATCH", "/api/admin/organizations/NAME"),
            ("DELETE", "/api/admin/organizations/NAME"),
            ("GET", "/servers?organization=NAME"),
            ("GET", "/auth/users?organization=NAME"),
        ],
    }
}

fn body(path: &str) -> &'static str {
    match path {
        _ if path.contains("/changes/") => r#"{"ids":["canary"]}"#,
        _ if path.ends_with("/tools/call") => r#"{"name":"canary_tool","arguments":{}}"#,
        _ if path.ends_with("/rpc") => r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        _ if path.starts_with("/sse/events") => r#"{"event":"x"}"#,
        _ if path.starts_with("/ws/send") => r#"{"type":"text","data":"x"}"#,
        _ if path.starts_with("/mcp/") || path.starts_with("/servers/") => INITIALIZE,
        _ => "{}",
    }
}

/// A name of the same form, of nothing that exists.
fn missing(name: &str) -> String {
    let turn = |c: char| match c {
        '0'..='8' | 'a'..='e' | 'g'..='y' | 'A'..='Y' => char::from(c as u8 + 1),
        '9' => '0',
        'f' => 'a',
        'z' => 'g',
        'Z' => 'A',
        other => other,
    };
    // The version of an id stays, so that it is one.
    let turned: String = name.chars().rev().take(8).map(turn).collect();
    let kept: String = name.chars().take(name.chars().count().saturating_sub(8)).collect();
    kept + &turned.chars().rev().collect::<String>()
}

#[test]
fn what_is_anothers_is_answered_like_what_does_not_exist() {
    let House { gateway, umbra, theirs, .. } = house();

    for (kind, name) in &theirs {
        let nothing = missing(name);
        assert_ne!(*name, nothing);
        for (verb, way) in ways(kind) {
            let ask = |name: &str| {
                let path = way.replace("NAME", name);
                let body = (*verb != "GET" && *verb != "DELETE").then(|| body(&path));
                told(&gateway.ask_as(Some(&umbra), verb, &path, body), name)
            };
            let (others, none) = (ask(name), ask(&nothing));
            assert_eq!(others, none, "{verb} {way} for the {kind} {name}");
            let is_told = others.1.contains("canary_tool") || others.1.contains("canary@");
            assert!(!is_told, "{}", others.1);
        }
    }
    let opens = |path: &str| {
        let bearer = format!("Bearer {umbra}");
        Socket::open_with(&gateway, path, &[("Authorization", &bearer)]).err()
    };
    assert_eq!(opens("/servers/canary/ws"), opens("/servers/nobody/ws"));
    assert_eq!(opens("/mcp/canary-space/ws"), opens("/mcp/nobody/ws"));
}

#[test]
fn no_list_has_what_is_anothers() {
    let House { gateway, acme, umbra, theirs, _server } = house();
    let lists = [
        "/servers",
        "/gateway/servers",
        "/auth/users",
        "/api/admin/users",
        "/auth/api-keys",
        "/api/admin/organizations",
        "/api/admin/namespaces",
        "/policies",
        "/api/admin/lock",
        "/api/admin/sessions",
        "/api/admin/processes",
        "/api/admin/status",
        "/mcp/status",
        "/stdio/process",
    ];

    let mut seen = String::new();
    for path in lists {
        let mine = gateway.ask_as(Some(&umbra), "GET", path, None);
        assert_eq!(mine.status, 200, "{path}");
        for (kind, name) in &theirs {
            assert!(!mine.text().contains(name.as_str()), "{path} has the {kind} {name}");
        }
        seen.push_str(gateway.ask_as(Some(&acme), "GET", path, None).text());
    }
    for (kind, name) in &theirs {
        assert!(seen.contains(name.as_str()), "whose it is sees the {kind} {name}");
    }
    let rpc = |key: &str, method: &str, params: Value| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        gateway.ask_as(Some(key), "POST", "/rpc", Some(&body.to_string()))
    };
    assert!(rpc(&acme, "tools/list", json!({})).text().contains("canary_tool"));
    assert!(!rpc(&umbra, "tools/list", json!({})).text().contains("canary"));
    let called = json!({"name": "tollhouse__list_servers", "arguments": {}});
    assert!(!rpc(&umbra, "tools/call", called).text().contains("canary"));
    let wanted = |name: &str| json!({"name": name, "arguments": {}});
    let theirs = rpc(&umbra, "tools/call", wanted("canary__canary_tool"));
    let none = rpc(&umbra, "tools/call", wanted("nobody__canary_tool"));
    assert_eq!(told(&theirs, "canary__canary_tool"), told(&none, "nobody__canary_tool"));
    assert!(rpc(&acme, "tools/call", wanted("canary__canary_tool")).text().contains("canary"));
}

#[test]
fn two_tenants_may_use_the_same_names() {
    let House { gateway, acme, umbra, .. } = house();
    let form = r#"{"name":"canary","url":"http://127.0.0.1:9/mcp","namespace":"canary-space"}"#;

    let made = gateway.ask_as(Some(&umbra), "POST", "/gateway/servers", Some(form));

    assert_eq!(made.status, 201, "{}", made.text());
    let url = |key: &str| {
        let shown = gateway.ask_as(Some(key), "GET", "/gateway/servers/canary", None);
        shown.json()["data"]["url"].clone()
    };
    assert_eq!(url(&umbra), "http://127.0.0.1:9/mcp");
    assert_ne!(url(&acme), url(&umbra));
    let event = r#"{"event":"x"}"#;
    let said = gateway.ask_as(Some(&umbra), "POST", "/sse/broadcast", Some(event));
    assert_eq!((said.status, &said.json()["sent"]), (200, &json!(0)));
    let said = gateway.ask_as(Some(&acme), "POST", "/sse/broadcast", Some(event));
    assert_eq!(said.json()["sent"], 1);
}

#[test]
fn whoever_stands_above_works_in_each_and_sees_their_own_first() {
    let House { gateway, .. } = house();

    assert_eq!(gateway.ask("GET", "/servers", None).json()["count"], 0);
    assert_eq!(gateway.ask("GET", "/servers?organization=acme", None).json()["count"], 1);
    let names = gateway.done(&["org", "list", "-o", "name"]);
    assert_eq!(names.lines().count(), 3, "{names}");
    assert_eq!(gateway.done(&["server", "list", "-o", "name"]), "");
    assert_eq!(gateway.done(&["server", "list", "-o", "name", "--org", "acme"]), "canary\n");
    assert_eq!(gateway.ask("GET", "/servers?organization=nobody", None).status, 404);
}

#[test]
fn an_organization_has_its_limits_and_the_first_is_not_held_to_them() {
    let gateway = Gateway::start();
    let form = json!({"slug": "small", "max_servers": 2, "max_sessions": 1});
    let small = gateway.make_tenant(&form);
    let register = |key: &str, name: &str| {
        let form = json!({"name": name, "url": "http://127.0.0.1:9/mcp"}).to_string();
        gateway.ask_as(Some(key), "POST", "/gateway/servers", Some(&form))
    };

    assert_eq!((register(&small, "a").status, register(&small, "b").status), (201, 201));
    let full = register(&small, "c");
    assert_eq!((full.status, &full.json()["error"]["code"]), (429, &json!("QUOTA_EXCEEDED")));
    assert_eq!(open_session(&gateway, &small, "/mcp").status, 200);
    let full = open_session(&gateway, &small, "/mcp");
    let code = &full.json()["error"]["data"]["code"];
    assert_eq!((full.status, code), (429, &json!("QUOTA_EXCEEDED")), "{}", full.text());
    let raised = r#"{"max_sessions":2,"max_servers":3}"#;
    assert_eq!(gateway.ask("PATCH", "/api/admin/organizations/small", Some(raised)).status, 200);
    assert_eq!(register(&small, "c").status, 201);
    assert_eq!(open_session(&gateway, &small, "/mcp").status, 200);
    for number in 0..12 {
        assert_eq!(register(&gateway.key, &format!("s{number}")).status, 201);
    }
}

#[test]
fn an_organization_goes_with_everything_in_it_and_leaves_its_lines_in_the_audit() {
    let mut gateway = Gateway::start();
    let acme = gateway.make_tenant(&json!({"slug": "acme"}));
    // A program on this machine is for somebody above organizations to register.
    let program =
        json!({"name": "p", "command": "sh", "args": ["-c", "echo canary >&2; exec cat"]});
    let refused =
        gateway.ask_as(Some(&acme), "POST", "/gateway/servers", Some(&program.to_string()));
    assert_eq!(refused.status, 403, "{}", refused.text());
    let path = "/gateway/servers?organization=acme";
    assert_eq!(gateway.ask("POST", path, Some(&program.to_string())).status, 201);
    let pid = eventually("the program runs", || {
        let status = gateway.ask_as(Some(&acme), "GET", "/api/admin/processes", None).json();
        status["data"][0]["pid"].as_i64()
    });
    let session = open_session(&gateway, &acme, "/mcp").headers["mcp-session-id"].clone();

    let gone = gateway.ask("DELETE", "/api/admin/organizations/acme", None);

    assert_eq!(gone.status, 200, "{}", gone.text());
    eventually("the program ends", || (!runs(pid)).then_some(()));
    assert_eq!(gateway.ask_as(Some(&acme), "GET", "/servers", None).status, 401);
    assert_eq!(gateway.ask("GET", "/api/admin/organizations/acme", None).status, 404);
    let path = format!("/api/admin/sessions/{session}");
    assert_eq!(gateway.ask("GET", &path, None).status, 404);
    let again = gateway.make_tenant(&json!({"slug": "acme2"}));
    assert_eq!(gateway.ask_as(Some(&again), "GET", "/servers", None).json()["count"], 0);
    for (path, status) in [("default", 409), ("nobody", 404)] {
        let path = format!("/api/admin/organizations/{path}");
        assert_eq!(gateway.ask("DELETE", &path, None).status, status);
    }
    gateway.signal("-TERM");
    gateway.wait();
    let checked: Value =
        serde_json::from_str(&gateway.done(&["db", "check", "-o", "json"])).expect("JSON");
    // Two for the house, two for its claim, and for each organization two, its person and its key;
    // the server; and one for each that went: organization, namespace, person, key, server.
    assert_eq!(checked["audit"], 4 + 2 * 4 + 1 + 5, "{checked}");
}

fn runs(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn an_organization_that_is_switched_off_lets_nobody_in() {
    let House { gateway, acme, umbra, .. } = house();
    let switch = |organization: &str, is_active: bool| {
        let body = json!({"is_active": is_active}).to_string();
        let path = format!("/api/admin/organizations/{organization}");
        gateway.ask("PATCH", &path, Some(&body)).status
    };
    let asks = |key: &str| gateway.ask_as(Some(key), "GET", "/servers", None).status;

    assert_eq!((switch("acme", false), asks(&acme), asks(&umbra)), (200, 401, 200));
    assert_eq!((switch("acme", true), asks(&acme)), (200, 200));
    assert_eq!(switch("default", false), 409);
}

#[test]
fn names_that_look_like_another_are_refused() {
    let gateway = Gateway::start();
    gateway.make_tenant(&json!({"slug": "acme"}));
    let status = |path: &str, slug: &str| {
        gateway.ask("POST", path, Some(&json!({"slug": slug}).to_string())).status
    };

    for path in ["/api/admin/organizations", "/api/admin/namespaces"] {
        if path.ends_with("namespaces") {
            assert_eq!(status(path, "acme"), 201);
        }
        assert_eq!(status(path, "acme"), 409, "{path}");
        for odd in ["Acme", "acme ", " acme", "аcme", "ac\u{200b}me", "acme\u{301}", "ａcme", ""]
        {
            assert_eq!(status(path, odd), 422, "{path} {odd:?}");
        }
    }
}

#[test]
fn nobody_raises_themselves_or_gives_what_they_lack() {
    let House { gateway, acme, .. } = house();
    let ask = |verb: &str, path: &str, body: Value| {
        let said = gateway.ask_as(Some(&acme), verb, path, Some(&body.to_string()));
        (said.status, said.text().to_owned())
    };
    let password = "correct horse battery staple";

    for (verb, path, body) in [
        ("PATCH", "/auth/users/boss-of-acme", json!({"is_superuser": true})),
        (
            "POST",
            "/auth/users",
            json!({"username": "x", "password": password, "is_superuser": true}),
        ),
        ("POST", "/auth/api-keys", json!({"name": "x", "permissions": ["organizations:manage"]})),
        ("POST", "/auth/api-keys", json!({"name": "x", "permissions": ["metrics:read"]})),
        ("POST", "/auth/api-keys", json!({"name": "x", "permissions": ["system:manage"]})),
        ("PATCH", "/api/admin/organizations/acme", json!({"max_servers": 1_000})),
        ("POST", "/api/admin/organizations", json!({"slug": "mine"})),
    ] {
        let (status, text) = ask(verb, path, body.clone());
        assert_eq!(status, 403, "{verb} {path} {body}: {text}");
    }
    for member in
        ["id", "organization_id", "org_id", "is_admin", "password_hash", "created_at", "scopes"]
    {
        let before = ask("GET", "/auth/users/canary-ana", json!({})).1;
        let mut body = json!({"username": "y", "password": password});
        body[member] = "x".into();
        assert_eq!(ask("POST", "/auth/users", body).0, 422, "{member}");
        assert_eq!(ask("PATCH", "/auth/users/canary-ana", json!({member: "x"})).0, 422, "{member}");
        assert_eq!(ask("GET", "/auth/users/canary-ana", json!({})).1, before);
    }
    // A star is all one can give, and ends at the organization.
    let (status, text) = ask("POST", "/auth/api-keys", json!({"name": "x", "permissions": ["*"]}));
    assert_eq!(status, 201, "{text}");
    assert!(!text.contains("organizations:manage") && text.contains("users:write"), "{text}");
    let (_, users) = ask("GET", "/auth/users", json!({}));
    assert!(!users.contains("argon2") && !users.contains("password"), "{users}");
}

#[test]
fn the_last_administrator_stays_and_a_weaker_one_touches_nobody_stronger() {
    let gateway = Gateway::start();
    gateway.make_user("", "second", "admin");
    let form = json!({"name": "s", "role": "admin", "user_id": "second"});
    let second = gateway.make_key("", &form).1;
    let ask = |key: &str, verb: &str, path: &str, body: Value| {
        gateway.ask_as(Some(key), verb, path, Some(&body.to_string())).status
    };
    let first = gateway.ask("GET", "/auth/api-keys", None).json();
    let first = first["data"].as_array().expect("keys").iter();
    let first = first.clone().find(|key| key["name"] == "admin's first key").expect("a key");
    let first = format!("/auth/api-keys/{}", first["id"].as_str().expect("an id"));

    for (verb, path, body) in [
        ("DELETE", "/auth/users/admin", json!({})),
        ("PATCH", "/auth/users/admin", json!({"is_active": false})),
        ("PATCH", "/auth/users/admin", json!({"password": "another battery staple horse"})),
        ("DELETE", &first, json!({})),
        ("PATCH", &first, json!({"is_active": false})),
    ] {
        assert_eq!(ask(&second, verb, path, body.clone()), 403, "{verb} {path} {body}");
    }
    for (verb, body) in [
        ("DELETE", json!({})),
        ("PATCH", json!({"is_superuser": false})),
        ("PATCH", json!({"is_active": false})),
    ] {
        assert_eq!(ask(&gateway.key, verb, "/auth/users/admin", body.clone()), 409, "{body}");
    }
    let acme = gateway.make_tenant(&json!({"slug": "acme"}));
    for (verb, body) in [("DELETE", json!({})), ("PATCH", json!({"role": "viewer"}))] {
        assert_eq!(ask(&acme, verb, "/auth/users/boss-of-acme", body), 409);
    }
    assert_eq!(ask(&gateway.key, "DELETE", "/auth/users/second", json!({})), 200);
    assert_eq!(ask(&second, "GET", "/servers", json!({})), 401);
}

#[test]
fn people_are_made_found_changed_and_deleted() {
    let gateway = Gateway::start();
    let form = json!({
        "email": "Ana@Example.com", "full_name": "Ana", "password": "correct horse battery staple",
    });
    let made = gateway.ask("POST", "/auth/users", Some(&form.to_string()));

    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json()["data"].clone();
    assert_eq!((&made["role"], &made["email"]), (&json!("user"), &json!("ana@example.com")));
    assert!(made["id"].is_string() && made["created_at"].is_string());
    let taken = json!({"username": "x", "email": "ANA@example.com", "password": "correct horse battery staple"});
    assert_eq!(gateway.ask("POST", "/api/admin/users", Some(&taken.to_string())).status, 409);
    let changed =
        gateway.ask("PUT", "/auth/users/ana@example.com", Some(r#"{"role":"viewer","name":"A"}"#));
    let changed = changed.json()["data"].clone();
    assert_eq!((&changed["role"], &changed["name"]), (&json!("viewer"), &json!("A")));
    assert_ne!(changed["updated_at"], made["updated_at"]);
    for bad in [r#"{"role":"king"}"#, r#"{"email":"nonsense"}"#, r#"{"password":"short"}"#] {
        assert_eq!(gateway.ask("PATCH", "/auth/users/ana@example.com", Some(bad)).status, 422);
    }
    let shown = gateway.done(&["user", "show", "ana@example.com"]);
    assert!(shown.contains("viewer") && !shown.contains("argon2"), "{shown}");
    gateway.done(&["user", "delete", "ana@example.com"]);
    assert_eq!(gateway.ask("GET", "/auth/users/ana@example.com", None).status, 404);
    assert_eq!(gateway.done(&["user", "list", "-o", "name"]), "admin\n");
}

#[test]
fn a_namespace_is_made_changed_switched_off_and_deleted() {
    let server = FakeServer::modern(TOOL, RESULT);
    let gateway = Gateway::start();
    gateway.done(&["namespace", "create", "lab", "--description", "for trying"]);
    gateway.done(&["register", "t", "--endpoint", &server.url, "--namespace", "lab"]);
    let endpoint = || gateway.call("/mcp/lab", "tools/list", "").status;
    let path = "/api/admin/namespaces/lab";

    assert_eq!(endpoint(), 200);
    let inside = gateway.ask("GET", &format!("{path}/servers"), None).json();
    assert_eq!((&inside["count"], &inside["data"][0]["name"]), (&json!(1), &json!("t")));
    let body = r#"{"is_active":false,"metadata":{"team":"x"}}"#;
    let changed = gateway.ask("PUT", path, Some(body)).json()["data"].clone();
    assert_eq!(
        (&changed["metadata"]["team"], &changed["description"]),
        (&json!("x"), &json!("for trying"))
    );
    assert_eq!(endpoint(), 404);
    assert!(!gateway.call("/mcp", "tools/list", "").text().contains("canary_tool"));
    gateway.done(&["namespace", "update", "lab", "--active", "true"]);
    assert_eq!(endpoint(), 200);
    assert_eq!(gateway.ask("DELETE", path, None).status, 409);
    assert_eq!(gateway.cli(&["namespace", "delete", "lab"]).status.code(), Some(1));
    gateway.done(&["namespace", "delete", "lab", "--force"]);
    assert_eq!((endpoint(), gateway.ask("GET", path, None).status), (404, 404));
    assert_eq!(gateway.ask("GET", "/servers", None).json()["count"], 0);
    assert_eq!(gateway.ask("DELETE", "/api/admin/namespaces/default", None).status, 409);
    let listed = gateway.ask("GET", "/api/admin/namespaces", None).json();
    assert_eq!(
        (&listed["total"], &listed["namespaces"][0]["slug"]),
        (&json!(1), &json!("default"))
    );
}

#[test]
fn there_is_an_end_to_everything() {
    let config = "access: {max_users: 2, max_keys: 3, max_organizations: 2}\nregistry: {max_namespaces: 2}\n";
    let gateway = Gateway::start_with(&[], config);
    let make = |path: &str, form: Value| {
        let said = gateway.ask("POST", path, Some(&form.to_string()));
        (said.status, said.text().contains("limit"))
    };
    let user = |name: &str| json!({"username": name, "password": "correct horse battery staple"});
    let (fits, full) = ((201, false), (429, true));

    assert_eq!(make("/auth/users", user("a")), fits);
    assert_eq!(make("/auth/users", user("b")), full);
    assert_eq!(make("/api/admin/organizations", json!({"slug": "a"})), fits);
    assert_eq!(make("/api/admin/organizations", json!({"slug": "b"})), full);
    for wanted in [fits, fits, full] {
        assert_eq!(make("/auth/api-keys", json!({"name": "k"})), wanted);
    }
    assert_eq!(make("/api/admin/namespaces", json!({"slug": "n"})), fits);
    assert_eq!(make("/api/admin/namespaces", json!({"slug": "m"})), full);
    let form = json!({"name": "s", "url": "http://127.0.0.1:9/mcp", "namespace": "m"});
    assert_eq!(make("/gateway/servers", form), full);
    // What one has as many of as one may, another may still have.
    assert_eq!(make("/auth/users?organization=a", user("c")), fits);
    assert_eq!(make("/auth/api-keys?organization=a", json!({"name": "k"})), fits);
}
