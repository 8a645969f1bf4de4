//! Tables: the instances of each server, as calls are shared among them.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use crate::{
    domain::{Balance, Instance, Preference, Server, ServerId, State, Strategy},
    registry::{Circuit, InFlight, Registry},
    traffic::{
        balance::{Choose, Open, Seat, chooser},
        retry::Budget,
    },
};

/// The tables of all servers, at one moment.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) version: Option<u64>,
    by_server: HashMap<ServerId, Arc<Table>>,
}

/// The instances of one server.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) server: Arc<Server>,
    pub(super) budget: Budget,
    strategy: Strategy,
    seats: Box<[Seat]>,
    /// Whether all seats are alike to people: active, and none preferred.
    is_plain: bool,
    chooser: Box<dyn Choose>,
}

/// Seats that a call was at already.
pub(super) type Tried = SmallVec<[u16; 4]>;

/// Why no seat is chosen.
#[derive(Debug)]
pub(super) enum NoSeat {
    /// All were tried, or people want none to take calls.
    Left,
    /// All that are left are left alone for a while, the first of them for so long.
    Resting(usize, Duration),
}

impl Tables {
    /// The tables of what is registered. Those of servers that are as they were stay.
    pub(super) fn of(registry: &Registry, strategy: Strategy, before: &Self) -> Self {
        let version = registry.version();
        let directory = registry.directory();
        let by_server = directory.all().map(|server| {
            let known = before.by_server.get(&server.id);
            let is_same =
                |known: &&Arc<Table>| known.server == *server && known.is_of(registry, strategy);
            let table = known.filter(is_same).cloned();
            (server.id, table.unwrap_or_else(|| Arc::new(Table::new(registry, server, strategy))))
        });
        Self { version: Some(version), by_server: by_server.collect() }
    }

    pub(super) fn find(&self, server: &ServerId) -> Option<&Arc<Table>> {
        self.by_server.get(server)
    }
}

impl Table {
    fn new(registry: &Registry, server: &Arc<Server>, default: Strategy) -> Self {
        let ranks = ranks(&server.instances, &server.balance);
        let seat = |(instance, rank): (&Instance, u16)| Seat {
            gauge: registry.gauge(&instance.id).unwrap_or_else(|| registry.blank_gauge()),
            weight: instance.weight,
            is_active: instance.state == State::Active,
            rank,
        };
        let seats = server.instances.iter().zip(ranks).map(seat).collect();
        let strategy = server.balance.strategy.unwrap_or(default);
        Self::with(server, seats, strategy)
    }

    fn with(server: &Arc<Server>, seats: Box<[Seat]>, strategy: Strategy) -> Self {
        Self {
            server: server.clone(),
            budget: Budget::default(),
            strategy,
            is_plain: seats.iter().all(|seat| seat.is_active && seat.rank == 0),
            chooser: chooser(strategy, &seats),
            seats,
        }
    }

    fn is_of(&self, registry: &Registry, default: Strategy) -> bool {
        let is_kept = |(instance, seat): (&Instance, &Seat)| {
            registry.gauge(&instance.id).is_some_and(|gauge| Arc::ptr_eq(&gauge, &seat.gauge))
        };
        self.server.balance.strategy.unwrap_or(default) == self.strategy
            && self.server.instances.iter().zip(&self.seats).all(is_kept)
    }

    /// Chooses a seat that the call was not at yet. Whoever must stay with one instance says who
    /// they are.
    pub(super) fn choose(
        &self,
        tried: &Tried,
        owner: Option<&str>,
        now: Instant,
    ) -> Result<(usize, InFlight), NoSeat> {
        let (open, resting) = self.open(tried, now);
        if let Some(open) = open {
            let at = match owner {
                None => self.chooser.choose(&self.seats, &open),
                Some(owner) => self.of_owner(owner, &open),
            };
            if let Some(place) = self.seats[at].gauge.enter(false) {
                return Ok((at, place));
            }
        }
        match resting {
            Some((at, Duration::ZERO)) => match self.seats[at].gauge.enter(true) {
                Some(place) => Ok((at, place)),
                None => Err(NoSeat::Resting(at, Duration::ZERO)),
            },
            Some((at, wait)) => Err(NoSeat::Resting(at, wait)),
            None => Err(NoSeat::Left),
        }
    }

    /// The seats that are open, the best of them only; and, where none is, the one that can be
    /// tried first, and in how long.
    fn open(&self, tried: &Tried, now: Instant) -> (Option<Open>, Option<(usize, Duration)>) {
        let is_closed = |seat: &Seat| seat.gauge.is_closed();
        if self.is_plain && tried.is_empty() && self.seats.iter().all(is_closed) {
            let open = (!self.seats.is_empty()).then_some(Open::All(self.seats.len()));
            return (open, None);
        }
        let (mut open, mut rank): (SmallVec<[u16; 32]>, u16) = (SmallVec::new(), u16::MAX);
        let mut resting: Option<(usize, Duration)> = None;
        for (at, seat) in self.seats.iter().enumerate().filter(|(_, seat)| seat.is_active) {
            let place = u16::try_from(at).unwrap_or(u16::MAX);
            if tried.contains(&place) || seat.rank > rank {
                continue;
            }
            let wait = match seat.gauge.circuit(now) {
                Circuit::Closed => {
                    if seat.rank < rank {
                        open.clear();
                        rank = seat.rank;
                    }
                    open.push(place);
                    continue;
                }
                Circuit::HalfOpen => Duration::ZERO,
                // Somebody tries it now.
                Circuit::Open(Duration::ZERO) => Duration::from_millis(1),
                Circuit::Open(wait) => wait,
            };
            if resting.is_none_or(|(_, least)| wait < least) {
                resting = Some((at, wait));
            }
        }
        if open.is_empty() { (None, resting) } else { (Some(Open::Some(open)), None) }
    }

    /// The open seat of an owner: the same each time, as long as it is open, and another's where it
    /// is not, without moving the owners of other seats (rendezvous hashing).
    fn of_owner(&self, owner: &str, open: &Open) -> usize {
        let hashes = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        let score = |at: &usize| hashes.hash_one((owner, self.server.instances[*at].id));
        (0..open.len()).map(|number| open.at(number)).max_by_key(score).unwrap_or(0)
    }

    /// Why an instance is left alone.
    pub(super) fn reason(&self, at: usize) -> Option<String> {
        match self.seats[at].gauge.health() {
            crate::domain::Health::Unhealthy { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// The seats of instances that are not so.
    pub(super) fn where_not(&self, is_so: impl Fn(&Instance) -> bool) -> Tried {
        let instances = self.server.instances.iter().enumerate();
        let others = instances.filter(|(_, instance)| !is_so(instance));
        others.map(|(at, _)| u16::try_from(at).unwrap_or(u16::MAX)).collect()
    }

    /// How many seats there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }
}

/// How well each instance matches what is preferred: 0 is best.
fn ranks(instances: &[Instance], balance: &Balance) -> Vec<u16> {
    // What the strongest preference says comes first.
    let key = |instance: &Instance| -> Vec<f64> {
        let says = |preference: &Preference| match preference {
            Preference::Is { .. } => f64::from(!preference.is_met_by(instance)),
            Preference::Least { member } => {
                let number = instance.metadata.get(member).and_then(|it| it.trim().parse().ok());
                number.filter(|number: &f64| !number.is_nan()).unwrap_or(f64::INFINITY)
            }
        };
        let is_last = balance.stdio_fallback && instance.endpoint.is_program();
        [f64::from(is_last)].into_iter().chain(balance.prefer.iter().map(says)).collect()
    };
    let keys: Vec<Vec<f64>> = instances.iter().map(key).collect();
    let mut better: Vec<&Vec<f64>> = keys.iter().collect();
    better.sort_by(|a, b| a.partial_cmp(b).expect("no key is without order"));
    better.dedup();
    let rank = |key| better.iter().position(|other| *other == key).unwrap_or(0);
    keys.iter().map(|key| u16::try_from(rank(key)).unwrap_or(u16::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Clock, Endpoint, FixedClock};

    fn instance(metadata: &[(&str, &str)]) -> Instance {
        let (command, args, env, cwd) =
            ("x".to_owned(), Vec::new(), std::collections::BTreeMap::new(), None);
        let instance = Instance::new(Endpoint::Stdio { command, args, env, cwd });
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Instance { metadata: metadata.iter().map(own).collect(), ..instance }
    }

    #[test]
    fn the_strongest_preference_decides_first() {
        let instances = [
            instance(&[("region", "us"), ("cost", "1")]),
            instance(&[("region", "eu"), ("cost", "5")]),
            instance(&[("region", "eu"), ("cost", "2")]),
            instance(&[("region", "eu")]),
        ];
        let ranked = |prefer: &[&str]| {
            let prefer: Vec<_> = prefer.iter().map(|it| it.parse().expect("one")).collect();
            ranks(&instances, &Balance { prefer, ..Balance::default() })
        };

        assert_eq!(ranked(&[]), [0, 0, 0, 0]);
        assert_eq!(ranked(&["region=eu"]), [1, 0, 0, 0]);
        assert_eq!(ranked(&["region=eu", "cost"]), [3, 1, 0, 2]);
        assert_eq!(ranked(&["cost", "region=eu"]), [0, 2, 1, 3]);
    }

    /// A table of so many instances alike, at which calls are shared so.
    fn table(count: usize, strategy: Strategy) -> Table {
        let server = Server {
            id: ServerId::fixed(1),
            organization: crate::domain::OrganizationId::fixed(1),
            namespace: crate::domain::NamespaceId::fixed(1),
            name: "wiki".parse().expect("a slug"),
            description: String::new(),
            state: State::Active,
            prefixing: None,
            timeout_seconds: None,
            max_in_flight: None,
            keeps_bodies: false,
            origin: None,
            cache: crate::domain::CachePolicy::default(),
            checks: None,
            labels: None,
            instances: (0..count).map(|_| instance(&[])).collect(),
            created_at: crate::domain::Timestamp::from_ms(0),
            updated_at: crate::domain::Timestamp::from_ms(0),
            on_change: None,
            balance: crate::domain::Balance::default(),
        };
        let gauges = crate::registry::gauges_for_tests(count).into_iter();
        let seats = gauges.map(|gauge| Seat { gauge, weight: 1, is_active: true, rank: 0 });
        Table::with(&Arc::new(server), seats.collect(), strategy)
    }

    #[test]
    fn an_owner_stays_and_no_call_is_twice_at_one_seat() {
        let (table, now) = (table(5, Strategy::RoundRobin), FixedClock::default().tick());
        let at = |tried: &Tried| table.choose(tried, Some("ana"), now).expect("a seat").0;
        let first = at(&Tried::new());
        assert!((0..20).all(|_| at(&Tried::new()) == first));

        let mut tried = Tried::new();
        for _ in 0..5 {
            let (at, _) = table.choose(&tried, None, now).expect("a seat");
            let at = u16::try_from(at).expect("a place");
            assert!(!tried.contains(&at));
            tried.push(at);
        }
        assert!(matches!(table.choose(&tried, None, now), Err(NoSeat::Left)));
    }

    /// What predecessors say they choose, a second.
    const CLAIMED: [(Strategy, f64); 5] = [
        (Strategy::RoundRobin, 50_000.0),
        (Strategy::LeastConnections, 30_000.0),
        (Strategy::Weighted, 25_000.0),
        (Strategy::HealthBased, 20_000.0),
        (Strategy::Random, 45_000.0),
    ];

    #[test]
    #[ignore = "measures, and means something in a release build only"]
    #[expect(clippy::print_stderr, reason = "it is what the measurement is for")]
    fn choosing_is_twenty_times_as_fast_as_is_claimed() {
        const CALLS: u32 = 200_000;
        let clock = crate::domain::SystemClock;
        for count in [10, 100, 1_000] {
            for (strategy, claimed) in CLAIMED.into_iter().chain([(Strategy::Ewma, 20_000.0)]) {
                let (table, now) = (table(count, strategy), clock.tick());
                let tried = Tried::new();
                let began = clock.tick();
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            for _ in 0..CALLS {
                                drop(table.choose(&tried, None, now).expect("a seat"));
                            }
                        });
                    }
                });
                let took = clock.tick().duration_since(began).as_secs_f64();
                let rate = f64::from(2 * CALLS) / took;
                eprintln!(
                    "{count:>5} {:<18} {rate:>12.0}/s, {:.0} times",
                    strategy.as_str(),
                    rate / claimed
                );
                assert!(rate >= 20.0 * claimed, "{strategy:?} of {count}: {rate}");
            }
        }
    }
}
