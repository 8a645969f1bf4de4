//! Kinds of failure, and the one table that maps them to HTTP and to JSON-RPC.
//!
//! Rooms know kinds; they do not know status codes. A [`Problem`] keeps apart what the client may
//! read and what only the log may.

use std::{error::Error, fmt};

use crate::domain::LimitStandings;

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be understood or carried out as it is.
    Invalid,
    /// Nobody the gateway knows.
    Unauthenticated,
    /// Known, and not allowed.
    Forbidden,
    /// Nothing there, or nothing the caller may see.
    NotFound,
    /// It collides with what there is.
    Conflict,
    /// Larger than a limit.
    TooLarge,
    /// Too much at once or in a time.
    Limited,
    /// More calls than a rate limit lets pass.
    RateLimited,
    /// More than an organization may have.
    Quota,
    /// Nobody is there to answer right now.
    Unavailable,
    /// The server behind the gateway answered nonsense.
    Upstream,
    /// It took too long.
    Timeout,
    /// The gateway's own fault.
    Internal,
}

/// How a kind of failure is told: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telling {
    /// Status of the HTTP answer.
    pub http: u16,
    /// Code of the JSON-RPC error.
    pub rpc: i32,
    /// Code in the envelope and in `error.data.code`.
    pub code: &'static str,
    /// Type in the envelope.
    pub r#type: &'static str,
    /// Whether trying again later may help.
    pub is_temporary: bool,
    /// Whether the client is at fault.
    pub is_clients_fault: bool,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::Limited,
        Self::RateLimited,
        Self::Quota,
        Self::Unavailable,
        Self::Upstream,
        Self::Timeout,
        Self::Internal,
    ];

    /// The kind's row.
    #[must_use]
    pub fn telling(self) -> Telling {
        let row = |http, rpc, code, r#type, is_temporary, is_clients_fault| Telling {
            http,
            rpc,
            code,
            r#type,
            is_temporary,
            is_clients_fault,
        };
        // The specification leaves -32000 to -32019 to implementations.
        match self {
            Self::Invalid => row(400, -32602, "VALIDATION_FAILED", "ValidationError", false, true),
            Self::Unauthenticated => row(401, -32001, "UNAUTHORIZED", "Unauthorized", false, true),
            Self::Forbidden => row(403, -32003, "ACCESS_DENIED", "Forbidden", false, true),
            Self::NotFound => row(404, -32602, "NOT_FOUND", "NotFound", false, true),
            Self::Conflict => row(409, -32004, "CONFLICT", "Conflict", false, true),
            Self::TooLarge => row(413, -32005, "TOO_LARGE", "TooLarge", false, true),
            Self::Limited => row(429, -32006, "LIMIT_EXCEEDED", "LimitExceeded", true, true),
            Self::RateLimited => {
                row(429, -32006, "RATE_LIMIT_EXCEEDED", "RateLimitExceeded", true, true)
            }
            Self::Quota => row(429, -32006, "QUOTA_EXCEEDED", "QuotaExceeded", false, true),
            Self::Unavailable => {
                row(503, -32000, "SERVICE_UNAVAILABLE", "InstanceUnavailable", true, false)
            }
            Self::Upstream => row(502, -32000, "BAD_GATEWAY", "UpstreamError", true, false),
            Self::Timeout => row(504, -32000, "TIMEOUT", "RequestTimeout", true, false),
            Self::Internal => row(500, -32603, "INTERNAL_ERROR", "InternalError", false, false),
        }
    }
}

/// A room's error sorts itself into a kind.
pub trait Classify: Error {
    /// Which kind of failure this is.
    fn kind(&self) -> Kind;
}

/// A failure on its way to the client.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    message: String,
    rpc: Option<i32>,
    data: Vec<(&'static str, String)>,
    retry_after_seconds: Option<u64>,
    standings: LimitStandings,
    cause: Option<String>,
}

impl Problem {
    /// A failure with words for the client. Of an internal one the client reads nothing.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        if kind == Kind::Internal {
            return Self::hidden(message);
        }
        Self::made(kind, message, None)
    }

    fn hidden(cause: String) -> Self {
        let message = "the gateway failed; its log has the request id".to_owned();
        Self::made(Kind::Internal, message, Some(cause))
    }

    fn made(kind: Kind, message: String, cause: Option<String>) -> Self {
        let (rpc, data, retry_after_seconds) = (None, Vec::new(), None);
        let standings = LimitStandings::default();
        Self { kind, message, rpc, data, retry_after_seconds, standings, cause }
    }

    /// Tells JSON-RPC clients another code than the kind's own.
    #[must_use]
    pub fn with_rpc(mut self, code: i32) -> Self {
        self.rpc = Some(code);
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with_data(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.data.push((name, value.into()));
        self
    }

    /// Says when trying again may help.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Says where the call stands with rate limits.
    #[must_use]
    pub fn with_standings(mut self, standings: LimitStandings) -> Self {
        self.standings = standings;
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Which kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What the client reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code of the JSON-RPC error.
    #[must_use]
    pub fn rpc_code(&self) -> i32 {
        self.rpc.unwrap_or(self.kind.telling().rpc)
    }

    /// Facts for programs.
    #[must_use]
    pub fn data(&self) -> &[(&'static str, String)] {
        &self.data
    }

    /// Seconds after which trying again may help.
    #[must_use]
    pub const fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_seconds
    }

    /// Where the call stands with rate limits.
    #[must_use]
    pub const fn standings(&self) -> &LimitStandings {
        &self.standings
    }

    /// What only the log may say.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Classify> From<E> for Problem {
    fn from(error: E) -> Self {
        let kind = error.kind();
        let cause = chain(&error);
        if kind == Kind::Internal {
            return Self::hidden(cause);
        }
        let message = error.to_string();
        let problem = Self::new(kind, message.clone());
        if cause == message { problem } else { problem.with_cause(cause) }
    }
}

/// An error and everything that caused it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Many errors end with their cause already.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner, Kind);

    #[derive(Debug, thiserror::Error)]
    #[error("the password is hunter2")]
    struct Inner;

    impl Classify for Outer {
        fn kind(&self) -> Kind {
            self.1
        }
    }

    #[test]
    fn an_internal_cause_stays_inside() {
        let problem = Problem::from(Outer(Inner, Kind::Internal));

        assert!(!problem.message().contains("outer"));
        assert_eq!(problem.cause(), Some("outer: the password is hunter2"));
    }

    #[test]
    fn only_the_outermost_words_are_told() {
        let problem = Problem::from(Outer(Inner, Kind::Upstream));

        assert_eq!(problem.message(), "outer");
        assert_eq!(problem.rpc_code(), -32000);
    }
}
