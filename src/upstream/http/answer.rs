//! Reading what a server answers over HTTP: one JSON body or a stream of events, both bounded.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use crate::{
    upstream::{Error, error::Oddity, heard::Heard},
    wire::{Event, SseDecoder},
};

/// How long the end of a stream is waited for once its answer is there. A connection whose body
/// is not read to its end cannot be used again.
const DRAIN: Duration = Duration::from_millis(250);

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As one JSON text.
    Json,
    /// As an event in a stream.
    Events,
}

impl Form {
    /// Tells the form from an answer's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let said = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        if let Some(encoding) = said(header::CONTENT_ENCODING)
            && !encoding.trim().eq_ignore_ascii_case("identity")
        {
            return Err(Oddity::ContentEncoding(encoding.chars().take(40).collect()).into());
        }
        let content_type = said(header::CONTENT_TYPE).unwrap_or_default();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else if kind.eq_ignore_ascii_case("text/event-stream") {
            Ok(Self::Events)
        } else {
            Err(Oddity::ContentType(kind.chars().take(80).collect()).into())
        }
    }
}

/// A failure to read a body.
pub(super) fn broken(error: hyper::Error) -> Error {
    Error::broken(error)
}

/// A whole body, up to so many bytes.
pub(crate) async fn whole(mut body: Incoming, limit: usize) -> Result<Bytes, Error> {
    let too_large = Error::TooLarge { limit_bytes: limit };
    let announced = body.size_hint().lower();
    if usize::try_from(announced).is_ok_and(|announced| announced > limit) {
        return Err(too_large);
    }
    let Some(first) = next_data(&mut body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    let mut joined = BytesMut::new();
    let mut next = Some(first);
    while let Some(data) = next {
        if joined.len() + data.len() > limit {
            return Err(too_large);
        }
        next = next_data(&mut body).await?;
        if next.is_none() && joined.is_empty() {
            // Most answers come in one piece, which is then theirs without a copy.
            return Ok(data);
        }
        joined.extend_from_slice(&data);
    }
    Ok(joined.freeze())
}

async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The messages of an event stream.
pub(crate) struct Messages {
    body: Incoming,
    decoder: SseDecoder,
    ready: VecDeque<Event>,
    limit: usize,
}

impl Messages {
    /// Reads a stream whose events have up to so many bytes.
    pub(crate) fn new(body: Incoming, limit: usize) -> Self {
        Self { body, decoder: SseDecoder::new(limit), ready: VecDeque::new(), limit }
    }

    /// The next message, or none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Heard>, Error> {
        while let Some(event) = self.next_event().await? {
            let is_message = event.kind.is_empty() || event.kind == "message";
            if is_message && !event.data.is_empty() {
                return Ok(Some(Heard::read(&event.data)));
            }
        }
        Ok(None)
    }

    /// The next event, of whatever kind.
    pub(crate) async fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(data) = next_data(&mut self.body).await? else { return Ok(None) };
            let events = self.decoder.push(&data);
            self.ready.extend(events.map_err(|_| Error::TooLarge { limit_bytes: self.limit })?);
        }
    }

    /// Where the stream can be taken up again, if its server said so.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.decoder.last_id()
    }

    /// A stream that goes on where another ended: until it has an event of its own, it can be
    /// taken up at the same place again.
    pub(super) fn after(mut self, last_id: &str) -> Self {
        self.decoder.begin_after(last_id);
        self
    }

    /// How long its server wants to be left alone before that.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.decoder.retry_ms()
    }

    /// Reads the rest of the stream, which is usually its end, without making anybody wait.
    pub(super) fn drain(mut self, tasks: &TaskTracker) {
        let mut at_end =
            async move { while let Ok(Some(_)) = next_data(&mut self.body).await {} }.boxed();
        if (&mut at_end).now_or_never().is_none() {
            tasks.spawn(tokio::time::timeout(DRAIN, at_end));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn form(name: header::HeaderName, value: &'static str) -> Result<Form, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(name, HeaderValue::from_static(value));
        Form::of(&headers).map_err(|error| crate::problem::chain(&error))
    }

    #[test]
    fn takes_the_two_forms_of_mcp_and_no_other() {
        let of = |value| form(header::CONTENT_TYPE, value);

        assert_eq!(of("Application/JSON; charset=utf-8"), Ok(Form::Json));
        assert_eq!(of("text/event-stream;x=y"), Ok(Form::Events));
        assert!(of("text/html").is_err_and(|said| said.contains("text/html")));
    }

    #[test]
    fn takes_nothing_compressed() {
        assert!(form(header::CONTENT_ENCODING, "gzip").is_err());
        assert_eq!(form(header::CONTENT_ENCODING, "identity"), Ok(Form::Json));
    }
}
