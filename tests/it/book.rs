//! The book of calls from outside: what was called, by whom, and how it ended.

use serde_json::{Value, json};

use crate::support::{Act, FakeServer, Gateway, answer, modern_result};

const TOOLS: &str = r#"{"name":"now","inputSchema":{"type":"object"}},{"name":"fail","inputSchema":{"type":"object"}}"#;

/// A server with a tool that tells the time, and one that fails.
fn time() -> FakeServer {
    FakeServer::play(|seen| {
        if seen.body.is_empty() {
            return Act::Status(405, String::new());
        }
        let asked = seen.json();
        let fails = asked["params"]["name"] == "fail";
        let result = format!(
            r#"{{"resultType":"complete","isError":{fails},"content":[{{"type":"text","text":"x"}}]}}"#
        );
        let result = match asked["method"].as_str() {
            Some("tools/call") => result,
            _ => modern_result(&asked, TOOLS, "{}"),
        };
        Act::Json(answer(&asked, &result))
    })
}

fn house() -> (Gateway, FakeServer) {
    let (gateway, server) = (Gateway::start(), time());
    gateway.done(&["register", "time", "--endpoint", &server.url]);
    (gateway, server)
}

fn call(gateway: &Gateway, key: &str, tool: &str) {
    let params = format!(r#""name":"{tool}","arguments":{{}}"#);
    let said = gateway.with_key(key).call_named("/mcp", "tools/call", Some(tool), &params);
    assert!([200, 404].contains(&said.status), "{}", said.text());
}

fn asked(gateway: &Gateway, key: &str, path: &str) -> Value {
    let said = gateway.ask_as(Some(key), "GET", path, None);
    assert_eq!(said.status, 200, "{path}: {}", said.text());
    said.json()
}

/// What was called and how it ended, of the lines that fit.
fn found(gateway: &Gateway, key: &str, query: &str) -> Vec<String> {
    let said = asked(gateway, key, &format!("/api/admin/requests?method=tools/call&{query}"));
    let lines = said["data"].as_array().expect("lines").iter();
    let text = |line: &Value| {
        let item = line["item"].as_str().expect("an item");
        format!("{item} {}", line["outcome"].as_str().expect("an outcome"))
    };
    lines.map(text).collect()
}

#[test]
fn every_call_is_in_the_book_and_found_by_what_it_was() {
    let (gateway, _server) = house();
    let (id, user) = gateway.make_key("", &json!({"name": "ben", "role": "user"}));
    for (key, tool) in
        [(&*gateway.key, "time__now"), (&user, "time__now"), (&user, "time__fail"), (&user, "nix")]
    {
        call(&gateway, key, tool);
    }
    let key = &*gateway.key;
    let all = ["nix NOT_FOUND", "fail tool_error", "now ok", "now ok"];
    assert_eq!(found(&gateway, key, ""), all);
    assert_eq!(found(&gateway, key, &format!("caller=key:{id}&server=time")), all[1..3]);
    assert_eq!(found(&gateway, key, "error=true&item=fa*"), all[1..2]);
    assert_eq!(found(&gateway, key, "level=warning&limit=1"), all[..1]);
    assert_eq!(found(&gateway, key, "search=NOT_found"), all[..1]);
    assert!(found(&gateway, key, "since=2999-01-01T00:00:00Z").is_empty());
    assert!(found(&gateway, key, "min_ms=60000").is_empty());

    let page = asked(&gateway, key, "/admin/logs?type=request&server=time&limit=2&total=true");
    let total = page["pagination"]["total"].as_u64().expect("a number");
    let before = page["pagination"]["before"].as_u64().expect("there are more");
    let rest = format!("/admin/requests?server=time&before={before}");
    let rest = asked(&gateway, key, &rest);
    assert_eq!(rest["count"].as_u64().expect("a number") + 2, total);
    assert_eq!(rest["pagination"]["before"], Value::Null);

    let line = &page["data"][0];
    assert_eq!((&line["status_code"], &line["error_flag"]), (&json!(200), &json!(true)));
    assert!(line["stages"]["answer_us"].as_u64() > Some(0), "{line}");
    assert!(line["request_bytes"].as_u64() > Some(0) && line["response_bytes"].as_u64() > Some(0));
    for id in [line["id"].to_string(), line["request_id"].as_str().expect("text").to_owned()] {
        for path in ["/admin/logs/", "/api/admin/requests/"] {
            assert_eq!(asked(&gateway, key, &format!("{path}{id}"))["data"], *line);
        }
    }

    for (path, status) in [
        ("/api/admin/requests?level=loud", 400),
        ("/api/admin/requests?since=yesterday", 400),
        ("/api/admin/requests?min_ms=-1", 400),
        ("/admin/logs?type=gossip", 400),
        ("/api/admin/requests/0", 404),
        ("/api/admin/requests/nobody", 404),
        ("/api/admin/requests/export?format=xml", 400),
        ("/admin/stats?by=weather", 400),
        ("/admin/stats?since=1970-01-01T00:00:00Z", 400),
    ] {
        let said = gateway.ask("GET", path, None);
        assert_eq!(said.status, status, "{path}: {}", said.text());
    }
}

#[test]
fn calls_are_seen_by_their_own_organization_and_by_those_who_may() {
    let (gateway, _server) = house();
    let umbra = gateway.make_tenant(&json!({"slug": "umbra"}));
    let (_, user) = gateway.make_key("", &json!({"name": "ben", "role": "user"}));
    let audit = json!({"name": "auditor", "permissions": ["audit:read"]});
    let (_, auditor) = gateway.make_key("", &audit);
    call(&gateway, &user, "time__now");
    call(&gateway, &umbra, "time__now");

    assert_eq!(found(&gateway, &umbra, ""), ["time__now NOT_FOUND"]);
    assert_eq!(found(&gateway, &gateway.key, "").len(), 2);
    let stats = asked(&gateway, &umbra, "/admin/stats?method=tools/call");
    assert_eq!(stats["data"][0]["total_requests"], 1, "{stats}");
    let ours = asked(&gateway, &gateway.key, "/admin/requests?method=tools/call&server=time");
    let id = ours["data"][0]["id"].to_string();
    let theirs = gateway.ask_as(Some(&umbra), "GET", &format!("/api/admin/requests/{id}"), None);
    assert_eq!(theirs.status, 404);
    for (key, path, status) in [
        (&user, "/api/admin/requests", 403),
        (&user, "/api/admin/requests/live", 403),
        (&auditor, "/admin/logs", 200),
        (&auditor, "/admin/logs?type=request", 403),
        (&auditor, "/api/admin/requests/export", 403),
        (&auditor, "/admin/stats", 403),
    ] {
        assert_eq!(gateway.ask_as(Some(key), "GET", path, None).status, status, "{path}");
    }
}

#[test]
fn what_was_called_survives_the_gateway() {
    let (mut gateway, _server) = house();
    for round in 1..=3 {
        for _ in 0..20 {
            call(&gateway, &gateway.key, "time__now");
        }
        // What was looked at is on the disk; what was not, a signal to end has written.
        if round == 2 {
            assert_eq!(found(&gateway, &gateway.key, "limit=1000").len(), 40);
            gateway.signal("-KILL");
        } else {
            gateway.signal("-TERM");
        }
        gateway.wait();
        gateway.run(&[]);
        let all = found(&gateway, &gateway.key, "limit=1000");
        assert_eq!(all.len(), 20 * round);
    }
    let sums = asked(&gateway, &gateway.key, "/admin/stats?window=daily&by=server,method");
    let total = |server: &Value| {
        let rows = sums["data"].as_array().expect("rows").iter();
        let rows = rows.filter(|it| it["server"] == *server && it["rpc_method"] == "tools/call");
        rows.map(|it| it["success_requests"].as_u64().expect("a number")).sum::<u64>()
    };
    assert_eq!(total(&json!("time")), 60, "{sums}");
}

#[test]
fn calls_are_heard_of_as_they_end() {
    let (gateway, _server) = house();
    let head = format!(
        "GET /api/admin/requests/live?method=tools/call&item=now HTTP/1.1\r\nHost: {}\r\n\
         Authorization: Bearer {}\r\n\r\n",
        gateway.address, gateway.key
    );
    let mut listener = gateway.connect();
    listener.send(head.as_bytes());
    assert!(listener.until(": listening").starts_with("HTTP/1.1 200"));

    call(&gateway, &gateway.key, "time__fail");
    call(&gateway, &gateway.key, "time__now");

    let event = listener.until("}\n\n");
    let part =
        |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).expect("it is told");
    let line: Value = serde_json::from_str(part("data: ")).expect("JSON");
    assert_eq!(line["item"], "now");
    assert_eq!(part("id: "), line["id"].to_string());
    // The number is the one it has in the book.
    let kept = asked(&gateway, &gateway.key, &format!("/api/admin/requests/{}", line["id"]));
    assert_eq!(kept["data"], line);
}

#[test]
fn the_command_line_finds_shows_and_takes_along() {
    let (gateway, _server) = house();
    for tool in ["time__now", "time__fail"] {
        call(&gateway, &gateway.key, tool);
    }

    let table = gateway.done(&["log", "search", "--method", "tools/call", "--since", "1h"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    let failed = gateway.done(&["log", "search", "--failed", "--tool", "fail", "-o", "json"]);
    let failed: Value = serde_json::from_str(&failed).expect("JSON");
    assert_eq!(failed.as_array().map(Vec::len), Some(1));
    let shown = gateway.done(&["log", "show", &failed[0]["id"].to_string()]);
    assert!(shown.contains("tool_error") && shown.contains("authenticate "), "{shown}");
    let csv =
        gateway.done(&["log", "export", "--csv", "--server", "time", "--method", "tools/call"]);
    let rows: Vec<&str> = csv.lines().collect();
    assert!(rows[0].starts_with("id,timestamp,") && rows.len() == 3, "{csv}");
    let jsonl = gateway.done(&["log", "export", "--method", "tools/call"]);
    let lines = jsonl.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert_eq!(lines.map(|line| line["item"].clone()).collect::<Vec<_>>(), ["fail", "now"]);
    assert_eq!(gateway.cli(&["log", "show", "0"]).status.code(), Some(1));
    assert_eq!(gateway.cli(&["log", "search", "--since", "soon"]).status.code(), Some(2));
}

#[test]
fn no_book_is_kept_where_none_is_wished() {
    let gateway = Gateway::start_with(&[], "observe:\n  book:\n    enabled: false\n");
    assert_eq!(gateway.call("/mcp", "tools/list", "").status, 200);

    let said = gateway.ask("GET", "/api/admin/requests", None);

    assert_eq!(said.status, 404);
    assert!(said.text().contains("observe.book.enabled"), "{}", said.text());
}

#[test]
fn what_was_said_is_kept_where_that_is_wished_and_without_secrets() {
    let (gateway, _server) = house();
    let params = r#""name":"time__now","arguments":{"zone":"Vienna","password":"hunter2"}"#;
    let said = |gateway: &Gateway| {
        gateway.call_named("/mcp", "tools/call", Some("time__now"), params);
        let last = asked(gateway, &gateway.key, "/api/admin/requests?item=now&limit=1");
        asked(gateway, &gateway.key, &format!("/admin/logs/{}", last["data"][0]["id"]))
    };
    assert_eq!(said(&gateway)["data"].get("body"), None);

    gateway.done(&["server", "update", "time", "--keep-bodies", "true"]);
    let kept = said(&gateway);

    let body = &kept["data"]["body"];
    let arguments = &body["request"]["params"]["arguments"];
    assert_eq!(*arguments, json!({"zone": "Vienna", "password": "[redacted]"}), "{kept}");
    assert_eq!(body["response"]["result"]["content"][0]["text"], "x");
    assert_eq!(body["cut"], false);
    let uri = kept["data"]["object_uri"].as_str().expect("a place");
    let file = uri.strip_prefix("file:").expect("a file");
    let file =
        std::fs::read(std::path::Path::new(&gateway.data()).join(file)).expect("it is there");
    assert!(!String::from_utf8_lossy(&file).contains("hunter2"));
    let shown = gateway.done(&["log", "show", &kept["data"]["id"].to_string()]);
    assert!(shown.contains("Vienna") && !shown.contains("hunter2"), "{shown}");

    gateway.done(&["server", "update", "time", "--keep-bodies", "false"]);
    assert_eq!(said(&gateway)["data"].get("body"), None);
}

#[test]
fn long_bodies_are_cut() {
    let gateway = Gateway::start_with(&[], "observe:\n  book:\n    body_bytes: 200\n");
    let server = time();
    gateway.done(&["register", "time", "--endpoint", &server.url, "--keep-bodies"]);
    let long = "x".repeat(300);
    let params = format!(r#""name":"time__now","arguments":{{"token":"hunter2","text":"{long}"}}"#);
    gateway.call_named("/mcp", "tools/call", Some("time__now"), &params);

    let last = asked(&gateway, &gateway.key, "/api/admin/requests?item=now&limit=1");
    let kept = asked(&gateway, &gateway.key, &format!("/admin/logs/{}", last["data"][0]["id"]));

    let body = &kept["data"]["body"];
    assert_eq!(body["cut"], true);
    let request = body["request"].as_str().expect("no JSON any more");
    assert!(request.len() < 220 && !request.contains("hunter2"), "{request}");
}
