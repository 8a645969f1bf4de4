//! How asking a server can fail. The words name no address, path or program of the house.

use std::{error, fmt, io, sync::Arc};

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    problem::{Classify, Kind},
    upstream::{UnusablePapers, oauth::Failure},
    wire::Unreadable,
};

/// What lies beneath a failure, shared by all who waited for the same thing.
pub(crate) type Cause = Arc<dyn error::Error + Send + Sync>;

/// How asking a server can fail.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// No connection can be made.
    #[error("it cannot be reached")]
    Unreachable {
        /// Why.
        source: Cause,
    },
    /// No answer came in time.
    #[error("it did not answer within {limit}")]
    TooSlow {
        /// How long it was given.
        limit: Limit,
        /// Whether the request may have reached it.
        was_delivered: bool,
    },
    /// The connection broke while it was to answer.
    #[error("the connection broke before it answered")]
    Broken {
        /// How.
        source: Cause,
    },
    /// Its process ended while it was to answer.
    #[error("its process {exit}")]
    Crashed {
        /// How it ended.
        exit: Exit,
        /// Whether the request may have reached it.
        was_delivered: bool,
    },
    /// The connection that all its messages share ended while it was to answer.
    #[error("its connection {loss}")]
    Lost {
        /// How it ended.
        loss: Loss,
        /// Whether the request may have reached it.
        was_delivered: bool,
    },
    /// Its process ends again and again, and is left alone for a while.
    #[error("its process keeps ending; the next start is in {retry_after_seconds} s")]
    BackingOff {
        /// When it is started again.
        retry_after_seconds: u64,
    },
    /// Its program is not there.
    #[error("its program was not found")]
    NoCommand {
        /// Which.
        source: Cause,
    },
    /// Its program cannot be run.
    #[error("its process cannot be started")]
    NotStarted {
        /// Why.
        source: Arc<io::Error>,
    },
    /// It speaks, but not MCP.
    #[error("it answered something that is not MCP")]
    NotMcp {
        /// What is wrong with it.
        source: Oddity,
    },
    /// It answered more than is taken.
    #[error("its answer is longer than {limit_bytes} bytes")]
    TooLarge {
        /// How much is taken.
        limit_bytes: usize,
    },
    /// It refused the request with a status and no word of MCP.
    #[error("it refused the request with status {}", status.as_u16())]
    Refused {
        /// The status.
        status: StatusCode,
    },
    /// It does not open a conversation in any revision the gateway speaks.
    #[error("it refused the handshake with error {code}")]
    HandshakeRefused {
        /// The code of its error.
        code: i64,
    },
    /// The conversation could not be opened, for this reason; nothing was asked in it.
    #[error(transparent)]
    Unopened(Box<Self>),
    /// It carries as many calls as it may.
    #[error("it is busy with {limit} calls")]
    Busy {
        /// How many it may carry.
        limit: usize,
    },
    /// As many processes run as may.
    #[error("{limit} processes run already, and no more are allowed")]
    Crowded {
        /// How many may.
        limit: usize,
    },
    /// As many clients have conversations of their own with it as may.
    #[error("{limit} clients have sessions of their own with it, and no more are allowed")]
    TooManySessions {
        /// How many may.
        limit: usize,
    },
    /// The gateway has stopped speaking to it.
    #[error("the gateway has ended its connection to it")]
    Closed,
    /// It is plain HTTP, and was asked something of MCP.
    #[error("it speaks no MCP")]
    NoMcp,
    /// There is no token that it could be shown.
    #[error("the gateway has no token for it: {source}")]
    NoToken {
        /// Why.
        source: Failure,
    },
    /// The token is good for less than it wants.
    #[error("it wants a token that is good for {scope:?}")]
    OutOfScope {
        /// For what.
        scope: String,
    },
    /// What is to be shown in its TLS handshake is no good.
    #[error("its TLS cannot be set up: {source}")]
    Papers {
        /// Why.
        #[from]
        source: UnusablePapers,
    },
    /// The system's TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls {
        /// Why.
        #[from]
        source: openssl::error::ErrorStack,
    },
}

/// What is wrong with an answer that is not MCP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Oddity {
    /// Of a kind nobody asked for.
    #[error("its content type is {0:?}")]
    ContentType(String),
    /// Compressed, which nobody asked for.
    #[error("its content encoding is {0:?}")]
    ContentEncoding(String),
    /// Not even HTTP.
    #[error("it is not HTTP: {0}")]
    NotHttp(String),
    /// Not even a WebSocket.
    #[error("it opened no WebSocket: {0}")]
    NotWebSocket(&'static str),
    /// An event stream that does not say where messages go, or that sends them elsewhere.
    #[error("its event stream {0}")]
    Endpoint(&'static str),
    /// Not an answer at all.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The answer to another question.
    #[error("it answers another request")]
    WrongId,
    /// An end without an answer.
    #[error("its stream ended without an answer")]
    NoAnswer,
    /// A handshake that says nothing the gateway understands.
    #[error("its handshake cannot be read: {0}")]
    Handshake(String),
    /// A revision the gateway does not speak.
    #[error("it speaks revision {0:?}")]
    Revision(String),
}

impl Error {
    pub(super) fn unreachable(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::Unreachable { source: source.into().into() }
    }

    /// A call that reached its server, and took longer than it may.
    pub(crate) fn too_slow(limit: std::time::Duration) -> Self {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self::TooSlow { limit: Limit { ms }, was_delivered: true }
    }

    pub(super) fn no_command(command: &str) -> Self {
        let source: Box<dyn error::Error + Send + Sync> = format!("no program {command}").into();
        Self::NoCommand { source: source.into() }
    }

    pub(super) fn broken(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::Broken { source: source.into().into() }
    }

    /// The failure of a handshake, as it is for a request that was to follow: it was never sent.
    pub(super) fn before_asking(self) -> Self {
        if self.was_delivered() { Self::Unopened(Box::new(self)) } else { self }
    }

    /// The failure of what had to be done by a deadline that has passed: what was too slow was so
    /// within all the time there was, not only within what was left for its last part.
    pub(super) fn by(self, deadline: Instant, whole: Limit) -> Self {
        match self {
            Self::TooSlow { was_delivered, .. } if Instant::now() >= deadline => {
                Self::TooSlow { limit: whole, was_delivered }
            }
            Self::Unopened(error) => Self::Unopened(Box::new(error.by(deadline, whole))),
            other => other,
        }
    }

    /// Seconds after which asking again may help, where that is known.
    pub(crate) const fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::BackingOff { retry_after_seconds } => Some(*retry_after_seconds),
            _ => None,
        }
    }

    /// Whether there is no token, or the server does not take the one there is, or not for this.
    pub(crate) fn is_about_the_token(&self) -> bool {
        match self {
            Self::NoToken { source } => *source == Failure::NobodySignedIn,
            Self::OutOfScope { .. } => true,
            Self::Refused { status } => *status == StatusCode::UNAUTHORIZED,
            Self::Unopened(error) => error.is_about_the_token(),
            _ => false,
        }
    }

    /// Whether the failure says that the server is unwell, rather than the request or the house.
    pub(crate) const fn is_about_the_server(&self) -> bool {
        !matches!(
            self,
            Self::Busy { .. }
                | Self::Crowded { .. }
                | Self::TooManySessions { .. }
                | Self::Closed
                | Self::NoMcp
                | Self::TooLarge { .. }
                | Self::NoToken { .. }
                | Self::OutOfScope { .. }
        )
    }

    /// Whether the server may have acted on the request. Only where it provably did not may the
    /// request be made again.
    pub(crate) const fn was_delivered(&self) -> bool {
        match self {
            Self::TooSlow { was_delivered, .. }
            | Self::Crashed { was_delivered, .. }
            | Self::Lost { was_delivered, .. } => *was_delivered,
            Self::Broken { .. }
            | Self::NotMcp { .. }
            | Self::TooLarge { .. }
            | Self::OutOfScope { .. }
            | Self::Refused { .. } => true,
            Self::Unreachable { .. }
            | Self::BackingOff { .. }
            | Self::NoCommand { .. }
            | Self::NotStarted { .. }
            | Self::HandshakeRefused { .. }
            | Self::Unopened(_)
            | Self::Busy { .. }
            | Self::Crowded { .. }
            | Self::TooManySessions { .. }
            | Self::Closed
            | Self::NoMcp
            | Self::NoToken { .. }
            | Self::Papers { .. }
            | Self::Tls { .. } => false,
        }
    }
}

impl From<Oddity> for Error {
    fn from(source: Oddity) -> Self {
        Self::NotMcp { source }
    }
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        Oddity::from(unreadable).into()
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::TooSlow { .. } => Kind::Timeout,
            Self::Unreachable { .. }
            | Self::BackingOff { .. }
            | Self::NoCommand { .. }
            | Self::NotStarted { .. }
            | Self::Busy { .. }
            | Self::Crowded { .. }
            | Self::TooManySessions { .. }
            | Self::Papers { .. }
            | Self::NoToken { .. }
            | Self::NoMcp
            | Self::Closed => Kind::Unavailable,
            Self::Broken { .. }
            | Self::Crashed { .. }
            | Self::Lost { .. }
            | Self::NotMcp { .. }
            | Self::TooLarge { .. }
            | Self::Refused { .. }
            | Self::OutOfScope { .. }
            | Self::HandshakeRefused { .. } => Kind::Upstream,
            Self::Unopened(error) => error.kind(),
            Self::Tls { .. } => Kind::Internal,
        }
    }
}

/// How long something may take, as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// In milliseconds.
    pub(crate) ms: u64,
}

impl Limit {
    /// The time from now to a deadline.
    pub(super) fn until(deadline: Instant) -> Self {
        let left = deadline.saturating_duration_since(Instant::now());
        Self { ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A deadline of 5 s has lost a moment by the time it is looked at.
        let tenths = self.ms.saturating_add(50) / 100;
        match (tenths / 10, tenths % 10) {
            (0, _) => write!(f, "{} ms", self.ms.saturating_add(5) / 10 * 10),
            (seconds, 0) => write!(f, "{seconds} s"),
            (seconds, tenth) => write!(f, "{seconds}.{tenth} s"),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It stopped speaking, and was ended.
    Silent,
    /// It wrote a longer line than is taken, and was ended.
    LongLine {
        /// The longest that is taken.
        limit_bytes: usize,
    },
    /// The gateway stopped it.
    Stopped,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Silent => f.write_str("closed its output and was ended"),
            Self::LongLine { limit_bytes } => {
                write!(f, "wrote a line of more than {limit_bytes} bytes and was ended")
            }
            Self::Stopped => f.write_str("was stopped"),
        }
    }
}

/// How a connection ended that carries messages both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server closed it.
    Closed,
    /// It broke.
    Broken,
    /// The server sent nothing for longer than a connection may be silent.
    Silent,
    /// The server sent a longer message than is taken.
    LongMessage {
        /// The longest that is taken.
        limit_bytes: usize,
    },
    /// The server sent what does not belong there.
    Garbled,
    /// The server does not know it any more.
    Forgotten,
    /// The gateway closed it.
    Stopped,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("was closed by it"),
            Self::Broken => f.write_str("broke"),
            Self::Silent => f.write_str("fell silent and was closed"),
            Self::LongMessage { limit_bytes } => {
                write!(f, "brought a message of more than {limit_bytes} bytes and was closed")
            }
            Self::Garbled => f.write_str("brought something unreadable and was closed"),
            Self::Forgotten => f.write_str("is unknown to it now"),
            Self::Stopped => f.write_str("was closed"),
        }
    }
}

/// How a dialogue ended: with the process it was led with, or with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Process(Exit),
    Connection(Loss),
}

impl End {
    /// What it is to those who waited for an answer.
    pub(super) const fn told(self, was_delivered: bool) -> Error {
        match self {
            Self::Process(exit) => Error::Crashed { exit, was_delivered },
            Self::Connection(loss) => Error::Lost { loss, was_delivered },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_as_people_say_them() {
        let said = |ms| Limit { ms }.to_string();

        assert_eq!(said(4_998), "5 s");
        assert_eq!(said(2_500), "2.5 s");
        assert_eq!(said(249), "250 ms");
    }

    #[test]
    fn the_cause_stays_out_of_the_words() {
        let error = Error::unreachable(io::Error::other("10.0.0.7:99 refused"));

        assert_eq!(error.to_string(), "it cannot be reached");
        assert!(crate::problem::chain(&error).contains("10.0.0.7"));
        assert!(!error.was_delivered());
    }
}
