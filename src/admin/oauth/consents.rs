//! What people gave clients leave for.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::Access,
    admin::desk::{Failure, Visitor, done, many},
    domain::TokenScope,
};

/// Whose leave is asked about.
#[derive(Debug, Deserialize)]
pub(in crate::admin) struct Whose {
    /// Their name, address or id; the caller's own where nothing is said.
    #[serde(default)]
    user: Option<String>,
}

/// What the caller, or somebody they name, gave clients leave for.
pub(in crate::admin) async fn list(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Query(whose): Query<Whose>,
) -> Result<Response, Failure> {
    let given = access.consents(&caller, whose.user.as_deref())?;
    let views: Vec<Value> = given
        .into_iter()
        .map(|it| {
            let scopes: Vec<&str> = it.consent.scopes.iter().map(TokenScope::as_str).collect();
            json!({
                "id": it.id.to_string(),
                "username": it.username,
                "client_id": it.consent.client,
                "client_name": it.consent.name,
                "redirect_uri": it.consent.redirect,
                "resource": it.consent.resource,
                "scopes": scopes,
                "created_at": it.created_at.to_string(),
                "renewed_at": it.renewed_at.to_string(),
            })
        })
        .collect();
    Ok(many(&views))
}

/// Takes leave back.
pub(in crate::admin) async fn take_back(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    access.take_back(&caller, &id).await?;
    Ok(done("the client may do nothing with it any more"))
}
