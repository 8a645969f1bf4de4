//! A server of echoes on the very sockets of the door, for a suite that tests `WebSocket`s.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use super::*;
use crate::edge::{
    channel::{Outbox, Settings},
    listen::{self, Door, Peer, Rest, Stop},
};

use futures_util::{SinkExt, StreamExt};

const LARGEST: usize = 1 << 16;

/// Says what it hears.
async fn echo(rest: Rest, largest: usize, settings: Settings) {
    let outbox = Outbox::new(settings.limits());
    let mut socket = Socket::open(rest, outbox, largest, &settings);
    loop {
        match socket.next().await {
            Heard::Text(text) => socket.repeat(text, true).await,
            Heard::Binary(bytes) => socket.repeat(bytes, false).await,
            Heard::Fault(closing) => return socket.close(closing).await,
            Heard::Gone => return socket.end().await,
        }
    }
}

struct Echo {
    address: std::net::SocketAddr,
    serving: JoinSet<()>,
}

async fn echoes(largest: usize, settings: Settings) -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let settings = Arc::new(settings);
    let answer = move |_: Peer, request: Request<hyper::body::Incoming>| {
        let settings = (*settings).clone();
        let shaken = shake_hands(request.into_parts().0);
        async move {
            let mut response = shaken.unwrap_or_else(|(message, status)| {
                let mut refusal = Response::new(Body::from(message));
                *refusal.status_mut() = status;
                refusal
            });
            let onward = move |rest| -> futures_util::future::BoxFuture<'static, ()> {
                Box::pin(echo(rest, largest, settings))
            };
            response.extensions_mut().insert(Upgrade::new(onward));
            response
        }
    };
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let settings = listen::Settings::default();
        listen::serve(Door::Tcp(listener), &settings, answer, Stop::default()).await;
    });
    Echo { address, serving }
}

impl Echo {
    async fn connect(&self) -> WebSocketStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let url = format!("ws://{}/", self.address);
        client_async(url, stream).await.expect("a handshake").0
    }
}

async fn code(client: &mut WebSocketStream<TcpStream>) -> CloseCode {
    loop {
        let message = client.next().await.expect("a close frame").expect("frames");
        if let Message::Close(frame) = message {
            return frame.expect("a reason").code;
        }
    }
}

#[tokio::test]
async fn messages_come_back_as_they_went() {
    let server = echoes(LARGEST, Settings::default()).await;
    let mut client = server.connect().await;
    let long = Message::text("ä".repeat(LARGEST / 2));

    for message in [Message::text(""), long, Message::binary(vec![0, 255])] {
        client.send(message.clone()).await.expect("sent");
        assert_eq!(client.next().await.expect("an echo").expect("frames"), message);
    }
}

#[tokio::test]
async fn a_socket_goes_on_after_it_let_go_of_a_large_message() {
    let server = echoes(LARGEST, Settings::default()).await;
    let mut client = server.connect().await;
    let large = Message::text("x".repeat(LARGEST));

    for message in [&large, &Message::text("a"), &large, &large] {
        for _ in 0..3 {
            client.feed(Message::Ping("?".into())).await.expect("sent");
            client.send(message.clone()).await.expect("sent");
            let answered = client.next().await.expect("an answer").expect("frames");
            assert_eq!(answered, Message::Pong("?".into()));
            assert_eq!(client.next().await.expect("an echo").expect("frames"), *message);
        }
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let outbox = Outbox::new(Settings::default().limits());
    let text = format!("x{}", "\u{1F600}".repeat(30_000));
    outbox.tell(text.clone().into());
    let (socket, _client) = tokio::io::duplex(64);
    let rest = Rest { socket: Box::new(socket), read: bytes::Bytes::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let _inside = runtime.as_ref().expect("a runtime").enter();
    let mut socket = Socket::open(rest, outbox, LARGEST, &Settings::default());

    let frames: Vec<_> = std::iter::from_fn(|| socket.next_frame()).collect();

    let pieces = frames.iter().map(|frame| frame.to_text().expect("whole characters"));
    assert_eq!(pieces.collect::<String>(), text);
    let lasts: Vec<bool> = frames.iter().map(|frame| frame.header().is_final).collect();
    assert_eq!(lasts, [false, false, false, true]);
}

#[tokio::test]
async fn what_is_too_large_closes_the_socket() {
    let server = echoes(LARGEST, Settings::default()).await;
    let mut client = server.connect().await;

    client.send(Message::text("x".repeat(LARGEST + 1))).await.expect("sent");

    assert_eq!(code(&mut client).await, CloseCode::Size);
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn whoever_only_pings_is_closed() {
    let server = echoes(LARGEST, Settings::default()).await;
    let mut client = server.connect().await;

    for _ in 0..501 {
        client.feed(Message::Ping("".into())).await.expect("sent");
    }
    client.flush().await.expect("sent");

    assert_eq!(code(&mut client).await, CloseCode::Policy);
}

#[tokio::test]
async fn whoever_shows_no_sign_of_life_is_pinged_and_closed() {
    let settings = Settings { ping_seconds: 1, silence_seconds: 2, ..Settings::default() };
    let server = echoes(LARGEST, settings).await;
    // A client that never reads answers no ping.
    let client = server.connect().await;
    let mut stream = client.into_inner();

    let mut said = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said);
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("in time").expect("read");

    let ping = [0x89, 0];
    let closing = [&[0x88, 17, 0x03, 0xf0], &b"no sign of life"[..]].concat();
    assert!(said.starts_with(&ping) && said.ends_with(&closing), "{}", said.escape_ascii());
}

/// Serves echoes until it is ended. `tests/run websocket` asks the suite against it.
#[tokio::test]
#[ignore = "a server for another suite, not a test"]
#[expect(clippy::print_stderr, reason = "somebody must learn the port")]
async fn autobahn() {
    let mut server = echoes(16 << 20, Settings::default()).await;
    eprintln!("echoes at ws://{}/", server.address);

    server.serving.join_next().await;
}
