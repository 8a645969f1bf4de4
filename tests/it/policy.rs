//! Policies from outside: who may use what, beyond what roles say.

use serde_json::{Value, json};

use crate::support::{Act, Answer, FakeServer, Gateway, answer, eventually, modern_result};

const TOOLS: &str = r#"{"name":"read","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},{"name":"write","inputSchema":{"type":"object"}}"#;
const RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"{\"name\":\"ana\",\"card\":\"4711\"}"}],"structuredContent":{"name":"ana","card":"4711"}}"#;

struct House {
    gateway: Gateway,
    server: FakeServer,
}

/// A gateway with the server `files`, which has the tools `read` and `write`.
fn house() -> House {
    house_with("")
}

fn house_with(config: &str) -> House {
    furnished(Gateway::start_with(&[], config))
}

/// This gateway with that server.
fn furnished(gateway: Gateway) -> House {
    let server = FakeServer::modern(TOOLS, RESULT);
    let form = json!({"name": "files", "url": server.url}).to_string();
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form));
    assert_eq!(made.json()["data"]["tools"], 2, "{}", made.text());
    House { gateway, server }
}

fn put(gateway: &Gateway, policy: &Value) -> Value {
    let made = gateway.ask("POST", "/policies", Some(&policy.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["policy"].clone()
}

impl House {
    fn put(&self, policy: &Value) -> Value {
        put(&self.gateway, policy)
    }

    fn call(&self, key: &str, tool: &str, arguments: &Value) -> Answer {
        rpc(&self.gateway, key, "tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    fn listed(&self, key: &str) -> Vec<String> {
        let said = rpc(&self.gateway, key, "tools/list", &json!({})).json();
        let tools = said["result"]["tools"].as_array().expect("tools").clone();
        let names = tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned());
        names.filter(|name| name.starts_with("files__")).collect()
    }

    fn test(&self, question: &Value) -> Value {
        let said = self.gateway.ask("POST", "/policies/test", Some(&question.to_string()));
        assert_eq!(said.status, 200, "{}", said.text());
        said.json()["data"].clone()
    }
}

fn rpc(gateway: &Gateway, key: &str, method: &str, params: &Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    gateway.ask_as(Some(key), "POST", "/rpc", Some(&body.to_string()))
}

fn key(house: &House, role: &str) -> String {
    house.gateway.make_key("", &json!({"name": role, "role": role})).1
}

/// Whether a call was answered by the server, and not refused as unknown.
fn is_done(said: &Answer) -> bool {
    match &said.json()["error"]["code"] {
        Value::Null => true,
        code => {
            assert_eq!(code, -32602, "{}", said.text());
            false
        }
    }
}

fn no_writes() -> Value {
    json!({
        "name": "no-writes", "conditions": {"tool.annotations.readOnlyHint": false, "role": "user"},
        "actions": {"effect": "deny", "message": "read-only for people"},
    })
}

#[test]
fn a_policy_holds_from_the_answer_on_until_it_is_changed_or_removed() {
    let house = house();
    let user = key(&house, "user");
    assert!(is_done(&house.call(&user, "files__write", &json!({}))));

    let made = house.put(&no_writes());
    assert!(!is_done(&house.call(&user, "files__write", &json!({}))));
    assert!(is_done(&house.call(&user, "files__read", &json!({}))));
    assert!(is_done(&house.call(&house.gateway.key, "files__write", &json!({}))));

    let path = format!("/policies/{}", made["id"].as_str().expect("an id"));
    let change = |body: &str| house.gateway.ask("PUT", &path, Some(body)).status;
    assert_eq!(change(r#"{"is_active":false}"#), 200);
    assert!(is_done(&house.call(&user, "files__write", &json!({}))));
    assert_eq!(change(r#"{"is_active":true}"#), 200);
    assert!(!is_done(&house.call(&user, "files__write", &json!({}))));
    let gone = house.gateway.ask("DELETE", &path, None);
    assert_eq!((gone.status, &gone.json()["policy_id"]), (200, &made["id"]));
    assert!(is_done(&house.call(&user, "files__write", &json!({}))));
    assert_eq!(house.gateway.ask("GET", &path, None).status, 404);
}

#[test]
fn what_is_denied_is_like_what_does_not_exist_and_is_not_listed() {
    let house = house();
    let user = key(&house, "user");
    house.put(&no_writes());
    let named = |said: &Answer, name: &str| {
        let id = said.headers.get("x-request-id").cloned().unwrap_or_default();
        said.text().replace(&id, "ID").replace(name, "NAME")
    };
    let asked = house.server.asked("tools/call").len();

    assert_eq!(house.listed(&user), ["files__read"]);
    assert_eq!(house.listed(&house.gateway.key), ["files__read", "files__write"]);
    let denied = house.call(&user, "files__write", &json!({}));
    let unknown = house.call(&user, "files__nothing", &json!({}));
    assert_eq!(named(&denied, "files__write"), named(&unknown, "files__nothing"));
    assert!(!denied.text().contains("no-writes") && !denied.text().contains("read-only"));
    let facade = |tool: &str| {
        let body = json!({"name": tool, "arguments": {}}).to_string();
        let said = house.gateway.ask_as(Some(&user), "POST", "/mcp/files/tools/call", Some(&body));
        (said.status, said.json()["error"]["message"].to_string().replace(tool, "NAME"))
    };
    assert_eq!(facade("write"), facade("nothing"));
    assert_eq!(house.server.asked("tools/call").len(), asked, "the server was not asked");
}

#[test]
fn arguments_decide_and_what_is_not_always_denied_stays_listed() {
    let house = house();
    let user = key(&house, "user");
    house.put(&json!({
        "name": "no-etc",
        "conditions": {"field": "arguments.path", "operator": "starts_with", "value": "/etc/"},
        "actions": {"effect": "deny"},
    }));

    let done = |arguments: Value| is_done(&house.call(&user, "files__write", &arguments));
    assert!(done(json!({"path": "/home/x"})) && !done(json!({"path": "/etc/passwd"})));
    assert!(!done(json!({"path": 7})), "what cannot be compared is denied");
    assert!(!done(json!({"path": "/home/x", "PATH": "/etc/passwd"})));
    let doubled = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"files__write","arguments":{"path":"/home/x","path":"/etc/passwd"}}}"#;
    assert!(!is_done(&house.gateway.ask_as(Some(&user), "POST", "/rpc", Some(doubled))));
    assert_eq!(house.listed(&user).len(), 2);
}

#[test]
fn what_a_policy_allows_stands_in_for_the_role_and_not_for_what_a_key_is_less() {
    let house = house();
    let viewer = key(&house, "viewer");
    let form = json!({"name": "less", "permissions": ["items:list"]});
    let less = house.gateway.make_key("", &form).1;
    assert!(!is_done(&house.call(&viewer, "files__read", &json!({}))));

    house.put(&json!({
        "name": "all-read", "conditions": {"tool.name": "read"}, "actions": {"effect": "allow"},
    }));

    assert!(is_done(&house.call(&viewer, "files__read", &json!({}))));
    assert!(!is_done(&house.call(&viewer, "files__write", &json!({}))));
    assert!(!is_done(&house.call(&less, "files__read", &json!({}))));
    let form = json!({"name": "w", "permissions": ["policies:write", "policies:read"]});
    let writer = house.gateway.make_key("", &form).1;
    let escalate = json!({"name": "mine", "actions": {"effect": "allow"}}).to_string();
    let said = house.gateway.ask_as(Some(&writer), "POST", "/policies", Some(&escalate));
    assert_eq!(said.status, 403, "{}", said.text());
    let said = house.gateway.ask_as(Some(&writer), "DELETE", "/policies/all-read", None);
    assert_eq!(said.status, 403, "{}", said.text());
}

#[test]
fn what_must_not_get_out_is_taken_out_of_answers() {
    let house = house();
    house.put(&json!({
        "name": "no-cards", "type": "security",
        "actions": {"effect": "redact", "mask": ["card"], "patterns": ["\\bana\\b"]},
    }));

    let said = house.call(&house.gateway.key, "files__read", &json!({})).json();

    assert_eq!(
        said["result"]["structuredContent"],
        json!({"name": "[redacted]", "card": "[redacted]"})
    );
    let text = said["result"]["content"][0]["text"].as_str().expect("text");
    assert!(!text.contains("4711") && !text.contains("ana"), "{text}");
}

#[test]
fn what_a_server_says_on_the_way_is_kept_back_with_what_is_redacted() {
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        if asked["method"] != "tools/call" {
            return Act::Json(answer(&asked, &modern_result(&asked, TOOLS, RESULT)));
        }
        let token = &asked["params"]["_meta"]["progressToken"];
        let progress = json!({
            "jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1, "message": "card 4711"},
        });
        Act::Events(vec![progress.to_string(), answer(&asked, RESULT)])
    });
    let gateway = Gateway::start();
    let form = json!({"name": "files", "url": server.url}).to_string();
    gateway.ask("POST", "/gateway/servers?wait=true", Some(&form));
    let call = || {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"files__read","arguments":{{}},"_meta":{}}}}}"#,
            crate::support::gateway_meta().replacen('{', r#"{"progressToken":"p","#, 1),
        );
        let headers = [
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "files__read"),
        ];
        gateway.ask_with("POST", "/mcp", &headers, Some(&body)).text().to_owned()
    };
    assert!(call().contains("card 4711"), "without a policy it is told");

    let policy = json!({"name": "r", "actions": {"effect": "redact", "patterns": ["4711"]}});
    assert_eq!(gateway.ask("POST", "/policies", Some(&policy.to_string())).status, 201);

    let said = call();
    assert!(!said.contains("4711") && said.contains("[redacted]"), "{said}");
}

#[test]
fn a_wrong_policy_is_refused_with_its_place_and_changes_nothing() {
    let house = house();
    let refused = |body: &Value| {
        let said = house.gateway.ask("POST", "/policies", Some(&body.to_string()));
        (said.status, said.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    let deny = json!({"effect": "deny"});

    for (body, status, part) in [
        (json!({"name": "a", "actions": {"effect": "route"}}), 422, "/actions/to"),
        (json!({"name": "a", "actions": {"effect": "rate_limit"}}), 422, "/actions/limit"),
        (
            json!({"name": "a", "actions": deny, "conditions": {"tool": "x"}}),
            422,
            "/conditions/tool",
        ),
        (json!({"name": "a", "actions": deny, "priority": 0}), 422, "/priority"),
        (json!({"name": "a", "actions": deny, "priority": 1001}), 422, "/priority"),
        (json!({"name": "a", "actions": deny, "type": "transform"}), 400, "/type"),
        (json!({"name": "", "actions": deny}), 422, "/name"),
        (json!({"name": "a", "actions": deny, "odd": 1}), 422, "odd"),
    ] {
        let (said, message) = refused(&body);
        assert_eq!(said, status, "{body}: {message}");
        assert!(message.contains(part), "{body}: {message}");
    }
    house.put(&no_writes());
    assert_eq!(refused(&no_writes()).0, 409);
    let other = json!({"name": "other", "actions": deny, "is_active": false});
    house.put(&other);
    let said = house.gateway.ask("PUT", "/policies/other", Some(r#"{"name":"no-writes"}"#));
    assert_eq!(said.status, 409, "{}", said.text());
    let wrong = r#"{"actions":{"effect":"nothing"}}"#;
    assert_eq!(house.gateway.ask("PUT", "/policies/no-writes", Some(wrong)).status, 422);
    let shown = house.gateway.ask("GET", "/policies/no-writes", None).json();
    assert_eq!(shown["policy"]["actions"]["effect"], "deny");
}

#[test]
fn lists_are_by_priority_in_pages_and_by_type() {
    let house = house();
    for (name, priority, kind) in [("a", 1, "access"), ("b", 900, "security"), ("c", 50, "access")]
    {
        house.put(&json!({
            "name": name, "priority": priority, "type": kind, "is_active": name != "c",
            "conditions": {"tool.name": "none"}, "actions": {"effect": "deny"},
        }));
    }
    let names = |query: &str| {
        let said = house.gateway.ask("GET", &format!("/api/admin/policies{query}"), None).json();
        let all = said["policies"].as_array().expect("policies").clone();
        let names = all.iter().map(|it| it["name"].as_str().expect("a name").to_owned());
        (names.collect::<String>(), said["total"].as_u64().expect("a number"))
    };

    assert_eq!(names(""), ("bca".into(), 3));
    assert_eq!(names("?limit=1&offset=1"), ("c".into(), 3));
    assert_eq!(names("?type=access"), ("ca".into(), 2));
    assert_eq!(names("?is_active=true"), ("ba".into(), 2));
    assert_eq!(house.gateway.ask("GET", "/policies?type=odd", None).status, 400);
}

#[test]
fn there_are_as_many_policies_as_there_may_be() {
    let house = house_with("access: {policy_limits: {per_organization: 1}}\n");
    house.put(&no_writes());

    let more = json!({"name": "b", "actions": {"effect": "deny"}}).to_string();
    let said = house.gateway.ask("POST", "/policies", Some(&more));

    assert_eq!(said.status, 429, "{}", said.text());
    assert!(said.text().contains("access.policy_limits.per_organization"), "{}", said.text());
}

#[test]
fn policies_of_the_settings_file_hold_in_every_organization_and_are_changed_there() {
    let house = house_with(
        "access:\n  policies:\n    - name: house-rule\n      conditions: {tool.name: write}\n      actions: {effect: deny}\n",
    );
    let acme = house.gateway.make_tenant(&json!({"slug": "acme"}));
    let form = json!({"name": "files", "url": house.server.url}).to_string();
    house.gateway.ask_as(Some(&acme), "POST", "/gateway/servers?wait=true", Some(&form));

    for key in [&house.gateway.key, &acme] {
        assert!(!is_done(&house.call(key, "files__write", &json!({}))));
        assert!(is_done(&house.call(key, "files__read", &json!({}))));
    }
    let shown = house.gateway.ask("GET", "/policies/house-rule", None).json();
    assert_eq!(
        (&shown["policy"]["origin"], &shown["policy"]["id"]),
        (&json!("file"), &json!("file:house-rule"))
    );
    assert_eq!(house.gateway.ask("DELETE", "/policies/house-rule", None).status, 409);
    let same = json!({"name": "house-rule", "actions": {"effect": "allow"}}).to_string();
    assert_eq!(house.gateway.ask("POST", "/policies", Some(&same)).status, 409);
}

#[test]
fn a_wrong_policy_in_the_settings_file_keeps_the_gateway_from_starting() {
    let house = Gateway::start();
    let file = std::path::Path::new(&house.data()).join("../wrong.yaml");
    let text = "access:\n  policies:\n    - name: a\n      actions: {effect: maybe}\n";
    std::fs::write(&file, text).expect("writable");

    let said = house.cli(&["config", "validate", "--config", file.to_str().expect("a path")]);

    assert!(!said.status.success());
    let told =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(told.contains("access.policies") && told.contains("/0/actions/effect"), "{told}");
}

#[test]
fn one_tenants_policy_is_nothing_to_another() {
    let house = house();
    let acme = house.gateway.make_tenant(&json!({"slug": "acme"}));
    let all = json!({"name": "nothing-here", "actions": {"effect": "deny"}}).to_string();
    let made = house.gateway.ask_as(Some(&acme), "POST", "/policies", Some(&all));
    assert_eq!(made.status, 201, "{}", made.text());

    assert!(is_done(&house.call(&house.gateway.key, "files__write", &json!({}))));
    assert_eq!(house.gateway.ask("GET", "/policies", None).json()["total"], 0);
    assert_eq!(house.gateway.ask("DELETE", "/policies/nothing-here", None).status, 404);
    let there = house.gateway.ask("GET", "/policies?organization=acme", None).json();
    assert_eq!(there["total"], 1);
    let key = house.gateway.make_key("?organization=acme", &json!({"name": "k"})).0;
    let question = json!({"caller": {"kind": "key", "id": key}, "server": "files", "tool": "read"});
    let said = house.gateway.ask("POST", "/policies/test", Some(&question.to_string()));
    assert_eq!(said.status, 404, "{}", said.text());
}

#[test]
fn a_call_can_be_tried_and_its_decision_explained() {
    let house = house();
    house.put(&no_writes());
    let question = |more: Value| {
        let mut all = json!({"caller": {"role": "user"}, "server": "files", "tool": "write"});
        all.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
        all
    };

    let denied = house.test(&question(json!({})));
    assert_eq!(
        (&denied["decision"], &denied["allowed"], &denied["listed"], &denied["policy"]),
        (&json!("deny"), &json!(false), &json!(false), &json!("no-writes"))
    );
    assert_eq!(denied["message"], "read-only for people");
    assert_eq!(denied["policies"][0]["checks"][0]["found"], false);
    assert_eq!(
        denied["policies"][0]["checks"][0]["at"],
        "/conditions/tool.annotations.readOnlyHint"
    );
    let by_role = house.test(&question(json!({"tool": "read"})));
    assert_eq!((&by_role["decision"], &by_role["allowed"]), (&json!("role"), &json!(true)));
    let candidate = json!({
        "name": "no-writes", "conditions": {"time.hour": 3},
        "actions": {"effect": "deny"},
    });
    let at = |hour: &str| {
        let more = json!({"policy": candidate, "at": format!("2026-11-25T{hour}:30:00Z")});
        house.test(&question(more))["allowed"].clone()
    };
    assert_eq!((at("02"), at("03")), (json!(true), json!(false)));
    assert_eq!(house.server.asked("tools/call").len(), 0, "nothing was called");
    let odd = question(json!({"policy": {"actions": {"effect": "odd"}}})).to_string();
    let said = house.gateway.ask("POST", "/policies/test", Some(&odd));
    assert!(
        said.status == 422 && said.text().contains("/policy/actions/effect"),
        "{}",
        said.text()
    );
}

#[test]
fn the_command_line_does_what_the_office_does() {
    let house = house();
    let user = key(&house, "user");
    let file = std::path::Path::new(&house.gateway.data()).join("../policy.yaml");
    let path = file.to_str().expect("a path");
    let text =
        "name: no-writes\nconditions: {tool.name: write, role: user}\nactions: {effect: deny}\n";
    std::fs::write(&file, text).expect("writable");
    let cli = |words: &[&str]| house.gateway.done(words);

    cli(&["policy", "create", path]);
    assert!(!is_done(&house.call(&user, "files__write", &json!({}))));
    assert_eq!(cli(&["policy", "list", "-o", "name"]), "no-writes\n");
    assert!(cli(&["policy", "show", "no-writes"]).contains("\"tool.name\": \"write\""));
    let words = ["--role", "user", "--server", "files", "--tool", "write"];
    let tried = |verb: &str| cli(&[&["policy", verb], &words[..]].concat());
    assert!(tried("test").starts_with("denied by the policy no-writes; lists do not show it"));
    assert!(!tried("test").contains("/conditions/tool.name"));
    assert!(tried("explain").contains("/conditions/tool.name"), "{}", tried("explain"));
    let json: Value = serde_json::from_str(&cli(&[
        "policy", "test", "--server", "files", "--tool", "write", "-o", "json",
    ]))
    .expect("JSON");
    assert_eq!(json["allowed"], true, "{json}");
    std::fs::write(&file, "is_active: false\n").expect("writable");
    cli(&["policy", "update", "no-writes", path]);
    assert!(is_done(&house.call(&user, "files__write", &json!({}))));
    cli(&["policy", "delete", "no-writes"]);
    assert_eq!(cli(&["policy", "list", "-o", "name"]), "");
    assert!(!house.gateway.cli(&["policy", "show", "no-writes"]).status.success());
}

#[test]
fn the_line_of_a_call_tells_who_decided_and_on_what() {
    let house = house_with("observe: {format: json}\n");
    let user = key(&house, "user");
    house.put(&no_writes());

    house.call(&user, "files__write", &json!({}));

    let line = eventually("the line is written", || {
        let log = house.gateway.log();
        let found = log.lines().find(|line| line.contains("\"policy\":\"no-writes\""))?;
        serde_json::from_str::<Value>(found).ok()
    });
    assert_eq!(line["decision"], "deny", "{line}");
    assert_eq!(line["inputs"], json!({"tool.annotations.readOnlyHint": false, "role": "user"}));
}

#[test]
fn a_policy_can_be_tried_on_calls_that_were_made() {
    let house = house_with("observe: {format: json}\n");
    let (id, user) = house.gateway.make_key("", &json!({"name": "bob", "role": "user"}));
    let admin = house.gateway.key.clone();
    let file = std::path::Path::new(&house.gateway.data()).join("../policy.json");
    let log = std::path::Path::new(&house.gateway.data()).join("../calls.log");
    let whatif = |policy: &Value| {
        std::fs::write(&file, policy.to_string()).expect("writable");
        let [file, log] = [&file, &log].map(|path| path.to_str().expect("a path"));
        let said = ["policy", "whatif", file, "-o", "json"];
        let of_log = house.gateway.done(&[&said[..], &["--log", log]].concat());
        // The book has the same calls.
        assert_eq!(house.gateway.done(&said), of_log);
        let said: Value = serde_json::from_str(&of_log).expect("JSON");
        let rows = said["changes"].as_array().expect("rows").iter().map(|row| {
            let text = |member: &str| row[member].as_str().unwrap_or("-").to_owned();
            let what = [text("change"), text("caller"), text("item"), text("policy")].join(" ");
            (what, row["calls"].as_u64().expect("a number"))
        });
        (rows.collect::<Vec<_>>(), said["replayed"].clone())
    };
    // This one looks at a path, so the journal keeps it.
    house.put(&json!({
        "name": "no-secrets",
        "conditions": {"arguments.path": "/secret"},
        "actions": {"effect": "deny"},
    }));
    for _ in 0..2 {
        house.call(&user, "files__write", &json!({"path": "/tmp/a", "text": "x"}));
    }
    house.call(&user, "files__read", &json!({"path": "/secret"}));
    house.call(&admin, "files__write", &json!({"path": "/tmp/b", "text": "y"}));
    eventually("the calls are written", || {
        let said = house.gateway.log();
        let calls = said.lines().filter(|line| line.contains(r#""method":"tools/call""#));
        let calls: Vec<&str> = calls.collect();
        (calls.len() == 4).then(|| std::fs::write(&log, calls.join("\n")).expect("writable"))
    });

    let denied = |count| ("newly_denied key bob write no-writes".to_owned(), count);
    assert_eq!(whatif(&no_writes()), (vec![denied(2)], 4.into()));
    let looser = json!({"name": "no-secrets", "conditions": {"arguments.path": "/other"}});
    let allowed = ("newly_allowed key bob read -".to_owned(), 1);
    assert_eq!(whatif(&looser), (vec![allowed], 4.into()));
    let by_text = json!({
        "name": "no-x",
        "conditions": {"arguments.text": "x", "role": "user"},
        "actions": {"effect": "deny"},
    });
    let perhaps = ("perhaps_denied key bob write no-x".to_owned(), 2);
    assert_eq!(whatif(&by_text), (vec![perhaps], 4.into()));
    house.gateway.done(&["key", "revoke", &id]);
    assert_eq!(whatif(&no_writes()), (vec![], 1.into()));
    let nothing = [file.to_str().expect("a path"), "--since", "2999-01-01T00:00:00Z"];
    let nothing = house.gateway.cli(&[&["policy", "whatif"], &nothing[..]].concat());
    assert_eq!(nothing.status.code(), Some(1), "there was no call since then");
    let wrong = json!({"policy": {"conditions": {"nonsense": 1}}, "calls": []}).to_string();
    let said = house.gateway.ask("POST", "/policies/replay", Some(&wrong));
    assert!(said.status == 422 && said.text().contains("nonsense"), "{}", said.text());
    let many = json!({"policy": no_writes(), "calls": vec![json!({"server": "files", "tool": "write"}); 1_001]});
    let said = house.gateway.ask("POST", "/policies/replay", Some(&many.to_string()));
    assert!(said.status == 422 && said.text().contains("1000 calls"), "{}", said.text());
}

#[test]
fn each_change_of_a_policy_is_in_the_audit_and_survives_a_restart() {
    let mut gateway = Gateway::start();
    let user = gateway.make_key("", &json!({"name": "user", "role": "user"})).1;
    let lines = |gateway: &Gateway| {
        let said = gateway.done(&["db", "check", "-o", "json"]);
        serde_json::from_str::<Value>(&said).expect("JSON")["audit"].as_u64().expect("a number")
    };
    put(&gateway, &no_writes());
    let change = r#"{"priority":7}"#;
    assert_eq!(gateway.ask("PATCH", "/policies/no-writes", Some(change)).status, 200);
    put(&gateway, &json!({"name": "b", "actions": {"effect": "deny"}, "is_active": false}));
    assert_eq!(gateway.ask("DELETE", "/policies/b", None).status, 200);
    gateway.signal("-TERM");
    gateway.wait();

    // Two for the house, two for its claim, the key; and four of policies.
    assert_eq!(lines(&gateway), 4 + 1 + 4);
    gateway.run(&[]);
    let house = furnished(gateway);
    assert_eq!(house.listed(&user), ["files__read"]);
    assert!(!is_done(&house.call(&user, "files__write", &json!({}))));
    let shown = house.gateway.ask("GET", "/policies/no-writes", None).json();
    assert_eq!(shown["policy"]["priority"], 7);
}

#[test]
fn the_policy_that_the_readme_shows_is_one() {
    let house = house();
    let readme = include_str!("../../README.md");
    let section = readme.split("## Policies\n").nth(1).expect("a section");
    let shown = section.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let file = std::path::Path::new(&house.gateway.data()).join("../policy.yaml");
    std::fs::write(&file, shown.expect("the README shows a policy")).expect("writable");

    house.gateway.done(&["policy", "create", file.to_str().expect("a path")]);

    let at = |hour: &str, tool: &str| {
        let question = json!({
            "caller": {"role": "user"}, "server": "files", "tool": tool,
            "at": format!("2026-11-25T{hour}:30:00Z"),
        });
        house.test(&question)["allowed"].clone()
    };
    // Vienna is an hour ahead in winter.
    assert_eq!(
        (at("18", "write"), at("19", "write"), at("19", "read")),
        (json!(true), json!(false), json!(true))
    );
}

#[test]
fn policies_and_lists_go_by_the_tags_of_servers() {
    let gateway = Gateway::start();
    let server = FakeServer::modern(
        r#"{"name":"look","inputSchema":{"type":"object"}}"#,
        r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#,
    );
    gateway.done(&["register", "one", "--endpoint", &server.url, "--tag", "prod", "--tag", "eu"]);
    let form = json!({"name": "two", "url": server.url, "tags": ["eu", "test", "eu"],
        "version": "2.1", "metadata": {"owner": "ana"}});
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string())).json();
    assert_eq!(made["data"]["tags"], json!(["eu", "test"]), "{made}");
    assert_eq!(made["data"]["metadata"]["owner"], "ana");
    let listed = |tag: &str| {
        let all = gateway.ask("GET", &format!("/gateway/servers?tag={tag}"), None).json();
        let all = all["data"].as_array().expect("a list").clone();
        all.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("eu"), ["one", "two"]);
    assert_eq!(listed("prod"), ["one"]);

    let policy = json!({
        "name": "hands off",
        "conditions": {"match": "all", "rules": [
            {"field": "server.tags", "operator": "contains", "value": "prod"},
        ]},
        "actions": {"effect": "deny"},
    });
    let made = gateway.ask("POST", "/policies", Some(&policy.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());
    let call = |name: &str| {
        let arguments = format!(r#""name":"{name}""#);
        let said = gateway.call_named("/mcp", "tools/call", Some(name), &arguments);
        said.json()["result"]["content"][0]["text"] == "done"
    };
    assert_eq!([call("one__look"), call("two__look")], [false, true]);
    gateway.done(&["server", "update", "one", "--tag", ""]);
    assert!(call("one__look"));
    let wrong = json!({"tags": ["a b"]}).to_string();
    assert_eq!(gateway.ask("PATCH", "/gateway/servers/one", Some(&wrong)).status, 422);
}
