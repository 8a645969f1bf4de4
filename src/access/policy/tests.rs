//! What policies let through, keep back and refuse.

use serde_json::json;

use super::{change::blank, compile::Fields, decide::Rule, *};
use crate::{
    domain::{
        Actor, Annotations, ItemKind, Permissions, PolicyId, Principal, PrincipalKind, Role, Scope,
    },
    wire::Revision,
};

const HERE: OrganizationId = OrganizationId::fixed(1);
/// 2026-11-25T21:30:00Z, a Wednesday.
const EVENING: i64 = 1_795_642_200_000;

/// A policy as it would be in the store, whether it is right or not.
fn policy(written: &Value) -> Policy {
    let id = PolicyId::fresh();
    let new = blank(HERE, id, Actor::system("test"), Timestamp::from_ms(0));
    Policy {
        name: written["name"].as_str().unwrap_or("p").to_owned(),
        priority: written["priority"].as_u64().map_or(100, |it| u16::try_from(it).expect("small")),
        conditions: written.get("conditions").cloned().unwrap_or_else(|| json!({})),
        actions: written["actions"].clone(),
        is_active: written["is_active"].as_bool().unwrap_or(true),
        ..new
    }
}

fn rules(written: &Value) -> Ruleset {
    let all: Vec<Policy> = written.as_array().expect("a list").iter().map(policy).collect();
    Ruleset::new(&all, &Limits::default())
}

fn deny(conditions: &Value) -> Value {
    json!([{"name": "no", "conditions": conditions, "actions": {"effect": "deny"}}])
}

/// A call of the tool `write` of the server `files`, by a key, in the evening.
struct Trial {
    principal: Principal,
    client: Client,
    annotations: Annotations,
}

fn trial() -> Trial {
    let (_, text) = crate::domain::KeyText::generate();
    let id = crate::domain::KeyText::parse(text.expose()).expect("a key").id;
    let capabilities = None;
    Trial {
        principal: Principal {
            kind: PrincipalKind::Key(id),
            organization: HERE,
            role: Role::User,
            permissions: Permissions::NONE,
            limits: None,
            person: None,
            within: Permissions::all(),
        },
        client: Client {
            revision: Revision::NEWEST,
            name: Some("cursor".into()),
            via: "http",
            capabilities,
            level: None,
        },
        annotations: Annotations::default(),
    }
}

impl Trial {
    fn facts<'a>(&'a self, arguments: Arguments<'a>) -> Facts<'a> {
        Facts {
            principal: &self.principal,
            scope: &Scope::Everything,
            client: &self.client,
            server: ServerFacts { name: "files", id: None, namespace: Some("default"), tags: &[] },
            item: Some(ItemFacts {
                kind: ItemKind::Tool,
                name: "write",
                annotations: &self.annotations,
            }),
            is_completion: false,
            arguments,
            now: Timestamp::from_ms(EVENING),
            read: OnceCell::new(),
        }
    }

    fn verdict(&self, rules: &Ruleset, arguments: &Value) -> Verdict {
        let facts = self.facts(Arguments::Given(Some(arguments)));
        let looked = Looked::new(rules, &facts);
        rules.decide(&looked).verdict(&looked)
    }

    fn decision(&self, rules: &Value, arguments: &Value) -> Decision {
        self.verdict(&super::tests::rules(rules), arguments).decision
    }

    fn hides(&self, rules: &Value) -> bool {
        super::tests::rules(rules).hides(&self.facts(Arguments::Unknown))
    }
}

/// Whether a condition holds for the call of [`trial`].
fn holds(conditions: &Value) -> bool {
    let arguments =
        json!({"path": "/etc/passwd", "mode": 7, "tags": ["a", "b"], "deep": {"x": 1.0}});
    trial().decision(&deny(conditions), &arguments) == Decision::Deny
}

fn rule(field: &str, operator: &str, value: &Value) -> Value {
    json!({"match": "all", "rules": [{"field": field, "operator": operator, "value": value}]})
}

fn wrong(written: &Value) -> String {
    Rule::compile(&policy(written), &Limits::default(), &mut Fields::default())
        .expect_err("it is wrong")
        .to_string()
}

#[test]
fn every_operator_does_what_its_name_says() {
    for (field, operator, value) in [
        ("server.name", "eq", json!("files")),
        ("server.name", "neq", json!("other")),
        ("server.name", "ne", json!("other")),
        ("tool.name", "in", json!(["read", "write"])),
        ("tool.name", "nin", json!(["read"])),
        ("tool.name", "not_in", json!(["read"])),
        ("client.name", "contains", json!("urs")),
        ("client.name", "starts_with", json!("cur")),
        ("client.name", "ends_with", json!("sor")),
        ("arguments.path", "regex", json!("^/etc/")),
        ("arguments.mode", "gt", json!(6)),
        ("arguments.mode", "gte", json!(7)),
        ("arguments.mode", "lt", json!(7.5)),
        ("arguments.mode", "lte", json!(7)),
        ("arguments.tags", "contains", json!("b")),
        ("arguments.tags.1", "eq", json!("b")),
        ("arguments.deep.x", "eq", json!(1)),
        ("arguments.path", "exists", json!(true)),
        ("arguments.nothing", "exists", json!(false)),
        ("time.hour", "gte", json!(20)),
        ("time.weekday", "eq", json!("wednesday")),
        ("time.date", "lt", json!("2026-11-26")),
        ("caller.kind", "eq", json!("key")),
        ("principal.role", "in", json!(["user", "api_user"])),
        ("tool.annotations.readOnlyHint", "eq", json!(false)),
        ("tool.annotations.destructiveHint", "eq", json!(true)),
        ("namespace", "eq", json!("default")),
        ("method", "eq", json!("tools/call")),
        ("transport", "eq", json!("http")),
        ("endpoint", "eq", json!("/mcp")),
    ] {
        assert!(holds(&rule(field, operator, &value)), "{field} {operator} {value}");
    }
    for (field, operator, value) in [
        ("server.name", "neq", json!("files")),
        ("tool.name", "nin", json!(["write"])),
        ("arguments.path", "regex", json!("^/home/")),
        ("arguments.mode", "gt", json!(7)),
        ("arguments.nothing", "eq", json!("x")),
        ("prompt.name", "eq", json!("write")),
        ("resource.uri", "exists", json!(true)),
        ("caller.user", "exists", json!(true)),
        ("time.hour", "lt", json!(20)),
    ] {
        assert!(!holds(&rule(field, operator, &value)), "{field} {operator} {value}");
    }
}

#[test]
fn rules_are_joined_by_all_and_any_and_a_flat_map_means_all() {
    let files = json!({"field": "server.name", "operator": "eq", "value": "files"});
    let read = json!({"field": "tool.name", "operator": "eq", "value": "read"});
    let nested = json!({"rules": [files, {"match": "any", "rules": [read, files]}]});

    assert!(!holds(&json!({"match": "all", "rules": [files, read]})));
    assert!(holds(&json!({"match": "any", "rules": [files, read]})));
    assert!(holds(&json!({"match": "or", "rules": [read, files]})));
    assert!(holds(&nested));
    assert!(holds(&json!({"server.name": "files", "tool.name": ["write", "read"]})));
    assert!(!holds(&json!({"server.name": "files", "tool.name": "read"})));
    assert!(holds(&files));
}

#[test]
fn an_hour_is_that_of_its_time_zone() {
    let hour =
        |zone: &str| json!({"field": "time.hour", "operator": "eq", "value": 22, "timezone": zone});

    assert!(holds(&hour("Europe/Vienna")) && !holds(&hour("UTC")));
}

#[test]
fn the_highest_priority_decides_and_among_equals_who_denies() {
    let allow = |priority: u16| json!({"name": "yes", "priority": priority, "actions": {"effect": "allow"}});
    let deny =
        |priority: u16| json!({"name": "no", "priority": priority, "actions": {"effect": "deny"}});
    let decided = |rules: &Value| {
        let verdict = trial().verdict(&super::tests::rules(rules), &json!({}));
        (verdict.decision, verdict.policy.as_deref().map(str::to_owned))
    };

    assert_eq!(decided(&json!([])), (Decision::Role, None));
    assert_eq!(decided(&json!([allow(101), deny(100)])), (Decision::Allow, Some("yes".into())));
    assert_eq!(decided(&json!([allow(100), deny(101)])), (Decision::Deny, Some("no".into())));
    assert_eq!(decided(&json!([allow(100), deny(100)])), (Decision::Deny, Some("no".into())));
    let mut inactive = deny(1_000);
    inactive["is_active"] = false.into();
    assert_eq!(decided(&json!([allow(1), inactive])), (Decision::Allow, Some("yes".into())));
}

#[test]
fn what_cannot_be_evaluated_denies_even_what_another_would_allow_later() {
    let allow = json!({"name": "yes", "priority": 1, "actions": {"effect": "allow"}});
    let odd = |effect: &str| {
        let actions = match effect {
            "redact" => json!({"effect": effect, "remove": ["x"]}),
            _ => json!({"effect": effect}),
        };
        json!({
            "name": "odd", "priority": 2, "actions": actions,
            "conditions": rule("arguments.mode", "gt", &json!(1)),
        })
    };

    for effect in ["deny", "allow", "redact"] {
        let rules = rules(&json!([allow, odd(effect)]));
        let verdict = trial().verdict(&rules, &json!({"mode": "many"}));
        assert_eq!(verdict.decision, Decision::Deny, "{effect}");
        assert_eq!(verdict.policy.as_deref(), Some("odd"));
        let message = verdict.message.expect("a reason");
        assert!(message.contains("arguments.mode") && message.contains("no number"), "{message}");
    }
    // Two readers could read another value there.
    let doubled = deny(&rule("arguments.path", "eq", &json!("/etc")));
    assert_eq!(trial().decision(&doubled, &json!({"path": "/", "Path": "/etc"})), Decision::Deny);
}

#[test]
fn a_stored_policy_that_nobody_understands_denies_everything() {
    let broken = json!([
        {"name": "broken", "priority": 1, "conditions": {"no.such": 1}, "actions": {"effect": "allow"}},
        {"name": "yes", "priority": 1_000, "actions": {"effect": "allow"}},
    ]);

    let verdict = trial().verdict(&rules(&broken), &json!({}));

    assert_eq!((verdict.decision, verdict.policy.as_deref()), (Decision::Deny, Some("broken")));
    assert!(trial().hides(&broken));
}

#[test]
fn a_requirement_denies_whoever_does_not_meet_it() {
    let require =
        |strength: &str| json!([{"actions": {"effect": "require", "authentication": strength}}]);
    let decision = |kind: PrincipalKind, strength: &str| {
        let mut trial = trial();
        trial.principal.kind = kind;
        trial.decision(&require(strength), &json!({}))
    };
    let user = || PrincipalKind::User(crate::domain::UserId::fixed(1));

    assert_eq!(decision(PrincipalKind::Anonymous, "credential"), Decision::Deny);
    assert_eq!(trial().decision(&require("credential"), &json!({})), Decision::Role);
    assert_eq!(trial().decision(&require("user"), &json!({})), Decision::Deny);
    assert_eq!(decision(user(), "user"), Decision::Role);
    assert_eq!(decision(user(), "operator"), Decision::Deny);
    assert_eq!(decision(PrincipalKind::Operator, "operator"), Decision::Role);
}

#[test]
fn policies_of_other_servers_and_tools_are_passed_over_and_those_of_this_one_keep_their_order() {
    let deny = |name: &str, priority: u16, conditions: Value| json!({"name": name, "priority": priority, "conditions": conditions, "actions": {"effect": "deny"}});
    let here = json!({"server.name": ["other", "files", "files"], "tool.name": "write"});
    let rules = rules(&json!([
        deny("of another", 900, json!({"server.name": "other"})),
        deny("of another tool", 800, json!({"tool.name": ["read", "list"]})),
        deny("of this", 700, here),
        deny("of all", 600, json!({})),
        deny("of a prompt", 950, json!({"prompt.name": "write"})),
    ]));
    let trial = trial();

    let verdict = trial.verdict(&rules, &json!({}));

    assert_eq!((verdict.decision, verdict.policy.as_deref()), (Decision::Deny, Some("of this")));
    // Before it is known which tool, those of each tool may hold.
    let facts = Facts { item: None, ..trial.facts(Arguments::Unknown) };
    assert!(rules.hides(&facts), "of all");
    let only_tools = super::tests::rules(&json!([deny("a", 1, json!({"tool.name": "write"}))]));
    assert!(!only_tools.hides(&facts));
}

#[test]
fn what_every_call_is_denied_is_hidden_and_what_some_are_is_not() {
    let by_argument = deny(&rule("arguments.path", "starts_with", &json!("/etc")));
    let both = json!({"rules": [
        {"field": "arguments.path", "operator": "exists"},
        {"field": "tool.name", "operator": "eq", "value": "read"},
    ]});

    assert!(trial().hides(&deny(&json!({"tool.name": "write"}))));
    assert!(!trial().hides(&deny(&json!({"tool.name": "read"}))));
    assert!(!trial().hides(&by_argument));
    assert!(!trial().hides(&deny(&both)));
    let excepted = json!([
        {"priority": 2, "conditions": rule("arguments.path", "eq", &json!("/ok")), "actions": {"effect": "allow"}},
        {"priority": 1, "conditions": {"tool.name": "write"}, "actions": {"effect": "deny"}},
    ]);
    assert!(!trial().hides(&excepted));
}

#[test]
fn a_wrong_policy_is_refused_with_the_place_where_it_is_wrong() {
    let deny = json!({"effect": "deny"});
    let with = |conditions: Value| json!({"conditions": conditions, "actions": deny});
    let of = |field: &str, operator: &str, value: Value| with(rule(field, operator, &value));
    for (written, at) in [
        (with(json!([])), "/conditions: "),
        (with(json!({"tool.nam": "x"})), "/conditions/tool.nam: "),
        (with(json!({"match": "none", "rules": [{}]})), "/conditions/match: "),
        (with(json!({"match": "all", "rules": []})), "/conditions/rules: "),
        (with(json!({"match": "all", "rules": [7]})), "/conditions/rules/0: "),
        (
            with(json!({"rules": [{"rules": [{"operator": "eq"}]}]})),
            "/conditions/rules/0/rules/0/field: ",
        ),
        (with(json!({"rules": [], "odd": 1})), "/conditions: "),
        (of("tool.nam", "eq", json!("x")), "/conditions/rules/0/field: "),
        (of("tool.name", "like", json!("x")), "/conditions/rules/0/operator: "),
        (of("tool.name", "eq", json!(7)), "/conditions/rules/0/value: "),
        (of("tool.name", "in", json!(["x", 7])), "/conditions/rules/0/value/1: "),
        (of("principal.role", "eq", json!("boss")), "/conditions/rules/0/value: "),
        (of("time.hour", "gte", json!(24)), "/conditions/rules/0/value: "),
        (of("time.hour", "regex", json!("2")), "/conditions/rules/0/operator: "),
        (of("time.weekday", "eq", json!("wed")), "/conditions/rules/0/value: "),
        (of("arguments.x", "regex", json!("(a")), "/conditions/rules/0/value: "),
        (of("arguments.x", "regex", json!("(?=a)b")), "/conditions/rules/0/value: "),
        (of("arguments.x", "regex", json!("(a{1000}){1000}")), "/conditions/rules/0/value: "),
        (json!({"actions": 7}), "/actions: "),
        (json!({"actions": {}}), "/actions/effect: "),
        (json!({"actions": {"effect": "rate_limit"}}), "/actions/limit: say how many"),
        (json!({"actions": {"effect": "rate_limit", "moon": 1}}), "/actions: unknown field `moon`"),
        (json!({"actions": {"effect": "moon"}}), "/actions/effect: "),
        (json!({"actions": {"effect": "route"}}), "/actions/to: "),
        (json!({"actions": {"effect": "route", "to": "cost"}}), "/actions/to: "),
        (json!({"actions": {"effect": "route", "to": []}}), "/actions/to: "),
        (json!({"actions": {"effect": "require"}}), "/actions/authentication: "),
        (
            json!({"actions": {"effect": "require", "authentication": "mfa"}}),
            "/actions/authentication: ",
        ),
        (json!({"actions": {"effect": "require", "mfa": true}}), "/actions: "),
        (json!({"actions": {"effect": "deny", "log": false}}), "/actions/log: "),
        (json!({"actions": {"effect": "deny", "message": "x".repeat(501)}}), "/actions/message: "),
        (json!({"actions": {"effect": "redact"}}), "/actions: "),
        (json!({"actions": {"effect": "redact", "remove": ["a..b"]}}), "/actions/remove/0: "),
        (json!({"actions": {"effect": "redact", "patterns": ["("]}}), "/actions/patterns/0: "),
    ] {
        let said = wrong(&written);
        assert!(said.starts_with(at), "{written}: {said}");
    }
}

#[test]
fn each_limit_holds_at_its_edge() {
    let many = |count: usize| {
        let one = json!({"field": "tool.name", "operator": "eq", "value": "x"});
        json!({"conditions": {"rules": vec![one; count]}, "actions": {"effect": "deny"}})
    };
    let deep = |depth: usize| {
        let mut node = json!({"field": "tool.name", "operator": "eq", "value": "x"});
        for _ in 1..depth {
            node = json!({"rules": [node]});
        }
        json!({"conditions": node, "actions": {"effect": "deny"}})
    };
    let long = |bytes: usize| {
        let about = json!({"tool.name": ""}).to_string().len()
            + json!({"effect": "deny"}).to_string().len();
        json!({"conditions": {"tool.name": "x".repeat(bytes - about)}, "actions": {"effect": "deny"}})
    };
    let limits = Limits::default();
    let compiles =
        |written: Value| Rule::compile(&policy(&written), &limits, &mut Fields::default()).is_ok();

    assert!(compiles(many(limits.rules)) && !compiles(many(limits.rules + 1)));
    assert!(compiles(deep(limits.depth)) && !compiles(deep(limits.depth + 1)));
    assert!(compiles(long(limits.bytes)) && !compiles(long(limits.bytes + 1)));
}

#[test]
fn a_verdict_tells_what_was_looked_at_and_no_secret() {
    let rules = rules(&json!([
        {"name": "a", "conditions": {"server.name": "files", "arguments.password": "x"},
         "actions": {"effect": "deny"}},
    ]));

    let verdict = trial().verdict(&rules, &json!({"password": "hunter2"}));

    let inputs: Vec<_> = verdict.inputs.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(inputs, [("server.name", "\"files\""), ("arguments.password", "\"[secret]\"")]);
}

/// So long a decision and its verdict take over these policies, in microseconds: the best of five.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measured(rules: &Ruleset) -> f64 {
    const ROUNDS: u32 = 200_000;
    let trial = trial();
    let params = r#"{"name":"write","arguments":{"path":"/home/ana/notes.txt","text":"hello"}}"#;
    let request = crate::wire::Request::make(&Method::ToolsCall, params);
    let decide = || {
        let facts = trial.facts(Arguments::In(&request));
        let looked = Looked::new(rules, &facts);
        rules.decide(&looked).verdict(&looked).decision
    };
    let round = |_| {
        let began = std::time::Instant::now();
        for _ in 0..ROUNDS {
            assert_eq!(std::hint::black_box(decide()), Decision::Role);
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
    };
    (0..5).map(round).fold(f64::INFINITY, f64::min)
}

/// `cargo test --release --lib one_decision -- --ignored --nocapture`
#[test]
#[ignore = "measures, and means something in a release build only"]
#[expect(clippy::print_stderr, reason = "it measures")]
fn one_decision_takes_two_microseconds_at_most_with_a_hundred_policies() {
    let check = |field: &str, operator: &str, value: Value| json!({"field": field, "operator": operator, "value": value});
    let policies = |rules: &dyn Fn(u32) -> Vec<Value>| {
        let policy = |number: u32| {
            let conditions = json!({"match": "all", "rules": rules(number)});
            json!({"name": format!("p{number}"), "conditions": conditions, "actions": {"effect": "deny"}})
        };
        super::tests::rules(&(0..100).map(policy).collect::<Vec<_>>().into())
    };
    let path = |number: u32| check("arguments.path", "starts_with", format!("/{number}/").into());
    let server = |number: u32| check("server.name", "eq", format!("s{number}").into());
    let common = || {
        vec![
            check("tool.annotations.readOnlyHint", "eq", false.into()),
            check("principal.role", "in", json!(["user", "api_user"])),
            check("time.hour", "gte", 20.into()),
        ]
    };
    let of_servers = |number: u32| [vec![server(number)], common(), vec![path(number)]].concat();
    // The first is of the server that is called.
    let one_comes_near = |number: u32| match number {
        0 => [vec![check("server.name", "eq", "files".into())], common(), vec![path(0)]].concat(),
        number => of_servers(number),
    };
    let all_come_near = |number: u32| {
        let last = json!({"match": "any", "rules": [server(number), path(number)]});
        [common(), vec![last]].concat()
    };

    let usual = measured(&policies(&one_comes_near));
    let worst = measured(&policies(&all_come_near));

    eprintln!("one decision over 100 policies of 5 checks, with its verdict:");
    eprintln!("  {usual:.2} µs where they are of as many servers");
    eprintln!("  {worst:.2} µs where each is looked through to its last check");
    assert!(usual <= 2.0, "{usual:.2} µs");
}
