use std::path::PathBuf;

use serde_json::{json, value::RawValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};

use super::*;

/// Answers one request with these bytes and gives back what was asked.
async fn answer_once<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    mut stream: S,
    answer: String,
) -> String {
    let mut asked = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let read = stream.read(&mut piece).await.expect("a readable connection");
        asked.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&asked);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
            break;
        }
    }
    stream.write_all(answer.as_bytes()).await.expect("a writable connection");
    stream.shutdown().await.expect("a writable connection");
    String::from_utf8(asked).expect("UTF-8")
}

async fn gateway(status: u16, kind: &str, body: &str) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let asked = spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        answer_once(stream, answer).await
    });
    (Client::tcp(&url, Some(Secret::new("thk_x"))).expect("a URL"), asked)
}

#[expect(clippy::disallowed_methods, reason = "the other side of the test's own connection")]
fn spawn(work: impl Future<Output = String> + Send + 'static) -> JoinHandle<String> {
    tokio::spawn(work)
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

#[tokio::test]
async fn a_call_names_its_revision_method_and_tool() {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true,"x":18446744073709551616}}"#;
    let (client, asked) = gateway(200, "application/json", body).await;

    let result = client.call("time__now", &raw(r#"{"n":18446744073709551616}"#)).await;

    let result = result.expect("an answer");
    let asked = asked.await.expect("asked");
    assert!(result.is_error && result.is_complete);
    assert!(result.raw.get().contains("18446744073709551616"));
    assert!(asked.starts_with("POST /mcp HTTP/1.1\r\n"), "{asked}");
    for part in [
        "authorization: Bearer thk_x\r\n",
        "mcp-protocol-version: 2026-07-28\r\n",
        "mcp-method: tools/call\r\n",
        "mcp-name: time__now\r\n",
        r#""arguments":{"n":18446744073709551616}"#,
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
    ] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
}

#[tokio::test]
async fn the_answer_of_a_stream_is_its_last_message() {
    let body = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n\
        data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[{\"name\":\"a\"}],\
        \"_meta\":{\"io.tollhouse/missing\":[{\"server\":\"b\",\"reason\":\"gone\"}]}}}\n\n";
    let (client, _) = gateway(200, "text/event-stream", body).await;

    let tools = client.tools().await.expect("a list");

    assert_eq!(tools.tools[0].name, "a");
    assert_eq!(tools.missing, [Missing { server: "b".into(), reason: "gone".into() }]);
}

#[tokio::test]
async fn refusals_of_both_dialects_keep_their_facts() {
    let envelope = json!({"success": false, "error": {"type": "NotFound", "code": "NOT_FOUND",
        "message": "no server \"x\"", "details": {}, "request_id": "r1"}, "detail": "no"});
    let rpc = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602,
        "message": "unknown tool", "data": {"code": "NOT_FOUND", "request_id": "r2"}}});
    let (office, asked) = gateway(404, "application/json", &envelope.to_string()).await;
    let (door, _) = gateway(200, "application/json", &rpc.to_string()).await;

    let of_office = office.deregister("a/b").await.expect_err("a refusal");
    let of_door = door.call("x", &raw("{}")).await.expect_err("a refusal");

    let facts = |status, rpc, message: &str, id: &str| Refusal {
        wants_second_factor: false,
        status,
        code: "NOT_FOUND".into(),
        rpc,
        message: message.into(),
        request_id: Some(id.into()),
    };
    assert_eq!(of_office.refusal(), Some(&facts(404, None, "no server \"x\"", "r1")));
    assert_eq!(of_office.kind(), Kind::NotFound);
    assert_eq!(of_door.refusal(), Some(&facts(200, Some(-32602), "unknown tool", "r2")));
    assert!(asked.await.expect("asked").starts_with("DELETE /gateway/servers/a%2Fb HTTP"));
}

#[tokio::test]
async fn strangers_are_told_from_gateways() {
    let (client, _) = gateway(200, "text/html", "<html>hello").await;
    let nobody = Client::unix(&PathBuf::from("/nonexistent/tollhouse.sock"));

    let stranger = client.status().await.expect_err("no gateway");
    let nobody = nobody.is_ready().await.expect_err("nobody");

    assert!(matches!(stranger, Error::Unreadable { status: 200, .. }), "{stranger:?}");
    assert_eq!(nobody.to_string(), "no gateway answers at /nonexistent/tollhouse.sock");
}

#[tokio::test]
async fn a_unix_socket_needs_no_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("tollhouse.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let body = r#"{"success":true,"data":{"api_key":"thk_y","username":"admin"}}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let asked = spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        answer_once(stream, answer).await
    });

    let claim = Client::unix(&socket).setup("admin", &Secret::new("long enough")).await;

    assert_eq!(claim.expect("a claim").api_key.expose(), "thk_y");
    let asked = asked.await.expect("asked");
    assert!(!asked.contains("authorization"), "{asked}");
    assert!(asked.ends_with(r#"{"username":"admin","password":"long enough"}"#), "{asked}");
}
