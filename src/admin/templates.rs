//! Servers and their instances in numbers, as clients of predecessors ask for them: there a server
//! is a template.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    access::Caller,
    admin::{
        House, Office,
        desk::{Failure, Visitor},
        instances,
        servers::View,
    },
    domain::Strategy,
};

/// The names of servers.
pub(super) async fn names(
    Visitor(caller): Visitor,
    State(office): State<Office>,
) -> Result<Response, Failure> {
    let (directory, sight) = (office.registry.directory(), caller.principal().sight());
    let names: Vec<_> = directory.servers(&sight).map(|server| server.name.clone()).collect();
    Ok(Json(json!({ "templates": names })).into_response())
}

/// Every server with its instances.
pub(super) async fn registry(
    Visitor(caller): Visitor,
    State(office): State<Office>,
) -> Result<Response, Failure> {
    let view = View::of(&caller);
    let (directory, sight) = (office.registry.directory(), caller.principal().sight());
    let template = |server: &std::sync::Arc<crate::domain::Server>| {
        let places = server.instances.iter().map(|it| instances::shown(&office, it, view));
        let strategy = office.traffic.strategy_of(server);
        let shown = json!({
            "name": server.name,
            "instances": places.collect::<Vec<_>>(),
            "load_balancer": { "strategy": strategy, "timeout": server.timeout_seconds },
        });
        (server.name.to_string(), shown)
    };
    let templates: Map<String, Value> = directory.servers(&sight).map(template).collect();
    let stats = Sums::of(&office, &caller).registry();
    Ok(Json(json!({ "templates": templates, "stats": stats })).into_response())
}

/// What passed, and how the instances are.
pub(super) async fn stats(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    State(house): State<House>,
) -> Result<Response, Failure> {
    let (sums, checks) = (Sums::of(&office, &caller), office.registry.checks());
    let uptime = house.uptime_seconds(&*office.clock);
    let strategies = Strategy::ALL.map(Strategy::as_str);
    Ok(Json(json!({
        "uptime_seconds": uptime,
        "total_requests": sums.calls,
        "active_connections": sums.in_flight,
        "templates": sums.templates.len(),
        "gateway": { "uptime_seconds": uptime, "total_requests": sums.calls },
        "registry": sums.registry(),
        "health_checker": {
            "running": checks.enabled,
            "check_interval": checks.interval_seconds,
            "timeout": checks.timeout_seconds,
            "max_concurrent_checks": checks.at_once,
        },
        "load_balancer": {
            "default_strategy": office.traffic.strategy(),
            "available_strategies": strategies,
            "total_requests": sums.calls,
            "failed_requests": sums.failed,
            "requests_per_instance": sums.by_instance,
        },
    }))
    .into_response())
}

/// The numbers of all instances in somebody's sight.
#[derive(Default)]
struct Sums {
    calls: u64,
    failed: u64,
    in_flight: u64,
    total: usize,
    healthy: usize,
    unhealthy: usize,
    templates: Map<String, Value>,
    by_instance: Map<String, Value>,
}

impl Sums {
    fn of(office: &Office, caller: &Caller) -> Self {
        let (directory, sight) = (office.registry.directory(), caller.principal().sight());
        let mut sums = Self::default();
        for server in directory.servers(&sight) {
            let mut healthy = 0;
            for instance in &server.instances {
                let Some(gauge) = office.registry.gauge(&instance.id) else { continue };
                sums.calls += gauge.calls();
                sums.failed += gauge.failed();
                sums.in_flight += u64::from(gauge.in_flight());
                sums.by_instance.insert(instance.id.to_string(), gauge.calls().into());
                match gauge.health().as_str() {
                    "healthy" => healthy += 1,
                    "unhealthy" => sums.unhealthy += 1,
                    _ => {}
                }
            }
            sums.total += server.instances.len();
            sums.healthy += healthy;
            let shown = json!({
                "total_instances": server.instances.len(),
                "healthy_instances": healthy,
            });
            sums.templates.insert(server.name.to_string(), shown);
        }
        sums
    }

    fn registry(&self) -> Value {
        json!({
            "total_templates": self.templates.len(),
            "total_instances": self.total,
            "healthy_instances": self.healthy,
            "unhealthy_instances": self.unhealthy,
            "templates": self.templates,
        })
    }
}
