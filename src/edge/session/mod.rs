//! Live sessions of older clients.

mod keep;
pub(super) mod log;
mod question;
mod settings;
#[cfg(test)]
mod tests;
pub(super) mod translate;
mod view;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::log::{Limits, Log};
pub(super) use self::log::{Place, STANDING};
use self::view::{Book, Status};
pub(crate) use self::{
    settings::Settings,
    view::{SessionView, Traffic},
};
use crate::{
    domain::{Clock, OrganizationId, PrincipalKind, RequestId, Scope, SessionId, Timestamp},
    edge::channel::Outbox,
    pipeline::Pipeline,
    problem::{Kind, Problem},
    store::Store,
    wire::{Answer, Level, RawId, Revision, SessionKey},
};

/// What the clock of `seen_ms` shows at the start of the house, so that sessions of the last run
/// have a place on it: ten years.
const HEAD_START_MS: u64 = 10 * 365 * 24 * 3_600 * 1_000;

/// One client's session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    id: SessionId,
    known: Arc<Known>,
}

/// Who opens a session, and how.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) owner: PrincipalKind,
    pub(super) organization: OrganizationId,
    /// The request that opened it, as the log names it.
    pub(super) request_id: RequestId,
    pub(super) scope: Scope,
    pub(super) revision: Revision,
    pub(super) client: Option<Arc<str>>,
    /// What the client can be asked, as JSON; none where nothing.
    pub(super) capabilities: Option<Arc<str>>,
    /// The transport it came by.
    pub(super) via: &'static str,
    /// The channel it lives on, where it lives on one.
    pub(super) channel: Option<Outbox>,
}

/// What is known of a session.
#[derive(Debug)]
struct Known {
    opening: Opening,
    opened_at: Timestamp,
    /// Whether its client went on after the handshake.
    is_active: AtomicBool,
    /// Which log messages its client asked for.
    level: Mutex<Option<Level>>,
    /// Milliseconds between the start of the house and the last request.
    seen_ms: AtomicU64,
    /// Streams that are read and calls that run: a session in use is not idle.
    in_use: AtomicUsize,
    log: Log,
    /// What its client was asked, and who waits for the answers.
    asked: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    last_asked: AtomicU64,
    /// Its calls, so that its client can cancel them.
    calls: Mutex<HashMap<RawId, CancellationToken>>,
    /// The resources whose changes it hears of.
    subscribed: tokio::sync::Mutex<BTreeSet<String>>,
    /// Ends the listening for it.
    listening: Mutex<Option<CancellationToken>>,
    /// Whether something is to be noted of it.
    is_changed: AtomicBool,
    /// Whether a server has a conversation with its client alone.
    is_apart: AtomicBool,
    /// When it was noted last that its client is there, on the clock of `seen_ms`.
    noted_ms: AtomicU64,
    over: CancellationToken,
}

impl Known {
    fn new(opening: Opening, opened_at: Timestamp, settings: &Settings) -> Self {
        let limits = Limits { events: settings.kept_events, bytes: settings.kept_bytes };
        Self {
            opening,
            opened_at,
            is_active: AtomicBool::new(false),
            level: Mutex::default(),
            seen_ms: AtomicU64::new(0),
            in_use: AtomicUsize::new(0),
            log: Log::after(0, limits),
            asked: Mutex::default(),
            last_asked: AtomicU64::new(0),
            calls: Mutex::default(),
            subscribed: tokio::sync::Mutex::default(),
            listening: Mutex::default(),
            is_changed: AtomicBool::new(true),
            is_apart: AtomicBool::new(false),
            noted_ms: AtomicU64::new(0),
            over: CancellationToken::new(),
        }
    }

    fn becomes_active(&self) {
        if !self.is_active.swap(true, Ordering::Relaxed) {
            self.is_changed.store(true, Ordering::Relaxed);
        }
    }
}

/// Where a client hears what is said to it.
#[derive(Debug, Clone)]
pub(super) enum Out {
    /// On a stream of its session.
    Stream(Session, u64),
    /// On the one connection it has.
    Line(Outbox),
}

impl Out {
    /// Says something. Who has gone hears nothing.
    pub(super) async fn say(&self, message: Bytes) {
        match self {
            Self::Stream(session, stream) => session.say_on(*stream, message),
            Self::Line(outbox) => outbox.say(message).await,
        }
    }
}

/// A session while it is used. Given up on drop.
pub(super) struct InUse(Session);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.known.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call of a session, which its client may cancel. Given up on drop.
pub(super) struct Cancellable {
    session: Session,
    id: RawId,
    pub(super) token: CancellationToken,
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.session.known.calls.lock().remove(&self.id);
    }
}

/// A reader of one stream of a session.
pub(super) struct Reader {
    session: Session,
    place: Place,
    current: Option<u64>,
    _in_use: InUse,
}

impl Reader {
    /// The next message and the id of its event; none at the end.
    pub(super) async fn next(&mut self) -> Option<(String, Bytes)> {
        let (place, message) = self.session.known.log.next(self.place, self.current).await?;
        self.place = place;
        Some((place.id(), message))
    }
}

impl Session {
    /// A session that somebody opened.
    fn new(opening: Opening, opened_at: Timestamp, settings: &Settings) -> Self {
        let known = Known::new(opening, opened_at, settings);
        Self { id: SessionId::fresh(), known: Arc::new(known) }
    }

    /// Which session, and whose.
    pub(super) fn key(&self) -> SessionKey {
        SessionKey { id: self.id.clone(), owner: self.known.opening.owner.clone() }
    }

    /// Which session.
    pub(super) const fn id(&self) -> &SessionId {
        &self.id
    }

    /// Who opened it, and how.
    pub(super) fn opening(&self) -> &Opening {
        &self.known.opening
    }

    /// Which log messages its client asked for.
    pub(super) fn level(&self) -> Option<Level> {
        *self.known.level.lock()
    }

    /// Takes note of which log messages its client wants.
    pub(super) fn set_level(&self, level: Level) {
        *self.known.level.lock() = Some(level);
        self.has_changed();
    }

    /// Cancelled when the session is over.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.known.over
    }

    /// Uses the session, so that it is not taken for idle.
    pub(super) fn in_use(&self) -> InUse {
        self.known.in_use.fetch_add(1, Ordering::Relaxed);
        InUse(self.clone())
    }

    /// Opens a stream of its own for a call.
    pub(super) fn open_stream(&self) -> u64 {
        self.known.log.open()
    }

    /// Ends a stream.
    pub(super) fn close_stream(&self, stream: u64) {
        self.known.log.close(stream);
    }

    /// Says something on the stream that stands open, or on the channel of the session; gives the
    /// place of its event; on a channel events have none.
    pub(super) fn tell(&self, message: Bytes) -> Place {
        match &self.known.opening.channel {
            Some(outbox) => {
                outbox.tell(message);
                Place { stream: STANDING, number: 0 }
            }
            None => self.known.log.push(STANDING, message),
        }
    }

    /// Where its client hears what is about none of its calls.
    pub(super) fn out(&self) -> Out {
        match &self.known.opening.channel {
            Some(outbox) => Out::Line(outbox.clone()),
            None => Out::Stream(self.clone(), STANDING),
        }
    }

    /// Says something on a stream.
    pub(super) fn say_on(&self, stream: u64, message: Bytes) {
        let _place = self.known.log.push(stream, message);
    }

    /// Waits until something was said on a stream.
    pub(super) async fn is_broken_silence(&self, stream: u64) {
        self.known.log.is_broken_silence(stream).await;
    }

    /// Whether nothing was said on a stream yet.
    pub(super) fn is_silent(&self, stream: u64) -> bool {
        self.known.log.is_silent(stream)
    }

    /// Reads a stream from its beginning.
    pub(super) fn read(&self, stream: u64) -> Reader {
        self.read_after(Place { stream, number: 0 }, None)
    }

    /// Reads the stream that stands open; who read it before reads no more.
    pub(super) fn read_standing(&self) -> Reader {
        let current = self.known.log.take_over();
        self.read_after(Place { stream: STANDING, number: 0 }, Some(current))
    }

    /// Goes on with a stream where a client lost it; none where nothing is known of it any more.
    pub(super) fn resume(&self, place: Place) -> Option<Reader> {
        let place = self.known.log.come_back(place);
        if place.stream == STANDING {
            let current = self.known.log.take_over();
            return Some(self.read_after(place, Some(current)));
        }
        self.known.log.has(place.stream).then(|| self.read_after(place, None))
    }

    fn read_after(&self, place: Place, current: Option<u64>) -> Reader {
        Reader { session: self.clone(), place, current, _in_use: self.in_use() }
    }

    /// Takes note of a call, which its client may cancel.
    pub(super) fn begin(&self, id: RawId) -> Cancellable {
        self.known.becomes_active();
        let token = self.known.over.child_token();
        self.known.calls.lock().insert(id.clone(), token.clone());
        Cancellable { session: self.clone(), id, token }
    }

    /// Cancels a call, by its id as it stands in JSON.
    pub(super) fn cancel(&self, id: &str) {
        let call = self.known.calls.lock().get(&RawId::read(id)).cloned();
        if let Some(call) = call {
            call.cancel();
        }
    }

    /// The resources whose changes it hears of.
    pub(super) fn subscribed(&self) -> &tokio::sync::Mutex<BTreeSet<String>> {
        &self.known.subscribed
    }

    /// Whether somebody listens for it.
    pub(super) fn is_listening(&self) -> bool {
        self.known.listening.lock().is_some()
    }

    /// Listens anew: what is listened to from now on ends with this token, what was before ends.
    pub(super) fn listen_anew(&self) -> CancellationToken {
        let token = self.known.over.child_token();
        let before = self.known.listening.lock().replace(token.clone());
        if let Some(before) = before {
            before.cancel();
        }
        token
    }
}

/// All open sessions.
#[derive(Clone)]
pub(crate) struct Sessions(Arc<Inner>);

struct Inner {
    settings: Settings,
    clock: Arc<dyn Clock>,
    pipeline: Pipeline,
    store: Store,
    /// Calls that go on though their client has hung up, and listening.
    tasks: TaskTracker,
    /// Idleness is a span, which no change of the time of day may end.
    began: Instant,
    open: RwLock<HashMap<SessionId, Arc<Known>>>,
    book: Mutex<Book>,
}

impl Sessions {
    /// No sessions yet; those of the last run come with [`Sessions::take_up`].
    pub(crate) fn new(
        settings: Settings,
        pipeline: Pipeline,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (began, tasks) = (clock.tick(), TaskTracker::new());
        let (open, book) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Inner { settings, clock, pipeline, store, tasks, began, open, book }))
    }

    /// The path that calls of sessions take.
    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.0.pipeline
    }

    /// Opens a session, if there is room.
    pub(super) fn open(&self, opening: Opening) -> Result<Session, Problem> {
        let settings = &self.0.settings;
        let mut open = self.0.open.write();
        if open.len() >= settings.max_open {
            let limit = settings.max_open;
            let message =
                format!("{limit} sessions are open, which is the limit sessions.max_open");
            return Err(Problem::new(Kind::Limited, message).with_retry_after(60));
        }
        let quota = self.0.pipeline.max_sessions(opening.organization);
        self.0.book.lock().enter(&opening, settings.max_per_principal, quota)?;
        let session = Session::new(opening, self.0.clock.now(), settings);
        session.known.seen_ms.store(self.now_ms(), Ordering::Relaxed);
        open.insert(session.id.clone(), session.known.clone());
        Ok(session)
    }

    /// The session of that id, at the endpoint it was opened at.
    pub(super) fn find(&self, id: &SessionId, scope: &Scope) -> Option<Session> {
        let known = self.0.open.read().get(id).cloned()?;
        if known.opening.scope != *scope {
            return None;
        }
        let session = Session { id: id.clone(), known };
        self.hear_of(&session);
        Some(session)
    }

    /// Takes note that its client is there.
    pub(super) fn hear_of(&self, session: &Session) {
        session.known.seen_ms.store(self.now_ms(), Ordering::Relaxed);
        session.known.becomes_active();
    }

    /// Ends a session, and what it has with servers.
    pub(crate) fn end(&self, id: &SessionId) {
        self.end_as(id, Status::Closed);
    }

    /// Ends a session whose owner is not let in any more.
    pub(crate) fn turn_out(&self, id: &SessionId) {
        self.end_as(id, Status::Error);
    }

    fn end_as(&self, id: &SessionId, status: Status) {
        let ended = self.0.open.write().remove(id);
        if let Some(known) = ended {
            self.let_go(id, &known, status);
        }
    }

    fn let_go(&self, id: &SessionId, known: &Known, status: Status) {
        let view = self.view(id, known).ended(status, self.0.clock.now());
        self.0.book.lock().leave(view, known.log.count(), self.0.settings.kept_ended);
        self.end_quietly(id, known);
    }

    /// Ends what a session has here, and at servers.
    fn end_quietly(&self, id: &SessionId, known: &Known) {
        known.over.cancel();
        known.log.close_all();
        known.asked.lock().clear();
        self.0.pipeline.leave(id);
    }

    /// Where tasks of sessions run.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// How long a client may take to answer what it is asked.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.0.settings.answer_seconds.into())
    }

    /// The moment, on a clock that no change of the time of day moves.
    pub(super) fn tick(&self) -> Instant {
        self.0.clock.tick()
    }

    /// Ends idle sessions and keeps notes of the others, until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let period = Duration::from_secs(u64::from(self.0.settings.idle_seconds).clamp(1, 60));
        let sweeping = async {
            while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
                self.sweep();
            }
        };
        tokio::join!(sweeping, self.keep(&stop));
        self.lay_down().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn sweep(&self) {
        let idle_ms = u64::from(self.0.settings.idle_seconds) * 1_000;
        let oldest = self.now_ms().saturating_sub(idle_ms);
        let is_idle = |known: &Known| {
            known.seen_ms.load(Ordering::Relaxed) < oldest
                && known.in_use.load(Ordering::Relaxed) == 0
        };
        let mut open = self.0.open.write();
        let idle: Vec<_> = open.extract_if(|_, known| is_idle(known)).collect();
        if open.capacity() > 4 * open.len() {
            open.shrink_to_fit();
        }
        drop(open);
        for (id, known) in idle {
            self.let_go(&id, &known, Status::Closed);
        }
    }

    fn now_ms(&self) -> u64 {
        let since = self.0.clock.tick().saturating_duration_since(self.0.began);
        HEAD_START_MS.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
