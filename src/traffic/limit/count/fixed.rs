//! Fixed windows: as many calls as the limit in each, whenever they come.

use super::{Look, Quota, Tally};

pub(super) fn look(quota: &Quota, before: Option<Tally>, now_ms: u64) -> Look {
    let number = quota.number(now_ms);
    let counted = before.filter(|tally| tally.window == number).map_or(0, |tally| tally.amount);
    let left_ms = quota.window_ms - now_ms % quota.window_ms;
    let passes = counted < quota.limit;
    let amount = if passes { counted + 1 } else { counted };
    Look {
        after: Tally { window: number, amount },
        wait_ms: if passes { 0 } else { left_ms },
        remaining: quota.limit.saturating_sub(amount),
        reset_ms: left_ms,
    }
}
