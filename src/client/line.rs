//! A line to a gateway: MCP messages both ways, for as long as it stands.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Method, StatusCode, Upgraded};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

use super::{ANSWER_LIMIT, Client, Error, answer};

/// How often a quiet line is tried.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a line may be dead before that is noticed.
const SILENCE: Duration = Duration::from_secs(90);

/// A line that stands.
pub struct Line {
    socket: WebSocketStream<Upgraded>,
    place: String,
    next_ping: Instant,
    heard_at: Instant,
}

impl Client {
    /// Opens a line at this path, which is one of a WebSocket.
    pub async fn open_line(&self, path: &str) -> Result<Line, Error> {
        let key = generate_key();
        let request = self.request(Method::GET, path)?;
        let request = request
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key)
            .header(SEC_WEBSOCKET_PROTOCOL, "mcp");
        let response = self.send(request).await?;
        let status = response.status();
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        let is_ours =
            accepted.is_some_and(|accepted| *accepted == derive_accept_key(key.as_bytes()));
        if status != StatusCode::SWITCHING_PROTOCOLS || !is_ours {
            let body = self.whole(response).await?;
            return Err(answer::refused(&self.place, status, &body));
        }
        let upgraded = response.upgrade().await.map_err(|error| self.lost(error))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(ANSWER_LIMIT))
            .max_frame_size(Some(ANSWER_LIMIT));
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        let now = Instant::now();
        let place = self.place.clone();
        Ok(Line { socket, place, next_ping: now + PING_EVERY, heard_at: now })
    }
}

impl Line {
    /// The next message. Given up and asked again at will.
    pub async fn next(&mut self) -> Result<Bytes, Error> {
        loop {
            let heard = tokio::select! {
                biased;
                heard = self.socket.next() => heard,
                () = sleep_until(self.next_ping) => {
                    self.try_out().await?;
                    continue;
                }
            };
            self.heard_at = Instant::now();
            match heard {
                Some(Ok(Message::Text(text))) => return Ok(text.into()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(self.closed(&frame.reason));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(self.closed(&error.to_string())),
                None => return Err(self.closed("it has gone")),
            }
        }
    }

    /// Says something.
    pub async fn say(&mut self, message: String) -> Result<(), Error> {
        self.send(Message::text(message)).await
    }

    /// Hangs up.
    pub async fn close(mut self) {
        // Whoever is gone already needs no farewell.
        let _ = self.socket.close(None).await;
    }

    async fn try_out(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if now >= self.heard_at + SILENCE {
            return Err(self.closed("it shows no sign of life"));
        }
        self.next_ping = now + PING_EVERY;
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        let sent = self.socket.send(message).await;
        sent.map_err(|error| self.closed(&error.to_string()))
    }

    fn closed(&self, reason: &str) -> Error {
        Error::Closed { place: self.place.clone(), reason: reason.to_owned() }
    }
}
