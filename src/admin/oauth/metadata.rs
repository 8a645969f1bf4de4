//! What programs read before they ask for tokens (RFC 9728 and RFC 8414).

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Uri};
use serde_json::json;

use crate::{
    access::{Access, Resource, Site},
    admin::desk::{Failure, no_such_path},
    domain::TokenScopes,
};

/// Who gives tokens for the endpoint of everything.
pub(in crate::admin) async fn resource(
    State(site): State<Site>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Some(base) = site.base(&uri, &headers) else { return Err(no_such_path().await) };
    describe_resource(&site, &base, "/mcp").await
}

/// Who gives tokens for the endpoint at a path.
pub(in crate::admin) async fn resource_at(
    State(site): State<Site>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Some(base) = site.base(&uri, &headers) else { return Err(no_such_path().await) };
    let rest = format!("/{path}");
    let Some(path) = Site::path_behind(&base, &rest) else { return Err(no_such_path().await) };
    let path = if path.is_empty() { "/mcp" } else { path };
    describe_resource(&site, &base, path).await
}

/// Every path that can be an endpoint is described, so that nobody learns which ones are.
async fn describe_resource(site: &Site, base: &str, path: &str) -> Result<Response, Failure> {
    let issuers = site.issuers(base);
    let resource = Resource::at(base, path).filter(|_| !issuers.is_empty());
    let Some(resource) = resource else { return Err(no_such_path().await) };
    let mut body = json!({
        "resource": resource.url,
        "authorization_servers": issuers,
        "bearer_methods_supported": ["header"],
        "resource_name": "Tollhouse",
    });
    if site.is_issuer() {
        body["scopes_supported"] = scopes().into();
    }
    Ok(Json(body).into_response())
}

/// How tokens are got.
pub(in crate::admin) async fn server(
    State(site): State<Site>,
    State(access): State<Access>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Some(base) = base(&site, &uri, &headers) else { return Err(no_such_path().await) };
    let settings = access.oauth_settings();
    let mut body = json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "scopes_supported": scopes(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": settings.documents.enabled,
    });
    if settings.registration {
        body["registration_endpoint"] = format!("{base}/oauth/register").into();
    }
    Ok(Json(body).into_response())
}

/// The same, where the public URL has a path: there it stands behind the well-known name.
pub(in crate::admin) async fn server_at(
    State(site): State<Site>,
    State(access): State<Access>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let is_ours = base(&site, &uri, &headers)
        .is_some_and(|base| Site::path_behind(&base, &format!("/{path}")) == Some(""));
    if !is_ours {
        return Err(no_such_path().await);
    }
    server(State(site), State(access), uri, headers).await
}

/// The URL that all others begin with, where tokens are given here at all.
pub(super) fn base(site: &Site, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    site.base(uri, headers).filter(|_| site.is_issuer())
}

fn scopes() -> Vec<&'static str> {
    TokenScopes::all().iter().map(crate::domain::TokenScope::as_str).collect()
}
