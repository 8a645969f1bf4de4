//! The doors: bytes in, bytes out.

mod arrival;
mod body;
mod guard;
mod http;
mod legacy;
mod listen;
mod modern;
mod reply;
mod session;
mod strict;

use serde::{Deserialize, Serialize};

pub(crate) use guard::Guard;
pub(crate) use http::Front;
pub(crate) use listen::{Door, Peer, Stop, serve};
pub(crate) use reply::http_problem;
pub(crate) use session::Sessions;

/// How the doors are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Patience and places for connections.
    pub(crate) connections: listen::Settings,
    /// Sessions of older clients.
    pub(crate) sessions: session::Settings,
    /// The largest message, in bytes.
    pub(crate) body_bytes: usize,
    /// Bytes of all messages that are being read or answered at the same time.
    pub(crate) bodies_bytes: usize,
    /// Host names clients may use besides the address itself, such as `gateway.example.com`.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins of pages that may call besides the gateway's own, such as
    /// `https://app.example.com`.
    pub(crate) allowed_origins: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: listen::Settings::default(),
            sessions: session::Settings::default(),
            body_bytes: 4 << 20,
            bodies_bytes: 256 << 20,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}
