//! What servers behind the gateway are shown of it, and what they never see.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::support::{
    Act, FakeServer, Gateway, answer, echo, eventually, find, is_done, modern_result,
};

const TOOL: &str = r#"{"name":"echo","inputSchema":{"type":"object"}}"#;
const RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;

/// A server that lets in whoever shows this header, and nobody else.
fn guarded(header: &'static str) -> FakeServer {
    FakeServer::play(move |seen| {
        if !has_line(&seen.head, header) {
            return Act::Status(401, String::new());
        }
        let asked = seen.json();
        Act::Json(answer(&asked, &modern_result(&asked, TOOL, RESULT)))
    })
}

fn has_line(head: &str, line: &str) -> bool {
    head.lines().any(|said| said.eq_ignore_ascii_case(line))
}

fn register(gateway: &Gateway, server: &FakeServer, auth: &Value) -> Value {
    let form = json!({"name": "wiki", "url": server.url, "auth": auth});
    let said = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(said.status, 201, "{}", said.text());
    said.json()["data"].clone()
}

#[test]
fn a_server_is_shown_what_its_definition_says_and_nobody_sees_it() {
    for (line, auth) in [
        ("X-Key: canary-7f", json!({"type": "header", "name": "X-Key", "value": "canary-7f"})),
        ("Authorization: Bearer canary-7f", json!({"type": "bearer", "token": "canary-7f"})),
        (
            "Authorization: Basic dTpjYW5hcnktN2Y=",
            json!({"type": "basic", "username": "u", "password": "canary-7f"}),
        ),
    ] {
        let (mut gateway, server) = (Gateway::start(), guarded(line));

        let made = register(&gateway, &server, &auth);

        assert_eq!((&made["tools"], &made["auth"]["type"]), (&json!(1), &auth["type"]), "{made}");
        assert_eq!(made["auth"]["secret"], "set");
        assert!(is_done(&echo(&gateway)), "{}", echo(&gateway).text());
        let mut told = made.to_string();
        for path in ["/gateway/servers", "/gateway/servers/wiki", "/api/admin/status"] {
            told.push_str(gateway.ask("GET", path, None).text());
        }
        told.push_str(&gateway.done(&["list", "-o", "json"]));
        told.push_str(&gateway.log());
        assert!(!told.contains("canary-7f") && !told.contains("dTpjYW5hcnktN2Y="), "{told}");
        gateway.signal("-TERM");
        gateway.wait();
        assert!(!is_in_folder(&gateway.data(), b"canary-7f"), "the secret lies in a file");
    }
}

fn is_in_folder(folder: &str, text: &[u8]) -> bool {
    fs::read_dir(folder).expect("a folder").flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return is_in_folder(path.to_str().expect("text"), text);
        }
        find(&fs::read(&path).unwrap_or_default(), text).is_some()
    })
}

#[test]
fn nothing_of_a_clients_credential_reaches_a_server() {
    let gateway = Gateway::start();
    let server = guarded("Authorization: Bearer ours");
    register(&gateway, &server, &json!({"type": "bearer", "token": "ours"}));
    let headers = [
        ("X-API-Key", &*gateway.key),
        ("Cookie", "session=canary-cookie"),
        ("Proxy-Authorization", "Bearer canary-proxy"),
        ("X-Forwarded-For", "203.0.113.77"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "wiki__echo"),
    ];
    let meta = crate::support::gateway_meta();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"wiki__echo","arguments":{{}},"_meta":{meta}}}}}"#
    );

    assert!(is_done(&echo(&gateway)));
    // Only one credential may be brought.
    let both = gateway.ask_with("POST", "/mcp", &headers, Some(&body));
    let alone = gateway.ask_with("POST", "/mcp", &headers[1..], Some(&body));

    assert!(both.status >= 400 || is_done(&both), "{}", both.text());
    assert!(is_done(&alone), "{}", alone.text());
    assert!(server.asked("tools/call").len() >= 2);
    let secrets = [&*gateway.key, "canary-cookie", "canary-proxy", "203.0.113.77"];
    for seen in server.seen() {
        for secret in secrets {
            let all = [&*seen.head, &*seen.body].concat();
            assert!(!all.contains(secret), "{secret} reached the server: {all}");
        }
    }
}

#[test]
fn a_new_secret_is_shown_from_the_next_call_on() {
    let (gateway, server) = (Gateway::start(), guarded("Authorization: Bearer new"));
    let made = register(&gateway, &server, &json!({"type": "bearer", "token": "old"}));
    assert!(made["last_error"].as_str().is_some_and(|said| said.contains("401")), "{made}");
    let before = server.seen().len();

    let body = r#"{"type":"bearer","token":"new"}"#;
    let changed = gateway.ask("PUT", "/gateway/servers/wiki/auth", Some(body));

    assert_eq!(changed.status, 200, "{}", changed.text());
    eventually("the tool is listed", || is_done(&echo(&gateway)).then_some(()));
    let after = server.seen().split_off(before);
    // A look that began before the change may end after it: it asks in both revisions, and then by
    // the older transport.
    let old = after.iter().filter(|seen| seen.head.contains("Bearer old")).count();
    assert!(old <= 3, "{old} requests showed the old token");
    assert!(server.asked("tools/call").iter().all(|seen| seen.head.contains("Bearer new")));
}

#[test]
fn what_cannot_be_shown_is_refused_with_the_reason() {
    let (gateway, server) = (Gateway::start(), guarded("X: y"));
    register(&gateway, &server, &json!({"type": "none"}));
    let program = r#"{"name":"prog","command":"cat"}"#;
    assert_eq!(gateway.ask("POST", "/gateway/servers", Some(program)).status, 201);

    for (path, body, said) in [
        ("prog/auth", r#"{"type":"bearer","token":"canary"}"#, "belongs to a url"),
        ("prog/tls", r#"{"ca":"canary"}"#, "belongs to a url"),
        ("wiki/tls", r#"{"ca":"canary"}"#, "https or wss"),
        ("wiki/auth", r#"{"type":"basic","username":"a:b","password":"canary"}"#, "colon"),
        ("wiki/auth", r#"{"type":"header","name":"Host","value":"canary"}"#, "not a header"),
        ("wiki/auth", r#"{"type":"bearer","token":"canary","more":1}"#, "unknown field"),
    ] {
        let refused = gateway.ask("PUT", &format!("/gateway/servers/{path}"), Some(body));
        assert_eq!(refused.status, 422, "{path} {body}: {}", refused.text());
        assert!(refused.text().contains(said), "{path} {body}: {}", refused.text());
        assert!(!refused.text().contains("canary"), "{}", refused.text());
    }
    let built_in =
        gateway.ask("PUT", "/gateway/servers/tollhouse/auth", Some(r#"{"type":"none"}"#));
    assert_eq!(built_in.status, 409);
    assert_eq!(
        gateway.ask("GET", "/gateway/servers/wiki", None).json()["data"]["auth"]["type"],
        "none"
    );
}

#[test]
fn another_tenant_can_change_nothing_of_it() {
    let (gateway, server) = (Gateway::start(), guarded("Authorization: Bearer ours"));
    register(&gateway, &server, &json!({"type": "bearer", "token": "ours"}));
    let stranger = gateway.make_tenant(&json!({"slug": "other"}));

    for member in ["auth", "tls"] {
        let body = if member == "auth" { r#"{"type":"none"}"# } else { "{}" };
        let ask = |name: &str| {
            let path = format!("/gateway/servers/{name}/{member}");
            gateway.ask_as(Some(&stranger), "PUT", &path, Some(body)).status
        };
        assert_eq!((ask("wiki"), ask("nobody")), (404, 404));
    }
    assert!(is_done(&echo(&gateway)));
}

#[test]
fn the_command_line_takes_secrets_from_where_nobody_reads_them() {
    let (gateway, server) = (Gateway::start(), guarded("Authorization: Basic bWU6aHVudGVyMg=="));
    let words = ["register", "wiki", "--endpoint", &*server.url, "--no-wait"];
    gateway.done(&words);

    let refused = gateway.cli(&["server", "auth", "wiki", "--auth", "basic", "--auth-user", "me"]);
    let changed = gateway.piped(
        &["server", "auth", "wiki", "--auth", "basic", "--auth-user", "me", "--auth-secret-stdin"],
        "hunter2\n",
    );

    assert_eq!(refused.status.code(), Some(2));
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    eventually("the tool is listed", || is_done(&echo(&gateway)).then_some(()));
}

/// Certificates of an authority of their own: `ca`, `server` for 127.0.0.1, and `client`.
struct Papers(tempfile::TempDir);

impl Papers {
    fn make() -> Self {
        let papers = Self(tempfile::tempdir().expect("a temporary folder"));
        papers.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "9",
            "-subj",
            "/CN=ca",
        ]);
        for name in ["server", "client"] {
            let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
            let (pem, subject) = (format!("{name}.pem"), format!("/CN={name}"));
            papers.openssl(&[
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                &key,
                "-out",
                &request,
                "-subj",
                &subject,
            ]);
            fs::write(papers.path("ext"), "subjectAltName=IP:127.0.0.1").expect("writable");
            papers.openssl(&[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-out",
                &pem,
                "-days",
                "9",
                "-extfile",
                "ext",
            ]);
        }
        papers
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    fn openssl(&self, words: &[&str]) {
        let mut command = std::process::Command::new("openssl");
        command.args(words).current_dir(self.0.path()).stderr(Stdio::null());
        assert!(command.status().expect("openssl runs").success(), "{words:?}");
    }
}

#[test]
fn a_server_behind_mutual_tls_is_shown_the_certificate_and_must_be_vouched_for() {
    let papers = Papers::make();
    let (gateway, server) = (Gateway::start(), FakeServer::modern(TOOL, RESULT));
    let behind = server.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    let front = crate::support::MutualTls::before(&behind, &papers.0);
    let form = json!({"name": "wiki", "url": format!("https://{}/mcp", front.address)});
    let plain = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string())).json();
    assert!(plain["data"]["last_error"].is_string(), "{plain}");
    let tools = |tls: &Value| {
        let path = "/gateway/servers/wiki/tls";
        let said = gateway.ask("PUT", path, Some(&tls.to_string()));
        assert_eq!(said.status, 200, "{}", said.text());
        said.json()["data"]["tls"].clone()
    };

    let alone = tools(&json!({"ca": papers.text("ca.pem")}));
    assert_eq!(alone, json!({"certificate": null, "authorities": 1}));
    assert!(!is_done(&echo(&gateway)));
    assert_eq!(server.seen().len(), 0, "nobody came in without a certificate");
    let both = json!({"ca": papers.text("ca.pem"), "certificate": papers.text("client.pem"),
        "key": papers.text("client.key")});
    assert_eq!(tools(&both)["certificate"]["subject"], "CN=client");
    eventually("the tool is listed", || is_done(&echo(&gateway)).then_some(()));

    let shown = gateway.ask("GET", "/gateway/servers/wiki", None);
    assert!(!shown.text().contains("PRIVATE KEY"), "{}", shown.text());
    let wrong = json!({"certificate": papers.text("client.pem"), "key": papers.text("server.key")});
    let refused = gateway.ask("PUT", "/gateway/servers/wiki/tls", Some(&wrong.to_string()));
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("key does not belong"), "{}", refused.text());
    assert!(is_done(&echo(&gateway)), "what was refused changed nothing");
}
