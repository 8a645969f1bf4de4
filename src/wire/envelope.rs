//! Failures on the wire: the body of an HTTP error, and a JSON-RPC error.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::RawId;
use crate::{
    domain::{RequestId, Timestamp},
    problem::{Kind, Problem},
};

/// The body of an HTTP error: one envelope in which clients of every predecessor find their field.
#[must_use]
pub fn http_error(problem: &Problem, request_id: &RequestId, now: Timestamp) -> Bytes {
    let telling = problem.kind().telling();
    let body = json!({
        "success": false,
        "error": {
            "type": telling.r#type,
            "code": telling.code,
            "message": problem.message(),
            "details": details(problem),
            "timestamp": now.to_string(),
            "request_id": request_id.as_str(),
        },
        "detail": problem.message(),
    });
    body.to_string().into()
}

/// A JSON-RPC error under the client's own id.
#[must_use]
pub fn rpc_error(problem: &Problem, id: &RawId, request_id: &RequestId) -> Bytes {
    let mut data = details(problem);
    data.insert("code".into(), problem.kind().telling().code.into());
    data.insert("request_id".into(), request_id.as_str().into());
    if matches!(problem.kind(), Kind::Limited | Kind::RateLimited | Kind::Quota)
        && let Some(seconds) = problem.retry_after_seconds()
    {
        data.insert("retry_after_seconds".into(), seconds.into());
    }
    let error = json!({
        "code": problem.rpc_code(),
        "message": problem.message(),
        "data": data,
    });
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    body.extend_from_slice(id.as_bytes());
    body.extend_from_slice(br#","error":"#);
    body.extend_from_slice(error.to_string().as_bytes());
    body.push(b'}');
    body.into()
}

/// Facts stand as text; those that are JSON arrays or objects stand as such.
fn details(problem: &Problem) -> Map<String, Value> {
    let value = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Array(_) | Value::Object(_))) => value,
        _ => Value::from(text),
    };
    problem.data().iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_the_clients_id_as_it_was_written() {
        let whole = Bytes::from_static(b"123456789012345678901234567890");
        let id = RawId::at(&whole, crate::wire::Span { start: 0, end: whole.len() });
        let problem = Problem::new(Kind::NotFound, "unknown tool \"x\"");

        let body = rpc_error(&problem, &id, &RequestId::brought("r1"));

        let text = String::from_utf8(body.into()).expect("UTF-8");
        assert!(text.starts_with(r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"#));
        assert!(text.contains(r#""request_id":"r1""#));
        assert!(text.contains(r#""code":-32602"#));
    }

    #[test]
    fn an_http_error_speaks_to_clients_of_every_origin() {
        let problem = Problem::new(Kind::Unavailable, "no healthy instance of time");

        let body = http_error(&problem, &RequestId::brought("r1"), Timestamp::from_ms(0));

        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["success"], false);
        assert_eq!(body["error"]["type"], "InstanceUnavailable");
        assert_eq!(body["detail"], "no healthy instance of time");
    }
}
