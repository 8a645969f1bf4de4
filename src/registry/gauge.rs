//! Gauges: what an instance has been through, as the calls and probes that reach it tell it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::breaker::{self, Breaker, Circuit};
use crate::domain::{Health, Timestamp};

/// How fast failures are forgotten: what happened so long ago counts for a third.
const MEMORY: Duration = Duration::from_mins(5);
/// How much the last answer counts in the mean latency.
const LATEST: f64 = 0.2;
/// The longest answer that counts: people who were asked something take longer.
const LONGEST: Duration = Duration::from_mins(1);
/// Checks that are remembered of each instance.
const CHECKS: usize = 16;

/// What is known of one instance. Reading what calls are shared by takes no lock.
#[derive(Debug)]
pub(crate) struct Gauge {
    began: Instant,
    in_flight: AtomicU32,
    calls: AtomicU64,
    failed: AtomicU64,
    /// The bits of a float: microseconds.
    latency: AtomicU64,
    /// The bits of a float: between 0 and 1.
    error_rate: AtomicU64,
    /// When it was looked at last, in milliseconds since the gauge began.
    looked_ms: AtomicU64,
    breaker: Breaker,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    /// Calls, and those that failed, the older the less.
    weighed: (f64, f64),
    weighed_at: Instant,
    health: Health,
    checks: History,
}

/// A look at an instance when nobody called it.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// When; remembered to the second.
    pub(crate) at: Timestamp,
    /// How long the answer took.
    pub(crate) took: Duration,
    /// Why there was none.
    pub(crate) failure: Option<Arc<str>>,
}

/// Checks that are remembered, the oldest first. There may be many instances, and one that is down
/// fails alike each time: a reason stands here once.
#[derive(Debug, Default)]
struct History {
    kept: VecDeque<Kept>,
    reasons: Vec<Arc<str>>,
}

/// A check as it is remembered, in nine bytes: there are many.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Seconds since 1970.
    at: [u8; 4],
    /// Microseconds.
    took: [u8; 4],
    /// Which of the reasons, or [`Kept::WELL`].
    reason: u8,
}

impl Kept {
    const WELL: u8 = u8::MAX;

    fn new(check: &Check, reason: u8) -> Self {
        let at = u32::try_from(check.at.as_ms() / 1_000).unwrap_or_default();
        let took = u32::try_from(check.took.as_micros()).unwrap_or(u32::MAX);
        Self { at: at.to_ne_bytes(), took: took.to_ne_bytes(), reason }
    }

    fn at(self) -> Timestamp {
        Timestamp::from_ms(i64::from(u32::from_ne_bytes(self.at)) * 1_000)
    }

    fn took(self) -> Duration {
        Duration::from_micros(u32::from_ne_bytes(self.took).into())
    }
}

impl History {
    fn push(&mut self, check: &Check) {
        if self.kept.len() >= CHECKS {
            self.kept.pop_front();
        }
        let reason = check.failure.as_ref().map_or(Kept::WELL, |why| self.place(why));
        self.kept.push_back(Kept::new(check, reason));
    }

    /// The place of a reason, which may be that of one nobody remembers any more.
    fn place(&mut self, why: &Arc<str>) -> u8 {
        let is_used = |at: usize| self.kept.iter().any(|it| usize::from(it.reason) == at);
        let known = self.reasons.iter().position(|it| it == why);
        let free = || (0..self.reasons.len()).find(|at| !is_used(*at));
        let at = known.or_else(free).unwrap_or(self.reasons.len());
        if at == self.reasons.len() {
            self.reasons.reserve_exact(1);
            self.reasons.push(Arc::clone(why));
        } else {
            self.reasons[at] = Arc::clone(why);
        }
        u8::try_from(at).unwrap_or(Kept::WELL)
    }

    fn all(&self) -> Vec<Check> {
        let check = |kept: &Kept| Check {
            at: kept.at(),
            took: kept.took(),
            failure: self.reasons.get(usize::from(kept.reason)).cloned(),
        };
        self.kept.iter().map(check).collect()
    }
}

/// What came of a call or a check.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome<'a> {
    /// It answered, after so long.
    Answered(Duration),
    /// It did not, and why.
    Failed(&'a str),
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing that people must know.
    None,
    /// It answers again, or for the first time.
    Up,
    /// It does not answer any more.
    Down,
    /// It is left alone for a while.
    Out,
}

impl Gauge {
    pub(super) fn new(began: Instant) -> Self {
        let (weighed, health, checks) = ((0.0, 0.0), Health::Unknown, History::default());
        Self {
            began,
            in_flight: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            error_rate: AtomicU64::new(0),
            looked_ms: AtomicU64::new(0),
            breaker: Breaker::default(),
            book: Mutex::new(Book { weighed, weighed_at: began, health, checks }),
        }
    }

    /// Milliseconds since the gauge began, and one, so that it is never 0.
    fn ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Whether it may be called.
    pub(crate) fn circuit(&self, now: Instant) -> Circuit {
        self.breaker.circuit(self.ms(now))
    }

    /// Whether its circuit is closed: the same, without looking at the clock.
    pub(crate) fn is_closed(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Calls in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Calls that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Failures in a row.
    pub(crate) fn failures_in_a_row(&self) -> u32 {
        self.breaker.failures()
    }

    /// The mean latency of late, in microseconds; 0 before the first answer.
    pub(crate) fn latency_us(&self) -> f64 {
        f64::from_bits(self.latency.load(Relaxed))
    }

    /// How many of the calls of the last minutes failed, between 0 and 1.
    pub(crate) fn error_rate(&self) -> f64 {
        f64::from_bits(self.error_rate.load(Relaxed))
    }

    /// How it was found to be.
    pub(crate) fn health(&self) -> Health {
        self.book.lock().health.clone()
    }

    /// The checks that are remembered, oldest first.
    pub(crate) fn checks(&self) -> Vec<Check> {
        self.book.lock().checks.all()
    }

    /// A place among the calls in flight; as the one try of a half-open circuit, where it is one.
    /// None where another has that try.
    pub(crate) fn enter(self: &Arc<Self>, is_try: bool) -> Option<InFlight> {
        if is_try && !self.breaker.try_out() {
            return None;
        }
        self.in_flight.fetch_add(1, Relaxed);
        Some(InFlight { gauge: Arc::clone(self), is_try })
    }

    pub(super) fn note(
        &self,
        outcome: Outcome<'_>,
        is_try: bool,
        (now, date): (Instant, Timestamp),
        (settings, is_outlier): (&breaker::Settings, bool),
    ) -> Turn {
        let (now_ms, mut book) = (self.ms(now), self.book.lock());
        let age = now.saturating_duration_since(book.weighed_at);
        let kept = (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        let failed = f64::from(matches!(outcome, Outcome::Failed(_)));
        book.weighed = (book.weighed.0 * kept + 1.0, book.weighed.1 * kept + failed);
        book.weighed_at = now;
        self.error_rate.store((book.weighed.1 / book.weighed.0).to_bits(), Relaxed);
        match outcome {
            Outcome::Answered(took) => {
                let took = took.min(LONGEST).as_secs_f64() * 1e6;
                let mean = match self.latency_us() {
                    0.0 => took,
                    mean => mean + LATEST * (took - mean),
                };
                self.latency.store(mean.to_bits(), Relaxed);
                self.breaker.succeeded(now_ms);
                let is_news = book.health != Health::Healthy;
                book.health = Health::Healthy;
                if is_news { Turn::Up } else { Turn::None }
            }
            Outcome::Failed(reason) => {
                let is_out = self.breaker.failed((is_try, is_outlier), now_ms, settings);
                let is_news = match &mut book.health {
                    Health::Unhealthy { reason: known, .. } => {
                        reason.clone_into(known);
                        false
                    }
                    health => {
                        *health = Health::Unhealthy { reason: reason.to_owned(), since: date };
                        true
                    }
                };
                match (is_news, is_out) {
                    (true, _) => Turn::Down,
                    (_, true) => Turn::Out,
                    _ => Turn::None,
                }
            }
        }
    }

    /// Whether it is time to look at it again; then it is looked at from now on.
    pub(super) fn is_due(&self, now: Instant, interval: Duration) -> bool {
        let (now_ms, interval_ms) = (self.ms(now), u64::try_from(interval.as_millis()));
        let since = now_ms.saturating_sub(self.looked_ms.load(Relaxed));
        let is_due = since >= interval_ms.unwrap_or(u64::MAX);
        if is_due {
            self.looked_ms.store(now_ms, Relaxed);
        }
        is_due
    }

    pub(super) fn remember(&self, check: &Check) {
        self.book.lock().checks.push(check);
    }
}

/// A call in flight to an instance. Dropped without an outcome, it says nothing of it.
#[derive(Debug)]
pub(crate) struct InFlight {
    gauge: Arc<Gauge>,
    is_try: bool,
}

impl InFlight {
    /// Counts the call, with what came of it. Whether it was the try of a half-open circuit, too.
    pub(super) fn count(mut self, has_failed: bool) -> bool {
        self.gauge.calls.fetch_add(1, Relaxed);
        self.gauge.failed.fetch_add(u64::from(has_failed), Relaxed);
        std::mem::take(&mut self.is_try)
    }

    /// What was tried has an outcome, and was no call.
    pub(super) fn let_go(mut self) {
        self.is_try = false;
    }

    pub(super) fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.in_flight.fetch_sub(1, Relaxed);
        if self.is_try {
            self.gauge.breaker.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(gauge: &Gauge, outcome: Outcome<'_>, now: Instant) -> Turn {
        let settings = breaker::Settings { failures: 2, ..breaker::Settings::default() };
        gauge.note(outcome, false, (now, Timestamp::from_ms(0)), (&settings, false))
    }

    #[test]
    fn failures_are_told_once_and_forgotten_with_time() {
        let began = crate::domain::Clock::tick(&crate::domain::FixedClock::default());
        let gauge = Gauge::new(began);
        let answered = Outcome::Answered(Duration::from_millis(2));

        assert_eq!(note(&gauge, answered, began), Turn::Up);
        assert_eq!(note(&gauge, Outcome::Failed("gone"), began), Turn::Down);
        assert_eq!(note(&gauge, Outcome::Failed("gone"), began), Turn::Out);
        assert!(matches!(gauge.circuit(began), Circuit::Open(_)));
        assert!((gauge.error_rate() - 2.0 / 3.0).abs() < 1e-9, "{}", gauge.error_rate());

        assert_eq!(note(&gauge, answered, began + 4 * MEMORY), Turn::Up);
        assert!(gauge.error_rate() < 0.04, "{}", gauge.error_rate());
        assert_eq!(gauge.circuit(began), Circuit::Closed);
    }

    #[test]
    fn the_last_checks_are_remembered_each_with_its_reason() {
        let mut history = History::default();
        let reasons = [Some("a"), None, Some("b"), Some("a"), Some("c")];
        let said = |number: u32| reasons[number as usize % reasons.len()].map(Arc::<str>::from);
        for number in 0..100_u32 {
            let took = Duration::from_micros(number.into());
            let at = Timestamp::from_ms(1_000 * i64::from(number));
            history.push(&Check { at, took, failure: said(number) });
        }

        let all = history.all();
        assert_eq!(all.len(), CHECKS);
        for (number, check) in (84..100_u32).zip(all) {
            assert_eq!(
                (check.at, check.failure),
                (Timestamp::from_ms(1_000 * i64::from(number)), said(number))
            );
        }
        assert_eq!(history.reasons.len(), 3);
    }

    #[test]
    fn a_call_is_in_flight_until_it_is_over() {
        let gauge =
            Arc::new(Gauge::new(crate::domain::Clock::tick(&crate::domain::FixedClock::default())));
        let call = gauge.enter(false).expect("a place");
        assert_eq!(gauge.in_flight(), 1);
        call.count(true);
        assert_eq!((gauge.in_flight(), gauge.calls(), gauge.failed()), (0, 1, 1));
    }
}
