//! Moments as people say them: a time, or how long ago.

use super::Failure;
use crate::domain::{Clock as _, SystemClock, Timestamp};

/// A time, or one so long ago.
pub(super) fn moment(option: &str, text: &str) -> Result<Timestamp, Failure> {
    ago(text).or_else(|| Timestamp::parse(text)).ok_or_else(|| {
        let why = format!("{option} takes either");
        Failure::misuse(format!("{text} is no age and no time"), why)
            .with_fix("say it like 30m, 12h, 7d, or 2027-01-31T20:00:00Z")
    })
}

fn ago(text: &str) -> Option<Timestamp> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ms = i64::from(count.parse::<u32>().ok()?).checked_mul(unit_ms)?;
    Some(Timestamp::from_ms(SystemClock.now().as_ms().saturating_sub(ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_age_or_a_time() {
        let (now, since) = (SystemClock.now().as_ms(), |text: &str| moment("--since", text));

        let day = since("1d").expect("an age");

        assert!((now - day.as_ms() - 86_400_000).abs() < 60_000);
        assert_eq!(since("2026-11-25T10:01:00Z").ok(), Timestamp::parse("2026-11-25T10:01:00Z"));
        for odd in ["", "d", "7", "7y", "-1d", "é", "99999999999d"] {
            assert!(since(odd).is_err(), "{odd}");
        }
    }
}
