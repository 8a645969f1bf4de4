//! Instances: where servers run, and how each of them is.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, created, done, many, one},
        servers::View,
    },
    domain::{Health, Instance, InstanceId, Server},
    registry::{self, InstanceChange, InstanceForm},
};

/// Lists the instances of a server.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let (server, view) = (office.registry.known(&caller, &name)?, View::of(&caller));
    let shown: Vec<Value> = server.instances.iter().map(|it| shown(&office, it, view)).collect();
    Ok(many(&shown))
}

/// Adds an instance to a server.
pub(super) async fn add(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Checked(form): Checked<InstanceForm>,
) -> Result<Response, Failure> {
    let joined = office.registry.join(&caller, &name, form).await;
    let (server, id) = joined.map_err(Failure::unprocessable)?;
    let made = the_one(&office, &server, id).ok_or(registry::Error::NoSuchServer(name))?;
    Ok(created(made))
}

/// Changes an instance.
pub(super) async fn change(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path((name, instance)): Path<(String, String)>,
    Checked(wanted): Checked<InstanceChange>,
) -> Result<Response, Failure> {
    let changed = office.registry.change_instance(&caller, (&name, &instance), wanted).await;
    let (server, id) = changed.map_err(Failure::unprocessable)?;
    let shown = the_one(&office, &server, id);
    Ok(one(shown.ok_or(registry::Error::NoSuchInstance(instance))?))
}

/// Takes an instance away.
pub(super) async fn remove(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path((name, instance)): Path<(String, String)>,
) -> Result<Response, Failure> {
    office.registry.part(&caller, &name, &instance).await?;
    Ok(done("the instance is gone"))
}

/// Looks at an instance now, and tells how it is.
pub(super) async fn check(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path((name, instance)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let server = office.registry.known(&caller, &name)?;
    let is_meant = |it: &&Instance| it.id.to_string() == instance;
    let found = server.instances.iter().find(is_meant);
    let found = found.ok_or_else(|| registry::Error::NoSuchInstance(instance.clone()))?;
    office.registry.check(&server, found).await;
    Ok(one(shown(&office, found, View::of(&caller))))
}

/// How the instances of one server are, as predecessors tell it.
pub(super) async fn health(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let (server, view) = (office.registry.known(&caller, &name)?, View::of(&caller));
    let told = |instance: &Instance| {
        let mut shown = shown(&office, instance, view);
        shown["status"] = shown["health"].clone();
        shown["healthy"] = (shown["health"] == "healthy").into();
        if let Some(place) = shown.get("location").cloned() {
            shown["endpoint"] = place;
        }
        shown
    };
    let instances: Vec<Value> = server.instances.iter().map(told).collect();
    let ids = server.instances.iter().map(|instance| instance.id.to_string());
    let by_id: serde_json::Map<String, Value> = ids.zip(instances.iter().cloned()).collect();
    let total = instances.len();
    let healthy = instances.iter().filter(|shown| shown["healthy"] == true).count();
    let percentage = share(healthy, total);
    Ok(Json(json!({
        "status": office.registry.health(&server).as_str(),
        "template": server.name,
        "template_name": server.name,
        "total_instances": total,
        "healthy_instances": healthy,
        "health_percentage": percentage,
        "instances": instances,
        "instances_by_id": by_id,
    }))
    .into_response())
}

/// How many of all, of a hundred, to one decimal.
fn share(some: usize, all: usize) -> f64 {
    let tenths = (some * 1_000).checked_div(all).unwrap_or(0);
    f64::from(u32::try_from(tenths).unwrap_or(1_000)) / 10.0
}

fn the_one(office: &Office, server: &Server, id: InstanceId) -> Option<Value> {
    let found = server.instances.iter().find(|it| it.id == id)?;
    Some(shown(office, found, View::Inside))
}

/// An instance as people see it: how it is, where it is, and no secret.
pub(super) fn shown(office: &Office, instance: &Instance, view: View) -> Value {
    let mut shown = json!({
        "id": instance.id.to_string(),
        "transport": office.upstream.transport(instance),
        "state": instance.state,
        "weight": instance.weight,
        "metadata": instance.metadata,
    });
    if view == View::Inside {
        shown["location"] = instance.endpoint.location().into();
    }
    let Some(gauge) = office.registry.gauge(&instance.id) else { return shown };
    let health = gauge.health();
    shown["health"] = health.as_str().into();
    shown["circuit"] = gauge.circuit(office.clock.tick()).as_str().into();
    shown["in_flight"] = gauge.in_flight().into();
    shown["calls"] = gauge.calls().into();
    shown["failed_calls"] = gauge.failed().into();
    shown["consecutive_failures"] = gauge.failures_in_a_row().into();
    shown["error_rate"] = rounded(gauge.error_rate(), 1e4).into();
    shown["latency_ms"] = rounded(gauge.latency_us() / 1e3, 1e3).into();
    let checks = gauge.checks();
    shown["last_health_check"] = checks.last().map(|check| check.at.to_string()).into();
    if view == View::Inside {
        if let Health::Unhealthy { reason, since } = &health {
            shown["last_error"] = reason.as_str().into();
            shown["since"] = since.to_string().into();
        }
        let told = checks.iter().map(|check| {
            json!({
                "at": check.at.to_string(),
                "took_ms": rounded(check.took.as_secs_f64() * 1e3, 1e3),
                "failure": check.failure,
            })
        });
        shown["checks"] = told.collect();
    }
    shown
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}
