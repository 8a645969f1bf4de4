//! The one that failed least of late.

use super::{Choose, Open, Seat, any, smallest};

/// The one with the fewest failures in a row, then the lowest rate of failures of the last
/// minutes, then the lowest latency, then any.
#[derive(Debug)]
pub(super) struct HealthBased;

impl Choose for HealthBased {
    fn choose(&self, seats: &[Seat], open: &Open) -> usize {
        smallest(open, any(open.len()), |at| {
            let gauge = &seats[at].gauge;
            (gauge.failures_in_a_row(), gauge.error_rate(), gauge.latency_us())
        })
    }
}
