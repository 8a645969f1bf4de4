//! The connections: one to each instance, made when it is first spoken to, made anew when its
//! definition changes.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::{join, join_all};
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Semaphore, SemaphorePermit, broadcast},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{
    ChildView, ConversationView, Environment, Error, News, Party, Peer, Settings,
    callers::Board,
    child::{Child, Nursery, Pipes, Program},
    error::Limit,
    http::{self, Http, Papers, Site, client, credentials},
    link::{self, Carrier, Link},
    oauth::{Account, Bearer, ClientCredentials, Nobody},
    own::Own,
    party::Ask,
    plain::Plain,
    probe::Probed,
    stdio::{self, Stdio},
    task::needs_tasks,
    watch::Watch,
    way::Way,
};
use crate::{
    domain::{
        ClientAuth, Clock, Endpoint, HttpUrl, Instance, InstanceId, ServerAuth, ServerTls,
        Transport,
    },
    wire::{Answer, Era},
};

/// How many retired instances are remembered; an id is never used again.
const RETIRED: usize = 1_024;

/// How much word of servers is kept for whoever is slow to hear it.
const NEWS: usize = 1_024;

/// All connections.
#[derive(Debug)]
pub(super) struct Pool {
    connections: RwLock<Connections>,
    http: http::Ground,
    stdio: stdio::Ground,
}

#[derive(Debug, Default)]
struct Connections {
    by_instance: HashMap<InstanceId, Arc<Connection>>,
    /// Those with instances where everybody has their own account.
    of_accounts: HashMap<(InstanceId, Arc<str>), Arc<Connection>>,
    /// Those retired last. A call that was on its way to one must not start it again.
    retired: VecDeque<InstanceId>,
    is_closed: bool,
}

impl Connections {
    fn is_over(&self, instance: &InstanceId) -> bool {
        self.is_closed || self.retired.contains(instance)
    }

    fn take_out(&mut self, instance: &InstanceId) -> Vec<Arc<Connection>> {
        self.retired.push_back(*instance);
        if self.retired.len() > RETIRED {
            self.retired.pop_front();
        }
        let of_accounts = self.of_accounts.extract_if(|(of, _), _| of == instance);
        let mut all: Vec<_> = of_accounts.map(|(_, connection)| connection).collect();
        all.extend(self.by_instance.remove(instance));
        all
    }

    fn all(&self) -> impl Iterator<Item = (&InstanceId, &Arc<Connection>)> {
        let of_accounts = self.of_accounts.iter().map(|((id, _), connection)| (id, connection));
        self.by_instance.iter().chain(of_accounts)
    }

    fn find(&self, instance: &Instance, account: Option<&Account>) -> Option<&Arc<Connection>> {
        let found = match account {
            None => self.by_instance.get(&instance.id),
            Some(account) => self.of_accounts.get(&(instance.id, Arc::clone(&account.key))),
        };
        found.filter(|found| found.endpoint == instance.endpoint)
    }
}

/// The connection to one instance.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    places: Semaphore,
    limit: usize,
    /// The conversation that all share who need none of their own.
    way: Way,
    /// Whether it turned out to speak no older revision.
    is_modern_only: AtomicBool,
    own: Own,
    /// When it was spoken in last.
    used: Mutex<Instant>,
    pub(super) watch: Watch,
    tasks: TaskTracker,
}

impl Pool {
    pub(super) fn new(
        settings: Settings,
        warden: Option<PathBuf>,
        folder: PathBuf,
        environment: Environment,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let tasks = TaskTracker::new();
        let nursery = Arc::new(Nursery::new(&settings, warden, folder, environment));
        let client = client(&settings, None)?;
        let settings = Arc::new(settings);
        let board = Board::new(NEWS);
        Ok(Self {
            connections: RwLock::default(),
            http: http::Ground {
                client,
                settings: Arc::clone(&settings),
                tasks: tasks.clone(),
                board: board.clone(),
                bearer: None,
            },
            stdio: stdio::Ground { nursery, settings, clock, tasks, board },
        })
    }

    /// The limits on speaking.
    pub(super) fn settings(&self) -> &Settings {
        &self.http.settings
    }

    /// The connection to an instance, with an account where everybody has their own there.
    pub(super) fn connection(
        &self,
        instance: &Instance,
        account: Option<&Account>,
    ) -> Result<Arc<Connection>, Error> {
        if let Some(found) = self.connections.read().find(instance, account) {
            return Ok(Arc::clone(found));
        }
        let mut connections = self.connections.write();
        if connections.is_over(&instance.id) {
            return Err(Error::Closed);
        }
        if let Some(found) = connections.find(instance, account) {
            return Ok(Arc::clone(found));
        }
        let limit = self.http.settings.accounts;
        if account.is_some() && connections.of_accounts.len() >= limit {
            return Err(Error::TooManySessions { limit });
        }
        let new = Arc::new(self.connect(instance, account)?);
        let old = match account {
            None => connections.by_instance.insert(instance.id, Arc::clone(&new)),
            Some(account) => {
                let place = (instance.id, Arc::clone(&account.key));
                connections.of_accounts.insert(place, Arc::clone(&new))
            }
        };
        drop(connections);
        self.end(old);
        Ok(new)
    }

    /// Ends the connections with an account that is not there any more.
    pub(super) fn forget(&self, account: &Account) {
        let mut connections = self.connections.write();
        let ended = connections.of_accounts.extract_if(|(_, key), _| *key == account.key);
        let ended: Vec<_> = ended.map(|(_, connection)| connection).collect();
        drop(connections);
        self.end(ended);
    }

    fn end(&self, ended: impl IntoIterator<Item = Arc<Connection>>) {
        for connection in ended {
            self.http.tasks.spawn(async move { connection.close().await });
        }
    }

    fn connect(&self, instance: &Instance, account: Option<&Account>) -> Result<Connection, Error> {
        let way = match &instance.endpoint {
            Endpoint::Http { url, headers, transport, auth, tls } => {
                let shown = credentials(auth);
                let shown = shown.iter().map(|(name, value)| (name, value));
                let site = Site::new(url, headers.iter().chain(shown));
                let bearer = self.bearer(url, auth, account);
                let ground = http::Ground { bearer, ..self.ground(tls)? };
                self.remote(instance.id, site, *transport, &ground)
            }
            Endpoint::Stdio { command, args, env, cwd } => {
                let program = Program {
                    command: command.clone(),
                    args: args.clone(),
                    env: env.clone(),
                    cwd: cwd.clone(),
                };
                Way::Stdio(Arc::new(Stdio::new(instance.id, program, self.stdio.clone())))
            }
        };
        let limit = self.http.settings.in_flight_per_instance.min(Semaphore::MAX_PERMITS);
        let endpoint = instance.endpoint.clone();
        let places = Semaphore::new(limit);
        let own = Own::new(&self.stdio);
        let (watch, tasks) = (Watch::default(), self.http.tasks.clone());
        let is_modern_only = AtomicBool::new(false);
        let used = Mutex::new(Instant::now());
        Ok(Connection { endpoint, places, limit, way, is_modern_only, own, used, watch, tasks })
    }

    /// The token that is shown there, where one that ends is.
    fn bearer(
        &self,
        url: &HttpUrl,
        auth: &ServerAuth,
        account: Option<&Account>,
    ) -> Option<Arc<Bearer>> {
        match auth {
            ServerAuth::OAuth(_) => Some(match account {
                Some(account) => Arc::clone(&account.bearer),
                None => Arc::new(Bearer::new(Arc::new(Nobody))),
            }),
            ServerAuth::ClientCredentials(auth) => Some(self.own_token(url, (**auth).clone())),
            // What is asked for nobody in particular is asked in the gateway's own name.
            ServerAuth::TokenExchange(auth) => Some(match account {
                Some(account) => Arc::clone(&account.bearer),
                None => self.own_token(url, auth.own()),
            }),
            _ => None,
        }
    }

    /// A token that is asked for in the gateway's own name.
    fn own_token(&self, url: &HttpUrl, auth: ClientAuth) -> Arc<Bearer> {
        let settings = Arc::clone(&self.http.settings);
        let grants = ClientCredentials::new(url.clone(), auth, settings);
        Arc::new(Bearer::new(Arc::new(grants)))
    }

    /// What an instance at a URL is spoken to with. One that is shown a certificate shares no
    /// connection with others.
    fn ground(&self, tls: &ServerTls) -> Result<http::Ground, Error> {
        if tls.is_plain() {
            return Ok(self.http.clone());
        }
        let papers = Papers::read(tls)?;
        let client = client(&self.http.settings, Some(&papers))?;
        Ok(http::Ground { client, ..self.http.clone() })
    }

    fn remote(
        &self,
        id: InstanceId,
        site: Site,
        transport: Transport,
        ground: &http::Ground,
    ) -> Way {
        let http = |site| Http::new(id, ground.clone(), site);
        let link = |carrier, site| {
            let clock = Arc::clone(&self.stdio.clock);
            Link::new(id, carrier, site, link::Ground { http: ground.clone(), clock })
        };
        match transport {
            Transport::Auto => {
                Way::Probed(Arc::new(Probed::new(http(site.clone()), link(Carrier::Sse, site))))
            }
            Transport::StreamableHttp => Way::Http(Arc::new(http(site))),
            Transport::Sse => Way::Link(Arc::new(link(Carrier::Sse, site))),
            Transport::Websocket => Way::Link(Arc::new(link(Carrier::Websocket, site))),
            Transport::Plain => Way::Plain(Arc::new(Plain { ground: ground.clone(), site })),
        }
    }

    /// Starts a program that is no server.
    pub(super) fn start(&self, program: &Program) -> Result<(Child, Pipes), Error> {
        self.stdio.nursery.start(program)
    }

    /// Every process, and every conversation of a single client.
    pub(super) fn conversations(&self) -> Vec<ConversationView> {
        let connections = self.connections.read();
        connections
            .all()
            .flat_map(|(instance, connection)| connection.conversations(*instance))
            .collect()
    }

    /// The connection to an instance, if there is one.
    pub(super) fn known(&self, instance: &InstanceId) -> Option<Arc<Connection>> {
        self.connections.read().by_instance.get(instance).cloned()
    }

    pub(super) fn sleep_if_idle(&self) {
        for (_, connection) in self.connections.read().all() {
            connection.way.rest();
            connection.own.rest();
        }
        let now = Instant::now();
        let is_idle = |connection: &Connection| {
            let is_quiet = connection.places.available_permits() >= connection.limit;
            is_quiet && now.duration_since(*connection.used.lock()) >= self.http.settings.idle()
        };
        let mut connections = self.connections.write();
        let ended = connections.of_accounts.extract_if(|_, connection| is_idle(connection));
        let mut ended: Vec<_> = ended.map(|(_, connection)| connection).collect();
        // To those that nobody could speak to nothing leads, and there may be many.
        let blank = connections.by_instance.extract_if(|_, connection| {
            Arc::strong_count(connection) == 1
                && connection.way.is_blank()
                && connection.own.is_empty()
                && connection.watch.is_blank()
        });
        ended.extend(blank.map(|(_, connection)| connection));
        drop(connections);
        self.end(ended);
    }

    /// Ends the conversations of a client that is gone, with all instances.
    pub(super) fn leave(&self, owner: &str) {
        for (_, connection) in self.connections.read().all() {
            connection.leave(owner);
        }
    }

    /// Tells what servers say that is not about a call.
    pub(super) fn news(&self) -> broadcast::Receiver<News> {
        self.http.board.subscribe()
    }

    /// Ends the connection to an instance.
    pub(super) async fn retire(&self, instance: &InstanceId) {
        let ended = self.connections.write().take_out(instance);
        join_all(ended.iter().map(|connection| connection.close())).await;
    }

    /// Ends all connections and everything they began.
    pub(super) async fn close(&self) {
        let connections: Vec<_> = {
            let mut connections = self.connections.write();
            connections.is_closed = true;
            let of_accounts: Vec<_> = connections.of_accounts.drain().map(|(_, it)| it).collect();
            let shared = connections.by_instance.drain().map(|(_, connection)| connection);
            shared.chain(of_accounts).collect()
        };
        join_all(connections.iter().map(|connection| connection.close())).await;
        self.http.tasks.close();
        self.http.tasks.wait().await;
    }
}

impl Connection {
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        let _place = self.place()?;
        if ask.account.is_some() {
            *self.used.lock() = Instant::now();
        }
        let limit = Limit::until(ask.deadline);
        let outcome = match ask.party.filter(|party| party.needs_own()) {
            None => self.way.ask_or_wait(ask).await,
            // Boxed, because few calls come here and all would carry its size.
            Some(party) => Box::pin(self.ask_for(party, ask)).await,
        };
        outcome.map_err(|error| error.by(ask.deadline, limit))
    }

    /// A place in flight to it, given up on drop.
    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.places.try_acquire().map_err(|_| Error::Busy { limit: self.limit })
    }

    /// Asks for a client that a server of an older revision must know by itself.
    async fn ask_for(&self, party: &Party, ask: Ask<'_>) -> Result<Answer, Error> {
        let peer = self.way.describe(ask.deadline).await?;
        let is_modern = peer.era == Era::Modern;
        if is_modern && (party.era == Era::Modern || self.is_modern_only.load(Ordering::Relaxed)) {
            return self.way.ask_or_wait(ask).await;
        }
        let conversation = self.own.with(party, &self.way)?;
        let own = match conversation.way().describe(ask.deadline).await {
            Ok(own) if own.era == Era::Legacy || !is_modern => own,
            Err(error) if !is_modern => return Err(error),
            _ => {
                self.is_modern_only.store(true, Ordering::Relaxed);
                return self.way.ask_or_wait(ask).await;
            }
        };
        if let Some(level) = party.level.filter(|_| own.capabilities.logging) {
            conversation.set_level(level, ask.deadline).await?;
        }
        if own.era == Era::Legacy {
            conversation.subscribe_to(self.watch.of(&party.owner), ask.deadline).await;
        }
        let answer = conversation.way().ask_or_wait(ask).await?;
        if is_modern && needs_tasks(&answer) {
            // What it does only as a task, it does only for those of today's revision.
            return self.way.ask_or_wait(ask).await;
        }
        Ok(answer)
    }

    fn conversations(&self, instance: InstanceId) -> Vec<ConversationView> {
        let mut all = self.own.views(instance);
        let in_flight = self.limit - self.places.available_permits().min(self.limit);
        let in_own: usize = all.iter().map(|one| one.in_flight).sum();
        if let Some(child) = self.way.process() {
            let in_flight = in_flight.saturating_sub(in_own);
            let shared = ConversationView { instance, owner: None, in_flight, child: Some(child) };
            all.insert(0, shared);
        }
        all
    }

    /// The conversation that all share.
    pub(super) const fn way(&self) -> &Way {
        &self.way
    }

    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Ends the conversations of a client that is gone.
    pub(super) fn leave(&self, owner: &str) {
        self.own.leave(owner);
    }

    pub(super) async fn describe(&self, deadline: Instant) -> Result<Arc<Peer>, Error> {
        let limit = Limit::until(deadline);
        let outcome = self.way.describe(deadline).await;
        outcome.map_err(|error| error.by(deadline, limit))
    }

    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        match &self.way {
            Way::Probed(probed) => probed.peer(),
            Way::Http(http) => http.peer(),
            Way::Link(link) => link.peer(),
            Way::Stdio(stdio) => stdio.peer(),
            Way::Plain(_) => None,
        }
    }

    /// The transport to it, where that had to be found out and was.
    pub(super) fn transport(&self) -> Option<Transport> {
        match &self.way {
            Way::Probed(probed) => Some(probed.transport()),
            Way::Http(_) | Way::Link(_) | Way::Stdio(_) | Way::Plain(_) => None,
        }
    }

    pub(super) fn child(&self) -> Option<ChildView> {
        match &self.way {
            Way::Stdio(stdio) => Some(stdio.view()),
            Way::Probed(_) | Way::Http(_) | Way::Link(_) | Way::Plain(_) => None,
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        match &self.way {
            Way::Stdio(stdio) => stdio.is_asleep(),
            Way::Probed(_) | Way::Http(_) | Way::Link(_) | Way::Plain(_) => false,
        }
    }

    async fn close(&self) {
        self.watch.end();
        join(self.way.close(), self.own.close()).await;
    }
}
