//! Tokens for clients, and their registration, as OAuth asks for them.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use crate::{
    access::{
        Access, Site,
        oauth::{Error, Registration, TokenForm},
    },
    admin::desk::no_such_path,
    problem::{Classify, Kind, chain},
};

/// The largest form or registration, in bytes.
const BODY_BYTES: usize = 16 * 1_024;

/// Gives tokens for a code or for a refresh token.
pub(in crate::admin) async fn exchange(
    State(access): State<Access>,
    State(site): State<Site>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !site.is_issuer() {
        return no_such_path().await.into_response();
    }
    let given = match form(&headers, &body) {
        Ok(form) => access.exchange(&form).await,
        Err(error) => Err(error),
    };
    match given {
        Ok(given) => Json(json!({
            "access_token": given.access.expose(),
            "token_type": "Bearer",
            "expires_in": given.expires_in,
            "refresh_token": given.refresh.expose(),
            "scope": given.scopes.to_string(),
        }))
        .into_response(),
        Err(error) => told(&error),
    }
}

/// Ends what a token belongs to (RFC 7009).
pub(in crate::admin) async fn revoke(
    State(access): State<Access>,
    State(site): State<Site>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !site.is_issuer() {
        return no_such_path().await.into_response();
    }
    let ended = match form(&headers, &body) {
        Ok(form) => access.revoke_token(&form).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => told(&error),
    }
}

/// Registers a client (RFC 7591).
pub(in crate::admin) async fn register(
    State(access): State<Access>,
    State(site): State<Site>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !site.is_issuer() || !access.oauth_settings().registration {
        return no_such_path().await.into_response();
    }
    let said = match () {
        () if !is_of(&headers, "application/json") => {
            Err(Error::Metadata("send the description as application/json"))
        }
        () if body.len() > BODY_BYTES => Err(Error::Metadata("the description is too long")),
        () => Registration::parse(&body),
    };
    let registered = said.and_then(|said| {
        let redirects = said.redirects().to_vec();
        Ok((access.register_client(said)?, redirects))
    });
    match registered {
        Ok(((client, at), redirects)) => {
            let body = json!({
                "client_id": client.id,
                "client_id_issued_at": at.as_ms().div_euclid(1_000),
                "client_name": client.name,
                "redirect_uris": redirects,
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Err(error) => told(&error),
    }
}

fn form(headers: &HeaderMap, body: &Bytes) -> Result<TokenForm, Error> {
    if !is_of(headers, "application/x-www-form-urlencoded") {
        return Err(Error::Request("send a form: application/x-www-form-urlencoded"));
    }
    if body.len() > BODY_BYTES {
        return Err(Error::Request("the form is too long"));
    }
    TokenForm::parse(body)
}

fn is_of(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// A refusal as clients of OAuth read it.
fn told(error: &Error) -> Response {
    let kind = error.kind();
    let status = StatusCode::from_u16(kind.telling().http).unwrap_or(StatusCode::BAD_REQUEST);
    let words = if kind == Kind::Internal {
        tracing::error!(error = chain(error), "a client got no tokens");
        "the gateway failed; its log says why".to_owned()
    } else {
        error.to_string()
    };
    (status, Json(json!({ "error": error.code(), "error_description": words }))).into_response()
}
