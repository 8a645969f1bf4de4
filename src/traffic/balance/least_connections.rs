//! The one with the fewest calls in flight.

use super::{Choose, Open, Seat, Turns, smallest};

/// The one with the fewest calls in flight; among equals one after the other.
#[derive(Debug, Default)]
pub(super) struct LeastConnections(Turns);

impl Choose for LeastConnections {
    fn choose(&self, seats: &[Seat], open: &Open) -> usize {
        smallest(open, self.0.next(), |at| seats[at].gauge.in_flight())
    }
}
