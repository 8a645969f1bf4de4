//! Namespaces.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::Caller,
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, created, done, many, one},
        servers::{self, View},
        sessions as every,
    },
    domain::{Namespace, NamespaceId},
    registry::{self, Contents, NamespaceChange, NewNamespace, Registry},
};

/// Lists them.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
) -> Result<Response, Failure> {
    let directory = registry.directory();
    let sight = caller.principal().sight();
    let all: Vec<Value> = directory.namespaces(&sight).map(shown).collect();
    // Predecessors look for them under their own word.
    let (count, total) = (all.len(), all.len());
    let body = json!({
        "success": true, "data": all, "count": count, "namespaces": all, "total": total,
    });
    Ok(Json(body).into_response())
}

/// Makes one.
pub(super) async fn create(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Checked(new): Checked<NewNamespace>,
) -> Result<Response, Failure> {
    let made = registry.create_namespace(&caller, new).await;
    let namespace = made.map_err(Failure::unprocessable)?;
    Ok(created(shown(&namespace)))
}

/// Shows one.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    Ok(one(shown(&found(&registry, &caller, &name)?)))
}

/// Changes one.
pub(super) async fn change(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Checked(wanted): Checked<NamespaceChange>,
) -> Result<Response, Failure> {
    let changed = office.registry.change_namespace(&caller, &name, wanted).await;
    let namespace = changed.map_err(Failure::unprocessable)?;
    every::end_strangers(&office);
    Ok(one(shown(&namespace)))
}

/// How one is to be deleted.
#[derive(Debug, Deserialize)]
pub(super) struct Manner {
    /// Whether the servers in it are retired with it.
    #[serde(default)]
    force: bool,
}

/// Deletes one.
pub(super) async fn remove(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Query(manner): Query<Manner>,
) -> Result<Response, Failure> {
    let contents = if manner.force { Contents::Retire } else { Contents::Keep };
    office.registry.delete_namespace(&caller, &name, contents).await?;
    every::end_strangers(&office);
    Ok(done("the namespace is gone"))
}

/// Lists the servers in one.
pub(super) async fn servers(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let inside = found(&office.registry, &caller, &name)?.id;
    let (directory, view) = (office.registry.directory(), View::of(&caller));
    let sight = caller.principal().sight();
    let its = directory.servers(&sight).filter(|server| server.namespace == inside);
    let shown: Vec<Value> = its.map(|server| servers::shown(&office, server, view)).collect();
    Ok(many(&shown))
}

/// Lists the sessions at the endpoint of one, and at those of its servers.
pub(super) async fn sessions(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let inside: NamespaceId = found(&office.registry, &caller, &name)?.id;
    let directory = office.registry.directory();
    let all = every::all(&office.house, &directory, &caller);
    let its = all.iter().filter(|session| {
        every::namespace_of(session, &directory, &caller).is_some_and(|it| it.id == inside)
    });
    let shown: Vec<Value> = its.map(|it| every::shown(it, &directory, &caller)).collect();
    Ok(many(&shown))
}

fn found(registry: &Registry, caller: &Caller, name: &str) -> Result<Namespace, registry::Error> {
    let directory = registry.directory();
    let found = directory.namespace(&caller.principal().sight(), name).cloned();
    found.ok_or_else(|| registry::Error::no_such_namespace(name))
}

fn shown(namespace: &Namespace) -> Value {
    let slug = namespace.slug.as_str();
    let name = if namespace.name.is_empty() { slug } else { &namespace.name };
    json!({
        "id": namespace.id.to_string(),
        "organization_id": namespace.organization.to_string(),
        "slug": slug,
        "name": name,
        "description": namespace.description,
        "prefix": namespace.prefixing,
        "is_active": namespace.is_active,
        "metadata": namespace.metadata,
        "endpoint": format!("/mcp/{slug}"),
        "created_at": namespace.created_at.to_string(),
        "updated_at": namespace.updated_at.unwrap_or(namespace.created_at).to_string(),
    })
}
