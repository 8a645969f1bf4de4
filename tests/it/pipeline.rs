//! What the gateway only carries leaves as it came.

use crate::support::{Act, Answer, FakeServer, Gateway, gateway_meta, legacy_session};

/// A tool nobody has seen the like of.
const TOOL: &str = r#"{"x-odd":{"deep":[1.0,{"k":9223372036854775808}]},"name":"odd","inputSchema":{"type":"object","$defs":{"a":{"$anchor":"b"}},"z":1,"a":2},"annotations":{"readOnlyHint":true,"unknown":[]},"execution":{"taskSupport":"optional"}}"#;

/// A result nobody has seen the like of.
const RESULT: &str = r#"{"zeta":1.0,"content":[{"type":"hologram","n":9223372036854775808,"_meta":{"k":1e400}},{"type":"text","text":"x","unknown":{"b":1,"a":2}}],"isError":false,"structuredContent":{"big":12345678901234567890123,"z":1,"a":[null]},"_meta":{"com.example/y":{"z":1,"a":2}},"alpha":null}"#;

/// Arguments nobody has seen the like of.
const ARGUMENTS: &str = r#""arguments" : {"z":1.0,"a":{"big":12345678901234567890123,"list":[ 1 , {"x":null} ]}},"odd":{"y":[true]}"#;

fn each_era() -> [(&'static str, FakeServer); 2] {
    [("modern", FakeServer::modern(TOOL, RESULT)), ("legacy", FakeServer::legacy(TOOL, RESULT))]
}

#[test]
fn unknown_fields_reach_the_server_byte_for_byte() {
    for (era, server) in each_era() {
        let gateway = Gateway::start();
        gateway.done(&["register", "fake", "--endpoint", &server.url, "--prefix", "never"]);

        gateway.call_named(
            "/mcp",
            "tools/call",
            Some("odd"),
            &format!(r#""name":"odd",{ARGUMENTS}"#),
        );
        let session = legacy_session(&gateway, "/mcp");
        session.call("tools/call", &format!(r#"{{"name":"odd",{ARGUMENTS}}}"#));

        let calls = server.asked("tools/call");
        assert_eq!(calls.len(), 2, "{era}");
        for call in calls {
            assert!(call.body.contains(&format!(r#""name":"odd",{ARGUMENTS}"#)), "{}", call.body);
        }
    }
}

#[test]
fn unknown_fields_reach_the_client_byte_for_byte() {
    for (era, server) in each_era() {
        let gateway = Gateway::start();
        gateway.done(&["register", "fake", "--endpoint", &server.url, "--prefix", "never"]);

        let modern = gateway.call_named("/mcp", "tools/call", Some("odd"), r#""name":"odd""#);
        let session = legacy_session(&gateway, "/mcp");
        let legacy = session.call("tools/call", r#"{"name":"odd"}"#);

        let inner = RESULT.trim_end_matches('}');
        for (client, said) in [("modern", modern), ("legacy", legacy)] {
            assert!(said.text().contains(inner), "{client} to {era}: {}", said.text());
        }
    }
}

#[test]
fn a_listed_tool_is_as_its_server_wrote_it_but_for_its_name() {
    for (era, server) in each_era() {
        let gateway = Gateway::start();
        gateway.done(&["register", "fake", "--endpoint", &server.url]);

        let modern = gateway.call("/mcp", "tools/list", "");
        let legacy = legacy_session(&gateway, "/mcp").call("tools/list", "{}");
        let own = gateway.call("/servers/fake/mcp", "tools/list", "");

        let prefixed = TOOL.replace(r#""name":"odd""#, r#""name":"fake__odd""#);
        assert!(modern.text().contains(&prefixed), "{era}: {}", modern.text());
        assert!(legacy.text().contains(&prefixed), "{era}: {}", legacy.text());
        assert!(own.text().contains(TOOL), "{era}: {}", own.text());
    }
}

#[test]
fn ids_come_back_as_they_were_written() {
    let server = FakeServer::modern(TOOL, RESULT);
    let gateway = Gateway::start();
    gateway.done(&["register", "fake", "--endpoint", &server.url, "--prefix", "never"]);

    for id in ["0", r#""0""#, "-7", "1.0", "123456789012345678901234567890", r#""\u00e4""#] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"odd","_meta":{}}}}}"#,
            gateway_meta()
        );
        let headers = [
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "odd"),
        ];
        let said = gateway.ask_with("POST", "/mcp", &headers, Some(&body));

        assert!(said.text().contains(&format!(r#""id":{id},"#)), "{id}: {}", said.text());
    }
}

#[test]
fn a_server_hears_its_own_names_and_the_gateways_meta() {
    let server = FakeServer::modern(TOOL, RESULT);
    let gateway = Gateway::start();
    gateway.done(&["register", "fake", "--endpoint", &server.url]);

    let params = r#""name":"fake__odd""#;
    gateway.call_named("/mcp", "tools/call", Some("fake__odd"), params);

    let call = server.asked("tools/call").pop().expect("one call");
    let head = call.head.to_lowercase();
    assert!(head.contains("mcp-name: odd\r\n"), "{head}");
    assert!(head.contains("mcp-method: tools/call\r\n") && !head.contains(&gateway.key));
    assert_eq!(call.json()["params"]["name"], "odd");
    let meta = &call.json()["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "tollhouse");
}

#[test]
fn a_server_that_answers_nonsense_is_told_apart_from_one_that_is_gone() {
    let code = |said: &Answer| said.json()["error"]["data"]["code"].clone();
    let nonsense = FakeServer::play(|seen| {
        let asked = seen.json();
        match asked["method"].as_str() {
            Some("tools/call") => Act::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/json\r\n\r\n{nope".to_vec()),
            _ => Act::Json(crate::support::answer(&asked, &crate::support::modern_result(&asked, TOOL, RESULT))),
        }
    });
    let gone = FakeServer::modern(TOOL, RESULT);
    let gateway = Gateway::start();
    gateway.done(&["register", "nonsense", "--endpoint", &nonsense.url]);
    gateway.done(&["register", "gone", "--endpoint", "http://127.0.0.1:9/mcp"]);
    drop(gone);

    let params = r#""name":"nonsense__odd""#;
    let said = gateway.call_named("/mcp", "tools/call", Some("nonsense__odd"), params);
    assert_eq!(code(&said), "BAD_GATEWAY", "{}", said.text());

    let params = r#""name":"gone__odd""#;
    let said = gateway.call_named("/mcp", "tools/call", Some("gone__odd"), params);
    assert_eq!(code(&said), "SERVICE_UNAVAILABLE", "{}", said.text());
    assert!(!said.text().contains("127.0.0.1"), "{}", said.text());
}

#[test]
fn an_answer_in_a_stream_of_events_is_found() {
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        let said =
            crate::support::answer(&asked, &crate::support::modern_result(&asked, TOOL, RESULT));
        let notice = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
        Act::Events(vec![notice.to_owned(), said])
    });
    let gateway = Gateway::start();
    gateway.done(&["register", "events", "--endpoint", &server.url]);

    let said =
        gateway.call_named("/mcp", "tools/call", Some("events__odd"), r#""name":"events__odd""#);

    assert!(said.text().contains(RESULT.trim_end_matches('}')), "{}", said.text());
}

#[test]
fn a_slow_call_ends_with_its_servers_own_patience() {
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        match asked["method"].as_str() {
            Some("tools/call") => Act::Hang,
            _ => Act::Json(crate::support::answer(
                &asked,
                &crate::support::modern_result(&asked, TOOL, RESULT),
            )),
        }
    });
    let gateway = Gateway::start();
    let form = format!(r#"{{"name":"slow","url":"{}","timeout_seconds":1}}"#, server.url);
    assert_eq!(gateway.ask("POST", "/gateway/servers?wait=true", Some(&form)).status, 201);

    let said = gateway.call_named("/mcp", "tools/call", Some("slow__odd"), r#""name":"slow__odd""#);

    assert_eq!(said.json()["error"]["data"]["code"], "TIMEOUT", "{}", said.text());
}

#[test]
fn one_call_leaves_one_line() {
    let server = FakeServer::modern(TOOL, RESULT);
    let mut gateway = Gateway::start();
    gateway.done(&["register", "fake", "--endpoint", &server.url]);

    let request_id = ("X-Request-Id", "line-1");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"fake__odd","_meta":{}}}}}"#,
        gateway_meta()
    );
    let headers = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "fake__odd"),
        request_id,
    ];
    let said = gateway.ask_with("POST", "/mcp", &headers, Some(&body));
    gateway.signal("-TERM");
    gateway.wait();

    assert_eq!(said.headers["x-request-id"], "line-1");
    let log = gateway.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("line-1")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).expect("JSON");
    assert_eq!(line["server"], "fake");
    assert_eq!(line["item"], "odd");
    assert_eq!(line["outcome"], "ok");
    assert_eq!(line["client"], "test");
}

/// A tool that wants an argument repeated in a header.
const REPEATING: &str = r#"{"name":"odd","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}"#;

/// Calls the tool with an argument and with headers of the client's.
fn call_repeating(gateway: &Gateway, headers: &[(&str, &str)]) -> Answer {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"fake__odd","arguments":{{"region":"Hello"}},"_meta":{}}}}}"#,
        gateway_meta()
    );
    let mut all = vec![
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "fake__odd"),
    ];
    all.extend_from_slice(headers);
    gateway.ask_with("POST", "/mcp", &all, Some(&body))
}

#[test]
fn arguments_must_be_repeated_in_headers_where_their_tool_wants_it() {
    let server = FakeServer::modern(REPEATING, RESULT);
    let gateway = Gateway::start();
    gateway.done(&["register", "fake", "--endpoint", &server.url]);
    let refused: [&[(&str, &str)]; 4] = [
        &[],
        &[("Mcp-Param-Region", "other")],
        &[("Mcp-Param-Region", "=?base64?SGVsbG8?=")],
        &[("Mcp-Param-Region", "Hello"), ("Mcp-Param-Region", "Hello")],
    ];

    for headers in refused {
        let said = call_repeating(&gateway, headers);
        assert_eq!(
            (said.status, &said.json()["error"]["code"]),
            (400, &(-32020).into()),
            "{headers:?}"
        );
    }
    assert_eq!(server.asked("tools/call").len(), 0);
    let coded = ("mcp-param-region", "=?base64?SGVsbG8=?=");
    assert_eq!(call_repeating(&gateway, &[coded, ("Mcp-Param-Other", "x")]).status, 200);
    let head = server.asked("tools/call").pop().expect("one call").head.to_lowercase();
    assert!(head.contains("mcp-param-region: hello\r\n"), "{head}");
    assert!(head.contains("mcp-param-other: x\r\n"), "{head}");
}

#[test]
fn what_a_server_says_of_capabilities_and_headers_is_told_to_whom_it_concerns() {
    let refusing = |code: i64| {
        FakeServer::play(move |seen| {
            let asked = seen.json();
            if asked["method"] != "tools/call" {
                let result = crate::support::modern_result(&asked, TOOL, RESULT);
                return Act::Json(crate::support::answer(&asked, &result));
            }
            let error = format!(
                r#"{{"code":{code},"message":"no","data":{{"requiredCapabilities":{{"sampling":{{}}}}}}}}"#
            );
            let id = &asked["id"];
            Act::Status(400, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
        })
    };
    for (code, status, told, told_before) in [
        (-32021, 400, -32021, -32602),
        (-32020, 200, -32000, -32000),
        (-32022, 200, -32000, -32000),
    ] {
        let server = refusing(code);
        let gateway = Gateway::start();
        gateway.done(&["register", "fake", "--endpoint", &server.url, "--prefix", "never"]);

        let modern = gateway.call_named("/mcp", "tools/call", Some("odd"), r#""name":"odd""#);
        let legacy = legacy_session(&gateway, "/mcp").call("tools/call", r#"{"name":"odd"}"#);

        let code = |said: &Answer| said.json()["error"]["code"].clone();
        assert_eq!((modern.status, code(&modern)), (status, told.into()), "{}", modern.text());
        assert_eq!((legacy.status, code(&legacy)), (200, told_before.into()), "{}", legacy.text());
    }
}
