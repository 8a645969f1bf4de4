//! API keys.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    access::{Access, KeyChange, NewKey, ShownKey},
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, created, done, many, one},
        sessions,
    },
};

/// Lists keys, without their text.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(access): State<Access>,
) -> Result<Response, Failure> {
    let keys: Vec<Value> = access.keys(&caller)?.iter().map(shown).collect();
    Ok(many(&keys))
}

/// Makes a key and shows its text, once.
pub(super) async fn create(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Checked(new): Checked<NewKey>,
) -> Result<Response, Failure> {
    let made = access.create_key(&caller, new).await;
    let (key, text) = made.map_err(Failure::unprocessable)?;
    let mut shown = shown(&key);
    shown["key"] = text.expose().into();
    Ok(created(shown))
}

/// Shows a key, without its text.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    Ok(one(shown(&access.key(&caller, &id)?)))
}

/// Changes a key.
pub(super) async fn change(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(id): Path<String>,
    Checked(wanted): Checked<KeyChange>,
) -> Result<Response, Failure> {
    let changed = office.access.change_key(&caller, &id, wanted).await;
    let key = changed.map_err(Failure::unprocessable)?;
    sessions::end_strangers(&office);
    Ok(one(shown(&key)))
}

/// Revokes a key.
pub(super) async fn revoke(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    office.access.revoke_key(&caller, &id).await?;
    sessions::end_strangers(&office);
    Ok(done("the key opens nothing any more"))
}

/// Signs tokens with a new key from now on. What the one before signed stays good until its end.
pub(super) async fn rotate(
    Visitor(caller): Visitor,
    State(office): State<Office>,
) -> Result<Response, Failure> {
    office.access.rotate_signing_keys(&caller.actor()).await?;
    Ok(one(json!({ "rotated": true })))
}

fn shown(shown: &ShownKey) -> Value {
    let key = &shown.key;
    let permissions = match &key.grants[..] {
        [] => json!(key.permissions().names()),
        grants => json!(grants),
    };
    let ids = |ids: Vec<String>| json!(ids);
    json!({
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "key_type": key.key_type,
        "role": key.grants.is_empty().then_some(key.role),
        "permissions": permissions,
        "scopes": permissions,
        // What is left of them after limits, and after what its owner may do now.
        "effective_permissions": shown.permissions.names(),
        "namespaces": ids(key.limits.namespaces.iter().map(ToString::to_string).collect()),
        "servers": ids(key.limits.servers.iter().map(ToString::to_string).collect()),
        "organization_id": key.organization.to_string(),
        "user_id": key.owner.map(|owner| owner.to_string()),
        "prefix": key.prefix(),
        "last_four": Some(&key.last_four).filter(|end| !end.is_empty()),
        "created_at": key.created_at.to_string(),
        "updated_at": key.updated_at.unwrap_or(key.created_at).to_string(),
        "expires_at": key.expires_at.map(|end| end.to_string()),
        "last_used_at": shown.last_used_at.map(|at| at.to_string()),
        "is_active": key.is_active,
    })
}
