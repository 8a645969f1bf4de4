//! Clients of 2026-07-28: every request stands alone.

use std::pin::Pin;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Credential, Leash, Reach},
    edge::{
        arrival::{Arrival, Inside},
        channel::Outbox,
        converse, reply,
        session::Out,
        stream::{self, Source},
    },
    pipeline::{Body as Said, Listening, NOTICES, Notices, Reply},
    problem::{Kind, Problem},
    wire::{
        self, AsTask, Call, Client, Completed, Message, Method, Notice, Outcome, RawId, Request,
        Revision,
        header::{self, Repeated},
        meta, result,
    },
};

/// Whether a request claims to be of the stateless revision, in its body or in its headers. A
/// handshake is of the past whatever its headers say, unless its body claims otherwise.
pub(super) fn is_claimed(arrival: &Arrival, request: &Request) -> bool {
    let is_handshake = *request.method() == Method::Initialize;
    request.meta().version.is_some() || (arrival.names_modern() && !is_handshake)
}

/// Answers a message of the stateless revision.
pub(super) async fn answer(inside: &Inside, arrival: Arrival, message: Message) -> Response<Body> {
    let request = match message {
        Message::Request(request) => request,
        Message::Notification(_) => {
            return match inside.admit(&arrival, &RawId::null(), None).await {
                Ok(_) => reply::accepted(),
                Err(refusal) => *refusal,
            };
        }
        Message::Answer(_) => {
            let problem =
                Problem::new(Kind::Invalid, "nothing was asked of this client").with_rpc(-32600);
            let status = Some(StatusCode::BAD_REQUEST);
            return reply::rpc_problem(&problem, &RawId::null(), &arrival.request_id, status);
        }
    };
    let id = request.id();
    if let Err((problem, status)) = check(&arrival.headers, &request) {
        return match inside.admit(&arrival, &id, None).await {
            Ok(_) => reply::rpc_problem(&problem, &id, &arrival.request_id, Some(status)),
            Err(refusal) => *refusal,
        };
    }
    let (notices, told) = mpsc::channel(NOTICES);
    let (call, credential, reads_events) = call_of(arrival, request);
    let notices = reads_events.then_some(notices);
    let running = Box::pin(ask(inside.clone(), (call, credential, notices)));
    let mut asking = Asking { is_over: false, told, running };
    let first = tokio::select! {
        biased;
        Some(notice) = asking.told.recv() => notice,
        asked = &mut asking.running => {
            let Some(notice) = asking.told.try_recv().ok() else { return whole(inside, asked) };
            // What was said before the answer comes before it.
            asking.running = Box::pin(std::future::ready(asked));
            notice
        }
    };
    let first = stream::message(first.bytes());
    stream::response(stream::events(asking, Some(first), inside.closing.clone()))
}

/// The call that a request makes, its credential, and whether its client reads streams.
fn call_of(arrival: Arrival, request: Request) -> (Call, Credential, bool) {
    let reads_events = arrival.reads_events();
    let meta = request.meta();
    let capabilities = meta.capabilities.as_deref().map(Into::into);
    let client = Client {
        revision: Revision::NEWEST,
        name: meta.client_name.clone(),
        via: arrival.via,
        capabilities,
        level: meta.log_level,
    };
    let as_task = if meta.knows_tasks { AsTask::IfSuitable } else { AsTask::No };
    let repeated = Some(Repeated::of(&arrival.headers));
    let Arrival { request_id, scope, credential, from, began, .. } = arrival;
    let call = Call::new(request_id, scope, request, client, began);
    let call = Call { repeated, as_task, from, ..call };
    (call, credential, reads_events)
}

type Asked = (Call, Credential, Result<Reply, Problem>);

async fn ask(
    inside: Inside,
    (call, credential, notices): (Call, Credential, Option<Notices>),
) -> Asked {
    let reply = inside.pipeline.handle(&call, &credential, notices.as_ref()).await;
    (call, credential, reply)
}

/// A call while it runs. It ends with its client, who cancels it by hanging up.
struct Asking {
    is_over: bool,
    told: mpsc::Receiver<Box<Notice>>,
    running: Pin<Box<dyn Future<Output = Asked> + Send>>,
}

impl Source for Asking {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        tokio::select! {
            biased;
            Some(notice) = self.told.recv() => Some(stream::message(notice.bytes())),
            (call, _, reply) = &mut self.running => {
                let id = call.request.id();
                let answer = match reply {
                    Ok(Reply { body, .. }) => render(&call, &id, &body),
                    Err(problem) => wire::rpc_error(&problem, &id, &call.request_id),
                };
                let mut events = Vec::new();
                while let Ok(notice) = self.told.try_recv() {
                    events.extend_from_slice(&stream::message(notice.bytes()));
                }
                events.extend_from_slice(&stream::message(&answer));
                self.is_over = true;
                Some(events.into())
            }
        }
    }
}

/// An answer before which nothing was said.
fn whole(inside: &Inside, (call, credential, reply): Asked) -> Response<Body> {
    let id = call.request.id();
    match reply {
        Ok(Reply { body: Said::Listening(listening), .. }) => {
            listen(inside, id, &credential, listening)
        }
        Ok(Reply { body, standings, .. }) => {
            let mut response = reply::json(render(&call, &id, &body));
            reply::tell_limits(&standings, response.headers_mut());
            *response.status_mut() = status(&body);
            response
        }
        Err(problem) => reply::rpc_problem(&problem, &id, &call.request_id, None),
    }
}

/// A stream on which a client hears of changes.
fn listen(
    inside: &Inside,
    id: RawId,
    credential: &Credential,
    listening: Listening,
) -> Response<Body> {
    let first = stream::message(&listening.acknowledgement().for_listener(&id));
    let heard = Heard::new(inside, id, credential, listening);
    // It ends by itself when the doors close, with a last word.
    stream::response(stream::events(heard, Some(first), CancellationToken::new()))
}

/// What a listener hears, until the doors close, its credential opens nothing any more, or there
/// is no more.
struct Heard {
    inside: Inside,
    id: RawId,
    leash: Leash,
    listening: Listening,
    is_over: bool,
}

impl Source for Heard {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let message = self.hear().await;
        self.is_over = message.is_none();
        Some(stream::message(&message.unwrap_or_else(|| self.last_word())))
    }
}

impl Heard {
    fn new(inside: &Inside, id: RawId, credential: &Credential, listening: Listening) -> Self {
        let leash = inside.pipeline.leash(credential, Reach::Credential);
        Self { inside: inside.clone(), id, leash, listening, is_over: false }
    }

    async fn hear(&mut self) -> Option<Bytes> {
        let notice = tokio::select! {
            biased;
            () = self.inside.closing.cancelled() => None,
            () = self.leash.over() => None,
            notice = self.listening.next() => notice,
        };
        Some(notice?.for_listener(&self.id))
    }

    /// The result with which listening ends.
    fn last_word(&self) -> Bytes {
        let mark = meta::SUBSCRIPTION_ID;
        let end = format!(r#"{{"resultType":"complete","_meta":{{"{mark}":{}}}}}"#, self.id);
        result::answer(&self.id, end.as_bytes())
    }
}

/// Answers a request that came by a channel. What is said before the answer goes there first; there
/// is no answer where its client cancelled it.
pub(super) async fn ask_on_channel(
    inside: &Inside,
    arrival: Arrival,
    request: Request,
    outbox: &Outbox,
    cancelled: &CancellationToken,
) -> Option<Bytes> {
    let id = request.id();
    if let Err((problem, _)) = check_envelope(&request).and_then(|()| check_era(&request)) {
        let problem = inside.pass(&arrival, None).await.err().unwrap_or(problem);
        return Some(wire::rpc_error(&problem, &id, &arrival.request_id));
    }
    let (call, credential, _) = call_of(arrival, request);
    let call = Call { repeated: None, ..call };
    let out = Out::Line(outbox.clone());
    let asking = Box::pin(converse::while_told(inside, &call, &credential, &out));
    match cancelled.run_until_cancelled(asking).await? {
        Ok(Reply { body: Said::Listening(listening), .. }) => {
            outbox.say(listening.acknowledgement().for_listener(&id)).await;
            let mut heard = Heard::new(inside, id, &credential, listening);
            while let Some(Some(message)) = cancelled.run_until_cancelled(heard.hear()).await {
                outbox.say(message).await;
            }
            Some(heard.last_word())
        }
        Ok(Reply { body, .. }) => Some(render(&call, &id, &body)),
        Err(problem) => Some(wire::rpc_error(&problem, &id, &call.request_id)),
    }
}

/// What a server says is an answer, whatever it says, but for the one refusal that has a status
/// of its own.
fn status(body: &Said) -> StatusCode {
    let code = i64::from(header::MISSING_CAPABILITY);
    match body {
        Said::Carried(answer) if *answer.outcome() == (Outcome::Error { code }) => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}

/// An answer as clients of the stateless revision read it.
pub(crate) fn render(call: &Call, id: &RawId, body: &Said) -> Bytes {
    match body {
        Said::Listening(_) | Said::Exchanged(_) => {
            result::answer(id, br#"{"resultType":"complete"}"#)
        }
        Said::Made { result, .. } => result::answer(id, result),
        Said::Carried(answer) => {
            let is_cacheable = call.method().is_cacheable();
            let completed = if is_cacheable { Completed::Cacheable } else { Completed::Plain };
            answer.for_modern(id, completed)
        }
    }
}

type Wrong = (Problem, StatusCode);

fn wrong(message: impl Into<String>, code: i32) -> Wrong {
    (Problem::new(Kind::Invalid, message).with_rpc(code), StatusCode::BAD_REQUEST)
}

/// The ladder of checks, in the order the conformance suite expects: the envelope, the headers
/// against it, the version, the method.
fn check(headers: &HeaderMap, request: &Request) -> Result<(), Wrong> {
    check_envelope(request)?;
    header::check(headers, request)
        .map_err(|mismatch| wrong(mismatch.to_string(), header::MISMATCH))?;
    check_era(request)
}

/// Whether a request says what every request must.
fn check_envelope(request: &Request) -> Result<(), Wrong> {
    if request.meta().version.is_none() {
        return Err(wrong("\"_meta\" lacks the protocol version", -32602));
    }
    if !request.meta().has_capabilities {
        return Err(wrong("\"_meta\" lacks the client's capabilities", -32602));
    }
    Ok(())
}

/// Whether a method nobody knows here may be one of an extension that its client knows.
fn is_of_an_extension(request: &Request) -> bool {
    let said = request.meta().capabilities.as_deref().map(meta::extensions).unwrap_or_default();
    matches!(request.method(), Method::Other(_)) && !said.is_empty()
}

/// Whether a request is of the one stateless revision there is, and of a method it has.
fn check_era(request: &Request) -> Result<(), Wrong> {
    let version = request.meta().version.as_deref().unwrap_or_default();
    if *version != *Revision::NEWEST.as_str() {
        let (problem, status) =
            wrong(format!("unsupported protocol version: {version}"), header::UNSUPPORTED_VERSION);
        let supported = format!("[\"{}\"]", Revision::NEWEST);
        let problem = problem.with_data("supported", supported).with_data("requested", version);
        return Err((problem, status));
    }
    if request.method().is_about_task() && !request.meta().knows_tasks {
        let needed = format!(r#"{{"extensions":{{"{}":{{}}}}}}"#, meta::TASKS);
        let (problem, status) =
            wrong("the client has not said that it knows tasks", header::MISSING_CAPABILITY);
        return Err((problem.with_data("requiredCapabilities", needed), status));
    }
    // A server may know a method of an extension that the client knows too.
    if !request.method().is_modern() && !is_of_an_extension(request) {
        let problem =
            Problem::new(Kind::NotFound, format!("method not found: {}", request.method()));
        return Err((problem.with_rpc(-32601), StatusCode::NOT_FOUND));
    }
    Ok(())
}
