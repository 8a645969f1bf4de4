//! The office: signing in with a name and a password, and out again.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Error, people::shown_once};
use crate::domain::{Secret, exposed};

/// What somebody signs in with.
#[derive(Debug, Serialize)]
pub struct SignInForm<'a> {
    /// Their name or address.
    pub username: &'a str,
    /// What they prove who they are with.
    #[serde(with = "exposed")]
    pub password: Secret,
    /// A code of their authenticator app, or a recovery code.
    #[serde(skip_serializing_if = "Option::is_none", with = "shown_once")]
    pub totp: Option<Secret>,
}

/// What is given to those who signed in.
#[derive(Debug, Clone, Deserialize)]
pub struct Tokens {
    /// Shown at every request.
    pub access_token: Secret,
    /// Good for one more of both.
    pub refresh_token: Secret,
    /// Seconds for which the first is good.
    pub expires_in: u64,
}

/// Who somebody is to a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileView {
    /// Their id, or that of their key.
    pub id: String,
    /// What they sign in with; a key or the owner of the machine does not.
    #[serde(default)]
    pub username: Option<String>,
    /// What they may do here.
    #[serde(default)]
    pub role: String,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Client {
    /// Signs somebody in. A refusal says whether only a second factor is missing.
    pub async fn sign_in(&self, form: &SignInForm<'_>) -> Result<Tokens, Error> {
        self.post("/api/auth/login", form).await
    }

    /// New tokens for a refresh token, which is good no more then.
    pub async fn renew(&self, refresh_token: &Secret) -> Result<Tokens, Error> {
        let form = BTreeMap::from([("refresh_token", refresh_token.expose())]);
        self.post("/api/auth/refresh", &form).await
    }

    /// Ends the sign-in that this client shows.
    pub async fn sign_out(&self) -> Result<(), Error> {
        let request = self.request(Method::POST, "/api/auth/logout")?;
        self.do_without_answer(request).await
    }

    /// Who this client is there.
    pub async fn profile(&self) -> Result<ProfileView, Error> {
        self.get("/api/auth/profile").await
    }
}
