//! People's accounts at servers, for programs.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::{Caller, Site},
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, created, done, many, no_such_path},
    },
    domain::{PrincipalKind, Server},
    links::{LinkView, Links, client_document},
    registry,
};

/// At which server somebody wants to sign in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Where {
    server: String,
}

/// A server that somebody may see.
pub(super) fn server(
    office: &Office,
    caller: &Caller,
    name: &str,
) -> Result<Arc<Server>, registry::Error> {
    let directory = office.registry.directory();
    let found = directory.find(&caller.principal().sight(), name).cloned();
    found.ok_or_else(|| registry::Error::NoSuchServer(name.chars().take(80).collect()))
}

/// The caller's accounts at servers.
pub(in crate::admin) async fn links(
    Visitor(caller): Visitor,
    State(links): State<Links>,
) -> Result<Response, Failure> {
    let views: Vec<Value> = links.list(&caller)?.into_iter().map(shown).collect();
    Ok(many(&views))
}

fn shown(view: LinkView) -> Value {
    let LinkView { link, server } = view;
    json!({
        "id": link.id.to_string(),
        "server": server,
        "issuer": link.issuer.name,
        "scope": link.scope,
        "is_over": link.is_over,
        "linked_at": link.linked_at.to_string(),
        "token_ends_at": link.ends_at.to_string(),
    })
}

/// Begins to connect an account: tells the URL that the caller opens in a browser where they are
/// signed in here.
pub(in crate::admin) async fn link(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    uri: Uri,
    headers: HeaderMap,
    Checked(form): Checked<Where>,
) -> Result<Response, Failure> {
    let server = server(&office, &caller, &form.server)?;
    // Whoever is no person cannot sign in anywhere, and shows the page to one.
    let is_person = matches!(caller.principal().kind, PrincipalKind::User(_));
    let begun = match office.site.base(&uri, &headers).filter(|_| is_person) {
        Some(base) => Some(office.links.begin(&caller, &server, &base).await?),
        None => None,
    };
    let mut told = json!({ "server": server.name, "page": office.links.page_of(&server) });
    if let Some(begun) = begun {
        told["url"] = begun.url.into();
        told["issuer"] = begun.issuer.into();
        told["expires_in"] = begun.seconds.into();
    }
    Ok(created(told))
}

/// Ends one of the caller's accounts here.
pub(in crate::admin) async fn unlink(
    Visitor(caller): Visitor,
    State(links): State<Links>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    links.unlink(&caller, &id).await?;
    Ok(done("the gateway uses this account no more"))
}

/// What the gateway says of itself as a client.
pub(in crate::admin) async fn client(
    State(site): State<Site>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Some(base) = site.base(&uri, &headers) else { return Err(no_such_path().await) };
    Ok(Json(client_document(&base)).into_response())
}
