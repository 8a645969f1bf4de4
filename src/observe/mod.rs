//! The diary: what the house writes down about itself.

pub(crate) mod audit;
mod behind;
mod book;
mod entry;
mod journal;
mod keeping;
mod line;
mod log;
mod metrics;
mod redact;
pub(crate) mod report;
mod retention;
mod scribe;
mod search;
mod segment;
mod sheet;
mod sink;
mod sums;
#[cfg(test)]
mod tests;
mod trace;

use serde::{Deserialize, Serialize};

pub(crate) use behind::stand_behind;
pub(crate) use book::{Book, Page, SumsWanted};
pub(crate) use journal::{Journal, Line, Outcome};
pub(crate) use line::RequestLine;
pub(crate) use log::Log;
pub(crate) use metrics::Metrics;
pub(crate) use scribe::{Scribe, Writing};
pub(crate) use search::{Search, Wanted};
pub(crate) use segment::Archive;
pub(crate) use sheet::{Sheet, Word};
pub(crate) use sink::{SinkSettings, Sinks};
pub(crate) use sums::{About, Span, Sum};
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
    /// Whether every call leaves a line in the log.
    pub(crate) calls: bool,
    /// Calls whose lines wait to be written; further ones push out the oldest, and that is counted.
    pub(crate) queue_lines: usize,
    /// Bytes of the log that wait to be written; what comes beyond is dropped and counted.
    pub(crate) queue_bytes: usize,
    /// The book of calls.
    pub(crate) book: BookSettings,
    /// Where lines of calls and events of the house go as well.
    pub(crate) sinks: Vec<SinkSettings>,
    /// Bytes of lines that wait for one sink; what comes beyond pushes out the oldest.
    pub(crate) sink_bytes: usize,
}

/// How the book of calls is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BookSettings {
    /// Whether it is kept at all.
    pub(crate) enabled: bool,
    /// Memory for its pages, in MiB.
    pub(crate) cache_mib: u32,
    /// The most it may fill, in MiB; the oldest lines go first.
    pub(crate) max_mib: u32,
    /// Days for which lines are kept that belong to no organization; others are kept as long as
    /// theirs says.
    pub(crate) days: u32,
    /// Days for which the sums of hours are kept.
    pub(crate) hourly_days: u32,
    /// Days for which the sums of days are kept.
    pub(crate) daily_days: u32,
    /// Batches of lines that wait for somebody who listens; whoever is slower misses some.
    pub(crate) live_batches: usize,
    /// Listeners at the same time.
    pub(crate) max_listeners: usize,
    /// Bytes that are kept of what a call asks, and as many of its answer, where its server's are
    /// kept.
    pub(crate) body_bytes: usize,
    /// The most that all of that may fill, in MiB; the oldest days go first.
    pub(crate) max_bodies_mib: u32,
}

impl Default for BookSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            cache_mib: 4,
            max_mib: 1_024,
            days: 7,
            hourly_days: 90,
            daily_days: 800,
            live_batches: 64,
            max_listeners: 50,
            body_bytes: 16 << 10,
            max_bodies_mib: 1_024,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: Format::Auto,
            calls: true,
            queue_lines: 10_000,
            queue_bytes: 1 << 20,
            book: BookSettings::default(),
            sinks: Vec::new(),
            sink_bytes: 8 << 20,
        }
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
