//! Clients that act for people: they ask for leave in the browser of a person, who signs in and
//! consents, and get tokens for one endpoint (OAuth 2.1 with PKCE).
//!
//! What a person allowed is a sign-in of theirs that carries a [`Consent`]: it is renewed, listed,
//! ended and kept in the same ways as their own.

mod client;
mod code;
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
    /// Whether a client may be known by the https URL of a document that describes it.
    pub(crate) documents: bool,
    /// Whether such a document may be at an address that is not public, as in an intranet.
    pub(crate) private_documents: bool,
    /// The longest such document, in bytes.
    pub(crate) document_bytes: usize,
    /// How long reading one may take, in milliseconds.
    pub(crate) document_ms: u64,
    /// Documents that are remembered at the same time.
    pub(crate) max_documents: usize,
    /// Seconds after which one is read again.
    pub(crate) document_seconds: u32,
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            registration: true,
            documents: true,
            private_documents: false,
            document_bytes: 10 * 1_024,
            document_ms: 5_000,
            max_documents: 100,
            document_seconds: 600,
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
