//! The one pass over a message: which members stand where.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::wire::{
    Span, SubjectMember,
    input::{RESPONSES, STATE},
    member::{Members, Name, refuse_lookalike, take},
};

/// The members of a message that the gateway acts on.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    pub(super) version: Option<Cow<'a, str>>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) method: Option<Cow<'a, str>>,
    pub(super) params: Option<ParamsShape<'a>>,
    pub(super) has_params: bool,
    pub(super) is_answer: bool,
    pub(super) last: Option<&'a RawValue>,
}

const ENVELOPE: &[&str] = &["jsonrpc", "id", "method", "params"];

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(Name(name)) = map.next_key()? {
                    envelope.read(&name, &mut map)?;
                }
                Ok(envelope)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl<'de> Envelope<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name == "params" {
            self.has_params = true;
            return take(&mut self.params, name, map.next_value()?);
        }
        let value: &'de RawValue = map.next_value()?;
        self.last = Some(value);
        match name {
            "jsonrpc" => take(&mut self.version, name, quoted::<A>(value)?),
            "id" => take(&mut self.id, name, value),
            "method" => take(&mut self.method, name, quoted::<A>(value)?),
            "result" | "error" => {
                self.is_answer = true;
                Ok(())
            }
            other => refuse_lookalike::<A>(other, ENVELOPE),
        }
    }
}

/// The text of a JSON string, borrowed where it has no escapes.
fn quoted<'de, A: MapAccess<'de>>(raw: &'de RawValue) -> Result<Cow<'de, str>, A::Error> {
    let name: Name<'de> = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
    Ok(name.0)
}

pub(super) enum ParamsShape<'a> {
    Object(Params<'a>),
    Other,
}

/// The members of `params` that the gateway acts on.
#[derive(Default)]
pub(super) struct Params<'a> {
    pub(super) name: Option<&'a RawValue>,
    pub(super) uri: Option<&'a RawValue>,
    pub(super) reference: Option<&'a RawValue>,
    pub(super) cursor: Option<&'a RawValue>,
    pub(super) meta: Option<&'a RawValue>,
    pub(super) arguments: Option<&'a RawValue>,
    pub(super) task_id: Option<&'a RawValue>,
    pub(super) is_for_task: bool,
    pub(super) state: Option<&'a RawValue>,
    pub(super) responses: Option<&'a RawValue>,
    pub(super) last: Option<&'a RawValue>,
}

const PARAMS: &[&str] =
    &["name", "uri", "ref", "cursor", "_meta", "arguments", "taskId", STATE, RESPONSES];

impl<'a> Params<'a> {
    pub(super) fn subject(
        &self,
        whole: &[u8],
        member: SubjectMember,
    ) -> Result<(Box<str>, Span), &'static str> {
        let raw = match member {
            SubjectMember::Name => self.name.ok_or("\"name\" is missing")?,
            SubjectMember::Task => self.task_id.ok_or("\"taskId\" is missing")?,
            SubjectMember::Uri => self.uri.ok_or("\"uri\" is missing")?,
            SubjectMember::Reference => {
                let raw = self.reference.ok_or("\"ref\" is missing")?;
                let members: Members<'a> =
                    serde_json::from_str(raw.get()).map_err(|_| "\"ref\" is no object")?;
                let named = members.get("name").or_else(|| members.get("uri"));
                named.ok_or("\"ref\" has neither \"name\" nor \"uri\"")?
            }
        };
        let text = text(raw).map_err(|()| "the name or uri is no text")?;
        Ok((text, Span::of(whole, raw)))
    }
}

impl<'de> Deserialize<'de> for ParamsShape<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = ParamsShape<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("params")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut params = Params::default();
                while let Some(Name(name)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    params.last = Some(value);
                    match &*name {
                        "name" => take(&mut params.name, &name, value)?,
                        "uri" => take(&mut params.uri, &name, value)?,
                        "ref" => take(&mut params.reference, &name, value)?,
                        "cursor" => take(&mut params.cursor, &name, value)?,
                        "_meta" => take(&mut params.meta, &name, value)?,
                        "arguments" => take(&mut params.arguments, &name, value)?,
                        "taskId" => take(&mut params.task_id, &name, value)?,
                        "task" => params.is_for_task = true,
                        STATE => take(&mut params.state, &name, value)?,
                        RESPONSES => take(&mut params.responses, &name, value)?,
                        other => refuse_lookalike::<A>(other, PARAMS)?,
                    }
                }
                Ok(ParamsShape::Object(params))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(ParamsShape::Other)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(ParamsShape::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(ParamsShape::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(ParamsShape::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(ParamsShape::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(ParamsShape::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(ParamsShape::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The text of a JSON string.
pub(super) fn text(raw: &RawValue) -> Result<Box<str>, ()> {
    serde_json::from_str(raw.get()).map_err(|_| ())
}
