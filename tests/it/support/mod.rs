//! What every test stands on: a real gateway, and servers that do what they are told.

mod browser;
mod fake_server;
mod gateway;
mod http;
mod mutual_tls;
mod socket;

pub(crate) use browser::{
    App, Browser, CHALLENGE, REDIRECT, VERIFIER, access, field, form, opens, refresh,
};
pub(crate) use fake_server::{Act, FakeServer, Seen};
pub(crate) use gateway::{Gateway, PASSWORD};
pub(crate) use http::{Answer, Connection, find, request};
pub(crate) use mutual_tls::MutualTls;
pub(crate) use socket::Socket;

use std::time::{Duration, Instant};

/// Asks again and again until something is there, for at most twenty seconds.
#[expect(clippy::disallowed_methods, reason = "a test waits by the real clock")]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within 20 seconds");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub(crate) use fake_server::{answer, modern_result};

/// `_meta` as a client of the stateless revision sends it.
pub(crate) fn gateway_meta() -> &'static str {
    gateway::META
}

/// A session of an older client.
pub(crate) struct LegacySession<'a> {
    gateway: &'a Gateway,
    path: String,
    pub(crate) id: String,
}

/// Opens a session with a handshake, as an older client does.
pub(crate) fn legacy_session<'a>(gateway: &'a Gateway, path: &str) -> LegacySession<'a> {
    legacy_session_of(gateway, path, "{}")
}

/// The same for a client with these capabilities, as JSON.
pub(crate) fn legacy_session_of<'a>(
    gateway: &'a Gateway,
    path: &str,
    capabilities: &str,
) -> LegacySession<'a> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"clientInfo":{{"name":"old","version":"1"}}}}}}"#
    );
    let said = gateway.ask("POST", path, Some(&body));
    assert_eq!(said.status, 200, "{}", said.text());
    assert_eq!(said.json()["result"]["protocolVersion"], "2025-06-18");
    let id = said.headers["mcp-session-id"].clone();
    let session = LegacySession { gateway, path: path.to_owned(), id };
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(session.send(initialized).status, 202);
    session
}

impl LegacySession<'_> {
    /// Sends a message in the session.
    pub(crate) fn send(&self, body: &str) -> Answer {
        let headers = [
            ("Accept", "application/json, text/event-stream"),
            ("Mcp-Session-Id", &*self.id),
            ("MCP-Protocol-Version", "2025-06-18"),
        ];
        self.gateway.ask_with("POST", &self.path, &headers, Some(body))
    }

    /// Makes a call in the session.
    pub(crate) fn call(&self, method: &str, params: &str) -> Answer {
        self.send(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#))
    }
}

/// Calls the tool `echo` of the server `wiki`.
pub(crate) fn echo(gateway: &Gateway) -> Answer {
    let params = r#""name":"wiki__echo","arguments":{}"#;
    gateway.call_named("/mcp", "tools/call", Some("wiki__echo"), params)
}

/// Whether a tool answered `done`.
pub(crate) fn is_done(said: &Answer) -> bool {
    said.json()["result"]["content"][0]["text"] == "done"
}
