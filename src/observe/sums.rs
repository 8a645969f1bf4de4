//! Sums over calls: how many there were in an hour or a day, how they ended, how long they took.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{OrganizationId, Timestamp};

const HOUR_MS: i64 = 3_600_000;

/// Slots of durations in which they double.
const SLOTS_PER_DOUBLING: f64 = 8.0;

/// Over how long a sum goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Span {
    /// One hour.
    Hourly,
    /// One day, in UTC.
    Daily,
}

impl Span {
    /// Both of them.
    pub(super) const ALL: [Self; 2] = [Self::Hourly, Self::Daily];

    /// Its length, in milliseconds.
    pub(crate) const fn ms(self) -> i64 {
        match self {
            Self::Hourly => HOUR_MS,
            Self::Daily => 24 * HOUR_MS,
        }
    }

    const fn letter(self) -> u8 {
        match self {
            Self::Hourly => b'h',
            Self::Daily => b'd',
        }
    }

    /// The number of the span in which a moment lies.
    fn number(self, at: Timestamp) -> u32 {
        u32::try_from(at.as_ms().div_euclid(self.ms())).unwrap_or_default()
    }
}

/// Which calls a sum is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct About {
    /// When they ended: the span of that.
    span: Span,
    number: u32,
    /// Whose they were; none where it was never known.
    pub(crate) organization: Option<OrganizationId>,
    /// The server they were for; none where for the gateway itself.
    pub(crate) server: Option<String>,
    /// What kind of calls.
    pub(crate) method: String,
}

impl About {
    /// When the span began.
    pub(crate) fn begin(&self) -> Timestamp {
        Timestamp::from_ms(i64::from(self.number) * self.span.ms())
    }

    /// Where the sum is kept: in the order of time.
    fn key(&self) -> Vec<u8> {
        let mut key = start(self.span, self.number);
        let organization = self.organization.map(|it| it.to_string()).unwrap_or_default();
        let server = self.server.as_deref().unwrap_or_default();
        key.extend([&*organization, "\0", server, "\0", &*self.method].concat().into_bytes());
        key
    }

    fn read(span: Span, key: &[u8]) -> Option<Self> {
        let number = u32::from_be_bytes(*key.get(1..)?.first_chunk()?);
        let mut words = str::from_utf8(key.get(5..)?).ok()?.split('\0');
        let organization = words.next()?.parse().ok();
        let server = Some(words.next()?.to_owned()).filter(|server| !server.is_empty());
        Some(Self { span, number, organization, server, method: words.next()?.to_owned() })
    }
}

fn start(span: Span, number: u32) -> Vec<u8> {
    [&[span.letter()][..], &number.to_be_bytes()].concat()
}

/// The keys of the sums of spans from the one with this moment to the one with that.
pub(super) fn keys(span: Span, since: Timestamp, until: Timestamp) -> (Vec<u8>, Vec<u8>) {
    let end = span.number(until).saturating_add(1);
    (start(span, span.number(since)), start(span, end))
}

/// The keys of the sums of spans that ended before this moment.
pub(super) fn keys_before(span: Span, moment: Timestamp) -> (Vec<u8>, Vec<u8>) {
    (start(span, 0), start(span, span.number(moment)))
}

/// A sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// Calls.
    pub(crate) total: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// How long they took together, in microseconds.
    took_us: u64,
    /// How long the longest took.
    most_us: u64,
    /// Bytes that were asked.
    pub(crate) bytes_in: u64,
    /// Bytes that were answered.
    pub(crate) bytes_out: u64,
    /// How many took about so long, by the slot of durations.
    slots: BTreeMap<u8, u64>,
}

/// A call, as sums see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) has_failed: bool,
    pub(super) took_us: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Sum {
    /// Counts a call.
    fn count(&mut self, call: Counted) {
        self.total += 1;
        self.failed += u64::from(call.has_failed);
        self.took_us = self.took_us.saturating_add(call.took_us);
        self.most_us = self.most_us.max(call.took_us);
        self.bytes_in = self.bytes_in.saturating_add(call.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(call.bytes_out);
        *self.slots.entry(slot(call.took_us)).or_default() += 1;
    }

    /// Adds what another sum has.
    pub(crate) fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.failed += other.failed;
        self.took_us = self.took_us.saturating_add(other.took_us);
        self.most_us = self.most_us.max(other.most_us);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        for (slot, count) in &other.slots {
            *self.slots.entry(*slot).or_default() += count;
        }
    }

    /// How long calls took on average, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "a mean is not that exact")]
    pub(crate) fn mean_ms(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.took_us as f64 / self.total as f64 / 1_000.0 }
    }

    /// How long this share of calls took at most, in milliseconds, to within a tenth.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count is near a count"
    )]
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reaches = |(slot, count): (&u8, &u64)| {
            seen += count;
            (seen >= rank).then(|| middle_us(*slot))
        };
        let found = self.slots.iter().find_map(reaches).unwrap_or_default();
        found.min(self.most_us as f64) / 1_000.0
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("numbers can always be written")
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the slot of the longest duration is below 256 only as u8 clamps it"
)]
fn slot(took_us: u64) -> u8 {
    ((took_us.max(1) as f64).log2() * SLOTS_PER_DOUBLING) as u8
}

/// The middle of the durations in a slot.
fn middle_us(slot: u8) -> f64 {
    ((f64::from(slot) + 0.5) / SLOTS_PER_DOUBLING).exp2()
}

/// Sums that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<About, Sum>);

impl Sums {
    /// Counts a call in every span.
    pub(super) fn count(
        &mut self,
        at: Timestamp,
        (organization, server, method): (Option<OrganizationId>, Option<&str>, &str),
        call: Counted,
    ) {
        for span in Span::ALL {
            let about = About {
                span,
                number: span.number(at),
                organization,
                server: server.map(str::to_owned),
                method: method.to_owned(),
            };
            self.0.entry(about).or_default().count(call);
        }
    }

    /// Each of them with its key.
    pub(super) fn each(&self) -> impl Iterator<Item = (Vec<u8>, &Sum)> {
        self.0.iter().map(|(about, sum)| (about.key(), sum))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The sum that stands under a key, and what it is about; none where it cannot be read.
pub(super) fn entry(span: Span, key: &[u8], value: &[u8]) -> Option<(About, Sum)> {
    About::read(span, key).zip(Sum::read(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(took_us: u64) -> Counted {
        Counted { has_failed: took_us > 1_000, took_us, bytes_in: 1, bytes_out: 2 }
    }

    #[test]
    fn a_sum_says_how_long_most_calls_took() {
        let mut sum = Sum::default();
        for took_us in 1..=1_000 {
            sum.count(call(took_us));
        }
        sum.count(call(60_000_000));

        for (share, expected) in [(0.5, 0.5), (0.95, 0.95), (0.99, 0.99)] {
            let said = sum.percentile_ms(share);
            assert!((said - expected).abs() < expected * 0.1, "{share}: {said}");
        }
        assert_eq!((sum.total, sum.failed, sum.bytes_in, sum.bytes_out), (1_001, 1, 1_001, 2_002));
        assert!((sum.percentile_ms(1.0) - 60_000.0).abs() < 6_000.0);
        assert!(Sum::default().percentile_ms(0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn sums_of_parts_are_the_sum_of_all() {
        let (mut all, mut parts) = (Sum::default(), [Sum::default(), Sum::default()]);
        for took_us in [1, 30, 500, 2_000, 2_000] {
            all.count(call(took_us));
            parts[usize::from(took_us > 100)].count(call(took_us));
        }

        let [mut first, second] = parts;
        first.add(&second);

        assert_eq!(first, all);
        assert_eq!(Sum::read(&first.write()), Some(all));
    }

    #[test]
    fn keys_say_what_a_sum_is_about_and_stand_in_the_order_of_time() {
        let (day, organization) = (24 * HOUR_MS, OrganizationId::fixed(1));
        let mut sums = Sums::default();
        for hour in [0, 1, 25] {
            let at = Timestamp::from_ms(100 * day + hour * HOUR_MS + 5);
            sums.count(at, (Some(organization), Some("time"), "tools/call"), call(1));
        }
        sums.count(Timestamp::from_ms(99 * day), (None, None, "ping"), call(1));

        let within = |span: Span, since: i64, until: i64| {
            let moment = Timestamp::from_ms;
            let (from, to) = keys(span, moment(since), moment(until));
            let inside = sums.each().filter(|(key, _)| *key >= from && *key < to);
            let read = inside.map(|(key, sum)| entry(span, &key, &sum.write()).expect("readable"));
            read.map(|(about, sum)| (about.begin().as_ms(), about.server, sum.total)).collect()
        };
        let time = || Some("time".to_owned());
        let days: Vec<_> = within(Span::Daily, 100 * day, 101 * day);
        assert_eq!(days, [(100 * day, time(), 2), (101 * day, time(), 1)]);
        let hours: Vec<_> = within(Span::Hourly, 99 * day, 100 * day + HOUR_MS - 1);
        assert_eq!(hours, [(99 * day, None, 1), (100 * day, time(), 1)]);
        let (from, to) = keys_before(Span::Daily, Timestamp::from_ms(100 * day));
        assert_eq!(sums.each().filter(|(key, _)| *key >= from && *key < to).count(), 1);
    }
}
