//! Tokens that the gateway gets for servers, and shows them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::support::{
    Act, Answer, FakeServer, Gateway, answer, echo, eventually, is_done, modern_result,
};

const TOOL: &str = r#"{"name":"echo","inputSchema":{"type":"object"}}"#;
const RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
/// `gate:s%C3%A9cret%20canary-7f`, as HTTP Basic.
const BASIC: &str = "Basic Z2F0ZTpzJUMzJUE5Y3JldCtjYW5hcnktN2Y=";

/// A server that is its own authorization server, and what it does at the moment.
#[derive(Default)]
struct Issuing {
    /// Tokens that were given.
    given: AtomicUsize,
    /// The number of the first token that is good.
    first_good: AtomicUsize,
    /// What the document about the server says in place of the truth.
    resource: Mutex<Option<String>>,
    /// What it answers where tokens are had, in place of a token.
    refusal: Mutex<Option<(u16, String)>>,
}

fn site(state: &Arc<Issuing>) -> FakeServer {
    let state = state.clone();
    FakeServer::play(move |seen| {
        let origin = seen.origin();
        let path = seen.head.split(' ').nth(1).expect("a path").to_owned();
        match &*path {
            "/.well-known/oauth-protected-resource/mcp" => {
                let said = state.resource.lock().expect("no panic").clone();
                let resource = said.unwrap_or_else(|| format!("{origin}/mcp"));
                let about = json!({"resource": resource, "authorization_servers": [origin],
                                   "scopes_supported": ["tools"]});
                Act::Json(about.to_string())
            }
            "/.well-known/oauth-authorization-server" => Act::Json(
                json!({"issuer": origin, "token_endpoint": format!("{origin}/token")}).to_string(),
            ),
            "/token" => {
                if let Some((status, body)) = state.refusal.lock().expect("no panic").clone() {
                    return Act::Status(status, body);
                }
                let number = state.given.fetch_add(1, Ordering::SeqCst);
                Act::Json(
                    json!({"access_token": format!("t{number}"), "token_type": "Bearer",
                           "expires_in": 3600})
                    .to_string(),
                )
            }
            "/mcp" if !seen.body.is_empty() => {
                let shown = seen.header("authorization");
                let number = shown.strip_prefix("Bearer t").and_then(|it| it.parse::<usize>().ok());
                if number.is_none_or(|it| it < state.first_good.load(Ordering::SeqCst)) {
                    return Act::Status(401, String::new());
                }
                let asked = seen.json();
                Act::Json(answer(&asked, &modern_result(&asked, TOOL, RESULT)))
            }
            _ => Act::Status(404, String::new()),
        }
    })
}

fn register(gateway: &Gateway, server: &FakeServer, more: &Value) -> Answer {
    let mut auth = json!({"type": "oauth2_client_credentials", "client_id": "gate",
                          "client_secret": "sécret canary-7f"});
    for (name, value) in more.as_object().expect("an object") {
        auth[name] = value.clone();
    }
    let form = json!({"name": "wiki", "url": server.url, "auth": auth});
    gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()))
}

#[test]
fn a_token_is_asked_for_in_the_gateways_own_name_and_shared_by_all_calls() {
    let state = Arc::new(Issuing::default());
    let (gateway, server) = (Gateway::start(), site(&state));

    let made = register(&gateway, &server, &json!({}));

    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["data"]["tools"], 1, "{}", made.text());
    for _ in 0..5 {
        assert!(is_done(&echo(&gateway)));
    }
    assert_eq!(state.given.load(Ordering::SeqCst), 1);
    let asked = server.seen().into_iter().find(|seen| seen.head.starts_with("POST /token "));
    let asked = asked.expect("a token was asked for");
    assert!(asked.head.contains(BASIC), "{}", asked.head);
    let resource: String = url::form_urlencoded::byte_serialize(server.url.as_bytes()).collect();
    let form = format!("grant_type=client_credentials&scope=tools&resource={resource}");
    assert_eq!(asked.body, form);
    let mut told = made.text().to_owned();
    told.push_str(gateway.ask("GET", "/gateway/servers/wiki", None).text());
    told.push_str(&gateway.log());
    assert!(!told.contains("canary-7f") && !told.contains("\"t0\""), "{told}");
}

#[test]
fn a_token_that_is_refused_is_replaced_within_the_call() {
    let state = Arc::new(Issuing::default());
    let (gateway, server) = (Gateway::start(), site(&state));
    register(&gateway, &server, &json!({}));
    assert!(is_done(&echo(&gateway)));

    state.first_good.store(1, Ordering::SeqCst);
    // A token that was given a moment ago is not replaced, or one would be asked for at every call.
    eventually("another token is asked for", || is_done(&echo(&gateway)).then_some(()));

    assert_eq!(state.given.load(Ordering::SeqCst), 2);
}

#[test]
fn where_there_is_no_token_it_is_said_why_and_nothing_of_it_leaks() {
    let state = Arc::new(Issuing::default());
    let (gateway, server) = (Gateway::start(), site(&state));
    let evil = r#"{"error":"invalid_client","error_description":"canary-description"}"#;
    *state.refusal.lock().expect("no panic") = Some((401, evil.to_owned()));

    let made = register(&gateway, &server, &json!({}));

    let said = made.json()["data"]["last_error"].to_string();
    assert!(said.contains("refuses: invalid_client"), "{said}");
    assert!(!made.text().contains("canary"), "{}", made.text());
    let changed = gateway.ask("PUT", "/gateway/servers/wiki/auth", Some(r#"{"type":"none"}"#));
    assert_eq!(changed.status, 200);
}

#[test]
fn a_server_that_says_it_is_another_gets_no_token() {
    let state = Arc::new(Issuing::default());
    let (gateway, server) = (Gateway::start(), site(&state));
    *state.resource.lock().expect("no panic") = Some("https://bank.example/mcp".to_owned());

    let made = register(&gateway, &server, &json!({}));

    let said = made.json()["data"]["last_error"].to_string();
    assert!(said.contains("says that it is another server"), "{said}");
    assert_eq!(state.given.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_no_client_is_refused_with_the_reason() {
    let state = Arc::new(Issuing::default());
    let (gateway, server) = (Gateway::start(), site(&state));

    for (more, said) in [
        (json!({"client_id": ""}), "client_id is empty"),
        (json!({"client_secret": ""}), "client_secret is empty"),
        (json!({"token_url": "ftp://a.test"}), "token_url is no URL"),
        (json!({"resource": "x"}), "resource is no URL"),
        (json!({"scopes": ["a b"]}), "without spaces"),
        (json!({"more": 1}), "unknown field"),
    ] {
        let refused = register(&gateway, &server, &more);
        assert_eq!(refused.status, 422, "{more}: {}", refused.text());
        assert!(refused.text().contains(said), "{}", refused.text());
        assert!(!refused.text().contains("canary"), "{}", refused.text());
    }
}
