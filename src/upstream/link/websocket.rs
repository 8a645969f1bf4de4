//! WebSocket: one message a text frame, both ways.
//!
//! It begins as a request of the one HTTP client, so that TLS and the addresses that are never
//! dialled are the same as everywhere.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method as Verb, StatusCode,
    header::{
        ACCEPT, CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, interval_at, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        error::CapacityError,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::upstream::{
    Error,
    dialogue::{Dialogue, Outgoing},
    error::{Loss, Oddity},
    handshake::Terms,
    heard::Heard,
    http::{Ground, Site},
};

/// What is spoken over it.
const SUBPROTOCOL: &str = "mcp";
/// How often a server is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How many of these may go by without a word.
const VAIN_PINGS: u32 = 2;
/// How long a message may take to be written.
const WRITE: Duration = Duration::from_mins(1);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much is read at once. Most sockets are quiet most of the time.
const READ_BYTES: usize = 4_096;

/// An open WebSocket.
pub(super) struct Socket(WebSocketStream<TokioIo<Upgraded>>);

impl Socket {
    /// Opens it.
    pub(super) async fn open(site: &Site, ground: &Ground) -> Result<Self, Error> {
        let key = generate_key();
        let mut headers = site.heads.on(&Terms::Opening);
        ask_for_upgrade(&mut headers, &key);
        let response = ground.send(Verb::GET, &site.uri, headers, Bytes::new()).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Refused { status: response.status() });
        }
        check(response.headers(), &key)?;
        let upgraded = hyper::upgrade::on(response).await.map_err(Error::unreachable)?;
        let limit = Some(ground.settings.answer_bytes);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(limit)
            .max_frame_size(limit);
        let stream = TokioIo::new(upgraded);
        Ok(Self(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await))
    }

    /// Carries messages until something ends it.
    pub(super) async fn carry(
        self,
        dialogue: &Dialogue,
        outgoing: mpsc::Receiver<Outgoing>,
        stop: &CancellationToken,
    ) -> Loss {
        let (mut sink, stream) = self.0.split();
        let is_heard = AtomicBool::new(true);
        let loss = select! {
            loss = read(stream, dialogue, &is_heard) => loss,
            loss = write(&mut sink, dialogue, outgoing, &is_heard) => loss,
            () = stop.cancelled() => Loss::Stopped,
        };
        // A server that does not hear it finds the connection gone.
        let _ = timeout(FAREWELL, sink.close()).await;
        loss
    }
}

fn ask_for_upgrade(headers: &mut HeaderMap, key: &str) {
    headers.remove(CONTENT_TYPE);
    headers.remove(ACCEPT);
    let words: [(HeaderName, &'static str); 4] = [
        (CONNECTION, "Upgrade"),
        (UPGRADE, "websocket"),
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
    ];
    for (name, word) in words {
        headers.insert(name, HeaderValue::from_static(word));
    }
    let key = HeaderValue::from_str(key).ok();
    headers.extend(key.map(|key| (SEC_WEBSOCKET_KEY, key)));
}

/// Checks that what was agreed to is what was asked for. A server may leave unsaid that it speaks
/// MCP.
fn check(headers: &HeaderMap, key: &str) -> Result<(), Oddity> {
    let said = |name| headers.get(name).map(HeaderValue::as_bytes);
    let upgrade = said(UPGRADE).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case(b"websocket") {
        return Err(Oddity::NotWebSocket("it switched to another protocol"));
    }
    if said(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(Oddity::NotWebSocket("it did not answer the key"));
    }
    if said(SEC_WEBSOCKET_PROTOCOL).is_some_and(|spoken| spoken != SUBPROTOCOL.as_bytes()) {
        return Err(Oddity::NotWebSocket("it speaks another subprotocol"));
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(Oddity::NotWebSocket("it uses an extension nobody asked for"));
    }
    Ok(())
}

async fn read(
    mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    dialogue: &Dialogue,
    is_heard: &AtomicBool,
) -> Loss {
    while let Some(message) = stream.next().await {
        is_heard.store(true, Relaxed);
        let bytes = match message {
            Ok(Message::Text(text)) => Bytes::from(text),
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) => return Loss::Closed,
            Err(error) => return lost(&error),
        };
        if let Err(reason) = dialogue.hear(Heard::read(&bytes)) {
            debug!(%reason, "a frame of a server is no message");
        }
    }
    Loss::Closed
}

fn lost(error: &tungstenite::Error) -> Loss {
    use tungstenite::{Error as Failure, error::ProtocolError};
    match error {
        Failure::ConnectionClosed | Failure::AlreadyClosed => Loss::Closed,
        Failure::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            Loss::LongMessage { limit_bytes: *max_size }
        }
        Failure::Io(_) | Failure::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Loss::Broken
        }
        _ => Loss::Garbled,
    }
}

async fn write(
    sink: &mut (impl Sink<Message> + Unpin),
    dialogue: &Dialogue,
    mut outgoing: mpsc::Receiver<Outgoing>,
    is_heard: &AtomicBool,
) -> Loss {
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut vain = 0;
    loop {
        let message = select! {
            next = outgoing.recv() => {
                let Some(next) = next else { return Loss::Stopped };
                let text = dialogue.take(next).map(|(text, _)| Utf8Bytes::try_from(text));
                // What is to be said is JSON, and so is text.
                let Some(Ok(text)) = text else { continue };
                Message::Text(text)
            }
            _ = pings.tick() => {
                vain = if is_heard.swap(false, Relaxed) { 0 } else { vain + 1 };
                if vain >= VAIN_PINGS {
                    return Loss::Silent;
                }
                Message::Ping(Bytes::new())
            }
        };
        match timeout(WRITE, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Loss::Broken,
            Err(_) => return Loss::Silent,
        }
    }
}
