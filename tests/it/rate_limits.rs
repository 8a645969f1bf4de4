//! Rate limits from outside: how many calls pass, and what is told to those that do not.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Answer, FakeServer, Gateway, eventually};

const TOOLS: &str = r#"{"name":"look","inputSchema":{"type":"object"}},{"name":"act","inputSchema":{"type":"object"}}"#;
const DONE: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
const LIMITS: &str = "/api/admin/rate-limits";

struct House {
    gateway: Gateway,
    server: FakeServer,
}

/// A gateway with the server `wiki`, which has the tools `look` and `act`.
fn house(config: &str) -> House {
    let gateway = Gateway::start_with(&[], config);
    let server = FakeServer::modern(TOOLS, DONE);
    let form = json!({"name": "wiki", "url": server.url}).to_string();
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form));
    assert_eq!(made.json()["data"]["tools"], 2, "{}", made.text());
    House { gateway, server }
}

impl House {
    fn limit(&self, limit: &Value) -> Value {
        let made = self.gateway.ask("POST", LIMITS, Some(&limit.to_string()));
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["data"].clone()
    }

    fn key(&self, name: &str) -> String {
        self.gateway.make_key("", &json!({"name": name, "role": "user"})).1
    }

    fn call(&self, key: &str, tool: &str) -> Answer {
        rpc(&self.gateway, key, "tools/call", &json!({"name": format!("wiki__{tool}")}))
    }

    /// How many of so many calls in a row pass.
    fn pass(&self, key: &str, tool: &str, count: usize) -> usize {
        (0..count).filter(|_| is_done(&self.call(key, tool))).count()
    }

    fn calls_of_server(&self) -> usize {
        self.server.seen().iter().filter(|seen| seen.json()["method"] == "tools/call").count()
    }
}

fn rpc(gateway: &Gateway, key: &str, method: &str, params: &Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    gateway.ask_as(Some(key), "POST", "/rpc", Some(&body.to_string()))
}

fn is_done(said: &Answer) -> bool {
    said.status == 200 && said.json()["result"]["content"][0]["text"] == "done"
}

#[test]
fn who_calls_too_often_is_told_when_to_come_back() {
    let house = house("");
    house.limit(&json!({"name": "per key", "scope": "api_key", "limit": 3, "window": "1h"}));
    let (ana, ben) = (house.key("ana"), house.key("ben"));

    let first = house.call(&ana, "look");
    let names = ["ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining"];
    let told = names.map(|name| first.headers[name].as_str());
    assert_eq!(told, ["\"per key\";q=3;w=3600", "3", "2"]);
    assert!(first.headers["ratelimit"].starts_with("\"per key\";r=2;t="));

    assert_eq!(house.pass(&ana, "look", 5), 2);
    let refused = house.call(&ana, "look");
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["data"]["code"]), (429, &json!("RATE_LIMIT_EXCEEDED")));
    let wait: u64 = refused.headers["retry-after"].parse().expect("seconds");
    assert!((1..=7_200).contains(&wait), "{wait}");
    assert_eq!(error["data"]["retry_after_seconds"], wait);
    assert_eq!(error["data"]["rate_limit"], "per key");
    let message = error["message"].as_str().expect("a message");
    let said = format!("the rate limit per key lets 3 calls pass in 3600 s; try again in {wait} s");
    assert_eq!(message, said);
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    assert_eq!(house.calls_of_server(), 3, "the server hears nothing of what is refused");

    // Each key by itself; what keeps a connection alive is free.
    assert_eq!(house.pass(&ben, "look", 1), 1);
    assert_eq!(rpc(&house.gateway, &ana, "ping", &json!({})).status, 200);
    assert_eq!(rpc(&house.gateway, &ana, "tools/list", &json!({})).status, 429);
}

#[test]
fn clients_of_every_kind_are_told() {
    let house = house("");
    house.limit(&json!({"name": "one", "scope": "tool", "limit": 1, "window": "1h"}));
    let key = house.key("ana");
    assert_eq!(house.pass(&key, "look", 1), 1);

    let gateway = house.gateway.with_key(&key);
    let modern =
        gateway.call_named("/mcp", "tools/call", Some("wiki__look"), r#""name":"wiki__look""#);
    let older = {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }});
        let accept = ("Accept", "application/json, text/event-stream");
        let hello = gateway.ask_with("POST", "/mcp", &[accept], Some(&hello.to_string()));
        let session = hello.headers["mcp-session-id"].clone();
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "wiki__look"}});
        let headers = [accept, ("Mcp-Session-Id", session.as_str())];
        gateway.ask_with("POST", "/mcp", &headers, Some(&call.to_string()))
    };
    for said in [modern, older] {
        assert_eq!(said.status, 429, "{}", said.text());
        assert_eq!(said.json()["error"]["data"]["code"], "RATE_LIMIT_EXCEEDED");
        assert!(said.headers.contains_key("retry-after"));
    }
    let path = "/servers/wiki/tools/look/call";
    let rest = gateway.ask_as(Some(&key), "POST", path, Some("{}"));
    if rest.status != 404 {
        assert_eq!(rest.status, 429, "{}", rest.text());
    }
    // Tools by themselves.
    assert_eq!(house.pass(&key, "act", 2), 1);
}

#[test]
fn of_two_hundred_at_once_as_many_pass_as_may() {
    let house = house("");
    for algorithm in ["sliding_window", "token_bucket", "fixed_window"] {
        let limit = house.limit(&json!({
            "name": algorithm, "scope": "global", "limit": 50, "window": "1d",
            "algorithm": algorithm, "match": {"method": "tools/call"},
        }));
        let before = house.calls_of_server();
        let passed = AtomicUsize::new(0);
        let key = house.key(algorithm);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| passed.fetch_add(house.pass(&key, "look", 10), Ordering::SeqCst));
            }
        });
        assert_eq!(passed.into_inner(), 50, "{algorithm}");
        assert_eq!(house.calls_of_server() - before, 50, "{algorithm}");
        let path = format!("{LIMITS}/{}", limit["id"].as_str().expect("an id"));
        assert_eq!(house.gateway.ask("DELETE", &path, None).status, 200);
        assert_eq!(house.pass(&key, "look", 1), 1, "what is gone limits nothing");
    }
}

#[test]
fn all_limits_hold_and_changes_hold_at_once() {
    let house = house(concat!(
        "traffic: { limits: { rules: [",
        "{ name: everybody, limit: 6, window: 1h, match: { method: tools/call } }",
        "] } }\n",
    ));
    let made = house.limit(&json!({
        "name": "user", "type": "user", "requests_per_minute": 100, "requests_per_hour": 100,
        "match": {"tool": "wiki__a*"},
    }));
    assert_eq!((&made["scope"], &made["requests_per_hour"]), (&json!("user"), &json!(100)));
    let key = house.key("ana");
    let change = |limit: &str| {
        let path = format!("{LIMITS}/user");
        let said = house.gateway.ask("PATCH", &path, Some(limit));
        assert_eq!(said.status, 200, "{}", said.text());
    };
    change(r#"{"requests_per_hour": 1}"#);
    assert_eq!(house.pass(&key, "act", 3), 1);
    change(r#"{"requests_per_hour": 3}"#);
    assert_eq!(house.pass(&key, "act", 4), 2, "what was counted before counts");
    change(r#"{"is_active": false}"#);
    assert_eq!(house.pass(&key, "act", 4), 3, "the file's limit holds, without what was refused");

    let of_file = format!("{LIMITS}/file:everybody");
    assert_eq!(house.gateway.ask("GET", &of_file, None).json()["data"]["origin"], "file");
    assert_eq!(house.gateway.ask("DELETE", &of_file, None).status, 409);
    for (form, status) in [
        (json!({"name": "user", "limit": 1}), 409),
        (json!({"name": "everybody", "limit": 1}), 409),
        (json!({"name": "x", "limit": 1, "scope": "moon"}), 422),
        (json!({"name": "x"}), 422),
    ] {
        let said = house.gateway.ask("POST", LIMITS, Some(&form.to_string()));
        assert_eq!(said.status, status, "{form}: {}", said.text());
    }
}

#[test]
fn wrong_limits_in_the_settings_are_told_with_their_place() {
    let config = "traffic: { limits: { rules: [ { name: a, limit: 1, scope: moon } ] } }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tollhouse.yaml");
    std::fs::write(&file, config).expect("writable");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tollhouse"))
        .args(["config", "check", "--config"])
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("traffic.limits.rules"), "{said}");
    assert!(said.contains("/0/scope: \"moon\" is none of"), "{said}");
}

#[test]
fn a_restart_is_no_reset() {
    let mut house = house("");
    house.limit(&json!({"name": "d", "scope": "user", "limit": 4, "window": "1d"}));
    let key = house.key("ana");
    assert_eq!(house.pass(&key, "look", 3), 3);

    house.gateway.signal("-TERM");
    house.gateway.wait();
    house.gateway.run(&[]);

    assert_eq!(house.pass(&key, "look", 3), 1);
}

#[test]
fn whoever_claims_another_address_is_counted_by_their_own() {
    for (config, passed) in [("", 1), ("edge: { trusted_proxies: [127.0.0.1] }\n", 2)] {
        let config = config.replace("127.0.0.1]", "127.0.0.1/32]");
        let house = house(&config);
        house.limit(&json!({"name": "ip", "scope": "ip", "limit": 1, "window": "1d"}));
        let key = house.key("ana");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "wiki__look"}});
        let gateway = house.gateway.with_key(&key);
        let call = |said: &str| {
            let headers = [("X-Forwarded-For", said)];
            is_done(&gateway.ask_with("POST", "/rpc", &headers, Some(&body.to_string())))
        };
        let said = ["192.0.2.1", "1.1.1.1, 192.0.2.1", "2.2.2.2, 192.0.2.1", "192.0.2.9"];
        assert_eq!(said.into_iter().filter(|said| call(said)).count(), passed, "{config}");
    }
}

#[test]
fn limits_of_others_are_nobodys_business() {
    let house = house("traffic: { limits: { rules: [{ name: all, limit: 1000, window: 1h }] } }\n");
    let acme = house.gateway.make_tenant(&json!({"slug": "acme"}));
    let form = json!({"name": "closed", "limit": 1, "window": "1d"}).to_string();
    let made = house.gateway.ask_as(Some(&acme), "POST", LIMITS, Some(&form));
    assert_eq!(made.status, 201, "{}", made.text());
    let key = house.key("ana");

    assert_eq!(house.pass(&key, "look", 3), 3);
    assert_eq!(house.gateway.ask("GET", LIMITS, None).json()["count"], 1);
    assert_eq!(house.gateway.ask("GET", &format!("{LIMITS}/closed"), None).status, 404);
    let list = |_| rpc(&house.gateway, &acme, "tools/list", &json!({})).status;
    assert_eq!([0, 1].map(list), [200, 429]);
    // What is counted of all is told to those who stand above all.
    let path = format!("{LIMITS}/usage?user=ana");
    let usage = |said: Answer| said.json()["data"][0].clone();
    let theirs = usage(house.gateway.ask_as(Some(&acme), "GET", &path, None));
    assert_eq!((&theirs["name"], &theirs["allowed"]), (&json!("all"), &Value::Null));
    assert_eq!(theirs["refused_lately"], json!([]));
    assert_eq!(theirs["standings"], json!([]));
    assert_eq!(usage(house.gateway.ask("GET", &path, None))["allowed"], 4);
    let gone = house.gateway.ask("DELETE", "/api/admin/organizations/acme", None);
    assert_eq!(gone.status, 200, "{}", gone.text());
    let again = house.gateway.make_tenant(&json!({"slug": "acme"}));
    assert_eq!(house.gateway.ask_as(Some(&again), "GET", LIMITS, None).json()["count"], 1);
}

#[test]
fn the_command_line_makes_shows_and_removes_them() {
    let house = house("");
    house.gateway.done(&[
        "limit",
        "add",
        "searches",
        "--per",
        "user+tool",
        "--limit",
        "2/1m",
        "--limit",
        "3/1h",
        "--match",
        "server=wiki",
    ]);
    let listed: Value =
        serde_json::from_str(&house.gateway.done(&["limit", "list", "-o", "json"])).expect("JSON");
    assert_eq!(listed[0]["scope"], "user+tool");
    assert_eq!(listed[0]["limits"][1]["window"], "1h");
    assert_eq!(listed[0]["match"], json!({"server": ["wiki"]}));
    let id = house.gateway.make_user("", "ana", "user");
    let key = house.gateway.make_key("", &json!({"name": "a", "role": "user", "owner": "ana"})).1;
    assert_eq!(house.pass(&key, "look", 3), 2, "{id}");

    let usage = house.gateway.done(&["limit", "usage", "-o", "json", "--of", "tool=wiki__look"]);
    let usage: Value = serde_json::from_str(&usage).expect("JSON");
    assert_eq!((&usage[0]["allowed"], &usage[0]["refused"]), (&json!(2), &json!(1)));
    let refused = usage[0]["refused_lately"][0]["key"].as_str().expect("a key");
    assert!(refused.ends_with("|tool=wiki__look"), "{refused}");
    let user = refused.strip_prefix("user=").and_then(|rest| rest.split('|').next());
    let of = format!("user={}", user.expect("a user"));
    let words = ["limit", "usage", "--of", "tool=wiki__look", "--of", &of];
    eventually("how she stands", || {
        house.gateway.done(&words).contains("1 of 3 in 3600 s").then_some(())
    });

    house.gateway.done(&["limit", "update", "searches", "--off"]);
    assert_eq!(house.pass(&key, "look", 3), 3);
    house.gateway.done(&["limit", "remove", "searches"]);
    assert_eq!(house.gateway.done(&["limit", "list", "-o", "name"]).trim(), "");
}

#[test]
fn policies_limit_the_calls_for_which_they_hold() {
    let house = house("");
    let policy = json!({
        "name": "slow writes", "type": "rate_limit",
        "conditions": {"tool.name": "act", "caller.role": "user"},
        "actions": {"effect": "rate_limit", "scope": "api_key", "limit": 2, "window": "1h"},
    });
    let made = house.gateway.ask("POST", "/policies", Some(&policy.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());
    let (ana, ben) = (house.key("ana"), house.key("ben"));

    assert_eq!(house.pass(&ana, "act", 4), 2);
    let refused = house.call(&ana, "act");
    assert_eq!(
        (refused.status, &refused.json()["error"]["data"]["rate_limit"]),
        (429, &json!("slow writes"))
    );
    assert_eq!(house.pass(&ana, "look", 4), 4, "it holds for one tool");
    assert_eq!(house.pass(&ben, "act", 1), 1, "each key by itself");
    let question = json!({"server": "wiki", "tool": "act", "caller": {"role": "user"}});
    let said = house.gateway.ask("POST", "/policies/test", Some(&question.to_string())).json();
    assert_eq!(said["data"]["policies"][0]["effect"], "rate_limit");
    assert_eq!(said["data"]["allowed"], true, "{said}");

    let path = format!("/policies/{}", made.json()["policy"]["id"].as_str().expect("an id"));
    let more =
        r#"{"actions": {"effect": "rate_limit", "scope": "api_key", "limit": 3, "window": "1h"}}"#;
    assert_eq!(house.gateway.ask("PUT", &path, Some(more)).status, 200);
    assert_eq!(house.pass(&ana, "act", 4), 1, "what was counted before counts");
    assert_eq!(house.gateway.ask("DELETE", &path, None).status, 200);
    assert_eq!(house.pass(&ana, "act", 4), 4);
}
