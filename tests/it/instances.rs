//! Servers that run in several places: calls are shared, the sick are left alone, and nothing that
//! may have run runs twice.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::support::{
    Act, Answer, FakeServer, Gateway, answer, eventually, is_done, modern_result,
};

/// Two tools: one that only reads, and one that does something.
const TOOLS: &str = r#"{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},{"name":"act","inputSchema":{"type":"object"}}"#;
const DONE: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;

/// How an instance is just now.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Mood {
    Well,
    Deaf,
    Hanging,
    Mad,
}

/// A server whose mood can be changed, and that counts the calls it was given.
struct Moody {
    server: FakeServer,
    mood: Arc<AtomicU8>,
    calls: Arc<AtomicUsize>,
}

impl Moody {
    fn new() -> Self {
        let (mood, calls) =
            (Arc::new(AtomicU8::new(Mood::Well as u8)), Arc::<AtomicUsize>::default());
        let (now, counted) = (mood.clone(), calls.clone());
        let server = FakeServer::play(move |seen| {
            if seen.body.is_empty() {
                return Act::Status(405, String::new());
            }
            let asked = seen.json();
            if asked["method"] == "tools/call" {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            match now.load(Ordering::SeqCst) {
                it if it == Mood::Deaf as u8 => Act::Close,
                it if it == Mood::Hanging as u8 => Act::Hang,
                it if it == Mood::Mad as u8 => Act::Json("garbage".into()),
                _ => Act::Json(answer(&asked, &modern_result(&asked, TOOLS, DONE))),
            }
        });
        Self { server, mood, calls }
    }

    fn is(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Looking at instances is left to the tests that are about it.
const QUIET: &str = "registry: { health: { enabled: false } }\n";

fn registered(config: &str, balance: &Value, weights: &[u16]) -> (Gateway, Vec<Moody>) {
    let gateway = Gateway::start_with(&[], config);
    let all: Vec<Moody> = weights.iter().map(|_| Moody::new()).collect();
    let instances: Vec<Value> = all
        .iter()
        .zip(weights)
        .map(|(one, weight)| json!({"url": one.server.url, "weight": weight}))
        .collect();
    let form = json!({"name": "wiki", "instances": instances, "balance": balance});
    let said = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(said.status, 201, "{}", said.text());
    (gateway, all)
}

fn call(gateway: &Gateway, tool: &str) -> Answer {
    let name = format!("wiki__{tool}");
    let params = format!(r#""name":"{name}","arguments":{{}}"#);
    gateway.call_named("/mcp", "tools/call", Some(&name), &params)
}

fn shown(gateway: &Gateway) -> Vec<Value> {
    let said = gateway.ask("GET", "/gateway/servers/wiki/instances", None).json();
    said["data"].as_array().expect("a list").clone()
}

fn counts(all: &[Moody]) -> Vec<usize> {
    all.iter().map(Moody::calls).collect()
}

#[test]
fn calls_are_shared_as_the_strategy_says() {
    for (balance, weights, expected) in [
        (json!({}), [1, 1, 1], [20, 20, 20]),
        (json!({"strategy": "weighted"}), [3, 2, 1], [30, 20, 10]),
    ] {
        let (gateway, all) = registered(QUIET, &balance, &weights);
        for _ in 0..60 {
            assert!(is_done(&call(&gateway, "act")));
        }
        assert_eq!(counts(&all), expected, "{balance}");
    }
}

#[test]
fn those_that_are_preferred_come_first_and_others_stand_in() {
    let gateway = Gateway::start_with(&[], QUIET);
    let all: Vec<Moody> = (0..3).map(|_| Moody::new()).collect();
    let places = ["us", "eu", "eu"];
    let costs = ["1", "5", "2"];
    let instances: Vec<Value> = (0..3)
        .map(|at| {
            let metadata = json!({"region": places[at], "cost": costs[at]});
            json!({"url": all[at].server.url, "metadata": metadata})
        })
        .collect();
    let balance = json!({"prefer": ["region=eu", "cost"]});
    let form = json!({"name": "wiki", "instances": instances, "balance": balance});
    let said = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(said.status, 201, "{}", said.text());

    for _ in 0..5 {
        assert!(is_done(&call(&gateway, "look")));
    }
    assert_eq!(counts(&all), [0, 0, 5]);

    let third = shown(&gateway)[2]["id"].as_str().expect("an id").to_owned();
    let path = format!("/gateway/servers/wiki/instances/{third}");
    let said = gateway.ask("PATCH", &path, Some(r#"{"state":"maintenance"}"#));
    assert_eq!((said.status, said.json()["data"]["state"].as_str()), (200, Some("maintenance")));
    assert!(is_done(&call(&gateway, "look")));
    assert_eq!(counts(&all), [0, 1, 5]);
}

#[test]
fn what_only_reads_is_made_again_elsewhere_and_nothing_else() {
    for mood in [Mood::Deaf, Mood::Mad, Mood::Hanging] {
        // Lists are asked for beside the calls, and their failures count: none may open the circuit.
        let config = "registry: { health: { enabled: false }, breaker: { failures: 1000 } }\n\
                      pipeline: { timeout_seconds: 3 }\n";
        let (gateway, all) = registered(config, &json!({}), &[1, 1]);
        all[0].is(mood);

        for _ in 0..4 {
            assert!(is_done(&call(&gateway, "look")), "it only reads");
        }
        assert_eq!(all[1].calls(), 4);

        let before = all[0].calls() + all[1].calls();
        let failed = (0..2).filter(|_| !is_done(&call(&gateway, "act"))).count();
        assert_eq!(failed, 1, "one of two went where it is lost");
        assert_eq!(all[0].calls() + all[1].calls(), before + 2, "none ran twice");
    }
}

#[test]
fn a_dead_instance_costs_no_call_and_is_left_alone() {
    let gateway = Gateway::start_with(&[], QUIET);
    let well = Moody::new();
    let instances = json!([{"url": "http://127.0.0.1:1/mcp"}, {"url": well.server.url}]);
    let form = json!({"name": "wiki", "instances": instances}).to_string();
    assert_eq!(gateway.ask("POST", "/gateway/servers?wait=true", Some(&form)).status, 201);

    // Nothing was delivered, so that everything may go elsewhere.
    for _ in 0..30 {
        assert!(is_done(&call(&gateway, "act")), "the other answers");
    }
    let first = &shown(&gateway)[0];
    assert_eq!(
        (first["health"].as_str(), first["circuit"].as_str()),
        (Some("unhealthy"), Some("open"))
    );
    let failures = first["consecutive_failures"].as_u64().expect("a number");
    assert!((5..=7).contains(&failures), "it was tried {failures} times");
    assert_eq!(well.calls(), 30);
}

#[test]
fn the_sick_are_tried_by_checks_and_come_back() {
    let config = "registry: { breaker: { failures: 2, recovery_ms: 100 } }\n";
    let (gateway, all) = registered(config, &json!({}), &[1, 1]);
    all[0].is(Mood::Mad);
    for _ in 0..8 {
        assert!(is_done(&call(&gateway, "look")));
    }
    assert_ne!(shown(&gateway)[0]["circuit"], "closed");
    let before = all[0].calls();

    all[0].is(Mood::Well);
    eventually("it is called again", || {
        assert!(is_done(&call(&gateway, "look")));
        (all[0].calls() > before).then_some(())
    });
    let first = &shown(&gateway)[0];
    assert_eq!(
        (first["health"].as_str(), first["circuit"].as_str()),
        (Some("healthy"), Some("closed"))
    );
    assert!(!first["checks"].as_array().expect("checks").is_empty(), "{first}");
}

#[test]
fn one_that_hangs_keeps_no_other_from_being_tried() {
    let config = concat!(
        "pipeline: { timeout_seconds: 2 }\n",
        "registry: { health: { timeout_seconds: 600 }, breaker: { failures: 1, recovery_ms: 100 } }\n",
    );
    let (gateway, all) = registered(config, &json!({}), &[1, 1, 1]);
    all[0].is(Mood::Hanging);
    all[1].is(Mood::Mad);
    let looked_at = all[0].server.seen().len();
    for _ in 0..6 {
        assert!(is_done(&call(&gateway, "look")));
    }
    // The call, and the check that does not come back.
    eventually("it is tried", || (all[0].server.seen().len() > looked_at + 1).then_some(()));

    all[1].is(Mood::Well);

    let closed = || (shown(&gateway)[1]["circuit"] == "closed").then_some(());
    eventually("the other is back", closed);
    assert_ne!(shown(&gateway)[0]["circuit"], "closed");
}

#[test]
fn where_all_are_sick_it_is_said_when_to_come_back() {
    let config =
        "registry: { health: { enabled: false }, breaker: { failures: 1, recovery_ms: 30000 } }\n";
    let (gateway, all) = registered(config, &json!({}), &[1, 1]);
    for one in &all {
        one.is(Mood::Mad);
    }
    call(&gateway, "look");

    let said = call(&gateway, "look");

    let wait: u64 = said.headers["retry-after"].parse().expect("seconds");
    assert!((28..=30).contains(&wait), "{wait}");
    let message = said.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("wiki: it answered something that is not MCP"), "{message}");
    assert!(message.contains("it is asked again in"), "{message}");
}

#[test]
fn predecessors_read_it_in_numbers() {
    let (gateway, _all) = registered(QUIET, &json!({}), &[1, 1]);
    for _ in 0..4 {
        call(&gateway, "act");
    }
    let ask = |path: &str| gateway.ask("GET", path, None).json();

    assert_eq!(ask("/gateway/templates"), json!({"templates": ["wiki"]}));
    let stats = ask("/gateway/stats");
    assert_eq!(stats["total_requests"], 4, "{stats}");
    assert_eq!(stats["registry"]["templates"]["wiki"]["total_instances"], 2, "{stats}");
    let each = stats["load_balancer"]["requests_per_instance"].as_object().expect("numbers");
    assert!(each.len() == 2 && each.values().all(|calls| calls == 2), "{stats}");
    let registry = ask("/gateway/registry");
    assert_eq!(registry["templates"]["wiki"]["instances"].as_array().map(Vec::len), Some(2));
    assert_eq!(registry["templates"]["wiki"]["load_balancer"]["strategy"], "round_robin");
    let health = ask("/mcp/wiki/health");
    assert_eq!(
        (health["total_instances"].as_u64(), health["healthy_instances"].as_u64()),
        (Some(2), Some(2)),
        "{health}"
    );
}

#[test]
fn instances_join_change_and_leave() {
    let (gateway, all) = registered(QUIET, &json!({}), &[1]);
    let another = Moody::new();
    let form =
        json!({"endpoint": another.server.url, "transport": "http", "weight": 4}).to_string();
    let said = gateway.ask("POST", "/gateway/templates/wiki/instances", Some(&form));
    assert_eq!(
        (said.status, said.json()["data"]["weight"].as_u64()),
        (201, Some(4)),
        "{}",
        said.text()
    );
    let id = said.json()["data"]["id"].as_str().expect("an id").to_owned();
    for _ in 0..4 {
        assert!(is_done(&call(&gateway, "act")));
    }
    assert_eq!((all[0].calls(), another.calls()), (2, 2));

    let path = format!("/gateway/servers/wiki/instances/{id}");
    let checked = gateway.ask("POST", &format!("{path}/check"), None);
    assert_eq!((checked.status, checked.json()["data"]["health"].as_str()), (200, Some("healthy")));
    assert_eq!(gateway.ask("PATCH", &path, Some(r#"{"weight":0}"#)).status, 422);
    assert_eq!(gateway.ask("DELETE", &path, None).status, 200);
    assert_eq!(gateway.ask("DELETE", &path, None).status, 404);
    assert!(is_done(&call(&gateway, "act")));
    assert_eq!((all[0].calls(), another.calls()), (3, 2));

    let last = shown(&gateway)[0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/gateway/servers/wiki/instances/{last}");
    assert_eq!(gateway.ask("DELETE", &path, None).status, 409, "the only one stays");
}

#[test]
fn what_is_listed_comes_from_whoever_answers() {
    let gateway = Gateway::start_with(&[], QUIET);
    let well = Moody::new();
    let instances = json!([{"url": "http://127.0.0.1:1/mcp"}, {"url": well.server.url}]);
    let form = json!({"name": "wiki", "instances": instances}).to_string();

    let said = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form));

    assert_eq!(
        (said.status, said.json()["data"]["tools"].as_u64()),
        (201, Some(2)),
        "{}",
        said.text()
    );
}

const SAY: &str = r#"{"name":"say","arguments":{"text":"x"}}"#;

#[test]
fn programs_stand_in_for_urls_where_that_is_wished_and_it_is_told() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let server = FakeServer::play(move |seen| {
        if down.load(Ordering::SeqCst) {
            return Act::Close;
        }
        let asked = seen.json();
        let say = r#"{"name":"say","inputSchema":{"type":"object"}}"#;
        Act::Json(answer(&asked, &modern_result(&asked, say, DONE)))
    });
    is_down.store(false, Ordering::SeqCst);
    let config = "registry: { breaker: { failures: 1, recovery_ms: 100 } }\n";
    let gateway = Gateway::start_with(&[], config);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/scripted.py");
    let form = json!({
        "name": "wiki", "balance": {"strategy": "random", "stdio_fallback": true},
        "instances": [{"command": ["python3", script, "stdio", "five"]}, {"url": server.url}],
    });
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(made.json()["data"]["tools"], 1, "{}", made.text());
    let call = || {
        let said = gateway.ask("POST", "/mcp/wiki/tools/call", Some(SAY));
        assert_eq!(said.status, 200, "{}", said.text());
        let info = said.json()["_gateway_info"].clone();
        assert_eq!(info["load_balancer_strategy"], "random");
        (info["transport"].clone(), info["used_stdio_fallback"].clone())
    };
    let (by_url, by_program) =
        ((json!("streamable_http"), json!(false)), (json!("stdio"), json!(true)));
    assert!((0..10).all(|_| call() == by_url));

    is_down.store(true, Ordering::SeqCst);
    // Whether it ran nobody knows, and it may not run twice; from then on it is known.
    let first = gateway.ask("POST", "/mcp/wiki/tools/call", Some(SAY));
    assert_eq!(first.status, 502, "{}", first.text());
    assert!((0..5).all(|_| call() == by_program));

    is_down.store(false, Ordering::SeqCst);
    eventually("it is back", || (call() == by_url).then_some(()));
}

#[test]
fn what_takes_long_and_may_run_twice_is_asked_for_elsewhere_as_well() {
    let config = concat!(
        "pipeline: { hedge_ms: 50, timeout_seconds: 600 }\n",
        "registry: { health: { enabled: false } }\n",
    );
    let (gateway, all) = registered(config, &json!({}), &[1, 1]);
    all[0].is(Mood::Hanging);

    assert!((0..6).all(|_| is_done(&call(&gateway, "look"))));

    let [hanging, well] = counts(&all)[..] else { panic!("there are two") };
    assert_eq!(well, 6);
    assert!((1..=6).contains(&hanging), "some began at the one that never answers: {hanging}");
}

#[test]
fn policies_say_to_which_instances_calls_may_go() {
    let gateway = Gateway::start();
    let (eu, us) = (Moody::new(), Moody::new());
    let form = json!({"name": "wiki", "cache": {"tools_seconds": 60}, "instances": [
        {"url": eu.server.url, "metadata": {"region": "eu"}},
        {"url": us.server.url, "metadata": {"region": "us"}},
    ]});
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());
    let bind = |name: &str, to: &str| {
        let policy = json!({
            "name": name, "type": "routing", "conditions": {"tool.name": "act"},
            "actions": {"effect": "route", "to": to},
        });
        let made = gateway.ask("POST", "/policies", Some(&policy.to_string()));
        assert_eq!(made.status, 201, "{}", made.text());
    };
    bind("stay in the union", "region=eu");

    for _ in 0..6 {
        assert!(is_done(&call(&gateway, "act")));
    }
    assert_eq!([&eu, &us].map(|it| it.calls.load(Ordering::SeqCst)), [6, 0]);
    let of_both: usize = (0..4)
        .map(|number| {
            let arguments = format!(r#""name":"wiki__look","arguments":{{"n":{number}}}"#);
            let said = gateway.call_named("/mcp", "tools/call", Some("wiki__look"), &arguments);
            usize::from(is_done(&said))
        })
        .sum();
    assert_eq!((of_both, us.calls.load(Ordering::SeqCst)), (4, 2), "others go anywhere");

    // Rather nowhere than where it may not go.
    eu.is(Mood::Deaf);
    let said = call(&gateway, "act");
    assert!(!is_done(&said), "{}", said.text());
    assert_eq!(us.calls.load(Ordering::SeqCst), 2);
    bind("and nowhere at all", "region=moon");
    let said = call(&gateway, "act");
    assert!(said.text().contains("to which policies let this one go"), "{}", said.text());
}

#[test]
fn one_that_fails_much_more_often_than_others_is_left_alone_although_it_answers_at_times() {
    let gateway = Gateway::start_with(
        &[],
        "registry: {health: {enabled: false}, breaker: {recovery_ms: 30000}}\npipeline: {max_attempts: 1}\n",
    );
    let (well, calls) = (Moody::new(), Arc::<AtomicUsize>::default());
    let counted = calls.clone();
    let ill = FakeServer::play(move |seen| {
        let asked = seen.json();
        let is_call = asked["method"] == "tools/call";
        // Never twice in a row.
        if is_call && counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            return Act::Close;
        }
        Act::Json(answer(&asked, &modern_result(&asked, TOOLS, DONE)))
    });
    let form = json!({"name": "wiki", "instances": [{"url": well.server.url}, {"url": ill.url}]});
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());

    let failed = (0..100).filter(|_| !is_done(&call(&gateway, "act"))).count();

    // Of its first twenty calls half fail; then it is out.
    assert!((10..=12).contains(&failed), "{failed}");
    assert!((20..=24).contains(&calls.load(Ordering::SeqCst)));
    let circuits: Vec<Value> = shown(&gateway).iter().map(|it| it["circuit"].clone()).collect();
    assert_eq!(circuits, ["closed", "open"]);
}

#[test]
fn servers_are_looked_at_as_often_and_in_the_way_that_is_wished() {
    let gateway = Gateway::start_with(
        &[],
        "registry: {health: {interval_seconds: 3600, timeout_seconds: 1}}\n",
    );
    let (often, never) = (Moody::new(), Moody::new());
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let script = format!(
        "echo \"$TOLLHOUSE_SERVER $TOLLHOUSE_ENDPOINT\" >> {}; echo 'disk is full' >&2; exit 3",
        told.display()
    );
    let register = |name: &str, moody: &Moody, checks: Value| {
        let form = json!({"name": name, "url": moody.server.url, "checks": checks}).to_string();
        gateway.ask("POST", "/gateway/servers?wait=true", Some(&form))
    };
    assert_eq!(register("often", &often, json!({"interval_seconds": 1})).status, 201);
    assert_eq!(register("never", &never, json!({"interval_seconds": 0})).status, 201);
    let command = json!(["/bin/sh", "-c", script]);
    let mine = Moody::new();
    let made = register("mine", &mine, json!({"interval_seconds": 1, "command": command}));
    assert_eq!(made.json()["data"]["checks"]["command"], command, "{}", made.text());

    let checks = |name: &str| {
        let server = gateway.ask("GET", &format!("/gateway/servers/{name}/instances"), None).json();
        server["data"][0]["checks"].as_array().cloned().unwrap_or_default()
    };
    eventually("it is looked at twice", || (checks("often").len() > 1).then_some(()));
    let check = eventually("the program looks", || checks("mine").pop());
    assert_eq!(check["failure"], "its check ended with exit code 3: disk is full", "{check}");
    assert_eq!(checks("never").len(), 0);
    let said = std::fs::read_to_string(told).unwrap();
    assert!(said.starts_with(&format!("mine {}\n", mine.server.url)), "{said}");

    // What runs on the gateway's machine is not everybody's to say.
    let (_, key) = gateway
        .make_key("", &json!({"name": "ana", "permissions": ["servers:read", "servers:write"]}));
    let wish = json!({"checks": {"command": ["/bin/true"]}}).to_string();
    let said = gateway.ask_as(Some(&key), "PATCH", "/gateway/servers/often", Some(&wish));
    assert_eq!(said.status, 403, "{}", said.text());
    gateway.done(&[
        "server",
        "update",
        "mine",
        "--check-command",
        "/bin/true",
        "--check-every",
        "2",
    ]);
    eventually("it is well", || checks("mine").pop()?["failure"].is_null().then_some(()));
    let wrong = json!({"checks": {"timeout_seconds": 0}}).to_string();
    assert_eq!(gateway.ask("PATCH", "/gateway/servers/mine", Some(&wrong)).status, 422);
}
