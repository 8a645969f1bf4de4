//! Answers of servers: parsed in one pass, and carried to clients with their own id.

#[cfg(test)]
mod tests;
mod uris;

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::wire::{
    RawId, Span, depth,
    member::{Name, take},
    splice,
};

/// Bytes that are no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// Brackets within brackets within brackets.
    #[error("it nests deeper than {} levels", crate::wire::DEPTH_LIMIT)]
    TooDeep,
    /// JSON, but neither a result nor an error.
    #[error("it is no JSON-RPC answer")]
    NotAnAnswer,
}

/// What kind of result a server gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultType {
    /// `complete`, or not said, as in older revisions.
    Complete,
    /// `input_required`: the server asks something first.
    InputRequired,
    /// `task`: the server takes its time.
    Task,
    /// One this gateway does not know.
    Unknown,
}

/// How a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Result {
        /// Of what kind.
        r#type: ResultType,
        /// Whether a tool says that it failed.
        is_error: bool,
    },
    /// With a JSON-RPC error.
    Error {
        /// Its code.
        code: i64,
    },
}

/// A server's answer: its bytes, and where its parts lie in them.
#[derive(Debug, Clone)]
pub struct Answer {
    bytes: Bytes,
    id: IdPlace,
    outcome: Outcome,
    parts: Parts,
}

/// Where an answer's id stands, or belongs.
#[derive(Debug, Clone, Copy)]
enum IdPlace {
    /// It stands there.
    At(Span),
    /// There is none, which errors may do without; it goes before the first member.
    Before(Span),
}

/// Where members of the result lie, as far as a client's revision may need them changed.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    /// The code of an error.
    code: Option<Span>,
    /// The last member of the result.
    last: Option<Span>,
    has_type: bool,
    has_ttl: bool,
    has_scope: bool,
    structured: Option<Span>,
}

/// What a result must carry for a client of the stateless revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// `resultType`.
    Plain,
    /// `resultType`, `ttlMs` and `cacheScope`.
    Cacheable,
}

impl Answer {
    /// Parses an answer in one pass over its bytes.
    pub fn parse(bytes: &Bytes) -> Result<Self, Unreadable> {
        // Checked as a whole, so that also what nobody here reads is text.
        let text =
            std::str::from_utf8(bytes).map_err(|error| Unreadable::NotJson(error.to_string()))?;
        let envelope: Envelope<'_> =
            serde_json::from_str(text).map_err(|error| Unreadable::NotJson(error.to_string()))?;
        if !depth::is_shallow(bytes) {
            return Err(Unreadable::TooDeep);
        }
        let id = match envelope.id {
            Some(id) => IdPlace::At(Span::of(bytes, id)),
            None if envelope.error.is_some() => IdPlace::Before(inside(bytes)),
            None => return Err(Unreadable::NotAnAnswer),
        };
        let at = |raw: Option<&RawValue>| raw.map(|raw| Span::of(bytes, raw));
        let (outcome, parts) = match (envelope.result, envelope.error) {
            (Some(result), None) => {
                let parts = Parts {
                    code: None,
                    last: at(result.last),
                    has_type: result.r#type.is_some(),
                    has_ttl: result.has_ttl,
                    has_scope: result.has_scope,
                    structured: at(result.structured),
                };
                let r#type = match result.r#type {
                    None | Some("\"complete\"") => ResultType::Complete,
                    Some("\"input_required\"") => ResultType::InputRequired,
                    Some("\"task\"") => ResultType::Task,
                    Some(_) => ResultType::Unknown,
                };
                (Outcome::Result { r#type, is_error: result.is_error }, parts)
            }
            (None, Some(error)) => {
                let code = error.code.ok_or(Unreadable::NotAnAnswer)?;
                let number = code.get().parse().map_err(|_| Unreadable::NotAnAnswer)?;
                let parts = Parts { code: at(Some(code)), ..Parts::default() };
                (Outcome::Error { code: number }, parts)
            }
            _ => return Err(Unreadable::NotAnAnswer),
        };
        Ok(Self { bytes: bytes.clone(), id, outcome, parts })
    }

    /// An answer that somebody here gives in a server's place: a result, as JSON of an object.
    #[must_use]
    pub fn of_result(result: &str) -> Self {
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#);
        Self::parse(&text.into()).expect("results of our own are well formed")
    }

    /// The id as the server wrote it, if it is one the gateway could have given.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        let IdPlace::At(id) = self.id else { return None };
        let text = id.text(&self.bytes);
        // Some servers write whole numbers as floats.
        text.strip_suffix(".0").unwrap_or(text).parse().ok()
    }

    /// How the server answered.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Its bytes as they came.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// `structuredContent`, as JSON, where the result has one.
    #[must_use]
    pub fn structured_content(&self) -> Option<&str> {
        self.parts.structured.map(|at| at.text(&self.bytes))
    }

    /// The result, as JSON. For what the gateway reads itself, off the hot path.
    #[must_use]
    pub fn result(&self) -> Option<&RawValue> {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            result: Option<&'a RawValue>,
        }
        serde_json::from_slice::<Whole<'_>>(&self.bytes).ok()?.result
    }

    /// The error, as JSON, where it is one.
    #[must_use]
    pub fn error(&self) -> Option<&RawValue> {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            error: Option<&'a RawValue>,
        }
        serde_json::from_slice::<Whole<'_>>(&self.bytes).ok()?.error
    }

    /// The error's message, where the server answered with one.
    #[must_use]
    pub fn error_message(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Whole {
            error: Option<Told>,
        }
        #[derive(Deserialize)]
        struct Told {
            message: String,
        }
        Some(serde_json::from_slice::<Whole>(&self.bytes).ok()?.error?.message)
    }

    /// The answer with the URIs of resources under other names, for those that go by another URI
    /// in a merged list.
    #[must_use]
    pub fn with_uris_renamed(self, rename: impl Fn(&str) -> Option<String>) -> Self {
        let renamed = |raw: &&RawValue| {
            let uri: Cow<'_, str> = serde_json::from_str(raw.get()).ok()?;
            let new = serde_json::to_string(&rename(&uri)?).expect("text is always JSON");
            Some((Span::of(&self.bytes, raw), new))
        };
        let places = self.result().map(uris::find).unwrap_or_default();
        let mut renamed: Vec<(Span, String)> = places.iter().filter_map(renamed).collect();
        if renamed.is_empty() {
            return self;
        }
        renamed.sort_unstable_by_key(|(at, _)| at.start);
        let edits: Vec<(Span, &[u8])> =
            renamed.iter().map(|(at, new)| (*at, new.as_bytes())).collect();
        Self::parse(&splice(&self.bytes, &edits)).unwrap_or(self)
    }

    /// The answer as it is after a while: what it says of how long it may be kept is less by that.
    #[must_use]
    pub fn aged(&self, age: std::time::Duration) -> Self {
        let placed = || {
            let raw = self.result()?;
            let whole = Span::of(&self.bytes, raw);
            let result = self.bytes.slice(whole.start..whole.end);
            let members = crate::wire::result::members(&result)?;
            let (_, ttl) = members.into_iter().find(|(name, _)| name == "ttlMs")?;
            let said: f64 = ttl.text(&result).parse().ok()?;
            let at = Span { start: whole.start + ttl.start, end: whole.start + ttl.end };
            Some((at, said))
        };
        let Some((at, said)) = placed() else { return self.clone() };
        let left = (said - age.as_secs_f64() * 1_000.0).max(0.0).floor();
        let text = format!("{left:.0}");
        Self::parse(&splice(&self.bytes, &[(at, text.as_bytes())])).unwrap_or_else(|_| self.clone())
    }

    /// The answer under a client's own id, for a client of an older revision, to which a
    /// capability it lacks is only a call that does not fit.
    #[must_use]
    pub fn for_legacy(&self, id: &RawId) -> Bytes {
        let (at, id) = self.named(id);
        let mut edits: Vec<(Span, &[u8])> = vec![(at, &id)];
        if let (Some(code), Outcome::Error { code: -32021 }) = (self.parts.code, &self.outcome) {
            edits.push((code, b"-32602"));
        }
        edits.sort_unstable_by_key(|(at, _)| at.start);
        splice(&self.bytes, &edits)
    }

    /// What to write, and where, for the answer to bear an id.
    fn named<'a>(&self, id: &'a RawId) -> (Span, Cow<'a, [u8]>) {
        match self.id {
            IdPlace::At(at) => (at, Cow::Borrowed(id.as_bytes())),
            IdPlace::Before(at) => (at, Cow::Owned(format!("\"id\":{id},").into())),
        }
    }

    /// The answer under a client's own id, completed for a client of the stateless revision: what
    /// an older server could not know is added.
    #[must_use]
    pub fn for_modern(&self, id: &RawId, completed: Completed) -> Bytes {
        let (at, name) = self.named(id);
        let mut edits: Vec<(Span, &[u8])> = vec![(at, &name)];
        if let (Some(code), Outcome::Error { code: -32002 }) = (self.parts.code, &self.outcome) {
            edits.push((code, b"-32602"));
        }
        let added = self.added(completed);
        if let Outcome::Result { .. } = self.outcome {
            match self.parts.last {
                Some(last) => edits.push((last.after(), added.as_bytes())),
                None => return self.with_empty_result(id, added.trim_start_matches(',')),
            }
        }
        edits.sort_unstable_by_key(|(at, _)| at.start);
        splice(&self.bytes, &edits)
    }

    fn added(&self, completed: Completed) -> String {
        let mut added = String::new();
        if !self.parts.has_type {
            added.push_str(r#","resultType":"complete""#);
        }
        // A question in place of a result is not kept.
        let is_complete =
            matches!(self.outcome, Outcome::Result { r#type: ResultType::Complete, .. });
        let is_kept = completed == Completed::Cacheable && is_complete;
        if is_kept && !self.parts.has_ttl {
            added.push_str(r#","ttlMs":0"#);
        }
        if is_kept && !self.parts.has_scope {
            added.push_str(r#","cacheScope":"private""#);
        }
        added
    }

    /// A result without members has no place to add one after; its braces are written anew.
    fn with_empty_result(&self, id: &RawId, members: &str) -> Bytes {
        let braces = self.result().map(|raw| Span::of(&self.bytes, raw));
        let new = format!("{{{members}}}");
        let (at, name) = self.named(id);
        let mut edits: Vec<(Span, &[u8])> = vec![(at, &name)];
        edits.extend(braces.map(|at| (at, new.as_bytes())));
        edits.sort_unstable_by_key(|(at, _)| at.start);
        splice(&self.bytes, &edits)
    }
}

/// The place behind the first brace of an object.
fn inside(object: &[u8]) -> Span {
    let start = object.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
    Span { start, end: start }
}

#[derive(Default)]
struct Envelope<'a> {
    id: Option<&'a RawValue>,
    result: Option<ResultMembers<'a>>,
    error: Option<ErrorMembers<'a>>,
}

#[derive(Default)]
struct ResultMembers<'a> {
    r#type: Option<&'a str>,
    is_error: bool,
    has_ttl: bool,
    has_scope: bool,
    structured: Option<&'a RawValue>,
    last: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorMembers<'a> {
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC answer")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(Name(name)) = map.next_key()? {
                    match &*name {
                        "id" => take(&mut envelope.id, &name, map.next_value()?)?,
                        "result" => take(&mut envelope.result, &name, map.next_value()?)?,
                        "error" => take(&mut envelope.error, &name, map.next_value()?)?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(envelope)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for ResultMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = ResultMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a result object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = ResultMembers::default();
                while let Some(Name(name)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    members.last = Some(value);
                    match &*name {
                        "resultType" => members.r#type = Some(value.get()),
                        "isError" => members.is_error = value.get() == "true",
                        "ttlMs" => members.has_ttl = true,
                        "cacheScope" => members.has_scope = true,
                        "structuredContent" => members.structured = Some(value),
                        _ => {}
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}
