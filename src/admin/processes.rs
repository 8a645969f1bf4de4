//! Processes that the gateway runs, and conversations it has for single clients.

use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use crate::{
    access::Caller,
    admin::{
        Office,
        desk::{Failure, Visitor, many},
    },
    domain::{InstanceId, Server},
    upstream::ConversationView,
};

/// Lists them. What a process says may hold what is not meant for everybody.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(office): State<Office>,
) -> Result<Response, Failure> {
    Ok(many(&rows(&office, &caller)))
}

/// What goes on with the servers of the caller's organization, by their names.
pub(super) fn rows(office: &Office, caller: &Caller) -> Vec<Value> {
    let directory = office.registry.directory();
    let mut all = office.upstream.conversations();
    // The one that is shared comes first.
    all.sort_by(|a, b| (a.instance, &a.owner).cmp(&(b.instance, &b.owner)));
    let sight = caller.principal().sight();
    let servers = directory.servers(&sight);
    let of = |server: &Server| -> Vec<Value> {
        let has = |id: &InstanceId| server.instances.iter().any(|instance| instance.id == *id);
        let own = all.iter().filter(|one| has(&one.instance));
        own.map(|one| row(office, server, one)).collect()
    };
    servers.flat_map(|server| of(server)).collect()
}

fn row(office: &Office, server: &Server, one: &ConversationView) -> Value {
    let instance = server.instances.iter().find(|instance| instance.id == one.instance);
    let child = one.child.as_ref();
    let pid = child.and_then(|child| child.pid);
    let status = match child {
        Some(_) if pid.is_some() => "running",
        Some(_) => "stopped",
        None => "open",
    };
    json!({
        "server": server.name,
        "server_id": server.id.to_string(),
        "instance_id": one.instance.to_string(),
        "kind": if child.is_some() { "process" } else { "session" },
        "transport": instance.map(|instance| office.upstream.transport(instance)),
        "status": status,
        "pid": pid,
        "started_at": child.and_then(|child| child.started_at).map(|at| at.to_string()),
        "restarts": child.map(|child| child.restarts),
        "owner": one.owner.as_ref().map_or("shared", |(owner, _)| &**owner),
        "principal": one.owner.as_ref().map(|(_, principal)| &**principal),
        "in_flight": one.in_flight,
        "last_line": child.and_then(|child| child.stderr.last()),
    })
}
