//! Failures as people read them: what, why, and what to do.

use std::fmt;

use crate::{
    client,
    config::Faults,
    problem::{Classify, Kind, chain},
};

/// The command did not do what it was asked.
const FAILED: u8 = 1;
/// The command was not understood.
const MISUSED: u8 = 2;

/// A failure in three lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    what: String,
    why: String,
    fix: String,
    code: u8,
}

impl Failure {
    /// What failed and why; what to do is to look closer.
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            fix: "run 'tollhouse doctor' to look closer".to_owned(),
            code: FAILED,
        }
    }

    /// A command that makes no sense as it is.
    pub(super) fn misuse(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code: MISUSED, ..Self::new(what, why) }.with_fix("see 'tollhouse help'")
    }

    /// Says what to do.
    pub(super) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// What to do where a thing is not there, for whoever named one.
    pub(super) fn unless_there(fix: &'static str) -> impl Fn(client::Error) -> Self {
        move |error| match error.kind() {
            Kind::NotFound => Self::from(error).with_fix(fix),
            _ => error.into(),
        }
    }

    /// Says what was tried, before what went wrong with it.
    pub(super) fn while_trying(mut self, what: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.what, what.into());
        self.why = if self.why.is_empty() { cause } else { format!("{cause}: {}", self.why) };
        self
    }

    /// What failed and why in one line, and what to do.
    pub(super) fn in_two(&self) -> (String, String) {
        let what = if self.why.is_empty() {
            self.what.clone()
        } else {
            format!("{}: {}", self.what, self.why)
        };
        (what, self.fix.clone())
    }

    /// What the process ends with.
    pub(super) const fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.what)?;
        if !self.why.is_empty() {
            // Several reasons stand below each other.
            writeln!(f, "  why: {}", self.why.replace('\n', "\n       "))?;
        }
        write!(f, "  fix: {}", self.fix)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let fix = match &error {
            client::Error::Unreachable { .. } => "start it with 'tollhouse start', or check --url",
            client::Error::Unreadable { .. } => "check --url; a gateway of another version may run",
            client::Error::Address(_) => "write it like http://127.0.0.1:8080",
            client::Error::Key => "check --key or TOLLHOUSE_KEY",
            client::Error::TooSlow { .. } => "try again, or look at 'tollhouse status'",
            client::Error::Closed { .. } => "launch it again; the gateway's log says more",
            client::Error::TooLarge => "ask for less at once",
            client::Error::Refused(_) => advice(error.kind()),
        };
        let why = match &error {
            client::Error::Refused(refusal) => answered(refusal),
            client::Error::Address(_) => "it is not http://HOST:PORT or https://HOST".to_owned(),
            _ => causes(&error),
        };
        let is_misuse = matches!(error, client::Error::Address(_) | client::Error::Key);
        let code = if is_misuse { MISUSED } else { FAILED };
        Self { code, ..Self::new(error.to_string(), why) }.with_fix(fix)
    }
}

/// What to do about a refusal.
fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::TooLarge => "change the command and try again; --help has an example",
        Kind::Unauthenticated => {
            "give a key that is valid there, with --key or TOLLHOUSE_KEY, or sign in with 'tollhouse login'"
        }
        Kind::Forbidden => "use a key of an administrator",
        Kind::NotFound => "'tollhouse list' and 'tollhouse tools list' show what there is",
        Kind::Conflict => "choose another name, or remove what is there first",
        Kind::Limited | Kind::RateLimited => "wait a moment and try again",
        Kind::Quota => "remove something first, or have the limit of the organization raised",
        _ => "'tollhouse status' and the gateway's log say more",
    }
}

/// What lies beneath an error, as far as the error does not say it itself.
fn causes(error: &dyn std::error::Error) -> String {
    let (whole, said) = (chain(error), error.to_string());
    whole.strip_prefix(&said).unwrap_or_default().trim_start_matches(": ").to_owned()
}

fn answered(refusal: &client::Refusal) -> String {
    let code = if refusal.code.is_empty() {
        refusal.rpc.map_or_else(|| format!("HTTP {}", refusal.status), |rpc| rpc.to_string())
    } else {
        refusal.code.clone()
    };
    match &refusal.request_id {
        Some(id) => format!("the gateway answered {code} (request {id})"),
        None => format!("the gateway answered {code}"),
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let places = if faults.0.len() == 1 { "one place" } else { "several places" };
        Self::new(format!("the settings are wrong in {places}"), faults.to_string())
            .with_fix("put right what is listed; 'tollhouse config validate' looks again")
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(error.to_string(), causes(error.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_three_lines() {
        let refusal = client::Refusal {
            wants_second_factor: false,
            status: 409,
            code: "CONFLICT".into(),
            rpc: None,
            message: "there is a server \"time\" already".into(),
            request_id: Some("r1".into()),
        };

        let failure = Failure::from(client::Error::Refused(refusal));

        assert_eq!(
            failure.to_string(),
            "error: there is a server \"time\" already\n  \
             why: the gateway answered CONFLICT (request r1)\n  \
             fix: choose another name, or remove what is there first"
        );
    }

    #[test]
    fn what_was_tried_comes_before_what_went_wrong() {
        let full = || anyhow::anyhow!("the disk is full");
        let error = full().context("the store cannot be opened");

        let failure = Failure::from(error).while_trying("the gateway did not start");
        let said_already = Failure::from(full().context("/d: the disk is full"));

        assert_eq!(failure.what, "the gateway did not start");
        assert_eq!(failure.why, "the store cannot be opened: the disk is full");
        assert_eq!(said_already.why, "");
    }
}
