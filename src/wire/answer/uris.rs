//! Where the URIs of resources stand in a result.

use serde_json::value::RawValue;

use crate::wire::member::Members;

/// The URIs of contents that were read, and of resources that a tool or a prompt points to.
pub(super) fn find(result: &RawValue) -> Vec<&RawValue> {
    let result = members(result);
    let contents = result.get("contents").map(each).unwrap_or_default();
    let read = contents.into_iter().filter_map(|content| members(content).get("uri"));
    let blocks = result.get("content").map(each).unwrap_or_default();
    let messages = result.get("messages").map(each).unwrap_or_default();
    let said = messages.into_iter().filter_map(|message| members(message).get("content"));
    let blocks = blocks.into_iter().chain(said.flat_map(each));
    read.chain(blocks.filter_map(in_block)).collect()
}

/// The URI of a block that is a resource or a link to one.
fn in_block(block: &RawValue) -> Option<&RawValue> {
    let block = members(block);
    match block.get("type")?.get() {
        "\"resource_link\"" => block.get("uri"),
        "\"resource\"" => members(block.get("resource")?).get("uri"),
        _ => None,
    }
}

/// The items of a list; whatever is no list is one item.
fn each(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| vec![raw])
}

/// The members of an object; whatever is no object has none.
fn members(raw: &RawValue) -> Members<'_> {
    serde_json::from_str(raw.get()).unwrap_or(Members(Vec::new()))
}
