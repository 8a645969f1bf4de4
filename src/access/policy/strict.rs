//! Arguments as a policy may read them: only where every reader reads the same.
//!
//! A server behind the gateway may take the last of two members with one name, or `Path` for
//! `path`. What could be read in two ways cannot be judged, and is refused.

use serde_json::{Value, value::RawValue};

use crate::{access::strict::Strict, wire::Request};

/// The arguments of a call.
pub(super) fn arguments(request: &Request) -> Result<Value, &'static str> {
    match request.param::<&RawValue>("arguments") {
        Some(raw) => {
            let read: Result<Strict, _> = serde_json::from_str(raw.get());
            read.map(|Strict(value)| value).map_err(|_| "the arguments can be read in two ways")
        }
        None => Ok(Value::Null),
    }
}

/// What stands at a path; none where nothing does.
pub(super) fn find<'a>(
    whole: &'a Value,
    path: &[Box<str>],
) -> Result<Option<&'a Value>, &'static str> {
    let mut found = whole;
    for name in path {
        found = match found {
            Value::Object(members) => {
                let mut others = members.keys().filter(|other| ***other != **name);
                if others.any(|other| other.chars().map(fold).eq(name.chars().map(fold))) {
                    return Err("an argument is spelt like another but for its case");
                }
                match members.get(&**name) {
                    Some(member) => member,
                    None => return Ok(None),
                }
            }
            Value::Array(items) => match name.parse::<usize>().ok().and_then(|at| items.get(at)) {
                Some(item) => item,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
    }
    Ok(Some(found))
}

/// A character as readers see it that do not mind case. U+017F and U+212A fold to `s` and `k`.
const fn fold(c: char) -> char {
    match c {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::Method;

    fn read(arguments: &str) -> Result<Value, &'static str> {
        let params = format!(r#"{{"name":"a","arguments":{arguments}}}"#);
        super::arguments(&Request::make(&Method::ToolsCall, &params))
    }

    #[test]
    fn reads_what_can_be_read_in_one_way_only() {
        let plain = r#"{"a":{"b":[1,"x",null,true,1.5]}}"#;

        assert_eq!(read(plain), Ok(serde_json::from_str(plain).expect("JSON")));
        assert!(read(r#"{"a":1,"a":2}"#).is_err());
        assert!(read(r#"{"x":[{"a":1,"\u0061":2}]}"#).is_err());
    }

    #[test]
    fn finds_members_and_refuses_their_doubles() {
        let whole = json!({"a": {"b": [10, 20]}, "Path": 1, "path": 2, "n": null});
        let find = |path: &[&str]| {
            let path: Vec<Box<str>> = path.iter().map(|name| (*name).into()).collect();
            super::find(&whole, &path).map(Option::<&Value>::cloned)
        };

        assert_eq!(find(&["a", "b", "1"]), Ok(Some(json!(20))));
        assert_eq!(find(&["a", "c"]), Ok(None));
        assert_eq!(find(&["n"]), Ok(Some(Value::Null)));
        assert!(find(&["path"]).is_err() && find(&["PATH"]).is_err() && find(&["A"]).is_err());
    }
}
