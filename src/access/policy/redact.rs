//! Redaction: what must not get out in an answer.

use std::borrow::Cow;

use regex::{NoExpand, Regex};
use serde_json::{Map, Value};

use super::{
    Limits,
    compile::{Wrong, pattern},
};

const MASK: &str = "[redacted]";
/// The longest text that stands in place of what is redacted, in bytes.
const MASK_LIMIT: usize = 100;
/// Members whose texts are the protocol's, or no text at all.
const SPARED: &[&str] = &["type", "resultType", "mimeType", "role", "cacheScope", "blob"];

/// What is taken out of answers.
#[derive(Debug)]
pub(super) struct Redaction {
    remove: Vec<Path>,
    mask: Vec<Path>,
    patterns: Vec<Regex>,
    with: String,
}

/// The members that lead to what is meant; `*` stands for every item of a list or every member.
type Path = Vec<String>;

impl Redaction {
    /// Compiles `remove` and `mask` (members of structured results), `patterns` (in every text) and
    /// `with` (what stands in the place of what is masked).
    pub(super) fn compile(actions: &Map<String, Value>, limits: &Limits) -> Result<Self, Wrong> {
        let texts = |member: &str| -> Result<Vec<String>, Wrong> {
            let at = format!("/actions/{member}");
            let Some(said) = actions.get(member) else { return Ok(Vec::new()) };
            let said: Option<Vec<String>> = said.as_array().and_then(|items| {
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
            });
            let said = said.ok_or_else(|| Wrong::new(&*at, "it must be a list of texts"))?;
            let limit = limits.rules;
            if said.len() > limit {
                let reason =
                    format!("it has more than {limit}, the limit access.policy_limits.rules");
                return Err(Wrong::new(at, reason));
            }
            Ok(said)
        };
        let paths = |member: &str| -> Result<Vec<Path>, Wrong> {
            let read = |(index, path): (usize, String)| {
                let path: Path = path.split('.').map(str::to_owned).collect();
                if path.iter().any(String::is_empty) || path.len() > PATH_LIMIT {
                    let at = format!("/actions/{member}/{index}");
                    return Err(Wrong::new(at, "it is no path such as user.email or items.*.key"));
                }
                Ok(path)
            };
            texts(member)?.into_iter().enumerate().map(read).collect()
        };
        let patterns = texts("patterns")?
            .into_iter()
            .enumerate()
            .map(|(index, text)| pattern(&text, limits, &format!("/actions/patterns/{index}")));
        let patterns: Vec<Regex> = patterns.collect::<Result<_, _>>()?;
        let (remove, mask) = (paths("remove")?, paths("mask")?);
        if remove.is_empty() && mask.is_empty() && patterns.is_empty() {
            return Err(Wrong::new("/actions", "give what to redact: remove, mask or patterns"));
        }
        let with = match actions.get("with") {
            None => MASK.to_owned(),
            Some(Value::String(with)) if with.len() <= MASK_LIMIT => with.clone(),
            Some(_) => {
                return Err(Wrong::new("/actions/with", "it must be text of at most 100 bytes"));
            }
        };
        Ok(Self { remove, mask, patterns, with })
    }

    /// Takes out of a result, or of an error, what must not get out.
    pub(super) fn apply(&self, said: &mut Value) {
        if !(self.remove.is_empty() && self.mask.is_empty()) {
            if let Some(structured) = said.get_mut("structuredContent") {
                self.take_members(structured);
            }
            self.in_texts(said);
        }
        if !self.patterns.is_empty() {
            self.hide(said, Ground::Protocol);
        }
    }

    fn take_members(&self, whole: &mut Value) {
        for path in &self.remove {
            take(whole, path, None);
        }
        for path in &self.mask {
            take(whole, path, Some(&self.with));
        }
    }

    /// Servers write what is structured as text too, for clients that read text.
    fn in_texts(&self, said: &mut Value) {
        match said {
            Value::Object(members) => {
                if let Some(Value::String(text)) = members.get_mut("text")
                    && text.trim_start().starts_with(['{', '['])
                    && let Ok(mut whole) = serde_json::from_str::<Value>(text)
                {
                    let before = whole.clone();
                    self.take_members(&mut whole);
                    if whole != before {
                        *text = whole.to_string();
                    }
                }
                members.values_mut().for_each(|member| self.in_texts(member));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.in_texts(item)),
            _ => {}
        }
    }

    fn hide(&self, said: &mut Value, ground: Ground) {
        match said {
            Value::String(text) => {
                for pattern in &self.patterns {
                    if let Cow::Owned(hidden) = pattern.replace_all(text, NoExpand(&self.with)) {
                        *text = hidden;
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(item, ground)),
            Value::Object(members) => {
                let kind = members.get("type").and_then(Value::as_str);
                let is_binary = matches!(kind, Some("image" | "audio"));
                for (name, member) in members {
                    let is_spared = SPARED.contains(&name.as_str()) || is_binary && name == "data";
                    match (ground, name.as_str()) {
                        (Ground::Protocol, _) if is_spared && member.is_string() => {}
                        (_, "structuredContent" | "_meta") => self.hide(member, Ground::Servers),
                        _ => self.hide(member, ground),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whose members are looked at.
#[derive(Debug, Clone, Copy)]
enum Ground {
    /// Some are the protocol's own.
    Protocol,
    /// All are the server's.
    Servers,
}

const PATH_LIMIT: usize = 16;

/// Removes what a path leads to, or puts a mask in its place.
fn take(whole: &mut Value, path: &[String], mask: Option<&str>) {
    let Some((name, rest)) = path.split_first() else {
        if let Some(mask) = mask {
            *whole = Value::from(mask);
        }
        return;
    };
    let is_removal = rest.is_empty() && mask.is_none();
    match whole {
        Value::Object(members) if is_removal && name == "*" => members.clear(),
        Value::Object(members) if is_removal => {
            members.shift_remove(name);
        }
        Value::Object(members) if name == "*" => {
            for member in members.values_mut() {
                take(member, rest, mask);
            }
        }
        Value::Object(members) => {
            members.get_mut(name).into_iter().for_each(|member| take(member, rest, mask));
        }
        Value::Array(items) if is_removal && name == "*" => items.clear(),
        Value::Array(items) if name == "*" => {
            for item in items {
                take(item, rest, mask);
            }
        }
        Value::Array(items) => {
            let at = name.parse::<usize>().ok().filter(|at| *at < items.len());
            match at {
                Some(at) if is_removal => drop(items.remove(at)),
                Some(at) => take(&mut items[at], rest, mask),
                None => {}
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redacted(actions: Value, mut said: Value) -> Value {
        let Value::Object(actions) = actions else { panic!("an object") };
        Redaction::compile(&actions, &Limits::default()).expect("compiles").apply(&mut said);
        said
    }

    #[test]
    fn members_go_from_structured_results_and_from_texts_that_repeat_them() {
        let said = json!({
            "content": [{"type": "text", "text": r#"{"users":[{"name":"a","ssn":"1"}],"n":1}"#}],
            "structuredContent": {"users": [{"name": "a", "ssn": "1", "mail": "a@b"}], "n": 1},
        });

        let said = redacted(json!({"remove": ["users.*.ssn"], "mask": ["users.0.mail"]}), said);

        assert_eq!(
            said,
            json!({
                "content": [{"type": "text", "text": r#"{"users":[{"name":"a"}],"n":1}"#}],
                "structuredContent": {"users": [{"name": "a", "mail": "[redacted]"}], "n": 1},
            })
        );
    }

    #[test]
    fn whole_lists_and_their_items_can_be_meant() {
        let said = || json!({"structuredContent": {"a": [1, 2], "b": {"c": 1}}});

        let masked = redacted(json!({"mask": ["a.*", "b"], "with": "x"}), said());
        let removed = redacted(json!({"remove": ["a.0", "b.*"]}), said());

        assert_eq!(masked, json!({"structuredContent": {"a": ["x", "x"], "b": "x"}}));
        assert_eq!(removed, json!({"structuredContent": {"a": [2], "b": {}}}));
    }

    #[test]
    fn patterns_hold_in_every_text_but_the_protocols_own() {
        let said = json!({
            "content": [
                {"type": "text", "text": "card 4711, card 4712"},
                {"type": "image", "mimeType": "image/4711", "data": "4711"},
                {"type": "resource", "resource": {"uri": "x://4711", "text": "4711"}},
            ],
            "structuredContent": {"type": "4711", "deep": ["4711", 4711]},
            "isError": false,
        });

        let said = redacted(json!({"patterns": ["47\\d\\d"], "with": "$0"}), said);

        assert_eq!(
            said,
            json!({
                "content": [
                    {"type": "text", "text": "card $0, card $0"},
                    {"type": "image", "mimeType": "image/4711", "data": "4711"},
                    {"type": "resource", "resource": {"uri": "x://$0", "text": "$0"}},
                ],
                "structuredContent": {"type": "$0", "deep": ["$0", 4711]},
                "isError": false,
            })
        );
    }
}
