//! Clients that act for people: they ask for leave in the browser of a person, who signs in and
//! consents, and get tokens for one endpoint (OAuth 2.1 with PKCE).
//!
//! What a person allowed is a sign-in of theirs that carries a [`Consent`]: it is renewed, listed,
//! ended and kept in the same ways as their own.

mod client;
mod code;
mod consents;
mod error;
mod exchange;
mod request;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    client::{Client, Registration},
    error::Error,
    exchange::TokenForm,
    request::{Authorization, Wanted},
};
use crate::domain::Timestamp;

/// Clients that act for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether clients get tokens here at all, after a person signed in and consented.
    pub(crate) enabled: bool,
    /// Whether clients may register by themselves (RFC 7591).
    pub(crate) registration: bool,
    /// Documents by which clients are known.
    pub(crate) documents: Documents,
    /// Addresses that one client may be sent back to.
    pub(crate) max_redirects: usize,
    /// The longest id that a client gets by registering, in bytes: its registration stands in it.
    pub(crate) client_id_bytes: usize,
    /// Seconds for which a code can be exchanged for tokens.
    pub(crate) code_seconds: u32,
    /// Codes at the same time.
    pub(crate) max_codes: usize,
    /// Of these, for one person; one more makes their oldest useless.
    pub(crate) max_codes_per_user: usize,
}

/// Documents by which clients are known: the URL of one is the id of its client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Documents {
    /// Whether a client may be known by one.
    pub(crate) enabled: bool,
    /// Whether one may be at an address that is not public, as in an intranet.
    pub(crate) private: bool,
    /// The longest one, in bytes.
    pub(crate) bytes: usize,
    /// How long reading one may take, in milliseconds.
    pub(crate) read_ms: u64,
    /// How many are remembered at the same time.
    pub(crate) max_remembered: usize,
    /// Seconds after which one is read again.
    pub(crate) seconds: u32,
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            enabled: true,
            private: false,
            bytes: 10 * 1_024,
            read_ms: 5_000,
            max_remembered: 100,
            seconds: 600,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            registration: true,
            documents: Documents::default(),
            max_redirects: 10,
            client_id_bytes: 2_000,
            code_seconds: 60,
            max_codes: 10_000,
            max_codes_per_user: 20,
        }
    }
}

impl Settings {
    fn code_life(&self) -> Duration {
        Duration::from_secs(self.code_seconds.into())
    }
}

/// What is under way between asking and having, in memory: a restart ends it.
#[derive(Default)]
pub(super) struct Counter {
    codes: code::Codes,
    /// Clients whose documents were read, by their URLs.
    documents: Mutex<HashMap<String, (Arc<Client>, Timestamp)>>,
}
