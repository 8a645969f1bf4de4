//! Tasks: clients hear how far theirs have come without asking.

use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};

use crate::support::{Act, FakeServer, Gateway, Socket, answer, gateway_meta};

/// A server of 2025-11-25 whose one tool must be a task, which is over when something is sent.
fn slow() -> (FakeServer, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let server = FakeServer::play(move |seen| {
        if seen.body.is_empty() {
            return Act::Status(405, String::new());
        }
        let asked = seen.json();
        let result = match asked["method"].as_str().unwrap_or_default() {
            "server/discover" => return Act::Status(400, String::new()),
            "initialize" => {
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}},"serverInfo":{"name":"old","version":"1"}}"#
            }
            "tools/list" => {
                r#"{"tools":[{"name":"slow","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}]}"#
            }
            "tools/call" => {
                r#"{"task":{"taskId":"t","status":"working","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttl":60000}}"#
            }
            "tasks/result" => {
                let _ = released.lock().expect("no panic").recv();
                r#"{"content":[{"type":"text","text":"done"}]}"#
            }
            _ => return Act::Status(202, String::new()),
        };
        Act::Json(answer(&asked, result))
    });
    (server, release)
}

#[test]
fn a_client_of_today_hears_of_the_tasks_it_names_and_of_no_others() {
    let (server, release) = slow();
    let gateway = Gateway::start();
    gateway.done(&["register", "-q", "s", "--endpoint", &server.url]);
    let mut socket = Socket::open(&gateway, "/ws");
    let meta = gateway_meta().replace(
        r#"clientCapabilities":{}"#,
        r#"clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
    );
    let ask = |id: &str, method: &str, params: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{{{params},"_meta":{meta}}}}}"#
        )
    };

    socket.say(&ask("call", "tools/call", r#""name":"s__slow","arguments":{}"#));
    let begun = socket.hear();
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    let task = begun["result"]["taskId"].as_str().expect("an id").to_owned();
    let filter = format!(r#""notifications":{{"taskIds":["{task}","somebody-elses"]}}"#);
    socket.say(&ask("listen", "subscriptions/listen", &filter));
    let agreed = socket.hear();
    release.send(()).expect("it waits");
    let told = socket.hear();

    assert_eq!(agreed["params"]["notifications"], json!({ "taskIds": [task] }), "{agreed}");
    assert_eq!(told["method"], "notifications/tasks", "{told}");
    let params = &told["params"];
    assert_eq!((&params["taskId"], &params["status"]), (&json!(task), &json!("completed")));
    assert_eq!(params["result"]["content"][0]["text"], "done");
    assert_eq!(params["_meta"]["io.modelcontextprotocol/subscriptionId"], "listen");
}

#[test]
fn an_older_client_hears_of_the_tasks_of_its_session_in_its_own_words() {
    let (server, release) = slow();
    let gateway = Gateway::start();
    gateway.done(&["register", "-q", "s", "--endpoint", &server.url]);
    let mut socket = Socket::open(&gateway, "/ws");
    socket.say(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"old","version":"1"}}}"#);
    socket.hear();
    socket.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);

    socket.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s__slow","task":{"ttl":60000}}}"#);
    let begun = socket.hear();
    let task: &Value = &begun["result"]["task"]["taskId"];
    release.send(()).expect("it waits");
    let told = socket.hear();

    assert!(task.is_string(), "{begun}");
    assert_eq!(told["method"], "notifications/tasks/status", "{told}");
    assert_eq!((&told["params"]["taskId"], &told["params"]["status"]), (task, &json!("completed")));
    assert!(told["params"]["ttl"].is_number(), "{told}");
}
