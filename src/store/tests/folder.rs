//! The data folder: who may open it, and what is refused.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;

fn create(folder: &Path) -> Result<Store, Error> {
    Store::create(folder, &Settings::default(), clock())
}

fn open(folder: &Path) -> Result<Store, Error> {
    Store::open(folder, &Settings::default(), clock())
}

fn refusal(result: Result<Store, Error>) -> Error {
    result.err().expect("refused")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// A folder with a store in it that was closed.
async fn a_house() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("data");
    let store = create(&folder).expect("made");
    put(&store, &server("time")).await.expect("written");
    store.close().await;
    (parent, folder)
}

#[tokio::test]
async fn set_up_happens_once_and_keeps_others_out() {
    let (_parent, folder) = a_house().await;

    let again = refusal(create(&folder));

    assert!(matches!(again, Error::AlreadyInitialised { .. }));
    assert!(Store::is_initialised(&folder));
    assert_eq!(mode(&folder), 0o700);
    for name in ["secret.key", "state.redb", "lock"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let store = open(&folder).expect("opens");
    assert_eq!(names(&store.read().expect("readable")), ["time"]);
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_folder() {
    let (_parent, folder) = a_house().await;
    let store = open(&folder).expect("opens");

    let refused = refusal(open(&folder));

    let pid = std::process::id();
    assert!(refused.to_string().contains(&format!("open (pid {pid})")), "{refused}");
    store.close().await;
    assert!(open(&folder).is_ok());
}

#[tokio::test]
async fn a_folder_that_others_may_write_to_is_refused() {
    let (_parent, folder) = a_house().await;
    fs::set_permissions(&folder, Permissions::from_mode(0o770)).expect("changed");

    assert!(matches!(refusal(open(&folder)), Error::FolderOpen { mode: 0o770, .. }));
    assert!(matches!(refusal(create(&folder)), Error::FolderOpen { .. }));
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    let (_parent, folder) = a_house().await;
    fs::set_permissions(folder.join("secret.key"), Permissions::from_mode(0o644)).expect("changed");

    assert!(matches!(refusal(open(&folder)), Error::KeyExposed { mode: 0o644, .. }));
}

#[tokio::test]
async fn a_database_without_its_key_is_refused_by_everybody() {
    let (_parent, folder) = a_house().await;
    fs::remove_file(folder.join("secret.key")).expect("removed");

    assert!(matches!(refusal(open(&folder)), Error::KeyMissing { .. }));
    assert!(matches!(refusal(create(&folder)), Error::KeyMissing { .. }));
}

#[tokio::test]
async fn the_key_of_another_house_is_refused() {
    let ((_one, folder), (_two, other)) = (a_house().await, a_house().await);
    fs::copy(other.join("secret.key"), folder.join("secret.key")).expect("copied");

    assert!(matches!(refusal(open(&folder)), Error::KeyForeign { .. }));
}

#[tokio::test]
async fn the_pepper_is_the_houses_own_and_stays() {
    let ((_one, folder), (_two, other)) = (a_house().await, a_house().await);
    let store = open(&folder).expect("opens");
    let pepper = *store.pepper();
    store.close().await;

    assert_eq!(open(&folder).expect("opens").pepper(), &pepper);
    assert_ne!(open(&other).expect("opens").pepper(), &pepper);
}

#[tokio::test]
async fn a_broken_key_file_is_refused() {
    let (_parent, folder) = a_house().await;

    for text in [&b""[..], b"key = AAAA\n", b"\xff\xfe", &[b'x'; 10_000]] {
        fs::write(folder.join("secret.key"), text).expect("written");

        assert!(matches!(refusal(open(&folder)), Error::KeyMalformed { .. }));
    }
}

#[tokio::test]
async fn a_spoiled_database_is_refused_in_one_line_and_set_up_stays_closed() {
    let (_parent, folder) = a_house().await;
    let path = folder.join("state.redb");
    let whole = fs::read(&path).expect("readable");
    let sqlite = [&b"SQLite format 3\0"[..], &[0; 5_000]].concat();
    let spoiled: [(&str, Option<&[u8]>); 6] = [
        ("is missing", None),
        ("is empty", Some(b"")),
        ("is not a database of Tollhouse", Some(b"hello")),
        ("is not a database of Tollhouse", Some(&sqlite)),
        ("is damaged", Some(&whole[..whole.len() / 2])),
        ("is damaged", Some(&whole[..100])),
    ];
    for (expected, bytes) in spoiled {
        fs::remove_file(&path).ok();
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).expect("written");
        }

        let refused = refusal(open(&folder)).to_string();

        assert!(refused.contains(expected), "{expected:?}: {refused}");
        assert!(refused.contains("state.redb") && refused.lines().count() == 1, "{refused}");
        assert!(matches!(refusal(create(&folder)), Error::AlreadyInitialised { .. }));
        assert!(Store::is_initialised(&folder));
    }
}

#[tokio::test]
async fn a_foreign_database_of_the_same_make_is_refused() {
    let (_parent, folder) = a_house().await;
    fs::remove_file(folder.join("state.redb")).expect("removed");
    drop(redb::Database::create(folder.join("state.redb")).expect("made"));

    assert!(matches!(refusal(open(&folder)), Error::DatabaseForeign { .. }));
}

#[tokio::test]
async fn a_later_schema_is_refused() {
    let disk = MemoryDisk::holding(Vec::new());
    let house = House { schema: 2, ..House::new(Uuid::nil(), Timestamp::from_ms(0)) };
    vault(&disk).make(&house).expect("made");

    let refused = refusal(open_disk(&disk));

    assert!(matches!(refused, Error::Newer { found: 2, known: 1, .. }));
}

#[test]
fn a_folder_that_was_never_set_up_is_not_opened() {
    let parent = tempfile::tempdir().expect("a folder");

    for folder in [parent.path().to_owned(), parent.path().join("nowhere")] {
        assert!(matches!(refusal(open(&folder)), Error::NotInitialised { .. }));
        assert!(!Store::is_initialised(&folder));
    }
}

/// Stops set-up before each of its steps in turn, as a kill would.
#[tokio::test]
async fn set_up_can_begin_anew_wherever_it_was_interrupted() {
    let (_parent, whole) = a_house().await;
    let (key, database) = ("secret.key.new", "state.redb");
    let steps: [&[(&str, &[u8])]; 5] = [
        &[],
        &[(key, b"insta")],
        &[(key, b"instance = 1\n")],
        &[(key, b"instance = 1\n"), (database, b"")],
        &[(key, b"instance = 1\n"), (database, b"half a database")],
    ];
    for left in steps {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path();
        for (name, bytes) in left {
            fs::write(folder.join(name), bytes).expect("written");
        }
        assert!(!Store::is_initialised(folder));
        assert!(matches!(refusal(open(folder)), Error::NotInitialised { .. }));

        let store = create(folder).expect("begins anew");

        put(&store, &server("time")).await.expect("written");
        assert!(Store::is_initialised(folder));
        assert!(!folder.join(key).exists());
    }
    assert!(Store::is_initialised(&whole));
}

/// The folder as a kill leaves it: a copy made while the store is open.
#[tokio::test]
async fn after_a_kill_everything_acknowledged_is_there_and_was_checked() {
    let (_parent, folder) = a_house().await;
    let store = open(&folder).expect("opens");
    put(&store, &server("late")).await.expect("written");
    let killed = tempfile::tempdir().expect("a folder");
    for name in ["secret.key", "state.redb", "lock"] {
        fs::copy(folder.join(name), killed.path().join(name)).expect("copied");
    }
    let mark = fs::read_to_string(killed.path().join("lock")).expect("readable");
    assert_eq!(mark.trim(), std::process::id().to_string());

    let survivor = open(killed.path()).expect("opens");

    let snapshot = survivor.read().expect("readable");
    assert_eq!(names(&snapshot), ["time", "late"]);
    assert_book_agrees(&snapshot);
    survivor.close().await;
    assert_eq!(fs::read(killed.path().join("lock")).expect("readable"), b"");
}

/// Flips one bit after the other. Nothing altered is ever believed, nothing is silently missing,
/// and nothing panics.
#[tokio::test]
async fn a_flipped_bit_is_found_after_a_kill() {
    let disk = new_disk();
    let store = open_disk(&disk).expect("opens");
    for number in 0..20 {
        put(&store, &server(&format!("s{number}"))).await.expect("written");
    }
    let genuine = store.read().expect("readable").servers().expect("readable");
    store.close().await;
    let whole = disk.kept();
    // Only the pages in use matter; the rest of the file is zero.
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut refused = 0;

    for at in used.iter().step_by(used.len() / 150) {
        let mut bytes = whole.clone();
        bytes[*at] ^= 1 << (at % 8);

        let Ok(store) = open_disk(&MemoryDisk::holding(bytes)) else {
            refused += 1;
            continue;
        };

        let snapshot = store.read().expect("readable");
        let servers = snapshot.servers().expect("readable");
        assert!(servers.iter().all(|server| genuine.contains(server)), "byte {at}");
        assert_book_agrees(&snapshot);
    }
    assert!(refused > 0, "some bits of a used page matter");
}

#[tokio::test]
async fn a_database_of_an_earlier_release_is_given_the_tables_it_lacks() {
    let (_parent, folder) = a_house().await;
    let database = redb::Database::open(folder.join("state.redb")).expect("opens");
    let earlier = database.begin_write().expect("writable");
    let sessions = redb::TableDefinition::<&[u8], &[u8]>::new("sessions");
    assert!(earlier.delete_table(sessions).expect("deleted"));
    earlier.commit().expect("committed");
    drop(database);

    let store = open(&folder).expect("opens");

    assert!(store.read().expect("readable").sessions().expect("readable").is_empty());
    assert_eq!(names(&store.read().expect("readable")), ["time"]);
}
