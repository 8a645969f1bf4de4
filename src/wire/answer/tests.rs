use super::*;
use crate::wire::{Message, Request};

fn answer(text: &str) -> Answer {
    Answer::parse(&Bytes::copy_from_slice(text.as_bytes())).expect("an answer")
}

fn id(text: &str) -> RawId {
    let ping = format!(r#"{{"jsonrpc":"2.0","id":{text},"method":"ping"}}"#);
    match Message::parse(&ping.into()) {
        Ok(Message::Request(request)) => Request::id(&request),
        other => panic!("no request: {other:?}"),
    }
}

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.into()).expect("UTF-8")
}

#[test]
fn only_the_id_changes_on_the_way_to_an_older_client() {
    let odd = r#"{"result": {"z":1.0, "content":[{"type":"new","n":9223372036854775808}],"a":{"b":null}} ,"id" : 7, "jsonrpc":"2.0","extra":[ ]}"#;

    let sent = text(answer(odd).for_legacy(&id(r#""x""#)));

    assert_eq!(sent, odd.replace(r#""id" : 7"#, r#""id" : "x""#));
}

#[test]
fn a_newer_client_gets_what_an_older_server_could_not_know() {
    let plain = answer(r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#);
    let empty = answer(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);

    let called = text(plain.for_modern(&id("1"), Completed::Plain));
    let read = text(plain.for_modern(&id("1"), Completed::Cacheable));
    let nothing = text(empty.for_modern(&id("1"), Completed::Plain));

    assert_eq!(
        called,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"resultType":"complete"}}"#
    );
    assert!(read.contains(r#""resultType":"complete","ttlMs":0,"cacheScope":"private"}"#));
    assert_eq!(nothing, r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete"}}"#);
}

#[test]
fn what_a_newer_server_said_stays_as_it_is() {
    let said = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","contents":[],"ttlMs":5,"cacheScope":"public"}}"#;

    let sent = text(answer(said).for_modern(&id("7"), Completed::Cacheable));

    assert_eq!(sent, said);
}

#[test]
fn a_missing_resource_has_a_new_code_for_newer_clients() {
    let missing = answer(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32002,"message":"no"}}"#);

    assert!(text(missing.for_modern(&id("1"), Completed::Plain)).contains("-32602"));
    assert!(text(missing.for_legacy(&id("1"))).contains("-32002"));
    assert_eq!(missing.error_message().as_deref(), Some("no"));
}

#[test]
fn knows_what_kind_of_answer_it_is() {
    let kind = |result: &str| {
        answer(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)).outcome().clone()
    };
    let of = |r#type, is_error| Outcome::Result { r#type, is_error };

    assert_eq!(kind("{}"), of(ResultType::Complete, false));
    assert_eq!(kind(r#"{"isError":true}"#), of(ResultType::Complete, true));
    assert_eq!(kind(r#"{"resultType":"input_required"}"#), of(ResultType::InputRequired, false));
    assert_eq!(kind(r#"{"resultType":"task"}"#), of(ResultType::Task, false));
    assert_eq!(kind(r#"{"resultType":"x"}"#), of(ResultType::Unknown, false));
}

#[test]
fn refuses_what_is_no_answer() {
    for text in [
        "",
        "null",
        "{}",
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
    ] {
        assert!(Answer::parse(&Bytes::copy_from_slice(text.as_bytes())).is_err(), "{text}");
    }
}

#[test]
fn every_byte_of_an_answer_is_text() {
    for odd in [
        &b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\xff\"}}"[..],
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"extra\":\"\xff\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"message\":\"\xff\"}}",
    ] {
        assert!(Answer::parse(&Bytes::copy_from_slice(odd)).is_err());
    }
}

#[test]
fn reads_ids_that_were_written_as_floats() {
    assert_eq!(answer(r#"{"jsonrpc":"2.0","id":7.0,"result":{}}"#).id(), Some(7));
    assert_eq!(answer(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#).id(), None);
}

#[test]
fn resources_come_back_under_the_uri_they_go_by() {
    let rename = |uri: &str| (uri == "a://x").then(|| "a://x#m".to_owned());
    let renamed = |result: &str| {
        let whole = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let sent = text(answer(&whole).with_uris_renamed(rename).for_legacy(&id("1")));
        sent[r#"{"jsonrpc":"2.0","id":1,"result":"#.len()..sent.len() - 1].to_owned()
    };

    for (came, wanted) in [
        (
            r#"{"contents":[{"uri":"a://x","text":"a://x"},{"text":"","uri":"a://y"}]}"#,
            r#"{"contents":[{"uri":"a://x#m","text":"a://x"},{"text":"","uri":"a://y"}]}"#,
        ),
        (
            r#"{"content":[{"type":"text","uri":"a://x"},{"uri":"a:\/\/x","type":"resource_link"},{"type":"resource","resource":{"uri":"a://x"}}]}"#,
            r#"{"content":[{"type":"text","uri":"a://x"},{"uri":"a://x#m","type":"resource_link"},{"type":"resource","resource":{"uri":"a://x#m"}}]}"#,
        ),
        (
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a://x"}}}]}"#,
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a://x#m"}}}]}"#,
        ),
        (
            r#"{"content":7,"messages":[1],"contents":{}}"#,
            r#"{"content":7,"messages":[1],"contents":{}}"#,
        ),
    ] {
        assert_eq!(renamed(came), wanted);
    }
}

#[test]
fn an_error_without_an_id_is_an_answer_all_the_same() {
    let refused = answer(r#" { "jsonrpc":"2.0","error":{"code":-32600,"message":"no {"}}"#);

    assert_eq!(refused.id(), None);
    for sent in [refused.for_legacy(&id("1")), refused.for_modern(&id("1"), Completed::Plain)] {
        let sent = text(sent);
        assert_eq!(sent, r#" {"id":1, "jsonrpc":"2.0","error":{"code":-32600,"message":"no {"}}"#);
    }
    assert_eq!(
        Answer::parse(&Bytes::from_static(br#"{"jsonrpc":"2.0","result":{}}"#)).err(),
        Some(Unreadable::NotAnAnswer)
    );
}

#[test]
fn a_question_in_place_of_a_result_is_not_said_to_keep() {
    let said =
        r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required","requestState":"x"}}"#;

    assert_eq!(text(answer(said).for_modern(&id("7"), Completed::Cacheable)), said);
}
