//! Whatever strangers write, the gateway changes what is its own and nothing else.

use bytes::Bytes;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::value::RawValue;

use super::{Answer, Asks, Completed, Era, Message, Onward, RawId, Request, Revision, meta};

/// The members of an object as they are written: names and values in JSON.
type Members = Vec<(String, String)>;

fn blank() -> impl Strategy<Value = &'static str> {
    select(&["", "", " ", "\n\t", " \r\n "][..])
}

/// A text as JSON, with escapes where none are needed and brackets that mean nothing.
fn text() -> impl Strategy<Value = String> {
    let pieces = [
        "a",
        "Z",
        "ä",
        "世",
        "😀",
        "\\\"",
        "\\\\",
        "\\/",
        "\\n",
        "\\u0041",
        "\\ud83d\\ude00",
        "\\u0000",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\u{2028}",
    ];
    vec(select(pieces.to_vec()), 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A member's name that is nobody's but the writer's.
fn name() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("\"x{}", &text[1..]))
}

fn value() -> impl Strategy<Value = String> {
    let number = select(
        &["0", "-0.0", "1.0", "1e400", "-1E-7", "9223372036854775808", "12345678901234567890123"][..],
    );
    let leaf = prop_oneof![
        text(),
        number.prop_map(str::to_owned),
        select(&["true", "false", "null", "{}", "[ ]", "{ }"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (vec(inner.clone(), 1..4), blank()).prop_map(|(items, blank)| format!(
                "[{}]",
                items.join(&format!("{blank},{blank}"))
            )),
            (vec((name(), inner), 1..4), blank())
                .prop_map(|(members, blank)| object(&members, blank)),
        ]
    })
}

fn strangers() -> impl Strategy<Value = Members> {
    vec((name(), value()), 0..3)
}

/// An object with the same blanks in every gap.
fn object(members: &[(String, String)], blank: &str) -> String {
    let written: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{blank}{name}{blank}:{blank}{value}{blank}"))
        .collect();
    if written.is_empty() { format!("{{{blank}}}") } else { format!("{{{}}}", written.join(",")) }
}

/// Stands where a part is filled in when a message is written.
const ID: &str = "@id";
const SUBJECT: &str = "@subject";
const META: &str = "@meta";
const INNER: &str = "@inner";

fn member(name: &str, value: &str) -> (String, String) {
    (format!("\"{name}\""), value.to_owned())
}

/// The members with one value for another.
fn fill(members: &Members, place: &str, value: &str) -> Members {
    let value = |old: &String| if old == place { value.to_owned() } else { old.clone() };
    members.iter().map(|(name, old)| (name.clone(), value(old))).collect()
}

/// The members with text behind the last one's value.
fn behind_last(members: &Members, text: &str) -> Members {
    let mut members = members.clone();
    members.last_mut().expect("a member").1.push_str(text);
    members
}

/// An object in an object, as somebody wrote it.
#[derive(Debug, Clone)]
struct Written {
    outer: Members,
    inner: Members,
    blank: &'static str,
}

impl Written {
    /// The text under an id.
    fn text(&self, id: &str) -> String {
        let inner = object(&self.inner, self.blank);
        object(&fill(&fill(&self.outer, INNER, &inner), ID, id), self.blank)
    }

    fn with_inner(&self, inner: Members) -> Self {
        Self { inner, ..self.clone() }
    }

    fn has_inner(&self) -> bool {
        self.outer.iter().any(|(_, value)| value == INNER)
    }
}

/// The members in any order.
fn written(parts: impl Strategy<Value = (Members, Members)>) -> impl Strategy<Value = Written> {
    (parts, blank()).prop_flat_map(|((outer, inner), blank)| {
        (Just(outer).prop_shuffle(), Just(inner).prop_shuffle(), Just(blank))
            .prop_map(|(outer, inner, blank)| Written { outer, inner, blank })
    })
}

/// A request with its parts to be filled in, and the members of its `_meta`.
fn request() -> impl Strategy<Value = (Written, Members)> {
    let asked = select(
        &[
            ("tools/call", Some("name")),
            ("prompts/get", Some("name")),
            ("resources/read", Some("uri")),
            ("tools/list", None),
        ][..],
    );
    let parts = (asked, strangers(), strangers(), option::of(value()), any::<[bool; 2]>());
    let parts = parts.prop_map(|((method, subject), mut outer, mut inner, arguments, has)| {
        inner.extend(subject.map(|name| member(name, SUBJECT)));
        inner.extend(arguments.map(|value| member("arguments", &value)));
        inner.extend(has[0].then(|| member("_meta", META)));
        outer.push(member("jsonrpc", "\"2.0\""));
        outer.push(member("id", ID));
        outer.push(member("method", &format!("\"{method}\"")));
        outer.extend((has[1] || !inner.is_empty()).then(|| member("params", INNER)));
        (outer, inner)
    });
    let ours = vec![
        member("progressToken", "7"),
        member(meta::LOG_LEVEL, "\"debug\""),
        member(meta::CLIENT_INFO, r#"{"name":"n"}"#),
        member(meta::PROTOCOL_VERSION, "\"2026-07-28\""),
    ];
    let of_meta = (strangers(), subsequence(ours, 0..=4));
    let of_meta = of_meta.prop_map(|(strangers, ours)| [strangers, ours].concat());
    (written(parts), of_meta.prop_shuffle())
}

/// What becomes of a `_meta` on the way to a server.
fn meta_onward(written: &Members, era: Era) -> String {
    let ours = match era {
        Era::Legacy => String::new(),
        Era::Modern => format!(
            r#""{}":"{}","{}":{},"{}":{{}}"#,
            meta::PROTOCOL_VERSION,
            Revision::NEWEST,
            meta::CLIENT_INFO,
            meta::IMPLEMENTATION,
            meta::CLIENT_CAPABILITIES,
        ),
    };
    let kept = written.iter().filter(|(name, _)| name.starts_with("\"x")).map(|(name, value)| {
        let name: String = serde_json::from_str(name).expect("a text");
        format!("{}:{value}", serde_json::to_string(&name).expect("a text"))
    });
    let members: Vec<String> =
        std::iter::once(ours).filter(|it| !it.is_empty()).chain(kept).collect();
    format!("{{{}}}", members.join(","))
}

/// A request as it should leave for a server.
fn expected(written: &Written, of_meta: &Members, subject: &str, era: Era) -> String {
    let is_ours = |(name, _): &(String, String)| !name.starts_with("\"x");
    let inner = fill(&written.inner, SUBJECT, subject);
    if written.inner.iter().any(|(_, value)| value == META) {
        let stays = era == Era::Legacy && !of_meta.iter().any(is_ours);
        let new = if stays { object(of_meta, written.blank) } else { meta_onward(of_meta, era) };
        return written.with_inner(fill(&inner, META, &new)).text("7");
    }
    if era == Era::Legacy {
        return written.with_inner(inner).text("7");
    }
    let onward = meta_onward(&Members::new(), era);
    if !inner.is_empty() {
        let inner = behind_last(&inner, &format!(r#","_meta":{onward}"#));
        return written.with_inner(inner).text("7");
    }
    let params = format!(r#"{{"_meta":{onward}}}"#);
    let outer = if written.has_inner() {
        fill(&written.outer, INNER, &params)
    } else {
        behind_last(&written.outer, &format!(r#","params":{params}"#))
    };
    // An id at the very end has the new params behind it.
    let outer = outer.into_iter().map(|(name, value)| (name, value.replace(ID, "7"))).collect();
    Written { outer, ..written.clone() }.text("7")
}

/// A result with what it lacks for a client of the stateless revision.
fn answer() -> impl Strategy<Value = Written> {
    let known = vec![
        member("resultType", "\"complete\""),
        member("ttlMs", "5"),
        member("cacheScope", "\"public\""),
        member("isError", "true"),
        member("structuredContent", "[1.0]"),
    ];
    let parts = (strangers(), strangers(), subsequence(known, 0..=5));
    written(parts.prop_map(|(mut outer, inner, known)| {
        outer.push(member("jsonrpc", "\"2.0\""));
        outer.push(member("id", ID));
        outer.push(member("result", INNER));
        (outer, [inner, known].concat())
    }))
}

fn completed(written: &Written, completed: Completed) -> String {
    let wanted: &[(&str, &str)] = match completed {
        Completed::Plain => &[("resultType", "\"complete\"")],
        Completed::Cacheable => {
            &[("resultType", "\"complete\""), ("ttlMs", "0"), ("cacheScope", "\"private\"")]
        }
    };
    let has = |name: &str| written.inner.iter().any(|(it, _)| *it == format!("\"{name}\""));
    let lacking: Vec<String> = wanted
        .iter()
        .filter(|(name, _)| !has(name))
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    let lacking = lacking.join(",");
    if written.inner.is_empty() {
        let outer = fill(&written.outer, INNER, &format!("{{{lacking}}}"));
        return Written { outer, ..written.clone() }.text("\"c\"");
    }
    let comma = if lacking.is_empty() { "" } else { "," };
    written.with_inner(behind_last(&written.inner, &format!("{comma}{lacking}"))).text("\"c\"")
}

fn read(text: &str) -> Request {
    match Message::parse(&Bytes::copy_from_slice(text.as_bytes())) {
        Ok(Message::Request(request)) => request,
        other => panic!("no request: {other:?} in {text}"),
    }
}

fn client_id() -> RawId {
    read(r#"{"jsonrpc":"2.0","id":"c","method":"ping"}"#).id()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_goes_on_as_it_was_written(
        (written, of_meta) in request(),
        id in text(),
        named in text(),
        is_renamed in any::<bool>(),
        is_modern in any::<bool>(),
    ) {
        let era = if is_modern { Era::Modern } else { Era::Legacy };
        let inner = fill(&written.inner, SUBJECT, &named);
        let inner = fill(&inner, META, &object(&of_meta, written.blank));
        let came = written.with_inner(inner).text(&id);
        let request = read(&came);

        let subject = is_renamed.then_some("new \"name\"");
        let sent = request.onward(Onward { id: 7, subject, era, asks: Asks::default() });

        let named = if is_renamed { r#""new \"name\"""# } else { &named };
        let sent = String::from_utf8(sent.into()).expect("UTF-8");
        prop_assert!(is_json(&sent), "{sent}");
        prop_assert_eq!(sent, expected(&written, &of_meta, named, era), "from {}", came);
        prop_assert_eq!(request.id().to_string(), id);
    }

    #[test]
    fn an_answer_goes_back_as_it_was_written(written in answer(), is_cacheable in any::<bool>()) {
        let kind = if is_cacheable { Completed::Cacheable } else { Completed::Plain };
        let came = Bytes::from(written.text("7"));
        let answer = Answer::parse(&came).expect("an answer");

        let legacy = String::from_utf8(answer.for_legacy(&client_id()).into()).expect("UTF-8");
        let modern = answer.for_modern(&client_id(), kind);
        let modern = String::from_utf8(modern.into()).expect("UTF-8");

        prop_assert_eq!(answer.id(), Some(7));
        prop_assert!(is_json(&legacy) && is_json(&modern), "{modern}");
        prop_assert_eq!(legacy, written.text("\"c\""));
        prop_assert_eq!(modern, completed(&written, kind));
    }
}
