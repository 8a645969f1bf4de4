//! The doors: bytes in, bytes out.

mod arrival;
mod batch;
mod body;
mod channel;
mod channels;
mod converse;
mod facade;
#[cfg(test)]
mod furnished;
mod guard;
mod http;
mod legacy;
mod listen;
mod listening;
mod modern;
mod plain;
mod proxies;
mod proxy;
mod reply;
mod rpc;
mod session;
mod sse;
mod stream;
mod strict;
mod tasks;
mod websocket;

use serde::{Deserialize, Serialize};

pub(crate) use guard::Guard;
pub(crate) use http::Front;
pub(crate) use listen::{Door, Peer, Stop, serve};
pub(crate) use modern::render as answer;
pub(crate) use reply::http_problem;
pub(crate) use session::{SessionView, Sessions, Traffic};
pub(crate) use stream::{Source, events, response as stream_of};

/// How the doors are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Patience and places for connections.
    pub(crate) connections: listen::Settings,
    /// Sessions of older clients.
    pub(crate) sessions: session::Settings,
    /// Connections that carry messages both ways.
    pub(crate) channels: channel::Settings,
    /// Arrays of plain JSON-RPC.
    pub(crate) rpc: rpc::Settings,
    /// The largest message, in bytes.
    pub(crate) body_bytes: usize,
    /// Bytes of all messages that are being read or answered at the same time.
    pub(crate) bodies_bytes: usize,
    /// Host names clients may use besides the address itself, such as `gateway.example.com`.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins of pages that may call besides the gateway's own, such as
    /// `https://app.example.com`.
    pub(crate) allowed_origins: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`.
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: listen::Settings::default(),
            sessions: session::Settings::default(),
            channels: channel::Settings::default(),
            rpc: rpc::Settings::default(),
            body_bytes: 4 << 20,
            bodies_bytes: 256 << 20,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}
