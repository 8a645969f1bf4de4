//! How many clients there may be, how much they may send and how long they may take.

use serde::{Deserialize, Serialize};

/// Limits of one door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Connections at the same time.
    pub(crate) max_connections: usize,
    /// Of these, from one address (of IPv6, from one /64). Clients on this machine share one
    /// address and are only counted by `max_connections`.
    pub(crate) max_connections_per_address: usize,
    /// Until the first byte of a new connection, in milliseconds.
    pub(crate) first_byte_ms: u64,
    /// From the first to the last byte of a head, in milliseconds.
    pub(crate) header_ms: u64,
    /// How long the client may make us wait for `progress_bytes` of a body, in milliseconds.
    pub(crate) body_ms: u64,
    /// From the end of an answer to the next request, in milliseconds.
    pub(crate) idle_ms: u64,
    /// How long the client may make us wait until it has taken `progress_bytes` of an answer, in
    /// milliseconds.
    pub(crate) write_ms: u64,
    /// How many bytes must move, either way, for a client to be given its time anew. Bodies that
    /// are shorter must be through within that time.
    pub(crate) progress_bytes: usize,
    /// Header lines of a request.
    pub(crate) max_headers: usize,
    /// Bytes of a head.
    pub(crate) header_bytes: usize,
    /// Bytes of a request target.
    pub(crate) uri_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 256,
            first_byte_ms: 10_000,
            header_ms: 10_000,
            body_ms: 30_000,
            idle_ms: 75_000,
            write_ms: 30_000,
            progress_bytes: 30 * 1024,
            max_headers: 100,
            header_bytes: 32 * 1024,
            uri_bytes: 8 * 1024,
        }
    }
}
