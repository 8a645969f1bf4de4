//! Builds the rooms from the ground up, runs them, and drains them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Access, Site, furnish},
    admin::{self, House},
    catalog::Catalog,
    config,
    domain::{Clock, SystemClock},
    edge::{self, Door, Front, Guard, Sessions, Stop},
    links::Links,
    observe::{self, Archive, Book, Journal, Log, Metrics, Scribe, Sinks, Writing},
    pipeline::{Pipeline, Rooms},
    registry::Registry,
    store::{Records, Store},
    traffic::Traffic,
    trust::Trust,
    upstream::Upstream,
};

pub use crate::{config::Settings, upstream::warden};

/// How long children have to end when the gateway does.
const CLOSING: Duration = Duration::from_secs(10);

/// How long sinks have to take what was said last.
const SENDING: Duration = Duration::from_secs(3);

/// How long whoever reads the log has for what was said last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a gateway says of itself once it serves.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether somebody owns it.
    pub is_claimed: bool,
    /// Whether callers need no credential.
    pub is_open: bool,
    /// Where its data lies.
    pub data: PathBuf,
}

/// Whether the book agrees with itself.
#[derive(Debug, Clone, Copy)]
pub struct BookCheck {
    /// Lines of the audit.
    pub audit: u64,
    /// Entries of the feed.
    pub feed: u64,
    /// Whether both have the same numbers, with none missing.
    pub agree: bool,
}

/// Whether a data folder may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// It must be there.
    MustBeThere,
    /// It is made where there is none.
    MayBeMade,
}

/// A core dump would hold keys and secrets. Children inherit this.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // A system that refuses to lower a limit has no dumps either, or is beyond our help.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Runs the gateway until it is told to stop, and drains it.
pub async fn serve(settings: Settings, announce: impl FnOnce(Welcome)) -> anyhow::Result<()> {
    let diary = Diary::open(&settings)?;
    serve_until_told(&settings, &diary, announce).await
}

async fn serve_until_told(
    settings: &Settings,
    diary: &Diary,
    announce: impl FnOnce(Welcome),
) -> anyhow::Result<()> {
    // The address first: a busy one is told before anything is touched.
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    let mut signals = Signals::new()?;
    let rooms = Building::raise(settings, diary, address, Folder::MayBeMade).await?;
    let socket = settings.socket();
    let local = bind_local(&socket)?;
    let mut running = Running::start(&rooms, vec![Door::Tcp(listener), Door::Unix(local)]);
    rooms.house.set_ready(true);
    announce(Welcome {
        address,
        is_claimed: rooms.office.access.is_claimed()?,
        is_open: !settings.access.enabled,
        data: settings.data.clone(),
    });
    let ended = tokio::select! {
        () = signals.next() => None,
        Some(ended) = running.tasks.join_next() => Some(ended),
    };
    tracing::info!("draining: no new calls, running ones have {} s", settings.drain_seconds);
    rooms.house.set_ready(false);
    let deadline = Duration::from_secs(settings.drain_seconds);
    let ending = async {
        running.drain(&rooms, deadline).await;
        running.stop(&rooms).await;
    };
    tokio::select! {
        () = ending => {}
        () = signals.next() => {
            tracing::warn!("a second signal: ending at once; wardens end the children");
            rooms.writing.finish(LAST_WORDS).await;
            drop(tokio::time::timeout(LAST_WORDS, rooms.store.close()).await);
        }
    }
    remove_socket(&socket);
    match ended {
        Some(Err(error)) => Err(error).context("a task of the house ended"),
        _ => Ok(()),
    }
}

/// The rooms without a door to the network, for a command while no gateway runs.
pub struct Office {
    socket: PathBuf,
    rooms: Building,
    running: Running,
    /// The last to go, because the others write in it.
    _diary: Diary,
}

/// Opens the rooms on a data folder and serves them on a private socket.
pub async fn office(mut settings: Settings, folder: Folder) -> anyhow::Result<Office> {
    // A command speaks for itself, also of servers that do not answer.
    settings.observe.calls = false;
    settings.observe.level = "error".into();
    settings.observe.sinks.clear();
    let socket = settings.data.join(format!("office-{}.sock", std::process::id()));
    Office::open(&settings, folder, socket).await
}

/// A gateway within another program: it serves on the local socket, where others find it as they
/// find any other gateway.
pub async fn embed(settings: Settings) -> anyhow::Result<Office> {
    let socket = settings.socket();
    Office::open(&settings, Folder::MayBeMade, socket).await
}

impl Office {
    async fn open(settings: &Settings, folder: Folder, socket: PathBuf) -> anyhow::Result<Self> {
        let diary = Diary::open(settings)?;
        let rooms = Building::raise(settings, &diary, settings.listen, folder).await?;
        let local = bind_local(&socket)?;
        let running = Running::start(&rooms, vec![Door::Unix(local)]);
        rooms.house.set_ready(true);
        Ok(Self { socket, rooms, running, _diary: diary })
    }

    /// Where the office is served.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends children, writes everything, and lets the data folder go.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.running.drain(&self.rooms, Duration::from_secs(1)).await;
        self.running.stop(&self.rooms).await;
        remove_socket(&self.socket);
        Ok(())
    }
}

/// The log while it is written. Whatever ends the house, its last words are waited for, unless
/// nobody reads them.
struct Diary {
    log: Log,
    sinks: Sinks,
    metrics: Metrics,
    written: mpsc::Receiver<()>,
}

impl Diary {
    fn open(settings: &Settings) -> anyhow::Result<Self> {
        let (own, metrics, clock) = (&settings.observe, Metrics::new(), Arc::new(SystemClock));
        let sinks = Sinks::start(&own.sinks, own.sink_bytes, &metrics, clock)?;
        let log = observe::start(own, &sinks)?;
        let (done, written) = mpsc::channel();
        let writer = log.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            writer.write_out();
            drop(done);
        })?;
        Ok(Self { log, sinks, metrics, written })
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        self.sinks.finish(SENDING);
        self.log.close();
        // Nothing is ever sent: the channel ends with the writer.
        let _ = self.written.recv_timeout(LAST_WORDS);
    }
}

/// Compares the audit with the feed, while no gateway runs.
pub async fn check_book(settings: &Settings) -> anyhow::Result<BookCheck> {
    let store = Store::open(&settings.data, &settings.store, Arc::new(SystemClock))?;
    let (audit, feed, agree) = observe::audit::compare_with_feed(&store.read()?)?;
    store.close().await;
    Ok(BookCheck { audit, feed, agree })
}

/// All rooms, raised in the order of the stairs.
struct Building {
    store: Store,
    writing: Writing,
    upstream: Upstream,
    catalog: Catalog,
    pipeline: Pipeline,
    front: Front,
    office: admin::Office,
    house: House,
    doors: edge::Settings,
}

impl Building {
    async fn raise(
        settings: &Settings,
        diary: &Diary,
        address: SocketAddr,
        folder: Folder,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = open_store(settings, folder, &clock)?;
        furnish(&store).await?;
        let metrics = diary.metrics.clone();
        let journal = Journal::new(&settings.observe, metrics.clone(), clock.clone());
        let (book, writing) = book(settings, &store, (&journal, diary), &clock)?;
        let access = Access::new(settings.access.clone(), &store, clock.clone())?;
        let upstream = speaking(settings, &clock)?;
        let mut own = settings.registry.clone();
        config::Environment::capture().for_discovery(&mut own.discovery);
        let registry = Registry::new(own, &store, &upstream, &metrics, clock.clone())?;
        let traffic = Traffic::new(settings.traffic.clone(), (&store, &registry), clock.clone())?;
        let trust = Trust::new(settings.trust.clone(), &store, clock.clone())?;
        let links = links(settings, (&store, &upstream), &clock, address)?;
        let known = (&registry, &trust, &links);
        let catalog =
            Catalog::new(settings.catalog.clone(), known, &upstream, &metrics, clock.clone());
        let pipeline = Pipeline::new(
            settings.pipeline.clone(),
            Rooms {
                access: access.clone(),
                catalog: catalog.clone(),
                traffic: traffic.clone(),
                registry: registry.clone(),
                links: links.clone(),
                upstream: upstream.clone(),
                journal,
            },
        );
        let house = House::new(address.to_string(), settings.data.clone(), clock.now());
        let site = Site::new(settings.public_url.as_deref(), &settings.access);
        let office = admin::Office {
            access,
            site: site.clone(),
            registry,
            links,
            trust,
            catalog: catalog.clone(),
            traffic,
            upstream: upstream.clone(),
            pipeline: pipeline.clone(),
            bridge: settings.stdio_bridge.clone(),
            store: store.clone(),
            book,
            metrics,
            clock: clock.clone(),
            house: house.clone(),
        };
        let guard =
            Guard::new(&[address], &settings.edge.allowed_hosts, &settings.edge.allowed_origins);
        let router = admin::router(office.clone());
        let sessions = settings.edge.sessions.clone();
        let sessions = Sessions::new(sessions, pipeline.clone(), store.clone(), clock.clone());
        sessions.take_up()?;
        house.set_sessions(sessions.clone());
        let front = Front::new(&settings.edge, (guard, site), sessions, router, clock);
        let doors = settings.edge.clone();
        Ok(Self { store, writing, upstream, catalog, pipeline, front, office, house, doors })
    }
}

/// The book of calls, and whoever writes it.
fn book(
    settings: &Settings,
    store: &Store,
    (journal, diary): (&Journal, &Diary),
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Book, Writing)> {
    let lines = (journal.clone(), diary.log.clone(), diary.sinks.clone());
    let (own, metrics) = (settings.observe.clone(), diary.metrics.clone());
    let mut scribe = Scribe::new(own, lines, metrics, clock.clone());
    let kept = &settings.observe.book;
    let open = || Records::open(&settings.data, kept.cache_mib, clock.now());
    let records = kept.enabled.then(open).transpose()?;
    let records = records.map(|records| (records, Archive::new(&settings.data)));
    if let Some(records) = &records {
        scribe.keep(records.clone(), store.clone())?;
    }
    let book = Book::new(records, journal.clone(), scribe.listeners(), kept.max_listeners);
    Ok((book, scribe.start()?))
}

/// How servers are spoken to.
fn speaking(settings: &Settings, clock: &Arc<dyn Clock>) -> anyhow::Result<Upstream> {
    Ok(Upstream::new(
        settings.upstream.clone(),
        std::env::current_exe().ok(),
        settings.data.clone(),
        config::Environment::capture().for_children(),
        clock.clone(),
    )?)
}

/// Who is signed in at them.
fn links(
    settings: &Settings,
    below: (&Store, &Upstream),
    clock: &Arc<dyn Clock>,
    address: SocketAddr,
) -> anyhow::Result<Links> {
    let (own, speaking) = (settings.links.clone(), settings.upstream.clone());
    Ok(Links::new(own, speaking, below, clock.clone(), settings.url(address))?)
}

fn open_store(
    settings: &Settings,
    folder: Folder,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Store> {
    let clock = clock.clone();
    if folder == Folder::MayBeMade && !Store::is_initialised(&settings.data) {
        return Ok(Store::create(&settings.data, &settings.store, clock)?);
    }
    Ok(Store::open(&settings.data, &settings.store, clock)?)
}

/// The tasks of the house; every one is started here.
struct Running {
    tasks: JoinSet<()>,
    doors: JoinSet<()>,
    stop_tasks: CancellationToken,
    stop_doors: Stop,
}

impl Running {
    fn start(rooms: &Building, doors: Vec<Door>) -> Self {
        let stop_tasks = CancellationToken::new();
        let stop_doors = Stop::default();
        let mut tasks = JoinSet::new();
        let (upstream, catalog) = (rooms.upstream.clone(), rooms.catalog.clone());
        let (sessions, stop) = (rooms.front.sessions().clone(), stop_tasks.clone());
        tasks.spawn(async move { sessions.run(stop).await });
        let (access, registry) = (rooms.office.access.clone(), rooms.office.registry.clone());
        let stop = stop_tasks.clone();
        let noting = (access.clone(), stop.clone());
        tasks.spawn(async move { access.follow(stop).await });
        tasks.spawn(async move { noting.0.note_uses(noting.1).await });
        let telling = (rooms.office.access.clone(), stop_tasks.clone());
        tasks.spawn(async move { telling.0.tell_refusals(telling.1).await });
        let (watch, stop) = (registry.clone(), stop_tasks.clone());
        tasks.spawn(async move { watch.watch_over(stop).await });
        let (house, sources, stop) =
            (rooms.office.access.clone(), registry.clone(), stop_tasks.clone());
        tasks.spawn(async move { sources.discover(move || house.owner(), stop).await });
        let stop = stop_tasks.clone();
        tasks.spawn(async move { registry.follow(stop).await });
        let (traffic, stop) = (rooms.office.traffic.clone(), stop_tasks.clone());
        tasks.spawn(async move { traffic.run(stop).await });
        let (links, stop) = (rooms.office.links.clone(), stop_tasks.clone());
        tasks.spawn(async move { links.follow(stop).await });
        let (trust, stop) = (rooms.office.trust.clone(), stop_tasks.clone());
        tasks.spawn(async move { trust.run(stop).await });
        let stop = stop_tasks.clone();
        tasks.spawn(async move { upstream.run(stop).await });
        let stop = stop_tasks.clone();
        tasks.spawn(async move { catalog.run(stop).await });
        let (pipeline, stop) = (rooms.pipeline.clone(), stop_tasks.clone());
        tasks.spawn(async move { pipeline.run(stop).await });
        let mut serving = JoinSet::new();
        for door in doors {
            let (front, stop) = (rooms.front.clone(), stop_doors.clone());
            let settings = rooms.doors.connections.clone();
            serving.spawn(async move {
                // Boxed, so that a connection without a request is small.
                let answer = move |peer, request| {
                    let front = front.clone();
                    Box::pin(async move { front.handle(&peer, request).await })
                };
                edge::serve(door, &settings, answer, stop).await;
            });
        }
        Self { tasks, doors: serving, stop_tasks, stop_doors }
    }

    /// Closes the doors and lets running calls finish, within a deadline.
    async fn drain(&mut self, rooms: &Building, deadline: Duration) {
        self.stop_doors.drain();
        rooms.front.close_streams();
        let finish = async { while self.doors.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, finish).await.is_err() {
            tracing::warn!("some calls did not finish in time and are cut");
        }
    }

    /// Ends everything: what still runs, the children, the store.
    async fn stop(&mut self, rooms: &Building) {
        self.stop_doors.cut();
        while self.doors.join_next().await.is_some() {}
        self.stop_tasks.cancel();
        while self.tasks.join_next().await.is_some() {}
        if tokio::time::timeout(CLOSING, rooms.upstream.close()).await.is_err() {
            tracing::warn!("some children did not end in time; their wardens end them");
        }
        rooms.writing.finish(CLOSING).await;
        rooms.store.close().await;
    }
}

/// The local socket: only the owner of the data folder reaches it.
fn bind_local(path: &Path) -> anyhow::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    // The store is locked by this process, so a socket that is there belongs to nobody.
    remove_socket(path);
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot make the local socket {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the local socket cannot be removed");
    }
}

/// Being told to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
