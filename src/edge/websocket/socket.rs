//! One WebSocket: frames to messages and back, signs of life, and the ways it closes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, Sink, Stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

use super::frames::Followed;
use crate::edge::{
    channel::{Outbox, Settings},
    listen::Rest,
};

/// What is read at once. Allocated as long as the socket is there, so it is small.
const READ_BYTES: usize = 2_048;

/// Bytes of one frame that is written. What is written at once is copied, into room that stays.
const FRAME_BYTES: usize = 32 << 10;

/// Pings of a client between two of ours. More are no sign of life.
const PINGS: usize = 500;

/// How long a client may take to close too, and to read what is said last.
const CLOSING: Duration = Duration::from_secs(2);

/// How much it may send meanwhile.
const CLOSING_BYTES: usize = 1 << 20;

/// What comes by a socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message in text.
    Text(Bytes),
    /// A message in bytes.
    Binary(Bytes),
    /// Something for which the socket must be closed.
    Fault(Closing),
    /// The end of it: its client closed, or is gone.
    Gone,
}

/// Why a socket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
}

/// One WebSocket. What stands in its outbox is written while its next message is waited for.
pub(super) struct Socket {
    stream: Option<WebSocketStream<Followed>>,
    largest: usize,
    outbox: Outbox,
    ping_every: Duration,
    silence: Duration,
    next_ping: Instant,
    heard_at: Instant,
    pings: usize,
    /// What is still to be written of a long message.
    rest: Option<Bytes>,
    is_unflushed: bool,
}

impl Socket {
    /// Speaks WebSocket on the rest of a connection. No message is larger than the limit.
    pub(super) fn open(rest: Rest, outbox: Outbox, largest: usize, settings: &Settings) -> Self {
        let Rest { socket, read } = rest;
        let stream = fresh(Followed::new(socket, &read), &read, largest);
        let ping_every = Duration::from_secs(settings.ping_seconds.max(1).into());
        let now = Instant::now();
        Self {
            stream: Some(stream),
            largest,
            outbox,
            ping_every,
            silence: Duration::from_secs(settings.silence_seconds.max(1).into()),
            next_ping: now + ping_every,
            heard_at: now,
            pings: 0,
            rest: None,
            is_unflushed: false,
        }
    }

    /// What comes next. Given up and asked again at will.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            let deadline = self.next_ping.min(self.heard_at + self.silence);
            tokio::select! {
                biased;
                heard = std::future::poll_fn(|cx| self.poll(cx)) => return heard,
                () = sleep_until(deadline) => {}
            }
            let now = Instant::now();
            if now >= self.heard_at + self.silence {
                let reason = "no sign of life";
                return Heard::Fault(Closing { code: CloseCode::Policy, reason });
            }
            self.next_ping = now + self.ping_every;
            self.pings = 0;
            // Where earlier messages still wait to be written, a ping would not help.
            if !self.is_unflushed && self.put(Message::Ping(Bytes::new())).is_err() {
                return Heard::Gone;
            }
        }
    }

    /// Writes what can be written, and reads what has come.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        if self.outbox.is_given_up(cx) {
            let reason = "too much waits for a slow reader";
            return Poll::Ready(Heard::Fault(Closing { code: CloseCode::Policy, reason }));
        }
        if self.poll_write(cx).is_err() {
            return Poll::Ready(Heard::Gone);
        }
        loop {
            let Poll::Ready(read) = self.stream().poll_next(cx) else {
                if self.begins_anew(cx) {
                    continue;
                }
                return Poll::Pending;
            };
            self.heard_at = Instant::now();
            return Poll::Ready(match read {
                None => Heard::Gone,
                Some(Ok(Message::Text(text))) => Heard::Text(text.into()),
                Some(Ok(Message::Binary(bytes))) => Heard::Binary(bytes),
                Some(Ok(Message::Ping(_))) => {
                    self.pings += 1;
                    if self.pings <= PINGS {
                        continue;
                    }
                    Heard::Fault(Closing { code: CloseCode::Policy, reason: "too many pings" })
                }
                // Tungstenite answers to pings and to closing by itself, as it goes on reading.
                Some(Ok(_)) => continue,
                Some(Err(error)) => fault(&error).map_or(Heard::Gone, Heard::Fault),
            });
        }
    }

    fn stream(&mut self) -> Pin<&mut WebSocketStream<Followed>> {
        Pin::new(self.stream.as_mut().expect("taken only to be put back"))
    }

    /// Lets go of the room that large messages took, once all is quiet.
    fn begins_anew(&mut self, cx: &mut Context<'_>) -> bool {
        let is_quiet = !self.is_unflushed
            && self.rest.is_none()
            && self.stream().get_ref().may_begin_anew()
            // Nor does an answer to a ping wait to be written.
            && matches!(self.stream().poll_flush(cx), Poll::Ready(Ok(())));
        let stream = self.stream.take_if(|_| is_quiet);
        let Some(stream) = stream else { return false };
        self.stream = Some(fresh(stream.into_inner().anew(), &[], self.largest));
        true
    }

    /// Writes what stands in the outbox, as far as the client takes it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            match self.stream().poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(()),
            }
            let Some(frame) = self.next_frame() else { break };
            self.put(Message::Frame(frame))?;
        }
        if self.is_unflushed
            && let Poll::Ready(flushed) = self.stream().poll_flush(cx)
        {
            flushed?;
            self.is_unflushed = false;
        }
        Ok(())
    }

    /// The next frame to write: a message of the outbox, or a part of a long one.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        let (mut message, kind) = match self.rest.take() {
            Some(rest) => (rest, Data::Continue),
            None => (self.outbox.take()?, Data::Text),
        };
        let frame = message.split_to(end_of_frame(&message));
        let is_last = message.is_empty();
        self.rest = Some(message).filter(|_| !is_last);
        Some(Frame::message(frame, OpCode::Data(kind), is_last))
    }

    fn put(&mut self, message: Message) -> Result<(), Error> {
        self.is_unflushed = true;
        self.stream().start_send(message)
    }

    /// Closes: writes what is still to be said, says why, and waits for the client to close too.
    pub(super) async fn close(&mut self, closing: Closing) {
        tracing::debug!(code = u16::from(closing.code), reason = closing.reason, "closing");
        // Answers to pings too come before the word that it is over.
        self.is_unflushed = true;
        let last_words = async {
            let mut said = false;
            std::future::poll_fn(|cx| {
                if self.poll_write(cx).is_err() {
                    return Poll::Ready(());
                }
                if self.is_unflushed {
                    return Poll::Pending;
                }
                if std::mem::replace(&mut said, true) {
                    return Poll::Ready(());
                }
                let frame = CloseFrame { code: closing.code, reason: closing.reason.into() };
                if self.put(Message::Close(Some(frame))).is_err() {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        };
        drop(timeout(CLOSING, last_words).await);
        self.end().await;
    }

    /// Lets the connection go, once its client has read what was said last.
    pub(super) async fn end(&mut self) {
        let leaving = async {
            let socket = self.stream().get_mut().get_mut();
            // Not part of this future, which every connection has room for.
            let mut scratch = vec![0; 1_024];
            let mut left = CLOSING_BYTES;
            socket.shutdown().await?;
            while left > 0 {
                match socket.read(&mut scratch).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            std::io::Result::Ok(())
        };
        // Whoever is gone already reads nothing.
        drop(timeout(CLOSING, leaving).await);
    }
}

/// Speaks WebSocket on a socket, of which this much is read already.
fn fresh(socket: Followed, read: &[u8], largest: usize) -> WebSocketStream<Followed> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest));
    let (read, config) = (read.to_vec(), Some(config));
    WebSocketStream::from_partially_read(socket, read, Role::Server, config)
        .now_or_never()
        .expect("it waits for nothing")
}

/// Where the first frame of a message ends: not within a character.
fn end_of_frame(message: &Bytes) -> usize {
    if message.len() <= FRAME_BYTES {
        return message.len();
    }
    let begins = |at: &usize| message[*at] & 0xC0 != 0x80;
    (1..=FRAME_BYTES).rev().find(begins).unwrap_or(FRAME_BYTES)
}

/// What is told to a client that broke the rules; nothing to one that is gone.
fn fault(error: &Error) -> Option<Closing> {
    let (code, reason) = match error {
        Error::Capacity(_) => (CloseCode::Size, "the message is too large"),
        Error::Utf8(_) => (CloseCode::Invalid, "the text is no UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        Error::Protocol(_) | Error::AttackAttempt => (CloseCode::Protocol, "protocol error"),
        _ => return None,
    };
    Some(Closing { code, reason })
}

#[cfg(test)]
impl Socket {
    /// Says what was heard.
    pub(super) async fn repeat(&mut self, message: Bytes, is_text: bool) {
        use futures_util::SinkExt;
        let message = if is_text {
            Message::Text(message.try_into().expect("it came as text"))
        } else {
            Message::Binary(message)
        };
        drop(self.stream().send(message).await);
    }
}
