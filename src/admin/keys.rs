//! API keys.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    access::{Access, NewKey},
    admin::desk::{Checked, Failure, Visitor, created, done, many, one},
    domain::{ApiKey, Permission},
};

/// Lists keys, without their text.
pub(super) async fn list(
    visitor: Visitor,
    State(access): State<Access>,
) -> Result<Response, Failure> {
    visitor.may(Permission::KeysRead)?;
    let keys: Vec<Value> = access.keys()?.iter().map(shown).collect();
    Ok(many(&keys))
}

/// Makes a key and shows its text, once.
pub(super) async fn create(
    visitor: Visitor,
    State(access): State<Access>,
    Checked(new): Checked<NewKey>,
) -> Result<Response, Failure> {
    let caller = visitor.may(Permission::KeysWrite)?;
    let made = access.create_key(&caller, new).await;
    let (key, text) = made.map_err(|error| Failure::unprocessable(error.into()))?;
    let mut shown = shown(&key);
    shown["key"] = text.expose().into();
    Ok(created(shown))
}

/// Revokes a key.
pub(super) async fn revoke(
    visitor: Visitor,
    State(access): State<Access>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let caller = visitor.may(Permission::KeysWrite)?;
    access.revoke_key(&caller, &id).await?;
    Ok(done("the key opens nothing any more"))
}

/// Signs tokens with a new key from now on. What the one before signed stays good until its end.
pub(super) async fn rotate(
    visitor: Visitor,
    State(access): State<Access>,
) -> Result<Response, Failure> {
    let caller = visitor.may(Permission::SystemManage)?;
    access.rotate_signing_keys(&caller.actor()).await?;
    Ok(one(json!({ "rotated": true })))
}

fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "prefix": format!("thk_live_{}", key.id),
        "created_at": key.created_at.to_string(),
        "expires_at": key.expires_at.map(|end| end.to_string()),
        "is_active": key.is_active,
    })
}
