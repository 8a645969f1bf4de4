//! How much one channel may ask, and how long it may be silent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outbox::Limits;

/// Limits of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Calls at the same time.
    pub(crate) max_calls: usize,
    /// Messages that wait for a slow reader.
    pub(crate) queued_messages: usize,
    /// Bytes of these.
    pub(crate) queued_bytes: usize,
    /// Seconds that calls wait for a reader who lets as much wait, before the channel is closed.
    pub(crate) reader_seconds: u32,
    /// Seconds between two pings to the client of a WebSocket.
    pub(crate) ping_seconds: u32,
    /// Seconds after which a WebSocket is closed whose client shows no sign of life.
    pub(crate) silence_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_calls: 100,
            queued_messages: 256,
            queued_bytes: 1 << 20,
            reader_seconds: 5,
            ping_seconds: 30,
            silence_seconds: 60,
        }
    }
}

impl Settings {
    /// What may wait to be said.
    pub(in crate::edge) fn limits(&self) -> Limits {
        Limits {
            messages: self.queued_messages.max(1),
            bytes: self.queued_bytes,
            patience: Duration::from_secs(self.reader_seconds.into()),
        }
    }
}
