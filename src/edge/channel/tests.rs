use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    domain::{Clock, FixedClock},
    edge::{body::Reader, furnished::furnished, session},
};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A channel to an empty house whose owner speaks on it.
struct House {
    channel: Channel,
    outbox: Outbox,
    inside: Inside,
    reader: Reader,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    house_for(Credential::Local { uid: rustix::process::geteuid().as_raw() })
}

fn house_for(credential: Credential) -> House {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::default());
    let (sessions, folder) = furnished(session::Settings::default(), &clock);
    let inside = Inside::new(sessions.pipeline().clone(), sessions);
    let settings = Settings { max_calls: 4, ..Settings::default() };
    let outbox = Outbox::new(settings.limits());
    let guest = Guest { scope: Scope::Everything, credential, via: "test", from: None };
    let channel = Channel::new(inside.clone(), guest, outbox.clone(), &settings);
    House { channel, outbox, inside, reader: Reader::new(1 << 20, 1 << 20), _folder: folder }
}

impl House {
    fn say(&mut self, message: &str) {
        let message = self.reader.hold(message.to_owned().into()).expect("room");
        self.channel.take(message);
    }

    /// The next thing the channel says while it runs.
    async fn hear(&mut self) -> Value {
        let said = tokio::select! {
            biased;
            end = self.channel.run() => panic!("it ended: {end:?}"),
            said = self.outbox.next() => said.expect("its reader keeps up"),
        };
        serde_json::from_slice(&said).expect("JSON")
    }

    /// Lets run what runs, until nothing moves any more.
    async fn settle(&mut self) {
        drop(tokio::time::timeout(Duration::from_millis(20), self.channel.run()).await);
    }

    async fn open(&mut self, revision: &str) -> Value {
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{}},"clientInfo":{{"name":"test","version":"1"}}}}}}"#
        );
        self.say(&hello);
        self.hear().await
    }
}

fn request(id: u32, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)
}

fn modern(id: u32, method: &str, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{}{META}}}}}"#,
        if params.is_empty() { "" } else { "," }
    )
}

fn code(said: &Value) -> i64 {
    said["error"]["code"].as_i64().unwrap_or_default()
}

#[tokio::test]
async fn a_handshake_opens_a_session_that_ends_with_the_channel() {
    let mut house = house();

    let said = house.open("2025-06-18").await;
    house.say(&request(2, "tools/list"));
    let listed = house.hear().await;

    assert_eq!(said["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(3));
    assert_eq!(house.inside.sessions.count(), 1);
    drop(house.channel);
    assert_eq!(house.inside.sessions.count(), 0);
}

#[tokio::test]
async fn nothing_but_a_ping_is_answered_before_the_handshake() {
    let mut house = house();

    house.say(&request(1, "ping"));
    assert_eq!(house.hear().await["result"], json!({}));
    house.say(&request(2, "tools/list"));
    let refused = house.hear().await;

    assert_eq!((code(&refused), &refused["id"]), (-32_600, &json!(2)));
}

#[tokio::test]
async fn whoever_does_not_wait_for_the_handshake_is_answered_after_it() {
    let mut house = house();
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;

    house.say(hello);
    house.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    house.say(&request(2, "tools/list"));
    house.say(hello);

    assert_eq!(house.hear().await["id"], 1);
    let (one, other) = (house.hear().await, house.hear().await);
    assert_eq!((code(&one), &other["id"]), (-32_600, &json!(2)));
    assert_eq!(house.inside.sessions.count(), 1);
}

#[tokio::test]
async fn an_older_client_hears_of_changes_without_asking() {
    let mut house = house();
    house.open("2025-06-18").await;

    house.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    house.settle().await;

    let session = house.channel.session().expect("a session").clone();
    assert!(session.is_listening());
    session.tell(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.into());
    assert_eq!(house.hear().await["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn calls_of_the_stateless_revision_climb_the_same_ladder_as_over_http() {
    let mut house = house();
    let other = modern(1, "tools/list", "").replace("2026-07-28", "2099-01-01");
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let bare = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{{version}}}}}}}"#
    );

    for (message, expected) in [
        (modern(1, "tools/list", ""), 0),
        (modern(1, "server/discover", ""), 0),
        (bare, -32_602),
        (other, -32_022),
        (modern(1, "ping", ""), -32_601),
    ] {
        house.say(&message);
        assert_eq!(code(&house.hear().await), expected, "{message}");
    }
    assert_eq!(house.inside.sessions.count(), 0);
}

#[tokio::test]
async fn a_listener_is_told_so_and_its_cancelling_ends_it_with_a_result() {
    let mut house = house();

    house.say(&modern(7, "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#));
    let acknowledged = house.hear().await;
    house.say(&modern(7, "tools/list", ""));
    let twice = house.hear().await;
    house.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
    let end = house.hear().await;

    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    let mark = &acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(mark, 7);
    assert_eq!(code(&twice), -32_600);
    assert_eq!((&end["id"], &end["result"]["resultType"]), (&json!(7), &json!("complete")));
}

#[tokio::test]
async fn too_many_calls_are_refused_and_the_others_run() {
    let mut house = house();
    let listen = |id| modern(id, "subscriptions/listen", r#""notifications":{}"#);

    for id in 1..=5 {
        house.say(&listen(id));
    }

    let said = [house.hear().await, house.hear().await];
    assert!(said.iter().any(|said| code(said) == -32_006 && said["id"] == 5), "{said:?}");
    assert_eq!(house.channel.running.len(), 4);
}

#[tokio::test]
async fn batches_are_of_one_revision_only() {
    let batch = format!(
        r#"[{},{},{{"jsonrpc":"2.0","method":"notifications/x"}},{}]"#,
        request(1, "ping"),
        request(2, "no/such"),
        modern(3, "tools/list", "")
    );

    let mut old = house();
    old.open("2025-03-26").await;
    old.say(&batch);
    let answers = old.hear().await;
    old.say("[]");
    let empty = old.hear().await;
    let mut new = house();
    new.open("2025-06-18").await;
    new.say(&batch);
    let refused = new.hear().await;

    assert_eq!(answers[0]["result"], json!({}));
    assert_eq!((code(&answers[1]), code(&answers[2])), (-32_601, -32_600));
    assert_eq!(answers.as_array().map(Vec::len), Some(3));
    assert_eq!((code(&empty), code(&refused)), (-32_600, -32_600));
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_what_nobody_asked_is_not() {
    let mut house = house();

    house.say("nonsense");
    house.say(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    house.say(&request(2, "ping"));

    let nonsense = house.hear().await;
    assert_eq!((code(&nonsense), &nonsense["id"]), (-32_700, &Value::Null));
    assert_eq!(house.hear().await["id"], 2);
}

#[tokio::test]
async fn whoever_is_nobody_any_more_is_told_so_and_the_channel_ends() {
    let mut house = house_for(Credential::None);

    house.say(&request(1, "ping"));
    let end = house.channel.run().await;

    let said = house.outbox.next().await.expect("an answer");
    let said: Value = serde_json::from_slice(&said).expect("JSON");
    assert_eq!((end, code(&said)), (End::Stranger, -32_001));
}

#[tokio::test]
async fn a_closing_house_lets_calls_end_and_takes_no_more() {
    let mut house = house();
    house.open("2025-06-18").await;
    house.say(&modern(7, "subscriptions/listen", r#""notifications":{}"#));
    house.hear().await;

    house.inside.closing.cancel();
    house.settle().await;
    house.say(&request(8, "ping"));
    let end = house.channel.run().await;

    let said: Vec<Value> = std::iter::from_fn(|| house.outbox.take())
        .map(|said| serde_json::from_slice(&said).expect("JSON"))
        .collect();
    assert_eq!((end, &said[0]["id"], code(&said[1])), (End::Closing, &json!(7), -32_000));
}

#[tokio::test]
async fn a_session_that_is_ended_ends_its_channel() {
    let mut house = house();
    house.open("2025-06-18").await;

    let id = house.channel.session().expect("a session").id().clone();
    house.inside.sessions.end(&id);

    assert_eq!(house.channel.run().await, End::SessionOver);
}
