//! How everything is, at a glance.

use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use crate::{
    admin::{
        Office,
        desk::{Failure, Visitor, one},
        servers::{self, View},
    },
    domain::{Permission, Server},
    store::Condition,
    traffic::limit::Sharing,
};

/// The gateway, its store and its servers.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(office): State<Office>,
) -> Result<Response, Failure> {
    let view = View::of(&caller);
    let directory = office.registry.directory();
    let rows: Vec<Value> = directory
        .servers(&caller.principal().sight())
        .map(|server| row(&office, server, view))
        .collect();
    let store = match office.store.state() {
        Condition::Writable => json!({ "state": "writable" }),
        Condition::ReadOnly { reason } => json!({ "state": "read_only", "reason": reason }),
    };
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": office.house.uptime_seconds(&*office.clock),
        "claimed": office.access.is_claimed()?,
        "listen": office.house.0.listen,
        "store": store,
        "sessions": office.house.open_sessions_of(caller.principal().organization),
        "servers": rows,
    });
    // What is about the whole gateway is for who may know of all of it.
    if caller.may(Permission::MetricsRead).is_ok() {
        status["calls_total"] = office.metrics.calls().into();
    }
    if caller.may(Permission::SystemManage).is_ok() {
        if let Some(sharing) = office.traffic.sharing() {
            let Sharing { is_shared, nodes } = sharing;
            status["rate_limits"] = json!({ "shared": is_shared, "gateways": nodes });
        }
        status["data"] = office.house.0.data.display().to_string().into();
    }
    Ok(one(status))
}

/// One server: as in the list, and what only the running gateway knows.
fn row(office: &Office, server: &Server, view: View) -> Value {
    let mut row = servers::shown(office, server, view);
    row["in_flight"] = office.traffic.in_flight(&server.id).into();
    let Some(instance) = server.instances.first() else { return row };
    if let Some(peer) = office.upstream.peer(&instance.id) {
        row["era"] = peer.era.as_str().into();
        row["revision"] = peer.revision.as_str().into();
        row["server_info"] = json!({
            "name": peer.server_info.as_ref().map(|info| &info.name),
            "version": peer.server_info.as_ref().map(|info| &info.version),
        });
    }
    if view == View::Inside
        && let Some(child) = office.upstream.child(&instance.id)
    {
        row["pid"] = child.pid.into();
        row["started_at"] = child.started_at.map(|at| at.to_string()).into();
        row["restarts"] = child.restarts.into();
        row["stderr_tail"] = child.stderr.into();
    }
    row
}
