//! An empty house for tests of the doors.

use std::sync::Arc;

use crate::{
    access::{self, Access},
    catalog::{self, Catalog},
    domain::Clock,
    edge::session::{self, Sessions},
    links::{self, Links},
    observe::{self, Journal, Metrics},
    pipeline::{self, Pipeline, Rooms},
    registry::{self, Registry},
    store::{self, Store},
    traffic::{self, Traffic},
    trust::{self, Trust},
    upstream::{self, Upstream},
};

/// The sessions of a house without servers and people, and the folder it stands in.
pub(super) fn furnished(
    session_settings: session::Settings,
    clock: &Arc<dyn Clock>,
) -> (Sessions, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let store = Store::create(&data, &store::Settings::default(), clock.clone());
    let store = store.expect("a store");
    let furnishing = store.clone();
    let written = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(access::furnish(&furnishing))
    });
    written.join().expect("no panic").expect("furnished");
    let (metrics, observe) = (Metrics::new(), observe::Settings::default());
    let journal = Journal::new(&observe, metrics.clone(), clock.clone());
    let access = Access::new(access::Settings::default(), &store, clock.clone());
    let environment = upstream::Environment { path: "".into(), home: None, lang: None };
    let settings = upstream::Settings::default();
    let upstream = Upstream::new(settings, None, data, environment, clock.clone());
    let upstream = upstream.expect("an upstream");
    let settings = registry::Settings::default();
    let registry = Registry::new(settings, &store, &upstream, &metrics, clock.clone());
    let registry = registry.expect("a registry");
    let settings = catalog::Settings::default();
    let trust = Trust::new(trust::Settings::default(), &store, clock.clone());
    let (speaking, home) = (upstream::Settings::default(), String::new());
    let links = links::Settings::default();
    let links = Links::new(links, speaking, (&store, &upstream), clock.clone(), home);
    let links = links.expect("readable");
    let known = (&registry, &trust.expect("readable"), &links);
    let catalog = Catalog::new(settings, known, &upstream, &metrics, clock.clone());
    let access = access.expect("readable");
    let traffic = Traffic::new(traffic::Settings::default(), (&store, &registry), clock.clone())
        .expect("there are no limits");
    let rooms = Rooms { access, catalog, traffic, registry, links, upstream, journal };
    let pipeline = Pipeline::new(pipeline::Settings::default(), rooms);
    (Sessions::new(session_settings, pipeline, store, clock.clone()), folder)
}
