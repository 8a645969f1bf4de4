use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::scripted::{Script, Scripted, Voice};
use crate::{
    domain::{Endpoint, EndpointTls, Instance, Secret, ServerAuth, SystemClock, Transport},
    problem::chain,
    upstream::{Ear, Environment, MidCall, Party, Settings, Upstream, Wanted},
    wire::{Address, Method, Request, Tells},
};

use super::*;

struct House {
    upstream: Upstream,
    instance: Instance,
}

impl House {
    fn at(server: &Scripted, transport: Transport) -> Self {
        let environment = Environment { path: "/bin".into(), home: None, lang: None };
        let settings = Settings { answer_bytes: 100_000, probe_ms: 2_000, ..Settings::default() };
        let clock = Arc::new(SystemClock);
        let upstream = Upstream::new(settings, None, "/".into(), environment, clock);
        let headers = BTreeMap::from([("Authorization".to_owned(), Secret::new("Bearer x"))]);
        let url = server.url.parse().expect("a URL");
        let (auth, tls) = (ServerAuth::None, EndpointTls::default());
        let endpoint = Endpoint::Http { url, headers, transport, auth, tls };
        let instance = Instance::new(endpoint);
        Self { upstream: upstream.expect("an upstream"), instance }
    }

    async fn call(&self, tool: &str) -> Result<Value, Error> {
        self.call_for(tool, None, None, 5_000).await
    }

    async fn call_for(
        &self,
        tool: &str,
        party: Option<&Party>,
        ear: Option<&Ear>,
        ms: u64,
    ) -> Result<Value, Error> {
        let params = json!({"name": format!("x__{tool}"), "arguments": {}}).to_string();
        let request = Request::make(&Method::ToolsCall, &params);
        let deadline = Instant::now() + Duration::from_millis(ms);
        let address = Address { subject: Some(tool), params: &[] };
        let ask = Ask { party, ear, ..Ask::plain(&request, address, deadline) };
        let answer = self.upstream.ask(&self.instance, ask).await?;
        let answer: Value = serde_json::from_slice(answer.bytes()).expect("parsed before");
        Ok(answer["result"].clone())
    }

    fn era(&self) -> Era {
        self.upstream.peer(&self.instance.id).expect("greeted").era
    }
}

/// A server of an older revision that answers calls as the script says.
fn legacy(script: impl Fn(&Value, &Voice) -> u16 + Send + Sync + 'static) -> Script {
    Arc::new(move |asked, voice| match asked["method"].as_str() {
        Some("initialize") => {
            let result = json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                "serverInfo": {"name": "old", "version": "1"}});
            voice.answer(asked, &result);
            202
        }
        Some("server/discover") => {
            let error = json!({"code": -32602, "message": "Invalid request parameters"});
            voice.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "error": error}));
            202
        }
        Some("notifications/initialized") => 202,
        _ => script(asked, voice),
    })
}

/// A server of today's revision that answers calls as the script says.
fn modern(script: impl Fn(&Value, &Voice) -> u16 + Send + Sync + 'static) -> Script {
    Arc::new(move |asked, voice| {
        if asked["method"] == "server/discover" {
            let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
            voice.answer(asked, &result);
            return 202;
        }
        script(asked, voice)
    })
}

fn fine(asked: &Value, voice: &Voice) -> u16 {
    if asked.get("id").is_some() {
        voice.answer(asked, &json!({"tool": asked["params"]["name"], "at": voice.connection}));
    }
    202
}

/// The same server over either carrier, each with a house that speaks to it.
async fn both(script: impl Fn() -> Script) -> Vec<(Scripted, House)> {
    let sse = Scripted::sse(script()).await;
    let websocket = Scripted::websocket(script()).await;
    let houses = [House::at(&sse, Transport::Sse), House::at(&websocket, Transport::Websocket)];
    [sse, websocket].into_iter().zip(houses).collect()
}

#[tokio::test]
async fn an_older_server_is_greeted_and_asked_and_shown_what_its_definition_says() {
    for (server, house) in both(|| legacy(fine)).await {
        let answer = house.call("echo").await.expect("an answer");
        house.upstream.close().await;

        assert_eq!(answer["tool"], "echo");
        assert_eq!(house.upstream.peer(&house.instance.id), None);
        let methods = server.methods();
        let asked = ["initialize", "notifications/initialized", "tools/call"];
        assert_eq!(methods[methods.len() - 3..], asked);
        for heard in server.heard() {
            assert_eq!(heard.headers["authorization"], "Bearer x");
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_websocket_carries_either_era() {
    for (script, era) in [(modern(fine), Era::Modern), (legacy(fine), Era::Legacy)] {
        let server = Scripted::websocket(script).await;
        let house = House::at(&server, Transport::Websocket);

        house.call("echo").await.expect("an answer");

        assert_eq!(house.era(), era);
        assert_eq!(server.methods()[0], "server/discover");
        assert_eq!(server.heard()[0].headers["sec-websocket-protocol"], "mcp");
    }
}

#[tokio::test]
async fn who_dies_of_the_first_question_of_today_is_asked_as_of_old() {
    let server = Scripted::websocket(Arc::new(|asked, voice| {
        if asked["method"] == "server/discover" {
            voice.cut();
            return 202;
        }
        legacy(fine)(asked, voice)
    }))
    .await;
    let house = House::at(&server, Transport::Websocket);

    house.call("echo").await.expect("an answer");

    assert_eq!((house.era(), server.connections()), (Era::Legacy, 2));
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let backwards = || {
        let waiting = parking_lot::Mutex::new(Vec::new());
        legacy(move |asked, voice| {
            let mut waiting = waiting.lock();
            waiting.push(asked.clone());
            if waiting.len() == 3 {
                for asked in waiting.drain(..).rev() {
                    fine(&asked, voice);
                }
            }
            202
        })
    };
    for (_server, house) in both(backwards).await {
        let answers = tokio::join!(house.call("a"), house.call("b"), house.call("c"));

        let tool = |answer: Result<Value, Error>| answer.expect("an answer")["tool"].clone();
        assert_eq!([tool(answers.0), tool(answers.1), tool(answers.2)], ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn what_is_asked_in_the_middle_of_a_call_reaches_its_caller() {
    let asks = || {
        let call = parking_lot::Mutex::new(Value::Null);
        legacy(move |asked, voice| {
            if asked["method"] == "tools/call" {
                *call.lock() = asked.clone();
                voice.say(&json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create",
                    "params": {"message": "sure?", "requestedSchema": {"type": "object"}}}));
            } else if asked["id"] == "q" {
                voice.answer(
                    &call.lock(),
                    &json!({"said": asked["result"], "at": voice.connection}),
                );
            }
            202
        })
    };
    let party = Party {
        owner: "me".into(),
        principal: "me".into(),
        capabilities: Some(r#"{"elicitation":{}}"#.into()),
        level: None,
        era: Era::Legacy,
        is_many: false,
    };
    for (server, house) in both(asks).await {
        let (ear, mut heard) = mpsc::channel(4);

        let answering = async {
            let Some(MidCall::Question(question)) = heard.recv().await else { return };
            question.answer(r#"{"action":"accept"}"#);
        };
        let call = house.call_for("ask", Some(&party), Some(&ear), 5_000);
        let (answer, ()) = tokio::join!(call, answering);

        // The first connection is everybody's, the second this client's alone.
        assert_eq!(answer.expect("an answer"), json!({"said": {"action": "accept"}, "at": 1}));
        assert_eq!(server.connections(), 2);
    }
}

#[tokio::test]
async fn a_lost_connection_is_told_to_who_waits_and_opened_anew_for_the_next() {
    let cuts = || {
        legacy(|asked, voice| match asked["params"]["name"].as_str() {
            Some("cut") => {
                voice.cut();
                202
            }
            _ => fine(asked, voice),
        })
    };
    for (server, house) in both(cuts).await {
        house.call("echo").await.expect("an answer");

        let error = house.call("cut").await.expect_err("cut");
        let answer = house.call("echo").await.expect("opened anew");

        assert!(matches!(error, Error::Lost { was_delivered: true, .. }), "{error:?}");
        assert_eq!((&answer["at"], server.connections()), (&json!(1), 2));
    }
}

#[tokio::test]
async fn too_long_a_message_ends_the_connection() {
    let long = || {
        legacy(|asked, voice| {
            let text = "x".repeat(if asked["params"]["name"] == "fits" { 90_000 } else { 110_000 });
            voice.answer(asked, &json!({ "text": text }));
            202
        })
    };
    for (_server, house) in both(long).await {
        let fits = house.call("fits").await.expect("an answer");
        let error = house.call("long").await.expect_err("too long");

        assert_eq!(fits["text"].as_str().map(str::len), Some(90_000));
        let said = "its connection brought a message of more than 100000 bytes and was closed";
        assert_eq!(error.to_string(), said);
        assert!(error.was_delivered());
    }
}

#[tokio::test]
async fn who_waits_in_vain_cancels() {
    let hangs = || legacy(|_, _| 202);
    for (server, house) in both(hangs).await {
        let error = house.call_for("hang", None, None, 300).await.expect_err("too slow");

        assert!(matches!(error, Error::TooSlow { was_delivered: true, .. }), "{error:?}");
        let cancelled = loop {
            let heard = server.heard();
            let last = heard.last().expect("something").message.clone();
            if last["method"] == "notifications/cancelled" {
                break last["params"]["requestId"].clone();
            }
            tokio::task::yield_now().await;
        };
        let calls = server.heard().into_iter().filter(|it| it.message["method"] == "tools/call");
        assert_eq!(calls.map(|it| it.message["id"].clone()).collect::<Vec<_>>(), [cancelled]);
    }
}

#[tokio::test]
async fn messages_are_never_posted_to_another_origin() {
    let canary = Scripted::sse(legacy(fine)).await;
    let elsewhere = canary.url.replace("/sse", "/messages?s=0");
    let server = Scripted::sse_at(legacy(fine), move |_| elsewhere.clone()).await;

    for transport in [Transport::Sse, Transport::Auto] {
        let error = House::at(&server, transport).call("echo").await.expect_err("refused");

        assert!(chain(&error).contains("its event stream sends messages elsewhere"), "{error:?}");
        assert!(!error.was_delivered());
    }
    assert_eq!(canary.methods(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stream_its_server_forgot_is_opened_anew_and_the_call_repeated() {
    let server = Scripted::sse(legacy(fine)).await;
    let house = House::at(&server, Transport::Sse);
    house.call("echo").await.expect("an answer");

    server.forget();
    let answer = house.call("echo").await.expect("an answer");

    assert_eq!((&answer["at"], server.connections()), (&json!(1), 2));
}

#[tokio::test]
async fn a_message_that_is_not_taken_fails_alone() {
    let server = Scripted::sse(legacy(|asked, voice| match asked["params"]["name"].as_str() {
        Some("bad") => 400,
        _ => fine(asked, voice),
    }))
    .await;
    let house = House::at(&server, Transport::Sse);

    let (bad, good) = tokio::join!(house.call("bad"), house.call("good"));

    assert_eq!(bad.expect_err("refused").to_string(), "it refused the request with status 400");
    assert_eq!(good.expect("an answer")["tool"], "good");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_is_spoken_at_a_url_is_found_out_and_remembered() {
    let server = Scripted::sse(legacy(fine)).await;
    let house = House::at(&server, Transport::Auto);
    assert_eq!(house.upstream.transport(&house.instance), "auto");

    house.call("echo").await.expect("an answer");
    house.call("echo").await.expect("an answer");

    assert_eq!(house.upstream.transport(&house.instance), "sse");
    assert_eq!((house.era(), server.connections()), (Era::Legacy, 1));
}

#[tokio::test]
async fn a_url_where_something_else_is_spoken_now_is_asked_anew() {
    let server = Scripted::sse(legacy(fine)).await;
    let house = House::at(&server, Transport::Auto);
    let mut found = Vec::new();

    for is_streamable in [false, true, false] {
        server.be_streamable(is_streamable);
        // Until the stream is known to be cut, a call may still be lost with it.
        let answer = match house.call("echo").await {
            Err(Error::Lost { .. }) => house.call("echo").await,
            answer => answer,
        };
        found.push((answer.expect("an answer")["at"].clone(), house.era()));
    }

    let streamable = (json!("streamable"), Era::Modern);
    assert_eq!(found, [(json!(0), Era::Legacy), streamable, (json!(1), Era::Legacy)]);
}

#[tokio::test]
async fn what_a_server_is_watched_for_is_told() {
    let tells = || {
        legacy(|asked, voice| {
            if asked["method"] == "resources/subscribe" {
                voice.answer(asked, &json!({}));
                voice.say(&json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
                    "params": {"uri": asked["params"]["uri"]}}));
            }
            202
        })
    };
    for (_server, house) in both(tells).await {
        let mut news = house.upstream.news();

        let resources = ["trial://one".into()].into();
        house.upstream.watch(&house.instance, &Wanted { lists: false, resources }, BTreeMap::new());
        let told = news.recv().await.expect("word");

        assert_eq!(told.instance, house.instance.id);
        assert!(
            matches!(told.notice.tells(), Tells::Updated { uri, .. } if &**uri == "trial://one")
        );
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_told() {
    let mut server = Scripted::sse(legacy(fine)).await;
    server.url = server.url.replace("http", "ws");
    let house = House::at(&server, Transport::Websocket);

    let error = house.call("echo").await.expect_err("no WebSocket");

    assert_eq!(error.to_string(), "it refused the request with status 200");
    assert!(!error.was_delivered());
}
