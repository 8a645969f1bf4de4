use serde_json::json;

use super::*;

fn check(form: serde_json::Value) -> Result<Server, Error> {
    let form: Form = serde_json::from_value(form).expect("a form");
    form.check(OrganizationId::fixed(1), (Timestamp::from_ms(0), 10))
}

fn location(form: serde_json::Value) -> String {
    check(form).expect("a good form").instances[0].endpoint.location()
}

#[test]
fn understands_every_spelling_of_a_command() {
    for form in [
        json!({"name": "a", "command": "npx -y 'a b'"}),
        json!({"name": "a", "command": ["npx", "-y", "a b"]}),
        json!({"name": "a", "command": "npx", "args": ["-y", "a b"]}),
    ] {
        assert_eq!(location(form), "npx -y a b");
    }
    let url = json!({"name": "a", "endpoint": "http://127.0.0.1:3000/mcp"});
    assert_eq!(location(url), "http://127.0.0.1:3000/mcp");
}

#[test]
fn understands_every_spelling_of_a_transport() {
    for (form, transport) in [
        (json!({"url": "http://x/"}), "auto"),
        (json!({"url": "http://x/", "transport": "auto"}), "auto"),
        (json!({"url": "http://x/", "protocol": "https"}), "streamable_http"),
        (json!({"url": "http://x/", "transport": "streamable_http"}), "streamable_http"),
        (json!({"url": "http://x/", "protocol": "sse"}), "sse"),
        (json!({"url": "ws://x/"}), "websocket"),
        (json!({"url": "wss://x/", "transport": "websocket"}), "websocket"),
        (json!({"command": "x", "transport": "stdio"}), "stdio"),
    ] {
        let mut form = form;
        form["name"] = "a".into();
        let server = check(form.clone()).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(server.instances[0].endpoint.transport(), transport, "{form}");
    }
}

#[test]
fn names_what_is_wrong() {
    for (member, form) in [
        ("name", json!({"name": "A b", "url": "http://x/"})),
        ("url", json!({"name": "a"})),
        ("url", json!({"name": "a", "url": "http://x/", "command": "x"})),
        ("url", json!({"name": "a", "url": "ftp://x/"})),
        ("url", json!({"name": "a", "url": "http://x/", "args": ["x"]})),
        ("transport", json!({"name": "a", "url": "http://x/", "transport": "smoke"})),
        ("transport", json!({"name": "a", "url": "http://x/", "transport": "stdio"})),
        ("transport", json!({"name": "a", "url": "http://x/", "transport": "websocket"})),
        ("transport", json!({"name": "a", "url": "ws://x/", "transport": "sse"})),
        ("transport", json!({"name": "a", "command": "x", "transport": "sse"})),
        ("command", json!({"name": "a", "command": ""})),
        ("command", json!({"name": "a", "command": "a 'b"})),
        ("headers", json!({"name": "a", "url": "http://x/", "headers": {"Host": "y"}})),
        ("headers", json!({"name": "a", "url": "http://x/", "headers": {"X": "a\r\nb"}})),
        ("auth", json!({"name": "a", "command": "x", "auth": {"type": "bearer", "token": "t"}})),
        ("tls", json!({"name": "a", "command": "x", "tls": {"ca": "y"}})),
        ("env", json!({"name": "a", "command": "x", "env": {"LD_PRELOAD": "y"}})),
        ("timeout_seconds", json!({"name": "a", "url": "http://x/", "timeout_seconds": 0})),
    ] {
        let error = check(form.clone()).expect_err(&form.to_string()).to_string();
        assert!(error.starts_with(&format!("{member}:")), "{error}");
    }
    assert!(matches!(
        check(json!({"name": "tollhouse", "url": "http://x/"})),
        Err(Error::BuiltIn(_))
    ));
}
