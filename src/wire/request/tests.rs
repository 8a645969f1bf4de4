use super::*;
use crate::wire::Revision;

fn parse(text: &str) -> Result<Message, Malformed> {
    Message::parse(&Bytes::copy_from_slice(text.as_bytes()))
}

fn request(text: &str) -> Request {
    match parse(text) {
        Ok(Message::Request(request)) => request,
        other => panic!("no request: {other:?}"),
    }
}

fn onward(text: &str, subject: Option<&str>, era: Era) -> String {
    asking(text, subject, era, Asks::default())
}

fn asking(text: &str, subject: Option<&str>, era: Era, asks: Asks<'_>) -> String {
    let bytes = request(text).onward(Onward { id: 7, subject, era, asks });
    String::from_utf8(bytes.into()).expect("UTF-8")
}

#[test]
fn only_the_id_changes_on_the_way_to_an_older_server() {
    let odd = r#" { "x":[1e400,{"k":12345678901234567890123}], "id" : "a" ,"jsonrpc":"2.0","method":"tools/call",
        "params":{"name":"echo", "arguments" : {"b":1.0,"a":9223372036854775808}, "unknown":null} } "#;

    let sent = onward(odd, None, Era::Legacy);

    assert_eq!(sent, odd.replace(r#""a" ,"jsonrpc""#, r#"7 ,"jsonrpc""#));
}

#[test]
fn absent_arguments_stay_absent() {
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;

    assert!(!onward(bare, None, Era::Legacy).contains("arguments"));
    assert!(!onward(bare, None, Era::Modern).contains("arguments"));
}

#[test]
fn a_name_is_replaced_where_it_stands() {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"name":"x"},"name":"time__now"}}"#;
    let complete = r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p__a"},"argument":{"name":"n","value":""}}}"#;

    let call = onward(call, Some("now"), Era::Legacy);
    let complete = onward(complete, Some("a"), Era::Legacy);

    assert!(call.ends_with(r#""params":{"arguments":{"name":"x"},"name":"now"}}"#), "{call}");
    assert!(complete.contains(r#""ref":{"type":"ref/prompt","name":"a"}"#), "{complete}");
    assert!(complete.contains(r#""argument":{"name":"n","value":""}"#));
}

#[test]
fn a_stateless_server_gets_our_meta_wherever_there_is_room() {
    let version = format!(r#""io.modelcontextprotocol/protocolVersion":"{}""#, Revision::NEWEST);
    for params in
        ["", r#","params":{}"#, r#","params":{"cursor":"x"}"#, r#","params":{"_meta":{}}"#]
    {
        let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list"{params}}}"#);

        let sent = onward(&list, None, Era::Modern);

        let read = request(&sent);
        assert_eq!(read.meta().version.as_deref(), Some("2026-07-28"), "{sent}");
        assert!(read.meta().has_capabilities && sent.contains(&version));
        assert_eq!(read.cursor(), params.contains("cursor").then_some("x"));
    }
}

#[test]
fn other_peoples_meta_goes_on_and_ours_stays() {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"traceparent":"00-1","io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":1,"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}},"tasks":{}},"com.example/x":{"k":[1.0]}}}}"#;

    let legacy = onward(call, None, Era::Legacy);
    let capabilities = request(call).meta().capabilities.clone();
    let asks = Asks { capabilities: capabilities.as_deref(), ..Asks::default() };
    let modern = asking(call, None, Era::Modern, asks);

    let kept = r#""traceparent":"00-1","com.example/x":{"k":[1.0]}}"#;
    assert!(legacy.contains(&format!(r#""_meta":{{{kept}"#)), "{legacy}");
    assert!(modern.contains(kept), "{modern}");
    assert!(modern.contains(r#"clientCapabilities":{"elicitation":{"form":{}}}"#), "{modern}");
    assert!(modern.contains(r#""name":"tollhouse""#));
}

#[test]
fn ids_of_any_size_are_kept_as_written() {
    for id in ["0", "-1", "1.0", "123456789012345678901234567890", r#""""#, r#""\u0041""#] {
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);

        assert_eq!(request(&ping).id().as_bytes(), id.as_bytes());
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let twice = [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"param\u{17F}\":{}}",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"params":{}}"#,
    ];
    for text in twice {
        assert!(matches!(parse(text), Err(Malformed::NotJson(_))), "{text}");
    }
}

#[test]
fn says_what_is_wrong_with_a_message() {
    let code = |text: &str| parse(text).expect_err(text).rpc_code();

    assert_eq!(code(""), -32700);
    assert_eq!(code("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\u{0}\"}"), -32700);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":NaN,"method":"a"}"#), -32700);
    assert_eq!(code("[]"), -32600);
    assert_eq!(code(r#"{"id":1,"method":"ping"}"#), -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#), -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#), -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#), -32602);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#), -32602);
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"a","x":{}1{}}}"#,
        "[".repeat(99),
        "]".repeat(99)
    );
    assert_eq!(code(&deep), -32600);
}

#[test]
fn tells_questions_from_notices_and_answers() {
    let notice = parse(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let answer = parse(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);

    assert!(matches!(notice, Ok(Message::Notification(_))));
    assert!(matches!(answer, Ok(Message::Answer(_))));
}

#[test]
fn reads_single_params_by_name() {
    let request = Request::make(&Method::ToolsCall, r#"{"name":"a","arguments":{"n":3}}"#);

    assert_eq!(request.param::<serde_json::Value>("arguments"), Some(serde_json::json!({"n": 3})));
    assert_eq!(request.param::<String>("absent"), None);
}

#[test]
fn progress_and_logs_are_asked_for_in_the_gateways_own_name() {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressToken":"mine","x":1}}}"#;
    let asks = Asks { progress: true, level: Some(Level::Warning), capabilities: None };

    let legacy = asking(call, None, Era::Legacy, asks);
    let modern = asking(call, None, Era::Modern, asks);

    assert!(legacy.contains(r#""_meta":{"progressToken":7,"x":1}"#), "{legacy}");
    assert!(modern.contains(r#""progressToken":7,"x":1}"#), "{modern}");
    assert!(modern.contains(r#""io.modelcontextprotocol/logLevel":"warning""#), "{modern}");
    assert!(!legacy.contains("mine") && !modern.contains("mine"));
}

#[test]
fn members_are_added_wherever_there_is_room() {
    for params in ["", r#","params":{}"#, r#","params":{"x":1}"#] {
        let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list"{params}}}"#);

        let more = request(&list).with_params(&[("requestState", "\"s\""), ("y", "[1.0]")]);

        assert_eq!(more.state(), Some("s"));
        assert_eq!(more.param::<Vec<f64>>("y"), Some(vec![1.0]));
    }
}
