//! Messages over a child's pipes: one line each, many questions at once, answers in any order.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports#stdio>

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant as Tick},
};

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tracing::debug;

use super::{
    Error, Exit,
    error::Limit,
    handshake::{Line, Reply, Terms},
    heard::{Heard, reply_to},
    stderr::printable,
};
use crate::{
    domain::Clock,
    wire::{Answer, Era, Onward, Request},
};

/// How much is read at once.
const CHUNK: usize = 64 * 1_024;
/// How many bytes must be free to read into.
const ROOM: usize = 8 * 1_024;
/// How many messages are written at once.
const BATCH: usize = 64;
/// How many replies and cancellations may wait to be written beside the questions.
const SPARE: usize = 256;
/// How much of a line that is no message is logged.
const NOISE: usize = 200;

/// One child's messages.
#[derive(Debug)]
pub(super) struct Dialogue {
    waiting: Mutex<Waiting>,
    outbox: mpsc::Sender<Outgoing>,
    last_id: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// Who waits for an answer.
#[derive(Debug)]
struct Waiting {
    by_id: HashMap<u64, Waiter>,
    end: Option<Exit>,
    last_used: Tick,
}

#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Result<Answer, Error>>,
    /// The question, until it is written.
    question: Option<Bytes>,
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
    pub(super) request: &'a Request,
    pub(super) subject: Option<&'a str>,
    pub(super) era: Era,
    pub(super) giving_up: GivingUp,
}

impl Dialogue {
    /// A dialogue that carries so many questions at once, and what is to be written in it.
    pub(super) fn new(limit: usize, clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Outgoing>) {
        let (outbox, outgoing) =
            mpsc::channel(limit.saturating_add(SPARE).min(Semaphore::MAX_PERMITS));
        let waiting = Waiting { by_id: HashMap::new(), end: None, last_used: clock.tick() };
        let waiting = Mutex::new(waiting);
        (Self { waiting, outbox, last_id: AtomicU64::new(0), clock }, outgoing)
    }

    /// Puts a question and waits for its answer.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let limit = Limit::until(deadline);
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let onward = Onward { id, subject: question.subject, era: question.era };
        let (answer, mut coming) = oneshot::channel();
        let waiter = Waiter { answer, question: Some(question.request.onward(onward)) };
        let mut place = self.wait_for(id, waiter, question.giving_up)?;
        if self.outbox.try_send(Outgoing::Question(id)).is_err() {
            return Err(Error::Busy { limit: self.outbox.max_capacity() - SPARE });
        }
        match timeout_at(deadline, &mut coming).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::Crashed { exit: Exit::Stopped, was_delivered: true }),
            Err(_) => Err(Error::TooSlow { limit, was_delivered: place.leave() }),
        }
    }

    fn wait_for(&self, id: u64, waiter: Waiter, giving_up: GivingUp) -> Result<Place<'_>, Error> {
        let mut waiting = self.waiting.lock();
        if let Some(exit) = waiting.end {
            return Err(Error::Crashed { exit, was_delivered: false });
        }
        waiting.by_id.insert(id, waiter);
        Ok(Place { dialogue: self, id, giving_up })
    }

    /// Writes what is to be written, until the child reads no more.
    pub(super) async fn write(
        &self,
        mut outgoing: mpsc::Receiver<Outgoing>,
        mut stdin: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut lines = Vec::new();
        while outgoing.recv_many(&mut batch, BATCH).await > 0 {
            for message in batch.drain(..) {
                if let Some(message) = self.take(message) {
                    add_line(&mut lines, &message);
                }
                if lines.len() >= CHUNK {
                    stdin.write_all(&lines).await?;
                    lines = Vec::new();
                }
            }
            stdin.write_all(&lines).await?;
            lines.clear();
        }
        Ok(())
    }

    fn take(&self, outgoing: Outgoing) -> Option<Bytes> {
        match outgoing {
            Outgoing::Word(bytes) => Some(bytes),
            Outgoing::Question(id) => self.waiting.lock().by_id.get_mut(&id)?.question.take(),
        }
    }

    /// Reads until the child closes its output, or writes a longer line than is taken.
    pub(super) async fn read(
        &self,
        mut stdout: impl AsyncRead + Unpin,
        limit: usize,
    ) -> Option<Exit> {
        let too_long = Some(Exit::LongLine { limit_bytes: limit });
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let mut searched = 0;
        loop {
            while let Some(at) = memchr(b'\n', &buffer[searched..]) {
                let line = buffer.split_to(searched + at + 1).freeze();
                searched = 0;
                if line.len() > limit {
                    return too_long;
                }
                self.hear(&line.slice(..line.len() - 1));
            }
            searched = buffer.len();
            if searched > limit {
                return too_long;
            }
            buffer.reserve(ROOM);
            match stdout.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    fn hear(&self, line: &Bytes) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match Heard::read(line) {
            Heard::Answer(answer) => self.hand_over(answer),
            Heard::Question(question) => self.say(reply_to(&question)),
            Heard::Word => {}
            Heard::Noise(reason) => {
                let start = &line[..line.len().min(NOISE)];
                debug!(%reason, "a line on standard output is no message: {}", printable(start));
            }
        }
    }

    fn hand_over(&self, answer: Answer) {
        let waiter = answer.id().and_then(|id| self.waiting.lock().by_id.remove(&id));
        // Nobody waits for an answer that comes late.
        if let Some(waiter) = waiter {
            let _ = waiter.answer.send(Ok(answer));
        }
    }

    /// Sends a reply or a notification. A child that reads nothing misses it.
    pub(super) fn say(&self, word: Bytes) {
        if self.outbox.try_send(Outgoing::Word(word)).is_err() {
            debug!("the process does not read: a message to it was dropped");
        }
    }

    /// Whether questions can be put.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.lock().end.is_none()
    }

    /// Ends the dialogue: whoever waits learns how.
    pub(super) fn end(&self, exit: Exit) {
        let mut waiting = self.waiting.lock();
        waiting.end.get_or_insert(exit);
        for (_, waiter) in waiting.by_id.drain() {
            let was_delivered = waiter.question.is_none();
            let _ = waiter.answer.send(Err(Error::Crashed { exit, was_delivered }));
        }
    }

    /// Closes the dialogue if nobody waits and nobody asked for so long; says whether it did.
    pub(super) fn close_if_idle(&self, idle: Duration) -> bool {
        let now = self.clock.tick();
        let mut waiting = self.waiting.lock();
        let is_idle = waiting.by_id.is_empty()
            && now.saturating_duration_since(waiting.last_used) >= idle
            && waiting.end.is_none();
        if is_idle {
            waiting.end = Some(Exit::Stopped);
        }
        is_idle
    }
}

impl Line for Dialogue {
    // Some older servers never answer a method they do not know.
    const SILENCE_IS_AN_ANSWER: bool = true;

    async fn put(
        &self,
        terms: &Terms,
        request: &Request,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let question =
            Question { request, subject: None, era: terms.era(), giving_up: GivingUp::Silently };
        let answer = self.ask(question, deadline).await?;
        Ok(Reply { answer: Some(answer), refusal: None, session: None })
    }

    async fn tell(&self, _: &Terms, notification: Bytes, _: Instant) -> Result<(), Error> {
        self.say(notification);
        Ok(())
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

/// Adds a message as one line. A line break between the tokens of JSON is as good as a space.
fn add_line(lines: &mut Vec<u8>, message: &[u8]) {
    let mut rest = message;
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        lines.extend_from_slice(&rest[..at]);
        lines.push(b' ');
        rest = &rest[at + 1..];
    }
    lines.extend_from_slice(rest);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_however_it_was_written() {
        let mut lines = Vec::new();

        add_line(&mut lines, b"{\r\n \"id\":\n1}");
        add_line(&mut lines, b"{}");

        assert_eq!(lines, b"{   \"id\": 1}\n{}\n");
    }
}
