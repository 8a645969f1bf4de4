//! The one that is likely to answer first.

use super::{Choose, Open, Seat, Turns, smallest};

/// The one whose mean latency, times the calls it has before it, is the lowest, where those that
/// fail count as slow as the next try makes them. One that never answered is tried first.
#[derive(Debug, Default)]
pub(super) struct Ewma(Turns);

impl Choose for Ewma {
    fn choose(&self, seats: &[Seat], open: &Open) -> usize {
        smallest(open, self.0.next(), |at| {
            let gauge = &seats[at].gauge;
            let queue = f64::from(gauge.in_flight()) + 1.0;
            let success = (1.0 - gauge.error_rate()).max(0.05);
            gauge.latency_us() * queue / success
        })
    }
}
