//! Sliding windows: two counters. Calls of the window before count by the share of it that still
//! lies within the last `window`, as if they had come evenly.

use super::{Look, Quota, Tally};

/// What was counted in the window before, and in this one.
struct Counted {
    before: u64,
    now: u64,
}

pub(super) fn look(quota: &Quota, before: Option<Tally>, now_ms: u64) -> Look {
    let (number, window) = (quota.number(now_ms), quota.window_ms);
    let counted = counted(before, number);
    // How long the window before still matters, and how much all that counts weighs. A call weighs
    // as much as its window is long, so that nothing is rounded.
    let left = window - now_ms % window;
    let allowed = quota.limit * window;
    let weight = counted.before * left + counted.now * window;
    let passes = weight + window <= allowed;
    let now = if passes { counted.now + 1 } else { counted.now };
    let weight = if passes { weight + window } else { weight };
    let reset_ms = match (now, counted.before) {
        (0, 0) => 0,
        (0, _) => left,
        _ => left + window,
    };
    Look {
        after: Tally { window: number, amount: now << 32 | counted.before },
        wait_ms: if passes { 0 } else { wait(quota, &counted, left) },
        remaining: allowed.saturating_sub(weight) / window,
        reset_ms,
    }
}

fn counted(tally: Option<Tally>, number: u32) -> Counted {
    let Some(tally) = tally else { return Counted { before: 0, now: 0 } };
    let (last, older) = (tally.amount >> 32, tally.amount & u64::from(u32::MAX));
    match number.checked_sub(tally.window) {
        Some(0) => Counted { before: older, now: last },
        Some(1) => Counted { before: last, now: 0 },
        _ => Counted { before: 0, now: 0 },
    }
}

/// How long until one call passes, if no other comes before it.
fn wait(quota: &Quota, counted: &Counted, left: u64) -> u64 {
    let window = quota.window_ms;
    if counted.now < quota.limit {
        // In this window: until the one before weighs little enough.
        let room = (quota.limit - counted.now - 1) * window;
        return left - room / counted.before.max(1);
    }
    // In the next, in which this one is the one before. It is full, or a call would pass.
    let room = (quota.limit - 1) * window;
    left + window - room / counted.now
}
