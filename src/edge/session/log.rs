//! What a session's client was told: kept for a while, so that a stream that breaks can be taken
//! up again where it broke.
//!
//! Every stream of a session reads from here, each its own events: the one that stands open, and
//! one for each call that says something before its answer.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// The stream that stands open beside all calls.
pub(in crate::edge) const STANDING: u64 = 0;

/// The events of a session.
#[derive(Debug)]
pub(super) struct Log {
    limits: Limits,
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Debug)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    first: u64,
    last: u64,
    last_stream: u64,
    /// Streams to which more may come, each with the last event that was thrown away unread.
    open: HashMap<u64, u64>,
    /// Which reader of the standing stream is the current one.
    reader: u64,
}

#[derive(Debug)]
struct Event {
    stream: u64,
    number: u64,
    message: Bytes,
}

/// A place in a stream: after which event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct Place {
    pub(in crate::edge) stream: u64,
    pub(in crate::edge) number: u64,
}

impl Place {
    /// Reads the id of an event.
    pub(in crate::edge) fn parse(id: &str) -> Option<Self> {
        let (stream, number) = id.split_once('-')?;
        Some(Self { stream: stream.parse().ok()?, number: number.parse().ok()? })
    }

    /// The id of the event at this place.
    pub(in crate::edge) fn id(self) -> String {
        format!("{}-{}", self.stream, self.number)
    }
}

impl Log {
    /// A log that begins behind a number: what was said before, under smaller ones, is not kept.
    pub(super) fn after(first: u64, limits: Limits) -> Self {
        let state = State {
            events: VecDeque::new(),
            bytes: 0,
            first,
            last: first,
            last_stream: first,
            open: HashMap::from([(STANDING, first)]),
            reader: 0,
        };
        Self { limits, state: Mutex::new(state), grown: Notify::new() }
    }

    /// How much is kept.
    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Opens a stream.
    pub(super) fn open(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_stream += 1;
        let stream = state.last_stream;
        state.open.insert(stream, 0);
        stream
    }

    /// Adds an event to a stream. What is oldest goes where there is no room.
    pub(super) fn push(&self, stream: u64, message: Bytes) -> Place {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        state.bytes += message.len();
        state.events.push_back(Event { stream, number, message });
        while state.events.len() > 1
            && (state.events.len() > self.limits.events || state.bytes > self.limits.bytes)
        {
            state.throw_away();
        }
        drop(state);
        self.grown.notify_waiters();
        Place { stream, number }
    }

    /// How much was said, on all streams.
    pub(super) fn count(&self) -> u64 {
        let state = self.state.lock();
        state.last - state.first
    }

    /// What is still kept of a stream after a place, oldest first.
    pub(super) fn kept(&self, after: Place, limit: usize) -> Vec<(Place, Bytes)> {
        let state = self.state.lock();
        let is_after = |event: &&Event| event.stream == after.stream && event.number > after.number;
        let kept = state.events.iter().filter(is_after).take(limit);
        let place = |event: &Event| Place { stream: event.stream, number: event.number };
        kept.map(|event| (place(event), event.message.clone())).collect()
    }

    /// Ends a stream: nothing more comes to it.
    pub(super) fn close(&self, stream: u64) {
        self.state.lock().open.remove(&stream);
        self.grown.notify_waiters();
    }

    /// Ends all streams.
    pub(super) fn close_all(&self) {
        self.state.lock().open.clear();
        self.grown.notify_waiters();
    }

    /// Whether nothing was said on a stream yet.
    pub(super) fn is_silent(&self, stream: u64) -> bool {
        !self.state.lock().events.iter().any(|event| event.stream == stream)
    }

    /// Whether more may come to a stream, or something of it is still kept.
    pub(super) fn has(&self, stream: u64) -> bool {
        let state = self.state.lock();
        state.open.contains_key(&stream) || state.events.iter().any(|it| it.stream == stream)
    }

    /// Where a reader that comes back can go on: after what it read last, or what is not kept any
    /// more.
    pub(super) fn come_back(&self, place: Place) -> Place {
        let thrown_away = self.state.lock().open.get(&place.stream).copied().unwrap_or_default();
        Place { number: place.number.max(thrown_away), ..place }
    }

    /// Makes a reader of the standing stream the current one; the one before it ends.
    pub(super) fn take_over(&self) -> u64 {
        let mut state = self.state.lock();
        state.reader += 1;
        let reader = state.reader;
        drop(state);
        self.grown.notify_waiters();
        reader
    }

    /// The event after a place; none at the end of its stream, or for a reader who fell behind or
    /// was followed by another.
    pub(super) async fn next(&self, after: Place, reader: Option<u64>) -> Option<(Place, Bytes)> {
        let mut grown = std::pin::pin!(self.grown.notified());
        loop {
            grown.as_mut().enable();
            if let Some(found) = self.look(after, reader)? {
                return Some(found);
            }
            grown.as_mut().await;
            grown.set(self.grown.notified());
        }
    }

    /// Waits until something was said on a stream.
    pub(super) async fn is_broken_silence(&self, stream: u64) {
        let start = Place { stream, number: 0 };
        if self.next(start, None).await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[expect(clippy::option_option, reason = "the end of a stream is not a pause in it")]
    fn look(&self, after: Place, reader: Option<u64>) -> Option<Option<(Place, Bytes)>> {
        let state = self.state.lock();
        if reader.is_some_and(|reader| reader != state.reader) {
            return None;
        }
        let open = state.open.get(&after.stream);
        // Whoever comes first to the standing stream hears what there still is.
        let may_skip = after.stream == STANDING && after.number == 0;
        if open.is_some_and(|thrown_away| *thrown_away > after.number && !may_skip) {
            return None;
        }
        let is_next = |event: &&Event| event.stream == after.stream && event.number > after.number;
        match state.events.iter().find(is_next) {
            Some(event) => {
                let place = Place { stream: event.stream, number: event.number };
                Some(Some((place, event.message.clone())))
            }
            None if open.is_some() => Some(None),
            None => None,
        }
    }
}

impl State {
    fn throw_away(&mut self) {
        let Some(event) = self.events.pop_front() else { return };
        self.bytes -= event.message.len();
        if let Some(thrown_away) = self.open.get_mut(&event.stream) {
            *thrown_away = event.number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: usize) -> Log {
        Log::after(0, Limits { events, bytes: 100 })
    }

    async fn read(log: &Log, stream: u64, number: u64) -> Option<String> {
        let next = log.next(Place { stream, number }, None).await?;
        Some(String::from_utf8_lossy(&next.1).into_owned())
    }

    #[tokio::test]
    async fn each_stream_has_its_own_events_and_can_be_taken_up_again() {
        let log = log(10);
        let (a, b) = (log.open(), log.open());
        log.push(a, "a1".into());
        log.push(b, "b1".into());
        log.push(a, "a2".into());

        let (place, _) = log.next(Place { stream: a, number: 0 }, None).await.expect("a1");
        assert_eq!(Place::parse(&place.id()), Some(place));
        assert_eq!(read(&log, a, place.number).await.as_deref(), Some("a2"));
        log.close(a);
        assert_eq!(read(&log, a, place.number).await.as_deref(), Some("a2"));
        assert_eq!(read(&log, a, 3).await, None);
        assert_eq!(read(&log, b, 0).await.as_deref(), Some("b1"));
    }

    #[tokio::test]
    async fn a_reader_that_fell_behind_is_told_so() {
        let log = log(2);
        let stream = log.open();
        log.push(stream, "1".into());
        let (place, _) = log.next(Place { stream, number: 0 }, None).await.expect("1");

        for text in ["2", "3", "4"] {
            log.push(stream, text.into());
        }

        assert_eq!(read(&log, stream, place.number).await, None);
    }

    #[tokio::test]
    async fn the_latest_reader_of_the_standing_stream_is_the_only_one() {
        let log = log(2);
        let first = log.take_over();
        log.take_over();

        assert_eq!(log.next(Place { stream: STANDING, number: 0 }, Some(first)).await, None);
    }
}
