//! Outward: what the gateway shows a server at a URL, so that it is let in.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::{Secret, exposed, exposed_option};

/// How the gateway says to a server who it is. Nothing of it ever comes from a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerAuth {
    /// Not at all.
    #[default]
    None,
    /// With a header of its own.
    Header {
        /// The header's name.
        name: String,
        /// What it says.
        #[serde(with = "exposed")]
        value: Secret,
    },
    /// With a bearer token that does not change.
    Bearer {
        /// The token.
        #[serde(with = "exposed")]
        token: Secret,
    },
    /// With a user name and a password.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        #[serde(with = "exposed")]
        password: Secret,
    },
    /// With a token that is asked for in the gateway's own name (OAuth client credentials).
    #[serde(rename = "oauth2_client_credentials", alias = "client_credentials")]
    ClientCredentials(Box<ClientAuth>),
    /// With a token that whoever calls brought of their identity provider, exchanged for one that
    /// is meant for the server (RFC 8693).
    #[serde(rename = "oauth2_token_exchange", alias = "token_exchange")]
    TokenExchange(Box<ExchangeAuth>),
    /// With a token of whoever calls, who signed in there themselves (OAuth).
    #[serde(rename = "oauth")]
    OAuth(Box<UserAuth>),
}

/// Where, and as what, tokens are exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeAuth {
    /// Where.
    pub token_url: String,
    /// What the gateway is called there.
    pub client_id: String,
    /// What it proves itself with.
    #[serde(with = "exposed")]
    pub client_secret: Secret,
    /// Whom the new token is to be meant for, as its issuer knows the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// What it is to be good for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

impl ExchangeAuth {
    /// How the gateway asks for a token in its own name there.
    #[must_use]
    pub fn own(&self) -> ClientAuth {
        ClientAuth {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            token_url: Some(self.token_url.clone()),
            scopes: self.scopes.clone(),
            resource: None,
        }
    }
}

/// How people sign in at a server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserAuth {
    /// What the gateway is called there; it introduces itself where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What it proves itself with there, if it does.
    #[serde(with = "exposed_option", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// What tokens are to be good for; what the server names where nothing is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// Who the gateway is where it asks for tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// Its id there.
    pub client_id: String,
    /// What it proves itself with.
    #[serde(with = "exposed")]
    pub client_secret: Secret,
    /// Where tokens are had; found out at the server where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// What they are to be good for; what the server names where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What they are asked for as (RFC 8707); the server's URL where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

impl ServerAuth {
    /// Its name, as in requests and lists.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Header { .. } => "header",
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::ClientCredentials(_) => "oauth2_client_credentials",
            Self::TokenExchange(_) => "oauth2_token_exchange",
            Self::OAuth(_) => "oauth",
        }
    }

    /// The header it fills, in lower case; none where nothing is shown.
    #[must_use]
    pub fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Header { name, .. } => Some(name.to_ascii_lowercase()),
            Self::Bearer { .. }
            | Self::Basic { .. }
            | Self::ClientCredentials(_)
            | Self::TokenExchange(_)
            | Self::OAuth(_) => Some("authorization".to_owned()),
        }
    }
}

/// What is shown in the TLS handshake with a server, and who may vouch for it there. Texts are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// The gateway's certificate there, and those between it and its authority.
    pub certificate: Option<String>,
    /// The certificate's key.
    #[serde(with = "exposed_option")]
    pub key: Option<Secret>,
    /// The authorities of the server's certificate, in place of the system's.
    pub ca: Option<String>,
}

impl ServerTls {
    /// Whether nothing is asked for beyond what the system does anyway.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// The same, as an endpoint holds it: most say nothing of it, and there may be many.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "ServerTls", into = "ServerTls")]
pub struct EndpointTls(Option<Box<ServerTls>>);

impl Deref for EndpointTls {
    type Target = ServerTls;

    fn deref(&self) -> &ServerTls {
        const PLAIN: &ServerTls = &ServerTls { certificate: None, key: None, ca: None };
        self.0.as_deref().unwrap_or(PLAIN)
    }
}

impl From<ServerTls> for EndpointTls {
    fn from(tls: ServerTls) -> Self {
        Self((!tls.is_plain()).then(|| tls.into()))
    }
}

impl From<EndpointTls> for ServerTls {
    fn from(tls: EndpointTls) -> Self {
        tls.0.map(|tls| *tls).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_stored_is_what_was_asked_for_and_is_not_printed() {
        for form in [
            json!({"type": "none"}),
            json!({"type": "header", "name": "X-Key", "value": "hunter2"}),
            json!({"type": "bearer", "token": "hunter2"}),
            json!({"type": "basic", "username": "u", "password": "hunter2"}),
            json!({"type": "oauth2_client_credentials", "client_id": "c",
                   "client_secret": "hunter2", "scopes": ["a"]}),
            json!({"type": "oauth2_token_exchange", "token_url": "https://a.test/token",
                   "client_id": "c", "client_secret": "hunter2", "audience": "a"}),
            json!({"type": "oauth"}),
            json!({"type": "oauth", "client_id": "c", "client_secret": "hunter2"}),
        ] {
            let auth: ServerAuth = serde_json::from_value(form.clone()).expect("an auth");

            assert_eq!(serde_json::to_value(&auth).expect("JSON"), form);
            let stored = rmp_serde::to_vec_named(&auth).expect("a record");
            assert_eq!(rmp_serde::from_slice::<ServerAuth>(&stored).expect("the same"), auth);
            assert!(!format!("{auth:?}").contains("hunter2"));
        }
    }

    #[test]
    fn unknown_members_are_refused() {
        for form in [
            json!({"type": "bearer", "token": "x", "more": 1}),
            json!({"type": "smoke"}),
            json!({}),
        ] {
            assert!(serde_json::from_value::<ServerAuth>(form.clone()).is_err(), "{form}");
        }
    }
}
