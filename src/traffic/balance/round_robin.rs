//! One after the other.

use super::{Choose, Open, Seat, Turns};

/// One after the other, from the first. What would fall to a seat that is not open is shared among
/// all that are, not left to its neighbour.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    turns: Turns,
    spare: Turns,
}

impl Choose for RoundRobin {
    fn choose(&self, seats: &[Seat], open: &Open) -> usize {
        let at = self.turns.next() % seats.len();
        if open.has(at) { at } else { open.at(self.spare.next() % open.len()) }
    }
}
