use proptest::prelude::*;

use super::*;

/// A Monday in 2027, at no boundary of any window.
const START: u64 = 1_800_000_012_345;

/// Calls that come after so many milliseconds each.
fn arrivals() -> impl Strategy<Value = Vec<u64>> {
    let gap = prop_oneof![4 => 0_u64..50, 3 => 0_u64..3_000, 1 => 0_u64..200_000];
    prop::collection::vec(gap, 1..400)
}

fn windows() -> impl Strategy<Value = Window> {
    (1_u32..40, prop_oneof![1_u32..20, Just(60), Just(3_600)])
        .prop_map(|(limit, seconds)| Window { limit, seconds })
}

/// When which call came, and whether it passed. What is said of the wait is held against what
/// happens then.
fn played(quota: &Quota, gaps: &[u64]) -> Result<Vec<(u64, bool)>, TestCaseError> {
    let (mut now, mut tally, mut all) = (START, None, Vec::new());
    for gap in gaps {
        now += gap;
        let look = quota.look(tally, now);
        if look.passes() {
            tally = Some(look.after);
            let next = quota.look(tally, now);
            prop_assert_eq!(next.passes(), look.remaining > 0, "what remains may pass");
        } else {
            let early = quota.look(tally, now + look.wait_ms - 1);
            prop_assert!(!early.passes(), "not before {} ms", look.wait_ms);
            let then = quota.look(tally, now + look.wait_ms);
            prop_assert!(then.passes(), "after {} ms", look.wait_ms);
            prop_assert_eq!(look.remaining, 0);
        }
        let whole = quota.look(tally, now + look.reset_ms);
        let full =
            if quota.algorithm == Algorithm::TokenBucket { quota.burst } else { quota.limit };
        prop_assert_eq!(whole.remaining + 1, full, "all may be used again after the reset");
        all.push((now, look.passes()));
    }
    Ok(all)
}

proptest! {
    #[test]
    fn a_fixed_window_lets_its_limit_pass_and_no_more(window in windows(), gaps in arrivals()) {
        let quota = Quota::new(Algorithm::FixedWindow, window, None);
        let mut counts = std::collections::HashMap::new();
        for (now, passed) in played(&quota, &gaps)? {
            let count: &mut u64 = counts.entry(now / quota.window_ms).or_default();
            prop_assert_eq!(passed, *count < quota.limit);
            *count += u64::from(passed);
        }
    }

    #[test]
    fn a_sliding_window_weighs_the_one_before(window in windows(), gaps in arrivals()) {
        let quota = Quota::new(Algorithm::SlidingWindow, window, None);
        let mut passed_at: Vec<u64> = Vec::new();
        for (now, passed) in played(&quota, &gaps)? {
            let number = now / quota.window_ms;
            let of = |number: u64| passed_at.iter().filter(|at| *at / quota.window_ms == number).count();
            let (before, current) = (of(number - 1) as u128, of(number) as u128);
            let left = u128::from(quota.window_ms - now % quota.window_ms);
            let whole = u128::from(quota.window_ms);
            // before * left/whole + current + 1 <= limit
            let fits = before * left + (current + 1) * whole <= u128::from(quota.limit) * whole;
            prop_assert_eq!(passed, fits);
            if passed {
                passed_at.push(now);
            }
        }
    }

    #[test]
    fn a_bucket_fills_up_evenly(window in windows(), burst in 1_u32..60, gaps in arrivals()) {
        let quota = Quota::new(Algorithm::TokenBucket, window, Some(burst));
        // Tokens times the length of a window, which is whole after any number of milliseconds.
        let token = u128::from(quota.window_ms);
        let full = u128::from(quota.burst) * token;
        let (mut tokens, mut last) = (full, START);
        for (now, passed) in played(&quota, &gaps)? {
            tokens = full.min(tokens + u128::from(now - last) * u128::from(quota.limit));
            last = now;
            prop_assert_eq!(passed, tokens >= token);
            if passed {
                tokens -= token;
            }
        }
    }
}

proptest! {
    /// The library that others use, wherever its nanoseconds have no remainder.
    #[test]
    fn a_bucket_decides_as_governor_does(
        (limit, seconds) in prop::sample::select(vec![(1, 1), (4, 1), (10, 2), (20, 60), (50, 1)]),
        burst in 1_u32..60,
        gaps in arrivals(),
    ) {
        use governor::{Quota as Theirs, RateLimiter, clock::FakeRelativeClock};
        let period = std::time::Duration::from_secs(seconds) / limit;
        let burst_size = std::num::NonZeroU32::new(burst).expect("not zero");
        let theirs = Theirs::with_period(period).expect("not zero").allow_burst(burst_size);
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::direct_with_clock(theirs, clock.clone());
        let window = Window { limit, seconds: u32::try_from(seconds).expect("short") };
        let quota = Quota::new(Algorithm::TokenBucket, window, Some(burst));
        let mut last = START;
        for (now, passed) in played(&quota, &gaps)? {
            clock.advance(std::time::Duration::from_millis(now - last));
            last = now;
            prop_assert_eq!(passed, limiter.check().is_ok());
        }
    }
}

#[test]
fn a_clock_that_was_wrong_closes_no_limit_for_good() {
    for algorithm in Algorithm::ALL {
        let quota = Quota::new(algorithm, Window { limit: 2, seconds: 60 }, None);
        let later = START + 86_400_000;
        let tally = quota.look(Some(quota.look(None, later).after), later).after;
        let look = quota.look(Some(tally), START);
        assert!(look.wait_ms <= 120_000, "{algorithm:?}: {look:?}");
    }
}
