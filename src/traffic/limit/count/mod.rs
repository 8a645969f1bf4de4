//! Counting: the algorithms, each true to its definition.
//!
//! All are functions from what was counted and the time to what is counted next; none keeps
//! anything by itself. Time is in milliseconds since 1970 on a clock that does not go back.

mod bucket;
mod fixed;
mod sliding;
#[cfg(test)]
mod tests;

use crate::domain::{Algorithm, Window};

/// What was counted for one key. What the numbers mean is the algorithm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// The window that was counted in, by its number since 1970.
    pub(super) window: u32,
    pub(super) amount: u64,
}

/// A limit as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) algorithm: Algorithm,
    /// Calls in a window.
    pub(super) limit: u64,
    /// How long a window is, in milliseconds.
    pub(super) window_ms: u64,
    /// Tokens that a bucket holds.
    pub(super) burst: u64,
}

impl Quota {
    pub(super) fn new(algorithm: Algorithm, window: Window, burst: Option<u32>) -> Self {
        let limit = window.limit.clamp(1, Window::MOST);
        let burst = burst.unwrap_or(limit).clamp(1, Window::MOST);
        let window_ms = u64::from(window.seconds.clamp(1, Window::LONGEST)) * 1_000;
        Self { algorithm, limit: limit.into(), window_ms, burst: burst.into() }
    }

    /// What comes of one call more.
    pub(super) fn look(&self, before: Option<Tally>, now_ms: u64) -> Look {
        match self.algorithm {
            Algorithm::SlidingWindow => sliding::look(self, before, now_ms),
            Algorithm::TokenBucket => bucket::look(self, before, now_ms),
            Algorithm::FixedWindow => fixed::look(self, before, now_ms),
        }
    }

    fn number(&self, now_ms: u64) -> u32 {
        // Windows are a second long at least, so that this is right until 2106.
        u32::try_from(now_ms / self.window_ms).unwrap_or(u32::MAX)
    }
}

/// What comes of one call more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// What is counted once it has passed.
    pub(super) after: Tally,
    /// After how long one call may pass; 0 where this one may.
    pub(super) wait_ms: u64,
    /// How many more may pass at once: after this one, where it may.
    pub(super) remaining: u64,
    /// After how long nothing of what is counted matters any more.
    pub(super) reset_ms: u64,
}

impl Look {
    pub(super) const fn passes(&self) -> bool {
        self.wait_ms == 0
    }
}
