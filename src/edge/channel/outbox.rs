//! What waits to be said on a channel: so much and no more, because its reader may be slow.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

/// How much may wait, and for how long.
#[derive(Debug, Clone, Copy)]
pub(in crate::edge) struct Limits {
    pub(in crate::edge) messages: usize,
    pub(in crate::edge) bytes: usize,
    /// How long a full outbox waits for its reader.
    pub(in crate::edge) patience: Duration,
}

/// The messages of one channel on their way out. Clones are the same outbox.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    queue: Mutex<Queue>,
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
    is_given_up: bool,
    reader: Option<Waker>,
}

impl Outbox {
    pub(in crate::edge) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, queue: Mutex::default(), room: Notify::new() }))
    }

    /// Says something at once. Where there is no room, the reader is given up.
    pub(in crate::edge) fn tell(&self, message: Bytes) {
        if self.put(message).is_err() {
            self.give_up();
        }
    }

    /// Says something, as soon as there is room. Where there is none for too long, the reader is
    /// given up.
    pub(in crate::edge) async fn say(&self, message: Bytes) {
        let Err(message) = self.put(message) else { return };
        if timeout(self.0.limits.patience, self.put_later(message)).await.is_err() {
            self.give_up();
        }
    }

    async fn put_later(&self, mut message: Bytes) {
        let mut room = std::pin::pin!(self.0.room.notified());
        loop {
            room.as_mut().enable();
            match self.put(message) {
                Ok(()) => return,
                Err(back) => message = back,
            }
            room.as_mut().await;
            room.set(self.0.room.notified());
        }
    }

    /// Gives the message back where there is no room. One message always has room.
    fn put(&self, message: Bytes) -> Result<(), Bytes> {
        let limits = &self.0.limits;
        let mut queue = self.0.queue.lock();
        if queue.is_given_up {
            return Ok(());
        }
        let is_full = queue.messages.len() >= limits.messages
            || queue.bytes.saturating_add(message.len()) > limits.bytes;
        if is_full && !queue.messages.is_empty() {
            return Err(message);
        }
        queue.bytes += message.len();
        queue.messages.push_back(message);
        queue.wake();
        Ok(())
    }

    fn give_up(&self) {
        let mut queue = self.0.queue.lock();
        queue.is_given_up = true;
        queue.messages = VecDeque::new();
        queue.bytes = 0;
        queue.wake();
        drop(queue);
        self.0.room.notify_waiters();
    }

    /// Whether there was too much for the reader. Wakes the task of this context when more is
    /// said, or when that comes to pass.
    pub(in crate::edge) fn is_given_up(&self, cx: &mut Context<'_>) -> bool {
        let mut queue = self.0.queue.lock();
        queue.listen(cx);
        queue.is_given_up
    }

    /// The next message that waits, if one does.
    pub(in crate::edge) fn take(&self) -> Option<Bytes> {
        let mut queue = self.0.queue.lock();
        let message = queue.messages.pop_front()?;
        queue.bytes -= message.len();
        if queue.messages.is_empty() {
            // A quiet channel is small, whatever it said before.
            queue.messages = VecDeque::new();
        }
        drop(queue);
        self.0.room.notify_waiters();
        Some(message)
    }

    /// The next message; none when there was too much for the reader.
    pub(in crate::edge) async fn next(&self) -> Option<Bytes> {
        std::future::poll_fn(|cx| {
            if self.is_given_up(cx) {
                return Poll::Ready(None);
            }
            self.take().map_or(Poll::Pending, |message| Poll::Ready(Some(message)))
        })
        .await
    }
}

impl Queue {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn listen(&mut self, cx: &mut Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            None => self.reader = Some(cx.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Limits { messages: 3, bytes: 10, patience: Duration::from_secs(5) })
    }

    #[tokio::test]
    async fn what_is_said_comes_out_in_order() {
        let outbox = outbox();

        outbox.tell("1".into());
        outbox.say("2".into()).await;

        assert_eq!(outbox.next().await.as_deref(), Some(&b"1"[..]));
        assert_eq!(outbox.take().as_deref(), Some(&b"2"[..]));
        assert_eq!(outbox.take(), None);
    }

    #[tokio::test]
    async fn a_reader_who_lets_too_much_wait_is_given_up() {
        for messages in [vec!["1", "2", "3", "4"], vec!["12345", "123456"]] {
            let outbox = outbox();

            for message in messages {
                outbox.tell(message.into());
            }

            assert_eq!(outbox.next().await, None);
            assert_eq!(outbox.take(), None);
        }
    }

    #[tokio::test]
    async fn one_message_has_room_however_large() {
        let outbox = outbox();

        outbox.tell("a long message".into());

        assert_eq!(outbox.next().await.as_deref(), Some(&b"a long message"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_can_wait_waits_for_room_but_not_for_ever() {
        let outbox = outbox();
        for message in ["1", "2", "3"] {
            outbox.tell(message.into());
        }

        let ((), taken) = tokio::join!(outbox.say("4".into()), async { outbox.take() });
        assert_eq!(taken.as_deref(), Some(&b"1"[..]));
        outbox.say("5".into()).await;

        assert_eq!(outbox.next().await, None);
    }
}
