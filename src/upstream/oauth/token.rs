//! Asking for tokens, and giving them back (RFC 6749, RFC 7009, RFC 7591).

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{Failure, discover::is_private_url};
use crate::{
    domain::{Grantor, Secret},
    upstream::{
        Settings,
        document::{Document, Unread, submit},
    },
};

/// The longest answer, in bytes.
const BYTES: usize = 64 * 1_024;
/// The longest token, in bytes: it goes into a header.
const LONGEST: usize = 16 * 1_024;
/// Seconds for which a token is taken to be good whose issuer does not say it.
const UNSAID_SECONDS: u64 = 3_600;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its id at the issuer.
    pub(crate) id: String,
    /// What it proves itself with, if it does.
    pub(crate) secret: Option<Secret>,
}

/// Where something is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Desk<'a> {
    /// The endpoint.
    pub(crate) url: &'a str,
    /// Whether it may be at an address that is not public.
    pub(crate) may_be_private: bool,
    /// Whether the client's secret stands in the form, and not in a header.
    pub(crate) wants_secret_in_form: bool,
}

impl<'a> Desk<'a> {
    /// Where tokens are had.
    pub(crate) fn of(grantor: &'a Grantor) -> Self {
        Self::at(grantor, &grantor.token_endpoint)
    }

    /// Another of its endpoints.
    pub(crate) const fn at(grantor: &Grantor, url: &'a str) -> Self {
        let Grantor { may_be_private, wants_secret_in_form, .. } = *grantor;
        Self { url, may_be_private, wants_secret_in_form }
    }

    /// One that an administrator named: it may be where their other servers are.
    pub(crate) fn named(url: &'a str) -> Self {
        Self { url, may_be_private: is_private_url(url), wants_secret_in_form: false }
    }
}

/// What is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The token.
    pub(crate) access: Secret,
    /// Seconds for which it is good.
    pub(crate) seconds: u64,
    /// What the next one is had with.
    pub(crate) refresh: Option<Secret>,
    /// What it is good for, where that is said.
    pub(crate) scope: Option<String>,
}

/// A client that was registered.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Registered {
    /// Its id.
    pub(crate) client_id: String,
    /// What it proves itself with.
    #[serde(default)]
    pub(crate) client_secret: Option<Secret>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    token_type: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    scope: Option<String>,
}

/// A number, which some write as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// The fields of a form.
pub(crate) type Fields<'a> = Vec<(&'a str, &'a str)>;

/// Asks for a token.
pub(crate) async fn ask(
    desk: Desk<'_>,
    client: &Client,
    fields: Fields<'_>,
    settings: &Settings,
) -> Result<Granted, Failure> {
    let (status, body) = send(desk, client, fields, settings).await?;
    if !status.is_success() {
        return Err(refusal(&body));
    }
    let said: Answer = serde_json::from_slice(&body).map_err(|_| Failure::Unreadable)?;
    let is_bearer = said.token_type.eq_ignore_ascii_case("bearer");
    let is_plain = |token: &Secret| {
        let bytes = token.expose().as_bytes();
        !bytes.is_empty() && bytes.len() <= LONGEST && bytes.iter().all(u8::is_ascii_graphic)
    };
    if !is_bearer || !is_plain(&said.access_token) {
        return Err(Failure::Unreadable);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is cut to the range of numbers"
    )]
    let seconds = match said.expires_in {
        Some(Seconds::Number(number)) => number as u64,
        Some(Seconds::Text(text)) => text.parse().unwrap_or(UNSAID_SECONDS),
        None => UNSAID_SECONDS,
    };
    let refresh = said.refresh_token.filter(|token| token.expose().len() <= LONGEST);
    Ok(Granted { access: said.access_token, seconds, refresh, scope: said.scope })
}

/// Gives a token back. Whether that is taken is nobody's trouble here.
pub(crate) async fn revoke(desk: Desk<'_>, client: &Client, token: &Secret, settings: &Settings) {
    let fields = vec![("token", token.expose())];
    match send(desk, client, fields, settings).await {
        Ok((status, _)) if status.is_success() => {}
        Ok((status, _)) => tracing::info!(%status, "a token was not taken back"),
        Err(error) => tracing::info!(%error, "a token was not given back"),
    }
}

/// Registers a client that is described by this JSON.
pub(crate) async fn register(
    desk: Desk<'_>,
    description: &serde_json::Value,
    settings: &Settings,
) -> Result<Registered, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = Bytes::from(description.to_string());
    let (status, body) = submit(document(desk, settings), headers, body, settings).await?;
    if !status.is_success() {
        return Err(refusal(&body));
    }
    let said: Registered = serde_json::from_slice(&body).map_err(|_| Failure::Unreadable)?;
    let is_plain = |text: &str| !text.is_empty() && text.len() <= LONGEST;
    if is_plain(&said.client_id) { Ok(said) } else { Err(Failure::Unreadable) }
}

async fn send(
    desk: Desk<'_>,
    Client { id, secret }: &Client,
    mut fields: Fields<'_>,
    settings: &Settings,
) -> Result<(http::StatusCode, Bytes), Failure> {
    let mut headers = HeaderMap::new();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form);
    if let Some(secret) = secret.as_ref().filter(|_| !desk.wants_secret_in_form) {
        // RFC 6749, 2.3.1: both are encoded like a form first.
        let part =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", part(id), part(secret.expose())));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = HeaderValue::from_str(&basic).map_err(|_| Failure::Unreadable)?;
        basic.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, basic);
    } else {
        fields.push(("client_id", id));
        fields.extend(secret.as_ref().map(|secret| ("client_secret", secret.expose())));
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Ok(submit(document(desk, settings), headers, body.into(), settings).await?)
}

fn document<'a>(desk: Desk<'a>, settings: &Settings) -> Document<'a> {
    Document {
        url: desk.url,
        bytes: BYTES,
        within: Duration::from_millis(settings.oauth_ms),
        may_be_private: desk.may_be_private,
    }
}

fn refusal(body: &[u8]) -> Failure {
    match serde_json::from_slice::<Refused>(body) {
        Ok(said) => Failure::Refused(Code::new(&said.error)),
        Err(_) => Failure::Unreadable,
    }
}

/// The code of a refusal, as far as it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code(Box<str>);

impl Code {
    /// As much of a text as is one.
    pub(crate) fn new(text: &str) -> Self {
        let plain = |c: &char| c.is_ascii_lowercase() || *c == '_';
        Self(text.chars().filter(plain).take(60).collect::<String>().into())
    }

    /// Whether what was shown for a token is good no more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(&*self.0, "invalid_grant" | "invalid_token")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Address => Self::Discovery("its issuer names an address that is not asked"),
            _ => Self::Unread,
        }
    }
}
