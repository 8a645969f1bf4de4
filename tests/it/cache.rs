//! What servers said is kept and said again, for as long as it holds, and to nobody else.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::support::{Act, FakeServer, Gateway, answer, eventually, gateway_meta, modern_result};

const TOOLS: &str = r#"{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},{"name":"act","inputSchema":{"type":"object"}}"#;

/// A server that numbers its answers, and says of its resources how long they hold.
struct Numbering {
    server: FakeServer,
    /// Held while answers are kept back.
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Numbering {
    fn new(freshness: &str) -> Self {
        let (count, freshness) = (AtomicUsize::new(0), freshness.to_owned());
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let waits = gate.clone();
        let server = FakeServer::play(move |seen| {
            if seen.body.is_empty() {
                return Act::Status(405, String::new());
            }
            let asked = seen.json();
            let text = || {
                let closed = waits.0.lock().expect("no panic");
                drop(waits.1.wait_while(closed, |is_closed| *is_closed).expect("no panic"));
                count.fetch_add(1, Ordering::SeqCst).to_string()
            };
            let result = match asked["method"].as_str() {
                Some("resources/list") => {
                    r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","resources":[{"uri":"memo://a","name":"a"},{"uri":"memo://b","name":"b"}]}"#.to_owned()
                }
                Some("resources/templates/list") => {
                    r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","resourceTemplates":[]}"#.to_owned()
                }
                Some("resources/read") => format!(
                    r#"{{"resultType":"complete"{freshness},"contents":[{{"uri":"memo://a","text":"{}"}}]}}"#,
                    text()
                ),
                Some("tools/call") => format!(
                    r#"{{"resultType":"complete","isError":{},"content":[{{"type":"text","text":"{}"}}]}}"#,
                    asked["params"]["arguments"]["fail"] == true,
                    text()
                ),
                Some("server/discover") => r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{}}}"#.to_owned(),
                _ => modern_result(&asked, TOOLS, "{}"),
            };
            let answer = answer(&asked, &result);
            if asked["params"]["arguments"]["tell"] == true {
                let news = r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#;
                return Act::Events(vec![news.to_owned(), answer]);
            }
            Act::Json(answer)
        });
        Self { server, gate }
    }

    fn close(&self, is_closed: bool) {
        *self.gate.0.lock().expect("no panic") = is_closed;
        self.gate.1.notify_all();
    }
}

struct House {
    gateway: Gateway,
    server: Numbering,
}

fn house(freshness: &str, cache: &Value) -> House {
    let gateway = Gateway::start();
    let server = Numbering::new(freshness);
    let form = json!({"name": "memo", "url": server.server.url, "cache": cache}).to_string();
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form));
    let data = &made.json()["data"];
    assert_eq!((&data["tools"], &data["resources"]), (&json!(2), &json!(2)), "{}", made.text());
    House { gateway, server }
}

impl House {
    fn key(&self, name: &str) -> String {
        self.gateway.make_key("", &json!({"name": name, "role": "user"})).1
    }

    fn result(&self, key: &str, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let said =
            self.gateway.ask_as(Some(key), "POST", "/servers/memo/rpc", Some(&body.to_string()));
        assert_eq!(said.status, 200, "{}", said.text());
        said.json()["result"].clone()
    }

    /// The number of the answer to a read.
    fn read(&self, key: &str) -> u32 {
        number(&self.result(key, "resources/read", &json!({"uri": "memo://a"}))["contents"])
    }

    fn call(&self, key: &str, tool: &str, arguments: &Value) -> u32 {
        let params = json!({"name": tool, "arguments": arguments});
        number(&self.result(key, "tools/call", &params)["content"])
    }
}

fn number(contents: &Value) -> u32 {
    contents[0]["text"].as_str().and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn what_is_public_is_everybodys_and_what_is_private_is_nobody_elses() {
    let house = house(r#","ttlMs":60000,"cacheScope":"public""#, &json!({}));
    let (ana, ben) = (house.key("ana"), house.key("ben"));
    assert_eq!([house.read(&ana), house.read(&ana), house.read(&ben)], [0, 0, 0]);
    let again = house.result(&ben, "resources/read", &json!({"uri": "memo://a"}));
    let left = again["ttlMs"].as_u64().expect("a number");
    assert!(left < 60_000, "what was kept for a while holds for less: {left}");
    // Something else is asked, or something beside it.
    let other = house.result(&ana, "resources/read", &json!({"uri": "memo://b"}));
    assert_eq!(number(&other["contents"]), 1);
    let meta: Value = serde_json::from_str(gateway_meta()).expect("JSON");
    let mut params = json!({"uri": "memo://a", "_meta": meta});
    assert_eq!(number(&house.result(&ana, "resources/read", &params)["contents"]), 0);
    params["_meta"]["com.example/as"] = json!("eve");
    assert_eq!(number(&house.result(&ana, "resources/read", &params)["contents"]), 2);

    let house = self::house(r#","ttlMs":60000,"cacheScope":"private""#, &json!({}));
    let (ana, ben) = (house.key("ana"), house.key("ben"));
    assert_eq!([house.read(&ana), house.read(&ben), house.read(&ana)], [0, 1, 0]);
}

#[test]
fn servers_that_say_nothing_are_asked_each_time_unless_the_operator_wants_otherwise() {
    let house = house("", &json!({}));
    let (ana, ben) = (house.key("ana"), house.key("ben"));
    assert_eq!([house.read(&ana), house.read(&ana)], [0, 1]);
    let update = |words: &[&str]| {
        house.gateway.done(&[&["server", "update", "memo"], words].concat());
    };
    update(&["--cache-resources", "60"]);
    assert_eq!([house.read(&ana), house.read(&ana), house.read(&ben)], [2, 2, 3]);
    update(&["--cache-scope", "public"]);
    assert_eq!([house.read(&ana), house.read(&ben)], [4, 4]);
    update(&["--cache-resources", "0"]);
    assert_eq!([house.read(&ana), house.read(&ana)], [5, 6]);
}

#[test]
fn tools_that_only_read_are_kept_where_that_is_wanted_until_something_is_done() {
    let house = house("", &json!({}));
    let ana = house.key("ana");
    let none = json!({});
    assert_eq!([house.call(&ana, "look", &none), house.call(&ana, "look", &none)], [0, 1]);
    house.gateway.done(&["server", "update", "memo", "--cache-tools", "60"]);
    assert_eq!([house.call(&ana, "look", &none), house.call(&ana, "look", &none)], [2, 2]);
    let (one, other) = (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}));
    assert_eq!([house.call(&ana, "look", &one), house.call(&ana, "look", &other)], [3, 3]);
    // What fails is tried again.
    let fails = json!({"fail": true});
    assert_eq!([house.call(&ana, "look", &fails), house.call(&ana, "look", &fails)], [4, 5]);

    assert_eq!(house.call(&ana, "act", &none), 6);
    assert_eq!(house.call(&ana, "look", &none), 7, "something may be another now");
    assert_eq!([house.call(&ana, "act", &none), house.call(&ana, "act", &none)], [8, 9]);
}

#[test]
fn what_a_server_calls_old_is_asked_for_anew() {
    let house = house("", &json!({"resources_seconds": 60}));
    let ana = house.key("ana");
    assert_eq!([house.read(&ana), house.read(&ana)], [0, 0]);
    house.call(&ana, "look", &json!({"tell": true}));
    eventually("it is asked for anew", || (house.read(&ana) > 1).then_some(()));
}

#[test]
fn whoever_asks_the_same_at_once_waits_for_one_answer() {
    let house = house("", &json!({"tools_seconds": 60}));
    let ana = house.key("ana");
    house.server.close(true);
    let numbers: Vec<u32> = std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..10).map(|_| scope.spawn(|| house.call(&ana, "look", &json!({})))).collect();
        eventually("all ask", || {
            let status = house.gateway.ask("GET", "/api/admin/status", None).json();
            let servers = status["data"]["servers"].as_array().expect("servers").clone();
            servers.iter().any(|server| server["in_flight"] == 10).then_some(())
        });
        house.server.close(false);
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    });
    assert_eq!(numbers, [0; 10]);
}

#[test]
fn lists_hold_as_long_as_their_server_says_or_the_operator() {
    let gateway = Gateway::start_with(&[], "catalog: {fresh_ms: 1, stale_ms: 1}\n");
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        let listed = modern_result(&asked, TOOLS, "{}");
        let listed = match asked["method"].as_str() {
            Some("tools/list") => listed.replace(r#""ttlMs":0"#, r#""ttlMs":60000"#),
            _ => listed,
        };
        Act::Json(answer(&asked, &listed))
    });
    let form = json!({"name": "memo", "url": server.url}).to_string();
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form));
    assert_eq!(made.json()["data"]["tools"], 2, "{}", made.text());
    let lists = || server.asked("tools/list").len();
    let list = || {
        let said = gateway.call("/servers/memo/mcp", "tools/list", "");
        assert_eq!(said.json()["result"]["tools"].as_array().map(Vec::len), Some(2));
    };
    let before = lists();
    for _ in 0..5 {
        list();
    }
    assert_eq!(lists(), before, "it said that they hold for a minute");

    gateway.done(&["server", "update", "memo", "--cache-lists", "0"]);
    // The change itself has the server asked again.
    eventually("it is asked again", || (lists() > before).then_some(()));
    list();
    let before = lists();
    for _ in 0..3 {
        list();
    }
    assert_eq!(lists(), before + 3);
}
