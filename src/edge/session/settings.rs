//! How long sessions live, how many, and how much is kept of each.

use serde::{Deserialize, Serialize};

/// How long sessions live, and how many.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Sessions open at the same time.
    pub(crate) max_open: usize,
    /// Of these, for one principal.
    pub(crate) max_per_principal: usize,
    /// Ended sessions that can still be looked up.
    pub(crate) kept_ended: usize,
    /// Seconds without a request after which a session ends.
    pub(crate) idle_seconds: u32,
    /// Seconds that a client of an older revision has to answer what it is asked. Less than
    /// `pipeline.input_seconds`, which is how long servers wait.
    pub(crate) answer_seconds: u32,
    /// Events of a session that are kept for streams that break; a reader further behind is cut.
    pub(crate) kept_events: usize,
    /// Bytes of these.
    pub(crate) kept_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_open: 20_000,
            max_per_principal: 1_000,
            kept_ended: 1_000,
            idle_seconds: 3_600,
            answer_seconds: 270,
            kept_events: 256,
            kept_bytes: 1 << 20,
        }
    }
}
