//! Fields of CSV (RFC 4180).

use std::borrow::Cow;

use serde_json::Value;

/// A field. What a table program would take for a formula is kept from being one.
#[must_use]
pub fn csv_field(text: &str) -> Cow<'_, str> {
    let text = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => Cow::Owned(format!("'{text}")),
        _ => Cow::Borrowed(text),
    };
    if text.contains(['"', ',', '\n', '\r']) {
        return Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")));
    }
    text
}

/// A value of JSON as the text of a field: nothing where there is none.
#[must_use]
pub fn csv_text(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stay_one_field_and_no_formula() {
        for (text, written) in
            [("a", "a"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("=1+1", "'=1+1"), ("", "")]
        {
            assert_eq!(csv_field(text), written);
        }
    }
}
