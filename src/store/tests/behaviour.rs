//! What a write does, and what it leaves alone.

use std::sync::mpsc;

use super::*;
use crate::domain::{
    ApiKey, AuditLine, FeedEntry, KeyId, KeyText, KeyType, KeyUse, Limits, Namespace, Organization,
    Role, User, UserId,
};

#[tokio::test]
async fn a_change_is_read_back_with_its_audit_line_and_feed_entry() {
    let store = open_disk(&new_disk()).expect("opens");
    let time = server("time");

    put(&store, &time).await.expect("written");

    let snapshot = store.read().expect("readable");
    let (sequence, noun, id, change) = (1, Noun::Server, time.id.to_string(), Change::Created);
    let name = "time".to_owned();
    let at = Timestamp::from_ms(0);
    let lines = snapshot.audit(0, 9).expect("readable");
    let new = lines[0].new.clone();
    assert!(new.as_ref().is_some_and(|it| it.contains("[secret]") && it.contains("time")));
    let line = AuditLine {
        from: None,
        old: None,
        new,
        sequence,
        at,
        actor: me().clone(),
        noun,
        id: id.clone(),
        change,
        name,
        detail: None,
        organization: Some(time.organization),
        chain: None,
    }
    .chained(None);
    assert_eq!(snapshot.servers().expect("readable"), [time]);
    assert_eq!(lines, [line]);
    assert_eq!(snapshot.feed(0, 9).expect("readable"), [FeedEntry { sequence, noun, id, change }]);
}

#[tokio::test]
async fn a_snapshot_stands_still_while_others_write() {
    let store = open_disk(&new_disk()).expect("opens");
    put(&store, &server("a")).await.expect("written");
    let snapshot = store.read().expect("readable");

    put(&store, &server("b")).await.expect("written");

    assert_eq!(names(&snapshot), ["a"]);
    assert_eq!(names(&store.read().expect("readable")), ["a", "b"]);
}

/// Writes that share a commit: all wait behind one that is held up.
async fn together<F: Future>(store: &Store, writes: F) -> F::Output {
    let (release, held) = mpsc::channel::<()>();
    let store = store.clone();
    let blocker = async move {
        let held = store.write(me(), move |_| {
            let _ = held.recv();
            Ok::<_, Error>(())
        });
        held.await.expect("only held up");
    };
    let free = async {
        // The writes before this have been polled once, so they stand in the queue.
        drop(release);
    };
    futures_util::future::join3(blocker, writes, free).await.1
}

#[tokio::test]
async fn a_refused_change_leaves_no_trace_and_its_neighbours_are_kept() {
    let store = open_disk(&new_disk()).expect("opens");
    let (a, b, c) = (server("a"), server("b"), server("c"));
    let refused = store.write(me(), move |draft| {
        draft.put_server(&b)?;
        Err::<(), _>(Error::Busy { queue: 7 })
    });

    let writes = futures_util::future::join3(put(&store, &a), refused, put(&store, &c));
    let (first, second, third) = together(&store, writes).await;

    assert!(first.is_ok() && third.is_ok());
    assert!(matches!(second, Err(Error::Busy { queue: 7 })));
    let snapshot = store.read().expect("readable");
    assert_eq!(names(&snapshot), ["a", "c"]);
    assert_book_agrees(&snapshot);
}

#[tokio::test]
async fn a_panicking_change_is_answered_and_its_neighbours_are_kept() {
    let store = open_disk(&new_disk()).expect("opens");
    let (a, b, c) = (server("a"), server("b"), server("c"));
    let panicking = store.write(me(), move |draft| -> Result<(), Error> {
        draft.put_server(&b)?;
        panic!("the change is faulty");
    });

    let writes = futures_util::future::join3(put(&store, &a), panicking, put(&store, &c));
    let (first, second, third) = together(&store, writes).await;

    assert!(first.is_ok() && third.is_ok());
    assert!(matches!(second, Err(Error::Panicked)));
    assert_eq!(names(&store.read().expect("readable")), ["a", "c"]);
}

#[tokio::test]
async fn a_change_sees_its_neighbours_and_itself() {
    let store = open_disk(&new_disk()).expect("opens");
    let (a, b) = (server("a"), server("b"));
    let counting = store.write(me(), move |draft| {
        draft.put_server(&b)?;
        let found = draft.server(&b.id)?.is_some();
        Ok::<_, Error>((draft.servers()?.len(), found))
    });

    let (_, counted) =
        together(&store, futures_util::future::join(put(&store, &a), counting)).await;

    assert_eq!(counted.expect("written"), (2, true));
}

#[tokio::test]
async fn each_changed_thing_gets_one_line() {
    let store = open_disk(&new_disk()).expect("opens");
    let (old, passing) = (server("old"), server("passing"));
    put(&store, &old).await.expect("written");

    let change = store.write(me(), move |draft| {
        draft.put_server(&old)?;
        draft.put_server(&old)?;
        draft.put_server(&passing)?;
        draft.remove_server(&passing.id)
    });
    change.await.expect("written");

    let audit = store.read().expect("readable").audit(1, 9).expect("readable");
    let told: Vec<_> = audit.iter().map(|line| (line.name.as_str(), line.change)).collect();
    assert_eq!(told, [("old", Change::Updated)]);
}

fn key(id: KeyId) -> ApiKey {
    ApiKey {
        id,
        organization: OrganizationId::fixed(1),
        owner: None,
        name: "laptop".to_owned(),
        description: String::new(),
        key_type: KeyType::User,
        role: Role::User,
        grants: Vec::new(),
        limits: Limits::default(),
        is_superuser: false,
        last_four: "wxyz".to_owned(),
        digest: [9; 32],
        created_at: Timestamp::from_ms(1),
        expires_at: None,
        is_active: true,
        updated_at: None,
    }
}

#[tokio::test]
async fn every_kind_of_thing_is_kept_and_told_of_in_order() {
    let store = open_disk(&new_disk()).expect("opens");
    let created_at = Timestamp::from_ms(1);
    let (id, slug) = (OrganizationId::fixed(1), "default".parse().expect("a slug"));
    let organization = Organization::new(id, slug, created_at);
    let (id, slug) = (NamespaceId::fixed(1), "main".parse().expect("a slug"));
    let namespace = Namespace::new(id, organization.id, slug, created_at);
    let user = User {
        id: UserId::fixed(1),
        organization: organization.id,
        username: "ada".to_owned(),
        email: Some("ada@example.com".parse().expect("an address")),
        name: "Ada".to_owned(),
        role: Role::Admin,
        is_superuser: true,
        password_hash: "$argon2id$".to_owned(),
        is_active: true,
        email_verified: false,
        created_at,
        updated_at: None,
    };
    let (key, time) = (key(KeyText::generate().0), server("time"));
    let things = (organization, namespace, user, key, time);
    let given = things.clone();

    let change = store.write(me(), move |draft| {
        draft.put_server(&given.4)?;
        draft.put_key(&given.3)?;
        draft.put_user(&given.2)?;
        draft.put_namespace(&given.1)?;
        draft.put_organization(&given.0)?;
        Ok::<_, Error>((draft.organizations()?, draft.namespaces()?, draft.users()?, draft.keys()?))
    });
    let drafted = change.await.expect("written");

    let snapshot = store.read().expect("readable");
    let read = (
        snapshot.organizations().expect("readable"),
        snapshot.namespaces().expect("readable"),
        snapshot.users().expect("readable"),
        snapshot.keys().expect("readable"),
    );
    assert_eq!(read, (vec![things.0], vec![things.1], vec![things.2], vec![things.3]));
    assert_eq!(drafted, read);
    assert_eq!(snapshot.servers().expect("readable"), [things.4]);
    let feed = snapshot.feed(0, 9).expect("readable");
    let told: Vec<_> = feed.iter().map(|entry| entry.noun).collect();
    let order = [Noun::Organization, Noun::Namespace, Noun::User, Noun::Key, Noun::Server];
    assert_eq!(told, order);
}

#[tokio::test]
async fn a_removed_key_is_returned_and_named_in_the_audit() {
    let store = open_disk(&new_disk()).expect("opens");
    let (id, _) = KeyText::generate();
    let key = key(id);
    let kept = key.clone();
    let made = store.write(me(), move |draft| draft.put_key(&kept));
    made.await.expect("written");

    let gone = store.write(me(), move |draft| draft.remove_key(&id)).await;
    let again = store.write(me(), move |draft| draft.remove_key(&id)).await;

    assert_eq!(gone.expect("written"), Some(key));
    assert_eq!(again.expect("nothing to do"), None);
    let snapshot = store.read().expect("readable");
    let audit = snapshot.audit(0, 9).expect("readable");
    let told: Vec<_> = audit.iter().map(|line| (line.name.as_str(), line.change)).collect();
    assert_eq!(told, [("laptop", Change::Created), ("laptop", Change::Deleted)]);
    assert!(snapshot.keys().expect("readable").is_empty());
}

#[tokio::test]
async fn what_the_machine_notes_is_kept_and_told_to_nobody() {
    let disk = new_disk();
    let store = open_disk(&disk).expect("opens");
    let (key, used) = (key(KeyText::generate().0), Timestamp::from_ms(7));
    let (id, kept) = (key.id, key.clone());
    store.write(me(), move |draft| draft.put_key(&kept)).await.expect("written");
    let heard = store.changes();
    assert!(store.read().expect("readable").key_uses().expect("none yet").is_empty());

    let note = KeyUse { id, last_used_at: used };
    store.write(me(), move |draft| draft.note_key_use(note)).await.expect("noted");

    assert!(!heard.has_changed().expect("open"));
    store.close().await;
    let store = open_disk(&disk).expect("opens again");
    let snapshot = store.read().expect("readable");
    assert_eq!(snapshot.key_uses().expect("readable"), [note]);
    assert_eq!(snapshot.last_sequence().expect("readable"), 1);
    store.write(me(), move |draft| draft.remove_key(&id)).await.expect("removed");
    assert!(store.read().expect("readable").key_uses().expect("readable").is_empty());
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let settings = Settings { queue: 2, ..Settings::default() };
    let key = Zeroizing::new([7; 32]);
    let store = Store::start(vault(&new_disk()), &key, (None, Left::Cleanly), &settings, clock());
    let store = store.expect("opens");
    let (a, b) = (server("a"), server("b"));

    let writes = futures_util::future::join(put(&store, &a), put(&store, &b));
    let (first, second) = together(&store, writes).await;

    assert!(first.is_ok());
    assert!(matches!(second, Err(Error::Busy { queue: 2 })));
    assert!(put(&store, &b).await.is_ok(), "answered writes leave the queue");
}

#[tokio::test]
async fn a_closed_store_refuses_everything() {
    let store = open_disk(&new_disk()).expect("opens");

    store.close().await;

    assert!(matches!(put(&store, &server("late")).await, Err(Error::Closed)));
    assert!(matches!(store.read().err(), Some(Error::Closed)));
    store.close().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let disk = new_disk();
    let store = open_disk(&disk).expect("opens");
    let (a, b) = (server("a"), server("b"));
    put(&store, &a).await.expect("written");
    put(&store, &b).await.expect("written");
    remove(&store, a.id).await.expect("written");
    store.close().await;

    let store = open_disk(&disk).expect("opens again");
    put(&store, &server("c")).await.expect("written");

    let snapshot = store.read().expect("readable");
    assert_eq!(names(&snapshot), ["b", "c"]);
    assert_eq!(snapshot.last_sequence().expect("readable"), 4);
    assert_book_agrees(&snapshot);
}

#[tokio::test]
async fn secrets_cannot_be_read_from_the_disk() {
    let disk = new_disk();
    let store = open_disk(&disk).expect("opens");

    put(&store, &server("with-a-secret")).await.expect("written");

    let found = |text: &str| disk.kept().windows(text.len()).any(|w| w == text.as_bytes());
    assert!(!found("hunter2-canary") && !found("with-a-secret"));
    assert!(found("servers"), "table names are no secret");
}
