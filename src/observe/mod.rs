//! The diary: what the house writes down about itself.

pub(crate) mod audit;
mod journal;
mod log;
mod metrics;
mod trace;

use serde::{Deserialize, Serialize};

pub(crate) use journal::{Journal, Line, Outcome};
pub(crate) use log::Log;
pub(crate) use metrics::Metrics;
pub(crate) use trace::start;

/// How the diary is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Which log lines are written: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `info,tollhouse::upstream=debug`.
    pub(crate) level: String,
    /// How lines look.
    pub(crate) format: Format,
    /// Whether every call leaves a line.
    pub(crate) calls: bool,
    /// Bytes of lines that wait to be written; what comes beyond is dropped and counted.
    pub(crate) queue_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Auto, calls: true, queue_bytes: 1 << 20 }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Text in a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// What `auto` means where standard error goes now.
    fn is_json(self) -> bool {
        match self {
            Self::Auto => !std::io::IsTerminal::is_terminal(&std::io::stderr()),
            Self::Text => false,
            Self::Json => true,
        }
    }
}
