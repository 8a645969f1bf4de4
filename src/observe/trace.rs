//! The log: where events of the house are written, and how they look.

use std::panic::PanicHookInfo;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::observe::{Log, Settings, Sinks, entry::plain};

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{level:?} is no log level or filter")]
pub(crate) struct InvalidLevel {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts the log. A second start in one process gives a log for calls only.
pub(crate) fn start(settings: &Settings, sinks: &Sinks) -> Result<Log, InvalidLevel> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|source| InvalidLevel { level: settings.level.clone(), source })?;
    let log = Log::new(settings.queue_bytes);
    let lines = fmt::layer().with_writer(log.clone()).with_target(false);
    let away = fmt::layer().with_writer(sinks.clone()).with_target(false).json();
    let away = (!sinks.is_empty()).then(|| away.flatten_event(true));
    let registry = tracing_subscriber::registry().with(filter).with(away);
    let started = if settings.format.is_json() {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.compact()).try_init()
    };
    // Only tests start a house twice in one process; the first log serves the events of both.
    if started.is_ok() {
        std::panic::set_hook(Box::new(note_panic));
    }
    Ok(log)
}

/// A panic is an event like others: on one line, and it keeps nobody waiting.
fn note_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let said = plain(panic.payload_as_str().unwrap_or("something that is no text"));
    tracing::error!(place, "panic: {said}");
}
