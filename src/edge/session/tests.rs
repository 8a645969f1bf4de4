use super::*;
use crate::{domain::FixedClock, edge::furnished::furnished, wire::InputRequest};

struct House {
    sessions: Sessions,
    clock: Arc<FixedClock>,
    _folder: tempfile::TempDir,
}

fn house(max_open: usize) -> House {
    let clock = Arc::new(FixedClock::default());
    let settings = Settings { max_open, idle_seconds: 10, ..Settings::default() };
    let (sessions, folder) = furnished(settings, &(clock.clone() as Arc<dyn Clock>));
    House { sessions, clock, _folder: folder }
}

impl House {
    fn open(&self) -> Session {
        self.sessions.open(opening()).expect("room")
    }

    /// The sessions of a house that was closed and opened again.
    fn again(&self, settings: Settings) -> Sessions {
        let Inner { pipeline, store, .. } = &*self.sessions.0;
        Sessions::new(settings, pipeline.clone(), store.clone(), self.clock.clone())
    }

    fn has(&self, session: &Session) -> bool {
        self.sessions.find(session.id(), &Scope::Everything).is_some()
    }
}

fn opening() -> Opening {
    Opening {
        owner: PrincipalKind::Anonymous,
        organization: OrganizationId::fixed(1),
        request_id: RequestId::brought("r1"),
        scope: Scope::Everything,
        revision: Revision::V2025_06_18,
        client: None,
        capabilities: None,
        via: "http",
        channel: None,
    }
}

#[tokio::test]
async fn a_session_is_found_at_its_own_endpoint_only() {
    let house = house(5);
    let session = house.open();

    assert!(house.has(&session));
    assert!(house.sessions.find(session.id(), &Scope::Server("a".into())).is_none());
    house.sessions.end(session.id());
    assert!(!house.has(&session) && session.over().is_cancelled());
}

#[tokio::test]
async fn an_idle_session_ends_and_a_used_one_stays() {
    let house = house(5);
    let (used, idle, read) = (house.open(), house.open(), house.open());
    let reader = read.read_standing();
    house.clock.advance(Duration::from_secs(8));
    assert!(house.has(&used));

    house.clock.advance(Duration::from_secs(8));
    house.sessions.sweep();

    assert!(house.has(&used) && house.has(&read));
    assert!(!house.has(&idle));
    drop(reader);
    house.clock.advance(Duration::from_secs(11));
    house.sessions.sweep();
    assert_eq!(house.sessions.count(), 0);
}

#[tokio::test]
async fn there_is_a_limit() {
    let house = house(1);
    house.open();

    let full = house.sessions.open(opening()).expect_err("no room");

    assert_eq!(full.kind(), Kind::Limited);
}

#[tokio::test]
async fn an_organization_that_is_not_there_may_have_none() {
    let house = house(5);
    let stranger = Opening { organization: OrganizationId::fixed(9), ..opening() };

    let refused = house.sessions.open(stranger).expect_err("no room");

    assert_eq!(refused.kind(), Kind::Quota);
    assert_eq!(house.sessions.count_of(OrganizationId::fixed(9)), 0);
}

fn asked() -> InputRequest {
    let params = r#"{"mode":"url","url":"https://example.com"}"#;
    InputRequest { key: "a".into(), method: "elicitation/create".into(), params: params.into() }
}

#[tokio::test]
async fn a_client_is_asked_in_its_own_words_and_its_answer_comes_back() {
    let house = house(1);
    let session = house.open();
    let said = Outbox::new(crate::edge::channel::Settings::default().limits());

    let asking =
        async { session.ask(&Out::Line(said.clone()), &asked(), Duration::from_secs(9)).await };
    let answering = async {
        let question: serde_json::Value =
            serde_json::from_slice(&said.next().await.expect("a question")).expect("JSON");
        assert!(question["params"]["elicitationId"].is_string());
        let id = &question["id"];
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept"}}}}"#);
        let answer = Answer::parse(&answer.into()).expect("an answer");
        assert!(session.answered(answer.clone()));
        // Nobody waits for a second one.
        assert!(!session.answered(answer));
    };
    let (answer, ()) = tokio::join!(asking, answering);

    assert_eq!(answer, r#"{"action":"accept"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_told_that_it_is_too_late() {
    let house = house(1);
    let session = house.open();
    let said = Outbox::new(crate::edge::channel::Settings::default().limits());

    let answer = session.ask(&Out::Line(said.clone()), &asked(), Duration::from_secs(9)).await;

    assert!(answer.contains("io.tollhouse/refusal"), "{answer}");
    said.next().await.expect("a question");
    let cancelled = said.next().await.expect("word that it is over");
    assert!(String::from_utf8_lossy(&cancelled).contains("notifications/cancelled"));
}

#[tokio::test]
async fn a_client_cancels_its_own_calls_by_their_ids() {
    let house = house(2);
    let (one, other) = (house.open(), house.open());
    let mine = one.begin(RawId::read("7"));
    let theirs = other.begin(RawId::read("7"));

    one.cancel("7");

    assert!(mine.token.is_cancelled() && !theirs.token.is_cancelled());
}

#[tokio::test]
async fn one_principal_has_so_many_sessions_and_no_more() {
    let house = house(5);
    let settings = Settings { max_per_principal: 2, ..house.sessions.0.settings.clone() };
    let sessions = house.again(settings);
    let of = |owner: PrincipalKind| Opening { owner, ..opening() };
    let first = sessions.open(opening()).expect("room");
    sessions.open(opening()).expect("room");

    let third = sessions.open(opening()).expect_err("the limit");

    assert_eq!(third.kind(), Kind::Limited);
    assert!(sessions.open(of(PrincipalKind::Operator)).is_ok());
    sessions.end(first.id());
    assert!(sessions.open(opening()).is_ok());
}

#[tokio::test]
async fn a_session_goes_from_its_handshake_over_its_use_to_its_end() {
    let house = house(5);
    let session = house.open();
    let status = || house.sessions.show(session.id()).map(|view| view.status);

    assert_eq!(status(), Some(Status::Initializing));
    assert!(house.has(&session));
    assert_eq!(status(), Some(Status::Active));
    let told = house.sessions.tell(session.id(), "{}".into());
    assert_eq!(told.as_deref(), Some("0-1"));
    assert_eq!(house.sessions.replay(session.id(), None, 9).map(|it| it.len()), Some(1));
    assert_eq!(house.sessions.replay(session.id(), told.as_deref(), 9), Some(Vec::new()));
    house.sessions.end(session.id());
    assert_eq!(status(), Some(Status::Closed));
    assert_eq!(house.sessions.tell(session.id(), "{}".into()), None);
    let traffic = house.sessions.traffic(&["http"], OrganizationId::fixed(1));
    assert_eq!(traffic, Traffic { active: 0, total: 1, told: 1 });
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart_and_one_on_a_channel_does_not() {
    let house = house(9);
    let settings = house.sessions.0.settings.clone();
    let outbox = Outbox::new(crate::edge::channel::Settings::default().limits());
    let (used, fresh) = (house.open(), house.open());
    let on_a_channel = Opening { channel: Some(outbox), via: "ws", ..opening() };
    let on_a_channel = house.sessions.open(on_a_channel).expect("room");
    let ended = house.open();
    for session in [&used, &on_a_channel] {
        house.sessions.hear_of(session);
    }
    used.set_level(Level::Warning);
    used.subscribed().lock().await.insert("memo://x".to_owned());
    let told = used.tell("{}".into());
    house.sessions.end(ended.id());

    house.sessions.lay_down().await;
    house.clock.advance(Duration::from_secs(1));
    let after = house.again(settings);
    after.take_up().expect("readable");

    let found = after.find(used.id(), &Scope::Everything).expect("it goes on");
    assert_eq!(found.level(), Some(Level::Warning));
    assert_eq!(found.subscribed().lock().await.len(), 1);
    assert_eq!(found.key().owner, PrincipalKind::Anonymous);
    for session in [&fresh, &on_a_channel, &ended] {
        assert!(after.find(session.id(), &Scope::Everything).is_none());
        assert_eq!(after.show(session.id()).map(|view| view.status), Some(Status::Closed));
    }
    // Whoever comes back with the number of an event of the last run hears what is said next.
    let mut reader = found.resume(told).expect("the standing stream");
    let next = found.tell("{\"x\":1}".into());
    assert!(next.number > told.number);
    assert_eq!(reader.next().await.map(|(id, _)| id), Some(next.id()));
}

#[tokio::test]
async fn a_session_that_was_idle_all_through_the_restart_has_ended() {
    let house = house(9);
    let settings = house.sessions.0.settings.clone();
    let session = house.open();
    house.sessions.hear_of(&session);
    house.sessions.lay_down().await;
    house.clock.advance(Duration::from_secs(11));

    let after = house.again(settings);
    after.take_up().expect("readable");

    assert!(after.find(session.id(), &Scope::Everything).is_none());
    assert_eq!(after.list().len(), 1);
}

#[tokio::test]
async fn what_is_forgotten_here_is_forgotten_in_the_store() {
    let house = house(9);
    let settings = Settings { kept_ended: 2, ..house.sessions.0.settings.clone() };
    let sessions = house.again(settings);
    for _ in 0..5 {
        let session = sessions.open(opening()).expect("room");
        sessions.note().await;
        sessions.end(session.id());
    }
    sessions.note().await;

    let kept = sessions.0.store.read().and_then(|snapshot| snapshot.sessions()).expect("readable");

    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|record| record.status == "closed"));
}

#[tokio::test]
async fn of_an_organization_that_is_gone_no_session_is_known() {
    let house = house(9);
    let (open, ended) = (house.open(), house.open());
    house.sessions.end(ended.id());
    house.sessions.note().await;

    house.sessions.forget(OrganizationId::fixed(1));
    house.sessions.note().await;

    assert!(open.over().is_cancelled() && house.sessions.list().is_empty());
    let traffic = house.sessions.traffic(&["http"], OrganizationId::fixed(1));
    assert_eq!(traffic, Traffic::default());
    let kept = house.sessions.0.store.read().and_then(|snapshot| snapshot.sessions());
    assert!(kept.expect("readable").is_empty());
}
