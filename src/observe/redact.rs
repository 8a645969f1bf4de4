//! What must not be written: secrets in what was said.
//!
//! It is a net, not a proof: members whose names say that they hold a secret, and texts that look
//! like one wherever they stand. Whoever must keep nothing keeps no bodies.

use std::{borrow::Cow, cell::RefCell, collections::HashMap, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

/// What stands in place of a secret.
const INSTEAD: &str = "[redacted]";

/// Names of members that hold secrets, as they are or within longer names.
static NAMES: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?ix)
        passw(or)?d | passphrase | secret | credential | cookie | authorization | private_?key
        | api[-_]?key | access[-_]?key | (^|[-_a-z])token$ | ^(pin|otp|totp|cvv|jwt|bearer)$",
    )
});

/// Texts that are secrets wherever they stand.
static TEXTS: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?x)
        \bthk_[A-Za-z]+_[A-Za-z0-9_]{20,}                           # our own keys
        | \b(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}             # as they stand in headers
        | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]* # tokens (JWT)
        | \b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9]{20,}   # OpenAI, Anthropic, Stripe
        | \bgh[pousr]_[A-Za-z0-9]{30,} | \bgithub_pat_\w{30,}       # GitHub
        | \bglpat-[\w-]{20,} | \bxox[abeoprs]-[A-Za-z0-9-]{10,}     # GitLab, Slack
        | \bAKIA[0-9A-Z]{16}\b                                      # AWS
        | -----BEGIN\s[A-Z\s]*PRIVATE\sKEY-----[^-]*(?:-----END\s[A-Z\s]*PRIVATE\sKEY-----)?
        | (?P<before>://[^/\s:@]*:)[^/\s:@]+@                       # passwords in URLs
        ",
    )
});

/// Members of JSON that is not whole, with the start of what they hold.
static MEMBERS: LazyLock<Regex> = LazyLock::new(|| {
    expression(r#""(?P<name>(?:[^"\\]|\\.){1,64})"(?P<sign>\s*:\s*)"(?:[^"\\]|\\.)*"?"#)
});

/// Names that are remembered: servers have few, and say them in every call.
const REMEMBERED: usize = 4_096;

thread_local! {
    static REMEMBER: RefCell<HashMap<Box<str>, bool>> = RefCell::default();
}

/// Whether a member of this name holds a secret.
fn is_secret(name: &str) -> bool {
    REMEMBER.with_borrow_mut(|known| {
        if let Some(is_secret) = known.get(name) {
            return *is_secret;
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let is_secret = NAMES.is_match(name);
        known.insert(name.into(), is_secret);
        is_secret
    })
}

/// Whether text may look like a secret at all: each of [`TEXTS`] has one of these, and is longer.
fn may_be_secret(text: &str) -> bool {
    let is_sign = |byte: u8| matches!(byte, b'_' | b'.' | b'-' | b':' | b' ');
    text.len() >= 6 && (text.bytes().any(is_sign) || text.contains("AKIA"))
}

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of our own")
}

/// Text without the secrets that are known by their looks.
fn text(text: &str) -> Cow<'_, str> {
    if !may_be_secret(text) {
        return Cow::Borrowed(text);
    }
    TEXTS.replace_all(text, |found: &regex::Captures<'_>| {
        found
            .name("before")
            .map_or_else(|| INSTEAD.to_owned(), |before| format!("{}{INSTEAD}@", before.as_str()))
    })
}

/// Takes secrets out of JSON.
pub(super) fn json(value: &mut Value) {
    match value {
        Value::String(said) => {
            if let Cow::Owned(tame) = text(said) {
                *said = tame;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(json),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(_) | Value::Number(_) if is_secret(name) => {
                        *value = INSTEAD.into();
                    }
                    // Whatever shape a secret has: a schema of one is none.
                    Value::Array(_) if is_secret(name) => *value = INSTEAD.into(),
                    value => json(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Takes secrets out of text that may be the beginning of JSON.
pub(super) fn start_of_json(said: &str) -> String {
    let members = MEMBERS.replace_all(said, |found: &regex::Captures<'_>| {
        let name = &found["name"];
        if is_secret(name) {
            format!("\"{name}\"{}\"{INSTEAD}\"", &found["sign"])
        } else {
            found[0].to_owned()
        }
    });
    text(&members).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_that_say_so_and_texts_that_look_so_are_taken_out() {
        let key = format!("thk_live_abcdefghijkl_{}_abcdef", "x".repeat(43));
        let token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
        let mut said = json!({
            "user": "ana",
            "password": "hunter2",
            "apiKey": 17,
            "access_token": "abc",
            "secrets": ["a", "b"],
            "nested": [{"Authorization": "x"}, format!("use {key} now"), token],
            "url": "postgres://ana:hunter2@db/x",
            "maxTokens": 5,
            "total_tokens_note": "many",
            "header": "Authorization: Bearer abcdefghijklmnopqrstuvwxyz",
        });

        json(&mut said);

        let expected = json!({
            "user": "ana",
            "password": "[redacted]",
            "apiKey": "[redacted]",
            "access_token": "[redacted]",
            "secrets": "[redacted]",
            "nested": [{"Authorization": "[redacted]"}, "use [redacted] now", "[redacted]"],
            "url": "postgres://ana:[redacted]@db/x",
            "maxTokens": 5,
            "total_tokens_note": "many",
            "header": "Authorization: [redacted]",
        });
        assert_eq!(said, expected);
    }

    #[test]
    fn schemas_of_secrets_stay_schemas() {
        let schema = json!({"properties": {"password": {"type": "string", "maxLength": 5}}});
        let mut said = schema.clone();
        json(&mut said);
        assert_eq!(said, schema);
    }

    #[test]
    fn what_was_cut_off_is_looked_through_as_well() {
        let said = r#"{"a":"b","password": "hunter2","token":"sec"#;
        assert_eq!(
            start_of_json(said),
            r#"{"a":"b","password": "[redacted]","token":"[redacted]""#
        );
        assert_eq!(start_of_json("Bearer abcdefghijklmnopqrst!"), "[redacted]!");
    }
}
