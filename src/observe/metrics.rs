//! Every metric family, on one screen.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{domain::Slug, wire::Method};

/// The value of the label `template` for calls the gateway answers itself.
const HOUSE: &str = "tollhouse";

/// Counters and gauges of the whole house. Label values are few: names of registered servers,
/// methods of the protocol, outcomes.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Family<MethodLabels, Histogram>,
    healthy: Family<ServerLabels, Gauge>,
    missing: Family<ServerLabels, Counter>,
    dropped: Dropped,
    sessions: Gauge,
    calls: AtomicU64,
}

/// What was not written.
#[derive(Debug, Default)]
struct Dropped {
    journal: Counter,
    bodies: Counter,
    sinks: Family<SinkLabels, Counter>,
}

impl Dropped {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "tollhouse_journal_dropped",
            "Journal lines dropped because they could not be written fast enough",
            self.journal.clone(),
        );
        registry.register(
            "tollhouse_bodies_dropped",
            "Calls of which it was not kept what was said, because it came faster than written",
            self.bodies.clone(),
        );
        registry.register(
            "tollhouse_sink_dropped",
            "Lines that a sink was never given, because they found no room or were refused",
            self.sinks.clone(),
        );
    }
}

/// A server's name as a label value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Named(Option<Slug>);

impl EncodeLabelValue for Named {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.as_ref().map_or(HOUSE, Slug::as_str).encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    template: Named,
    method: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    template: Named,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    sink: String,
}

impl Metrics {
    /// All families, registered and at zero.
    pub(crate) fn new() -> Self {
        let mut families = Families {
            registry: Registry::default(),
            requests: Family::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_1, 2.0, 20))
            }),
            healthy: Family::default(),
            missing: Family::default(),
            dropped: Dropped::default(),
            sessions: Gauge::default(),
            calls: AtomicU64::new(0),
        };
        let Families { registry, requests, duration, healthy, missing, dropped, sessions, .. } =
            &mut families;
        registry.register(
            "gateway_requests",
            "Calls, by server, method and outcome",
            requests.clone(),
        );
        registry.register(
            "gateway_request_duration_seconds",
            "Time from a call's last byte to its answer's first",
            duration.clone(),
        );
        registry.register(
            "gateway_instances_healthy",
            "Instances of a server that answered last time",
            healthy.clone(),
        );
        registry.register(
            "tollhouse_list_missing",
            "Lists that went out without a server's items because it did not answer",
            missing.clone(),
        );
        dropped.register(registry);
        registry.register("tollhouse_sessions", "Open sessions of older clients", sessions.clone());
        Self(Arc::new(families))
    }

    /// Counts a call.
    pub(crate) fn call(
        &self,
        server: Option<&Slug>,
        method: &Method,
        outcome: &'static str,
        took: Duration,
    ) {
        let method = method.label();
        let labels = MethodLabels { method };
        self.0.duration.get_or_create(&labels).observe(took.as_secs_f64());
        let labels = RequestLabels { template: Named(server.cloned()), method, outcome };
        self.0.requests.get_or_create(&labels).inc();
        self.0.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Calls counted since the start.
    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Notes how many of a server's instances answered last time.
    pub(crate) fn healthy(&self, server: &Slug, instances: usize) {
        let instances = i64::try_from(instances).unwrap_or(i64::MAX);
        self.0
            .healthy
            .get_or_create(&ServerLabels { template: Named(Some(server.clone())) })
            .set(instances);
    }

    /// Counts a list that lacks a server's items.
    pub(crate) fn missing(&self, server: &Slug) {
        self.0.missing.get_or_create(&ServerLabels { template: Named(Some(server.clone())) }).inc();
    }

    /// Forgets how a server is that is registered no more. What it answered stays counted.
    pub(crate) fn forget(&self, server: &Slug) {
        let labels = ServerLabels { template: Named(Some(server.clone())) };
        self.0.healthy.remove(&labels);
        self.0.missing.remove(&labels);
    }

    /// Counts a journal line that was dropped.
    pub(crate) fn journal_dropped(&self) {
        self.0.dropped.journal.inc();
    }

    /// Counts lines that a sink was never given.
    pub(crate) fn sink_dropped(&self, sink: &str, lines: usize) {
        let labels = SinkLabels { sink: sink.to_owned() };
        self.0.dropped.sinks.get_or_create(&labels).inc_by(lines as u64);
    }

    /// Counts a call of which it is not kept what was said.
    pub(crate) fn bodies_dropped(&self) {
        self.0.dropped.bodies.inc();
    }

    /// Notes how many sessions are open.
    pub(crate) fn sessions(&self, open: usize) {
        self.0.sessions.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.0.registry).expect("a string takes everything");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_what_was_counted() {
        let metrics = Metrics::new();
        let time: Slug = "time".parse().expect("a slug");

        metrics.call(Some(&time), &Method::ToolsCall, "ok", Duration::from_millis(3));
        metrics.call(None, &Method::parse("nonsense/of\"clients"), "invalid", Duration::ZERO);

        let page = metrics.text();
        let line = r#"gateway_requests_total{template="time",method="tools/call",outcome="ok"} 1"#;
        assert!(page.contains(line), "{page}");
        assert!(page.contains(r#"{template="tollhouse",method="other",outcome="invalid"} 1"#));
        assert_eq!(metrics.calls(), 2);
    }

    #[test]
    fn a_retired_server_has_no_health() {
        let metrics = Metrics::new();
        let time: Slug = "time".parse().expect("a slug");
        metrics.healthy(&time, 1);

        metrics.forget(&time);

        assert!(!metrics.text().contains(r#""time""#));
    }
}
