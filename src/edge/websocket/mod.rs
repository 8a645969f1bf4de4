//! `WebSocket`s: one channel for each, one JSON-RPC message in each message of text.

mod frames;
mod socket;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{
        CONTENT_LENGTH, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
    request::Parts,
};
use tokio_tungstenite::tungstenite::{
    Error, error::ProtocolError, handshake::server::create_response_with_body,
    protocol::frame::coding::CloseCode,
};

use self::socket::{Closing, Heard, Socket};
use crate::{
    edge::{
        body::Reader,
        channel::{Channel, End},
        channels::{Channels, Known, refuse},
        listen::Upgrade,
    },
    problem::{Kind, Problem},
};

/// What clients of MCP offer to speak, and get.
const SUBPROTOCOL: &str = "mcp";

impl Channels {
    /// Shakes hands, and goes on with a channel on the connection.
    pub(super) fn open_socket(&self, guest: Known, parts: Parts) -> Response<Body> {
        let arrival = guest.arrival;
        let has_body = parts.headers.contains_key(TRANSFER_ENCODING)
            || parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
        let shaken = if has_body {
            Err(("an upgrade has no body".to_owned(), StatusCode::BAD_REQUEST))
        } else {
            shake_hands(parts)
        };
        let mut response = match shaken {
            Ok(response) => response,
            Err((message, status)) => {
                let mut response = refuse(&arrival, &Problem::new(Kind::Invalid, message), status);
                if status == StatusCode::UPGRADE_REQUIRED {
                    let headers = response.headers_mut();
                    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                }
                return response;
            }
        };
        if offers(&arrival.headers).any(|offer| offer == SUBPROTOCOL) {
            let spoken = HeaderValue::from_static(SUBPROTOCOL);
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, spoken);
        }
        let (channel, outbox) = self.channel(arrival);
        let (reader, settings, largest) =
            (self.reader.clone(), self.settings.clone(), self.largest);
        response.extensions_mut().insert(Upgrade::new(move |rest| {
            let socket = Socket::open(rest, outbox, largest, &settings);
            // Boxed before it runs: a future holds its arguments twice.
            Box::pin(converse(Box::new(Conversation { socket, channel: Some(channel), reader })))
        }));
        response
    }
}

/// The answer to a handshake, or what is wrong with it.
fn shake_hands(parts: Parts) -> Result<Response<Body>, (String, StatusCode)> {
    create_response_with_body(&Request::from_parts(parts, ()), Body::empty).map_err(|error| {
        let status = match &error {
            Error::Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingSecWebSocketVersionHeader,
            ) => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        };
        (format!("this is where WebSockets are opened: {error}"), status)
    })
}

/// The subprotocols that a client offers.
pub(super) fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim)
}

/// A socket and its channel.
struct Conversation {
    socket: Socket,
    /// None once it has ended.
    channel: Option<Channel>,
    reader: Arc<Reader>,
}

/// Carries messages between a socket and its channel, until one of them ends.
async fn converse(mut conversation: Box<Conversation>) {
    let Conversation { socket, channel: held, reader } = &mut *conversation;
    let closing = loop {
        let Some(channel) = held else { return };
        let heard = tokio::select! {
            biased;
            end = channel.run() => break farewell(end),
            heard = socket.next() => heard,
        };
        match heard {
            Heard::Text(message) => match reader.hold(message) {
                Ok(message) => channel.take(message),
                Err(_) => {
                    break Closing {
                        code: CloseCode::Again,
                        reason: "the gateway is reading as much as it may",
                    };
                }
            },
            Heard::Binary(_) => {
                let reason = "messages are text";
                break Closing { code: CloseCode::Unsupported, reason };
            }
            Heard::Fault(closing) => break closing,
            Heard::Gone => {
                *held = None;
                // Boxed: sockets that are open need no room for how they end.
                return Box::pin(socket.end()).await;
            }
        }
    };
    // What still runs ends before the socket does: nobody would hear of it.
    *held = None;
    Box::pin(socket.close(closing)).await;
}

fn farewell(end: End) -> Closing {
    let (code, reason) = match end {
        End::Stranger => (CloseCode::Policy, "the key is not valid any more"),
        End::SessionOver => (CloseCode::Normal, "the session is over"),
        End::Closing => (CloseCode::Away, "the gateway closes"),
    };
    Closing { code, reason }
}
