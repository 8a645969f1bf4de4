//! Servers.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::Caller,
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, created, done, many, one},
        instances, outward,
    },
    catalog::Catalog,
    domain::{Endpoint, Health, Permission, Server},
    registry::{Form, Registry, ServerChange},
};

/// Which servers are listed.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// Those that bear this tag; all, where none is named.
    #[serde(default)]
    tag: Option<String>,
}

/// Lists servers.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let (directory, sight) = (office.registry.directory(), caller.principal().sight());
    let is_wanted =
        |server: &&Arc<Server>| wanted.tag.as_ref().is_none_or(|tag| server.tags().contains(tag));
    let servers = directory.servers(&sight).filter(is_wanted);
    let view = View::of(&caller);
    let shown: Vec<Value> = servers.map(|server| shown(&office, server, view)).collect();
    Ok(many(&shown))
}

/// Shows one server.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let server = office.registry.known(&caller, &name)?;
    Ok(one(shown(&office, &server, View::of(&caller))))
}

/// How a server is to be registered.
#[derive(Debug, Deserialize)]
pub(super) struct Manner {
    /// Whether to wait until it has been asked what it offers.
    #[serde(default)]
    wait: bool,
}

/// Registers a server and asks it what it offers.
pub(super) async fn register(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Query(manner): Query<Manner>,
    Checked(form): Checked<Form>,
) -> Result<Response, Failure> {
    let registered = office.registry.register(&caller, form).await;
    let server = registered.map_err(Failure::unprocessable)?;
    // Registered is registered; whether it answers is told beside.
    let introduced = if manner.wait {
        office.catalog.introduce(&server).await
    } else {
        office.catalog.suspect(&server.id);
        Ok(())
    };
    let mut made = shown(&office, &server, View::Inside);
    if let Err(reason) = introduced {
        made["last_error"] = reason.into();
    }
    Ok(created(made))
}

/// Changes a server.
pub(super) async fn change(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Checked(wanted): Checked<ServerChange>,
) -> Result<Response, Failure> {
    let changed = office.registry.change_server(&caller, &name, wanted).await;
    let server = changed.map_err(Failure::unprocessable)?;
    office.catalog.reconsider(&server);
    Ok(one(shown(&office, &server, View::of(&caller))))
}

/// Retires a server.
pub(super) async fn retire(
    Visitor(caller): Visitor,
    State(registry): State<Registry>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    registry.retire(&caller, &name).await?;
    Ok(done("the server is deregistered"))
}

/// How much of a server somebody sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// That it is there, and how it is.
    Outside,
    /// Also where it is and what its process says: URLs, command lines and errors may hold what is
    /// not meant for everybody.
    Inside,
}

impl View {
    /// Who may register servers sees how they are reached.
    pub(super) fn of(caller: &Caller) -> Self {
        if caller.may(Permission::ServersWrite).is_ok() { Self::Inside } else { Self::Outside }
    }
}

/// A server as people see it: how it is, where it is, and no secret.
pub(super) fn shown(office: &Office, server: &Server, view: View) -> Value {
    let directory = office.registry.directory();
    let health = office.registry.health(server);
    let instances: Vec<Value> =
        server.instances.iter().map(|it| instances::shown(office, it, view)).collect();
    let mut shown = json!({
        "id": server.id.to_string(),
        "name": server.name,
        "description": server.description,
        "namespace": directory.namespace_name(server.namespace),
        "prefix": directory.prefixing(server),
        "state": server.state,
        "health": health.as_str(),
        "timeout_seconds": server.timeout_seconds,
        "max_in_flight": server.max_in_flight,
        "cache": server.cache,
        "keep_bodies": server.keeps_bodies,
        "checks": server.checks(),
        "version": server.labels.as_ref().map(|labels| &labels.version),
        "tags": server.tags(),
        "metadata": server.labels.as_ref().map(|labels| &labels.metadata),
        "origin": server.origin,
        "balance": {
            "strategy": office.traffic.strategy_of(server),
            "prefer": server.balance.prefer,
            "stdio_fallback": server.balance.stdio_fallback,
        },
        "instances": instances,
        "created_at": server.created_at.to_string(),
        "updated_at": server.updated_at.to_string(),
    });
    if let Health::Unhealthy { reason, since } = &health {
        shown["last_error"] = reason.as_str().into();
        shown["since"] = since.to_string().into();
    }
    if let Some(instance) = server.instances.first() {
        shown["transport"] = office.upstream.transport(instance).into();
        if view == View::Inside {
            show_endpoint(&mut shown, &instance.endpoint);
        }
    }
    if view == View::Inside {
        show_trust(&mut shown, office, server);
    }
    show_offered(&mut shown, &office.catalog, server);
    shown
}

fn show_endpoint(shown: &mut Value, endpoint: &Endpoint) {
    match endpoint {
        Endpoint::Http { url, headers, auth, tls, .. } => {
            shown["url"] = url.to_string().into();
            shown["headers"] = headers.keys().cloned().collect();
            shown["auth"] = outward::shown_auth(auth);
            shown["tls"] = outward::shown_tls(tls);
        }
        Endpoint::Stdio { command, args, env, cwd } => {
            shown["command"] = command.as_str().into();
            shown["args"] = args.iter().cloned().collect();
            shown["env"] = env.keys().cloned().collect();
            shown["cwd"] = cwd.as_ref().map(|cwd| cwd.display().to_string()).into();
        }
    }
}

/// What becomes of its changes, how many wait, and what it hid.
fn show_trust(shown: &mut Value, office: &Office, server: &Server) {
    let (warnings, held) = office.catalog.vetted(server);
    shown["on_change"] = json!(office.trust.on_change(server));
    shown["held"] = held.into();
    shown["changes_pending"] = office.trust.pending(&server.id).into();
    shown["warnings"] = warnings.into();
}

fn show_offered(shown: &mut Value, catalog: &Catalog, server: &Server) {
    let Some((offered, note)) = catalog.offered(&server.id) else { return };
    for (name, count) in [
        ("tools", offered.tools),
        ("prompts", offered.prompts),
        ("resources", offered.resources),
        ("templates", offered.templates),
    ] {
        shown[name] = count.into();
    }
    if let Some(note) = note {
        shown["note"] = note.into();
    }
}
