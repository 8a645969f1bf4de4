//! Results the gateway gives itself.

use bytes::Bytes;
use serde_json::json;

use super::{RawId, Span, member::Members};
use crate::domain::TaskSupport;

/// A whole answer around a result.
#[must_use]
pub fn answer(id: &RawId, result: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(result.len() + id.as_bytes().len() + 40);
    body.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    body.extend_from_slice(id.as_bytes());
    body.extend_from_slice(br#","result":"#);
    body.extend_from_slice(result);
    body.push(b'}');
    body.into()
}

/// The result of a tool of the gateway's own: structured, and as text for clients that read text.
#[must_use]
pub fn tool(structured: &serde_json::Value) -> Bytes {
    let result = json!({
        "resultType": "complete",
        "content": [{"type": "text", "text": structured.to_string()}],
        "structuredContent": structured,
        "isError": false,
    });
    result.to_string().into()
}

/// The result of a tool that could not do what it was asked: something a model can act on.
#[must_use]
pub fn tool_error(message: &str) -> Bytes {
    let result = json!({
        "resultType": "complete",
        "content": [{"type": "text", "text": message}],
        "isError": true,
    });
    result.to_string().into()
}

/// How a tool's definition says whether it is made for tasks (2025-11-25).
#[must_use]
pub fn task_support(execution: &str) -> TaskSupport {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Execution {
        #[serde(default)]
        task_support: Option<String>,
    }
    let said = serde_json::from_str::<Execution>(execution).ok();
    match said.and_then(|said| said.task_support).as_deref() {
        Some("required") => TaskSupport::Required,
        Some("optional") => TaskSupport::Optional,
        _ => TaskSupport::Forbidden,
    }
}

/// The members of an object, by name and place.
#[must_use]
pub fn members(object: &Bytes) -> Option<Vec<(String, Span)>> {
    let members: Members<'_> = serde_json::from_slice(object).ok()?;
    let placed = members.0.into_iter();
    Some(placed.map(|(name, value)| (name.into_owned(), Span::of(object, value))).collect())
}

/// Where the URIs of pages stand in the `_meta` of a tool, of which this is the place: under
/// `ui.resourceUri`, and under the name that was written before.
///
/// <https://modelcontextprotocol.io/extensions/apps>
#[must_use]
pub fn pages(tool: &Bytes, meta: Span) -> Box<[Span]> {
    let Ok(meta) = serde_json::from_str::<Members<'_>>(meta.text(tool)) else {
        return Box::default();
    };
    let old = meta.get("ui/resourceUri");
    let ui = meta.get("ui").and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok());
    let new = ui.as_ref().and_then(|ui| ui.get("resourceUri"));
    old.into_iter().chain(new).map(|raw| Span::of(tool, raw)).collect()
}

/// Whether a JSON Schema says that it describes an object: the only kind older revisions know.
#[must_use]
pub fn is_object_schema(schema: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Schema<'a> {
        #[serde(borrow, default)]
        r#type: Option<&'a serde_json::value::RawValue>,
    }
    let schema = serde_json::from_str::<Schema<'_>>(schema).ok();
    schema.and_then(|schema| schema.r#type).is_some_and(|kind| kind.get() == "\"object\"")
}
