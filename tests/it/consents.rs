//! Leave that people gave to clients: seen, taken back, and kept from everybody else.

use serde_json::json;

use crate::support::{
    Act, App, Browser, FakeServer, Gateway, PASSWORD, VERIFIER, access, answer, eventually, form,
    gateway_meta, modern_result, opens, refresh,
};

#[test]
fn what_people_gave_leave_for_is_theirs_to_see_and_to_end() {
    let gateway = Gateway::start();
    gateway.make_user("", "ana", "user");
    let outsider = gateway.make_tenant(&json!({"slug": "other"}));
    let app = App::register(&gateway, "App");
    let login = json!({"username": "ana", "password": PASSWORD}).to_string();
    let own = gateway.ask_as(None, "POST", "/auth/login", Some(&login)).json();
    let own = access(&own).to_owned();
    let tokens = app.tokens(&mut Browser::signed_in(&gateway, "ana"), &[("scope", "mcp:read")]);
    let list = |key: &str, path| gateway.ask_as(Some(key), "GET", path, None);
    let all = list(&own, "/auth/consents").json();
    assert_eq!((all["count"].as_u64(), &all["data"][0]["client_name"]), (Some(1), &json!("App")));
    let shown = &all["data"][0];
    assert_eq!(
        (&shown["scopes"], &shown["resource"]),
        (&json!(["mcp:read"]), &json!(app.resource))
    );
    let one = format!("/auth/consents/{}", shown["id"].as_str().expect("an id"));

    assert_eq!(list(&outsider, "/auth/consents?user=ana").status, 404);
    assert_eq!(list(&own, "/auth/consents?user=admin").status, 403);
    let missing = gateway.ask_as(Some(&outsider), "DELETE", "/auth/consents/x", None).status;
    let theirs = gateway.ask_as(Some(&outsider), "DELETE", &one, None).status;
    assert_eq!((missing, theirs), (404, 404));
    assert_eq!(opens(&gateway, access(&tokens)), 200);
    let named = gateway.done(&["consent", "list", "--user", "ana", "-o", "name"]);
    assert_eq!(format!("/auth/consents/{}", named.trim()), one);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true}},"_meta":{}}}}}"#,
        gateway_meta()
    );
    let bearer = format!("Bearer {}", access(&tokens));
    let headers = [
        ("Authorization", &*bearer),
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream, application/json"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "subscriptions/listen"),
    ];
    let mut stream = gateway.connect();
    let (at, body) = (&gateway.address, Some(&*body));
    stream.send(&crate::support::request("POST", "/mcp", at, &headers, body));
    stream.until("text/event-stream");

    assert_eq!(gateway.ask_as(Some(&own), "DELETE", &one, None).status, 200);

    stream.until("0\r\n\r\n");
    assert_eq!(opens(&gateway, access(&tokens)), 401);
    assert_eq!(app.refresh(refresh(&tokens)).status, 400);
    assert_eq!(list(&own, "/auth/consents").json()["count"], 0);
    let again = app.tokens(&mut Browser::signed_in(&gateway, "ana"), &[]);
    let id = gateway.done(&["consent", "list", "--user", "ana", "-o", "name"]);
    gateway.done(&["consent", "revoke", id.trim()]);
    assert_eq!(opens(&gateway, access(&again)), 401);
}

#[test]
fn a_client_hands_its_tokens_back() {
    let gateway = Gateway::start();
    let (app, other) = (App::register(&gateway, "App"), App::register(&gateway, "Other"));
    let mut browser = Browser::signed_in(&gateway, "admin");

    for kind in ["access_token", "refresh_token"] {
        let tokens = app.tokens(&mut browser, &[]);
        let token = tokens[kind].as_str().expect("a token");
        let by = |app: &App<'_>, token: &str| {
            app.send("/oauth/revoke", &form(&[("client_id", &*app.id), ("token", token)])).status
        };
        assert_eq!((by(&app, "nonsense"), by(&other, token)), (200, 200));
        assert_eq!(opens(&gateway, access(&tokens)), 200);

        assert_eq!(by(&app, token), 200);

        assert_eq!(opens(&gateway, access(&tokens)), 401, "{kind}");
    }
}

#[test]
fn a_clients_token_stays_here() {
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        let tool = r#"{"name":"now","inputSchema":{"type":"object"}}"#;
        let result = r#"{"resultType":"complete","content":[]}"#;
        Act::Json(answer(&asked, &modern_result(&asked, tool, result)))
    });
    let gateway = Gateway::start();
    gateway.done(&["register", "time", "--endpoint", &server.url]);
    let app = App::register(&gateway, "App");
    let tokens = app.tokens(&mut Browser::signed_in(&gateway, "admin"), &[]);
    let by = gateway.with_key(access(&tokens));
    let call = || {
        by.call_named(
            "/mcp",
            "tools/call",
            Some("time__now"),
            r#""name":"time__now","arguments":{}"#,
        )
    };
    eventually("the tool is there", || call().json()["result"].is_object().then_some(()));

    let seen = server.seen();

    assert!(!server.asked("tools/call").is_empty());
    let secrets = [access(&tokens), refresh(&tokens), &gateway.key, VERIFIER];
    for seen in seen {
        let whole = format!("{}{}", seen.head, seen.body);
        assert!(!whole.to_lowercase().contains("authorization:"), "{whole}");
        assert!(!secrets.iter().any(|secret| whole.contains(*secret)), "{whole}");
    }
}
