//! Input that a server asks for in the middle of a call, and the answers to it.
//!
//! In today's revision a server asks in place of a result, and the client makes the same request
//! again with the answers in it (SEP-2322).
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns>

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answer, Outcome, Request, ResultType, member::Members};

/// The member of a request that answers what was asked.
pub const RESPONSES: &str = "inputResponses";
/// The member that says which call it goes on with.
pub const STATE: &str = "requestState";

/// Stands in place of an answer that a client of an older revision refused to give. It never
/// leaves the house.
pub const REFUSAL: &str = "io.tollhouse/refusal";

/// One thing that a server asks.
#[derive(Debug, Clone)]
pub struct InputRequest {
    /// Names it among those asked at the same time.
    pub key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// Its params, as JSON.
    pub params: String,
}

/// What a server asks in place of a result.
#[derive(Debug, Clone)]
pub struct InputRequired {
    /// All it asks.
    pub requests: Vec<InputRequest>,
    /// What the client is to bring back with the answers, as JSON.
    pub state: Option<String>,
}

impl InputRequired {
    /// Reads what a result asks.
    #[must_use]
    pub fn read(answer: &Answer) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Asked<'a> {
            #[serde(borrow)]
            input_requests: Option<&'a RawValue>,
            #[serde(borrow)]
            request_state: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct One<'a> {
            method: String,
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let asked: Asked<'_> = serde_json::from_str(answer.result()?.get()).ok()?;
        let members: Members<'_> = match asked.input_requests {
            Some(raw) => serde_json::from_str(raw.get()).ok()?,
            None => Members(Vec::new()),
        };
        let mut requests = Vec::with_capacity(members.0.len());
        for (key, raw) in members.0 {
            let one: One<'_> = serde_json::from_str(raw.get()).ok()?;
            let params = one.params.map_or("{}", RawValue::get).to_owned();
            requests.push(InputRequest { key: key.into_owned(), method: one.method, params });
        }
        let state = asked.request_state.map(|raw| raw.get().to_owned());
        (!requests.is_empty() || state.is_some()).then_some(Self { requests, state })
    }

    /// What a server asks in place of a result; none where it gives one.
    #[must_use]
    pub fn of(answer: &Answer) -> Option<Self> {
        let asks =
            matches!(answer.outcome(), Outcome::Result { r#type: ResultType::InputRequired, .. });
        asks.then(|| Self::read(answer))?
    }

    /// The same request, with the answers to what was asked, as JSON of an object.
    #[must_use]
    pub fn answered(&self, request: &Request, answers: &str) -> Request {
        match &self.state {
            Some(state) => request.with_params(&[(RESPONSES, answers), (STATE, state)]),
            None => request.with_params(&[(RESPONSES, answers)]),
        }
    }

    /// The result that asks it.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        let quote = |text: &str| serde_json::to_string(text).expect("text is always JSON");
        let asked: Vec<String> = self
            .requests
            .iter()
            .map(|it| {
                let (key, method) = (quote(&it.key), quote(&it.method));
                format!(r#"{key}:{{"method":{method},"params":{}}}"#, it.params)
            })
            .collect();
        let state = self.state.map(|state| format!(r#","{STATE}":{state}"#)).unwrap_or_default();
        Answer::of_result(&format!(
            r#"{{"resultType":"input_required","inputRequests":{{{}}}{state}}}"#,
            asked.join(",")
        ))
    }
}

/// The answers a request brings, by key, as JSON.
#[must_use]
pub fn responses(request: &Request) -> Vec<(String, Box<RawValue>)> {
    let raw = request.responses();
    let members = raw.and_then(|raw| serde_json::from_str::<Members<'_>>(raw).ok());
    let members = members.map(|members| members.0).unwrap_or_default();
    members.into_iter().map(|(key, raw)| (key.into_owned(), raw.to_owned())).collect()
}

/// Answers in the order of what was asked, as JSON of an object.
#[must_use]
pub fn by_key(asked: &[InputRequest], answers: &[String]) -> String {
    let quote = |text: &str| serde_json::to_string(text).expect("text is always JSON");
    let pairs = asked.iter().zip(answers);
    let pairs: Vec<String> =
        pairs.map(|(one, answer)| format!("{}:{answer}", quote(&one.key))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_as_it_was_written() {
        let asked = InputRequired {
            requests: vec![InputRequest {
                key: "a\"b".into(),
                method: "roots/list".into(),
                params: r#"{"x":1.0}"#.into(),
            }],
            state: Some(r#""s""#.into()),
        };

        let read = InputRequired::read(&asked.clone().into_answer()).expect("it asks");

        assert_eq!(read.requests[0].key, "a\"b");
        assert_eq!(read.requests[0].params, r#"{"x":1.0}"#);
        assert_eq!(read.state, asked.state);
    }

    #[test]
    fn who_asks_nothing_and_keeps_nothing_does_not_ask() {
        let empty = Answer::of_result(r#"{"resultType":"input_required"}"#);

        assert!(InputRequired::read(&empty).is_none());
    }
}
