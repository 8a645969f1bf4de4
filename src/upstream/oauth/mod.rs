//! Tokens that servers are shown: whom they are had from, and how (OAuth 2.1).
//!
//! A client's own token never goes on to a server: what is shown there was asked for here.

mod bearer;
mod client_credentials;
mod discover;
mod token;

pub(crate) use self::{
    bearer::{Bearer, Grants, Nobody},
    client_credentials::ClientCredentials,
    discover::{Discovered, Issuer, discover, is_short_of},
    token::{Client, Code, Desk, Granted, ask, register, revoke},
};

use std::sync::Arc;

/// Whose account a server is spoken to with, where everybody has their own.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// Which account. What is said with one is never said in a conversation of another.
    pub(crate) key: Arc<str>,
    /// What is shown.
    pub(crate) bearer: Arc<Bearer>,
}

/// Why there is no token. The words name no secret, and no address that a stranger chose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Who gives tokens cannot be found out.
    #[error("{0}")]
    Discovery(&'static str),
    /// Whoever gives tokens does not answer.
    #[error("whoever gives its tokens does not answer")]
    Unread,
    /// Whoever gives tokens answers something else.
    #[error("whoever gives its tokens answers something that is no token")]
    Unreadable,
    /// Whoever gives tokens says no.
    #[error("whoever gives its tokens refuses: {0}")]
    Refused(Code),
    /// Nobody is signed in there on whose behalf it could be asked.
    #[error("nobody is signed in there")]
    NobodySignedIn,
}
