//! Retries: how many there may be, so that trouble is not made worse by them.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What one retry costs.
const RETRY: i64 = 1_000;
/// Retries that may be saved up, and are there from the start.
const SAVED: i64 = 100 * RETRY;

/// How many retries a server may still cost: each call adds a part of one.
#[derive(Debug)]
pub(super) struct Budget(AtomicI64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(SAVED))
    }
}

impl Budget {
    /// A call is made for the first time.
    pub(super) fn add(&self, percent: u32) {
        let part = i64::from(percent.min(100)) * RETRY / 100;
        if self.0.load(Relaxed) < SAVED {
            self.0.fetch_add(part, Relaxed);
        }
    }

    /// Whether a call may be made again.
    pub(super) fn take(&self) -> bool {
        let taken = |left: i64| (left >= RETRY).then_some(left - RETRY);
        self.0.fetch_update(Relaxed, Relaxed, taken).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_part_of_the_calls_once_what_was_saved_is_spent() {
        let budget = Budget::default();
        let saved = (0..1_000).take_while(|_| budget.take()).count();
        assert_eq!(saved, 100);

        let mut retries = 0;
        for _ in 0..1_000 {
            budget.add(10);
            retries += usize::from(budget.take());
        }
        assert_eq!(retries, 100);
    }
}
