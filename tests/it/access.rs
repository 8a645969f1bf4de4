//! Who is let in.

use crate::support::{Gateway, request};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;

fn status(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut all = vec![("Content-Type", "application/json")];
    all.extend_from_slice(headers);
    let verb = if path.starts_with("/mcp") { "POST" } else { "GET" };
    let body = (verb == "POST").then_some(PING);
    gateway.send(&request(verb, path, &gateway.address, &all, body)).status
}

#[test]
fn a_key_opens_and_anything_else_does_not() {
    let gateway = Gateway::start();
    let bearer = format!("Bearer {}", gateway.key);
    let wrong = format!("Bearer {}x", gateway.key);

    for path in ["/mcp", "/gateway/servers", "/metrics", "/api/admin/status", "/auth/api-keys"] {
        assert!(
            [200, 201].contains(&status(&gateway, path, &[("Authorization", &bearer)])),
            "{path}"
        );
        assert_eq!(status(&gateway, path, &[("X-API-Key", &gateway.key)]), 200, "{path}");
        assert_eq!(status(&gateway, path, &[]), 401, "{path}");
        assert_eq!(status(&gateway, path, &[("Authorization", &wrong)]), 401, "{path}");
        assert_eq!(status(&gateway, path, &[("Authorization", "Basic YWRtaW46YWRtaW4=")]), 401);
        let query = format!("{path}?api_key={}", gateway.key);
        assert!([401, 404].contains(&status(&gateway, &query, &[])), "{path}");
    }
    for path in ["/health", "/ready", "/gateway/health"] {
        assert_eq!(status(&gateway, path, &[]), 200, "{path}");
    }
}

#[test]
fn a_revoked_key_opens_nothing_from_then_on() {
    let gateway = Gateway::start();
    let made = gateway.done(&["key", "create", "laptop", "-o", "json"]);
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));
    assert_eq!(status(&gateway, "/mcp", &[("Authorization", &bearer)]), 200);

    gateway.done(&["key", "revoke", made["id"].as_str().expect("an id")]);

    assert_eq!(status(&gateway, "/mcp", &[("Authorization", &bearer)]), 401);
    assert!(!gateway.done(&["key", "list", "-o", "json"]).contains("\"key\""));
}

#[test]
fn a_user_uses_tools_and_manages_nothing() {
    let gateway = Gateway::start();
    let made = gateway.done(&["key", "create", "u", "--role", "user", "-o", "json"]);
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));

    assert_eq!(status(&gateway, "/mcp", &[("Authorization", &bearer)]), 200);
    assert_eq!(status(&gateway, "/gateway/servers", &[("Authorization", &bearer)]), 200);
    for path in ["/auth/api-keys", "/metrics"] {
        assert_eq!(status(&gateway, path, &[("Authorization", &bearer)]), 403, "{path}");
    }
    gateway.done(&["register", "x", "--", "cat", "--token=canary-4711"]);
    for path in ["/gateway/servers", "/gateway/servers/x", "/servers", "/api/admin/status"] {
        let head = [("Authorization", &*bearer)];
        let said = gateway.send(&request("GET", path, &gateway.address, &head, None));
        assert!(said.text().contains("stdio") && !said.text().contains("canary"), "{path}");
        assert!(!said.text().contains(&gateway.data()), "{path}");
        assert!(gateway.ask("GET", path, None).text().contains("canary"), "{path}");
    }
}

#[test]
fn an_open_gateway_lends_its_tools_and_keeps_its_house() {
    let gateway = Gateway::start_with(&[("GATEWAY_AUTH_ENABLED", "false")], "");

    assert_eq!(status(&gateway, "/mcp", &[]), 200);
    assert_eq!(status(&gateway, "/auth/api-keys", &[]), 403);
    assert_eq!(status(&gateway, "/mcp", &[("Authorization", "Bearer thk_nonsense")]), 401);
}

#[test]
fn a_house_is_claimed_once() {
    let gateway = Gateway::start();
    let claim = r#"{"username":"second","password":"another battery staple horse"}"#;

    let over_http = gateway.ask("POST", "/api/admin/setup", Some(claim));
    let by_cli = gateway.cli(&["setup", "--username", "x", "--password-stdin"]);

    assert_eq!(over_http.status, 403, "{}", over_http.text());
    assert!(!by_cli.status.success());
}

#[test]
fn secrets_lie_sealed_and_are_shown_once() {
    let mut gateway = Gateway::start();
    gateway.done(&["register", "x", "--env", "TOKEN=canary-4711", "--", "cat"]);
    let shown = gateway.done(&["list", "-o", "json"]);
    gateway.signal("-TERM");
    gateway.wait();

    let store = std::fs::read(format!("{}/state.redb", gateway.data())).expect("a store");
    let holds = |text: &str| store.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(!holds("canary-4711") && !holds(&gateway.key) && !shown.contains("canary-4711"));
    assert!(!gateway.log().contains("canary-4711") && !gateway.log().contains(&gateway.key));
}
