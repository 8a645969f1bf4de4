//! Dialogues: messages both ways over one connection, many questions at once, answers in any order.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant as Tick},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tracing::debug;

use super::{
    Error, Exit,
    callers::Callers,
    error::{End, Limit, Loss},
    handshake::{Line, Reply, Terms},
    heard::Heard,
    party::Ask,
};
use crate::{
    domain::Clock,
    wire::{Address, Answer, Era, Onward, Request, Unreadable},
};

/// How many replies and cancellations may wait to be written beside the questions.
const SPARE: usize = 256;
/// The messages of one connection.
#[derive(Debug)]
pub(super) struct Dialogue {
    waiting: Mutex<Waiting>,
    outbox: mpsc::Sender<Outgoing>,
    callers: Callers,
    /// What those who share the dialogue can be asked, as JSON.
    capabilities: Arc<str>,
    last_id: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// Who waits for an answer.
#[derive(Debug)]
struct Waiting {
    by_id: HashMap<u64, Waiter>,
    end: Option<End>,
    last_used: Tick,
}

#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Result<Answer, Error>>,
    /// The question, until it is written.
    question: Option<Bytes>,
    /// Whether it keeps nothing awake.
    is_standing: bool,
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// The question with this id, if anybody still waits for its answer.
    Question(u64),
    /// A reply or a notification.
    Word(Bytes),
}

/// What the server hears of a question whose answer nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivingUp {
    /// That it is cancelled.
    Cancels,
    /// Nothing: a handshake cannot be cancelled.
    Silently,
}

/// A question to be put.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) era: Era,
    pub(super) giving_up: GivingUp,
}

impl Dialogue {
    /// A dialogue that carries so many questions at once, and what is to be written in it.
    pub(super) fn new(
        limit: usize,
        callers: Callers,
        capabilities: Arc<str>,
        clock: Arc<dyn Clock>,
    ) -> (Self, mpsc::Receiver<Outgoing>) {
        let (outbox, outgoing) =
            mpsc::channel(limit.saturating_add(SPARE).min(Semaphore::MAX_PERMITS));
        let waiting = Waiting { by_id: HashMap::new(), end: None, last_used: clock.tick() };
        let waiting = Mutex::new(waiting);
        let last_id = AtomicU64::new(0);
        (Self { waiting, outbox, callers, capabilities, last_id, clock }, outgoing)
    }

    /// Puts a question and waits for its answer.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, Error> {
        let Question { ask, era, .. } = question;
        let deadline = ask.deadline;
        let limit = Limit::until(deadline);
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let onward = Onward { id, subject: ask.address.subject, era, asks: ask.asks };
        let (answer, mut coming) = oneshot::channel();
        let waiter = Waiter {
            answer,
            question: Some(ask.request.onward(onward)),
            is_standing: ask.is_standing,
        };
        let _entered = ask.ear.map(|ear| self.callers.enter(id, ear, &ask));
        let mut place = self.wait_for(id, waiter, question.giving_up)?;
        if self.outbox.try_send(Outgoing::Question(id)).is_err() {
            return Err(Error::Busy { limit: self.outbox.max_capacity() - SPARE });
        }
        match timeout_at(deadline, &mut coming).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::Lost { loss: Loss::Stopped, was_delivered: true }),
            Err(_) => Err(Error::TooSlow { limit, was_delivered: place.leave() }),
        }
    }

    fn wait_for(&self, id: u64, waiter: Waiter, giving_up: GivingUp) -> Result<Place<'_>, Error> {
        let mut waiting = self.waiting.lock();
        if let Some(end) = waiting.end {
            return Err(end.told(false));
        }
        waiting.by_id.insert(id, waiter);
        Ok(Place { dialogue: self, id, giving_up })
    }

    /// What a message says, and whose question it is; nothing where nobody waits any more. From
    /// here on the message counts as delivered.
    pub(super) fn take(&self, outgoing: Outgoing) -> Option<(Bytes, Option<u64>)> {
        match outgoing {
            Outgoing::Word(bytes) => Some((bytes, None)),
            Outgoing::Question(id) => {
                let question = self.waiting.lock().by_id.get_mut(&id)?.question.take()?;
                Some((question, Some(id)))
            }
        }
    }

    /// Takes in a message of the server; says why, where it is none.
    pub(super) fn hear(&self, heard: Heard) -> Result<(), Unreadable> {
        match heard {
            Heard::Answer(answer) => self.hand_over(answer),
            Heard::Question(question) => {
                let outbox = self.outbox.clone();
                self.callers.question(question, None, move |reply| say(&outbox, reply));
            }
            Heard::Word(word) => self.callers.word(&word, None),
            Heard::Noise(reason) => return Err(reason),
        }
        Ok(())
    }

    fn hand_over(&self, answer: Answer) {
        let waiter = answer.id().and_then(|id| self.waiting.lock().by_id.remove(&id));
        // Nobody waits for an answer that comes late.
        if let Some(waiter) = waiter {
            let _ = waiter.answer.send(Ok(answer));
        }
    }

    /// Tells whoever waits for the answer to this question that there will be none.
    pub(super) fn fail(&self, id: u64, error: Error) {
        let waiter = self.waiting.lock().by_id.remove(&id);
        if let Some(waiter) = waiter {
            let _ = waiter.answer.send(Err(error));
        }
    }

    /// Ends the dialogue at a question that was refused unread: of all that were put, it is the one
    /// that provably never ran.
    pub(super) fn refuse(&self, id: u64, end: End) {
        let waiter = {
            let mut waiting = self.waiting.lock();
            waiting.end.get_or_insert(end);
            waiting.by_id.remove(&id)
        };
        if let Some(waiter) = waiter {
            let _ = waiter.answer.send(Err(end.told(false)));
        }
    }

    /// Sends a notification.
    pub(super) fn say(&self, word: Bytes) {
        say(&self.outbox, word);
    }

    /// Refuses what was asked when nobody called, and nobody called since.
    pub(super) fn purge(&self) {
        self.callers.purge();
    }

    /// Whether questions can be put.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.lock().end.is_none()
    }

    /// Ends the dialogue: whoever waits learns how.
    pub(super) fn end(&self, end: End) {
        let mut waiting = self.waiting.lock();
        waiting.end.get_or_insert(end);
        for (_, waiter) in waiting.by_id.drain() {
            let was_delivered = waiter.question.is_none();
            let _ = waiter.answer.send(Err(end.told(was_delivered)));
        }
    }

    /// Closes the dialogue if nobody waits and nobody asked for so long; says whether it did.
    pub(super) fn close_if_idle(&self, idle: Duration) -> bool {
        let now = self.clock.tick();
        let mut waiting = self.waiting.lock();
        let is_idle = waiting.by_id.values().all(|waiter| waiter.is_standing)
            && now.saturating_duration_since(waiting.last_used) >= idle
            && waiting.end.is_none();
        if is_idle {
            waiting.end = Some(End::Process(Exit::Stopped));
        }
        is_idle
    }
}

impl Line for Dialogue {
    // Some older servers never answer a method they do not know.
    const SILENCE_IS_AN_ANSWER: bool = true;

    fn capabilities(&self) -> &str {
        &self.capabilities
    }

    async fn put(
        &self,
        terms: &Terms,
        request: &Request,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let ask = Ask::plain(request, Address::default(), deadline);
        let question = Question { ask, era: terms.era(), giving_up: GivingUp::Silently };
        let answer = self.ask(question).await?;
        Ok(Reply { answer: Some(answer), refusal: None, session: None })
    }

    async fn tell(&self, _: &Terms, notification: Bytes, _: Instant) -> Result<(), Error> {
        self.say(notification);
        Ok(())
    }
}

/// Sends a reply or a notification. A server that reads nothing misses it.
fn say(outbox: &mpsc::Sender<Outgoing>, word: Bytes) {
    if outbox.try_send(Outgoing::Word(word)).is_err() {
        debug!("a server does not read: a message to it was dropped");
    }
}

/// A place among those who wait. Whoever leaves it early lets the server know.
struct Place<'a> {
    dialogue: &'a Dialogue,
    id: u64,
    giving_up: GivingUp,
}

impl Place<'_> {
    /// Leaves the place; says whether the question was written.
    fn leave(&mut self) -> bool {
        let now = self.dialogue.clock.tick();
        let waiter = {
            let mut waiting = self.dialogue.waiting.lock();
            waiting.last_used = now;
            waiting.by_id.remove(&self.id)
        };
        let Some(waiter) = waiter else { return true };
        let was_written = waiter.question.is_none();
        if was_written && self.giving_up == GivingUp::Cancels {
            self.dialogue.say(cancellation(self.id));
        }
        was_written
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The notification that the answer to a question is not needed any more.
pub(super) fn cancellation(id: u64) -> Bytes {
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    );
    text.into()
}
