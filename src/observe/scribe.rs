//! The scribe: takes lines from the journal, and writes them into the log and into the book.
//!
//! It has a thread of its own, because it waits for the disk. Lines go into the log and to whoever
//! listens at once, and into the book within a quarter of a second, many in one write.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Clock,
    observe::{
        Journal, Log, Metrics, Settings, Sinks,
        behind::stand_behind,
        entry::Finished,
        keeping::{Keeping, SLEEP},
        segment::Archive,
        sheet::Draft,
    },
    store::{self, Records, Store},
};

/// How often old lines are removed.
const RETAIN: Duration = Duration::from_hours(1);

/// A scribe at work.
pub(crate) struct Writing {
    journal: Journal,
    ended: CancellationToken,
}

impl Writing {
    /// Lets the scribe write what is left, within a time.
    pub(crate) async fn finish(&self, longest: Duration) {
        self.journal.end();
        if tokio::time::timeout(longest, self.ended.cancelled()).await.is_err() {
            tracing::warn!("the last lines of calls were not written in time");
        }
    }
}

/// What the scribe writes in.
pub(crate) struct Scribe {
    journal: Journal,
    log: Log,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    settings: Settings,
    is_json: bool,
    listeners: broadcast::Sender<Arc<Vec<u8>>>,
    keeping: Option<Keeping>,
    sinks: Sinks,
}

impl Scribe {
    /// A scribe who writes into the log alone.
    pub(crate) fn new(
        settings: Settings,
        (journal, log, sinks): (Journal, Log, Sinks),
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let is_json = settings.format.is_json();
        let listeners = broadcast::Sender::new(settings.book.live_batches.max(1));
        Self { journal, log, metrics, clock, settings, is_json, listeners, keeping: None, sinks }
    }

    /// Has everything written into the book as well, where it is one to be kept.
    pub(crate) fn keep(
        &mut self,
        records: (Records, Archive),
        store: Store,
    ) -> Result<(), store::Error> {
        let keeping = Keeping::new(records, store, self.metrics.clone(), self.clock.tick())?;
        self.keeping = Some(keeping);
        Ok(())
    }

    /// Where lines are heard of as they come.
    pub(crate) fn listeners(&self) -> broadcast::Sender<Arc<Vec<u8>>> {
        self.listeners.clone()
    }

    /// Begins to write, on a thread of its own.
    pub(crate) fn start(self) -> std::io::Result<Writing> {
        let ended = CancellationToken::new();
        let (end, journal) = (ended.clone().drop_guard(), self.journal.clone());
        std::thread::Builder::new().name("scribe".to_owned()).spawn(move || {
            stand_behind();
            self.run();
            drop(end);
        })?;
        Ok(Writing { journal, ended })
    }

    /// Writes until the journal ends.
    pub(super) fn run(mut self) {
        loop {
            let longest = self.keeping.as_ref().map_or(SLEEP, |it| it.rest(self.clock.tick()));
            let queue = self.journal.gather(longest);
            self.tell(queue.lines.iter());
            self.dropped(queue.dropped);
            for line in queue.lines {
                self.put(&line);
            }
            let now = self.clock.tick();
            let is_wanted = queue.is_closing || !queue.waiting.is_empty();
            if let Some(keeping) = &mut self.keeping
                && (is_wanted || keeping.is_due(now))
            {
                keeping.write(now);
            }
            for waiting in queue.waiting {
                // Whoever does not wait any more need not hear it.
                let _ = waiting.send(());
            }
            if queue.is_closing {
                break;
            }
            self.retain(now);
        }
        if let Some(keeping) = &self.keeping {
            keeping.records.close();
        }
    }

    /// Lets those hear of lines who listen.
    fn tell<'a>(&self, lines: impl ExactSizeIterator<Item = &'a Finished>) {
        if lines.len() == 0 || self.listeners.receiver_count() == 0 {
            return;
        }
        let Some(keeping) = &self.keeping else { return };
        let first = keeping.next();
        let (mut sheet, mut begin) = (Draft::default(), first);
        for line in lines {
            line.put(&mut sheet);
            if sheet.is_full() {
                let full = mem::take(&mut sheet);
                let _ = self.listeners.send(Arc::new(full.seal(begin).1));
                begin += full.len() as u64;
            }
        }
        // Nobody may listen any more.
        let _ = self.listeners.send(Arc::new(sheet.seal(begin).1));
    }

    fn dropped(&mut self, lines: u64) {
        if lines > 0 {
            tracing::warn!(lines, "lines of calls were dropped: they came faster than written");
            if let Some(keeping) = &mut self.keeping {
                keeping.dropped += lines;
            }
        }
    }

    fn put(&mut self, line: &Finished) {
        if self.settings.calls {
            let had_room = self
                .log
                .call(|text| if self.is_json { line.as_json(text) } else { line.as_text(text) });
            if !had_room {
                self.metrics.journal_dropped();
            }
        }
        if !self.sinks.is_empty() {
            let mut text = String::new();
            line.as_json(&mut text);
            self.sinks.add(&text);
        }
        if let Some(keeping) = &mut self.keeping
            && !keeping.put(line, self.clock.tick())
        {
            self.metrics.journal_dropped();
        }
    }

    /// Removes what is too old, now and then.
    fn retain(&mut self, now: Instant) {
        let Some(keeping) = self.keeping.as_mut().filter(|it| now >= it.retain_at) else { return };
        keeping.retain_at = now + RETAIN;
        if let Err(error) = keeping.retain(&self.settings.book, self.clock.now()) {
            tracing::warn!(%error, "old lines of calls cannot be removed");
        }
    }
}
