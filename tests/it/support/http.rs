//! HTTP by hand: what goes out and what comes in, byte for byte.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("an answer is UTF-8")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// A connection that is kept.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        Self(stream)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A refused request may be answered and closed before all of it is sent.
        drop(self.0.write_all(bytes));
    }

    /// Reads one answer; none where the other side closed first.
    pub(crate) fn read(&mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = find(&bytes, b"\r\n\r\n") {
                break at;
            }
            let mut piece = [0; 4_096];
            match self.0.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a head is text");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut body = bytes.split_off(head_end + 4);
        let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
        while body.len() < length {
            let mut piece = [0; 16_384];
            match self.0.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(count) => body.extend_from_slice(&piece[..count]),
            }
        }
        Some(Answer { status, headers, body })
    }

    /// Reads until a text has come, and gives all that came.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        while find(&bytes, text.as_bytes()).is_none() {
            let mut piece = [0; 4_096];
            match self.0.read(&mut piece) {
                Ok(0) | Err(_) => {
                    panic!("{text:?} never came: {}", String::from_utf8_lossy(&bytes))
                }
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the other side has closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

/// The bytes of a request.
pub(crate) fn request(
    verb: &str,
    path: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Vec<u8> {
    let mut text = format!("{verb} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    if let Some(body) = body {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());
    text.into_bytes()
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
