//! Sinks: where lines go besides the log and the book.
//!
//! Each has a buffer and a thread of its own, so that one that cannot be reached keeps nobody
//! waiting, not the others either. Lines go in batches; a batch that was not taken is sent again,
//! after growing pauses, until it is. What comes meanwhile waits in the buffer, and what finds no
//! room there pushes out the oldest line, which is counted.

mod file;
mod loki;
mod syslog;

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use tracing_subscriber::fmt::MakeWriter;

use self::{file::RotatingFile, loki::Loki, syslog::Syslog};
use crate::{
    domain::{Clock, Secret, Timestamp},
    observe::Metrics,
};

/// Lines in one batch.
const LINES: usize = 500;
/// How long lines wait for company.
const GATHER: Duration = Duration::from_millis(500);
/// The first pause after a batch was not taken, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A sink, as the settings say it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum SinkSettings {
    /// A file that is followed by another when it is full.
    File {
        /// Where it is.
        path: PathBuf,
        /// How large it gets, in MiB.
        #[serde(default = "ten")]
        max_mib: u32,
        /// How many full ones are kept.
        #[serde(default = "five")]
        backups: u32,
    },
    /// A syslog.
    Syslog {
        /// `unix:/dev/log`, `udp://host:514` or `tcp://host:601`.
        #[serde(default = "here")]
        address: String,
    },
    /// A Loki.
    Loki {
        /// Its URL, without a path.
        url: String,
        /// What is said of all lines.
        #[serde(default)]
        labels: BTreeMap<String, String>,
        /// Whose lines they are, where it serves several (`X-Scope-OrgID`).
        #[serde(default)]
        tenant: Option<String>,
        /// The file with a token that is shown there (`Authorization: Bearer`).
        #[serde(default)]
        token_file: Option<PathBuf>,
    },
}

const fn ten() -> u32 {
    10
}

const fn five() -> u32 {
    5
}

fn here() -> String {
    "unix:/dev/log".to_owned()
}

/// A sink that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidSink(String);

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gravity {
    Error,
    Warning,
    Info,
    Debug,
}

impl Gravity {
    /// The gravity that an event of the log has, as its JSON says it.
    fn of(json: &str) -> Self {
        let is = |level: &str| json.contains(&format!(r#""level":"{level}""#));
        match () {
            () if is("ERROR") => Self::Error,
            () if is("WARN") => Self::Warning,
            () if is("DEBUG") || is("TRACE") => Self::Debug,
            () => Self::Info,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The severity of syslog (RFC 5424, 6.2.1).
    const fn severity(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// A line on its way.
#[derive(Debug, Clone)]
pub(super) struct Line {
    at: Timestamp,
    gravity: Gravity,
    /// An object of JSON, on one line and without its end.
    json: Arc<str>,
}

/// Why a batch was not taken.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// It may be taken another time.
    Later(String),
    /// It never will be.
    Never(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Later(error.to_string())
    }
}

/// A place that takes lines.
trait Sink: Send {
    /// Hands over lines: all of them, or none.
    fn send(&mut self, lines: &[Line]) -> Result<(), Failure>;
}

/// All sinks. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Sinks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    outlets: Vec<Arc<Outlet>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Outlet {
    /// What it is called in metrics: its kind and its place in the settings.
    name: String,
    limit: usize,
    queue: Mutex<Queue>,
    wake: Condvar,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines that were pushed out since that was told.
    dropped: u64,
    is_closing: bool,
    /// Whether whoever hands lines over is gone.
    is_over: bool,
}

impl Sinks {
    /// What is wrong with the settings, if something is.
    pub(crate) fn check(settings: &[SinkSettings]) -> Result<(), InvalidSink> {
        settings.iter().try_for_each(|settings| sink(settings).map(drop))
    }

    /// Makes them, and starts a thread for each.
    pub(crate) fn start(
        settings: &[SinkSettings],
        bytes: usize,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidSink> {
        let mut outlets = Vec::new();
        for (at, settings) in settings.iter().enumerate() {
            let (kind, sink) = sink(settings)?;
            let outlet = Arc::new(Outlet {
                name: format!("{kind}_{at}"),
                limit: bytes,
                queue: Mutex::default(),
                wake: Condvar::new(),
                metrics: metrics.clone(),
            });
            let working = Arc::clone(&outlet);
            let thread = thread::Builder::new().name(outlet.name.clone()).spawn(move || {
                super::stand_behind();
                working.run(sink);
            });
            thread.map_err(|error| InvalidSink(error.to_string()))?;
            outlets.push(outlet);
        }
        Ok(Self(Arc::new(Shared { outlets, clock })))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.outlets.is_empty()
    }

    /// Adds the line of a call or of an event.
    pub(super) fn add(&self, json: &str) {
        let json = json.trim_end();
        let (at, gravity) = (self.0.clock.now(), Gravity::of(json));
        let line = Line { at, gravity, json: json.into() };
        for outlet in &self.0.outlets {
            outlet.add(line.clone());
        }
    }

    /// Sends what is left, within a time.
    pub(crate) fn finish(&self, longest: Duration) {
        for outlet in &self.0.outlets {
            outlet.queue.lock().is_closing = true;
            outlet.wake.notify_all();
        }
        let end = self.0.clock.tick() + longest;
        for outlet in &self.0.outlets {
            let left = end.saturating_duration_since(self.0.clock.tick());
            let mut queue = outlet.queue.lock();
            // One that is not reached in time has said so already.
            outlet.wake.wait_while_for(&mut queue, |queue| !queue.is_over, left);
        }
    }
}

fn sink(settings: &SinkSettings) -> Result<(&'static str, Box<dyn Sink>), InvalidSink> {
    Ok(match settings {
        SinkSettings::File { path, max_mib, backups } => {
            let bytes = u64::from((*max_mib).max(1)) << 20;
            ("file", Box::new(RotatingFile::new(path.clone(), bytes, *backups)))
        }
        SinkSettings::Syslog { address } => {
            ("syslog", Box::new(Syslog::new(address).map_err(InvalidSink)?))
        }
        SinkSettings::Loki { url, labels, tenant, token_file } => {
            let token = token_file.as_deref().map(token).transpose()?;
            let shown = (tenant.as_deref(), token.as_ref());
            ("loki", Box::new(Loki::new(url, labels.clone(), shown).map_err(InvalidSink)?))
        }
    })
}

/// What a file of a token holds.
fn token(file: &Path) -> Result<Secret, InvalidSink> {
    let read = std::fs::read_to_string(file);
    let text = read.map_err(|error| InvalidSink(format!("{}: {error}", file.display())))?;
    Ok(Secret::new(text.trim()))
}

impl Outlet {
    fn add(&self, line: Line) {
        let mut queue = self.queue.lock();
        queue.bytes += line.json.len();
        queue.lines.push_back(line);
        while queue.bytes > self.limit && queue.lines.len() > 1 {
            let oldest = queue.lines.pop_front().map_or(0, |line| line.json.len());
            queue.bytes -= oldest;
            queue.dropped += 1;
            self.metrics.sink_dropped(&self.name, 1);
        }
        let is_first = queue.lines.len() == 1;
        drop(queue);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Hands lines over until there will be no more.
    fn run(&self, mut sink: Box<dyn Sink>) {
        while let Some(batch) = self.batch() {
            if !self.hand_over(&mut *sink, &batch) {
                break;
            }
        }
        self.queue.lock().is_over = true;
        self.wake.notify_all();
    }

    /// Hands over a batch, as often as it takes; false where there is no time for that any more.
    fn hand_over(&self, sink: &mut dyn Sink, batch: &[Line]) -> bool {
        let mut pause = Duration::ZERO;
        loop {
            let name = &*self.name;
            match sink.send(batch) {
                Ok(()) => {
                    if !pause.is_zero() {
                        tracing::info!(sink = name, "lines are taken again");
                    }
                    return true;
                }
                Err(Failure::Never(reason)) => {
                    tracing::warn!(sink = name, reason, lines = batch.len(), "lines were refused");
                    self.metrics.sink_dropped(name, batch.len());
                    return true;
                }
                Err(Failure::Later(reason)) => {
                    if pause.is_zero() {
                        tracing::warn!(sink = name, reason, "lines are not taken; trying again");
                    }
                    pause = (pause * 2).clamp(PAUSES.0, PAUSES.1);
                    if self.rests(pause) {
                        continue;
                    }
                    let left = batch.len() + self.queue.lock().lines.len();
                    tracing::warn!(sink = name, left, "the last lines were not taken");
                    self.metrics.sink_dropped(name, left);
                    return false;
                }
            }
        }
    }

    /// Waits so long; false where the house closes meanwhile.
    fn rests(&self, pause: Duration) -> bool {
        let mut queue = self.queue.lock();
        // Only word of the end is waited for; lines that come wake nobody here for long.
        self.wake.wait_while_for(&mut queue, |queue| !queue.is_closing, pause);
        !queue.is_closing
    }

    /// The next lines; none where there will be no more.
    fn batch(&self) -> Option<Vec<Line>> {
        let mut queue = self.queue.lock();
        self.wake.wait_while(&mut queue, |queue| queue.lines.is_empty() && !queue.is_closing);
        let waits = |queue: &mut Queue| queue.lines.len() < LINES && !queue.is_closing;
        self.wake.wait_while_for(&mut queue, waits, GATHER);
        let count = queue.lines.len().min(LINES);
        let batch: Vec<Line> = queue.lines.drain(..count).collect();
        queue.bytes -= batch.iter().map(|line| line.json.len()).sum::<usize>();
        let dropped = std::mem::take(&mut queue.dropped);
        drop(queue);
        if dropped > 0 {
            tracing::warn!(sink = self.name, dropped, "lines found no room and were dropped");
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// One event of the house, which comes in one piece.
impl Write for Sinks {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.add(&String::from_utf8_lossy(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Sinks {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FixedClock;

    /// A sink that takes lines only while it is open.
    struct Fickle {
        is_open: Arc<Mutex<bool>>,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Sink for Fickle {
        fn send(&mut self, lines: &[Line]) -> Result<(), Failure> {
            if !*self.is_open.lock() {
                return Err(Failure::Later("it is closed".to_owned()));
            }
            self.taken.lock().extend(lines.iter().map(|line| line.json.to_string()));
            Ok(())
        }
    }

    fn outlet(limit: usize) -> Arc<Outlet> {
        Arc::new(Outlet {
            name: "fickle_0".into(),
            limit,
            queue: Mutex::default(),
            wake: Condvar::new(),
            metrics: Metrics::new(),
        })
    }

    fn line(json: &str) -> Line {
        let clock = FixedClock::default();
        Line { at: clock.now(), gravity: Gravity::of(json), json: json.into() }
    }

    #[test]
    fn what_is_not_taken_waits_and_what_finds_no_room_is_counted() {
        let outlet = outlet(40);
        let (is_open, taken) = (Arc::new(Mutex::new(false)), Arc::default());
        let sink = Fickle { is_open: Arc::clone(&is_open), taken: Arc::clone(&taken) };
        for number in 0..6 {
            outlet.add(line(&format!("{{\"n\":{number}}}  ")));
        }
        let metrics = outlet.metrics.clone();
        assert!(metrics.text().contains(r#"tollhouse_sink_dropped_total{sink="fickle_0"} 2"#));

        let working = Arc::clone(&outlet);
        let thread = thread::spawn(move || working.run(Box::new(sink)));
        while outlet.queue.lock().lines.len() == 4 {
            thread::yield_now();
        }
        *is_open.lock() = true;
        while taken.lock().is_empty() {
            thread::yield_now();
        }
        outlet.add(line("{}"));
        outlet.queue.lock().is_closing = true;
        outlet.wake.notify_all();
        thread.join().expect("no panic");

        let taken = taken.lock();
        assert_eq!(taken.len(), 5, "{taken:?}");
        assert!(taken[0].starts_with("{\"n\":2}") && taken[4] == "{}");
    }

    #[test]
    fn a_sink_that_is_never_reached_keeps_nobody_from_ending() {
        let outlet = outlet(1_000);
        let sink = Fickle { is_open: Arc::default(), taken: Arc::default() };
        outlet.add(line("{}"));
        outlet.queue.lock().is_closing = true;

        outlet.run(Box::new(sink));

        let text = outlet.metrics.text();
        assert!(text.contains(r#"tollhouse_sink_dropped_total{sink="fickle_0"} 1"#), "{text}");
    }
}
