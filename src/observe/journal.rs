//! The journal: one line per call, closed by drop.
//!
//! A call never waits for its line to be written. Where it ends, what is known of it goes into a
//! queue, which the [`Scribe`](super::Scribe) empties; what finds no room pushes out the oldest
//! line there, and that is counted.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::{
    domain::{Clock, InstanceId, LimitStandings, Principal, Target, Timestamp, Verdict},
    observe::{
        Metrics, Settings,
        entry::{Body, End, Entry, Finished},
    },
    problem::Problem,
    wire::Call,
};

/// How long lines may wait for company.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes of what was said that wait to be written; what comes beyond is dropped and counted.
const BODIES: usize = 16 << 20;

/// Where every call leaves its line.
#[derive(Debug, Clone)]
pub(crate) struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    /// Bytes that are kept of what was asked, and of what was answered.
    body_bytes: usize,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// What waits for the scribe.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) lines: VecDeque<Finished>,
    /// Bytes of what was said in them.
    bodies: usize,
    /// Lines that were pushed out.
    pub(super) dropped: u64,
    /// Who wants to hear that everything of before is written.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    /// Whether there will be no more.
    pub(super) is_closing: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome<'a> {
    /// With a result.
    Ok,
    /// With a result in which a tool says that it failed.
    ToolError,
    /// With an error that the server gave.
    ServerError(i64),
    /// With a failure of the gateway or its caller.
    Problem(&'a Problem),
    /// Not at all: the client went away.
    Abandoned,
}

impl Outcome<'_> {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::ServerError(_) => "server_error",
            Self::Problem(problem) => problem.kind().telling().code,
            Self::Abandoned => "abandoned",
        }
    }

    /// The HTTP status that says the same.
    fn status(self) -> u16 {
        match self {
            Self::Ok | Self::ToolError => 200,
            Self::ServerError(_) => 502,
            Self::Problem(problem) => problem.kind().telling().http,
            // As nginx has it: the client closed the request.
            Self::Abandoned => 499,
        }
    }
}

impl Journal {
    /// A journal that nobody reads yet.
    pub(crate) fn new(settings: &Settings, metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        let limit = settings.queue_lines.max(1);
        let body_bytes = if settings.book.enabled { settings.book.body_bytes } else { 0 };
        let (queue, wake) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { limit, body_bytes, clock, metrics, queue, wake }))
    }

    /// What time it is for those who write in it.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Begins the line of a call.
    pub(crate) fn open(&self, call: &Call) -> Line {
        Line {
            journal: self.clone(),
            entry: Some(Box::new(Entry {
                request_id: call.request_id.clone(),
                scope: call.scope.clone(),
                exchange: call.exchange.clone(),
                method: call.method().clone(),
                revision: call.client.revision,
                client: call.client.name.clone(),
                via: call.client.via,
                from: call.from,
                session: call.session.as_ref().map(|session| session.id.clone()),
                began: call.began,
                done: [0; 4],
                caller: None,
                server: None,
                item: call.request.subject().map(Into::into),
                attempts: 0,
                instance: None,
                is_recalled: false,
                verdict: None,
                standings: LimitStandings::default(),
                request_bytes: call.said().len(),
                response_bytes: 0,
                bodies: None,
            })),
        }
    }

    fn close(&self, entry: Box<Entry>, outcome: Outcome<'_>) {
        let took = self.0.clock.tick().saturating_duration_since(entry.began);
        let server = entry.server.as_ref().map(|server| &server.name);
        self.0.metrics.call(server, &entry.method, outcome.word(), took);
        let problem = match outcome {
            Outcome::Problem(problem) => {
                let cause = problem.cause().map(str::to_owned);
                Some(Box::new((problem.message().to_owned(), cause)))
            }
            _ => None,
        };
        let code = match outcome {
            Outcome::ServerError(code) => Some(code),
            _ => None,
        };
        let (at, word, status) = (self.0.clock.now(), outcome.word(), outcome.status());
        let end = End { at, took, outcome: word, status, code, problem };
        self.add(Finished { entry, end });
    }

    fn add(&self, mut line: Finished) {
        let mut queue = self.0.queue.lock();
        if let Some(bodies) = &line.entry.bodies {
            queue.bodies += bodies.iter().map(Body::len).sum::<usize>();
            if queue.bodies > BODIES {
                line.entry.bodies = None;
                self.0.metrics.bodies_dropped();
            }
        }
        if queue.lines.len() >= self.0.limit {
            queue.lines.pop_front();
            queue.dropped += 1;
            self.0.metrics.journal_dropped();
        }
        let is_first = queue.lines.is_empty();
        queue.lines.push_back(line);
        drop(queue);
        if is_first {
            self.0.wake.notify_one();
        }
    }

    /// Returns when every line of before is written, or cannot be; at once where nobody writes.
    pub(crate) async fn written(&self) {
        let (done, written) = oneshot::channel();
        {
            let mut queue = self.0.queue.lock();
            if queue.is_closing {
                return;
            }
            queue.waiting.push(done);
        }
        self.0.wake.notify_one();
        // An error says that the scribe is gone.
        let _ = written.await;
    }

    /// Lets the scribe write what is left and end.
    pub(crate) fn end(&self) {
        self.0.queue.lock().is_closing = true;
        self.0.wake.notify_all();
    }

    /// Waits for lines, and a moment for their company; no longer than this.
    pub(super) fn gather(&self, longest: Duration) -> Queue {
        let mut queue = self.0.queue.lock();
        let is_urgent = |queue: &Queue| queue.is_closing || !queue.waiting.is_empty();
        if queue.lines.is_empty() && !is_urgent(&queue) {
            self.0.wake.wait_for(&mut queue, longest);
        }
        if !queue.lines.is_empty() && !is_urgent(&queue) {
            self.0.wake.wait_for(&mut queue, GATHER.min(longest));
        }
        let is_closing = queue.is_closing;
        mem::replace(&mut *queue, Queue { is_closing, ..Queue::default() })
    }
}

/// The line of one call. Dropped unclosed, it says that the client went away.
#[derive(Debug)]
pub(crate) struct Line {
    journal: Journal,
    /// In a box, because it is handed on.
    entry: Option<Box<Entry>>,
}

impl Line {
    /// Notes that a stage of the path is done.
    fn done(&mut self, stage: usize) {
        let Some(entry) = &mut self.entry else { return };
        let since = self.journal.0.clock.tick().saturating_duration_since(entry.began);
        entry.done[stage] = u32::try_from(since.as_micros()).unwrap_or(u32::MAX).max(1);
    }

    /// Notes who calls.
    pub(crate) fn caller(&mut self, principal: &Principal) {
        self.done(0);
        if let Some(entry) = &mut self.entry {
            let Principal { kind, role, organization, .. } = principal;
            entry.caller = Some((kind.clone(), *role, *organization));
        }
    }

    /// Notes where the call goes.
    pub(crate) fn target(&mut self, target: &Target) {
        self.done(1);
        if let Some(entry) = &mut self.entry {
            entry.server = target.server().cloned();
            if let Some(item) = target.item() {
                entry.item = Some(item.name.clone());
            }
        }
    }

    /// Notes what policies said of it, where there are any.
    pub(crate) fn verdict(&mut self, verdict: Option<&Arc<Verdict>>) {
        if let Some(entry) = &mut self.entry {
            entry.verdict = verdict.cloned();
        }
    }

    /// Notes that it is permitted.
    pub(crate) fn permitted(&mut self) {
        self.done(2);
    }

    /// Notes that there is a place for it, and where it stands with rate limits.
    pub(crate) fn admitted(&mut self, standings: &LimitStandings) {
        self.done(3);
        self.standings(standings);
    }

    /// Notes where it stands with rate limits.
    pub(crate) fn standings(&mut self, standings: &LimitStandings) {
        if let Some(entry) = &mut self.entry {
            entry.standings = standings.clone();
        }
    }

    /// The instance that was asked last.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        self.entry.as_ref()?.instance
    }

    /// Notes that the answer is one that was kept.
    pub(crate) fn recalled(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.is_recalled = true;
        }
    }

    /// Notes another attempt at a server, and at which of its instances.
    pub(crate) fn attempt(&mut self, instance: InstanceId) {
        if let Some(entry) = &mut self.entry {
            entry.attempts += 1;
            entry.instance = Some(instance);
        }
    }

    /// Notes what was asked and answered: how long it is, and itself where the server's is kept.
    pub(crate) fn said(&mut self, asked: &[u8], answered: &[u8]) {
        let most = self.journal.0.body_bytes;
        let Some(entry) = &mut self.entry else { return };
        entry.response_bytes = answered.len();
        if most > 0 && entry.server.as_ref().is_some_and(|server| server.keeps_bodies) {
            let bodies = [asked, answered].map(|said| Body::of(said, most));
            entry.bodies = Some(Box::new(bodies));
        }
    }

    /// Ends the line.
    pub(crate) fn close(mut self, outcome: Outcome<'_>) {
        if let Some(entry) = self.entry.take() {
            self.journal.close(entry, outcome);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.journal.close(entry, Outcome::Abandoned);
        }
    }
}
