//! A socket that holds its client to the rules: the framing of HTTP/1, and not to keep us waiting.
//!
//! hyper accepts requests that RFC 9112 says to refuse, and most of its waits have no end. This
//! adaptor stands between it and the socket. Bytes are judged in the buffer hyper reads into;
//! where a request goes wrong, the rest is withheld and replaced by something that hyper itself
//! refuses, so the answer comes in its turn behind those of earlier requests.

mod answering;
mod framing;
mod head;
mod patience;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::edge::listen::Settings;

use self::{
    framing::{Fault, Framing, Place},
    patience::{Alarm, Patience},
};

pub(crate) use self::answering::{Answer, Busy};

/// Nowhere in a head is this allowed, and it looks like the end of one: hyper answers 400.
const SPOILT_HEAD: &[u8] = b"\0\r\n\r\n";

/// Ends a head within its request line; the door answers 414 to the target before it.
const CUT_TARGET: &[u8] = b" HTTP/1.1\r\n\r\n";

/// How long a client whose request was cut short may go on sending, so that it can read the answer
/// before the connection is reset.
const LINGER_MS: u64 = 2_000;

/// How much it may send meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

/// The socket.
#[derive(Debug)]
pub(crate) struct Strict<S> {
    socket: S,
    settings: Arc<Settings>,
    busy: Busy,
    framing: Framing,
    refusal: Option<Refusal>,
    reading: Option<Reading>,
    writing: Patience,
    alarm: Alarm,
    lingering: Option<Lingering>,
}

/// What is left to say to hyper once a request went wrong.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Ending(&'static [u8]),
    Broken,
}

/// What we wait for when nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    FirstByte,
    Head,
    Body,
    NextRequest,
}

/// A wait belongs to one part of one request.
#[derive(Debug)]
struct Reading {
    awaited: Awaited,
    request: u64,
    patience: Patience,
}

/// We have said all, and read on until the client has.
#[derive(Debug)]
struct Lingering {
    patience: Patience,
    bytes_left: usize,
}

impl<S> Strict<S> {
    /// Holds the client of the socket to the settings.
    pub(crate) fn new(socket: S, settings: Arc<Settings>, busy: Busy) -> Self {
        Self {
            socket,
            busy,
            framing: Framing::new(settings.uri_bytes),
            refusal: None,
            reading: None,
            writing: Patience::new(settings.write_ms),
            alarm: Alarm::default(),
            lingering: None,
            settings,
        }
    }

    /// The socket, once HTTP is over on it; none where its client already broke the rules.
    pub(crate) fn into_socket(self) -> Option<S> {
        self.refusal.is_none().then_some(self.socket)
    }

    /// Lets the sound ones of the fresh bytes stand.
    fn judge(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<()>> {
        let fresh = &buf.filled()[before..];
        self.note_read(fresh.len());
        let outcome = self.framing.follow(fresh);
        self.busy.note_body(self.framing.place() == Place::Body);
        let Err(cut) = outcome else {
            return Poll::Ready(Ok(()));
        };
        tracing::debug!(fault = ?cut.fault, "request refused");
        buf.set_filled(before + cut.at);
        self.refusal = Some(match cut.fault {
            Fault::Head => Refusal::Ending(SPOILT_HEAD),
            Fault::Target => Refusal::Ending(CUT_TARGET),
            Fault::Chunk => Refusal::Broken,
        });
        // No bytes at all would mean that the client is gone.
        if cut.at > 0 { Poll::Ready(Ok(())) } else { self.refuse(buf) }
    }

    /// Instead of what the client sends.
    fn refuse(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.refusal {
            Some(Refusal::Ending(ending)) if !ending.is_empty() => {
                let (now, later) = ending.split_at(ending.len().min(buf.remaining()));
                buf.put_slice(now);
                *ending = later;
                Poll::Ready(Ok(()))
            }
            Some(Refusal::Broken) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            // hyper needs no more than this to answer and to close.
            Some(Refusal::Ending(_)) | None => Poll::Pending,
        }
    }

    fn note_read(&mut self, bytes: usize) {
        if let Some(reading) = &mut self.reading
            && matches!(reading.awaited, Awaited::Head | Awaited::Body)
        {
            // A head has its time as a whole, however steadily it trickles.
            let step = match reading.awaited {
                Awaited::Body => self.settings.progress_bytes,
                _ => usize::MAX,
            };
            reading.patience.moved(bytes, step);
        }
    }

    /// What the client owes us; nothing while we owe it an answer.
    fn awaited(&self) -> Option<Awaited> {
        match self.framing.place() {
            Place::Body => Some(Awaited::Body),
            _ if self.busy.is_set() => None,
            Place::Head => Some(Awaited::Head),
            Place::Between if self.framing.requests() == 0 => Some(Awaited::FirstByte),
            Place::Between | Place::Lost => Some(Awaited::NextRequest),
        }
    }

    /// Nothing can be read: how long already?
    fn poll_reading(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(awaited) = self.awaited() else {
            return Poll::Pending;
        };
        let deadline = self.begin_reading(awaited).patience.wait();
        ready!(self.alarm.poll(deadline, cx));
        tracing::debug!(?awaited, "client kept us waiting too long");
        Poll::Ready(match awaited {
            // Nothing is lost: as if the client had left.
            Awaited::FirstByte | Awaited::NextRequest => Ok(()),
            Awaited::Head | Awaited::Body => Err(io::ErrorKind::TimedOut.into()),
        })
    }

    /// The wait for this part of this request, begun anew if we waited for another.
    fn begin_reading(&mut self, awaited: Awaited) -> &mut Reading {
        let request = self.framing.requests();
        let whole_ms = match awaited {
            Awaited::FirstByte => self.settings.first_byte_ms,
            Awaited::Head => self.settings.header_ms,
            Awaited::Body => self.settings.body_ms,
            Awaited::NextRequest => self.settings.idle_ms,
        };
        let fresh = || Reading { awaited, request, patience: Patience::new(whole_ms) };
        let reading = self.reading.get_or_insert_with(fresh);
        if (reading.awaited, reading.request) != (awaited, request) {
            *reading = fresh();
        }
        reading
    }

    /// hyper does not try again to read after an answer when it did so in vain before, so this is
    /// where the wait for the next request begins.
    fn after_flush(&mut self, cx: &mut Context<'_>) {
        if self.awaited() == Some(Awaited::NextRequest) && self.reading.is_none() {
            let deadline = self.begin_reading(Awaited::NextRequest).patience.wait();
            if self.alarm.poll(deadline, cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// What came of an attempt to write: with nothing written, how long already?
    fn wrote(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Pending => {
                ready!(self.alarm.poll(self.writing.wait(), cx));
                tracing::debug!("client does not read");
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(Ok(bytes)) => {
                self.writing.moved(bytes, self.settings.progress_bytes);
                // Who still reads an answer is not idle.
                self.reading.take_if(|reading| reading.awaited == Awaited::NextRequest);
                outcome
            }
            Poll::Ready(Err(_)) => outcome,
        }
    }
}

impl<S: AsyncRead + Unpin> Strict<S> {
    /// Reads and forgets, until the client has closed too or it has been enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [std::mem::MaybeUninit::uninit(); 4096];
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            patience: Patience::new(LINGER_MS),
            bytes_left: LINGER_BYTES,
        });
        while lingering.bytes_left > 0 {
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    let bytes = buf.filled().len();
                    lingering.bytes_left = lingering.bytes_left.saturating_sub(bytes);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.alarm.poll(lingering.patience.wait(), cx),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = if this.refusal.is_some() {
            this.refuse(buf)
        } else {
            let before = buf.filled().len();
            match Pin::new(&mut this.socket).poll_read(cx, buf) {
                Poll::Ready(Ok(())) => this.judge(buf, before),
                other => other,
            }
        };
        if outcome.is_pending() { this.poll_reading(cx) } else { outcome }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.wrote(outcome, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.wrote(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        this.after_flush(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        }
        if this.framing.place() != Place::Between {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
