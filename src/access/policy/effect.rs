//! Effects: what a policy does where it holds.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Limits,
    compile::{Wrong, only},
    redact::Redaction,
};

/// What a policy does.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    Allow,
    Deny,
    /// Denies whoever does not meet it.
    Require(Strength),
    Redact(Arc<Redaction>),
    /// It cannot be compiled, and denies everything.
    Broken(String),
}

/// How a caller must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// By any credential.
    Credential,
    /// As somebody who signed in.
    User,
    /// As the owner of the machine's data folder.
    Operator,
}

impl Effect {
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny | Self::Broken(_) => "deny",
            Self::Require(_) => "require",
            Self::Redact(_) => "redact",
        }
    }
}

/// Compiles what stands below `/actions`: what is done, and what is said of it in the journal.
pub(super) fn compile(actions: &Value, limits: &Limits) -> Result<(Effect, Option<String>), Wrong> {
    let Value::Object(members) = actions else {
        return Err(Wrong::new("/actions", "it must be an object"));
    };
    let common = |more: &[&'static str]| {
        let known: Vec<&str> = ["effect", "message", "log"].iter().chain(more).copied().collect();
        only(members, "/actions", &known)
    };
    let effect = match members.get("effect").and_then(Value::as_str) {
        Some("allow") => {
            common(&[])?;
            Effect::Allow
        }
        Some("deny") => {
            common(&[])?;
            Effect::Deny
        }
        Some("require") => {
            common(&["authentication"])?;
            Effect::Require(strength(members.get("authentication"))?)
        }
        Some("redact") => {
            common(&["remove", "mask", "patterns", "with"])?;
            Effect::Redact(Arc::new(Redaction::compile(members, limits)?))
        }
        _ => {
            let reason = "it is none of the effects allow, deny, require and redact; limits of rate \
                          and routes are not to be had by policy";
            return Err(Wrong::new("/actions/effect", reason));
        }
    };
    if members.get("log").is_some_and(|log| *log != Value::Bool(true)) {
        return Err(Wrong::new("/actions/log", "every decision is logged; write true, or nothing"));
    }
    let message = members.get("message").map(|message| match message.as_str() {
        Some(text) if text.chars().count() <= MESSAGE_LIMIT => Ok(text.to_owned()),
        _ => Err(Wrong::new("/actions/message", "it must be text of at most 500 characters")),
    });
    Ok((effect, message.transpose()?))
}

const MESSAGE_LIMIT: usize = 500;

fn strength(said: Option<&Value>) -> Result<Strength, Wrong> {
    match said.and_then(Value::as_str) {
        Some("credential") => Ok(Strength::Credential),
        Some("user") => Ok(Strength::User),
        Some("operator") => Ok(Strength::Operator),
        _ => {
            let reason = "it is none of credential (any), user (somebody who signed in) and \
                          operator (the owner of the data folder, over its socket); a second \
                          factor or TLS cannot be required by policy";
            Err(Wrong::new("/actions/authentication", reason))
        }
    }
}
