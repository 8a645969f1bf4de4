//! Clients of 2026-07-28: every request stands alone.

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};

use crate::{
    edge::{
        arrival::{Arrival, Inside},
        reply,
    },
    pipeline::{Body as Said, Reply},
    problem::{Kind, Problem},
    wire::{
        Call, Client, Completed, Message, Method, Outcome, RawId, Request, Revision,
        header::{self, Repeated},
        result,
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
        Message::Answer => {
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
    let client = Client {
        revision: Revision::NEWEST,
        name: request.meta().client_name.clone(),
        via: arrival.via,
    };
    let repeated = Some(Repeated::of(&arrival.headers));
    let Arrival { request_id, scope, credential, began, .. } = arrival;
    let call = Call { request_id, scope, request, client, session: None, repeated, began };
    match inside.pipeline.handle(&call, &credential).await {
        Ok(Reply { body, .. }) => {
            let mut response = reply::json(render(&call, &id, &body));
            *response.status_mut() = status(&body);
            response
        }
        Err(problem) => reply::rpc_problem(&problem, &id, &call.request_id, None),
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

fn render(call: &Call, id: &RawId, body: &Said) -> bytes::Bytes {
    match body {
        Said::Made { result, .. } => result::answer(id, result),
        Said::Carried(answer) => {
            let is_cacheable = call.method().is_cacheable();
            let completed = if is_cacheable { Completed::Cacheable } else { Completed::Plain };
            answer.for_modern(id, completed)
        }
    }
}

/// The ladder of checks, in the order the conformance suite expects: the envelope, the headers
/// against it, the version, the method.
fn check(headers: &HeaderMap, request: &Request) -> Result<(), (Problem, StatusCode)> {
    let wrong = |message: String, code: i32| {
        (Problem::new(Kind::Invalid, message).with_rpc(code), StatusCode::BAD_REQUEST)
    };
    let meta = request.meta();
    let Some(version) = &meta.version else {
        return Err(wrong("\"_meta\" lacks the protocol version".into(), -32602));
    };
    if !meta.has_capabilities {
        return Err(wrong("\"_meta\" lacks the client's capabilities".into(), -32602));
    }
    if let Err(mismatch) = header::check(headers, request) {
        return Err(wrong(mismatch.to_string(), header::MISMATCH));
    }
    if **version != *Revision::NEWEST.as_str() {
        let (problem, status) =
            wrong(format!("unsupported protocol version: {version}"), header::UNSUPPORTED_VERSION);
        let supported = format!("[\"{}\"]", Revision::NEWEST);
        let problem = problem.with_data("supported", supported).with_data("requested", &**version);
        return Err((problem, status));
    }
    if !request.method().is_modern() {
        let problem =
            Problem::new(Kind::NotFound, format!("method not found: {}", request.method()));
        return Err((problem.with_rpc(-32601), StatusCode::NOT_FOUND));
    }
    Ok(())
}
