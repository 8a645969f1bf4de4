//! Sessions, and the programs behind them, as the office sees them.

use serde_json::{Value, json};

use crate::support::{Answer, FakeServer, Gateway, eventually, legacy_session};

fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    gateway.ask("POST", path, Some(&body.to_string()))
}

/// A server that answers anything with nothing, and says a word on its standard error.
const PROGRAM: &str = r#"echo ready >&2
while read -r line; do
  id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in
    *server/discover*) r='{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}' ;;
    *tools/list*) r='{"resultType":"complete","tools":[],"ttlMs":0,"cacheScope":"private"}' ;;
    *) r='{"resultType":"complete","content":[]}' ;;
  esac
  [ -n "$id" ] && printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done"#;

#[test]
fn a_session_is_listed_shown_and_ended() {
    let gateway = Gateway::start();
    let session = legacy_session(&gateway, "/mcp");
    let other = legacy_session(&gateway, "/servers/tollhouse/mcp");

    let listed = gateway.ask("GET", "/api/admin/sessions?via=http", None).json();
    assert_eq!((&listed["count"], &listed["nextCursor"]), (&json!(2), &Value::Null));
    let page = gateway.ask("GET", "/api/admin/sessions?limit=1", None).json();
    assert_eq!(page["data"][0]["id"], *session.id);
    let next = page["nextCursor"].as_str().expect("a cursor");
    let page = gateway.ask("GET", &format!("/api/admin/sessions?cursor={next}"), None).json();
    assert_eq!((&page["count"], &page["data"][0]["id"]), (&json!(1), &json!(other.id)));
    let path = format!("/api/admin/sessions/{}", session.id);
    let shown = gateway.ask("GET", &path, None).json();
    let shown = &shown["data"];
    assert_eq!((&shown["status"], &shown["client_id"]), (&json!("active"), &json!("old")));
    assert_eq!((&shown["target_kind"], &shown["server_id"]), (&json!("gateway"), &Value::Null));
    assert_eq!(shown["metadata"]["revision"], "2025-06-18");
    assert_eq!(gateway.ask("DELETE", &path, None).status, 200);
    assert_eq!(gateway.ask("DELETE", &path, None).status, 404);
    assert_eq!(session.call("ping", "{}").status, 404);
    assert_eq!(gateway.ask("GET", &path, None).json()["data"]["status"], "closed");

    let names = gateway.done(&["sessions", "-o", "name"]);
    assert!(names.contains(&session.id) && names.contains(&other.id), "{names}");
    gateway.done(&["sessions", "end", &other.id]);
    assert_eq!(gateway.cli(&["sessions", "end", &other.id]).status.code(), Some(1));
}

#[test]
fn a_word_reaches_its_session_and_is_kept_for_a_while() {
    let gateway = Gateway::start();
    let session = legacy_session(&gateway, "/mcp");
    let event = |id: &str| {
        let body = json!({"event": "deploy", "data": {"n": 1}, "id": "e1", "session_id": id});
        post(&gateway, "/sse/events", &body)
    };

    let said = event(&session.id).json();
    assert_eq!((&said["success"], &said["session_id"]), (&json!(true), &json!(session.id)));
    let all = post(&gateway, "/sse/broadcast", &json!({"event": "all", "data": "x"})).json();
    assert_eq!(all["sent"], 1);

    let kept = gateway.ask("GET", &format!("/sse/replay/{}", session.id), None).json();
    assert_eq!(kept["count"], 2);
    let first = &kept["events"][0];
    assert_eq!(first["data"]["method"], "notifications/tollhouse/event");
    assert_eq!(first["data"]["params"], json!({"event": "deploy", "data": {"n": 1}, "id": "e1"}));
    let last = first["id"].as_str().expect("an id");
    let path = format!("/sse/replay/{}?last_event_id={last}", session.id);
    assert_eq!(gateway.ask("GET", &path, None).json()["count"], 1);
    assert_eq!(event("nobody").status, 404);
    assert_eq!(gateway.ask("GET", "/sse/replay/nobody", None).status, 404);
    let nameless = json!({"data": 1, "session_id": session.id});
    assert_eq!(post(&gateway, "/sse/events", &nameless).status, 422);
}

#[test]
fn channels_are_named_or_refused() {
    let gateway = Gateway::start();
    let bare = |verb: &str, path: &str, body: Option<&str>| gateway.ask(verb, path, body).status;
    let named = |verb: &str, path: &str, body: Option<&str>| {
        gateway.ask_with(verb, path, &[("X-Session-ID", "nobody")], body).status
    };
    let text = Some(r#"{"type":"text","data":"x"}"#);

    assert_eq!(bare("POST", "/ws/send", text), 400);
    assert_eq!(named("POST", "/ws/send", Some(r#"{"type":"odd","data":"x"}"#)), 400);
    assert_eq!(named("POST", "/ws/send", text), 404);
    assert_eq!((bare("POST", "/ws/ping", None), named("POST", "/ws/ping", None)), (400, 404));
    assert_eq!((bare("DELETE", "/ws/close", None), named("DELETE", "/ws/close", None)), (400, 200));
    assert_eq!(bare("POST", "/ws/broadcast", text), 200);
    let status = gateway.ask("GET", "/ws/status", None).json();
    assert_eq!(
        (&status["active_connections"], &status["total_connections"]),
        (&json!(0), &json!(0))
    );
    assert!(gateway.ask("GET", "/ws/metrics", None).json()["connections"].is_object());
    assert_eq!(gateway.ask("GET", "/sse/status", None).json()["transport_type"], "SSE");
    let _session = legacy_session(&gateway, "/mcp");
    let status = gateway.ask("GET", "/mcp/status", None).json();
    assert_eq!((&status["active_sessions"], &status["total_sessions"]), (&json!(1), &json!(1)));
}

#[test]
fn who_may_only_use_tools_reaches_no_session_of_another() {
    let mut gateway = Gateway::start();
    let theirs = legacy_session(&gateway, "/mcp").id.clone();
    gateway.key = gateway.done(&["key", "create", "small", "--role", "user"]).trim().to_owned();
    let mine = legacy_session(&gateway, "/mcp").id.clone();
    let event = |id: &str| json!({"event": "x", "data": 1, "session_id": id});

    assert_eq!(post(&gateway, "/sse/events", &event(&theirs)).status, 404);
    assert_eq!(post(&gateway, "/sse/events", &event(&mine)).status, 200);
    assert_eq!(gateway.ask("GET", &format!("/sse/replay/{theirs}"), None).status, 404);
    assert_eq!(gateway.ask("DELETE", &format!("/api/admin/sessions/{theirs}"), None).status, 404);
    let all = json!({"event": "x", "data": 1});
    for path in ["/sse/broadcast", "/ws/broadcast", "/stdio/process?action=stop"] {
        assert_eq!(post(&gateway, path, &all).status, 403, "{path}");
    }
    let order = json!({"command": "/bin/sh"});
    assert!(post(&gateway, "/stdio/execute", &order).text().contains("stdio:execute"));
    for path in ["/api/admin/sessions", "/api/admin/processes", "/sse/status", "/stdio/process"] {
        assert_eq!(gateway.ask("GET", path, None).status, 403, "{path}");
    }
}

#[test]
fn the_limit_of_sessions_for_one_principal_is_told() {
    let gateway = Gateway::start_with(&[("TOLLHOUSE_EDGE__SESSIONS__MAX_PER_PRINCIPAL", "1")], "");
    let _session = legacy_session(&gateway, "/mcp");
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"old","version":"1"}}}"#;

    let second = gateway.ask("POST", "/mcp", Some(body));

    assert_eq!(second.status, 429);
    let error = &second.json()["error"];
    assert_eq!(error["data"]["quota"], "edge.sessions.max_per_principal");
}

#[test]
fn a_program_is_seen_spoken_to_and_started_anew() {
    let gateway = Gateway::start();
    gateway.done(&["register", "shy", "--", "sh", "-c", PROGRAM]);
    let act = |verb: &str, action: &str| {
        gateway.ask(verb, &format!("/stdio/process?action={action}&session_id=shy"), None)
    };

    let row = eventually("its word is heard", || {
        let rows = gateway.ask("GET", "/api/admin/processes", None).json();
        (rows["data"][0]["last_line"] == "ready").then(|| rows["data"][0].clone())
    });
    assert_eq!((&row["server"], &row["owner"]), (&json!("shy"), &json!("shared")));
    assert!(gateway.done(&["ps"]).lines().any(|line| line.starts_with("shy")));
    let letter = json!({"session_id": "shy", "method": "tools/call", "params": {"name": "x"}});
    let said = post(&gateway, "/stdio/send", &letter).json();
    assert_eq!(said["response"]["result"]["content"], json!([]));
    assert_eq!(act("GET", "restart").status, 405);
    assert_eq!(act("POST", "stop").json()["status"], "stopped");
    assert_eq!(act("POST", "start").json()["status"], "running");
    let again = act("POST", "restart").json();
    assert_ne!(again["processes"][0]["pid"], row["pid"]);
    assert_eq!(act("GET", "odd").status, 400);
    assert_eq!(gateway.ask("POST", "/stdio/process?action=stop", None).status, 400);
    let none = gateway.ask("GET", "/stdio/process?action=status&session_id=none", None);
    assert_eq!((none.status, &none.json()["status"]), (200, &json!("not_found")));
    assert_eq!(post(&gateway, "/stdio/send", &json!({"method": "ping"})).status, 400);
}

#[test]
fn only_listed_programs_run_and_none_runs_for_ever() {
    let config =
        "stdio_bridge:\n  commands: [/bin/sh]\n  timeout_seconds: 20\n  output_bytes: 10\n";
    let gateway = Gateway::start_with(&[("CANARY", "4711")], config);
    let run = |args: Value, timeout: &str| {
        let body = json!({"command": "/bin/sh", "args": args, "timeout": timeout});
        post(&gateway, "/stdio/execute", &body).json()
    };

    let said = run(json!(["-c", "echo $CANARY-$1; echo oh >&2", "x", "$(id)"]), "20s");
    assert_eq!((&said["success"], &said["output"]), (&json!(true), &json!("-$(id)\n")));
    assert_eq!((&said["errors"], &said["exit_code"]), (&json!("oh\n"), &json!(0)));
    let long = run(json!(["-c", "head -c 100000 /dev/zero | tr '\\0' x; exit 3"]), "20s");
    assert_eq!((&long["output"], &long["truncated"]), (&json!("xxxxxxxxxx"), &json!(true)));
    assert_eq!((&long["success"], &long["exit_code"]), (&json!(false), &json!(3)));
    let late = run(json!(["-c", "sleep 600"]), "300ms");
    assert_eq!((&late["timed_out"], &late["success"]), (&json!(true), &json!(false)));
    let other = post(&gateway, "/stdio/execute", &json!({"command": "/bin/echo"}));
    assert_eq!(other.status, 403);
    assert!(other.text().contains("stdio_bridge.commands"), "{}", other.text());
}

#[test]
fn a_session_goes_on_where_the_gateway_was_started_again() {
    let server = FakeServer::legacy(
        r#"{"name":"echo","inputSchema":{"type":"object"}}"#,
        r#"{"content":[{"type":"text","text":"ok"}]}"#,
    );
    let mut gateway = Gateway::start();
    gateway.done(&["register", "s", "--endpoint", &server.url]);
    let ids = ["{}", r#"{"sampling":{}}"#].map(|capabilities| {
        let session = crate::support::legacy_session_of(&gateway, "/mcp", capabilities);
        let said = session.call("tools/call", r#"{"name":"s__echo"}"#);
        assert!(said.text().contains(r#""ok""#), "{}", said.text());
        session.id
    });

    gateway.signal("-TERM");
    assert!(gateway.wait().success());
    gateway.run(&[]);

    let call = |id: &str| {
        let body = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"s__echo"}}"#;
        let headers = [("Mcp-Session-Id", id), ("MCP-Protocol-Version", "2025-06-18")];
        gateway.ask_with("POST", "/mcp", &headers, Some(body))
    };
    let [shared, apart] = ids;
    let said = call(&shared);
    assert!(said.text().contains(r#""ok""#), "{}", said.text());
    // A server had a session with this client alone, which is gone: it begins anew.
    assert_eq!(call(&apart).status, 404);
    let shown = gateway.ask("GET", &format!("/api/admin/sessions/{apart}"), None);
    assert!(shown.text().contains(r#""status":"closed""#), "{}", shown.text());
}
