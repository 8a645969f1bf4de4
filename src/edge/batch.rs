//! Arrays of messages, and messages that say in their params whom they are for.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    problem::{Kind, Problem},
    wire::{result, splice},
};

/// The members of `params` that name a server, and go no further than here.
const SERVER: &[&str] = &["server_id", "serverId", "server"];

/// The messages of an array, each as it was written.
#[derive(Debug)]
pub(super) struct Batch(pub(super) Vec<Bytes>);

impl Batch {
    /// Takes an array apart, if it holds no more than so many messages.
    pub(super) fn parse(body: &Bytes, limit: usize) -> Result<Self, Problem> {
        let wrong = |message: String, code| Problem::new(Kind::Invalid, message).with_rpc(code);
        let mut reader = serde_json::Deserializer::from_slice(body);
        let parts = AtMost(limit).deserialize(&mut reader);
        let parts = parts.and_then(|parts| reader.end().map(|()| parts)).map_err(|error| {
            let code = if error.is_data() { -32_600 } else { -32_700 };
            wrong(format!("the body is no array of messages: {error}"), code)
        })?;
        let Some(parts) = parts else {
            let message = format!(
                "the array holds more than {limit} messages, which is the limit edge.rpc.max_batch"
            );
            return Err(wrong(message, -32_600));
        };
        if parts.is_empty() {
            return Err(wrong("the array is empty".into(), -32_600));
        }
        Ok(Self(parts.iter().map(|raw| body.slice_ref(raw.get().as_bytes())).collect()))
    }
}

/// Reads an array up to a length: a small body can hold millions of messages that are none.
struct AtMost(usize);

impl<'de> DeserializeSeed<'de> for AtMost {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AtMost {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while parts.len() < self.0 {
            match seq.next_element()? {
                Some(part) => parts.push(part),
                None => return Ok(Some(parts)),
            }
        }
        if seq.next_element::<IgnoredAny>()?.is_none() {
            return Ok(Some(parts));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A message without the member of its params that names a server, and that server; none where no
/// server is named, or where it is no message anyway.
pub(super) fn addressed(message: &Bytes) -> Option<(Bytes, Box<str>)> {
    let members = result::members(message)?;
    let mut named = members.iter().filter(|(name, _)| name == "params");
    let (_, params_at) = named.next().filter(|_| named.next().is_none())?;
    let params = message.slice(params_at.start..params_at.end);
    let mut server: Option<Box<str>> = None;
    let mut kept = Vec::new();
    for (name, at) in result::members(&params)? {
        let said = at.text(&params);
        if server.is_none() && SERVER.contains(&name.as_str()) {
            server = Some(serde_json::from_str(said).ok()?);
        } else {
            let name = serde_json::to_string(&name).expect("text is always JSON");
            kept.push(format!("{name}:{said}"));
        }
    }
    let params = format!("{{{}}}", kept.join(","));
    Some((splice(message, &[(*params_at, params.as_bytes())]), server?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_taken_apart_as_it_was_written() {
        let body = Bytes::from_static(b" [ {\"a\": 1.50} , 2, [3] ] ");

        let batch = Batch::parse(&body, 3).expect("an array");

        assert_eq!(batch.0, ["{\"a\": 1.50}", "2", "[3]"]);
    }

    #[test]
    fn an_array_that_cannot_be_taken_is_told_why() {
        let code = |body: &'static str| {
            Batch::parse(&body.into(), 2).map(|batch| batch.0.len()).map_err(|it| it.rpc_code())
        };

        assert_eq!(code("[1,2]"), Ok(2));
        assert_eq!(code("[1,2,3]"), Err(-32_600));
        assert_eq!(code("[]"), Err(-32_600));
        assert_eq!(code("{}"), Err(-32_600));
        assert_eq!(code("[1,2,3"), Err(-32_700));
        assert_eq!(code("[1] 2"), Err(-32_700));
    }

    #[test]
    fn a_message_says_whom_it_is_for_and_is_otherwise_untouched() {
        let message = r#"{"id":1,"params":{"n":1e400,"server_id":"time","x":[ ]},"method":"m"}"#;

        let (rest, server) = addressed(&message.into()).expect("a server is named");

        assert_eq!(&*server, "time");
        assert_eq!(rest, r#"{"id":1,"params":{"n":1e400,"x":[ ]},"method":"m"}"#);
        for none in ["[]", "{", r#"{"params":{}}"#, r#"{"params":{"server_id":1}}"#] {
            assert!(addressed(&none.into()).is_none(), "{none}");
        }
    }
}
