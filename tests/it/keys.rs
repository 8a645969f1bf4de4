//! API keys: what they may do, what they are limited to, and when they were used.

use serde_json::{Value, json};

use crate::support::{FakeServer, Gateway, find, gateway_meta, request};

const TOOL: &str = r#"{"name":"add","inputSchema":{"type":"object"}}"#;
const RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"3"}]}"#;

fn rpc(gateway: &Gateway, key: &str, path: &str, method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    gateway.ask_as(Some(key), "POST", path, Some(&body.to_string())).json()
}

fn call(gateway: &Gateway, key: &str, name: &str) -> Value {
    rpc(gateway, key, "/rpc", "tools/call", &json!({"name": name, "arguments": {}}))
}

fn change(gateway: &Gateway, id: &str, body: &Value) -> u16 {
    gateway.ask("PATCH", &format!("/auth/api-keys/{id}"), Some(&body.to_string())).status
}

#[test]
fn a_key_may_do_what_it_names_and_no_more() {
    let gateway = Gateway::start();
    let form = json!({
        "name": "bot", "description": "of the build", "key_type": "a2a",
        "permissions": ["items:list", "tools:*"], "expires_at": "2099-01-01T00:00:00Z",
    });
    let made =
        gateway.ask("POST", "/auth/api-keys", Some(&form.to_string())).json()["data"].clone();
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));

    assert!(call(&gateway, key, "tollhouse__current_time")["result"].is_object());
    assert_eq!(gateway.ask_as(Some(key), "GET", "/servers", None).status, 403);
    let shown = gateway.ask("GET", &format!("/auth/api-keys/{id}"), None).json()["data"].clone();
    assert_eq!(shown["permissions"], json!(["items:list", "tools:*"]));
    assert_eq!(shown["permissions"], shown["scopes"]);
    assert_eq!(shown["effective_permissions"], json!(["items:list", "tools:call"]));
    assert_eq!((&shown["key_type"], &shown["role"]), (&json!("a2a"), &Value::Null));
    assert_eq!((&shown["user_id"], &shown["description"]), (&Value::Null, &json!("of the build")));
    assert!(key.starts_with(shown["prefix"].as_str().expect("a prefix")));
    assert!(key.ends_with(shown["last_four"].as_str().expect("an end")));
    assert!(!shown.to_string().contains(key) && shown.get("key").is_none());

    assert_eq!(change(&gateway, id, &json!({"permissions": ["gateway:read"]})), 200);
    assert_eq!(call(&gateway, key, "tollhouse__current_time")["error"]["code"], -32602);
    assert_eq!(gateway.ask_as(Some(key), "GET", "/servers", None).status, 200);
    assert_eq!(change(&gateway, id, &json!({"is_active": false})), 200);
    assert_eq!(gateway.ask_as(Some(key), "GET", "/servers", None).status, 401);
    assert_eq!(change(&gateway, id, &json!({"is_active": true, "expires_at": null})), 200);
    assert_eq!(gateway.ask_as(Some(key), "GET", "/servers", None).status, 200);
}

#[test]
fn what_a_form_gets_wrong_is_told() {
    let gateway = Gateway::start();
    let status =
        |form: Value| gateway.ask("POST", "/auth/api-keys", Some(&form.to_string())).status;

    for (form, wanted) in [
        (json!({"name": "x", "permissions": ["tools:burn"]}), 422),
        (json!({"name": "x", "permissions": []}), 422),
        (json!({"name": "x", "permissions": ["*"], "role": "user"}), 422),
        (json!({"name": "x", "permissions": ["*"], "scopes": ["*"]}), 422),
        (json!({"name": "x", "key_type": "robot"}), 422),
        (json!({"name": "x", "expires_at": "2001-01-01T00:00:00Z"}), 422),
        (json!({"name": "x", "digest": "x"}), 422),
        (json!({"name": "", "role": "user"}), 422),
        (json!({"name": "x", "servers": vec!["a"; 101]}), 422),
        (json!({"name": "x", "namespace": "nobody"}), 404),
        (json!({"name": "x", "servers": ["nobody"]}), 404),
        (json!({"name": "x", "user_id": "nobody"}), 404),
    ] {
        assert_eq!(status(form.clone()), wanted, "{form}");
    }
}

/// A house with three servers in two namespaces, and two keys that are limited: to the namespace
/// `lab`, and to the server `inside` in it.
struct Limited {
    gateway: Gateway,
    id: String,
    lab: String,
    one: String,
    _server: FakeServer,
}

fn limited() -> Limited {
    let server = FakeServer::modern(TOOL, RESULT);
    let gateway = Gateway::start();
    for (name, space) in [("inside", "lab"), ("near", "lab"), ("outside", "other")] {
        gateway.done(&["register", name, "--endpoint", &server.url, "--namespace", space]);
    }
    let all = json!(["items:list", "tools:call", "servers:*", "sessions:read", "keys:write"]);
    let form = json!({"name": "l", "permissions": all, "namespace": "lab"});
    let (id, lab) = gateway.make_key("", &form);
    let form = json!({"name": "o", "permissions": all, "namespace": "lab", "servers": ["inside"]});
    let one = gateway.make_key("", &form).1;
    Limited { gateway, id, lab, one, _server: server }
}

/// The status of a list of tools at an endpoint.
fn listing(gateway: &Gateway, key: &str, path: &str) -> u16 {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{}}}}}"#,
        gateway_meta()
    );
    let bearer = format!("Bearer {key}");
    let headers = [
        ("Authorization", &*bearer),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/list"),
    ];
    gateway.send(&request("POST", path, &gateway.address, &headers, Some(&body))).status
}

#[test]
fn beyond_the_limits_of_a_key_there_is_nothing() {
    let Limited { gateway, lab, one, _server, .. } = limited();

    for (key, seen) in [(&lab, vec!["inside", "near"]), (&one, vec!["inside"])] {
        let listed = gateway.ask_as(Some(key), "GET", "/servers", None).json();
        let listed = listed["data"].as_array().expect("a list").iter();
        assert_eq!(listed.map(|it| it["name"].clone()).collect::<Vec<_>>(), seen);
        let tools = rpc(&gateway, key, "/rpc", "tools/list", &json!({}));
        let tools = tools["result"]["tools"].as_array().expect("tools").iter();
        let wanted: Vec<Value> = seen.iter().map(|name| json!(format!("{name}__add"))).collect();
        assert_eq!(tools.map(|it| it["name"].clone()).collect::<Vec<_>>(), wanted);
        assert!(call(&gateway, key, "inside__add")["result"].is_object());
        for name in ["outside__add", "tollhouse__current_time"] {
            let (hidden, none) = (call(&gateway, key, name), call(&gateway, key, "nobody__add"));
            let told = |said: &Value, name: &str| {
                said["error"]["message"].as_str().expect("words").replace(name, "NAME")
            };
            assert_eq!(told(&hidden, name), told(&none, "nobody__add"));
        }
        for path in ["/servers/outside/mcp", "/mcp/other", "/servers/tollhouse/mcp"] {
            let statuses = (listing(&gateway, key, path), listing(&gateway, key, "/mcp/lab"));
            assert_eq!(statuses, (404, 200), "{path}");
        }
    }
    let sessions = |key: &str| {
        gateway.ask_as(Some(key), "GET", "/api/admin/sessions", None).json()["count"].clone()
    };
    for path in ["/mcp", "/servers/outside/mcp", "/servers/near/mcp"] {
        crate::support::legacy_session(&gateway, path);
    }
    let seen = [&gateway.key, &lab, &one].map(|key| sessions(key));
    assert_eq!(seen, [json!(3), json!(1), json!(0)]);
}

#[test]
fn within_its_limits_a_key_changes_what_is_there_and_nothing_else() {
    let Limited { gateway, id, lab, one, _server } = limited();
    let status = |key: &str, verb: &str, path: &str, form: Value| {
        gateway.ask_as(Some(key), verb, path, Some(&form.to_string())).status
    };
    let server =
        |space: &str| json!({"name": "n", "url": "http://127.0.0.1:9/mcp", "namespace": space});

    for key in [&lab, &one] {
        assert_eq!(status(key, "DELETE", "/gateway/servers/outside", json!({})), 404);
        // What concerns the whole organization is not for a part of it.
        assert_eq!(status(key, "POST", "/auth/api-keys", json!({"name": "x"})), 403);
        assert_eq!(status(key, "POST", "/gateway/servers", server("other")), 403);
    }
    assert_eq!(status(&one, "POST", "/gateway/servers", server("lab")), 403);
    assert_eq!(status(&lab, "POST", "/gateway/servers", server("lab")), 201);
    // Limits can be lifted, and do not go with what they name.
    gateway.done(&["namespace", "delete", "lab", "--force"]);
    let count = || gateway.ask_as(Some(&lab), "GET", "/servers", None).json()["count"].clone();
    assert_eq!(count(), 0);
    assert_eq!(change(&gateway, &id, &json!({"namespaces": []})), 200);
    assert_eq!(count(), 1);
}

#[test]
fn a_key_never_outranks_its_owner() {
    let gateway = Gateway::start();
    gateway.make_user("", "ana", "admin");
    let form = json!({"name": "a", "permissions": ["*"], "user_id": "ana"});
    let key = gateway.make_key("", &form).1;
    let mint =
        |form: Value| gateway.ask_as(Some(&key), "POST", "/auth/api-keys", Some(&form.to_string()));
    let minted = mint(json!({"name": "child", "role": "admin"})).json()["data"].clone();
    let child = minted["key"].as_str().expect("a key").to_owned();
    let reads = |key: &str| gateway.ask_as(Some(key), "GET", "/auth/users", None).status;
    assert_eq!((reads(&key), reads(&child)), (200, 200));

    let demoted = gateway.ask("PATCH", "/auth/users/ana", Some(r#"{"role":"viewer"}"#));

    assert_eq!(demoted.status, 200, "{}", demoted.text());
    assert_eq!((reads(&key), reads(&child)), (403, 403));
    assert_eq!(mint(json!({"name": "x"})).status, 403);
    assert_eq!(gateway.ask_as(Some(&key), "GET", "/servers", None).status, 200);
    assert_eq!(call(&gateway, &key, "tollhouse__current_time")["error"]["code"], -32602);
    let off = gateway.ask("PATCH", "/auth/users/ana", Some(r#"{"is_active":false}"#));
    assert_eq!((off.status, reads(&key), reads(&child)), (200, 401, 401));
}

#[test]
fn who_makes_keys_gives_only_what_they_have() {
    let gateway = Gateway::start();
    let form = json!({"name": "m", "type": "a2a", "permissions": ["keys:*", "items:list"]});
    let maker = gateway.make_key("", &form).1;
    let mint = |form: Value| {
        let said = gateway.ask_as(Some(&maker), "POST", "/auth/api-keys", Some(&form.to_string()));
        said.status
    };

    assert_eq!(mint(json!({"name": "x", "permissions": ["items:list"]})), 201);
    for wanted in ["tools:call", "*", "*:read", "users:write"] {
        assert_eq!(mint(json!({"name": "x", "permissions": [wanted]})), 403, "{wanted}");
    }
    for role in ["admin", "user", "viewer"] {
        assert_eq!(mint(json!({"name": "x", "role": role})), 403, "{role}");
    }
    let (stronger, _) = gateway.make_key("", &json!({"name": "s", "role": "user"}));
    let path = format!("/auth/api-keys/{stronger}");
    assert_eq!(gateway.ask_as(Some(&maker), "DELETE", &path, None).status, 403);
    let body = r#"{"permissions":["items:list"]}"#;
    assert_eq!(gateway.ask_as(Some(&maker), "PATCH", &path, Some(body)).status, 403);
}

#[test]
fn when_a_key_was_used_is_noted_and_outlives_the_process() {
    let config = "access:\n  note_use_seconds: 1\n";
    let mut gateway = Gateway::start_with(&[], config);
    let (id, key) = gateway.make_key("", &json!({"name": "u"}));
    let used = |gateway: &Gateway| {
        let shown = gateway.ask("GET", &format!("/auth/api-keys/{id}"), None).json();
        shown["data"]["last_used_at"].as_str().map(str::to_owned)
    };
    assert_eq!(used(&gateway), None);

    call(&gateway, &key, "tollhouse__current_time");
    let at = used(&gateway).expect("used");
    gateway.signal("-TERM");
    gateway.wait();
    let before: Value =
        serde_json::from_str(&gateway.done(&["db", "check", "-o", "json"])).expect("JSON");
    gateway.run(&[]);

    assert_eq!(used(&gateway), Some(at));
    // Noting it changed nothing: the house, its claim, the key.
    assert_eq!(before["audit"], 5, "{before}");
    let store = std::fs::read(format!("{}/state.redb", gateway.data())).expect("a store");
    assert!(find(&store, key.as_bytes()).is_none());
}

#[test]
fn a_stream_ends_with_the_rights_it_was_opened_with() {
    let gateway = Gateway::start();
    let (id, key) = gateway.make_key("", &json!({"name": "l", "role": "user"}));
    let bearer = format!("Bearer {key}");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true}},"_meta":{}}}}}"#,
        gateway_meta()
    );
    let headers = [
        ("Authorization", &*bearer),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "subscriptions/listen"),
    ];
    let mut connection = gateway.connect();
    connection.send(&request("POST", "/mcp", &gateway.address, &headers, Some(&body)));
    connection.until("acknowledged");

    let limited = json!({"namespaces": ["default"]});
    assert_eq!(change(&gateway, &id, &limited), 200);
    gateway.done(&["register", "late", "--endpoint", "http://127.0.0.1:9/mcp"]);

    let rest = connection.until("\r\n0\r\n\r\n");
    assert!(!rest.contains("list_changed"), "nothing more is told: {rest}");
}

#[test]
fn the_command_line_makes_shows_changes_and_lists_them() {
    let gateway = Gateway::start();
    gateway.done(&["namespace", "create", "lab"]);
    let words = ["--type", "a2a", "--permission", "tools:call", "--permission", "items:list"];
    let made = gateway.done(
        &[&["key", "create", "bot", "--namespace", "lab", "-o", "json"], &words[..]].concat(),
    );
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let id = made["id"].as_str().expect("an id");

    gateway.done(&["key", "update", id, "--active", "false", "--name", "robot"]);

    let shown: Value =
        serde_json::from_str(&gateway.done(&["key", "show", id, "-o", "json"])).expect("JSON");
    assert_eq!((&shown["name"], &shown["is_active"]), (&json!("robot"), &json!(false)));
    assert_eq!(shown["namespaces"].as_array().map(Vec::len), Some(1));
    let freed = gateway.done(&["key", "update", id, "--unlimited", "-o", "json"]);
    let freed: Value = serde_json::from_str(&freed).expect("JSON");
    assert_eq!(freed["namespaces"], json!([]));
    let listed = gateway.done(&["key", "list"]);
    let row = listed.lines().find(|line| line.contains("robot")).expect("a row");
    assert!(row.contains("items:list tools:call"), "{row}");
    assert_eq!(gateway.cli(&["key", "show", "nobody"]).status.code(), Some(1));
    let permissions = gateway.done(&["key", "permissions"]);
    let row = permissions.lines().find(|line| line.starts_with("tools:call")).expect("a row");
    assert!(row.contains("call tools") && row.contains("api_user"), "{row}");
}
