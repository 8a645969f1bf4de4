//! What is listed, under which names, and who is missing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::support::{
    Act, FakeServer, Gateway, answer, eventually, gateway_meta, legacy_session_of, modern_result,
};

const ECHO: &str = r#"{"name":"echo","inputSchema":{"type":"object"}}"#;
const OK: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"ok"}]}"#;

fn names(gateway: &Gateway, path: &str) -> Vec<String> {
    let said = gateway.call(path, "tools/list", "").json();
    let tools = said["result"]["tools"].as_array().expect("tools").clone();
    tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

fn own() -> Vec<String> {
    ["tollhouse__list_servers", "tollhouse__explain_name", "tollhouse__current_time"]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn a_new_gateway_has_tools_of_its_own() {
    let gateway = Gateway::start();

    assert_eq!(names(&gateway, "/mcp"), own());
    let said = gateway.call_named(
        "/mcp",
        "tools/call",
        Some("tollhouse__current_time"),
        r#""name":"tollhouse__current_time","arguments":{"timezone":"Asia/Tokyo"}"#,
    );
    let time = said.json()["result"]["structuredContent"]["time"].clone();
    assert!(time.as_str().expect("a time").ends_with("+09:00"), "{}", said.text());
}

#[test]
fn a_server_that_never_stops_listing_is_cut_short() {
    let pages = |cursor: fn(usize) -> String| {
        FakeServer::play(move |seen| {
            let asked = seen.json();
            if asked["method"] != "tools/list" {
                return Act::Json(answer(&asked, &modern_result(&asked, ECHO, OK)));
            }
            let page = asked["params"]["cursor"].as_str().map_or(0, str::len);
            let (next, words) = (cursor(page), "x".repeat(3_000));
            Act::Json(answer(
                &asked,
                &format!(
                    r#"{{"resultType":"complete","nextCursor":"{next}","tools":[{{"name":"t{page}","description":"{words}","inputSchema":{{"type":"object"}}}}]}}"#
                ),
            ))
        })
    };
    let endless = pages(|page| "c".repeat(page + 1));
    let heavy = pages(|page| "c".repeat(page + 10_000));
    let gateway = Gateway::start_with(&[("TOLLHOUSE_CATALOG__BYTES_PER_SERVER", "10000")], "");

    gateway.done(&["register", "endless", "--endpoint", &endless.url]);
    gateway.done(&["register", "heavy", "--endpoint", &heavy.url]);

    assert_eq!(names(&gateway, "/servers/endless/mcp"), ["t0", "t1", "t2"]);
    assert_eq!(names(&gateway, "/servers/heavy/mcp"), ["t0"]);
    for (name, limit) in [("endless", "bytes_per_server"), ("heavy", "cursor")] {
        let shown = gateway.ask("GET", &format!("/gateway/servers/{name}"), None);
        assert!(shown.text().contains(limit), "{}", shown.text());
    }
}

#[test]
fn names_follow_each_servers_rule_and_calls_find_their_way_back() {
    let (a, b, c) = (
        FakeServer::modern(ECHO, OK),
        FakeServer::modern(ECHO, OK),
        FakeServer::modern(r#"{"name":"only","inputSchema":{"type":"object"}}"#, OK),
    );
    let gateway = Gateway::start();
    gateway.done(&["register", "a", "--endpoint", &a.url]);
    gateway.done(&["register", "b", "--endpoint", &b.url, "--prefix", "conflict"]);
    gateway.done(&["register", "c", "--endpoint", &c.url, "--prefix", "never"]);

    let mut listed = names(&gateway, "/mcp");
    listed.retain(|name| !name.starts_with("tollhouse__"));
    assert_eq!(listed, ["a__echo", "echo", "only"]);
    assert_eq!(names(&gateway, "/servers/a/mcp"), ["echo"]);
    for (name, server) in [("a__echo", &a), ("echo", &b), ("only", &c), ("c__only", &c)] {
        let before = server.asked("tools/call").len();
        gateway.call_named("/mcp", "tools/call", Some(name), &format!(r#""name":"{name}""#));
        let found = server.asked("tools/call").len() - before;
        assert_eq!(found, usize::from(name != "c__only"), "{name}");
    }
}

#[test]
fn an_unknown_tool_is_an_error_a_client_can_read() {
    let gateway = Gateway::start();

    let said = gateway.call_named("/mcp", "tools/call", Some("nobody"), r#""name":"nobody""#);

    assert_eq!(said.status, 200);
    assert_eq!(said.json()["error"]["code"], -32602);
    assert_eq!(said.json()["error"]["message"], "unknown tool: nobody");
}

#[test]
fn a_namespace_shows_its_own_servers_only() {
    let (a, b) = (FakeServer::modern(ECHO, OK), FakeServer::modern(ECHO, OK));
    let gateway = Gateway::start();
    gateway.done(&["register", "a", "--endpoint", &a.url, "--namespace", "team"]);
    gateway.done(&["register", "b", "--endpoint", &b.url]);

    assert_eq!(names(&gateway, "/mcp/team"), ["a__echo"]);
    assert_eq!(names(&gateway, "/mcp/default"), ["b__echo"]);
}

#[test]
fn pages_go_on_where_the_last_ended() {
    let a = FakeServer::modern(ECHO, OK);
    let gateway = Gateway::start_with(&[], "catalog:\n  page_size: 2\n");
    gateway.done(&["register", "a", "--endpoint", &a.url]);

    let first = gateway.call("/mcp", "tools/list", "").json();
    let cursor = first["result"]["nextCursor"].as_str().expect("a cursor");
    let second = gateway.call("/mcp", "tools/list", &format!(r#""cursor":"{cursor}""#)).json();
    let odd = gateway.call("/mcp", "tools/list", r#""cursor":"odd""#).json();

    let count = |page: &serde_json::Value| page["result"]["tools"].as_array().map(Vec::len);
    assert_eq!((count(&first), count(&second)), (Some(2), Some(2)));
    assert_eq!(second["result"].get("nextCursor"), None);
    assert_eq!(odd["error"]["code"], -32602);
}

#[test]
fn a_sick_server_is_named_and_hides_nobody_and_comes_back() {
    let is_sick = Arc::new(AtomicBool::new(false));
    let sick = is_sick.clone();
    let patient = FakeServer::play(move |seen| {
        if sick.load(Ordering::Relaxed) {
            return Act::Close;
        }
        let asked = seen.json();
        Act::Json(answer(&asked, &modern_result(&asked, ECHO, OK)))
    });
    let well = FakeServer::modern(ECHO, OK);
    let config = "catalog:\n  fresh_ms: 50\n  stale_ms: 100\n  retry_seconds: 1\n";
    let gateway = Gateway::start_with(&[], config);
    gateway.done(&["register", "patient", "--endpoint", &patient.url]);
    gateway.done(&["register", "well", "--endpoint", &well.url]);
    let list = || gateway.call("/mcp", "tools/list", "").json()["result"].clone();
    let has = |result: &serde_json::Value, name: &str| result.to_string().contains(name);
    assert!(has(&list(), "patient__echo"));

    is_sick.store(true, Ordering::Relaxed);
    let without = eventually("the sick server is named", || {
        let result = list();
        (result["_meta"]["io.tollhouse/missing"][0]["server"] == "patient").then_some(result)
    });
    assert!(has(&without, "well__echo") && !has(&without, "patient__echo"), "{without}");
    let status = gateway.done(&["status", "-o", "json"]);
    assert!(status.contains("unhealthy"), "{status}");
    assert!(
        gateway
            .ask("GET", "/metrics", None)
            .text()
            .contains("tollhouse_list_missing_total{template=\"patient\"}")
    );

    is_sick.store(false, Ordering::Relaxed);
    eventually("it comes back", || has(&list(), "patient__echo").then_some(()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is compared is how long real lists take")]
fn a_server_that_never_answers_delays_the_first_lists_only() {
    let mute = FakeServer::play(|_| Act::Hang);
    let gateway = Gateway::start_with(&[], "catalog:\n  first_wait_ms: 1000\n");
    let form = format!(r#"{{"name":"mute","url":"{}"}}"#, mute.url);
    assert_eq!(gateway.ask("POST", "/gateway/servers", Some(&form)).status, 201);
    let waited = || {
        let began = std::time::Instant::now();
        let said = gateway.call("/mcp", "tools/list", "").json();
        assert_eq!(said["result"]["_meta"]["io.tollhouse/missing"][0]["server"], "mute");
        began.elapsed()
    };

    let first = waited();
    let later = (0..5).map(|_| waited()).max().expect("five");

    assert!(later < first, "{later:?} after {first:?}");
}

#[test]
fn an_odd_schema_costs_an_older_client_nothing() {
    let server = FakeServer::modern(
        r#"{"name":"plain","inputSchema":{"type":"object"}},{"name":"odd","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}}"#,
        OK,
    );
    let gateway = Gateway::start();
    gateway.done(&["register", "s", "--endpoint", &server.url]);

    let legacy =
        crate::support::legacy_session(&gateway, "/servers/s/mcp").call("tools/list", "{}");
    let modern = gateway.call("/servers/s/mcp", "tools/list", "");

    assert_eq!(legacy.json()["result"]["tools"][1].get("outputSchema"), None);
    assert_eq!(modern.json()["result"]["tools"][1]["outputSchema"]["type"], "array");
}

/// A server with one resource, one template, and a tool that points to both.
fn library(text: &'static str) -> FakeServer {
    FakeServer::play(move |seen| {
        let asked = seen.json();
        let result = match asked["method"].as_str().unwrap_or_default() {
            "server/discover" => {
                r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{},"completions":{}},"instructions":"read","ttlMs":0,"cacheScope":"private"}"#.to_owned()
            }
            "tools/list" => format!(r#"{{"tools":[{ECHO}]}}"#),
            "resources/list" => r#"{"resources":[{"uri":"memo://x","name":"x"}]}"#.to_owned(),
            "resources/templates/list" => {
                r#"{"resourceTemplates":[{"uriTemplate":"page://{n}","name":"p"}]}"#.to_owned()
            }
            "tools/call" => {
                r#"{"content":[{"type":"resource_link","uri":"memo://x","name":"x"},{"type":"resource","resource":{"uri":"page://7","text":""}}]}"#.to_owned()
            }
            _ => {
                let uri = &asked["params"]["uri"];
                format!(r#"{{"contents":[{{"uri":{uri},"text":"{text}"}}],"completion":{{"values":["{text}"]}}}}"#)
            }
        };
        Act::Json(answer(&asked, &result))
    })
}

#[test]
fn what_a_tool_points_to_is_read_from_its_own_server() {
    let (a, b) = (library("of a"), library("of b"));
    let gateway = Gateway::start();
    gateway.done(&["register", "a", "--endpoint", &a.url]);
    gateway.done(&["register", "b", "--endpoint", &b.url]);

    for (tool, text) in [("a__echo", "of a"), ("b__echo", "of b")] {
        let called =
            gateway.call_named("/mcp", "tools/call", Some(tool), &format!(r#""name":"{tool}""#));
        let content = called.json()["result"]["content"].clone();
        for uri in [&content[0]["uri"], &content[1]["resource"]["uri"]] {
            let uri = uri.as_str().expect("a URI");
            let params = format!(r#""uri":"{uri}""#);
            let read = gateway.call_named("/mcp", "resources/read", Some(uri), &params).json();
            let contents = &read["result"]["contents"][0];
            assert_eq!((&contents["text"], &contents["uri"]), (&text.into(), &uri.into()));
        }
    }
}

#[test]
fn a_uri_that_two_servers_have_is_nobodys_without_its_mark() {
    let (a, b) = (library("of a"), library("of b"));
    let gateway = Gateway::start();
    gateway.done(&["register", "a", "--endpoint", &a.url]);
    gateway.done(&["register", "b", "--endpoint", &b.url]);
    gateway.call("/mcp", "resources/list", "");

    let read = |uri: &str| {
        let params = format!(r#""uri":"{uri}""#);
        gateway.call_named("/mcp", "resources/read", Some(uri), &params).json()
    };

    let message = read("memo://x")["error"]["message"].as_str().expect("an error").to_owned();
    assert!(message.contains("memo://x#tollhouse=b"), "{message}");
    assert_eq!(read("memo://x#tollhouse=b")["result"]["contents"][0]["text"], "of b");
}

#[test]
fn a_resource_in_no_template_can_be_completed_too() {
    let a = library("of a");
    let gateway = Gateway::start();
    gateway.done(&["register", "a", "--endpoint", &a.url]);

    for uri in ["page://{n}", "memo://x", "page://7"] {
        let params = format!(
            r#""ref":{{"type":"ref/resource","uri":"{uri}"}},"argument":{{"name":"n","value":""}}"#
        );
        let said = gateway.call("/mcp", "completion/complete", &params);
        let result = &said.json()["result"];
        assert_eq!(result["completion"]["values"][0], "of a", "{}", said.text());
        assert_eq!(result["resultType"], "complete");
    }
}

#[test]
fn an_endpoint_of_one_server_waits_to_hear_what_it_has() {
    let a = library("of a");
    let gateway = Gateway::start();
    gateway.done(&["register", "a", "--endpoint", &a.url]);

    let said = gateway.call("/servers/a/mcp", "server/discover", "").json()["result"].clone();

    assert_eq!(said["instructions"], "read");
    assert_eq!(said["capabilities"].get("prompts"), None);
}

/// A server of an older revision that has a tool more for clients it can ask for samples.
fn choosy() -> FakeServer {
    FakeServer::play(|seen| {
        if seen.body.is_empty() {
            return Act::Status(405, String::new());
        }
        let asked = seen.json();
        let is_apart = seen.head.to_lowercase().contains("mcp-session-id: apart");
        match asked["method"].as_str().unwrap_or_default() {
            "server/discover" => Act::Status(400, String::new()),
            "initialize" => {
                let can = asked["params"]["capabilities"].get("sampling").is_some();
                let body = answer(
                    &asked,
                    r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"old","version":"1"}}"#,
                );
                let session = if can { "apart" } else { "shared" };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: {session}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                Act::Bytes([head.as_bytes(), body.as_bytes()].concat())
            }
            "tools/list" => {
                let more = r#",{"name":"ask","inputSchema":{"type":"object"}}"#;
                let more = if is_apart { more } else { "" };
                Act::Json(answer(&asked, &format!(r#"{{"tools":[{ECHO}{more}]}}"#)))
            }
            method if method.starts_with("notifications/") => Act::Status(202, String::new()),
            _ => Act::Json(answer(&asked, OK)),
        }
    })
}

#[test]
fn a_client_sees_what_a_server_has_only_for_such_as_it() {
    let server = choosy();
    let gateway = Gateway::start();
    gateway.done(&["register", "s", "--endpoint", &server.url, "--prefix", "never"]);
    let tools = |capabilities: &str| {
        let session = legacy_session_of(&gateway, "/mcp", capabilities);
        let said = session.call("tools/list", "{}").json();
        let tools = said["result"]["tools"].as_array().expect("tools").clone();
        let names = tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned());
        names.filter(|name| !name.starts_with("tollhouse__")).collect::<Vec<_>>()
    };

    assert_eq!(tools("{}"), ["echo"]);
    assert_eq!(tools(r#"{"sampling":{}}"#), ["echo", "ask"]);
    assert_eq!(tools(r#"{"sampling":{},"roots":{}}"#), ["echo", "ask"]);
    let meta = gateway_meta()
        .replace(r#"clientCapabilities":{}"#, r#"clientCapabilities":{"sampling":{}}"#);
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
    let headers = [
        ("Accept", "application/json, text/event-stream"),
        ("Mcp-Method", "tools/list"),
        ("MCP-Protocol-Version", "2026-07-28"),
    ];
    let today = gateway.ask_with("POST", "/mcp", &headers, Some(&body));
    assert!(today.text().contains(r#""ask""#), "{}", today.text());

    let session = legacy_session_of(&gateway, "/mcp", r#"{"sampling":{}}"#);
    let called = session.call("tools/call", r#"{"name":"ask"}"#);
    assert!(called.text().contains(r#""ok""#), "{}", called.text());

    // The sessions in which it was asked are given back, and lists are not asked for again.
    let listed = server.asked("tools/list").len();
    tools(r#"{"sampling":{}}"#);
    assert_eq!(server.asked("tools/list").len(), listed);
    eventually("both sessions to be ended", || {
        let deleted = server.seen().iter().filter(|seen| seen.head.starts_with("DELETE")).count();
        (deleted >= 2).then_some(())
    });
}

#[test]
fn a_server_that_is_down_is_shown_as_it_was_where_that_is_wished_and_marked() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = is_down.clone();
    let server = FakeServer::play(move |seen| {
        if down.load(Ordering::SeqCst) {
            return Act::Close;
        }
        let asked = seen.json();
        Act::Json(answer(&asked, &modern_result(&asked, ECHO, OK)))
    });
    for (seconds, is_shown) in [("600", true), ("0", false)] {
        let environment = [
            ("TOLLHOUSE_CATALOG__LAST_KNOWN_SECONDS", seconds),
            ("TOLLHOUSE_CATALOG__FRESH_MS", "0"),
            ("TOLLHOUSE_CATALOG__STALE_MS", "0"),
        ];
        let gateway = Gateway::start_with(&environment, "");
        gateway.done(&["register", "x", "--endpoint", &server.url]);
        assert_eq!(names(&gateway, "/servers/x/mcp"), ["echo"]);
        let missing = |path: &str| {
            let said = gateway.call(path, "tools/list", "").json();
            said["result"]["_meta"]["io.tollhouse/missing"][0].clone()
        };
        assert!(missing("/mcp").is_null());

        is_down.store(true, Ordering::SeqCst);
        let told = eventually("it is told", || Some(missing("/mcp")).filter(|it| !it.is_null()));
        assert_eq!((&told["server"], told["stale"] == true), (&"x".into(), is_shown), "{told}");
        let reason = told["reason"].as_str().expect("a reason");
        assert_eq!(reason.contains("this is what it offered"), is_shown, "{reason}");
        assert_eq!(names(&gateway, "/mcp").contains(&"x__echo".to_owned()), is_shown);
        let plain = gateway.ask("GET", "/mcp/x/tools/list", None);
        assert_eq!(plain.status == 200, is_shown, "{}", plain.text());
        if is_shown {
            let call =
                gateway.call_named("/mcp", "tools/call", Some("x__echo"), r#""name":"x__echo""#);
            assert!(call.text().contains(r#""server":"x""#), "{}", call.text());
        }

        is_down.store(false, Ordering::SeqCst);
        eventually("it is back", || missing("/mcp").is_null().then_some(()));
        assert!(names(&gateway, "/mcp").contains(&"x__echo".to_owned()));
    }
}
