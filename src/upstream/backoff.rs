//! How soon a process that ended may be started again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Settings;

const MINUTE: Duration = Duration::from_mins(1);

/// What is remembered of a process's starts and ends.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// The starts of the last minute.
    starts: VecDeque<Instant>,
    rests_until: Option<Instant>,
    all_starts: u32,
}

impl Backoff {
    /// How long the process must be left alone, if at all.
    pub(super) fn rest(&mut self, now: Instant, settings: &Settings) -> Option<Duration> {
        while self.starts.front().is_some_and(|start| now - *start >= MINUTE) {
            self.starts.pop_front();
        }
        let too_many = self.starts.len() >= settings.starts_per_minute;
        let minute = self.starts.front().filter(|_| too_many).map(|oldest| *oldest + MINUTE);
        let until = self.rests_until.max(minute)?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Takes note of a start.
    pub(super) fn started(&mut self, now: Instant) {
        self.starts.push_back(now);
        self.all_starts += 1;
    }

    /// Takes note of an end that nobody asked for. `chance`, from 0 to 255, shortens the rest by
    /// up to a fifth, so that what ended together does not start together.
    pub(super) fn crashed(&mut self, now: Instant, chance: u8, settings: &Settings) {
        let ran = self.starts.back().map(|start| now - *start).unwrap_or_default();
        if ran >= settings.stable() {
            self.failures = 0;
        }
        let whole = settings.rest(self.failures);
        self.failures = self.failures.saturating_add(1);
        let shortened = whole * (5 * 255 - u32::from(chance)) / (5 * 255);
        self.rests_until = Some(now + shortened);
    }

    /// How often the process was started after its first start.
    pub(super) const fn restarts(&self) -> u32 {
        self.all_starts.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Clock, FixedClock};

    /// The rests after crashes that follow a start at once, in seconds.
    fn rests(backoff: &mut Backoff, clock: &FixedClock, crashes: usize) -> Vec<u64> {
        let settings = Settings { starts_per_minute: 100, ..Settings::default() };
        let crash = |_| {
            backoff.started(clock.tick());
            backoff.crashed(clock.tick(), 0, &settings);
            let rest = backoff.rest(clock.tick(), &settings).unwrap_or_default();
            clock.advance(rest);
            assert_eq!(backoff.rest(clock.tick(), &settings), None);
            rest.as_secs()
        };
        (0..crashes).map(crash).collect()
    }

    #[test]
    fn rests_grow_up_to_a_limit() {
        let rests = rests(&mut Backoff::default(), &FixedClock::default(), 9);

        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_stable_minute_is_a_new_beginning() {
        let clock = FixedClock::default();
        let mut backoff = Backoff::default();
        let settings = Settings::default();
        rests(&mut backoff, &clock, 5);

        backoff.started(clock.tick());
        clock.advance(MINUTE);
        backoff.crashed(clock.tick(), 0, &settings);

        assert_eq!(backoff.rest(clock.tick(), &settings), Some(Duration::from_secs(1)));
    }

    #[test]
    fn starts_are_counted_by_the_minute() {
        let clock = FixedClock::default();
        let mut backoff = Backoff::default();
        let settings = Settings::default();

        for _ in 0..settings.starts_per_minute {
            assert_eq!(backoff.rest(clock.tick(), &settings), None);
            backoff.started(clock.tick());
            clock.advance(Duration::from_secs(1));
        }

        assert_eq!(backoff.rest(clock.tick(), &settings), Some(Duration::from_secs(50)));
    }

    #[test]
    fn chance_shortens_a_rest_by_a_fifth_at_most() {
        let clock = FixedClock::default();
        let mut backoff = Backoff::default();
        let settings = Settings { rest_seconds: 10, ..Settings::default() };
        backoff.started(clock.tick());

        backoff.crashed(clock.tick(), 255, &settings);

        assert_eq!(backoff.rest(clock.tick(), &settings), Some(Duration::from_secs(8)));
    }
}
