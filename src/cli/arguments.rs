//! Arguments of a tool, as they are typed in a shell.
//!
//! `k=v` is read as the tool's schema says; `k:=JSON` is taken as it is.

use serde_json::{Value, value::RawValue};

use super::Failure;
use crate::client::Tool;

/// The arguments as one JSON object. Numbers keep every digit.
pub(super) fn object(pairs: &[String], schema: Option<&Value>) -> Result<Box<RawValue>, Failure> {
    let mut members = Vec::new();
    for pair in pairs {
        let (name, value) = member(pair, schema)?;
        members.push(format!("{}:{value}", Value::from(name)));
    }
    let object = format!("{{{}}}", members.join(","));
    Ok(RawValue::from_string(object).expect("every member is JSON"))
}

/// Whether any of them needs the schema.
pub(super) fn need_schema(pairs: &[String]) -> bool {
    pairs.iter().any(|pair| split(pair).is_some_and(|(_, is_json, _)| !is_json))
}

/// Name, whether the value is JSON, value. Whichever sign comes first counts.
fn split(pair: &str) -> Option<(&str, bool, &str)> {
    let (name, value) = pair.split_once('=')?;
    match name.strip_suffix(':') {
        Some(name) => Some((name, true, value)),
        None => Some((name, false, value)),
    }
}

fn member<'a>(pair: &'a str, schema: Option<&Value>) -> Result<(&'a str, Box<RawValue>), Failure> {
    let (name, is_json, value) = split(pair).ok_or_else(|| {
        Failure::misuse(
            format!("{pair:?} is no argument"),
            "an argument is name=value or name:=JSON",
        )
        .with_fix("for a whole object, use --json '{…}' or --json - to read it")
    })?;
    let wanted = if is_json { Wanted::Json } else { Wanted::of(name, schema) };
    let value = wanted.read(value).ok_or_else(|| {
        Failure::misuse(format!("the argument {name} is not {wanted}"), format!("it is {value:?}"))
            .with_fix(format!("write {name}:=JSON to give it in another type"))
    })?;
    Ok((name, value))
}

/// What a schema wants of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Integer,
    Number,
    Boolean,
    Json,
    Text,
    /// Several things; whatever the text is JSON of, or else the text.
    Any,
}

impl Wanted {
    fn of(name: &str, schema: Option<&Value>) -> Self {
        let property = schema.and_then(|schema| schema.get("properties")?.get(name));
        let types: Vec<&str> = match property.and_then(|property| property.get("type")) {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let types: Vec<&str> = types.into_iter().filter(|kind| *kind != "null").collect();
        match types[..] {
            ["integer"] => Self::Integer,
            ["number"] => Self::Number,
            ["boolean"] => Self::Boolean,
            ["object" | "array"] => Self::Json,
            // Without a word about the type, text is the least surprising.
            ["string"] => Self::Text,
            [] if property.is_none_or(|property| property.get("anyOf").is_none()) => Self::Text,
            _ => Self::Any,
        }
    }

    fn read(self, text: &str) -> Option<Box<RawValue>> {
        let json = || RawValue::from_string(text.trim().to_owned()).ok();
        let starts = |sign: fn(char) -> bool| text.trim().starts_with(sign);
        let is_number = || starts(|first| first == '-' || first.is_ascii_digit());
        match self {
            Self::Integer => json().filter(|_| is_number() && !text.contains(['.', 'e', 'E'])),
            Self::Number => json().filter(|_| is_number()),
            Self::Boolean => json().filter(|_| ["true", "false"].contains(&text.trim())),
            Self::Json => json(),
            Self::Text => Some(quoted(text)),
            Self::Any => Some(json().unwrap_or_else(|| quoted(text))),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Json => "JSON",
            Self::Text | Self::Any => "text",
        })
    }
}

fn quoted(text: &str) -> Box<RawValue> {
    RawValue::from_string(Value::from(text).to_string()).expect("a quoted text is JSON")
}

/// An argument that a tool takes, in a row: name, type, whether it must be given, what it is for.
pub(super) fn described(tool: &Tool) -> Vec<Vec<String>> {
    let schema = &tool.input_schema;
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|it| it == name));
    let properties = schema.get("properties").and_then(Value::as_object);
    let text = |place: Option<&Value>| match place {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let row = |(name, property): (&String, &Value)| {
        vec![
            name.clone(),
            text(property.get("type")),
            if is_required(name) { "yes".into() } else { String::new() },
            text(property.get("description")),
        ]
    };
    properties.into_iter().flatten().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(pairs: &[&str]) -> Result<String, Failure> {
        let schema = json!({"properties": {
            "n": {"type": "integer"},
            "x": {"type": ["number", "null"]},
            "b": {"type": "boolean"},
            "l": {"type": "array"},
            "s": {"type": "string"},
            "any": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        }});
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        object(&pairs, Some(&schema)).map(|object| object.get().to_owned())
    }

    #[test]
    fn the_schema_says_what_a_text_means() {
        let pairs = ["n=18446744073709551616", "x=-1.50", "b=true", "l=[1, 2]", "s=7", "any=7"];

        let object = read(&pairs).expect("arguments");

        let expected =
            r#"{"n":18446744073709551616,"x":-1.50,"b":true,"l":[1, 2],"s":"7","any":7}"#;
        assert_eq!(object, expected);
    }

    #[test]
    fn what_the_schema_does_not_know_is_text_unless_it_is_json() {
        let object = read(&["other=true", "q=a=b:=c", "raw:={\"a\":[null]}", "any=x y", "s="]);

        let expected = r#"{"other":"true","q":"a=b:=c","raw":{"a":[null]},"any":"x y","s":""}"#;
        assert_eq!(object.expect("arguments"), expected);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (pair, complaint) in [
            ("n=1.5", "the argument n is not a whole number"),
            ("n=\"1\"", "the argument n is not a whole number"),
            ("x=inf", "the argument x is not a number"),
            ("b=yes", "the argument b is not true or false"),
            ("l=[1", "the argument l is not JSON"),
            ("raw:=", "the argument raw is not JSON"),
            ("alone", "\"alone\" is no argument"),
        ] {
            let refused = read(&[pair]).expect_err(pair);
            assert!(refused.to_string().contains(complaint), "{refused}");
            assert_eq!(refused.code(), 2);
        }
    }
}
