//! Streams of events to clients over HTTP.

use std::{convert::Infallible, pin::Pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{
    HeaderName, HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Leash,
    edge::session::Reader,
    wire::{encode_event, encode_event_with_id},
};

/// How often a quiet stream shows that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What it says then: nothing.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

type Events = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>> + Send>>;

/// A response that is a stream of events.
pub(crate) fn response(
    events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that gather answers would hold back what is said before them.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    response
}

/// Where events come from: the next one as bytes of the stream, or none at its end.
pub(crate) trait Source: Send + 'static {
    /// The next event. Given up and asked again when a quiet stream shows that it is there.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// The events of a source, with a sign of life where it is quiet.
pub(crate) fn events<S: Source>(
    source: S,
    first: Option<Bytes>,
    until: CancellationToken,
) -> Events {
    let start = stream::iter(first.map(Ok));
    // Boxed: what goes from event to event would stand twice in what waits for the next one.
    let rest = stream::unfold(Box::new((source, until)), async move |mut held| {
        let (source, until) = &mut *held;
        let event = tokio::select! {
            biased;
            () = until.cancelled() => None,
            event = source.next() => event,
            () = tokio::time::sleep(KEEP_ALIVE) => Some(COMMENT),
        };
        event.map(|event| (Ok(event), held))
    });
    Box::pin(futures_util::StreamExt::chain(start, rest))
}

/// A source that ends with the credential it was opened with.
pub(super) struct Leashed<S> {
    pub(super) source: S,
    pub(super) leash: Leash,
}

impl<S: Source> Source for Leashed<S> {
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.leash.over() => None,
            event = self.source.next() => event,
        }
    }
}

impl Source for Reader {
    async fn next(&mut self) -> Option<Bytes> {
        let (id, message) = Self::next(self).await?;
        Some(encode_event_with_id(&message, &id))
    }
}

/// An event that is a message.
pub(super) fn message(message: &[u8]) -> Bytes {
    encode_event(message)
}
