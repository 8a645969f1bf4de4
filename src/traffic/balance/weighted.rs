//! One after the other, each as often as its weight says.

use super::{Choose, Open, Seat, Turns};

/// Smooth weighted round robin: the order of one whole round is made once, in which each seat
/// stands as often as it weighs, and as evenly spread as can be. What would fall to a seat that is
/// not open is shared among those that are, by weight.
#[derive(Debug)]
pub(super) struct Weighted {
    round: Box<[u16]>,
    turns: Turns,
    spare: Turns,
}

/// The golden ratio in 64 bits: its multiples are spread evenly however many there are.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Weighted {
    pub(super) fn new(seats: &[Seat]) -> Self {
        let weights: Vec<i64> = seats.iter().map(|seat| seat.weight.max(1).into()).collect();
        let total: i64 = weights.iter().sum();
        let mut current = vec![0; weights.len()];
        // Where nobody is heavier than others, a round is one turn of each.
        let is_even = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let turns = if is_even { i64::try_from(weights.len()).unwrap_or(0) } else { total };
        let round = (0..turns).map(|_| {
            for (current, weight) in current.iter_mut().zip(&weights) {
                *current += weight;
            }
            let most = current.iter().enumerate().rev().max_by_key(|(_, current)| **current);
            let at = most.map_or(0, |(at, _)| at);
            current[at] -= total;
            u16::try_from(at).expect("there are not so many instances")
        });
        Self { round: round.collect(), turns: Turns::default(), spare: Turns::default() }
    }
}

impl Choose for Weighted {
    fn choose(&self, seats: &[Seat], open: &Open) -> usize {
        let at = usize::from(self.round[self.turns.next() % self.round.len()]);
        if open.has(at) {
            return at;
        }
        let weight = |at: usize| u64::from(seats[at].weight.max(1));
        let places = || (0..open.len()).map(|number| open.at(number));
        let total: u64 = places().map(weight).sum();
        let turn = u64::try_from(self.spare.next()).unwrap_or(0).wrapping_mul(GOLDEN);
        let mut left = u64::try_from((u128::from(turn) * u128::from(total)) >> 64).unwrap_or(0);
        for at in places() {
            match left.checked_sub(weight(at)) {
                None => return at,
                Some(rest) => left = rest,
            }
        }
        open.at(0)
    }
}
