//! Requests that must be refused: a table of what hostile and broken clients send.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    task::{JoinSet, yield_now},
};

use super::{
    Hall, Peer, Settings, Stop,
    trial::{GOOD, Rooms, Trial},
};

/// Refused in the head.
const HEADS: &[(&str, &str)] = &[
    ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("two equal hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("two hosts on 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("port without host", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
    ("user in host", "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"),
    ("space in host", "GET / HTTP/1.1\r\nHost: a@b c\r\n\r\n"),
    ("path in host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("query in host", "GET / HTTP/1.1\r\nHost: a?\r\n\r\n"),
    ("fragment in host", "GET / HTTP/1.1\r\nHost: a#\r\n\r\n"),
    ("backslash in host", "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
    ("host with a port of letters", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    ("host with an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    ("host with text after the bracket", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n"),
    ("name in brackets", "GET / HTTP/1.1\r\nHost: [name]\r\n\r\n"),
    ("absolute target of another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target of another port", "GET http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target with a user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target without host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target of another scheme", "GET file://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target without path", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("star of another method", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("fragment in target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "length and chunks",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunks and length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunks and a bad length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ),
    (
        "two equal lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ),
    ("list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\nhello"),
    ("spaced list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("length with a plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    ("length with a minus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello"),
    ("length in hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"),
    ("empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello"),
    (
        "length beyond 64 bits",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    ),
    (
        "chunks twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunks twice in a line",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity and chunks",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity and chunks in two lines",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunks not last",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "gzip and chunks",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "unknown coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "quoted coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "coding with a vertical tab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    ("empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    ("chunks on 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("space before a colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"),
    (
        "folded line",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    ("space before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("bare line ends", "GET / HTTP/1.1\nHost: a\n\n"),
    ("one bare line end", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    ("bare last line end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare line end first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("bare carriage return", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n"),
    ("doubled carriage return", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    ("nul in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
    ("nul in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
    ("header without colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    ("header without name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("version 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("version in small letters", "GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("no version", "GET /\r\n\r\n"),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("tabs for spaces", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no method", " / HTTP/1.1\r\nHost: a\r\n\r\n"),
];

/// Refused in the body, where the handler answers.
const CHUNKS: &[(&str, &str)] = &[
    ("no number", "x\r\nhello\r\n0\r\n\r\n"),
    ("empty size", "\r\nhello\r\n0\r\n\r\n"),
    ("plus", "+5\r\nhello\r\n0\r\n\r\n"),
    ("minus", "-5\r\nhello\r\n0\r\n\r\n"),
    ("prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
    ("space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("space after the size", "5 \r\nhello\r\n0\r\n\r\n"),
    ("size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bare line end after the size", "5\nhello\r\n0\r\n\r\n"),
    ("bare carriage return after the size", "5\rhello\r\n0\r\n\r\n"),
    ("bare line end in an extension", "5;x\nhello\r\n0\r\n\r\n"),
    ("bare carriage return in an extension", "5;x\ry\r\nhello\r\n0\r\n\r\n"),
    ("nul in an extension", "5;\0\r\nhello\r\n0\r\n\r\n"),
    ("longer than said", "4\r\nhello\r\n0\r\n\r\n"),
    ("shorter than said", "6\r\nhello\r\n0\r\n\r\n"),
    ("bare line end after the data", "5\r\nhello\n0\r\n\r\n"),
    ("bare last line end", "5\r\nhello\r\n0\r\n\n"),
    ("bare line end in a trailer", "5\r\nhello\r\n0\r\nX: y\nZ: a\r\n\r\n"),
    ("bare carriage return in a trailer", "5\r\nhello\r\n0\r\nX: y\rZ: a\r\n\r\n"),
    ("nul in a trailer", "5\r\nhello\r\n0\r\nX: \0\r\n\r\n"),
];

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

fn table() -> impl Iterator<Item = (&'static str, String)> {
    let heads = HEADS.iter().map(|&(name, request)| (name, request.to_owned()));
    heads.chain(CHUNKS.iter().map(|&(name, body)| (name, chunked(body))))
}

/// Whether the text, all there is, is one answer with the status.
fn is_refused(answer: &str, status: &str) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.matches("HTTP/1.").count() == 1
}

/// Holds every request of the table against one way of sending it.
async fn all_refused<F: AsyncFn(&Trial, &str) -> String>(send: F) {
    let trial = Trial::open(Settings::default()).await;
    let mut passed = Vec::new();
    for (name, request) in table() {
        let answer = send(&trial, &request).await;
        if !is_refused(&answer, "400") {
            passed.push(format!("{name}: {answer}"));
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
}

#[tokio::test]
async fn a_malformed_request_is_refused() {
    all_refused(async |trial, request| trial.send(request).await).await;
}

#[tokio::test]
async fn a_malformed_request_is_refused_behind_a_good_one() {
    all_refused(async |trial, request| {
        let mut client = trial.connect().await;
        client.write(GOOD).await;
        client.read_until("\r\n\r\nhello").await;
        client.write(request).await;
        client.rest().await
    })
    .await;
}

#[tokio::test]
async fn a_malformed_request_is_refused_together_with_a_good_one() {
    all_refused(async |trial, request| {
        let answers = trial.send([GOOD, request, GOOD].concat()).await;
        let (good, bad) = answers.split_once("\r\n\r\nhello").expect("the good one is answered");
        assert!(good.starts_with("HTTP/1.1 200 "));
        bad.to_owned()
    })
    .await;
}

// With the clock paused, whoever would wait for a deadline meets it at once.
#[tokio::test(start_paused = true)]
async fn a_malformed_request_is_refused_wherever_it_is_split() {
    let rooms = Rooms::default();
    let handler = move |_, request| rooms.clone().answer(request);
    let hall = Hall::new(&Settings::default(), handler, Stop::default());
    let peer = Peer { address: None, uid: None };
    let mut passed = Vec::new();

    for (name, request) in table() {
        for (first, second) in (1..request.len()).map(|at| request.split_at(at)) {
            let (mut client, stream) = duplex(1_000);
            let place = hall.places.take(None).expect("a place");
            let mut connection = JoinSet::new();
            connection.spawn(Arc::clone(&hall).converse(stream, peer, place));
            for part in [first, second] {
                // The door may have closed already.
                let _ = client.write_all(part.as_bytes()).await;
                // The door reads this part before the next one comes.
                yield_now().await;
            }
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("text");
            if !is_refused(&answer, "400") {
                passed.push(format!("{name}, {first:?}: {answer}"));
            }
        }
    }

    assert!(passed.is_empty(), "{passed:#?}");
}

#[tokio::test]
async fn a_chunk_extension_has_an_end() {
    let trial = Trial::open(Settings::default()).await;

    let request = chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(70 * 1024)));

    assert!(is_refused(&trial.send(request).await, "400"));
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_refused() {
    let trial = Trial::open(Settings::default()).await;

    for headers in ["X: y\r\n".repeat(100), format!("X: {}\r\n", "y".repeat(70 * 1024))] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        assert!(is_refused(&trial.send(request).await, "431"));
    }
}

#[tokio::test]
async fn a_long_target_is_refused() {
    let trial = Trial::open(Settings::default()).await;

    for bytes in [8 * 1024, 8 * 1024 + 40, 9 * 1024, 31 * 1024, 70 * 1024, 1024 * 1024] {
        let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes));
        assert!(is_refused(&trial.send(request).await, "414"), "{bytes}");
    }
}

#[tokio::test]
async fn tunnels_and_echoes_are_refused() {
    let trial = Trial::open(Settings::default()).await;

    for request in
        ["CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let answer = trial.send(request).await;
        assert!(is_refused(&answer, "405"), "{answer}");
        assert!(answer.contains("allow: GET, "), "{answer}");
    }
}
