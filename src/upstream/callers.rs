//! Who calls a server right now, and hears what it says and asks before it answers.
//!
//! What comes on the stream of a call is that call's. What comes on a server's own stream is told
//! apart by its token; questions without one go to the call that was made last, where all calls
//! of the conversation are one client's.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};
use tracing::debug;

use super::{
    heard::{pong, refusal},
    party::{Ask, Guest},
};
use crate::{
    domain::InstanceId,
    wire::{Answer, Askable, Method, Notice, Request, Tells},
};

/// What a caller hears before the answer.
#[derive(Debug)]
pub(crate) enum MidCall {
    /// Word of progress, or something for a log. Boxed, because channels set room aside.
    Word(Box<Notice>),
    /// Something that must be answered for the call to go on.
    Question(Question),
    /// That the server made a task of the call, and takes its time.
    BecomesTask,
}

/// Where a caller hears it.
pub(crate) type Ear = mpsc::Sender<MidCall>;

/// Questions that are kept until somebody calls.
const KEPT: usize = 16;
/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Word of a server that is not about a call.
#[derive(Debug, Clone)]
pub(crate) struct News {
    /// Whose.
    pub(crate) instance: InstanceId,
    /// To whom it was said, where that was one client alone.
    pub(crate) owner: Option<Arc<str>>,
    /// What it says.
    pub(crate) notice: Notice,
}

/// Where such word goes.
pub(super) type Board = broadcast::Sender<News>;

/// What a server asks in the middle of a call. Dropped without an answer, it is refused.
pub(crate) struct Question {
    request: Request,
    reply: Option<Reply>,
}

type Reply = Box<dyn FnOnce(Bytes) + Send + Sync>;

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({})", self.request.method())
    }
}

impl Question {
    pub(super) fn new(request: Request, reply: impl FnOnce(Bytes) + Send + Sync + 'static) -> Self {
        Self { request, reply: Some(Box::new(reply)) }
    }

    /// What is asked.
    pub(crate) const fn request(&self) -> &Request {
        &self.request
    }

    /// Answers it with a result, as JSON.
    pub(crate) fn answer(mut self, result: &str) {
        let id = self.request.id();
        self.reply_with(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into());
    }

    /// Answers it with an error, as JSON.
    pub(crate) fn refuse(mut self, error: &str) {
        let id = self.request.id();
        self.reply_with(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into());
    }

    fn reply_with(&mut self, bytes: Bytes) {
        if let Some(reply) = self.reply.take() {
            reply(bytes);
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let refusal = refusal(&self.request, -32_000, "nobody answered in time");
        self.reply_with(refusal);
    }
}

/// The callers of one conversation.
#[derive(Debug)]
pub(super) struct Callers {
    instance: InstanceId,
    /// Whose the conversation is, where it is one client's alone.
    owner: Option<Arc<str>>,
    /// What they can be asked.
    askable: Askable,
    board: Board,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ears: BTreeMap<u64, Caller>,
    /// Who waits for an answer that may come on another stream than the call's own.
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    kept: VecDeque<(Question, Instant)>,
}

/// Somebody who calls.
#[derive(Debug)]
struct Caller {
    ear: Ear,
    owner: Option<Arc<str>>,
    /// Whether the server was asked for log messages with the call.
    wants_logs: bool,
}

/// A caller's place. Given up on drop.
pub(super) struct Entered<'a> {
    callers: &'a Callers,
    id: u64,
}

/// Who waits for an answer. Given up on drop.
pub(super) struct Waiting<'a> {
    callers: &'a Callers,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Waiting<'_> {
    /// The answer, where it comes on another stream.
    pub(super) async fn elsewhere(&mut self) -> Answer {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.callers.state.lock().waiting.remove(&self.id);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.callers.state.lock().ears.remove(&self.id);
    }
}

impl Callers {
    /// Callers of a conversation that everybody shares, or that is one client's alone.
    pub(super) fn new(instance: InstanceId, own: Option<&Guest>, board: Board) -> Self {
        let askable = own.map(|own| Askable::read(&own.capabilities)).unwrap_or_default();
        let owner = own.map(|own| Arc::clone(&own.owner));
        Self { instance, owner, askable, board, state: Mutex::default() }
    }

    /// Takes in a caller, who also hears what was asked when nobody called.
    pub(super) fn enter(&self, id: u64, ear: &Ear, ask: &Ask<'_>) -> Entered<'_> {
        let owner = ask.party.map(|party| Arc::clone(&party.owner));
        let caller = Caller { ear: ear.clone(), owner, wants_logs: ask.asks.level.is_some() };
        let mut state = self.state.lock();
        let kept = std::mem::take(&mut state.kept);
        state.ears.insert(id, caller);
        drop(state);
        for (question, _) in kept {
            // A full ear refuses it by dropping it.
            drop(ear.try_send(MidCall::Question(question)));
        }
        Entered { callers: self, id }
    }

    /// Waits for the answer to a call on every stream of the conversation.
    pub(super) fn wait(&self, id: u64) -> Waiting<'_> {
        let (sender, answer) = oneshot::channel();
        self.state.lock().waiting.insert(id, sender);
        Waiting { callers: self, id, answer }
    }

    /// Takes note of an answer that came on the server's own stream.
    pub(super) fn answer(&self, answer: Answer) {
        let waiter = answer.id().and_then(|id| self.state.lock().waiting.remove(&id));
        if waiter.is_none_or(|waiter| waiter.send(answer).is_err()) {
            debug!("an answer came that nobody waits for");
        }
    }

    /// Takes note of a question of the server: on the stream of that call, or on its own.
    pub(super) fn question(
        &self,
        request: Request,
        about: Option<u64>,
        reply: impl FnOnce(Bytes) + Send + Sync + 'static,
    ) {
        if *request.method() == Method::Ping {
            return reply(pong(&request));
        }
        if !self.askable.answers(request.method().as_str()) {
            debug!("refused what a server asked: {}", request.method());
            return reply(refusal(&request, -32_601, "this client does not offer that"));
        }
        let question = Question::new(request, reply);
        let mut state = self.state.lock();
        let caller = about.and_then(|id| state.ears.get(&id));
        let caller = caller.or_else(|| state.ears.values().next_back());
        let ear = caller.map(|caller| caller.ear.clone());
        match ear {
            Some(ear) => {
                drop(state);
                drop(ear.try_send(MidCall::Question(question)));
            }
            None if state.kept.len() < KEPT => state.kept.push_back((question, Instant::now())),
            None => drop(state),
        }
    }

    /// Refuses questions that nobody called to hear.
    pub(super) fn purge(&self) {
        let now = Instant::now();
        let is_old = |asked: &Instant| now.saturating_duration_since(*asked) > KEPT_FOR;
        let mut old = Vec::new();
        let mut state = self.state.lock();
        while state.kept.front().is_some_and(|(_, asked)| is_old(asked)) {
            old.extend(state.kept.pop_front());
        }
        drop(state);
    }

    /// Tells what is not about a call.
    fn post(&self, notice: Notice) {
        let news = News { instance: self.instance, owner: self.owner.clone(), notice };
        // Nobody listens: nothing to tell.
        let _ = self.board.send(news);
    }

    /// Takes note of a notification of the server: on the stream of that call, or on its own.
    pub(super) fn word(&self, notification: &Request, about: Option<u64>) {
        let notice = Notice::read(notification);
        let id = match notice.tells() {
            Tells::ListChanged(_) | Tells::Updated { .. } => {
                return self.post(notice);
            }
            Tells::Progress { .. } => notice.token(),
            Tells::Message { .. } => about,
            Tells::Task | Tells::Cancelled { .. } | Tells::Acknowledged | Tells::Other => return,
        };
        let state = self.state.lock();
        let caller = match id {
            Some(id) => state.ears.get(&id),
            None if self.owner.is_some() => state.ears.values().next_back(),
            None => state.only_listener(),
        };
        let ear = caller.map(|caller| caller.ear.clone());
        drop(state);
        let Some(ear) = ear else {
            // It came too late for the call, but may still be its client's.
            if self.owner.is_some() && matches!(notice.tells(), Tells::Message { .. }) {
                self.post(notice);
            }
            return;
        };
        if ear.try_send(MidCall::Word(Box::new(notice))).is_err() {
            debug!("a caller does not keep up: a notice was dropped");
        }
    }
}

impl State {
    /// Whose a log message is that says of no call which it is about: on a stream that many share,
    /// only where all calls that asked for such are one client's.
    fn only_listener(&self) -> Option<&Caller> {
        let mut wanting = self.ears.values().rev().filter(|caller| caller.wants_logs);
        let last = wanting.next()?;
        wanting.all(|caller| caller.owner == last.owner).then_some(last)
    }
}
