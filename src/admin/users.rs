//! People.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    access::{Access, NewUser, UserChange},
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, created, done, many, one},
        sessions,
    },
    domain::User,
};

/// Lists the people of an organization.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(access): State<Access>,
) -> Result<Response, Failure> {
    let users: Vec<Value> = access.users(&caller)?.iter().map(shown).collect();
    Ok(many(&users))
}

/// Makes an account.
pub(super) async fn create(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Checked(new): Checked<NewUser>,
) -> Result<Response, Failure> {
    let made = access.create_user(&caller, new).await;
    let user = made.map_err(Failure::unprocessable)?;
    tracing::info!(actor = %caller.actor(), user = %user.id, role = %user.role, "made an account");
    Ok(created(shown(&user)))
}

/// Shows one person.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Path(user): Path<String>,
) -> Result<Response, Failure> {
    Ok(one(shown(&access.user(&caller, &user)?)))
}

/// Changes somebody's account. What they may not do any more, their keys may not either.
pub(super) async fn change(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(user): Path<String>,
    Checked(wanted): Checked<UserChange>,
) -> Result<Response, Failure> {
    let changed = office.access.change_user(&caller, &user, wanted).await;
    let user = changed.map_err(Failure::unprocessable)?;
    sessions::end_strangers(&office);
    Ok(one(shown(&user)))
}

/// Deletes an account, with the keys that are its.
pub(super) async fn remove(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(user): Path<String>,
) -> Result<Response, Failure> {
    office.access.delete_user(&caller, &user).await?;
    sessions::end_strangers(&office);
    Ok(done("the account is gone, and so are its keys"))
}

/// A person as others see them: without what proves who they are.
pub(super) fn shown(user: &User) -> Value {
    let name = if user.name.is_empty() { &user.username } else { &user.name };
    json!({
        "id": user.id.to_string(),
        "username": user.username,
        "email": user.email,
        "name": name,
        "full_name": name,
        "organization_id": user.organization.to_string(),
        "role": user.role,
        "is_superuser": user.is_superuser,
        "is_active": user.is_active,
        "email_verified": user.email_verified,
        "created_at": user.created_at.to_string(),
        "updated_at": user.updated_at.unwrap_or(user.created_at).to_string(),
    })
}
