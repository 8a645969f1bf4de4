//! Effects: what a policy does where it holds.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Limits,
    compile::{Wrong, only},
    redact::Redaction,
};
use crate::domain::{Policy, Preference, RateLimit, RateLimitForm, RateLimitId};

/// What a policy does.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    Allow,
    Deny,
    /// Denies whoever does not meet it.
    Require(Strength),
    Redact(Arc<Redaction>),
    /// Lets so many such calls pass.
    RateLimit(Arc<RateLimit>),
    /// Lets such calls go only to instances that are so.
    Route(Arc<[Preference]>),
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
    /// Whether it decides nothing, and holds beside whatever does.
    pub(super) const fn is_beside(&self) -> bool {
        matches!(self, Self::Redact(_) | Self::RateLimit(_) | Self::Route(_))
    }

    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny | Self::Broken(_) => "deny",
            Self::Require(_) => "require",
            Self::Redact(_) => "redact",
            Self::RateLimit(_) => "rate_limit",
            Self::Route(_) => "route",
        }
    }
}

/// Compiles what stands below `/actions`: what is done, and what is said of it in the journal.
pub(super) fn compile(policy: &Policy, limits: &Limits) -> Result<(Effect, Option<String>), Wrong> {
    let Value::Object(members) = &policy.actions else {
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
        Some("rate_limit") => Effect::RateLimit(Arc::new(rate_limit(policy, members)?)),
        Some("route") => {
            common(&["to"])?;
            Effect::Route(destination(members.get("to"))?)
        }
        _ => {
            let reason =
                "it is none of the effects allow, deny, require, redact, rate_limit and route";
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

/// A rate limit in the words of one, of the calls for which the policy holds.
fn rate_limit(policy: &Policy, actions: &Map<String, Value>) -> Result<RateLimit, Wrong> {
    let mut said = actions.clone();
    for own in ["effect", "message", "log"] {
        said.remove(own);
    }
    said.insert("name".to_owned(), RateLimit::plain_name(&policy.name).into());
    let form = serde_json::from_value::<RateLimitForm>(said.into());
    let form = form.map_err(|error| Wrong::new("/actions", error.to_string()))?;
    // The same as long as the policy is, so that what was counted goes on.
    let id = RateLimitId::named(&format!("policy {} {}", policy.id, policy.name));
    let Policy { organization, created_by, created_at, .. } = policy;
    let blank = RateLimit::blank(*organization, id, created_by.clone(), *created_at);
    form.over(blank).map_err(|wrong| {
        let (at, reason) = wrong.parts();
        Wrong::new(format!("/actions{at}"), reason)
    })
}

/// What instances must say of themselves: `region=eu`, or several of these.
fn destination(said: Option<&Value>) -> Result<Arc<[Preference]>, Wrong> {
    let wrong = || {
        let reason = "it must be what instances say of themselves, such as region=eu, or 1 to 8 of \
                      these";
        Wrong::new("/actions/to", reason)
    };
    let one = |text: &Value| match text.as_str().and_then(|text| text.parse().ok()) {
        Some(wish @ Preference::Is { .. }) => Ok(wish),
        _ => Err(wrong()),
    };
    match said {
        Some(Value::Array(all)) if (1..=8).contains(&all.len()) => all.iter().map(one).collect(),
        Some(text @ Value::String(_)) => Ok([one(text)?].into()),
        _ => Err(wrong()),
    }
}

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
