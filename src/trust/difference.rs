//! Differences: what a definition says otherwise than before, field by field, for people.

use serde::Serialize;
use serde_json::Value;

use crate::domain::without_unseen;

/// Fields that are told of at most.
const FIELDS: usize = 100;
/// Characters of a value that are shown.
const VALUE_CHARS: usize = 4_000;

/// A field that is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// The members that lead to it.
    pub(crate) field: String,
    /// What stood there; none where it was not there.
    pub(crate) before: Option<String>,
    /// What stands there; none where it is gone.
    pub(crate) now: Option<String>,
}

/// Every field that differs between two definitions.
pub(super) fn differences(before: Option<&str>, now: &str) -> Vec<Difference> {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut found = Vec::new();
    let old = before.map_or_else(|| Value::Object(serde_json::Map::new()), read);
    compare(&mut Vec::new(), Some(&old), Some(&read(now)), &mut found);
    if found.is_empty() && before.is_some_and(|before| before != now) {
        // A member stands in it twice, and readers differ in which they take.
        let field = "the definition".to_owned();
        found.push(Difference { field, before: before.map(shown), now: Some(shown(now)) });
    }
    found
}

/// The first members of all that differs, each once: what changed, in few words.
pub(super) fn changed(before: &str, now: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for Difference { field, .. } in differences(Some(before), now) {
        let first = field.split('.').next().unwrap_or_default().to_owned();
        if !names.contains(&first) {
            names.push(first);
        }
    }
    names
}

fn compare<'a>(
    path: &mut Vec<&'a str>,
    before: Option<&'a Value>,
    now: Option<&'a Value>,
    found: &mut Vec<Difference>,
) {
    if before == now || found.len() >= FIELDS {
        return;
    }
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, now) else {
        let field = path.iter().map(|name| shown(name)).collect::<Vec<_>>().join(".");
        let text = |value: &Value| match value {
            Value::String(text) => shown(text),
            other => shown(&other.to_string()),
        };
        found.push(Difference { field, before: before.map(text), now: now.map(text) });
        return;
    };
    let added = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(added) {
        path.push(name);
        compare(path, old.get(name), new.get(name), found);
        path.pop();
    }
}

/// Text as people can read it: with an escape for what they would not see, and cut.
pub(super) fn shown(text: &str) -> String {
    let is_long = text.chars().nth(VALUE_CHARS).is_some();
    let mut shown = String::new();
    for c in text.chars().take(VALUE_CHARS) {
        let is_seen =
            c == '\n' || c == '\t' || (without_unseen(c.encode_utf8(&mut [0; 4])).is_none());
        if is_seen { shown.push(c) } else { shown.extend(c.escape_unicode()) }
    }
    if is_long {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_fields_that_differ() {
        let before = r#"{"description":"a","inputSchema":{"properties":{"x":{"type":"string"}}},"name":"t"}"#;
        let now = r#"{"description":"b\u200b","inputSchema":{"properties":{"x":{"type":"string"},"y":{"type":"string"}}},"name":"t"}"#;

        let found = differences(Some(before), now);

        let difference = |field: &str, before: Option<&str>, now: Option<&str>| Difference {
            field: field.into(),
            before: before.map(Into::into),
            now: now.map(Into::into),
        };
        let y = difference("inputSchema.properties.y", None, Some(r#"{"type":"string"}"#));
        assert_eq!(found, [difference("description", Some("a"), Some(r"b\u{200b}")), y]);
        assert_eq!(changed(before, now), ["description", "inputSchema"]);
    }

    #[test]
    fn a_new_definition_is_shown_member_by_member() {
        let fields = differences(None, r#"{"description":"a","name":"t"}"#);

        let names: Vec<&str> = fields.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(names, ["description", "name"]);
        assert!(fields.iter().all(|it| it.before.is_none()));
    }

    #[test]
    fn a_member_that_stands_twice_hides_no_difference() {
        let now = r#"{"description":"evil","description":"good"}"#;

        assert_eq!(differences(Some(r#"{"description":"good"}"#), now).len(), 1);
    }

    #[test]
    fn long_values_are_cut_and_many_fields_counted() {
        let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(VALUE_CHARS + 1));
        let many = (0..=FIELDS).map(|at| format!(r#""f{at}":1"#)).collect::<Vec<_>>().join(",");

        let text = differences(None, &long)[0].now.clone().expect("a value");
        assert_eq!(text.chars().count(), VALUE_CHARS + 1);
        assert_eq!(differences(None, &format!("{{{many}}}")).len(), FIELDS);
    }
}
