//! Links: somebody's own account at a server, as the gateway may use it for them.

use serde::{Deserialize, Serialize};

use super::{LinkId, Secret, ServerId, Timestamp, UserId, exposed, exposed_option};

/// Somebody's account at a server: what is shown there in their name, and what the next token is
/// had with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// At which server.
    pub server: ServerId,
    /// Whose it is.
    pub user: UserId,
    /// What both were called when it was made.
    pub label: String,
    /// Who gives its tokens.
    pub issuer: Grantor,
    /// What the gateway is called there.
    pub client_id: String,
    /// What it proves itself with there, if it does.
    #[serde(with = "exposed_option")]
    pub client_secret: Option<Secret>,
    /// What tokens are asked for as (RFC 8707).
    pub resource: String,
    /// What they are good for, where that is known.
    pub scope: Option<String>,
    /// The token.
    #[serde(with = "exposed")]
    pub access: Secret,
    /// When it ends.
    pub ends_at: Timestamp,
    /// What the next one is had with, if there is to be one.
    #[serde(with = "exposed_option")]
    pub refresh: Option<Secret>,
    /// When they signed in there.
    pub linked_at: Timestamp,
    /// Whether whoever gives the tokens gives none any more.
    pub is_over: bool,
}

/// Who gives tokens for a server, as far as it must be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grantor {
    /// What it calls itself.
    pub name: String,
    /// Where tokens are had.
    pub token_endpoint: String,
    /// Where they are given back.
    pub revocation_endpoint: Option<String>,
    /// Whether a client's secret stands in the form.
    pub wants_secret_in_form: bool,
    /// Whether it may be at an address that is not public.
    pub may_be_private: bool,
}
