//! How long the parts take that every call passes: `cargo bench`.

use std::hint::black_box;

use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use tollhouse::{
    domain::{KeyText, Slug, qualify},
    wire::{Answer, Asks, Era, Message, Onward, Request, SseDecoder, encode_event},
};

/// Bytes of text in a message: one page, and a small file.
const SIZES: [usize; 2] = [1 << 10, 64 << 10];

fn main() {
    divan::main();
}

/// A call of a tool whose one argument has so many bytes.
fn call(size: usize) -> Bytes {
    let text = "x".repeat(size);
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"time__echo","arguments":{{"text":"{text}"}},"_meta":{meta}}}}}"#
    ))
}

/// The answer to such a call, with so many bytes of text.
fn answer(size: usize) -> Bytes {
    let text = "x".repeat(size);
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}],"isError":false}}}}"#
    ))
}

fn request(size: usize) -> Request {
    match Message::parse(&call(size)) {
        Ok(Message::Request(request)) => request,
        other => panic!("a request was parsed as {other:?}"),
    }
}

#[divan::bench(args = SIZES)]
fn parse_a_call(bencher: Bencher, size: usize) {
    let bytes = call(size);
    bencher.counter(BytesCount::new(bytes.len())).bench(|| Message::parse(black_box(&bytes)));
}

#[divan::bench(args = SIZES)]
fn send_a_call_onward(bencher: Bencher, size: usize) {
    let request = request(size);
    let onward =
        || Onward { id: 1, subject: Some("echo"), era: Era::Legacy, asks: Asks::default() };
    bencher.counter(BytesCount::new(size)).bench(|| black_box(&request).onward(onward()));
}

#[divan::bench(args = SIZES)]
fn pass_an_answer_to_an_older_client(bencher: Bencher, size: usize) {
    let bytes = answer(size);
    let id = request(1).id();
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let answer = Answer::parse(black_box(&bytes)).expect("an answer");
        answer.for_legacy(black_box(&id))
    });
}

#[divan::bench(args = SIZES)]
fn read_an_event(bencher: Bencher, size: usize) {
    let event = encode_event(&answer(size));
    let limit = event.len();
    bencher.counter(BytesCount::new(limit)).bench(|| {
        let mut decoder = SseDecoder::new(limit);
        decoder.push(black_box(&event))
    });
}

#[divan::bench]
fn read_a_key(bencher: Bencher) {
    let (_, text) = KeyText::generate();
    bencher.bench(|| KeyText::parse(black_box(text.expose())).is_ok());
}

#[divan::bench]
fn qualify_a_name(bencher: Bencher) {
    let server: Slug = "time".parse().expect("a name");
    bencher.bench(|| qualify(black_box(&server), black_box("get_current_time")));
}

#[divan::bench]
fn qualify_a_name_that_is_too_long(bencher: Bencher) {
    let server: Slug = "time".parse().expect("a name");
    let item = "get_current_time_".repeat(5);
    bencher.bench(|| qualify(black_box(&server), black_box(&item)));
}
