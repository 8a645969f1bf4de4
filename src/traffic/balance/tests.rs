use std::collections::HashMap;

use super::*;
use crate::registry::gauges_for_tests;

fn table(weights: &[u16]) -> Vec<Seat> {
    let gauges = gauges_for_tests(weights.len());
    let seat = |(gauge, weight): (Arc<Gauge>, &u16)| Seat {
        gauge,
        weight: *weight,
        is_active: true,
        rank: 0,
    };
    gauges.into_iter().zip(weights).map(seat).collect()
}

fn shares(strategy: Strategy, weights: &[u16], open: &Open, calls: usize) -> Vec<usize> {
    let seats = table(weights);
    let chooser = chooser(strategy, &seats);
    let mut counts = HashMap::new();
    for _ in 0..calls {
        *counts.entry(chooser.choose(&seats, open)).or_insert(0) += 1;
    }
    (0..weights.len()).map(|at| counts.get(&at).copied().unwrap_or(0)).collect()
}

fn but(closed: &[u16], of: u16) -> Open {
    Open::Some((0..of).filter(|at| !closed.contains(at)).collect())
}

#[test]
fn round_robin_is_even_with_and_without_the_sick() {
    assert_eq!(shares(Strategy::RoundRobin, &[1; 5], &Open::All(5), 50), [10; 5]);
    let shared = shares(Strategy::RoundRobin, &[1; 5], &but(&[2], 5), 100);
    assert_eq!(shared, [25, 25, 0, 25, 25]);
}

#[test]
fn weights_are_shares_and_evenly_spread() {
    let seats = table(&[5, 1, 1]);
    let chooser = chooser(Strategy::Weighted, &seats);
    let round: Vec<usize> = (0..7).map(|_| chooser.choose(&seats, &Open::All(3))).collect();
    // The order that the algorithm is known for.
    assert_eq!(round, [0, 0, 1, 0, 2, 0, 0]);

    assert_eq!(shares(Strategy::Weighted, &[3, 2, 1], &Open::All(3), 600), [300, 200, 100]);
    let without = shares(Strategy::Weighted, &[3, 2, 1], &but(&[0], 3), 600);
    assert!(without[0] == 0 && without[1].abs_diff(400) <= 6, "{without:?}");
    assert_eq!(shares(Strategy::Weighted, &[7; 4], &Open::All(4), 40), [10; 4]);
}

#[test]
fn equals_share_alike_by_every_strategy() {
    for strategy in Strategy::ALL {
        // By chance it would be more than five in a hundred off once in a hundred million times.
        let shared = shares(strategy, &[1; 4], &Open::All(4), 40_000);
        let is_even = shared.iter().all(|count| count.abs_diff(10_000) <= 500);
        assert!(is_even, "{strategy:?}: {shared:?}");
    }
}

#[test]
fn the_least_busy_and_the_quickest_come_first() {
    let seats = table(&[1; 3]);
    let busy: Vec<_> = [0, 0, 2].map(|at: usize| seats[at].gauge.enter(false)).into();
    let least = chooser(Strategy::LeastConnections, &seats);
    assert!((0..9).all(|_| least.choose(&seats, &Open::All(3)) == 1));
    assert_eq!(least.choose(&seats, &but(&[1], 3)), 2);
    drop(busy);
}

#[test]
fn no_strategy_chooses_a_closed_seat() {
    for strategy in Strategy::ALL {
        let shared = shares(strategy, &[4, 3, 2, 1], &but(&[0, 3], 4), 400);
        assert_eq!((shared[0], shared[3], shared[1] + shared[2]), (0, 0, 400), "{strategy:?}");
    }
}
