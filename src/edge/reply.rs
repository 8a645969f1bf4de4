//! Replies and problems as bytes of HTTP.

use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER,
        WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use serde_json::json;

use crate::{
    domain::{LimitStanding, LimitStandings, RequestId, Timestamp},
    pipeline::NOT_THERE,
    problem::{Kind, Problem},
    wire::{self, RawId, Revision, header},
};

/// A response that ends a request early. Boxed, because it is seldom and large.
pub(super) type Refusal = Box<Response<Body>>;

/// What whoever sends something else is told.
pub(super) const NOT_JSON: &str = "send application/json, uncompressed";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Adds what every response carries.
pub(super) fn dress(mut response: Response<Body>, request_id: &RequestId) -> Response<Body> {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(header::REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let frames = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    // An entry makes room for one more header first, and streams keep that.
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, frames);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Keeps what a server behind a route says from acting as the gateway's own page, which has the
/// same origin.
pub(super) fn wall_off(mut response: Response<Body>) -> Response<Body> {
    let walls = HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, walls);
    response
}

/// An answer in JSON.
pub(super) fn json(body: Bytes) -> Response<Body> {
    with_json(StatusCode::OK, body)
}

/// Taken, and nothing to say.
pub(super) fn accepted() -> Response<Body> {
    empty(StatusCode::ACCEPTED)
}

/// A status without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A failure on a path of MCP: a JSON-RPC error, under a status that HTTP clients understand.
pub(super) fn rpc_problem(
    problem: &Problem,
    id: &RawId,
    request_id: &RequestId,
    status: Option<StatusCode>,
) -> Response<Body> {
    let status = status.unwrap_or_else(|| rpc_status(problem));
    let mut response = with_json(status, wire::rpc_error(problem, id, request_id));
    hint(problem, status, response.headers_mut());
    response
}

/// What concerns the request itself is a status; what concerns the call is an answer, because
/// clients read no JSON-RPC error behind a status.
fn rpc_status(problem: &Problem) -> StatusCode {
    let telling = problem.kind().telling().http;
    let told = match (problem.kind(), problem.rpc_code()) {
        (Kind::NotFound, NOT_THERE | -32601) => 404,
        (
            Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::TooLarge
            | Kind::Limited
            | Kind::RateLimited
            | Kind::Quota
            | Kind::Internal,
            _,
        ) => telling,
        (Kind::Invalid, -32700 | -32600 | header::MISMATCH) => 400,
        _ => 200,
    };
    StatusCode::from_u16(told).expect("the table holds statuses")
}

/// A failure on any other path: the envelope.
pub(crate) fn http_problem(
    problem: &Problem,
    request_id: &RequestId,
    now: Timestamp,
) -> Response<Body> {
    let status = StatusCode::from_u16(problem.kind().telling().http).expect("a status");
    let mut response = with_json(status, wire::http_error(problem, request_id, now));
    hint(problem, status, response.headers_mut());
    response
}

fn hint(problem: &Problem, status: StatusCode, headers: &mut HeaderMap) {
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Bearer realm=\"tollhouse\"");
        headers.insert(WWW_AUTHENTICATE, realm);
    }
    let scope = problem.data().iter().find(|(name, _)| *name == "scope");
    if status == StatusCode::FORBIDDEN
        && let Some((_, scope)) = scope
        && let Ok(told) = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"").parse()
    {
        headers.insert(WWW_AUTHENTICATE, told);
    }
    if let Some(seconds) = problem.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    tell_limits(problem.standings(), headers);
}

/// Tells where a call stands with rate limits, in the words of the draft of today and in those of
/// before.
///
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>
pub(super) fn tell_limits(standings: &LimitStandings, headers: &mut HeaderMap) {
    let Some(tightest) = standings.tightest() else { return };
    let seconds = |ms: u64| ms.div_ceil(1_000);
    // Of one limit with several windows each is told by itself.
    let policy = |it: &LimitStanding| {
        format!("\"{}\";q={};w={}", it.name, it.window.limit, it.window.seconds)
    };
    let left = |it: &LimitStanding| {
        format!("\"{}\";r={};t={}", it.name, it.remaining, seconds(it.reset_ms))
    };
    let list = |one: &dyn Fn(&LimitStanding) -> String| {
        standings.all().iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let texts = [("ratelimit-policy", list(&policy)), ("ratelimit", list(&left))];
    for (name, text) in texts {
        // Names are plain ASCII, or they would not have been taken.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    let numbers = [
        ("x-ratelimit-limit", tightest.window.limit.into()),
        ("x-ratelimit-remaining", tightest.remaining.into()),
        ("x-ratelimit-reset", tightest.resets_at()),
    ];
    for (name, number) in numbers {
        headers.insert(name, HeaderValue::from(number));
    }
}

/// `GET` of an endpoint: a few words for people and programs. There is no stream to open: what
/// the gateway says, it says in the answer to a request.
pub(super) fn status(headers: &HeaderMap) -> Response<Body> {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wants_stream = accepts.into_iter().any(|value| value.contains("text/event-stream"));
    // Whoever names a revision speaks MCP, in which this is no question.
    if wants_stream || headers.contains_key(header::PROTOCOL_VERSION) {
        return not_allowed();
    }
    let revisions: Vec<&str> = Revision::ALL.iter().map(|revision| revision.as_str()).collect();
    let body = json!({
        "name": "tollhouse",
        "transport": "streamable_http",
        "protocol_versions": revisions,
    });
    json(body.to_string().into())
}

/// A method that an endpoint of MCP does not take.
pub(super) fn not_allowed() -> Response<Body> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
    response
}

/// A method that a path does not take, which takes this one only.
pub(super) fn takes_only(verb: &Method) -> Response<Body> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    let verb = HeaderValue::from_str(verb.as_str()).expect("methods are plain text");
    response.headers_mut().insert(ALLOW, verb);
    response
}

/// A body that is not JSON, or is compressed.
pub(super) fn unsupported_media(request_id: &RequestId, now: Timestamp) -> Response<Body> {
    let problem = Problem::new(Kind::Invalid, NOT_JSON);
    let mut response = http_problem(&problem, request_id, now);
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

fn with_json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
