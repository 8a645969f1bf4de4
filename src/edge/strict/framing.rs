//! Follows the framing of HTTP/1 requests over the bytes of a connection, in pieces of any size.

use memchr::memchr;

use super::head::{Body, Head, Malformed};

/// Room in a request line for method, version and spaces.
const LINE_SLACK: usize = 64;

/// Where in the conversation the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Between two requests.
    Between,
    /// In a head.
    Head,
    /// In a body.
    Body,
    /// Beyond a fault; nothing after it is looked at.
    Lost,
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its head breaks the rules.
    Head,
    /// Its request line does not end in time.
    Target,
    /// Its chunks break the rules.
    Chunk,
}

/// How many of the bytes are sound, and what is wrong with those after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) at: usize,
    pub(super) fault: Fault,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    head: Head,
    /// The beginning of a line whose end has not come. hyper stops reading a head at its limit, so
    /// this grows no further.
    begun: Vec<u8>,
    line_limit: usize,
    requests: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Length(u64),
    Chunk(Chunk),
    Lost,
}

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    Start,
    Size(u64),
    Blank(u64),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerEnd,
    End,
    Done,
}

impl Framing {
    /// Starts before the first request. A longer target is cut.
    pub(super) fn new(target_limit: usize) -> Self {
        Self {
            state: State::Head,
            head: Head::default(),
            begun: Vec::new(),
            line_limit: target_limit.saturating_add(LINE_SLACK),
            requests: 0,
        }
    }

    /// Where the client is.
    pub(super) fn place(&self) -> Place {
        match self.state {
            State::Head if self.head.has_begun() || !self.begun.is_empty() => Place::Head,
            State::Head => Place::Between,
            State::Length(_) | State::Chunk(_) => Place::Body,
            State::Lost => Place::Lost,
        }
    }

    /// How many heads have ended so far.
    pub(super) const fn requests(&self) -> u64 {
        self.requests
    }

    /// Follows the bytes that came next.
    pub(super) fn follow(&mut self, fresh: &[u8]) -> Result<(), Cut> {
        let mut at = 0;
        while at < fresh.len() {
            let rest = &fresh[at..];
            let step = match self.state {
                State::Head => self.line(rest),
                State::Length(left) => Ok(self.skip(rest, left)),
                State::Chunk(chunk) => self.chunk(rest, chunk),
                State::Lost => Err(Cut { at: 0, fault: Fault::Head }),
            };
            at += step.map_err(|cut| {
                self.state = State::Lost;
                Cut { at: at + cut.at, ..cut }
            })?;
        }
        Ok(())
    }

    /// Takes a line of a head, or what there is of it. Says how many bytes that were.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Cut> {
        let end = memchr(b'\n', rest);
        let length = end.map_or(rest.len(), |end| end + 1);
        if !self.head.has_begun() && self.begun.len() + length > self.line_limit {
            return Err(Cut { at: self.line_limit - self.begun.len(), fault: Fault::Target });
        }
        if end.is_none() {
            self.begun.extend_from_slice(rest);
            return Ok(length);
        }
        let body = if self.begun.is_empty() {
            self.whole_line(&rest[..length])
        } else {
            let mut line = std::mem::take(&mut self.begun);
            line.extend_from_slice(&rest[..length]);
            self.whole_line(&line)
        };
        match body {
            Ok(Some(body)) => self.begin(body),
            Ok(None) => {}
            Err(Malformed) => return Err(Cut { at: 0, fault: Fault::Head }),
        }
        Ok(length)
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<Option<Body>, Malformed> {
        self.head.take(line.strip_suffix(b"\r\n").ok_or(Malformed)?)
    }

    fn begin(&mut self, body: Body) {
        self.requests += 1;
        self.head = Head::default();
        self.state = match body {
            Body::Length(0) => State::Head,
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::Chunk(Chunk::Start),
        };
    }

    fn skip(&mut self, rest: &[u8], left: u64) -> usize {
        let (skipped, left) = take(rest, left);
        self.state = if left == 0 { State::Head } else { State::Length(left) };
        skipped
    }

    fn chunk(&mut self, rest: &[u8], chunk: Chunk) -> Result<usize, Cut> {
        let (taken, next) = if let Chunk::Data(left) = chunk {
            let (skipped, left) = take(rest, left);
            (skipped, if left == 0 { Chunk::DataCr } else { Chunk::Data(left) })
        } else {
            let next = chunk.after(rest[0]).ok_or(Cut { at: 0, fault: Fault::Chunk })?;
            (1, next)
        };
        self.state = if matches!(next, Chunk::Done) { State::Head } else { State::Chunk(next) };
        Ok(taken)
    }
}

/// How many of these bytes are among the next `left`, and how many are left then.
fn take(rest: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (taken, left - taken as u64)
}

impl Chunk {
    /// Where the byte leads; nowhere if it may not stand here.
    fn after(self, byte: u8) -> Option<Self> {
        let next = match (self, byte) {
            (Self::Start, _) => Self::Size(digit(byte)?),
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(size) | Self::Blank(size), b';')
            | (Self::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => Self::Extension(size),
            (Self::Size(size) | Self::Blank(size), b' ' | b'\t') => Self::Blank(size),
            (Self::Size(size), _) => Self::Size(size.checked_mul(16)?.checked_add(digit(byte)?)?),
            (Self::SizeEnd(0) | Self::TrailerEnd, b'\n') => Self::TrailerStart,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Start,
            (Self::TrailerStart, b'\r') => Self::End,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::TrailerStart | Self::Trailer, b'\t' | b' '..=b'~' | 0x80..) => Self::Trailer,
            (Self::End, b'\n') => Self::Done,
            _ => return None,
        };
        Some(next)
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 100;

    /// Follows the bytes in pieces of the sizes given, the last one as long as need be.
    fn follow(bytes: &[u8], sizes: &[usize]) -> (Result<Place, Cut>, u64) {
        let mut framing = Framing::new(LIMIT);
        let mut at = 0_usize;
        for size in sizes.iter().copied().chain([usize::MAX]) {
            let end = at.saturating_add(size).min(bytes.len());
            if let Err(cut) = framing.follow(&bytes[at..end]) {
                return (Err(Cut { at: at + cut.at, ..cut }), framing.requests());
            }
            at = end;
        }
        (Ok(framing.place()), framing.requests())
    }

    const CONVERSATIONS: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nhost: a:1\r\ncontent-length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHOST: [::1]:80\r\nTransfer-Encoding:\tCHUNKED \r\n\r\n\
          5\r\nhello\r\n0a;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a:1/b HTTP/1.1\r\nHost: A:1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];

    const FAULTS: &[(&[u8], Fault)] = &[
        (b"GET / HTTP/1.1\r\n\r\n", Fault::Head),
        (b"GET / HTTP/1.1\nHost: a\n\n", Fault::Head),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Fault::Head),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            Fault::Head,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            Fault::Chunk,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
            Fault::Chunk,
        ),
    ];

    #[test]
    fn every_request_ends_where_it_says() {
        for bytes in CONVERSATIONS {
            let followed = follow(&bytes.repeat(3), &[]);

            assert_eq!(followed, (Ok(Place::Between), 3), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_byte_too_few_leaves_us_waiting() {
        for bytes in CONVERSATIONS {
            let (place, _) = follow(&bytes[..bytes.len() - 1], &[]);

            assert!(matches!(place, Ok(Place::Head | Place::Body)), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_target_is_cut_at_its_limit() {
        let long = "a".repeat(1_000);
        let request = format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n");

        for sizes in [&[][..], &[3], &[LIMIT, 1, 1, 500]] {
            let (cut, _) = follow(request.as_bytes(), sizes);

            assert_eq!(cut, Err(Cut { at: LIMIT + LINE_SLACK, fault: Fault::Target }));
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(sizes in prop::collection::vec(1_usize..20, 0..200)) {
            for bytes in CONVERSATIONS {
                prop_assert_eq!(follow(&bytes.repeat(2), &sizes), (Ok(Place::Between), 2));
            }
            for (bytes, fault) in FAULTS {
                let bytes = [CONVERSATIONS[3], bytes].concat();
                let (cut, requests) = follow(&bytes, &sizes);
                prop_assert_eq!(cut.map_err(|cut| cut.fault), Err(*fault));
                prop_assert_eq!(requests, if *fault == Fault::Head { 1 } else { 2 });
            }
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = follow(&bytes, &[1, 2, 3]);
            let head: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = follow(&[head, &bytes].concat(), &[head.len()]);
        }
    }
}
