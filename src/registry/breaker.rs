//! Circuit breakers: an instance that fails again and again is left alone for a while, then tried
//! with one call, and left alone longer each time that fails.
//!
//! Closed, open, half open. What moves one are the outcomes of calls and of probes alike.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// When an instance is left alone, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Failures in a row after which it is left alone.
    pub(crate) failures: u32,
    /// How long it is left alone the first time, in milliseconds; each time that follows soon
    /// after is twice as long.
    pub(crate) recovery_ms: u64,
    /// The longest it is left alone, in milliseconds.
    pub(crate) longest_recovery_ms: u64,
    /// How long it must have been well for the next time to be the first again, in milliseconds.
    pub(crate) calm_ms: u64,
    /// How many of its calls must fail, in percent, for it to be left alone although some of them
    /// do not, where other instances of its server fail at most half as often; 0 for never.
    pub(crate) outlier_percent: u32,
    /// How many calls it must have had for that.
    pub(crate) outlier_calls: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            recovery_ms: 1_000,
            longest_recovery_ms: 30_000,
            calm_ms: 10_000,
            outlier_percent: 30,
            outlier_calls: 20,
        }
    }
}

/// Whether an instance may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// It may.
    Closed,
    /// It may not, for so long.
    Open(Duration),
    /// One call may try it.
    HalfOpen,
}

impl Circuit {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker of one instance. Moments are milliseconds on a clock that only goes forward, and
/// never 0.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// Until when it is open; 0 while it is closed.
    until_ms: AtomicU64,
    /// How often it opened without a long quiet between.
    trips: AtomicU32,
    closed_ms: AtomicU64,
    is_tried: AtomicBool,
}

impl Breaker {
    pub(super) fn circuit(&self, now_ms: u64) -> Circuit {
        match self.until_ms.load(Relaxed) {
            0 => Circuit::Closed,
            until if now_ms < until => Circuit::Open(Duration::from_millis(until - now_ms)),
            // Whoever tries it has not come back yet.
            _ if self.is_tried.load(Relaxed) => Circuit::Open(Duration::ZERO),
            _ => Circuit::HalfOpen,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.until_ms.load(Relaxed) == 0
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Takes the one try of a half-open circuit; false where another has it.
    pub(super) fn try_out(&self) -> bool {
        !self.is_tried.swap(true, Relaxed)
    }

    /// Gives the try back: what was tried came to no outcome.
    pub(super) fn give_back(&self) {
        self.is_tried.store(false, Relaxed);
    }

    /// The instance answered. Tells whether that closed the circuit.
    pub(super) fn succeeded(&self, now_ms: u64) -> bool {
        self.failures.store(0, Relaxed);
        if self.until_ms.load(Relaxed) == 0 {
            return false;
        }
        self.closed_ms.store(now_ms, Relaxed);
        self.until_ms.store(0, Relaxed);
        self.is_tried.store(false, Relaxed);
        true
    }

    /// The instance failed: as the try of a half-open circuit, perhaps, or as one that fails much
    /// more often than others. Tells whether that opened the circuit.
    pub(super) fn failed(
        &self,
        (is_try, is_outlier): (bool, bool),
        now_ms: u64,
        settings: &Settings,
    ) -> bool {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let is_closed = self.until_ms.load(Relaxed) == 0;
        if is_closed && failures < settings.failures && !is_outlier {
            return false;
        }
        // Calls that were on their way when it opened say nothing new.
        if !is_closed && !is_try {
            return false;
        }
        let quiet = now_ms.saturating_sub(self.closed_ms.load(Relaxed));
        let is_anew = is_closed && quiet >= settings.calm_ms;
        let trips = if is_anew { 0 } else { self.trips.load(Relaxed) };
        let wait = settings.recovery_ms.max(1).saturating_mul(1_u64 << trips.min(32));
        let wait = wait.min(settings.longest_recovery_ms.max(1));
        self.trips.store(trips.saturating_add(1), Relaxed);
        self.until_ms.store(now_ms.saturating_add(wait), Relaxed);
        self.is_tried.store(false, Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        failures: 3,
        recovery_ms: 1_000,
        longest_recovery_ms: 30_000,
        calm_ms: 10_000,
        outlier_percent: 0,
        outlier_calls: 0,
    };

    fn opened(now_ms: u64) -> Breaker {
        let breaker = Breaker::default();
        let opened = [1, 2, 3].map(|_| breaker.failed((false, false), now_ms, &SETTINGS));
        assert_eq!(opened, [false, false, true]);
        breaker
    }

    fn open_ms(breaker: &Breaker, now_ms: u64) -> u64 {
        match breaker.circuit(now_ms) {
            Circuit::Open(wait) => u64::try_from(wait.as_millis()).expect("short"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            assert!(
                !breaker.failed((false, false), 5, &SETTINGS)
                    && !breaker.failed((false, false), 5, &SETTINGS)
            );
            breaker.succeeded(5);
        }
        assert_eq!(breaker.circuit(5), Circuit::Closed);
        assert_eq!(open_ms(&opened(5), 5), 1_000);
    }

    #[test]
    fn one_call_tries_it_and_its_failure_doubles_the_wait() {
        let breaker = opened(1);
        let mut now_ms = 1;
        for wait in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(open_ms(&breaker, now_ms), wait);
            // Stragglers change nothing.
            assert!(!breaker.failed((false, false), now_ms + 1, &SETTINGS));
            now_ms += wait;
            assert_eq!(breaker.circuit(now_ms), Circuit::HalfOpen);
            assert!(breaker.try_out() && !breaker.try_out());
            assert_eq!(breaker.circuit(now_ms), Circuit::Open(Duration::ZERO));
            assert!(breaker.failed((true, false), now_ms, &SETTINGS));
        }
    }

    #[test]
    fn success_closes_it_and_what_flaps_is_left_alone_longer() {
        let breaker = opened(1);
        assert!(breaker.succeeded(1_001) && !breaker.succeeded(1_002));
        assert_eq!(breaker.circuit(1_001), Circuit::Closed);

        for _ in 0..3 {
            breaker.failed((false, false), 2_000, &SETTINGS);
        }
        assert_eq!(open_ms(&breaker, 2_000), 2_000);
        breaker.succeeded(4_000);
        for _ in 0..3 {
            breaker.failed((false, false), 14_000, &SETTINGS);
        }
        assert_eq!(open_ms(&breaker, 14_000), 1_000);
    }

    #[test]
    fn a_try_without_an_outcome_is_given_back() {
        let breaker = opened(1);
        assert!(breaker.try_out());
        breaker.give_back();
        assert_eq!(breaker.circuit(1_001), Circuit::HalfOpen);
    }
}
