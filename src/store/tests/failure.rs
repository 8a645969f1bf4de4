//! Disks that fail: nothing acknowledged is lost, reading goes on, writing comes back.

use std::time::Duration;

use super::{disk::Mood, *};
use crate::store::Condition;

const LIMIT: Duration = Duration::from_secs(20);

async fn is_writable_again(store: &Store) {
    let mut condition = store.0.shelf.watch();
    let well = condition.wait_for(|condition| *condition == Condition::Writable);
    tokio::time::timeout(LIMIT, well).await.expect("in time").expect("the store lives");
}

#[tokio::test]
async fn reading_goes_on_while_the_disk_takes_no_writes() {
    let disk = new_disk();
    let store = open_disk(&disk).expect("opens");
    put(&store, &server("before")).await.expect("written");
    disk.set_mood(Mood::FailsAfter(0));

    let refused = put(&store, &server("during")).await;
    let refused_too = put(&store, &server("during-too")).await;

    assert!(matches!(refused, Err(Error::ReadOnly { .. })));
    assert!(matches!(refused_too, Err(Error::ReadOnly { .. })));
    let Condition::ReadOnly { reason } = store.state() else { panic!("it says so") };
    assert!(reason.contains("the disk was told to fail"), "{reason}");
    assert_eq!(names(&store.read().expect("readable")), ["before"]);

    disk.set_mood(Mood::Well);
    is_writable_again(&store).await;
    put(&store, &server("after")).await.expect("written");

    let snapshot = store.read().expect("readable");
    assert_eq!(names(&snapshot), ["before", "after"]);
    assert_book_agrees(&snapshot);
}

#[tokio::test]
async fn a_disk_that_fails_again_is_left_in_peace_for_a_while() {
    let disk = new_disk();
    let store = open_disk(&disk).expect("opens");

    disk.set_mood(Mood::FailsOnceAfter(0));
    let first = put(&store, &server("first")).await;
    disk.set_mood(Mood::FailsOnceAfter(0));
    let second = put(&store, &server("second")).await;

    assert!(matches!(first, Err(Error::NotWritten { .. })), "opened again at once");
    assert!(matches!(second, Err(Error::ReadOnly { .. })), "opened again later");
    is_writable_again(&store).await;
    put(&store, &server("third")).await.expect("written");
}

#[tokio::test]
async fn a_failed_read_opens_the_database_again() {
    let (disk, key) = (new_disk(), Zeroizing::new([7; 32]));
    let uncached = Vault { cache_bytes: 0, ..vault(&disk) };
    let (left, settings) = ((None, Left::Cleanly), Settings::default());
    let store = Store::start(uncached, &key, left, &settings, clock()).expect("opens");
    put(&store, &server("time")).await.expect("written");
    let mut condition = store.0.shelf.watch();

    disk.set_mood(Mood::CannotReadOnce);
    let unread = store.read().and_then(|snapshot| snapshot.servers());

    assert!(matches!(unread, Err(Error::Storage(_))));
    let changed = tokio::time::timeout(LIMIT, condition.changed()).await;
    changed.expect("in time").expect("the store lives");
    is_writable_again(&store).await;
    assert_eq!(names(&store.read().expect("readable")), ["time"]);
}

/// Fails once at every operation in turn, and pulls the plug after every answer.
#[tokio::test]
async fn one_failure_loses_nothing_wherever_it_strikes() {
    for strike in 0.. {
        let disk = new_disk();
        let store = open_disk(&disk).expect("opens");
        disk.set_mood(Mood::FailsOnceAfter(strike));
        let mut there = Vec::new();

        for name in ["a", "b", "c"] {
            match put(&store, &server(name)).await {
                Ok(()) => there.push(name),
                Err(Error::NotWritten { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            assert_left(&disk, &there);
        }

        assert_eq!(names(&store.read().expect("readable")), there, "strike {strike}");
        if disk.mood() != Mood::Well {
            assert!(strike > 30, "three commits are more operations than {strike}");
            return;
        }
    }
}

/// Fails for good from some operation on, until repaired.
#[tokio::test]
async fn a_long_failure_loses_nothing_whenever_it_begins() {
    for strike in (0..40).step_by(3) {
        let disk = new_disk();
        let store = open_disk(&disk).expect("opens");
        disk.set_mood(Mood::FailsAfter(strike));
        let mut acknowledged = Vec::new();

        for name in ["a", "b", "c", "d"] {
            if put(&store, &server(name)).await.is_ok() {
                acknowledged.push(name);
            }
        }
        disk.set_mood(Mood::Well);
        is_writable_again(&store).await;
        put(&store, &server("last")).await.expect("written after the repair");
        acknowledged.push("last");

        let there = names(&store.read().expect("readable"));
        let is_there = |name: &&str| there.iter().any(|found| found == name);
        assert!(acknowledged.iter().all(is_there), "strike {strike} left only {there:?}");
        assert_left(&disk, &there);
    }
}

/// A power cut now leaves exactly these servers.
fn assert_left(disk: &MemoryDisk, expected: &[impl AsRef<str>]) {
    let store = open_disk(&MemoryDisk::holding(disk.kept())).expect("opens");
    let snapshot = store.read().expect("readable");
    let there = names(&snapshot);
    assert!(there.iter().eq(expected.iter().map(AsRef::as_ref)), "left {there:?}");
    assert_book_agrees(&snapshot);
}
