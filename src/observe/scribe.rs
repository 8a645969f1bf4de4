//! The scribe: takes lines from the journal, and writes them into the log and into the book.
//!
//! It has a thread of its own, because it waits for the disk. Lines go into the log and to whoever
//! listens at once, and into the book within a quarter of a second, many in one write.

use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Clock, OrganizationId, Timestamp},
    observe::{
        Journal, Log, Metrics, Settings,
        entry::Finished,
        sheet::{Draft, LINES, Number, Sheet, Word},
        sums::{Counted, Span, Sums, keys_before},
    },
    store::{self, Edit, Mark, Records, Store, View},
};

/// How long lines may wait to be written: what a crash may take.
const WAIT: Duration = Duration::from_millis(250);
/// How long the scribe sleeps at most.
const SLEEP: Duration = Duration::from_mins(1);
/// How long after a failed write it tries again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often old lines are removed.
const RETAIN: Duration = Duration::from_hours(1);
/// Small sheets that are kept before they become one.
const SMALL: usize = 256;
/// Sheets that are changed in one write when old lines are removed.
const AT_ONCE: usize = 64;
/// Where the number of the next line is kept.
const NEXT: &[u8] = b"next";

const DAY: Duration = Duration::from_hours(24);

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
}

/// The book, as it is written.
struct Keeping {
    records: Records,
    store: Store,
    /// Lines that are not written yet, and the number of the first.
    draft: Draft,
    first: u64,
    /// When the first of them came.
    since: Option<Instant>,
    sums: Sums,
    /// The sheets at the end that are not full.
    small: Vec<Mark>,
    /// Lines that were dropped since the last one.
    dropped: u64,
    /// Not to be tried again before, after a write failed.
    not_before: Option<Instant>,
    retain_at: Instant,
}

impl Scribe {
    /// A scribe who writes into the log alone.
    pub(crate) fn new(
        settings: Settings,
        (journal, log): (Journal, Log),
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let is_json = settings.format.is_json();
        let listeners = broadcast::Sender::new(settings.book.live_batches.max(1));
        Self { journal, log, metrics, clock, settings, is_json, listeners, keeping: None }
    }

    /// Has everything written into the book as well, where it is one to be kept.
    pub(crate) fn keep(&mut self, records: Records, store: Store) -> Result<(), store::Error> {
        let (marks, next) = records.read(|view| Ok((view.marks()?, next(view)?)))?;
        let (mut small, mut numbers) = (Vec::new(), 0);
        for mark in marks.values().rev().take(SMALL) {
            numbers += mark.numbers as usize;
            if numbers >= LINES {
                break;
            }
            small.push(*mark);
        }
        small.reverse();
        let end = marks.values().next_back().map_or(1, Mark::end);
        self.keeping = Some(Keeping {
            records,
            store,
            draft: Draft::default(),
            first: next.unwrap_or(1).max(end),
            since: None,
            sums: Sums::default(),
            small,
            dropped: 0,
            not_before: None,
            retain_at: self.clock.tick(),
        });
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
        let first = keeping.first + keeping.draft.len() as u64;
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

fn next(view: &View) -> Result<Option<u64>, store::Error> {
    let (mut next, end) = (None, [NEXT, b"\0"].concat());
    view.sums((NEXT, &end), |_, value| next = value.first_chunk().copied())?;
    Ok(next.map(u64::from_be_bytes))
}

impl Keeping {
    /// How long until something is to be done without a line.
    fn rest(&self, now: Instant) -> Duration {
        let due = self.since.map(|since| self.not_before.unwrap_or(since + WAIT));
        let next = due.map_or(self.retain_at, |due| due.min(self.retain_at));
        next.saturating_duration_since(now).clamp(Duration::from_millis(1), SLEEP)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.rest(now) <= Duration::from_millis(1) && self.since.is_some()
    }

    /// Adds a line; says whether there was room for it.
    fn put(&mut self, line: &Finished, now: Instant) -> bool {
        if self.draft.is_full() && self.not_before.is_none_or(|not_before| now >= not_before) {
            self.write(now);
        }
        if self.draft.is_full() {
            self.dropped += 1;
            return false;
        }
        self.since.get_or_insert(now);
        line.put(&mut self.draft);
        if self.dropped > 0 {
            self.draft.last(Number::Dropped, mem::take(&mut self.dropped));
        }
        let (entry, end) = (&line.entry, &line.end);
        let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let call = Counted {
            has_failed: end.outcome != "ok",
            took_us: u64::try_from(end.took.as_micros()).unwrap_or(u64::MAX),
            bytes_in: size(entry.request_bytes),
            bytes_out: size(entry.response_bytes),
        };
        let organization = entry.caller.as_ref().map(|(_, _, organization)| *organization);
        let server = entry.server.as_ref().map(|server| server.name.as_str());
        self.sums.count(end.at, (organization, server, entry.method.label()), call);
        true
    }

    /// Writes what waits. What cannot be written waits on.
    fn write(&mut self, now: Instant) {
        if self.draft.is_empty() {
            self.since = None;
            return;
        }
        let (mark, sheet) = self.draft.seal(self.first);
        let next = mark.end();
        let mut small = self.small.clone();
        let (sums, all) = (&self.sums, &mut small);
        let written = self.records.write(|edit| {
            edit.put_sheet(&mark, &sheet)?;
            all.push(mark);
            let numbers: usize = all.iter().map(|mark| mark.numbers as usize).sum();
            if numbers >= LINES || all.len() >= SMALL {
                let merged = merge(edit, all)?;
                all.clear();
                all.extend(merged.filter(|it| (it.numbers as usize) < LINES));
            }
            for (key, sum) in sums.each() {
                edit.sum(&key, |before| added(before, sum))?;
            }
            edit.sum(NEXT, |_| next.to_be_bytes().to_vec())
        });
        match written {
            Ok(()) => {
                self.small = small;
                self.first = next;
                self.draft = Draft::default();
                self.sums.clear();
                (self.since, self.not_before) = (None, None);
            }
            Err(error) => {
                if self.not_before.is_none() {
                    tracing::warn!(%error, "lines of calls cannot be written; trying again");
                }
                self.not_before = Some(now + PAUSE);
            }
        }
    }

    /// Removes lines and sums that are older than they may get, and what is too much.
    fn retain(&self, settings: &super::BookSettings, now: Timestamp) -> Result<(), store::Error> {
        let before = |days: u32| {
            let span = i64::try_from((DAY * days).as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_ms(now.as_ms().saturating_sub(span))
        };
        let organizations = self.store.read()?.organizations()?;
        let limits: HashMap<OrganizationId, Timestamp> =
            organizations.iter().map(|it| (it.id, before(it.quotas.log_retention_days))).collect();
        let other = before(settings.days);
        let all = || limits.values().copied().chain([other]);
        let (first, last) = (all().min().unwrap_or(other), all().max().unwrap_or(other));
        let marks = self.records.read(View::marks)?;
        let mut too_much = marks.values().map(|mark| u64::from(mark.bytes)).sum::<u64>();
        let most = u64::from(settings.max_mib) << 20;
        let mut work = Vec::new();
        for mark in marks.values() {
            if mark.newest < first || too_much > most {
                too_much -= u64::from(mark.bytes);
                work.push((*mark, true));
            } else if mark.oldest < last {
                work.push((*mark, false));
            }
        }
        let is_old = |sheet: &Sheet<'_>, row: usize| {
            let organization = sheet.word(Word::Organization, row).parse().ok();
            let limit = organization.and_then(|it| limits.get(&it)).copied().unwrap_or(other);
            sheet.moment(row) < limit
        };
        for some in work.chunks(AT_ONCE) {
            self.records.write(|edit| {
                for (mark, is_whole) in some {
                    match is_whole {
                        true => edit.remove_sheet(mark.first)?,
                        false => thin(edit, mark, is_old)?,
                    }
                }
                Ok(())
            })?;
        }
        self.records.write(|edit| {
            for (span, days) in
                [(Span::Hourly, settings.hourly_days), (Span::Daily, settings.daily_days)]
            {
                let (from, to) = keys_before(span, before(days));
                edit.remove_sums((&from, &to))?;
            }
            Ok(())
        })?;
        match self.records.shrink()? {
            0 => {}
            bytes => tracing::info!(bytes, "old lines of calls gave space back"),
        }
        Ok(())
    }
}

/// A sum with another one added.
fn added(before: Option<&[u8]>, sum: &super::sums::Sum) -> Vec<u8> {
    let mut all = before.and_then(super::sums::Sum::read).unwrap_or_default();
    all.add(sum);
    all.write()
}

/// Reads a sheet. One that cannot be read is given up.
fn read<'a>(bytes: &'a [u8], mark: &Mark) -> Option<Sheet<'a>> {
    let sheet = Sheet::read(bytes);
    if sheet.is_none() {
        tracing::error!(first = mark.first, lines = mark.numbers, "lines of calls are damaged");
    }
    sheet
}

/// Makes one sheet of several, or as few as hold their lines.
fn merge(
    edit: &mut Edit,
    small: &[Mark],
) -> Result<impl Iterator<Item = Mark> + use<>, store::Error> {
    let (mut merged, mut draft, mut first) = (Vec::new(), Draft::default(), small[0].first);
    for mark in small {
        let copied = edit.sheet(mark.first, |bytes| {
            let Some(sheet) = read(bytes, mark) else { return };
            for row in 0..sheet.rows() {
                if draft.is_full() {
                    merged.push(mem::take(&mut draft).seal(first));
                }
                if draft.is_empty() {
                    first = sheet.number(row);
                }
                draft.copy(&sheet, row, first);
            }
        });
        copied?;
        edit.remove_sheet(mark.first)?;
    }
    if !draft.is_empty() {
        merged.push(draft.seal(first));
    }
    for (mark, sheet) in &merged {
        edit.put_sheet(mark, sheet)?;
    }
    Ok(merged.into_iter().map(|(mark, _)| mark))
}

/// Removes some lines of a sheet.
fn thin(
    edit: &mut Edit,
    mark: &Mark,
    is_old: impl Fn(&Sheet<'_>, usize) -> bool,
) -> Result<(), store::Error> {
    let thinned = edit.sheet(mark.first, |bytes| {
        let Some(sheet) = read(bytes, mark) else { return Some(Draft::default()) };
        let mut kept = Draft::default();
        for row in (0..sheet.rows()).filter(|row| !is_old(&sheet, *row)) {
            kept.copy(&sheet, row, mark.first);
        }
        (kept.len() < sheet.rows()).then_some(kept)
    });
    match thinned?.flatten() {
        None => Ok(()),
        Some(kept) if kept.is_empty() => edit.remove_sheet(mark.first),
        Some(kept) => {
            let (mark, sheet) = kept.seal(mark.first);
            edit.put_sheet(&mark, &sheet)
        }
    }
}
