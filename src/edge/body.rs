//! Bodies of messages: each read whole within a limit, and all together within a budget.

use std::{error::Error, io, pin::pin, sync::Arc};

use axum::BoxError;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};

/// Reads bodies.
#[derive(Debug)]
pub(super) struct Reader {
    limit: usize,
    budget: Arc<Semaphore>,
}

/// A whole body. Its bytes count until its message is answered, because so long they are kept.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Why a body is not read, and the status that says so.
pub(super) type Unread = (Problem, StatusCode);

impl Reader {
    /// Reads bodies up to so many bytes each, and so many altogether.
    pub(super) fn new(limit: usize, together: usize) -> Self {
        // One body always fits.
        let together = together.max(limit).min(Semaphore::MAX_PERMITS);
        Self { limit, budget: Arc::new(Semaphore::new(together)) }
    }

    /// Refuses a length that is too large before anything is read of it.
    pub(super) fn check_length(&self, said: u64) -> Result<(), Unread> {
        if said > self.limit as u64 { Err(self.too_large()) } else { Ok(()) }
    }

    /// Reads a body. What counts is what has come: announcing much takes nothing from others.
    pub(super) async fn read<B>(&self, body: B) -> Result<Whole, Unread>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut body = pin!(Limited::new(body, self.limit));
        let mut share = self.share(0)?;
        let mut pieces: Vec<Bytes> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.told(&*error))?;
            if let Ok(data) = frame.into_data() {
                share.merge(self.share(data.len())?);
                pieces.push(data);
            }
        }
        Ok(Whole { bytes: joined(pieces), _share: share })
    }

    /// Takes a message in that came whole.
    pub(super) fn hold(&self, bytes: Bytes) -> Result<Whole, Unread> {
        let share = self.share(bytes.len())?;
        Ok(Whole { bytes, _share: share })
    }

    fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Unread> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.budget).try_acquire_many_owned(count).map_err(|_| {
            let message = "the gateway is reading as much as it may; try again in a second";
            let problem = Problem::new(Kind::Unavailable, message).with_retry_after(1);
            (problem, StatusCode::SERVICE_UNAVAILABLE)
        })
    }

    fn too_large(&self) -> Unread {
        let message = format!("the body is larger than {} bytes", self.limit);
        (Problem::new(Kind::TooLarge, message), StatusCode::PAYLOAD_TOO_LARGE)
    }

    fn told(&self, error: &(dyn Error + Send + Sync + 'static)) -> Unread {
        if error.is::<LengthLimitError>() {
            return self.too_large();
        }
        let problem = Problem::new(Kind::Invalid, "the body broke off").with_rpc(-32700);
        (
            problem,
            if is_slow(error) { StatusCode::REQUEST_TIMEOUT } else { StatusCode::BAD_REQUEST },
        )
    }
}

/// Most bodies come in one piece, which needs no copy.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

/// Whether a body was too slow, rather than broken.
fn is_slow(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    async fn status(reader: &Reader, body: &'static str) -> Result<Whole, u16> {
        reader.read(Full::<Bytes>::from(body)).await.map_err(|(_, status)| status.as_u16())
    }

    #[tokio::test]
    async fn a_body_has_a_limit_and_all_together_have_another() {
        let reader = Reader::new(8, 10);

        let held = status(&reader, "12345678").await.expect("room");

        assert_eq!(held.bytes, "12345678");
        assert_eq!(status(&reader, "123456789").await.err(), Some(413));
        assert_eq!(status(&reader, "123").await.err(), Some(503));
        assert!(status(&reader, "12").await.is_ok());
        drop(held);
        assert!(status(&reader, "123").await.is_ok());
    }

    #[test]
    fn pieces_are_joined_in_order() {
        assert_eq!(joined(vec!["ab".into(), "".into(), "c".into()]), "abc");
        assert_eq!(joined(Vec::new()), "");
    }
}
