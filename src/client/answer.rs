//! What a gateway's answers say: data, or a refusal in one of two dialects.

use reqwest::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Error, Refusal};

/// Characters shown of an answer that nobody understands.
const START_LENGTH: usize = 120;

#[derive(Deserialize)]
struct Success<T> {
    data: T,
}

/// The data of an answer of the office.
pub(super) fn data<T: DeserializeOwned>(
    place: &str,
    status: StatusCode,
    body: &[u8],
) -> Result<T, Error> {
    if !status.is_success() {
        return Err(refused(place, status, body));
    }
    let success = serde_json::from_slice::<Success<T>>(body);
    success.map(|success| success.data).map_err(|_| unreadable(place, status, body))
}

/// The refusal that an answer holds.
pub(super) fn refused(place: &str, status: StatusCode, body: &[u8]) -> Error {
    let body_value: Option<Value> = serde_json::from_slice(body).ok();
    match body_value.as_ref().and_then(|body| refusal(status, body)) {
        Some(refusal) => Error::Refused(refusal),
        None => unreadable(place, status, body),
    }
}

/// Reads the HTTP envelope and the JSON-RPC error alike.
pub(super) fn refusal(status: StatusCode, body: &Value) -> Option<Refusal> {
    let error = body.get("error")?;
    let message = error.get("message").and_then(Value::as_str)?;
    let text = |place: Option<&Value>| place.and_then(Value::as_str).map(str::to_owned);
    let rpc = error.get("code").and_then(Value::as_i64);
    let facts = if rpc.is_some() { error.get("data") } else { Some(error) };
    Some(Refusal {
        status: status.as_u16(),
        code: text(facts.and_then(|facts| facts.get("code"))).unwrap_or_default(),
        rpc,
        message: message.to_owned(),
        request_id: text(facts.and_then(|facts| facts.get("request_id"))),
        wants_second_factor: error.pointer("/details/second_factor").is_some(),
    })
}

pub(super) fn unreadable(place: &str, status: StatusCode, body: &[u8]) -> Error {
    let start: String = String::from_utf8_lossy(body).chars().take(START_LENGTH).collect();
    Error::Unreadable {
        place: place.to_owned(),
        status: status.as_u16(),
        start: start.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
