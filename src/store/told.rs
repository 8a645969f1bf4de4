//! What the audit tells of a thing: what it was and what it is, without secrets.

use serde_json::{Map, Value, json};

use super::table::Thing;
use crate::domain::{Noun, veiled};

/// Members that are no secrets by their type, and of no use but to whoever breaks in.
const HIDDEN: [&str; 2] = ["password_hash", "digest"];
/// What stands in their place.
const VEIL: &str = "[secret]";
/// Members that are different each time.
const IDLE: [&str; 1] = ["updated_at"];
/// The longest text of either side, in bytes.
const TEXT: usize = 8 << 10;

/// Whether anything is told of such things: not where they are little else than secrets.
pub(super) const fn is_told<T: Thing>() -> bool {
    use Noun::{Link, Login, Pins, SecondFactor, SigningKey};
    !matches!(T::NOUN, Login | SigningKey | SecondFactor | Link | Pins)
}

/// A thing as it is told of; none where nothing is.
pub(super) fn value<T: Thing>(thing: &T) -> Option<Value> {
    // What cannot be told of is still changed.
    is_told::<T>().then(|| veiled(|| serde_json::to_value(thing)).ok()).flatten()
}

/// What is different: what it was and what it is, as JSON.
pub(super) fn difference(
    before: Option<&Value>,
    after: Option<&Value>,
) -> (Option<String>, Option<String>) {
    let (before, after) = (before.and_then(Value::as_object), after.and_then(Value::as_object));
    let told = |own: &Map<String, Value>, other: Option<&Map<String, Value>>| {
        let is_told = |name: &str, value: &Value| {
            let is_other = match other {
                Some(other) => other.get(name) != Some(value),
                None => !value.is_null(),
            };
            is_other && !IDLE.contains(&name)
        };
        let members = own.iter().filter(|(name, value)| is_told(name, value));
        let members: Map<String, Value> = members
            .map(|(name, value)| {
                let is_hidden = HIDDEN.contains(&name.as_str());
                (name.clone(), if is_hidden { VEIL.into() } else { value.clone() })
            })
            .collect();
        let text = Value::from(members.clone()).to_string();
        if text.len() <= TEXT {
            return text;
        }
        let names: Vec<&String> = members.keys().collect();
        json!({ "too_long_to_tell": names }).to_string()
    };
    (before.map(|it| told(it, after)), after.map(|it| told(it, before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_different_is_told_and_no_secret() {
        let before = json!({"name": "a", "digest": [1], "state": "active", "updated_at": 1});
        let after = json!({"name": "a", "digest": [2], "state": "inactive", "updated_at": 2});
        let text = |text: &str| Some(text.to_owned());

        assert_eq!(
            difference(Some(&before), Some(&after)),
            (
                text(r#"{"digest":"[secret]","state":"active"}"#),
                text(r#"{"digest":"[secret]","state":"inactive"}"#)
            )
        );
        let (old, new) = difference(None, Some(&after));
        assert_eq!(
            (old, new),
            (None, text(r#"{"name":"a","digest":"[secret]","state":"inactive"}"#))
        );
        let (old, new) = difference(Some(&before), None);
        assert!(old.is_some() && new.is_none());
        let long = json!({"name": "x".repeat(TEXT)});
        assert_eq!(difference(None, Some(&long)).1, text(r#"{"too_long_to_tell":["name"]}"#));
    }
}
