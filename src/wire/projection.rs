//! Parts of JSON, as they were written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::Projection;

/// What a projection takes of JSON; none where it is no JSON, or the one part is not there.
#[must_use]
pub fn project(json: &str, projection: &Projection) -> Option<String> {
    let whole: &RawValue = serde_json::from_str(json).ok()?;
    match projection {
        Projection::Part(pointer) => part(whole, pointer).map(|part| part.get().to_owned()),
        Projection::Members(members) => {
            let found = members.iter().filter_map(|(name, at)| Some((name, part(whole, at)?)));
            serde_json::to_string(&found.collect::<BTreeMap<_, _>>()).ok()
        }
    }
}

/// The part that a JSON pointer names (RFC 6901).
fn part<'a>(whole: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    let Some(steps) = pointer.strip_prefix('/') else { return Some(whole) };
    steps.split('/').try_fold(whole, |part, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        match part.get().as_bytes().first()? {
            b'{' => {
                read::<BTreeMap<std::borrow::Cow<'_, str>, &RawValue>>(part)?.remove(step.as_str())
            }
            b'[' => {
                let index: usize = step.parse().ok()?;
                read::<Vec<&RawValue>>(part)?.get(index).copied()
            }
            _ => None,
        }
    })
}

fn read<'a, T: Deserialize<'a>>(part: &'a RawValue) -> Option<T> {
    serde_json::from_str(part.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn projected(projection: serde_json::Value) -> Option<String> {
        let json =
            r#" {"data": {"b": 1, "a": [1.0, {"x/y": 12345678901234567890123}]}, "é": null}"#;
        project(json, &serde_json::from_value(projection).expect("a projection"))
    }

    #[test]
    fn parts_are_taken_as_they_were_written() {
        let taken = |projection| projected(projection).expect("there");
        assert_eq!(taken(json!("/data/a/1/x~1y")), "12345678901234567890123");
        assert_eq!(taken(json!("/data/a/0")), "1.0");
        assert_eq!(taken(json!("/é")), "null");
        assert_eq!(
            taken(json!("/data")),
            r#"{"b": 1, "a": [1.0, {"x/y": 12345678901234567890123}]}"#
        );
        assert_eq!(taken(json!({"n": "/data/b", "none": "/moon"})), r#"{"n":1}"#);
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        for pointer in ["/moon", "/data/a/2", "/data/a/x", "/data/b/c", "/data/"] {
            assert_eq!(projected(json!(pointer)), None, "{pointer}");
        }
        assert_eq!(project("no json", &Projection::Part(String::new())), None);
    }
}
