//! Channels: a WebSocket, the stream of HTTP+SSE, and standard input and output.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    Act, FakeServer, Gateway, Socket, answer, eventually, gateway_meta, modern_result, request,
};

const TOOL: &str = r#"{"name":"ask","inputSchema":{"type":"object"}}"#;
const QUESTION: &str = r#"{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":{"mode":"form","message":"?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"s"}"#;
const DONE: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;

/// A server whose tool asks something before it answers.
fn asking() -> FakeServer {
    FakeServer::play(|seen| {
        let asked = seen.json();
        let is_answered = !asked["params"]["inputResponses"].is_null();
        let result = if is_answered { DONE } else { QUESTION };
        Act::Json(answer(&asked, &modern_result(&asked, TOOL, result)))
    })
}

/// A server whose tool never answers.
fn hanging() -> FakeServer {
    FakeServer::play(|seen| {
        let asked = seen.json();
        if asked["method"] == "tools/call" {
            return Act::Hang;
        }
        Act::Json(answer(&asked, &modern_result(&asked, TOOL, DONE)))
    })
}

fn register(gateway: &Gateway, name: &str, server: &FakeServer) {
    gateway.done(&["register", "-q", name, "--endpoint", &server.url]);
}

fn call(id: u32, name: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#)
}

fn busy(gateway: &Gateway) -> u64 {
    let status = gateway.done(&["status", "-o", "json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status["servers"][0]["in_flight"].as_u64().expect("a number")
}

fn open_sessions(gateway: &Gateway) -> String {
    let metrics = gateway.ask("GET", "/metrics", None);
    let line = metrics.text().lines().find(|line| line.starts_with("tollhouse_sessions "));
    line.expect("the metric").to_owned()
}

#[test]
fn a_client_on_a_websocket_is_asked_in_the_middle_of_its_call() {
    let (gateway, server) = (Gateway::start(), asking());
    register(&gateway, "x", &server);
    let mut socket = Socket::open(&gateway, "/servers/x/ws");

    let hello = socket.initialize();
    socket.say(&call(1, "ask"));
    let question = socket.hear();
    let id = &question["id"];
    socket.say(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{}}}}}}"#
    ));
    let said = socket.hear();

    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!((&said["id"], &said["result"]["content"][0]["text"]), (&json!(1), &json!("done")));
    let asked = server.asked("tools/call");
    assert_eq!(asked[1].json()["params"]["inputResponses"]["q"]["action"], "accept");
}

#[test]
fn both_eras_share_a_websocket() {
    let gateway = Gateway::start();
    let mut socket = Socket::open(&gateway, "/ws");

    socket.initialize();
    let listed = format!(
        r#"{{"jsonrpc":"2.0","id":"m","method":"tools/list","params":{{"_meta":{}}}}}"#,
        gateway_meta()
    );
    socket.say(&listed);
    let modern = socket.hear();
    socket.say(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#);
    let legacy = socket.hear();

    assert_eq!((&modern["id"], &modern["result"]["resultType"]), (&json!("m"), &json!("complete")));
    assert_eq!(legacy["id"], 2);
}

#[test]
fn a_websocket_hears_of_new_tools() {
    let (gateway, server) = (Gateway::start(), asking());
    let mut socket = Socket::open(&gateway, "/ws");
    socket.initialize();
    socket.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    socket.hear();

    register(&gateway, "x", &server);

    assert_eq!(socket.hear()["method"], "notifications/tools/list_changed");
}

#[test]
fn strangers_and_foreign_pages_get_no_websocket() {
    let gateway = Gateway::start();
    let bearer = format!("Bearer {}", gateway.key);
    let offer = format!("mcp, bearer.{}", gateway.key);
    let open = |headers: &[(&'static str, &str)]| {
        Socket::open_with(&gateway, "/ws", headers).map(|(_, spoken)| spoken)
    };
    let key = ("Authorization", &*bearer);

    assert_eq!(open(&[]), Err(401));
    assert_eq!(open(&[("Cookie", "session=1")]), Err(401));
    assert_eq!(open(&[("Sec-WebSocket-Protocol", "mcp, bearer.thk_live_x")]), Err(401));
    assert_eq!(open(&[key, ("Origin", "http://evil.test")]), Err(403));
    assert_eq!(open(&[key, ("Origin", "null")]), Err(403));
    assert_eq!(open(&[key]), Ok(None));
    assert_eq!(open(&[key, ("Sec-WebSocket-Protocol", "mcp")]), Ok(Some("mcp".into())));
    assert_eq!(open(&[("Sec-WebSocket-Protocol", &offer)]), Ok(Some("mcp".into())));
}

#[test]
fn a_request_that_is_no_handshake_is_told_what_is_missing() {
    let gateway = Gateway::start();
    let upgrade = |version: &str, key: &str| {
        let headers = [
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", version),
            ("Sec-WebSocket-Key", key),
        ];
        gateway.ask_with("GET", "/ws", &headers, None)
    };

    let plain = gateway.ask("GET", "/ws", None);
    let old = upgrade("12", "dGhlIHNhbXBsZSBub25jZQ==");

    assert_eq!((plain.status, &*plain.headers["upgrade"]), (426, "websocket"));
    assert_eq!((old.status, &*old.headers["sec-websocket-version"]), (426, "13"));
    assert_eq!(upgrade("13", "short").status, 400);
    assert_eq!(gateway.ask("POST", "/ws", Some("{}")).status, 405);
}

#[test]
fn a_cancelled_call_is_not_answered_and_ends_at_its_server() {
    let (gateway, server) = (Gateway::start(), hanging());
    register(&gateway, "x", &server);
    let mut socket = Socket::open(&gateway, "/ws");
    socket.initialize();

    socket.say(&call(1, "x__ask"));
    eventually("the call runs", || (busy(&gateway) == 1).then_some(()));
    socket.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    eventually("the call has ended", || (busy(&gateway) == 0).then_some(()));
    socket.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);

    assert_eq!(socket.hear()["id"], 2);
}

#[test]
fn nothing_is_left_of_a_client_that_has_gone() {
    let (gateway, server) = (Gateway::start(), hanging());
    register(&gateway, "x", &server);
    let mut socket = Socket::open(&gateway, "/ws");
    socket.initialize();
    socket.say(&call(1, "x__ask"));
    eventually("the call runs", || (busy(&gateway) == 1).then_some(()));
    assert_eq!(open_sessions(&gateway), "tollhouse_sessions 1");

    drop(socket);

    eventually("the call has ended", || (busy(&gateway) == 0).then_some(()));
    eventually("the session has ended", || {
        (open_sessions(&gateway) == "tollhouse_sessions 0").then_some(())
    });
}

#[test]
fn a_revoked_key_ends_its_channel_at_once() {
    let gateway = Gateway::start();
    let made = gateway.ask("POST", "/auth/api-keys", Some(r#"{"name":"other"}"#)).json();
    let bearer = format!("Bearer {}", made["data"]["key"].as_str().expect("a key"));
    let headers = [("Authorization", &*bearer)];
    let (mut socket, _) = Socket::open_with(&gateway, "/ws", &headers).expect("a handshake");
    socket.initialize();

    let id = made["data"]["id"].as_str().expect("an id");
    assert!(gateway.ask("DELETE", &format!("/auth/api-keys/{id}"), None).status < 300);

    assert_eq!(socket.rest(), (Some(1_008), Vec::new()));
}

#[test]
fn a_reader_that_stops_is_closed_and_holds_nothing_up() {
    let text = "x".repeat(300_000);
    let result: &'static str =
        format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}"#)
            .leak();
    let gateway = Gateway::start_with(&[("TOLLHOUSE_EDGE__CHANNELS__READER_SECONDS", "1")], "");
    let server = FakeServer::modern(TOOL, result);
    register(&gateway, "x", &server);
    let mut socket = Socket::open(&gateway, "/ws");
    socket.initialize();

    for id in 1..=90 {
        socket.say(&call(id, "x__ask"));
    }
    eventually("the session has ended", || {
        (open_sessions(&gateway) == "tollhouse_sessions 0").then_some(())
    });

    let (_, said) = socket.rest();
    assert!(said.len() < 90, "{} answers", said.len());
}

#[test]
fn a_gateway_that_closes_says_so_to_channels() {
    let mut gateway = Gateway::start();
    let mut socket = Socket::open(&gateway, "/ws");
    socket.initialize();

    gateway.signal("-TERM");

    assert_eq!(socket.rest().0, Some(1_001));
    assert!(gateway.wait().success());
}

/// A stream of HTTP+SSE, read event by event.
struct Stream {
    reader: BufReader<TcpStream>,
    head: String,
}

impl Stream {
    fn open(gateway: &Gateway, path: &str) -> Self {
        let bearer = format!("Bearer {}", gateway.key);
        let headers = [("Authorization", &*bearer), ("Accept", "text/event-stream")];
        let mut stream = TcpStream::connect(&gateway.address).expect("the gateway listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        stream
            .write_all(&request("GET", path, &gateway.address, &headers, None))
            .expect("it reads");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "it closed: {head}");
        }
        Self { reader, head: head.to_lowercase() }
    }

    /// The type and the data of the next event; nothing at the end.
    fn next(&mut self) -> Option<(String, String)> {
        let (mut kind, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim().clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((kind, data.trim().to_owned()));
            }
        }
    }

    fn hear(&mut self) -> Value {
        let (kind, data) = self.next().expect("an event");
        assert_eq!(kind, "message");
        serde_json::from_str(&data).expect("JSON")
    }
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{"elicitation":{}},"clientInfo":{"name":"old","version":"1"}}}"#;

#[test]
fn a_client_of_2024_posts_beside_its_stream() {
    let (gateway, server) = (Gateway::start(), asking());
    register(&gateway, "x", &server);
    for (sse, message, tool) in
        [("/sse", "/message", "x__ask"), ("/servers/x/sse", "/servers/x/message", "ask")]
    {
        let mut stream = Stream::open(&gateway, sse);
        assert!(stream.head.contains("\r\ncontent-type: text/event-stream\r\n"), "{}", stream.head);
        assert!(stream.head.contains("\r\ncache-control: no-cache\r\n"), "{}", stream.head);
        let (kind, place) = stream.next().expect("where to post");
        assert_eq!(kind, "endpoint");
        assert!(place.starts_with(&format!("{message}?session_id=")), "{place}");
        let post = |body: &str| gateway.ask("POST", &place, Some(body)).status;

        assert_eq!(post(HELLO), 202);
        assert_eq!(stream.hear()["result"]["protocolVersion"], "2024-11-05");
        assert_eq!(post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), 202);
        assert_eq!(post(&call(1, tool)), 202);
        let question = stream.hear();
        let id = &question["id"];
        assert_eq!(question["method"], "elicitation/create");
        let told = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"decline"}}}}"#);
        assert_eq!(post(&told), 202);
        assert_eq!(stream.hear()["result"]["content"][0]["text"], "done");
        assert_eq!(post("nonsense"), 400);
    }
}

#[test]
fn only_its_opener_posts_to_a_stream() {
    let gateway = Gateway::start();
    let mut stream = Stream::open(&gateway, "/sse");
    let (_, place) = stream.next().expect("where to post");
    let made = gateway.ask("POST", "/auth/api-keys", Some(r#"{"name":"other"}"#)).json();
    let other = format!("Bearer {}", made["data"]["key"].as_str().expect("a key"));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let as_other = |headers: &[(&str, &str)]| {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        gateway.send(&request("POST", &place, &gateway.address, &all, Some(ping))).status
    };
    let post = |place: &str| gateway.ask("POST", place, Some(ping)).status;

    assert_eq!(as_other(&[("Authorization", &other)]), 404);
    assert_eq!(as_other(&[]), 401);
    assert_eq!(post("/message?session_id=made-up"), 404);
    assert_eq!(post(&format!("/servers/x{place}")), 404);
    assert_eq!(post("/message"), 400);
    assert_eq!(post(&place), 202);
    assert_eq!(stream.hear()["id"], 1);
    drop(stream);
    eventually("the stream is forgotten", || (post(&place) == 404).then_some(()));
}

#[test]
fn a_gateway_that_closes_ends_its_streams() {
    let mut gateway = Gateway::start();
    let mut stream = Stream::open(&gateway, "/sse");
    stream.next().expect("where to post");

    gateway.signal("-TERM");

    assert_eq!(stream.next(), None);
    assert!(gateway.wait().success());
}

/// The gateway as a program that a client launches.
struct Launched {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Launched {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollhouse"));
        command.arg("stdio").args(words).env_remove("TOLLHOUSE_URL");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::null()).spawn().expect("it starts");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        // Read on a thread of its own, so that a test need not wait for ever.
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|it| line.send(it))
        });
        Self { process, lines }
    }

    fn say(&mut self, message: &str) {
        let input = self.process.stdin.as_mut().expect("open");
        writeln!(input, "{message}").expect("it reads");
    }

    fn hear(&mut self) -> Value {
        let line = self.lines.recv_timeout(Duration::from_secs(30)).expect("a line in time");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))
    }

    /// Hangs up, and gives the exit code and what is said last.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        drop(self.process.stdin.take());
        let rest = std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_secs(30)).ok());
        let rest = rest.collect();
        (self.process.wait().expect("it ends").code(), rest)
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // It has ended already, unless its test failed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_launched_gateway_speaks_for_the_one_that_runs() {
    let (gateway, server) = (Gateway::start(), asking());
    register(&gateway, "x", &server);
    let url = format!("http://{}", gateway.address);
    let data = gateway.data();

    for words in [
        &["--data", &data, "--server", "x"][..],
        &["--url", &url, "--key", &gateway.key, "--server", "x"],
    ] {
        let mut launched = Launched::start(words);
        launched.say(HELLO);
        assert_eq!(launched.hear()["result"]["serverInfo"]["name"], "tollhouse");
        launched.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        launched.say(&call(1, "ask"));
        let question = launched.hear();
        let id = &question["id"];
        launched.say(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{}}}}}}"#
        ));
        assert_eq!(launched.hear()["result"]["content"][0]["text"], "done");
        assert_eq!(launched.end(), (Some(0), Vec::new()));
    }
}

#[test]
fn a_launched_gateway_is_one_itself_where_none_runs_and_others_find_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let list = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{}}}}}"#,
        gateway_meta()
    );
    let mut first = Launched::start(&["--data", &data]);
    let mut second = Launched::start(&["--data", &data]);

    for launched in [&mut first, &mut second] {
        launched.say(&list);
        assert_eq!(launched.hear()["result"]["resultType"], "complete");
    }

    // Whichever came first is the gateway; the other one only speaks for it.
    let ends = [second.end().0, first.end().0];
    assert!(ends.contains(&Some(0)), "{ends:?}");
    assert!(!folder.path().join("data/tollhouse.sock").exists());
}

#[test]
fn a_launched_gateway_answers_what_was_asked_before_its_input_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let mut launched = Launched::start(&["--data", &data]);

    launched.say(HELLO);
    launched.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    launched.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let (code, said) = launched.end();

    let lines: Vec<Value> =
        said.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((code, lines.len()), (Some(0), 2));
    assert!(lines[1]["result"]["tools"].is_array());
}

#[test]
fn a_launched_gateway_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let mut launched = Launched::start(&["--data", &data]);
    launched.say(HELLO);
    launched.hear();

    let pid = launched.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());

    assert_eq!(launched.process.wait().expect("it ends").code(), Some(0));
}
