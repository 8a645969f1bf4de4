//! Policies.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::{Access, Caller, Definition, Error, Question, Replay, Written},
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, one},
    },
    domain::{Item, PolicyType, Server},
    problem::{Kind, Problem},
};

/// Policies on one page, where nothing else is asked for.
const PAGE: usize = 50;
/// The most on one page.
const LARGEST_PAGE: usize = 1_000;

/// Which policies somebody wants to see.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sought {
    r#type: Option<String>,
    is_active: Option<bool>,
    limit: Option<usize>,
    offset: usize,
}

/// Lists policies, those that are asked first at the top.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Query(sought): Query<Sought>,
) -> Result<Response, Failure> {
    let kind = sought.r#type.as_deref().map(str::parse::<PolicyType>).transpose();
    let kind = kind.map_err(|unknown| Problem::new(Kind::Invalid, format!("type: {unknown}")))?;
    let mut found = access.policies(caller.principal().organization)?;
    found.retain(|written| {
        kind.is_none_or(|kind| written.policy.r#type == kind)
            && sought.is_active.is_none_or(|wanted| written.policy.is_active == wanted)
    });
    let limit = sought.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let page: Vec<Value> = found.iter().skip(sought.offset).take(limit).map(shown).collect();
    Ok(Json(json!({
        "success": true,
        "policies": page,
        "total": found.len(),
        "limit": limit,
        "offset": sought.offset,
        "data": page,
        "count": page.len(),
    }))
    .into_response())
}

/// Shows one policy.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let policy = shown(&access.policy(caller.principal().organization, &id)?);
    Ok(Json(json!({ "success": true, "policy": policy, "data": policy })).into_response())
}

/// Makes a policy.
pub(super) async fn create(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Checked(definition): Checked<Definition>,
) -> Result<Response, Failure> {
    let policy = shown(&access.create_policy(&caller, definition).await.map_err(refused)?);
    let message = "the policy holds from now on";
    let body = json!({ "success": true, "message": message, "policy": policy, "data": policy });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Changes a policy.
pub(super) async fn update(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Path(id): Path<String>,
    Checked(definition): Checked<Definition>,
) -> Result<Response, Failure> {
    let written = access.update_policy(&caller, &id, definition).await.map_err(refused)?;
    let policy = shown(&written);
    let message = "the policy holds from now on as it is";
    let (id, success) = (written.id(), true);
    Ok(Json(json!({
        "success": success, "message": message, "policy_id": id, "policy": policy, "data": policy,
    }))
    .into_response())
}

/// Removes a policy.
pub(super) async fn remove(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = access.remove_policy(&caller, &id).await?;
    let message = "the policy holds no more";
    Ok(Json(json!({ "success": true, "message": message, "policy_id": id })).into_response())
}

/// Says how a call would be decided, and why, without making it.
pub(super) async fn test(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Checked(question): Checked<Question>,
) -> Result<Response, Failure> {
    let (server, item) = known(&office, &caller, &question);
    let known = (server.as_deref(), item.as_ref());
    let explained = office.access.explain(&caller, &question, known).map_err(refused)?;
    Ok(one(explained))
}

/// Says what a policy would make of calls that were made.
pub(super) async fn replay(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Checked(replay): Checked<Replay>,
) -> Result<Response, Failure> {
    let known = |question: &Question| known(&office, &caller, question);
    let calls = office.access.replay(&caller, &replay, known).map_err(refused)?;
    let count = calls.len();
    Ok(Json(json!({ "success": true, "data": calls, "count": count })).into_response())
}

/// What is known of the server and the item that a question is about.
fn known(
    office: &Office,
    caller: &Caller,
    question: &Question,
) -> (Option<Arc<Server>>, Option<Item>) {
    let sight = caller.principal().sight();
    let server = office.registry.directory().find(&sight, &question.server).cloned();
    let item = question.item().ok();
    let item =
        item.and_then(|(kind, name)| office.catalog.known(&sight, &question.server, kind, name));
    (server, item)
}

/// Text that is no policy is told like any JSON that does not describe what it should, but for a
/// type that is none: predecessors know that as a bad request.
fn refused(error: Error) -> Failure {
    match &error {
        Error::Policy(wrong) if wrong.is_about_type() => error.into(),
        _ => Failure::unprocessable(error),
    }
}

fn shown(written: &Written) -> Value {
    let policy = &written.policy;
    let (is_stored, organization) = (written.is_stored(), policy.organization.to_string());
    json!({
        "id": written.id(),
        "organization_id": is_stored.then_some(organization),
        "name": policy.name,
        "description": policy.description,
        "type": policy.r#type,
        "priority": policy.priority,
        "conditions": policy.conditions,
        "actions": policy.actions,
        "is_active": policy.is_active,
        "origin": if is_stored { "store" } else { "file" },
        "error": written.wrong.as_ref().map(ToString::to_string),
        "created_by": policy.created_by,
        "created_at": is_stored.then(|| policy.created_at.to_string()),
        "updated_at": is_stored.then(|| policy.updated_at.to_string()),
    })
}
