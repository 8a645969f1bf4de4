//! Requests: parsed in one pass, and written onward with an id, a name and a `_meta` of our own.

mod parse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::parse::{Envelope, Params, ParamsShape, text};
use crate::wire::{
    Answer, Era, Level, Method, RawId, Span, depth,
    input::{RESPONSES, STATE},
    member::Members,
    meta::Meta,
    splice,
};

/// Bytes that are no message the gateway takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or JSON that two readers could read differently.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// An array of messages.
    #[error("this endpoint takes one message a request, not a batch")]
    Batch,
    /// Brackets within brackets within brackets.
    #[error("the body nests deeper than {} levels", crate::wire::DEPTH_LIMIT)]
    TooDeep,
    /// JSON, but no JSON-RPC 2.0 message.
    #[error("the body is no JSON-RPC 2.0 message: {0}")]
    NotJsonRpc(&'static str),
    /// `params` that no method of MCP takes.
    #[error("invalid params: {reason}")]
    Params {
        /// The id to answer.
        id: RawId,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Malformed {
    /// The JSON-RPC code that tells it.
    #[must_use]
    pub const fn rpc_code(&self) -> i32 {
        match self {
            Self::NotJson(_) => -32700,
            Self::Batch | Self::TooDeep | Self::NotJsonRpc(_) => -32600,
            Self::Params { .. } => -32602,
        }
    }

    /// The id to answer, where it could be read.
    #[must_use]
    pub fn id(&self) -> RawId {
        match self {
            Self::Params { id, .. } => id.clone(),
            _ => RawId::null(),
        }
    }
}

/// What a client may send.
#[derive(Debug)]
pub enum Message {
    /// A question, to be answered under its id.
    Request(Request),
    /// Word of something, never answered.
    Notification(Request),
    /// The answer to a question the gateway asked.
    Answer(Answer),
}

/// A request or notification: its bytes, and where its parts lie in them. Shared, because it never
/// changes and goes through many hands.
#[derive(Debug, Clone)]
pub struct Request(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    bytes: Bytes,
    id: Option<Span>,
    method: Method,
    subject: Option<(Box<str>, Span)>,
    cursor: Option<Box<str>>,
    meta: Meta,
    meta_at: Option<Span>,
    state: Option<Box<str>>,
    responses: Option<Span>,
    is_for_task: bool,
    end: End,
}

/// Where another member of `params` can be added.
#[derive(Debug, Clone, Copy)]
enum End {
    /// After this last member.
    Member(Span),
    /// Into these empty braces.
    Empty(Span),
    /// There are no params; after this last member of the message.
    NoParams(Span),
}

/// How a request goes onward to a server.
#[derive(Debug, Clone, Copy)]
pub struct Onward<'a> {
    /// The id on that connection.
    pub id: u64,
    /// The server's own name for the item, where it differs from the client's.
    pub subject: Option<&'a str>,
    /// What the server speaks.
    pub era: Era,
    /// What is asked for beside the answer.
    pub asks: Asks<'a>,
}

/// What a request asks of a server beside its answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asks<'a> {
    /// Word of progress, under the request's id.
    pub progress: bool,
    /// Log messages of this level, and graver ones.
    pub level: Option<Level>,
    /// What the client can be asked meanwhile, as JSON.
    pub capabilities: Option<&'a str>,
}

impl Message {
    /// Parses a message in one pass over its bytes.
    pub fn parse(bytes: &Bytes) -> Result<Self, Malformed> {
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(Malformed::Batch);
        }
        let text =
            std::str::from_utf8(bytes).map_err(|error| Malformed::NotJson(error.to_string()))?;
        let envelope: Envelope<'_> =
            serde_json::from_str(text).map_err(|error| Malformed::NotJson(error.to_string()))?;
        if !depth::is_shallow(bytes) {
            return Err(Malformed::TooDeep);
        }
        if envelope.version.as_deref() != Some("2.0") {
            return Err(Malformed::NotJsonRpc("\"jsonrpc\" must be \"2.0\""));
        }
        let Some(method) = &envelope.method else {
            if envelope.is_answer && envelope.id.is_some() {
                return Answer::parse(bytes)
                    .map(Self::Answer)
                    .map_err(|_| Malformed::NotJsonRpc("it is neither a result nor an error"));
            }
            return Err(Malformed::NotJsonRpc("it has no \"method\""));
        };
        let method = Method::parse(method);
        let id = envelope.id.map(|id| Span::of(bytes, id));
        if id.is_some_and(|id| !is_id(id.of_bytes(bytes))) {
            return Err(Malformed::NotJsonRpc("\"id\" must be a string or a number"));
        }
        let request = Request::new(bytes, id, method, envelope)?;
        Ok(if id.is_some() { Self::Request(request) } else { Self::Notification(request) })
    }
}

impl Request {
    fn new(
        bytes: &Bytes,
        id: Option<Span>,
        method: Method,
        envelope: Envelope<'_>,
    ) -> Result<Self, Malformed> {
        let wrong = |reason| Malformed::Params {
            id: id.map_or_else(RawId::null, |id| RawId::at(bytes, id)),
            reason,
        };
        let last = envelope.last.map(|last| Span::of(bytes, last));
        let params = match envelope.params {
            None => Params::default(),
            Some(ParamsShape::Object(params)) => params,
            Some(ParamsShape::Other) => return Err(wrong("it must be an object")),
        };
        let end = match (envelope.has_params, params.last) {
            (true, Some(last)) => End::Member(Span::of(bytes, last)),
            (true, None) => End::Empty(empty_params(bytes).ok_or_else(|| wrong("unreadable"))?),
            (false, _) => End::NoParams(last.ok_or_else(|| wrong("unreadable"))?),
        };
        let subject = match method.subject_member() {
            None => None,
            Some(member) => Some(params.subject(bytes, member).map_err(wrong)?),
        };
        let cursor =
            params.cursor.map(text).transpose().map_err(|()| wrong("cursor is no text"))?;
        let meta = params.meta.map(Meta::parse).transpose().map_err(wrong)?;
        Ok(Self(Arc::new(Parts {
            id,
            method,
            subject,
            cursor,
            meta: meta.unwrap_or_default(),
            meta_at: params.meta.map(|meta| Span::of(bytes, meta)),
            state: params
                .state
                .map(text)
                .transpose()
                .map_err(|()| wrong("requestState is no text"))?,
            responses: params.responses.map(|raw| Span::of(bytes, raw)),
            is_for_task: params.is_for_task,
            end,
            bytes: bytes.clone(),
        })))
    }

    /// Makes a request of our own. `params` is JSON text of an object.
    #[must_use]
    pub fn make(method: &Method, params: &str) -> Self {
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
        match Message::parse(&text.into()) {
            Ok(Message::Request(request)) => request,
            other => unreachable!("requests of our own are well formed: {other:?}"),
        }
    }

    /// Makes what stands for a request of HTTP. `params` is JSON text of an object.
    pub(in crate::wire) fn of_exchange(params: &str) -> Self {
        let method = Method::Exchange;
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
        let bytes = Bytes::from(text);
        let text = std::str::from_utf8(&bytes).expect("it was text");
        let envelope = serde_json::from_str(text).expect("requests of our own are well formed");
        let id = None;
        Self::new(&bytes, id, method, envelope).expect("requests of our own are well formed")
    }

    /// The id to answer under. A notification has none.
    #[must_use]
    pub fn id(&self) -> RawId {
        self.0.id.map_or_else(RawId::null, |id| RawId::at(&self.0.bytes, id))
    }

    /// What it asks for.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The item it names, as the client wrote it.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_ref().map(|(text, _)| &**text)
    }

    /// Where a list goes on.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.0.cursor.as_deref()
    }

    /// Which call of before it goes on with, as the client brought it back.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.0.state.as_deref()
    }

    /// The answers it brings to what a server asked, as JSON.
    #[must_use]
    pub fn responses(&self) -> Option<&str> {
        self.0.responses.map(|at| at.text(&self.0.bytes))
    }

    /// Whether its client wants the call to be a task (2025-11-25).
    #[must_use]
    pub fn is_for_task(&self) -> bool {
        self.0.is_for_task
    }

    /// The same request with these members added to its params, each a name and JSON. They must
    /// not stand there already.
    #[must_use]
    pub fn with_params(&self, members: &[(&str, &str)]) -> Self {
        let added: Vec<String> =
            members.iter().map(|(name, json)| format!("{}:{json}", quote(name))).collect();
        let added = added.join(",");
        let (at, text) = self.addition(&added);
        let bytes = splice(&self.0.bytes, &[(at, text.as_bytes())]);
        match Message::parse(&bytes) {
            Ok(Message::Request(request)) => request,
            other => unreachable!("members were added to a request: {other:?}"),
        }
    }

    /// The same request without a member of its params.
    #[must_use]
    pub fn without_param(&self, name: &str) -> Self {
        let params = self.params();
        let members: Members<'_> = serde_json::from_str(&params).unwrap_or(Members(Vec::new()));
        let kept = members.0.iter().filter(|(known, _)| known != name);
        let kept: Vec<String> =
            kept.map(|(name, value)| format!("{}:{}", quote(name), value.get())).collect();
        let (id, method) = (self.id(), &self.0.method);
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{}}}}}"#,
            kept.join(",")
        );
        match Message::parse(&text.into()) {
            Ok(Message::Request(request)) => request,
            other => unreachable!("a member was taken from a request: {other:?}"),
        }
    }

    /// Where members of params are added, and the text that does it.
    fn addition(&self, members: &str) -> (Span, String) {
        match self.0.end {
            End::Member(last) => (last.after(), format!(",{members}")),
            End::Empty(braces) => (braces, format!("{{{members}}}")),
            End::NoParams(last) => (last.after(), format!(r#","params":{{{members}}}"#)),
        }
    }

    /// What its `_meta` says to the gateway.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// Its bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Its params, as JSON of an object.
    #[must_use]
    pub fn params(&self) -> String {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let whole: Option<Whole<'_>> = serde_json::from_slice(&self.0.bytes).ok();
        whole.and_then(|whole| whole.params).map_or("{}", RawValue::get).to_owned()
    }

    /// What makes it this request, however often it is made: its method and its params, without
    /// what goes on with an earlier one.
    #[must_use]
    pub fn essence(&self) -> Vec<u8> {
        let params = self.params();
        let members: Members<'_> = serde_json::from_str(&params).unwrap_or(Members(Vec::new()));
        let mut essence = self.0.method.as_str().as_bytes().to_vec();
        for (name, value) in members.0 {
            if ![STATE, RESPONSES, "_meta"].contains(&&*name) {
                essence.extend_from_slice(quote(&name).as_bytes());
                essence.extend_from_slice(value.get().as_bytes());
            }
        }
        essence
    }

    /// One member of its params, read as `T`. For the gateway's own methods, off the hot path.
    pub fn param<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let whole: Whole<'_> = serde_json::from_slice(&self.0.bytes).ok()?;
        let members: Members<'a> = serde_json::from_str(whole.params?.get()).ok()?;
        serde_json::from_str(members.get(name)?.get()).ok()
    }

    /// The bytes that go to a server: our id, its name for the item, the `_meta` of its era.
    /// Everything else is as the client wrote it.
    #[must_use]
    pub fn onward(&self, onward: Onward<'_>) -> Bytes {
        let id = onward.id.to_string();
        let subject = onward.subject.map(quote);
        let meta = self.meta_onward(&onward);
        let mut edits: Vec<(Span, &[u8])> = Vec::with_capacity(3);
        edits.extend(self.0.id.map(|at| (at, id.as_bytes())));
        if let (Some((_, at)), Some(subject)) = (&self.0.subject, &subject) {
            edits.push((*at, subject.as_bytes()));
        }
        edits.extend(meta.as_ref().map(|(at, text)| (*at, text.as_bytes())));
        edits.sort_unstable_by_key(|(at, _)| at.start);
        splice(&self.0.bytes, &edits)
    }

    fn meta_onward(&self, onward: &Onward<'_>) -> Option<(Span, String)> {
        let written = self.0.meta_at.map(|at| at.text(&self.0.bytes));
        let new = self.0.meta.onward(onward, written)?;
        Some(match self.0.meta_at {
            Some(at) => (at, new),
            None => self.addition(&format!(r#""_meta":{new}"#)),
        })
    }
}

/// Text as JSON.
fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

fn is_id(raw: &[u8]) -> bool {
    raw.first().is_some_and(|first| *first == b'"' || *first == b'-' || first.is_ascii_digit())
}

/// Where the empty `params` stand. Parsing in one pass sees members, and here there are none.
fn empty_params(bytes: &Bytes) -> Option<Span> {
    let members: Members<'_> = serde_json::from_slice(bytes).ok()?;
    members.get("params").map(|params| Span::of(bytes, params))
}
