//! While a request is being answered, the client owes us nothing but the rest of it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

/// What the service of a connection and its socket tell each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// A request is being answered: said by the service.
    is_answering: AtomicBool,
    /// The body of a request has begun and not ended: said by the socket.
    is_in_body: AtomicBool,
}

impl Busy {
    /// Begins to answer, until the guard is dropped.
    pub(crate) fn begin(&self) -> Answering {
        self.0.is_answering.store(true, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// Whether there is more to come of a request. Answered then, hyper closes the connection
    /// unless the rest is there at once, and RFC 9112 (9.6) asks to announce that: a client that
    /// keeps connections would send its next request on this one, and lose it.
    pub(crate) fn is_in_body(&self) -> bool {
        self.0.is_in_body.load(Ordering::Relaxed)
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_answering.load(Ordering::Relaxed)
    }

    pub(super) fn note_body(&self, is_in_body: bool) {
        self.0.is_in_body.store(is_in_body, Ordering::Relaxed);
    }
}

/// The request is being answered as long as this lives.
#[derive(Debug)]
pub(crate) struct Answering(Busy);

impl Answering {
    /// Goes on until the body of the answer has ended.
    pub(crate) fn until_end_of<B>(self, body: B) -> Answer<B> {
        Answer { body, _answering: self }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.is_answering.store(false, Ordering::Relaxed);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: B,
    _answering: Answering,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
