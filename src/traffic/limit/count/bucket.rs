//! Token buckets: each call takes a token, and as many as the limit come in a window, evenly.
//!
//! As the generic cell rate algorithm (ITU-T I.371) puts it: what is kept is not how many tokens
//! there are, but when the bucket would be full again. That moment is in milliseconds times the
//! limit, in which a token takes as long as a window has milliseconds, so that nothing is rounded.

use super::{Look, Quota, Tally};

pub(super) fn look(quota: &Quota, before: Option<Tally>, now_ms: u64) -> Look {
    let now = now_ms * quota.limit;
    let (token, bucket) = (quota.window_ms, quota.window_ms * quota.burst);
    // A bucket is never emptier than empty, even where a clock was wrong.
    let full_at = before.map_or(now, |tally| tally.amount.clamp(now, now + bucket));
    let missing = full_at - now;
    let passes = missing + token <= bucket;
    let missing_after = if passes { missing + token } else { missing };
    let in_ms = |span: u64| span.div_ceil(quota.limit);
    Look {
        after: Tally { window: 0, amount: now + missing_after },
        wait_ms: if passes { 0 } else { in_ms(missing + token - bucket) },
        remaining: (bucket - missing_after) / token,
        reset_ms: in_ms(missing_after),
    }
}
