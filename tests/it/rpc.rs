//! Plain JSON-RPC and REST, for clients that speak no transport of MCP.

use serde_json::{Value, json};

use crate::support::{Act, Answer, FakeServer, Gateway, answer, modern_result};

const TOOL: &str = r#"{"name":"add","inputSchema":{"type":"object"}}"#;
const RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"3"}],"structuredContent":{"n":9223372036854775808},"isError":false}"#;

/// A gateway with one server, `sums`, which has one tool, `add`.
fn house() -> (Gateway, FakeServer) {
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        if asked["method"] == "tools/call" && asked["params"]["name"] != "add" {
            let error = r#"{"code":-32602,"message":"no such tool"}"#;
            let id = &asked["id"];
            return Act::Json(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
        }
        Act::Json(answer(&asked, &modern_result(&asked, TOOL, RESULT)))
    });
    let gateway = Gateway::start();
    gateway.done(&["register", "sums", "--endpoint", &server.url]);
    (gateway, server)
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    gateway.ask("POST", path, Some(&body.to_string()))
}

fn ask(id: u32, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[test]
fn a_request_alone_is_answered_alone() {
    let (gateway, _server) = house();
    let call = |path: &str, params: &Value| post(&gateway, path, &ask(7, "tools/call", params));

    let pong = post(&gateway, "/rpc", &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).json();
    assert_eq!(pong["result"]["message"], "pong");
    let everything = call("/rpc", &json!({"name": "sums__add"}));
    assert!(everything.text().contains("9223372036854775808"), "{}", everything.text());
    assert_eq!(everything.json()["id"], 7);
    let one = call("/servers/sums/rpc", &json!({"name": "add"})).json();
    assert_eq!(one["result"]["content"][0]["text"], "3");
    let named = call("/mcp/rpc", &json!({"name": "add", "server_id": "sums"})).json();
    assert_eq!(named["result"]["content"][0]["text"], "3");
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
    let opened = post(&gateway, "/rpc", &ask(1, "initialize", &hello));
    assert_eq!(opened.json()["result"]["protocolVersion"], "2025-06-18");
    assert!(!opened.headers.contains_key("mcp-session-id"));
}

#[test]
fn what_cannot_be_read_has_a_status_and_what_failed_is_an_answer() {
    let (gateway, _server) = house();
    let told = |path: &str, body: &str| {
        let said = gateway.ask("POST", path, Some(body));
        (said.status, said.json()["error"]["code"].as_i64().unwrap_or_default())
    };

    assert_eq!(told("/rpc", "nonsense"), (400, -32700));
    assert_eq!(told("/rpc", r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#), (400, -32600));
    assert_eq!(told("/rpc", r#"{"jsonrpc":"2.0","id":1}"#), (400, -32600));
    assert_eq!(told("/rpc", r#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#), (200, -32601));
    let unknown = ask(1, "tools/call", &json!({"name": "nope"})).to_string();
    assert_eq!(told("/rpc", &unknown), (200, -32602));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(told("/servers/nobody/rpc", ping), (404, -32001));
    assert_eq!(gateway.ask("GET", "/rpc", None).status, 405);
    let word = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(gateway.ask("POST", "/rpc", Some(word)).status, 202);
}

#[test]
fn an_array_is_answered_in_order_and_has_a_limit() {
    let (gateway, _server) = house();
    let mut asked: Vec<Value> = (0..20).map(|id| ask(id, "tools/list", &json!({}))).collect();
    asked.insert(3, json!({"jsonrpc": "2.0", "method": "notifications/x"}));
    asked.push(json!([1]));

    for path in ["/rpc", "/rpc/batch"] {
        let said = post(&gateway, path, &asked.clone().into()).json();
        let ids: Vec<Value> =
            said.as_array().expect("an array").iter().map(|it| it["id"].clone()).collect();
        let mut wanted: Vec<Value> = (0..20).map(Value::from).collect();
        wanted.push(Value::Null);
        assert_eq!(ids, wanted, "{path}");
        assert_eq!(said[20]["error"]["code"], -32600);
    }
    let many: Vec<Value> = (0..101).map(|id| ask(id, "ping", &json!({}))).collect();
    for (body, status) in [(json!(many), 400), (json!([]), 400), (json!({}), 400)] {
        let said = post(&gateway, "/rpc/batch", &body);
        assert_eq!((said.status, &said.json()["error"]["code"]), (status, &json!(-32600)));
    }
    let words = json!([{"jsonrpc": "2.0", "method": "notifications/x"}]);
    assert_eq!(post(&gateway, "/rpc/batch", &words).status, 202);
    assert_eq!(post(&gateway, "/mcp", &words).status, 400);
}

#[test]
fn rest_is_answered_in_rest() {
    let (gateway, _server) = house();
    let call = |body: &Value| post(&gateway, "/mcp/sums/tools/call", body);

    let list = gateway.ask("GET", "/mcp/sums/tools/list", None).json();
    assert_eq!((&list["count"], &list["tools"][0]["name"]), (&json!(1), &json!("add")));
    assert_eq!((&list["template"], &list["discovery_method"]), (&json!("sums"), &json!("mcp")));
    let called = call(&json!({"name": "add", "arguments": {"a": 1}}));
    assert!(called.text().contains("9223372036854775808"), "{}", called.text());
    let called = called.json();
    assert_eq!((&called["content"][0]["text"], &called["isError"]), (&json!("3"), &json!(false)));
    assert_eq!(called["_gateway_info"]["transport"], "streamable_http");
    assert!(called["_gateway_info"]["instance_id"].is_string());
    let refused = [
        (call(&json!({"arguments": {}})), 400),
        (call(&json!({"name": "nope"})), 404),
        (call(&json!([])), 400),
        (gateway.ask("GET", "/mcp/nobody/tools/list", None), 404),
        (gateway.ask("POST", "/mcp/sums/tools/list", Some("{}")), 405),
    ];
    for (said, status) in &refused[..4] {
        assert_eq!(said.status, *status, "{}", said.text());
        assert_eq!(said.json()["success"], false);
        assert_eq!(said.json()["detail"], said.json()["error"]["message"]);
    }
    assert_eq!(refused[4].0.status, refused[4].1);
    let health = gateway.ask("GET", "/mcp/sums/health", None).json();
    assert_eq!((&health["status"], &health["healthy_instances"]), (&json!("healthy"), &json!(1)));
}

#[test]
fn a_server_that_is_gone_is_told_by_the_status() {
    let gateway = Gateway::start();
    gateway.done(&["register", "gone", "--endpoint", "http://127.0.0.1:9/mcp"]);
    let call = || post(&gateway, "/mcp/gone/tools/call", &json!({"name": "add"}));

    for said in [call(), gateway.ask("GET", "/mcp/gone/tools/list", None)] {
        assert_eq!(said.status, 503, "{}", said.text());
        assert_eq!(said.json()["error"]["code"], "SERVICE_UNAVAILABLE");
    }
}

#[test]
fn strangers_come_in_by_none_of_these_doors() {
    let (mut gateway, _server) = house();
    gateway.key = "thk_live_nobody".into();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    for path in ["/rpc", "/rpc/batch", "/servers/sums/rpc", "/mcp/rpc", "/mcp/sums/tools/call"] {
        assert_eq!(gateway.ask("POST", path, Some(body)).status, 401, "{path}");
    }
    for path in ["/rpc/introspection", "/mcp/sums/tools/list", "/mcp/capabilities", "/mcp/status"] {
        assert_eq!(gateway.ask("GET", path, None).status, 401, "{path}");
    }
    for path in ["/rpc/health", "/sse/health", "/ws/health", "/mcp/health", "/stdio/health"] {
        let said = gateway.ask("GET", path, None);
        assert_eq!((said.status, &said.json()["status"]), (200, &json!("healthy")), "{path}");
    }
}
