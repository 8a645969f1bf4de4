//! The one that is likely to answer first.

use super::{Choose, Open, Seat, any};

/// Of any two the better: the one whose mean latency, times the calls it has before it, is lower,
/// where those that fail count as slow as the next try makes them. One that never answered is
/// tried first.
///
/// Always taking the best of all would send everything to one, and never learn that another has
/// become better.
#[derive(Debug)]
pub(super) struct Ewma;

impl Choose for Ewma {
    fn choose(&self, seats: &[Seat], open: &Open) -> usize {
        let first = any(open.len());
        if open.len() == 1 {
            return open.at(first);
        }
        let second = (first + 1 + any(open.len() - 1)) % open.len();
        let (first, second) = (open.at(first), open.at(second));
        if cost(&seats[second]) < cost(&seats[first]) { second } else { first }
    }
}

fn cost(seat: &Seat) -> f64 {
    let queue = f64::from(seat.gauge.in_flight()) + 1.0;
    let success = (1.0 - seat.gauge.error_rate()).max(0.05);
    seat.gauge.latency_us() * queue / success
}
