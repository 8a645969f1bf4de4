use std::sync::Arc;

use super::*;
use crate::domain::{FixedClock, NamespaceId, OrganizationId, State, Timestamp};

struct House {
    store: Store,
    trust: Trust,
    clock: Arc<dyn Clock>,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::default());
    let settings = store::Settings::default();
    let store = Store::create(&folder.path().join("data"), &settings, clock.clone());
    let store = store.expect("a store");
    let trust = Trust::new(Settings::default(), &store, clock.clone()).expect("readable");
    House { store, trust, clock, _folder: folder }
}

impl House {
    /// The same after a restart.
    fn again(&self) -> Trust {
        Trust::new(Settings::default(), &self.store, self.clock.clone()).expect("readable")
    }

    /// Writes what is to be written, and gives the lines of the audit that came of it.
    async fn noted(&self) -> Vec<String> {
        let before = self.store.read().expect("readable").last_sequence().expect("a number");
        let all: Vec<ServerId> = self.trust.0.book.lock().keys().copied().collect();
        self.trust.write_out(&all).await.expect("writable");
        let lines = self.store.read().expect("readable").audit(before, 100).expect("readable");
        lines.into_iter().map(|line| line.detail.unwrap_or_default()).collect()
    }
}

fn server(on_change: OnChange) -> Server {
    Server {
        id: ServerId::fixed(1),
        organization: OrganizationId::fixed(1),
        namespace: NamespaceId::fixed(2),
        name: "time".parse().expect("a slug"),
        description: String::new(),
        state: State::Active,
        prefixing: None,
        timeout_seconds: None,
        max_in_flight: None,
        origin: None,
        cache: crate::domain::CachePolicy::default(),
        keeps_bodies: false,
        checks: None,
        labels: None,
        instances: Vec::new(),
        created_at: Timestamp::from_ms(0),
        updated_at: Timestamp::from_ms(0),
        on_change: Some(on_change),
        balance: crate::domain::Balance::default(),
    }
}

fn tools(all: &[(&str, &str)]) -> Vec<Shown> {
    let shown = |(name, words): &(&str, &str)| {
        let text = serde_json::json!({"description": words, "name": name}).to_string();
        Shown::read(PinKind::Tool, *name, &text, Vec::new()).expect("an object")
    };
    all.iter().map(shown).collect()
}

fn names(held: HashSet<(PinKind, Box<str>)>) -> Vec<String> {
    let mut names: Vec<String> = held.into_iter().map(|(_, name)| name.into()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_audit_has_a_line_for_first_sight_and_one_for_changes() {
    let house = house();
    let server = server(OnChange::Accept);

    house.trust.weigh(&server, None, tools(&[("now", "a"), ("then", "a")]));
    let first = house.noted().await;
    house.trust.weigh(&server, None, tools(&[("now", "b"), ("soon", "a")]));
    let second = house.noted().await;
    house.trust.weigh(&server, None, tools(&[("now", "b"), ("then", "a"), ("soon", "a")]));

    assert_eq!(first, ["first sight: pinned 2 tools"]);
    assert_eq!(second, ["tool now changed: description\ntool soon is new"]);
    assert_eq!(house.noted().await, Vec::<String>::new(), "what comes back as it was is no change");
}

#[tokio::test]
async fn what_is_held_stays_so_after_a_restart_and_until_it_is_approved_of() {
    let house = house();
    let server = server(OnChange::Review);
    house.trust.weigh(&server, None, tools(&[("now", "a"), ("then", "a")]));
    house.noted().await;

    let different = || tools(&[("now", "b"), ("then", "a"), ("soon", "a")]);
    assert_eq!(names(house.trust.weigh(&server, None, different())), ["now", "soon"]);
    let told = house.noted().await;
    assert_eq!(told, ["tool now changed and is held: description\ntool soon is new and is held"]);

    let again = house.again();
    assert_eq!(again.pending(&server.id), 2);
    assert_eq!(names(again.weigh(&server, None, different())), ["now", "soon"]);
    assert!(!again.may_ask(&server, PinKind::Tool, "now"));
    assert!(!again.may_ask(&server, PinKind::Tool, "unheard-of"));
    assert!(again.may_ask(&server, PinKind::Tool, "then"));
    let (changes, total) = again.changes(&server.id).expect("readable");
    assert_eq!((changes.len(), total), (2, 2));
    let field = &changes[0].fields[0];
    assert_eq!((field.before.as_deref(), field.now.as_deref()), (Some("a"), Some("b")));
}

#[tokio::test]
async fn a_vanished_tool_that_comes_back_otherwise_is_a_change() {
    let house = house();
    let server = server(OnChange::Review);
    house.trust.weigh(&server, None, tools(&[("now", "a")]));

    house.trust.weigh(&server, None, Vec::new());

    assert!(names(house.trust.weigh(&server, None, tools(&[("now", "a")]))).is_empty());
    assert_eq!(names(house.trust.weigh(&server, None, tools(&[("now", "b")]))), ["now"]);
}

#[tokio::test]
async fn a_new_kind_of_client_is_no_second_first_sight() {
    let house = house();
    let server = server(OnChange::Review);
    let apart = Some(r#"{"roots":{}}"#);
    house.trust.weigh(&server, None, tools(&[("now", "a")]));

    let held = house.trust.weigh(&server, apart, tools(&[("now", "a"), ("ask", "a")]));

    assert_eq!(names(held), ["ask"]);
    let (changes, _) = house.trust.changes(&server.id).expect("readable");
    assert_eq!(changes[0].clients.as_deref(), apart);
}

#[tokio::test]
async fn a_server_that_is_not_any_more_leaves_nothing() {
    let house = house();
    house.trust.weigh(&server(OnChange::Accept), None, tools(&[("now", "a")]));
    house.noted().await;

    house.trust.retain(|_| false);
    house.trust.write_out(&[]).await.expect("writable");

    let snapshot = house.store.read().expect("readable");
    assert!(snapshot.pins().expect("readable").is_empty());
    assert!(snapshot.pinned().expect("readable").is_empty());
    let digest = tools(&[("now", "a")])[0].digest;
    assert_eq!(snapshot.definition(&ServerId::fixed(1), &digest).expect("readable"), None);
}

#[tokio::test]
async fn many_changes_are_counted_and_a_definition_that_went_is_forgotten() {
    let house = house();
    let server = server(OnChange::Accept);
    let many = |words: &str| {
        let named: Vec<String> = (0..25).map(|at| format!("t{at}")).collect();
        let all: Vec<(&str, &str)> = named.iter().map(|name| (name.as_str(), words)).collect();
        tools(&all)
    };
    house.trust.weigh(&server, None, many("a"));
    house.noted().await;

    house.trust.weigh(&server, None, many("b"));
    let told = house.noted().await;

    assert_eq!(told.len(), 1);
    assert_eq!(told[0].lines().count(), 21);
    assert!(told[0].ends_with("and 5 more"), "{}", told[0]);
    let old = many("a")[0].digest;
    let found = house.store.read().expect("readable").definition(&server.id, &old);
    assert_eq!(found.expect("readable"), None);
}
