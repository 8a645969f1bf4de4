//! Organizations.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    access::{Access, NewOrganization, OrganizationChange},
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, created, done, many, one},
        sessions,
    },
    domain::Organization,
};

/// Lists those that somebody may know of.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(access): State<Access>,
) -> Result<Response, Failure> {
    let all: Vec<Value> = access.organizations(&caller)?.iter().map(shown).collect();
    Ok(many(&all))
}

/// Makes one.
pub(super) async fn create(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Checked(new): Checked<NewOrganization>,
) -> Result<Response, Failure> {
    let made = access.create_organization(&caller, new).await;
    let organization = made.map_err(Failure::unprocessable)?;
    Ok(created(shown(&organization)))
}

/// Shows one.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Path(organization): Path<String>,
) -> Result<Response, Failure> {
    Ok(one(shown(&access.organization(&caller, &organization)?)))
}

/// Changes one.
pub(super) async fn change(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(organization): Path<String>,
    Checked(wanted): Checked<OrganizationChange>,
) -> Result<Response, Failure> {
    let changed = office.access.change_organization(&caller, &organization, wanted).await;
    let organization = changed.map_err(Failure::unprocessable)?;
    sessions::end_strangers(&office);
    Ok(one(shown(&organization)))
}

/// Deletes one with everything in it.
pub(super) async fn remove(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(organization): Path<String>,
) -> Result<Response, Failure> {
    let id = office.access.delete_organization(&caller, &organization).await?;
    tracing::info!(actor = %caller.actor(), organization = %id, "deleted an organization");
    // Its processes have ended when this returns.
    office.registry.settle().await?;
    sessions::end_strangers(&office);
    office.house.sessions()?.forget(id);
    Ok(done("the organization is gone, with its people, keys, servers, namespaces and sessions"))
}

fn shown(organization: &Organization) -> Value {
    let slug = organization.slug.as_str();
    let name = if organization.name.is_empty() { slug } else { &organization.name };
    json!({
        "id": organization.id.to_string(),
        "slug": slug,
        "name": name,
        "plan": organization.plan,
        "plan_type": organization.plan,
        "max_servers": organization.quotas.max_servers,
        "max_sessions": organization.quotas.max_sessions,
        "log_retention_days": organization.quotas.log_retention_days,
        "is_active": organization.is_active,
        "created_at": organization.created_at.to_string(),
        "updated_at": organization.updated_at.unwrap_or(organization.created_at).to_string(),
    })
}
