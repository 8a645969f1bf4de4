//! Servers out of files, and into one: nothing is lost on the way but secrets, which are named.

use std::fs;

use serde_json::{Value, json};

use crate::support::{FakeServer, Gateway};

const TOOL: &str = r#"{"name":"odd","inputSchema":{"type":"object"}}"#;
const DONE: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;

fn import(gateway: &Gateway, text: &str, variables: &Value, is_dry_run: bool) -> Vec<Value> {
    let form = json!({"text": text, "variables": variables, "dry_run": is_dry_run});
    let said = gateway.ask("POST", "/gateway/registry/import", Some(&form.to_string()));
    assert_eq!(said.status, 200, "{}", said.text());
    said.json()["data"].as_array().expect("a list").clone()
}

fn outcomes(told: &[Value]) -> Vec<(&str, &str)> {
    told.iter()
        .map(|it| (it["name"].as_str().unwrap_or(""), it["outcome"].as_str().unwrap_or("")))
        .collect()
}

fn exported(gateway: &Gateway) -> Value {
    let mut written: Value = serde_json::from_str(&gateway.done(&["export"])).expect("JSON");
    assert_eq!(written["metadata"]["version"], "1.0");
    written.as_object_mut().expect("an object").remove("metadata");
    written
}

#[test]
fn what_is_exported_and_imported_is_the_same() {
    let (server, other) = (FakeServer::modern(TOOL, DONE), FakeServer::modern(TOOL, DONE));
    let one = Gateway::start();
    let form = json!({
        "name": "wiki",
        "description": "What is known",
        "namespace": "research",
        "prefix": "conflict",
        "timeout_seconds": 7,
        "max_in_flight": 9,
        "cache": {"resources_seconds": 60, "scope": "public"},
        "on_change": "review",
        "balance": {"strategy": "weighted", "prefer": ["region=eu", "cost"], "stdio_fallback": true},
        "instances": [
            {"url": server.url, "headers": {"X-Key": "canary-1"}, "weight": 3, "metadata": {"region": "eu"}},
            {"url": other.url, "headers": {"X-Key": "canary-2"}, "state": "maintenance", "transport": "streamable_http",
             "auth": {"type": "bearer", "token": "canary-3"}},
            {"command": ["/bin/cat", "-u", "a b"], "env": {"TOKEN": "canary-4"}, "cwd": "/tmp"},
        ],
    });
    let said = one.ask("POST", "/gateway/servers", Some(&form.to_string()));
    assert_eq!(said.status, 201, "{}", said.text());
    let written = exported(&one);
    assert!(!written.to_string().contains("canary"), "{written}");

    let two = Gateway::start();
    let told = import(&two, &written.to_string(), &json!({}), false);
    assert_eq!(outcomes(&told), [("wiki", "needs")]);
    assert_eq!(
        told[0]["needs"],
        json!(["WIKI_2_TOKEN", "WIKI_2_X_KEY", "WIKI_3_TOKEN", "WIKI_X_KEY"])
    );
    let known = json!({
        "WIKI_X_KEY": "canary-1", "WIKI_2_X_KEY": "canary-2",
        "WIKI_2_TOKEN": "canary-3", "WIKI_3_TOKEN": "canary-4",
    });
    let ready = import(&two, &written.to_string(), &known, true);
    assert_eq!(outcomes(&ready), [("wiki", "ready")]);
    assert_eq!(exported(&two), json!({"templates": {}}), "nothing is done yet");
    let told = import(&two, &written.to_string(), &known, false);
    assert_eq!(outcomes(&told), [("wiki", "registered")], "{told:?}");
    assert_eq!(exported(&two), written);
    let again = import(&two, &written.to_string(), &known, false);
    assert_eq!(outcomes(&again), [("wiki", "there")]);

    two.call_named("/mcp", "tools/call", Some("odd"), r#""name":"odd","arguments":{}"#);
    let calls = server.asked("tools/call");
    assert_eq!(
        calls.last().map(|call| call.header("x-key").to_owned()).as_deref(),
        Some("canary-1")
    );
}

#[test]
fn files_of_clients_are_read_by_the_command_line() {
    let gateway = Gateway::start_with(&[], "");
    let server = FakeServer::modern(TOOL, DONE);
    let file = format!("{}/mcp.json", gateway.data());
    let text = format!(
        r#"{{ // What the editor uses
            "servers": {{
                "My Wiki": {{"type": "http", "url": "{}", "headers": {{"X-Key": "${{HOME}}"}}}},
                "gone": {{"command": "x", "disabled": true}},
                "shy": {{"command": "x", "env": {{"A": "${{PATH}}"}}}},
            }},
        }}"#,
        server.url
    );
    fs::write(&file, text).expect("written");

    let said = gateway.cli(&["import", &file, "--env", "HOME", "--env", "OTHER=x"]);

    let told = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(1), "{told}");
    let line = |name: &str| {
        told.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    };
    assert!(line("my-wiki").contains("registered"), "{told}");
    assert!(line("gone").contains("left out"), "{told}");
    assert!(line("shy").contains("PATH"), "{told}");
    let shown = gateway.ask("GET", "/gateway/servers/my-wiki", None).json();
    assert_eq!(shown["data"]["url"], server.url);

    let out = format!("{}/registry.json", gateway.data());
    gateway.done(&["export", &out]);
    let written: Value =
        serde_json::from_str(&fs::read_to_string(&out).expect("written")).expect("JSON");
    assert_eq!(
        written["templates"]["my-wiki"]["instances"][0]["headers"]["X-Key"],
        "${MY_WIKI_X_KEY}"
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let gateway = Gateway::start();
    for (text, why) in
        [("}{", "neither JSON nor YAML nor TOML"), (r#"{"a":1}"#, "names no servers")]
    {
        let form = json!({ "text": text }).to_string();
        let said = gateway.ask("POST", "/gateway/registry/import", Some(&form));
        assert_eq!(said.status, 422, "{}", said.text());
        assert!(said.text().contains(why), "{}", said.text());
    }
    let told = import(&gateway, r#"{"mcpServers":{"a":{"url":"ftp://x/"}}}"#, &json!({}), true);
    assert_eq!(outcomes(&told), [("a", "refused")]);
    assert!(told[0]["reason"].as_str().expect("text").contains("ftp"), "{told:?}");
}
