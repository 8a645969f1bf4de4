//! Event streams: framing of Server-Sent Events, read and written.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its type; empty means `message`.
    pub kind: String,
    /// Its data, lines joined.
    pub data: Bytes,
    /// The id set with it, where there is one.
    pub id: Option<String>,
}

/// An event longer than its reader allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct EventTooLarge(pub usize);

/// Reads events out of bytes that come in pieces. Never holds more than one event.
#[derive(Debug)]
pub struct SseDecoder {
    limit: usize,
    line: BytesMut,
    data: BytesMut,
    has_data: bool,
    kind: String,
    id: Option<String>,
    last_id: Option<String>,
    retry_ms: Option<u64>,
    ended_in_return: bool,
    is_first_line: bool,
}

impl SseDecoder {
    /// A reader of events up to so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: BytesMut::new(),
            data: BytesMut::new(),
            has_data: false,
            kind: String::new(),
            id: None,
            last_id: None,
            retry_ms: None,
            ended_in_return: false,
            is_first_line: true,
        }
    }

    /// Takes the next bytes and gives the events that they end.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, EventTooLarge> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            // A line may end in a carriage return whose line feed comes in the next piece.
            if std::mem::take(&mut self.ended_in_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.hold(bytes)?;
                break;
            };
            self.hold(&bytes[..end])?;
            self.ended_in_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            events.extend(self.end_line()?);
        }
        Ok(events)
    }

    /// The id set last, of whatever event: where a stream that broke can be taken up again.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Tells which event came last before the first one that is read here.
    pub fn begin_after(&mut self, last_id: &str) {
        self.last_id = Some(last_id.to_owned());
    }

    /// How long to wait before taking it up again, in milliseconds, where the stream said so.
    #[must_use]
    pub const fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), EventTooLarge> {
        if self.line.len() + self.data.len() + bytes.len() > self.limit {
            return Err(EventTooLarge(self.limit));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>, EventTooLarge> {
        let line = self.line.split().freeze();
        let mark = b"\xEF\xBB\xBF";
        let is_first = std::mem::take(&mut self.is_first_line);
        let line = if is_first && line.starts_with(mark) { line.slice(3..) } else { line };
        if line.is_empty() {
            return Ok(self.end_event());
        }
        let colon = memchr::memchr(b':', &line);
        let (field, value) = match colon {
            Some(0) => return Ok(None),
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&line[..], &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.data.extend_from_slice(b"\n");
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
                self.last_id.clone_from(&self.id);
            }
            b"retry" => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                self.retry_ms = text.parse().ok().or(self.retry_ms);
            }
            _ => {}
        }
        if self.data.len() > self.limit { Err(EventTooLarge(self.limit)) } else { Ok(None) }
    }

    fn end_event(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let id = self.id.take();
        let data = self.data.split().freeze();
        std::mem::take(&mut self.has_data).then_some(Event { kind, data, id })
    }
}

/// One event with one line of data, and the id under which its stream can be taken up again.
#[must_use]
pub fn encode_event_with_id(data: &[u8], id: &str) -> Bytes {
    let mut event = Vec::with_capacity(data.len() + id.len() + 32);
    event.extend_from_slice(b"event: message\nid: ");
    event.extend_from_slice(id.as_bytes());
    event.extend_from_slice(b"\ndata: ");
    extend_with_line(&mut event, data);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// Adds JSON as one line: a line break between its tokens is as good as a space.
fn extend_with_line(event: &mut Vec<u8>, data: &[u8]) {
    let start = event.len();
    event.extend_from_slice(data);
    for byte in &mut event[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// One event with one line of data.
#[must_use]
pub fn encode_event(data: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(data.len() + 24);
    event.extend_from_slice(b"event: message\ndata: ");
    extend_with_line(&mut event, data);
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = SseDecoder::new(1_000);
        let events = pieces.iter().flat_map(|piece| decoder.push(piece).expect("short events"));
        events.map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect()
    }

    #[test]
    fn reads_events_with_any_line_end() {
        assert_eq!(decode(&[b"data: a\n\ndata:b\r\n\r\ndata: c\rdata: d\r\r"]), ["a", "b", "c\nd"]);
    }

    #[test]
    fn passes_over_comments_and_events_without_data() {
        assert_eq!(decode(&[b": hello\n\nid: 1\n\nretry: 5\nevent: x\n\ndata: a\n\n"]), ["a"]);
    }

    #[test]
    fn reads_type_and_id() {
        let mut decoder = SseDecoder::new(1_000);

        let events = decoder.push(b"event: endpoint\nid: 7\ndata: /m\n\n").expect("short");

        let expected = Event { kind: "endpoint".into(), data: "/m".into(), id: Some("7".into()) };
        assert_eq!(events, [expected]);
    }

    #[test]
    fn gives_up_on_an_endless_event() {
        let mut decoder = SseDecoder::new(100);

        assert_eq!(decoder.push(&[b'x'; 101]), Err(EventTooLarge(100)));

        let mut decoder = SseDecoder::new(100);
        let many = b"data: 0123456789\n".repeat(20);
        assert_eq!(decoder.push(&many), Err(EventTooLarge(100)));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(0_usize..60, 0..6)) {
            let whole: &[u8] = b"data: one\r\n\r\n: c\r\ndata: t\xC3\xA4wo\ndata: three\n\nid: 9\ndata: 4\r\r";
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&whole[start..cut]);
                start = cut;
            }
            pieces.push(&whole[start..]);

            prop_assert_eq!(decode(&pieces), decode(&[whole]));
        }
    }
}
