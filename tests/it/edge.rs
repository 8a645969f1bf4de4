//! The doors, seen from the street.

use crate::support::{Connection, Gateway, gateway_meta, legacy_session, request};

fn post(gateway: &Gateway, headers: &[(&str, &str)], body: &str) -> (u16, i64) {
    let said = gateway.ask_with("POST", "/mcp", headers, Some(body));
    (said.status, said.json()["error"]["code"].as_i64().unwrap_or_default())
}

#[test]
fn climbs_the_ladder_of_the_stateless_revision_in_order() {
    let gateway = Gateway::start();
    let body = |method: &str, meta: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{meta}}}}}"#)
    };
    let version = ("MCP-Protocol-Version", "2026-07-28");
    let list = ("Mcp-Method", "tools/list");
    let whole = gateway_meta();
    let later = whole.replace("2026-07-28", "2099-01-01");
    let bare = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;

    assert_eq!(post(&gateway, &[version, list], &body("tools/list", whole)), (200, 0));
    assert_eq!(post(&gateway, &[version, list], &body("tools/list", "{}")), (400, -32602));
    assert_eq!(post(&gateway, &[version, list], &body("tools/list", bare)), (400, -32602));
    assert_eq!(post(&gateway, &[version], &body("tools/list", whole)), (400, -32020));
    assert_eq!(post(&gateway, &[list], &body("tools/list", whole)), (400, -32020));
    let other = ("Mcp-Method", "tools/call");
    assert_eq!(post(&gateway, &[version, other], &body("tools/list", whole)), (400, -32020));
    let future = [("MCP-Protocol-Version", "2099-01-01"), list];
    assert_eq!(post(&gateway, &future, &body("tools/list", &later)), (400, -32022));
    for gone in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such"] {
        let headers = [version, ("Mcp-Method", gone)];
        assert_eq!(post(&gateway, &headers, &body(gone, whole)), (404, -32601), "{gone}");
    }
}

#[test]
fn an_unsupported_version_is_told_what_is_spoken() {
    let gateway = Gateway::start();
    let meta = gateway_meta().replace("2026-07-28", "2099-01-01");
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
    let headers = [("MCP-Protocol-Version", "2099-01-01"), ("Mcp-Method", "tools/list")];

    let said = gateway.ask_with("POST", "/mcp", &headers, Some(&body)).json();

    assert_eq!(said["error"]["data"]["supported"], serde_json::json!(["2026-07-28"]));
    assert_eq!(said["error"]["data"]["requested"], "2099-01-01");
}

#[test]
fn a_session_lives_from_its_handshake_to_its_end() {
    let gateway = Gateway::start();
    let session = legacy_session(&gateway, "/mcp");

    assert_eq!(session.call("ping", "{}").json()["result"], serde_json::json!({}));
    let tools = session.call("tools/list", "{}").json();
    assert_eq!(tools["result"]["tools"].as_array().expect("tools").len(), 3);
    let unknown = session.call("no/such", "{}");
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (200, &(-32601).into()));

    let id = [("Mcp-Session-Id", &*session.id)];
    assert_eq!(gateway.ask_with("DELETE", "/mcp", &id, None).status, 204);
    assert_eq!(session.call("ping", "{}").status, 404);
}

#[test]
fn a_session_is_nobody_elses() {
    let gateway = Gateway::start();
    let session = legacy_session(&gateway, "/mcp");
    let made = gateway.ask("POST", "/auth/api-keys", Some(r#"{"name":"other"}"#)).json();
    let other = format!("Bearer {}", made["data"]["key"].as_str().expect("a key"));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let with = |headers: &[(&str, &str)], verb: &str, body| {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        gateway.send(&request(verb, "/mcp", &gateway.address, &all, body)).status
    };
    let id = ("Mcp-Session-Id", &*session.id);

    assert_eq!(with(&[id, ("Authorization", &other)], "POST", Some(ping)), 404);
    assert_eq!(with(&[id, ("Authorization", &other)], "DELETE", None), 404);
    assert_eq!(with(&[id], "POST", Some(ping)), 401);
    assert_eq!(session.call("ping", "{}").status, 200);
    let made_up = [("Mcp-Session-Id", "made-up"), ("Authorization", &*other)];
    assert_eq!(with(&made_up, "POST", Some(ping)), 404);
    assert_eq!(with(&[("Authorization", &other)], "POST", Some(ping)), 400);
}

#[test]
fn a_handshake_is_answered_in_a_revision_that_has_one() {
    let gateway = Gateway::start();
    let open = |version: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"old","version":"1"}}}}}}"#
        );
        gateway.ask("POST", "/mcp", Some(&body)).json()["result"]["protocolVersion"].clone()
    };

    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(open(version), version);
    }
    assert_eq!(open("2026-07-28"), "2025-11-25");
    assert_eq!(open("1999-01-01"), "2025-11-25");
}

#[test]
fn strangers_hosts_and_pages_are_turned_away() {
    let gateway = Gateway::start();
    let port = gateway.address.rsplit(':').next().expect("a port").to_owned();
    let status = |host: &str, origin: Option<&str>| {
        let bearer = format!("Bearer {}", gateway.key);
        let mut headers = vec![("Authorization", &*bearer), ("Accept", "application/json")];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        gateway.send(&request("GET", "/mcp", host, &headers, None)).status
    };
    let own = format!("localhost:{port}");

    assert_eq!(status(&own, None), 200);
    assert_eq!(status(&format!("127.0.0.1:{port}"), Some(&format!("http://{own}"))), 200);
    for host in ["evil.test", "127.0.0.1.nip.io", "localhost.", "localhost:1"] {
        assert!([403, 421].contains(&status(host, None)), "{host}");
    }
    for origin in ["http://evil.test", "null", "http://localhost.evil", "file://"] {
        assert_eq!(status(&own, Some(origin)), 403, "{origin}");
    }
}

#[test]
fn messages_that_are_none_are_answered_as_such() {
    let gateway = Gateway::start();
    assert_eq!(post(&gateway, &[], "{nope"), (400, -32700));
    assert_eq!(post(&gateway, &[], "[]"), (400, -32600));
    // An answer belongs to a session, like the question.
    assert_eq!(post(&gateway, &[], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), (400, -32001));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","x":{}{}}}"#,
        "[".repeat(99_999),
        "]".repeat(99_999)
    );
    assert_eq!(post(&gateway, &[], &deep).0, 400);
    let large =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","x":"{}"}}"#, "x".repeat(5 << 20));
    assert_eq!(post(&gateway, &[], &large).0, 413);
}

#[test]
fn only_plain_json_is_read() {
    let gateway = Gateway::start();
    let bearer = format!("Bearer {}", gateway.key);
    let status = |headers: &[(&str, &str)]| {
        let mut all = vec![("Authorization", &*bearer)];
        all.extend_from_slice(headers);
        gateway.send(&request("POST", "/mcp", &gateway.address, &all, Some("{}"))).status
    };

    assert_eq!(status(&[]), 415);
    assert_eq!(status(&[("Content-Type", "text/plain")]), 415);
    assert_eq!(status(&[("Content-Type", "application/json"), ("Content-Encoding", "gzip")]), 415);
    assert_eq!(status(&[("Content-Type", "Application/JSON; charset=utf-8")]), 400);
}

#[test]
fn there_is_no_stream_to_open_and_the_endpoint_says_so() {
    let gateway = Gateway::start();
    let stream = [("Accept", "text/event-stream")];
    let plain = [("Accept", "application/json")];

    assert_eq!(gateway.ask_with("GET", "/mcp", &stream, None).status, 405);
    let version = [("MCP-Protocol-Version", "2026-07-28")];
    assert_eq!(gateway.ask_with("GET", "/mcp", &version, None).status, 405);
    assert_eq!(gateway.ask_with("DELETE", "/mcp", &version, None).status, 405);
    let status = gateway.ask_with("GET", "/mcp", &plain, None);
    assert_eq!((status.status, &status.json()["name"]), (200, &"tollhouse".into()));
    assert_eq!(gateway.ask("PUT", "/mcp", Some("{}")).status, 405);
}

#[test]
fn endpoints_that_are_not_there_are_not_found() {
    let gateway = Gateway::start();

    for path in ["/mcp/nowhere", "/servers/nobody/mcp"] {
        let said = gateway.call(path, "tools/list", "");
        assert_eq!(said.status, 404, "{path}: {}", said.text());
    }
    let said = gateway.ask("GET", "/nowhere", None);
    assert_eq!((said.status, &said.json()["success"]), (404, &false.into()));
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let gateway = Gateway::start();
    let mut connection = Connection::open(&gateway.address);
    let ready = request("GET", "/ready", &gateway.address, &[], None);

    for _ in 0..3 {
        connection.send(&ready);
        assert_eq!(connection.read().expect("an answer").status, 200);
    }
}

#[test]
fn clients_that_stall_are_closed() {
    let config =
        "edge:\n  connections:\n    first_byte_ms: 100\n    header_ms: 100\n    body_ms: 100\n";
    let gateway = Gateway::start_with(&[], config);
    let bearer = format!("Authorization: Bearer {}", gateway.key);
    let half_head = format!("POST /mcp HTTP/1.1\r\nHost: {}\r\n{bearer}\r\n", gateway.address);
    let half_body =
        format!("{half_head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{");

    for stalled in ["", &half_head, &half_body] {
        let mut connection = gateway.connect();
        connection.send(stalled.as_bytes());
        if let Some(said) = connection.read() {
            assert!([400, 408].contains(&said.status), "{}", said.status);
        }
        assert!(connection.is_closed());
    }
    assert_eq!(gateway.ask("GET", "/ready", None).status, 200);
}

#[test]
fn malformed_requests_are_refused_and_harm_nobody() {
    let gateway = Gateway::start();
    let host = format!("Host: {}", gateway.address);
    let get = |lines: &[&str]| format!("GET /ready HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
    let post = |lines: &[&str], body: &str| {
        format!("POST /mcp HTTP/1.1\r\n{host}\r\n{}\r\n\r\n{body}", lines.join("\r\n"))
    };
    let many = vec![host.clone(); 1].into_iter().chain((0..101).map(|n| format!("X-{n}: 1")));
    let long = "x".repeat(70_000);
    let malformed = [
        get(&[]),
        get(&[&host, &host]),
        get(&["Host: a@b c"]),
        get(&["Host: evil.test/?x"]),
        get(&[&host, "X : 1"]),
        get(&[&host, "X: 1", " folded"]),
        get(&[&host, "X: a\0b"]),
        get(&[&host, "X: a\rb"]),
        get(&[&host, &format!("X: {long}")]),
        get(&many.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()),
        format!("GET /ready HTTP/1.1\n{host}\n\n"),
        format!("GET /ready HTTP/1.1\r\n{host}\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET http://evil.test/ready HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET /ready HTTP/9.9\r\n{host}\r\n\r\n"),
        format!("GET  /ready HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("CONNECT {} HTTP/1.1\r\n{host}\r\n\r\n", gateway.address),
        format!("TRACE /ready HTTP/1.1\r\n{host}\r\n\r\n"),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        post(&["Content-Length: 2", "Content-Length: 2"], "{}"),
        post(&["Content-Length: 2", "Content-Length: 3"], "{}"),
        post(&["Content-Length: 2, 2"], "{}"),
        post(&["Content-Length: +2"], "{}"),
        post(&["Content-Length: -1"], "{}"),
        post(&["Content-Length: 99999999999999999999"], "{}"),
        post(&["Content-Length: 2", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
        post(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
        post(&["Transfer-Encoding: identity, chunked"], "0\r\n\r\n"),
        post(&["Transfer-Encoding: chunked, identity"], "0\r\n\r\n"),
        post(&["Transfer-Encoding: xchunked"], "0\r\n\r\n"),
        format!("POST /mcp HTTP/1.0\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    assert!(malformed.len() >= 30);

    for bytes in &malformed {
        let mut connection = gateway.connect();
        connection.send(bytes.as_bytes());
        let shown: String = bytes.chars().take(120).collect();
        if let Some(said) = connection.read() {
            assert!(
                [400, 403, 405, 413, 414, 431, 505].contains(&said.status),
                "{shown:?}: {}",
                said.status
            );
        }
        assert!(connection.is_closed(), "{shown:?}");
    }
    assert_eq!(gateway.ask("GET", "/ready", None).status, 200);
}

#[test]
fn a_handshake_is_of_the_past_unless_its_body_claims_otherwise() {
    let gateway = Gateway::start();
    let body = r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2026-07-28","capabilities":{},"clientInfo":{"name":"new","version":"1"}}}"#;
    let version = [("MCP-Protocol-Version", "2026-07-28")];

    let said = gateway.ask_with("POST", "/mcp", &version, Some(body));

    assert_eq!(said.json()["result"]["protocolVersion"], "2025-11-25", "{}", said.text());
}

#[test]
fn a_session_knows_no_methods_that_came_after_it() {
    let gateway = Gateway::start();

    let said = legacy_session(&gateway, "/mcp").call("server/discover", "{}");

    assert_eq!((said.status, &said.json()["error"]["code"]), (200, &(-32601).into()));
}

#[test]
fn refusals_bear_the_id_of_what_they_refuse() {
    let gateway = Gateway::start();
    let ping = r#"{"jsonrpc":"2.0","id":"mine","method":"ping"}"#;
    let asked = format!(
        r#"{{"jsonrpc":"2.0","id":"mine","method":"tools/list","params":{{"_meta":{}}}}}"#,
        gateway_meta()
    );
    let json = ("Content-Type", "application/json");
    let version = [("MCP-Protocol-Version", "2025-06-18"); 2];

    let lost = gateway.ask_with("POST", "/mcp", &[("Mcp-Session-Id", "gone")], Some(ping));
    let none = gateway.ask_with("POST", "/mcp", &[], Some(ping));
    let twice = gateway.ask_with("POST", "/mcp", &version, Some(ping));
    let stranger = gateway.send(&request("POST", "/mcp", &gateway.address, &[json], Some(&asked)));

    for (said, status) in [(lost, 404), (none, 400), (twice, 400)] {
        assert_eq!((said.status, &said.json()["id"]), (status, &"mine".into()), "{}", said.text());
    }
    // Nothing is read of what strangers send, not even the id.
    assert_eq!((stranger.status, &stranger.json()["id"]), (401, &serde_json::Value::Null));
}

#[test]
fn a_resource_nobody_has_is_told_in_each_eras_code() {
    let gateway = Gateway::start();
    let (uri, params) = ("no://such", r#""uri":"no://such""#);

    let modern = gateway.call_named("/mcp", "resources/read", Some(uri), params).json();
    let session = legacy_session(&gateway, "/mcp");
    let legacy = session.call("resources/read", &format!("{{{params}}}")).json();

    assert_eq!(
        (&modern["error"]["code"], &modern["error"]["data"]["uri"]),
        (&(-32602).into(), &uri.into())
    );
    assert_eq!(
        (&legacy["error"]["code"], &legacy["error"]["data"]["uri"]),
        (&(-32002).into(), &uri.into())
    );
}
