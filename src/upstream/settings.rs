//! The limits on speaking to servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits on speaking to servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// How long a connection may take to open, its TLS handshake included, in milliseconds.
    pub(crate) connect_ms: u64,
    /// How long a server may take to say which revision it speaks, in milliseconds. One that stays
    /// silent so long on a connection of its own is taken for one of an older revision.
    pub(crate) probe_ms: u64,
    /// How long a child process, or a connection that stays open, may take until it can be asked,
    /// in milliseconds. Package runners download on their first start.
    pub(crate) start_ms: u64,
    /// How long whoever gives tokens for servers may take to answer, in milliseconds.
    pub(crate) oauth_ms: u64,
    /// How many idle connections are kept for each host.
    pub(crate) pool_idle_per_host: usize,
    /// How long a quiet connection is kept, in seconds. Many servers close theirs after five: a
    /// call that is sent in that moment is lost, and may not be made again.
    pub(crate) pool_idle_seconds: u64,
    /// The longest answer over HTTP, in bytes; of a stream, its longest event; of a WebSocket, its
    /// longest message.
    pub(crate) answer_bytes: usize,
    /// The longest head of an HTTP answer, in bytes. At least 8192.
    pub(crate) header_bytes: usize,
    /// The longest message of a child process, in bytes. A child that writes longer lines is ended.
    pub(crate) line_bytes: usize,
    /// How many lines of a child's standard error are kept to be shown.
    pub(crate) stderr_lines: usize,
    /// How much of a line of standard error is kept, in bytes.
    pub(crate) stderr_line_bytes: usize,
    /// How many lines of a child's standard error are taken in a second; more are only counted.
    pub(crate) stderr_lines_per_second: u32,
    /// How many calls an instance carries at once.
    pub(crate) in_flight_per_instance: usize,
    /// How many clients may have a conversation of their own with an instance of an older
    /// revision.
    pub(crate) own_per_instance: usize,
    /// How many of these may belong to one principal.
    pub(crate) own_per_principal: usize,
    /// How many people's accounts servers are spoken to with at the same time.
    pub(crate) accounts: usize,
    /// How many child processes run at once.
    pub(crate) children: usize,
    /// After how long without calls a child process is stopped, in seconds.
    pub(crate) idle_seconds: u64,
    /// How long a child that crashed rests before it is started again, in seconds; twice as long
    /// after every further crash.
    pub(crate) rest_seconds: u64,
    /// The longest rest, in seconds.
    pub(crate) longest_rest_seconds: u64,
    /// How long a child must have run for its earlier crashes to be forgotten, in seconds.
    pub(crate) stable_seconds: u64,
    /// How often a child is started within a minute.
    pub(crate) starts_per_minute: usize,
    /// How long a child may take to end when it is asked to, in milliseconds; then it is killed.
    pub(crate) stop_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            probe_ms: 10_000,
            start_ms: 60_000,
            oauth_ms: 10_000,
            pool_idle_per_host: 64,
            pool_idle_seconds: 4,
            answer_bytes: 16 * 1_024 * 1_024,
            header_bytes: 64 * 1_024,
            line_bytes: 16 * 1_024 * 1_024,
            stderr_lines: 200,
            stderr_line_bytes: 4 * 1_024,
            stderr_lines_per_second: 100,
            in_flight_per_instance: 2_000,
            own_per_instance: 1_000,
            own_per_principal: 200,
            accounts: 10_000,
            children: 128,
            idle_seconds: 600,
            rest_seconds: 1,
            longest_rest_seconds: 60,
            stable_seconds: 60,
            starts_per_minute: 10,
            stop_ms: 2_000,
        }
    }
}

/// The longest time that is waited for anything: what is set longer is as good as for ever.
const FOREVER: Duration = Duration::from_hours(24);

impl Settings {
    pub(super) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms).min(FOREVER)
    }

    pub(super) fn probe(&self) -> Duration {
        Duration::from_millis(self.probe_ms).min(FOREVER)
    }

    pub(super) fn start(&self) -> Duration {
        Duration::from_millis(self.start_ms).min(FOREVER)
    }

    pub(super) fn stop(&self) -> Duration {
        Duration::from_millis(self.stop_ms).min(FOREVER)
    }

    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    pub(super) fn stable(&self) -> Duration {
        Duration::from_secs(self.stable_seconds)
    }

    /// How long a process rests after so many crashes before this one.
    pub(super) fn rest(&self, crashes: u32) -> Duration {
        let doubled = 1_u64.checked_shl(crashes).unwrap_or(u64::MAX);
        let seconds = self.rest_seconds.saturating_mul(doubled).min(self.longest_rest_seconds);
        Duration::from_secs(seconds).min(FOREVER)
    }
}
