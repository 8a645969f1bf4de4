//! Arguments that go into headers too, so that what stands between can route by them.
//!
//! A tool says so with `x-mcp-header` in its schema. Whoever speaks HTTP must send the header, and
//! must refuse a tool whose annotations are invalid (SEP-2243).

use std::{collections::HashSet, sync::Arc};

use memchr::memmem;
use serde_json::{Map, Value};

use crate::domain::ParamHeader;

const ANNOTATION: &str = "x-mcp-header";

/// How deep properties are followed.
const DEPTH: usize = 16;

/// Header names that would mean something else, even behind the prefix, to a careless reader.
const LONGEST: usize = 128;

/// The annotations of a tool's input schema; why they are invalid, where they are.
pub(super) fn read(schema: &str) -> Result<Option<Arc<[ParamHeader]>>, &'static str> {
    if memmem::find(schema.as_bytes(), ANNOTATION.as_bytes()).is_none() {
        return Ok(None);
    }
    let schema: Value = serde_json::from_str(schema).map_err(|_| "the schema is unreadable")?;
    let mut found = Vec::new();
    walk(&schema, &mut Vec::new(), &mut found)?;
    // What was not met on the way stands where an argument cannot be reached.
    if found.len() != count(&schema) {
        return Err("it stands where no argument is");
    }
    if found.is_empty() {
        return Ok(None);
    }
    let names: HashSet<String> = found.iter().map(|it| it.name.to_lowercase()).collect();
    if names.len() != found.len() {
        return Err("two arguments share one name");
    }
    Ok(Some(found.into()))
}

/// Members of a schema that hold schemas under names of any choice.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Members of a schema that hold data.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];

/// How many annotations stand anywhere in a schema.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Array(schemas) => schemas.iter().map(count).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| count_in(name, value)).sum(),
        _ => 0,
    }
}

fn count_in(name: &str, value: &Value) -> usize {
    match value {
        _ if name == ANNOTATION => 1,
        _ if DATA.contains(&name) => 0,
        Value::Object(named) if NAMED.contains(&name) => named.values().map(count).sum(),
        other => count(other),
    }
}

fn walk(
    schema: &Value,
    path: &mut Vec<Box<str>>,
    found: &mut Vec<ParamHeader>,
) -> Result<(), &'static str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    if path.len() >= DEPTH {
        return Ok(());
    }
    for (name, property) in properties.into_iter().flatten() {
        path.push(name.as_str().into());
        if let Some(annotation) = property.get(ANNOTATION) {
            let name = check(property, annotation)?;
            found.push(ParamHeader { name, path: path.clone().into() });
        }
        walk(property, path, found)?;
        path.pop();
    }
    Ok(())
}

fn check(property: &Value, annotation: &Value) -> Result<Box<str>, &'static str> {
    let name = annotation.as_str().ok_or("its value is no text")?;
    let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_token) {
        return Err("its value is no header name");
    }
    match property.get("type").and_then(Value::as_str) {
        Some("string" | "integer" | "boolean") => Ok(name.into()),
        _ => Err("its argument is neither string nor integer nor boolean"),
    }
}

/// An argument that a header repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument {
    /// How the header repeats it.
    pub(crate) text: String,
    is_number: bool,
}

impl Argument {
    /// The argument that a path leads to; none where the call does not give it.
    pub(crate) fn find(arguments: &Map<String, Value>, path: &[Box<str>]) -> Option<Self> {
        let (first, rest) = path.split_first()?;
        let start = arguments.get(&**first)?;
        let found = rest.iter().try_fold(start, |value, name| value.get(&**name))?;
        let text = match found {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return None,
        };
        Some(Self { text, is_number: found.is_number() })
    }

    /// Whether a header says the same. Numbers may be written in more than one way.
    pub(crate) fn is_said_by(&self, header: &str) -> bool {
        let is_decimal =
            |text: &str| text.bytes().all(|c| c.is_ascii_digit() || b"-.".contains(&c));
        let number = |text: &str| text.parse::<f64>().ok();
        self.text == header
            || (self.is_number && is_decimal(header) && number(&self.text) == number(header))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_arguments_wherever_they_can_be_reached() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "where": {"type": "object", "properties": {
                "zone": {"type": "integer", "x-mcp-header": "Zone"},
            }},
        }});

        let found = read(&schema.to_string()).expect("valid").expect("some");

        let arguments = json!({"region": "eu", "where": {"zone": 7}});
        let arguments = arguments.as_object().expect("an object");
        let find = |it: &ParamHeader| Argument::find(arguments, &it.path);
        let texts: Vec<_> = found.iter().filter_map(find).map(|it| it.text).collect();
        assert_eq!(texts, ["eu", "7"]);
        assert_eq!(Argument::find(&Map::new(), &found[0].path), None);
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        let argument = |value: Value| {
            let arguments = Map::from_iter([("a".to_owned(), value)]);
            Argument::find(&arguments, &["a".into()]).expect("an argument")
        };

        assert!(argument(json!(42)).is_said_by("42.0"));
        assert!(argument(json!(-7.0)).is_said_by("-7"));
        assert!(!argument(json!(42)).is_said_by("43"));
        assert!(!argument(json!(42)).is_said_by("4.2e1"));
        assert!(!argument(json!("42")).is_said_by("42.0"));
    }

    #[test]
    fn only_talk_of_an_annotation_is_none() {
        let talk = json!({"properties": {
            "a": {"type": "string", "description": "goes into x-mcp-header", "default": "x-mcp-header"},
            "x-mcp-header": {"type": "string"},
        }});

        assert_eq!(read(&talk.to_string()), Ok(None));
    }

    #[test]
    fn refuses_annotations_that_nobody_could_follow() {
        let annotated = |annotation: Value| json!({"properties": {"a": {"type": "string", "x-mcp-header": annotation}}});
        let shared = json!({"properties": {
            "a": {"type": "string", "x-mcp-header": "X"},
            "b": {"type": "string", "x-mcp-header": "x"},
        }});
        let in_items = json!({"properties": {"a": {"type": "array", "items": {
            "type": "string", "x-mcp-header": "X",
        }}}});
        let of_object = json!({"properties": {"a": {"type": "object", "x-mcp-header": "X"}}});

        for schema in [
            annotated(json!("")),
            annotated(json!("a b")),
            annotated(json!("a\r\nb")),
            annotated(json!(7)),
            shared,
            in_items,
            of_object,
        ] {
            assert!(read(&schema.to_string()).is_err(), "{schema}");
        }
        assert_eq!(read(r#"{"type":"object"}"#), Ok(None));
    }
}
