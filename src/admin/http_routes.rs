//! Routes of HTTP requests.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    admin::desk::{self, Checked, Failure, Visitor},
    domain::{HttpRoute, HttpRouteForm, Sought, plain_path},
    problem::{Kind, Problem},
    registry::{Registry, is_stored},
};

/// Lists the routes of an organization.
pub(super) async fn list(Visitor(caller): Visitor, State(registry): State<Registry>) -> Response {
    let all: Vec<Value> = registry.routes(&caller).iter().map(|route| shown(route)).collect();
    desk::many(&all)
}

/// Shows one.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    Ok(desk::one(shown(&*registry.route(&caller, &id)?)))
}

/// Makes one.
pub(super) async fn create(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Checked(form): Checked<HttpRouteForm>,
) -> Result<Response, Failure> {
    let made = registry.create_route(&caller, form).await;
    Ok(desk::created(shown(&*made.map_err(Failure::unprocessable)?)))
}

/// Changes one.
pub(super) async fn update(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Path(id): Path<String>,
    Checked(form): Checked<HttpRouteForm>,
) -> Result<Response, Failure> {
    let changed = registry.change_route(&caller, &id, form).await;
    Ok(desk::one(shown(&*changed.map_err(Failure::unprocessable)?)))
}

/// Removes one.
pub(super) async fn remove(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = registry.remove_route(&caller, &id).await?;
    Ok(desk::done(&format!("the route {id} is no more")))
}

/// A request that is only thought of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Imagined {
    path: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Says where a request would go.
pub(super) async fn test(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Checked(imagined): Checked<Imagined>,
) -> Result<Response, Failure> {
    let wrong = |member: &str| {
        Failure::unprocessable(Problem::new(Kind::Invalid, format!("{member} cannot be sent so")))
    };
    let (path, query) = match imagined.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (imagined.path.as_str(), None),
    };
    let path =
        plain_path(path).filter(|path| path.starts_with('/')).ok_or_else(|| wrong("path"))?;
    let method: Method = imagined.method.parse().map_err(|_| wrong("method"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &imagined.headers {
        let name: HeaderName = name.parse().map_err(|_| wrong("a header"))?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong("a header"))?);
    }
    let (directory, sight) = (registry.directory(), caller.principal().sight());
    let nothing = |why: &str| Problem::new(Kind::NotFound, why.to_owned());
    let (route, rest) =
        directory.route_at(&sight, &path).ok_or_else(|| nothing("no route begins at this path"))?;
    let rest = if rest.is_empty() { "/" } else { rest };
    let host = imagined.host.as_deref();
    let sought = Sought { host, path: rest, method: &method, headers: &headers };
    let fits = route.rule(&sought);
    let rule = fits.ok_or_else(|| nothing(&format!("no rule of the route {} fits", route.name)))?;
    let no_server = || {
        let server = &route.rules[rule].server;
        nothing(&format!(
            "rule {rule} of {} fits, but its server {server} takes no calls",
            route.name
        ))
    };
    let lane = directory.lane(&sight, route, &sought).ok_or_else(no_server)?;
    let is_plain = lane.server.is_plain();
    if !is_plain && rest != "/" {
        let why =
            format!("{} speaks MCP, which has no paths below the route's own", lane.server.name);
        return Err(nothing(&why).into());
    }
    let asked = route.rules[rule].request.path(rest);
    let asked = query.map_or_else(|| asked.clone(), |query| format!("{asked}?{query}"));
    Ok(desk::one(json!({
        "route": route.name,
        "rule": rule,
        "server": lane.server.name,
        "protocol": if is_plain { "http" } else { "mcp" },
        "path": is_plain.then_some(asked),
    })))
}

fn shown(route: &HttpRoute) -> Value {
    let is_stored = is_stored(route);
    let id = if is_stored {
        route.id.to_string()
    } else {
        format!("{}{}", HttpRoute::FILE_PREFIX, route.name)
    };
    json!({
        "id": id,
        "organization_id": is_stored.then(|| route.organization.to_string()),
        "name": route.name,
        "description": route.description,
        "path": format!("/proxy/{}", route.name),
        "mount": route.mount,
        "rules": route.rules,
        "is_active": route.is_active,
        "origin": if is_stored { "store" } else { "file" },
        "created_at": is_stored.then(|| route.created_at.to_string()),
        "updated_at": is_stored.then(|| route.updated_at.to_string()),
    })
}
