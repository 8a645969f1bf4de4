//! What time it is, and who may say so.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since 1970 (UTC). Prints itself as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment so many milliseconds after 1970.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// The moment so much later; the last one there is when that is out of range.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The moment as RFC 3339 text in an IANA time zone; none where the zone is not known.
    #[must_use]
    pub fn in_zone(self, zone: &str) -> Option<String> {
        let zone = jiff::tz::TimeZone::get(zone).ok()?;
        let moment = jiff::Timestamp::from_millisecond(self.0).ok()?;
        Some(moment.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }

    /// Reads RFC 3339 text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|moment| Self(moment.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Tells the time. Everything that needs it asks here, so that tests can move it.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// A clock that never goes back, for spans and deadlines.
    fn tick(&self) -> Instant;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn tick(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct FixedClock {
    start: Instant,
    ms: AtomicI64,
}

impl Default for FixedClock {
    #[expect(clippy::disallowed_methods, reason = "only spans from this moment are ever seen")]
    fn default() -> Self {
        Self { start: Instant::now(), ms: AtomicI64::new(0) }
    }
}

impl FixedClock {
    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.ms.load(Ordering::Relaxed))
    }

    fn tick(&self) -> Instant {
        let ms = u64::try_from(self.ms.load(Ordering::Relaxed)).unwrap_or_default();
        self.start + Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_rfc_3339() {
        let moment = Timestamp::from_ms(1_795_000_000_123);

        assert_eq!(moment.to_string(), "2026-11-18T11:06:40.123Z");
        assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
    }

    #[test]
    fn a_fixed_clock_moves_when_told() {
        let clock = FixedClock::default();
        let before = clock.tick();

        clock.advance(Duration::from_secs(3));

        assert_eq!(clock.now(), Timestamp::from_ms(3_000));
        assert_eq!(clock.tick() - before, Duration::from_secs(3));
    }
}
