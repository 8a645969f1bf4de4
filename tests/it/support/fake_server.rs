//! A server that does what it is told, and remembers what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// What a header says; nothing where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|line| line.0.eq_ignore_ascii_case(name)).map_or("", |line| line.1)
    }

    /// Where the server is, as whoever asks knows it.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.header("host"))
    }
}

/// What to do with a request.
pub(crate) enum Act {
    /// Answer with this JSON.
    Json(String),
    /// Answer with these events.
    Events(Vec<String>),
    /// Answer with this status and body.
    Status(u16, String),
    /// Send these bytes, whatever they are, and close.
    Bytes(Vec<u8>),
    /// Never answer, and keep the connection.
    Hang,
    /// Close the connection.
    Close,
}

type Script = dyn Fn(&Seen) -> Act + Send + Sync;

pub(crate) struct FakeServer {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    is_closed: Arc<AtomicBool>,
}

impl FakeServer {
    /// A server that plays a script.
    pub(crate) fn play(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_closed = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let (all, closed) = (seen.clone(), is_closed.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                let (script, all) = (script.clone(), all.clone());
                std::thread::spawn(move || serve(stream, &*script, &all));
            }
        });
        Self { url, seen, is_closed }
    }

    /// A server of the stateless revision with one tool, which gives `result`, as JSON.
    pub(crate) fn modern(tool: &'static str, result: &'static str) -> Self {
        Self::play(move |seen| {
            let asked = seen.json();
            Act::Json(answer(&asked, &modern_result(&asked, tool, result)))
        })
    }

    /// The same for a server of 2025-06-18.
    pub(crate) fn legacy(tool: &'static str, result: &'static str) -> Self {
        Self::play(move |seen| legacy_act(seen, tool, result))
    }

    /// Everything it was asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// The requests of one method.
    pub(crate) fn asked(&self, method: &str) -> Vec<Seen> {
        let needle = format!("\"{method}\"");
        self.seen().into_iter().filter(|seen| seen.body.contains(&needle)).collect()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // The listener waits for one more connection before it looks.
        let address = self.url.trim_start_matches("http://").trim_end_matches("/mcp");
        drop(TcpStream::connect(address));
    }
}

/// An answer around a result that is JSON text.
pub(crate) fn answer(asked: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked["id"])
}

/// What a small server of the stateless revision answers.
pub(crate) fn modern_result(asked: &Value, tool: &str, result: &str) -> String {
    match asked["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "ttlMs": 0,
            "cacheScope": "private",
        })
        .to_string(),
        "tools/list" => format!(
            r#"{{"resultType":"complete","tools":[{tool}],"ttlMs":0,"cacheScope":"private"}}"#
        ),
        _ => result.to_owned(),
    }
}

fn legacy_act(seen: &Seen, tool: &str, result: &str) -> Act {
    if seen.body.is_empty() {
        return Act::Status(405, String::new());
    }
    let asked = seen.json();
    match asked["method"].as_str().unwrap_or_default() {
        "server/discover" => Act::Status(
            400,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Bad Request: no valid session"}}"#.into(),
        ),
        "initialize" => Act::Json(answer(
            &asked,
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"old","version":"1"}}"#,
        )),
        "tools/list" => Act::Json(answer(&asked, &format!(r#"{{"tools":[{tool}]}}"#))),
        method if method.starts_with("notifications/") => Act::Status(202, String::new()),
        _ => Act::Json(answer(&asked, result)),
    }
}

fn serve(stream: TcpStream, script: &Script, all: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut writer = stream;
    while let Some(seen) = read(&mut reader) {
        all.lock().expect("no panic").push(seen.clone());
        let kept = match script(&seen) {
            Act::Json(body) => write(&mut writer, 200, "application/json", &body),
            Act::Events(events) => {
                let body = format!("data: {}\n\n", events.join("\n\ndata: "));
                write(&mut writer, 200, "text/event-stream", &body)
            }
            Act::Status(status, body) => write(&mut writer, status, "application/json", &body),
            Act::Bytes(bytes) => {
                drop(writer.write_all(&bytes));
                return;
            }
            // Until the other side gives up.
            Act::Hang => matches!(reader.fill_buf(), Ok(more) if !more.is_empty()),
            Act::Close => return,
        };
        if !kept {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { head, body: String::from_utf8(body).expect("UTF-8") })
}

fn write(writer: &mut TcpStream, status: u16, kind: &str, body: &str) -> bool {
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    writer.write_all(answer.as_bytes()).is_ok()
}
