//! The store through its handle.

mod behaviour;
mod disk;
mod failure;
mod folder;
mod power;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use uuid::Uuid;
use zeroize::Zeroizing;

use self::disk::MemoryDisk;
use super::{
    Error, Settings, Store, folder::Left, seal::Seal, snapshot::Snapshot, upgrade::House,
    vault::Vault,
};
use crate::domain::{
    Actor, Change, Endpoint, EndpointTls, FixedClock, Instance, NamespaceId, Noun, OrganizationId,
    Secret, Server, ServerAuth, ServerId, State, Timestamp, Transport,
};

fn me() -> &'static Actor {
    static ME: LazyLock<Actor> = LazyLock::new(|| Actor::system("test"));
    &ME
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::default())
}

/// A server with a secret that is easy to find.
fn server(name: &str) -> Server {
    let headers = BTreeMap::from([("Authorization".to_owned(), Secret::new("hunter2-canary"))]);
    let url = "http://127.0.0.1:3000/mcp".parse().expect("a URL");
    Server {
        id: ServerId::fresh(),
        organization: OrganizationId::fixed(1),
        namespace: NamespaceId::fixed(1),
        name: name.parse().expect("a slug"),
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
        instances: vec![Instance::new(Endpoint::Http {
            url,
            headers,
            transport: Transport::Auto,
            auth: ServerAuth::Bearer { token: Secret::new("hunter2-canary") },
            tls: EndpointTls::default(),
        })],
        created_at: Timestamp::from_ms(1),
        updated_at: Timestamp::from_ms(1),
        on_change: None,
        balance: crate::domain::Balance::default(),
    }
}

async fn put(store: &Store, server: &Server) -> Result<(), Error> {
    let server = server.clone();
    store.write(me(), move |draft| draft.put_server(&server)).await
}

async fn remove(store: &Store, id: ServerId) -> Result<Option<Server>, Error> {
    store.write(me(), move |draft| draft.remove_server(&id)).await
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    let servers = snapshot.servers().expect("readable");
    servers.iter().map(|server| server.name.to_string()).collect()
}

/// Audit and feed have the same numbers, without a gap, and tell exactly what is there.
fn assert_book_agrees(snapshot: &Snapshot) {
    let audit = snapshot.audit(0, usize::MAX).expect("readable");
    let feed = snapshot.feed(0, usize::MAX).expect("readable");
    let last = snapshot.last_sequence().expect("readable");
    assert!(audit.iter().map(|line| line.sequence).eq(1..=last), "audit has a gap");
    let of_line = audit.iter().map(|line| (line.sequence, line.noun, &line.id, line.change));
    let of_entry = feed.iter().map(|entry| (entry.sequence, entry.noun, &entry.id, entry.change));
    assert!(of_line.eq(of_entry), "feed and audit differ");
    let mut told = Vec::new();
    for line in audit.into_iter().filter(|line| line.noun == Noun::Server) {
        told.retain(|id| *id != line.id);
        if line.change != Change::Deleted {
            told.push(line.id);
        }
    }
    told.sort_unstable();
    let servers = snapshot.servers().expect("readable");
    assert_eq!(told, servers.iter().map(|server| server.id.to_string()).collect::<Vec<_>>());
}

fn vault(disk: &MemoryDisk) -> Vault<MemoryDisk> {
    let seal = Arc::new(Seal::new(&Zeroizing::new([7; 32])));
    Vault { disk: disk.clone(), seal, cache_bytes: 1 << 20 }
}

/// A disk with a new database on it.
fn new_disk() -> MemoryDisk {
    let disk = MemoryDisk::holding(Vec::new());
    let house = House::new(Uuid::nil(), Timestamp::from_ms(0));
    vault(&disk).make(&house).expect("made");
    disk
}

fn open_disk(disk: &MemoryDisk) -> Result<Store, Error> {
    let key = Zeroizing::new([7; 32]);
    Store::start(vault(disk), &key, (None, Left::Abruptly), &Settings::default(), clock())
}
