//! Tokens for apps, at `POST /auth/a2a/token`: client credentials (RFC 6749) and token exchange
//! (RFC 8693) in one.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    access::{Access, AppRefusal, Asked, Credential},
    domain::Secret,
    problem::{Classify, Kind, chain},
};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The largest body, in bytes.
const BODY_BYTES: usize = 16 * 1_024;

/// What an app sends, as a form or as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    subject_token: Option<Secret>,
    subject_token_type: Option<String>,
    requested_token_type: Option<String>,
    scope: Option<String>,
    namespace: Option<String>,
    audience: Option<String>,
    expires_in: Option<u64>,
}

/// Why nothing is given.
enum Refused {
    /// What is wrong with the request, whoever sends it.
    Request(&'static str),
    /// A way of getting tokens that there is not.
    GrantType,
    App(AppRefusal),
}

/// Gives an app a token for its key, or a lesser one for a token.
pub(super) async fn exchange(
    State(access): State<Access>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = read(&headers, &body).and_then(|form| asked(&headers, form));
    let given = match asked {
        Ok(asked) => access.exchange_for_app(&asked).await.map_err(Refused::App),
        Err(refused) => Err(refused),
    };
    let given = match given {
        Ok(given) => given,
        Err(refused) => return told(&refused),
    };
    let mut answer = json!({
        "access_token": given.token.expose(),
        "token_type": "Bearer",
        "issued_token_type": ACCESS_TOKEN,
        "expires_in": given.expires_in,
        "scope": given.scope,
    });
    if let Some(namespace) = given.namespace {
        answer["namespace"] = namespace.into();
    }
    Json(answer).into_response()
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Form, Refused> {
    if body.len() > BODY_BYTES {
        return Err(Refused::Request("the body is too long"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let members = match kind.and_then(|kind| kind.split(';').next()).map(str::trim) {
        None if body.is_empty() => Map::new(),
        Some("application/json") => serde_json::from_slice(body)
            .map_err(|_| Refused::Request("the body is no JSON object"))?,
        Some("application/x-www-form-urlencoded") => form(body)?,
        _ => return Err(Refused::Request("send a form, or JSON as application/json")),
    };
    let known = |error: serde_json::Error| {
        // The words of a complaint could repeat a secret.
        let is_unknown = error.to_string().starts_with("unknown field");
        Refused::Request(if is_unknown {
            "a field is none of grant_type, client_id, client_secret, subject_token, \
             subject_token_type, requested_token_type, scope, namespace, audience and expires_in"
        } else {
            "a field is not of its type"
        })
    };
    serde_json::from_value(Value::Object(members)).map_err(known)
}

fn form(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    let mut members = Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        // What is empty is not there (RFC 6749).
        if value.is_empty() {
            continue;
        }
        let value = match value.parse::<u64>() {
            Ok(number) if name == "expires_in" => Value::from(number),
            _ => Value::from(&*value),
        };
        if members.insert(name.into_owned(), value).is_some() {
            return Err(Refused::Request("a field of the form stands there twice"));
        }
    }
    Ok(members)
}

/// What is asked for, and by which of the ways of showing a credential.
fn asked(headers: &HeaderMap, form: Form) -> Result<Asked, Refused> {
    let is_exchange = match form.grant_type.as_deref() {
        None => form.subject_token.is_some(),
        Some("client_credentials") => false,
        Some(TOKEN_EXCHANGE) => true,
        Some(_) => return Err(Refused::GrantType),
    };
    if is_exchange != form.subject_token.is_some() {
        return Err(Refused::Request("subject_token belongs to a token exchange, and only there"));
    }
    let types = [&form.subject_token_type, &form.requested_token_type];
    if types.into_iter().flatten().any(|it| it != ACCESS_TOKEN) {
        return Err(Refused::Request("only access tokens are exchanged, for access tokens"));
    }
    let shown = Credential::of(headers).map_err(|_| Refused::App(AppRefusal::Client))?;
    let (by_header, named) = match shown {
        Credential::None => (None, None),
        Credential::Key(key) => (Some(key.into_text()), None),
        Credential::Basic(basic) => {
            let (name, password) = basic.into_parts();
            (Some(password), Some(name))
        }
        _ => return Err(Refused::App(AppRefusal::Client)),
    };
    let mut ways = [by_header, form.client_secret, form.subject_token].into_iter().flatten();
    let credential = ways.next();
    if ways.next().is_some() {
        return Err(Refused::Request("show one credential, in one way"));
    }
    if named.is_some() && form.client_id.is_some() && named != form.client_id {
        return Err(Refused::App(AppRefusal::Client));
    }
    Ok(Asked {
        credential,
        client_id: form.client_id.or(named),
        scope: form.scope,
        namespace: form.namespace,
        audience: form.audience,
        expires_in: form.expires_in,
    })
}

/// A refusal as clients of OAuth read it.
fn told(refused: &Refused) -> Response {
    let (status, code, words) = match refused {
        Refused::Request(words) => (400, "invalid_request", (*words).to_owned()),
        Refused::GrantType => {
            let words = "grant_type is neither client_credentials nor a token exchange";
            (400, "unsupported_grant_type", words.to_owned())
        }
        Refused::App(refusal) => {
            let kind = refusal.kind();
            let words = if kind == Kind::Internal {
                tracing::error!(error = chain(refusal), "an app got no token");
                "the gateway failed; its log says why".to_owned()
            } else {
                refusal.to_string()
            };
            (kind.telling().http, refusal.code(), words)
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({ "error": code, "error_description": words });
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"tollhouse\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
