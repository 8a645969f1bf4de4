//! A client on a WebSocket.

use std::{net::TcpStream, time::Duration};

use serde_json::Value;
use tokio_tungstenite::tungstenite::{
    Error, HandshakeError, Message, WebSocket,
    client::{IntoClientRequest, client_with_config},
    http::HeaderValue,
};

use super::Gateway;

pub(crate) struct Socket(WebSocket<TcpStream>);

impl Socket {
    /// Opens one with the administrator's key.
    pub(crate) fn open(gateway: &Gateway, path: &str) -> Self {
        let bearer = format!("Bearer {}", gateway.key);
        Self::open_with(gateway, path, &[("Authorization", &bearer)]).expect("a handshake").0
    }

    /// Opens one with these headers. Gives the subprotocol, or the status of the refusal.
    pub(crate) fn open_with(
        gateway: &Gateway,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Option<String>), u16> {
        let stream = TcpStream::connect(&gateway.address).expect("the gateway listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        let url = format!("ws://{}{path}", gateway.address);
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        match client_with_config(request, stream, None) {
            Ok((socket, response)) => {
                let spoken = response.headers().get("sec-websocket-protocol");
                let spoken = spoken.and_then(|value| value.to_str().ok()).map(str::to_owned);
                Ok((Self(socket), spoken))
            }
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    /// Shakes hands as an older client that can be asked things.
    pub(crate) fn initialize(&mut self) -> Value {
        self.say(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{}},"clientInfo":{"name":"old","version":"1"}}}"#);
        let said = self.hear();
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        said
    }

    pub(crate) fn say(&mut self, message: &str) {
        self.0.send(Message::text(message)).expect("it reads");
    }

    pub(crate) fn hear(&mut self) -> Value {
        loop {
            match self.0.read().expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Close(frame) => panic!("it closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Waits until the other side closes, and gives its code and what was said until then.
    pub(crate) fn rest(mut self) -> (Option<u16>, Vec<Value>) {
        let mut said = Vec::new();
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => said.push(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(frame)) => return (frame.map(|frame| frame.code.into()), said),
                Ok(_) => {}
                Err(_) => return (None, said),
            }
        }
    }
}
