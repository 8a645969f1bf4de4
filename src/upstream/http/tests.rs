use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use serde_json::{Value, json};

use super::scripted::{Asked, Said, Scripted};
use crate::{
    domain::{Endpoint, EndpointTls, Instance, Secret, ServerAuth, SystemClock, Transport},
    problem::chain,
    upstream::{Environment, Settings, Upstream},
    wire::{Address, Method},
};

use super::*;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

struct House {
    upstream: Upstream,
    instance: Instance,
}

impl House {
    fn of(url: &str, settings: Settings) -> Self {
        let environment = Environment { path: "/bin".into(), home: None, lang: None };
        let clock = Arc::new(SystemClock);
        let upstream = Upstream::new(settings, None, "/".into(), environment, clock);
        let headers = BTreeMap::from([("Authorization".to_owned(), Secret::new("Bearer x"))]);
        let endpoint = Endpoint::Http {
            url: url.parse().expect("a URL"),
            headers,
            transport: Transport::Auto,
            auth: ServerAuth::None,
            tls: EndpointTls::default(),
        };
        let instance = Instance::new(endpoint);
        Self { upstream: upstream.expect("an upstream"), instance }
    }

    fn at(server: &Scripted) -> Self {
        let settings =
            Settings { answer_bytes: 100_000, header_bytes: 8_192, ..Settings::default() };
        Self::of(&server.url, settings)
    }

    async fn call(&self) -> Result<Value, Error> {
        self.call_within(5_000).await
    }

    async fn call_within(&self, ms: u64) -> Result<Value, Error> {
        let params = r#"{"name":"x__echo","arguments":{"n":1}}"#;
        let request = Request::make(&Method::ToolsCall, params);
        let deadline = Instant::now() + Duration::from_millis(ms);
        let address = Address { subject: Some("echo"), params: &[] };
        let answer =
            self.upstream.ask(&self.instance, Ask::plain(&request, address, deadline)).await?;
        Ok(serde_json::from_slice(answer.bytes()).expect("parsed before"))
    }

    fn peer(&self) -> Arc<Peer> {
        self.upstream.peer(&self.instance.id).expect("greeted")
    }
}

/// A server of today's revision that answers calls as the script says.
fn modern(
    script: impl Fn(&Asked) -> Said + Send + Sync + Clone + 'static,
) -> impl Fn(&Asked) -> Said + Send + Sync + Clone + 'static {
    move |asked| match asked.method() {
        "server/discover" => {
            let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
            Said::json(200, asked.result(&result))
        }
        _ => script(asked),
    }
}

/// A server of an older revision with sessions, which answers calls as the script says.
fn legacy(
    script: impl Fn(&Asked) -> Said + Send + Sync + Clone + 'static,
) -> impl Fn(&Asked) -> Said + Send + Sync + Clone + 'static {
    let sessions = Arc::new(AtomicUsize::new(0));
    move |asked| match asked.method() {
        "initialize" => {
            let session = format!("s{}", sessions.fetch_add(1, SeqCst));
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "old", "version": "1"}});
            Said::events(&[asked.result(&result)]).header("mcp-session-id", &session)
        }
        "server/discover" => Said::json(400, refused(-32000, "Bad Request: no session")),
        "" if asked.verb == Verb::POST => Said::text(202, JSON, ""),
        "notifications/initialized" | "notifications/cancelled" => Said::text(202, JSON, ""),
        _ => script(asked),
    }
}

fn refused(code: i64, message: &str) -> String {
    let error = json!({"code": code, "message": message});
    json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string()
}

fn fine(asked: &Asked) -> Said {
    Said::json(200, asked.result(&json!({"content": []})))
}

/// How a call ends that a server of today's revision answers so.
async fn failure(script: impl Fn(&Asked) -> Said + Send + Sync + Clone + 'static) -> Error {
    let server = Scripted::start(modern(script)).await;
    House::at(&server).call_within(1_000).await.expect_err("a failure")
}

#[tokio::test]
async fn asks_a_stateless_server_with_headers_that_agree() {
    let server = Scripted::start(modern(fine)).await;
    let house = House::at(&server);

    house.call().await.expect("an answer");
    let answer = house.call().await.expect("an answer");

    assert_eq!(answer["result"], json!({"content": []}));
    assert_eq!(server.methods(), ["server/discover", "tools/call", "tools/call"]);
    let asked = &server.asked()[2];
    let header = |name| asked.header(name);
    assert_eq!(header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(header("mcp-method"), Some("tools/call"));
    assert_eq!(header("mcp-name"), Some("echo"));
    assert_eq!(header("authorization"), Some("Bearer x"));
    assert_eq!(header("accept"), Some("application/json, text/event-stream"));
    assert_eq!(asked.body["params"]["name"], "echo");
    assert_eq!(header("host").map(|host| format!("http://{host}/mcp")), Some(server.url.clone()));
}

#[tokio::test]
async fn asks_an_older_server_in_a_session_and_lets_go_of_it() {
    let server = Scripted::start(legacy(|asked| {
        if asked.verb == Verb::DELETE { Said::text(200, JSON, "") } else { fine(asked) }
    }))
    .await;
    let house = House::at(&server);

    house.call().await.expect("an answer");
    house.upstream.retire(&house.instance.id).await;

    let opened = ["server/discover", "initialize", "notifications/initialized"];
    assert_eq!(server.methods()[..3], opened);
    let mut later = server.methods().split_off(3);
    // The stream that stands open is asked for at any moment, or not at all where it is too late.
    later.retain(|method| method != "GET");
    assert_eq!(later, ["tools/call", "DELETE"]);
    for asked in &server.asked()[2..] {
        assert_eq!(asked.header("mcp-session-id"), Some("s0"));
        assert_eq!(asked.header("mcp-protocol-version"), Some("2025-11-25"));
        assert_eq!(asked.header("mcp-method"), None);
    }
    assert_eq!(server.asked()[1].header("mcp-protocol-version"), None);
    let asked = server.asked();
    let called = asked.iter().find(|asked| asked.method() == "tools/call").expect("a call");
    assert_eq!(called.body["params"].get("_meta"), None);
}

#[tokio::test]
async fn any_refusal_that_is_not_todays_leads_to_a_handshake() {
    let refusals = [
        (400, refused(-32000, "Bad Request: Server not initialized")),
        (400, refused(-32600, "Missing session ID")),
        (405, String::new()),
        (404, "<h1>not here</h1>".to_owned()),
        (200, refused(-32601, "Method not found")),
        (400, refused(-32022, "only 2025-11-25")),
    ];
    for (status, body) in refusals {
        let said = body.clone();
        let old = legacy(fine);
        let odd = Scripted::start(move |asked: &Asked| match asked.method() {
            "server/discover" => Said::json(status, said.clone()),
            _ => old(asked),
        })
        .await;
        let house = House::at(&odd);

        house.call().await.expect("an answer");

        assert_eq!(house.peer().era, Era::Legacy, "{status} {body}");
    }
}

#[tokio::test]
async fn todays_refusals_are_believed() {
    let mismatch =
        Scripted::start(|asked: &Asked| Said::json(400, asked.error(-32020, "no"))).await;
    let undiscovered = Scripted::start(|asked: &Asked| match asked.method() {
        "server/discover" => Said::json(404, asked.error(-32601, "unknown")),
        _ => fine(asked),
    })
    .await;

    let refused = House::at(&mismatch).call().await.expect_err("refused");
    let house = House::at(&undiscovered);
    house.call().await.expect("an answer");

    assert!(matches!(refused, Error::HandshakeRefused { code: -32020 }), "{refused:?}");
    assert_eq!(mismatch.methods(), ["server/discover"]);
    assert_eq!((house.peer().era, house.peer().capabilities.tools), (Era::Modern, true));
}

#[tokio::test]
async fn a_lost_session_is_opened_anew_and_the_call_repeated() {
    let losses = [
        (404, refused(-32600, "Session not found")),
        (404, String::new()),
        (405, String::new()),
        (400, refused(-32000, "Bad Request: No valid session ID provided")),
    ];
    for (status, body) in losses {
        let server =
            Scripted::start(legacy(move |asked: &Asked| match asked.header("mcp-session-id") {
                Some("s1") => fine(asked),
                _ => Said::json(status, body.clone()),
            }))
            .await;

        let answer = House::at(&server).call().await;

        assert!(answer.is_ok(), "{status}: {answer:?}");
        let calls = server.methods().iter().filter(|method| *method == "tools/call").count();
        assert_eq!(calls, 2);
    }
}

#[tokio::test]
async fn a_session_that_is_lost_again_is_not_sought_for_ever() {
    let lost = |_: &Asked| Said::json(404, refused(-32600, "Session not found"));
    let server = Scripted::start(legacy(lost)).await;

    let answer = House::at(&server).call().await.expect("the server's error");

    assert_eq!(answer["error"]["code"], -32600);
    assert_eq!(server.methods().iter().filter(|method| *method == "initialize").count(), 2);
}

#[tokio::test]
async fn errors_with_a_status_are_answers() {
    let invalid = |asked: &Asked| Said::json(400, asked.error(-32602, "no such tool"));
    let server = Scripted::start(modern(invalid)).await;

    let answer = House::at(&server).call().await.expect("an answer");

    assert_eq!(answer["error"]["code"], -32602);
    assert_eq!(server.methods(), ["server/discover", "tools/call"]);
}

#[tokio::test]
async fn a_server_that_changes_its_era_is_asked_anew() {
    let new = modern(fine);
    let old = legacy(fine);
    let count = Arc::new(AtomicUsize::new(0));
    let server = Scripted::start(move |asked: &Asked| {
        // After two requests it is replaced by an older one.
        if count.fetch_add(1, SeqCst) < 2 {
            new(asked)
        } else if asked.header("mcp-session-id").is_none() && asked.method() == "tools/call" {
            Said::json(400, refused(-32000, "Bad Request: Server not initialized"))
        } else {
            old(asked)
        }
    })
    .await;
    let house = House::at(&server);

    house.call().await.expect("an answer");
    assert_eq!(house.peer().era, Era::Modern);
    house.call().await.expect("an answer");

    assert_eq!(house.peer().era, Era::Legacy);
}

#[tokio::test]
async fn finds_the_answer_in_a_stream_and_refuses_what_is_asked_there() {
    let server = Scripted::start(legacy(|asked: &Asked| {
        let ask = |id: &str, method: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)
        };
        let word = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
        Said::events(&[
            String::new(),
            word.to_owned(),
            ask("0", "roots/list"),
            ask("\"p\"", "ping"),
            asked.result(&json!({"found": true})),
        ])
    }))
    .await;

    let house = House::at(&server);
    let answer = house.call().await.expect("an answer");
    // Replies are on their way when the answer is there; closing waits for them.
    house.upstream.close().await;

    assert_eq!(answer["result"]["found"], true);
    let asked = server.asked();
    let reply = |id: Value| asked.iter().find(|asked| asked.body["id"] == id).expect("a reply");
    assert_eq!(reply(json!(0)).body["error"]["code"], -32601);
    let pong = reply(json!("p"));
    assert_eq!(pong.body, json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
    assert_eq!(pong.header("mcp-session-id"), Some("s0"));
}

#[tokio::test]
async fn what_is_not_mcp_is_told_apart() {
    let page = failure(|_| Said::text(200, "text/html", "<h1>hello</h1>")).await;
    let zip = failure(|asked| fine(asked).header("content-encoding", "gzip")).await;
    let junk = failure(|_| Said::json(200, "{\"jsonrpc\":")).await;
    let other = failure(|_| Said::json(200, r#"{"jsonrpc":"2.0","id":77,"result":{}}"#)).await;
    let silent = failure(|_| Said::events(&[])).await;

    for error in [page, zip, junk, other, silent] {
        assert_eq!(error.to_string(), "it answered something that is not MCP", "{error:?}");
        assert!(error.was_delivered());
    }
}

#[tokio::test]
async fn refusals_without_words_of_mcp_keep_their_status() {
    let away =
        failure(|_| Said::text(302, JSON, "").header("location", "http://127.0.0.1:1/")).await;
    let denied = failure(|_| Said::text(401, JSON, "no")).await;

    assert_eq!(away.to_string(), "it refused the request with status 302");
    assert_eq!(denied.to_string(), "it refused the request with status 401");
}

#[tokio::test]
async fn nothing_is_read_without_end() {
    let body = failure(|_| Said::endless(JSON, &[b' '; 1_000])).await;
    let line: &[u8] =
        b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n";
    let event = failure(|_| Said::endless(EVENTS, line)).await;
    let words = failure(|_| Said::endless(EVENTS, b": hello\n\n")).await;
    let head = failure(|asked| fine(asked).header("x-long", &"x".repeat(20_000))).await;
    let stuck = failure(|_| Said::stuck(JSON, "{")).await;

    assert!(matches!(body, Error::TooLarge { limit_bytes: 100_000 }), "{body:?}");
    assert!(matches!(event, Error::TooLarge { limit_bytes: 100_000 }), "{event:?}");
    assert!(matches!(words, Error::TooSlow { was_delivered: true, .. }), "{words:?}");
    assert!(matches!(head, Error::TooLarge { limit_bytes: 8_192 }), "{}", chain(&head));
    assert_eq!(stuck.to_string(), "it did not answer within 1 s");
}

#[tokio::test]
async fn an_answer_in_many_pieces_is_one_answer() {
    let padded = |asked: &Asked| {
        let text = "x".repeat(90_000);
        Said::json(200, asked.result(&json!({"content": [{"type": "text", "text": text}]})))
    };
    let server = Scripted::start(modern(padded)).await;

    let answer = House::at(&server).call().await.expect("an answer");

    let text = answer["result"]["content"][0]["text"].as_str().expect("text");
    assert_eq!(text.len(), 90_000);
}

#[tokio::test]
async fn an_answer_is_taken_before_its_stream_ends() {
    let open =
        |asked: &Asked| Said::stuck(EVENTS, format!("data: {}\n\n", asked.result(&json!({}))));
    let server = Scripted::start(modern(open)).await;

    let answer = House::at(&server).call_within(1_000).await;

    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn who_gives_up_tells_an_older_server() {
    let server = Scripted::start(legacy(|_: &Asked| Said::stuck(EVENTS, ": wait\n\n"))).await;
    let house = House::at(&server);

    let error = house.call_within(300).await.expect_err("too slow");
    house.upstream.close().await;

    assert!(matches!(error, Error::TooSlow { was_delivered: true, .. }), "{error:?}");
    let asked = server.asked();
    let call = asked.iter().find(|asked| asked.method() == "tools/call").expect("called");
    let cancelled = asked.iter().find(|asked| asked.method() == "notifications/cancelled");
    let cancelled = cancelled.expect("cancelled");
    assert_eq!(cancelled.body["params"]["requestId"], call.body["id"]);
}

#[tokio::test]
async fn nobody_there_is_told_and_nothing_was_delivered() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    drop(listener);

    let error = House::of(&url, Settings::default()).call().await.expect_err("nobody");

    assert_eq!(error.to_string(), "it cannot be reached");
    assert!(!error.was_delivered());
}

#[tokio::test]
async fn a_first_conversation_is_opened_by_one_caller_only() {
    let server = Scripted::start(legacy(fine)).await;
    let house = House::at(&server);

    let calls = (0..20).map(|_| house.call());
    let answers = futures_util::future::join_all(calls).await;

    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.methods().iter().filter(|method| *method == "initialize").count(), 1);
}

#[tokio::test]
async fn carries_only_so_many_calls_at_once() {
    let server = Scripted::start(modern(|_: &Asked| Said::stuck(JSON, "{"))).await;
    let settings = Settings { in_flight_per_instance: 1, ..Settings::default() };
    let house = House::of(&server.url, settings);

    let (first, second) = tokio::join!(house.call_within(300), house.call_within(300));

    assert!(matches!(first, Err(Error::TooSlow { .. })), "{first:?}");
    assert!(matches!(second, Err(Error::Busy { limit: 1 })), "{second:?}");
}
