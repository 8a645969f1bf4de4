//! The book, as it is written: lines that wait, sheets that are small, and what was said.

use std::{
    mem,
    time::{Duration, Instant},
};

use crate::{
    observe::{
        Metrics,
        entry::Finished,
        segment::{Archive, Segments},
        sheet::{Draft, LINES, Number, Sheet, Word},
        sums::{Counted, Sum, Sums},
    },
    store::{self, Edit, Mark, Records, Store, View},
};

/// How long lines may wait to be written: what a crash may take.
const WAIT: Duration = Duration::from_millis(250);
/// How long whoever writes sleeps at most.
pub(super) const SLEEP: Duration = Duration::from_mins(1);
/// How long after the start old lines are removed first: who only runs a command does not wait.
const SETTLE: Duration = Duration::from_mins(1);
/// How long after a failed write it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Small sheets that are kept before they become one.
const SMALL: usize = 256;
/// Whose calls are that are nobody's.
const NOBODY: &str = "_nobody";
/// Where the number of the next line is kept.
const NEXT: &[u8] = b"next";

/// The book, as it is written.
pub(super) struct Keeping {
    pub(super) records: Records,
    pub(super) store: Store,
    /// Lines that are not written yet, and the number of the first.
    draft: Draft,
    first: u64,
    /// When the first of them came.
    since: Option<Instant>,
    sums: Sums,
    /// The sheets at the end that are not full.
    small: Vec<Mark>,
    /// What was said in calls.
    pub(super) segments: Segments,
    pub(super) archive: Archive,
    metrics: Metrics,
    /// Lines that were dropped since the last one.
    pub(super) dropped: u64,
    /// Not to be tried again before, after a write failed.
    not_before: Option<Instant>,
    pub(super) retain_at: Instant,
}

fn next(view: &View) -> Result<Option<u64>, store::Error> {
    let (mut next, end) = (None, [NEXT, b"\0"].concat());
    view.sums((NEXT, &end), |_, value| next = value.first_chunk().copied())?;
    Ok(next.map(u64::from_be_bytes))
}

impl Keeping {
    /// Goes on where these records end.
    pub(super) fn new(
        (records, archive): (Records, Archive),
        store: Store,
        metrics: Metrics,
        now: Instant,
    ) -> Result<Self, store::Error> {
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
        Ok(Self {
            records,
            store,
            draft: Draft::default(),
            first: next.unwrap_or(1).max(end),
            since: None,
            sums: Sums::default(),
            small,
            segments: Segments::new(archive.clone()),
            archive,
            metrics,
            dropped: 0,
            not_before: None,
            retain_at: now + SETTLE,
        })
    }

    /// The number of the next line.
    pub(super) fn next(&self) -> u64 {
        self.first + self.draft.len() as u64
    }

    /// How long until something is to be done without a line.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let due = self.since.map(|since| self.not_before.unwrap_or(since + WAIT));
        let next = due.map_or(self.retain_at, |due| due.min(self.retain_at));
        next.saturating_duration_since(now).clamp(Duration::from_millis(1), SLEEP)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.rest(now) <= Duration::from_millis(1) && self.since.is_some()
    }

    /// Adds a line; says whether there was room for it.
    pub(super) fn put(&mut self, line: &Finished, now: Instant) -> bool {
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
        self.put_bodies(line);
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

    /// Keeps what was said in the call whose line was put last.
    fn put_bodies(&mut self, line: &Finished) {
        let number = self.next() - 1;
        let Some(record) = line.record(number) else { return };
        let organization = line.entry.caller.as_ref().map(|(_, _, it)| it.to_string());
        let organization = organization.unwrap_or_else(|| NOBODY.to_owned());
        let server = line.entry.server.as_ref().map_or("_gateway", |server| server.name.as_str());
        match self.segments.add((&organization, server), line.end.at, number, &record) {
            Ok(place) => {
                self.draft.last(Number::BodyAt, place.at);
                self.draft.last(Number::BodyBytes, place.bytes);
                self.draft.last_word(Word::Segment, &place.segment);
            }
            Err(error) => {
                self.metrics.bodies_dropped();
                tracing::debug!(%error, "what was said in a call cannot be kept");
                self.segments.close();
            }
        }
    }

    /// Writes what waits. What cannot be written waits on.
    pub(super) fn write(&mut self, now: Instant) {
        if self.draft.is_empty() {
            self.since = None;
            return;
        }
        // First what lines point at.
        if let Err(error) = self.segments.sync() {
            tracing::warn!(%error, "what was said in calls may not be on the disk");
            self.segments.close();
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
}

/// A sum with another one added.
fn added(before: Option<&[u8]>, sum: &Sum) -> Vec<u8> {
    let mut all = before.and_then(Sum::read).unwrap_or_default();
    all.add(sum);
    all.write()
}

/// Reads a sheet. One that cannot be read is given up.
pub(super) fn read<'a>(bytes: &'a [u8], mark: &Mark) -> Option<Sheet<'a>> {
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
