//! What is counted: a table in shards, with room for so many keys.
//!
//! A key is kept as 64 bits of a hash under the house's own secret: a million of them fit into 64
//! MiB, and the chance that any two of a million meet is one in thirty million.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, DefaultHasher, Hasher},
};

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::count::{Look, Quota, Tally};

/// Locks that calls of different keys take past one another.
const SHARDS: usize = 64;

/// A key, hashed.
pub(super) type Key = u64;

/// What was counted for every key.
pub(super) struct Table {
    secret: [u8; 32],
    shards: Box<[Mutex<Shard>]>,
    /// Keys in one shard.
    most: usize,
}

#[derive(Default)]
struct Shard {
    kept: HashMap<Key, Kept, BuildHasherDefault<Hashed>>,
    /// Whether it is another than when it was written down last.
    is_changed: bool,
}

/// A tally, and how long it matters.
#[derive(Debug, Clone, Copy)]
struct Kept {
    amount: u64,
    window: u32,
    /// Seconds since 1970.
    expires: u32,
}

impl Kept {
    const fn tally(self) -> Tally {
        Tally { window: self.window, amount: self.amount }
    }
}

/// What is written down of one key: the key, the amount, and window and end in one number.
pub(super) type Noted = (u64, u64, u64);

/// What came of asking for one call.
#[derive(Debug)]
pub(super) struct Taken {
    /// Whether all had room, so that it is counted.
    pub(super) passes: bool,
    /// What each says, in the order in which they were asked.
    pub(super) looks: SmallVec<[Look; 4]>,
}

impl Table {
    /// An empty table for so many keys.
    pub(super) fn new(secret: [u8; 32], most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { secret, shards, most: most.div_ceil(SHARDS).max(1) }
    }

    /// A key for this text and this window of a limit, which is counted in this unit.
    pub(super) fn key(&self, text: &str, window: u32, unit: u64) -> Key {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.secret);
        hasher.write_u32(window);
        hasher.write_u64(unit);
        hasher.write(text.as_bytes());
        hasher.finish()
    }

    /// Counts a call in each of these, or in none, where one of them has no room.
    pub(super) fn take(&self, asked: &[(Key, Quota)], now_ms: u64) -> Taken {
        // All at once, and in one order, so that no two wait for one another.
        let mut places: SmallVec<[usize; 4]> = asked.iter().map(|(key, _)| place(*key)).collect();
        places.sort_unstable();
        places.dedup();
        let mut shards: SmallVec<[MutexGuard<'_, Shard>; 4]> =
            places.iter().map(|place| self.shards[*place].lock()).collect();
        let at = |key: Key| places.binary_search(&place(key)).expect("it was locked");
        let looks: SmallVec<[Look; 4]> = asked
            .iter()
            .map(|(key, quota)| {
                let before = shards[at(*key)].kept.get(key).copied();
                quota.look(before.map(Kept::tally), now_ms)
            })
            .collect();
        let passes = looks.iter().all(Look::passes);
        if passes {
            for ((key, _), look) in asked.iter().zip(&looks) {
                shards[at(*key)].put(*key, *look, now_ms, self.most);
            }
        }
        Taken { passes, looks }
    }

    /// What one call would come to, without making it.
    pub(super) fn peek(&self, (key, quota): (Key, Quota), now_ms: u64) -> Look {
        let before = self.shards[place(key)].lock().kept.get(&key).copied();
        quota.look(before.map(Kept::tally), now_ms)
    }

    /// How many keys there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().kept.len()).sum()
    }

    /// Forgets what matters no more.
    pub(super) fn sweep(&self, now_ms: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.forget_old(now_ms);
            if shard.kept.capacity() > 4 * shard.kept.len().max(64) {
                shard.kept.shrink_to_fit();
            }
        }
    }

    /// What each shard holds that is another than the last time, by its number.
    pub(super) fn changed(&self, now_ms: u64) -> Vec<(u8, Vec<Noted>)> {
        let changed = self.shards.iter().zip(0_u8..).filter_map(|(shard, number)| {
            let mut shard = shard.lock();
            if !std::mem::take(&mut shard.is_changed) {
                return None;
            }
            let now = seconds(now_ms);
            let held = shard.kept.iter().filter(|(_, kept)| kept.expires > now);
            let noted = |(key, kept): (&Key, &Kept)| {
                (*key, kept.amount, u64::from(kept.window) << 32 | u64::from(kept.expires))
            };
            Some((number, held.map(noted).collect()))
        });
        changed.collect()
    }

    /// Says that what was to be written down of these shards was not.
    pub(super) fn is_unwritten(&self, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            self.shards[usize::from(number)].lock().is_changed = true;
        }
    }

    /// Takes up what was written down.
    pub(super) fn take_up(&self, noted: impl IntoIterator<Item = Noted>, now_ms: u64) {
        let now = seconds(now_ms);
        for (key, amount, rest) in noted {
            let [window, expires] = [rest >> 32, rest & u64::from(u32::MAX)]
                .map(|half| u32::try_from(half).expect("half of 64 bits"));
            let mut shard = self.shards[place(key)].lock();
            if expires > now && shard.kept.len() < self.most {
                shard.kept.insert(key, Kept { amount, window, expires });
            }
        }
    }

    /// How much memory its keys take, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let of = |shard: &Mutex<Shard>| {
            let buckets = (shard.lock().kept.capacity() * 8).div_ceil(7).next_power_of_two();
            buckets * (size_of::<(Key, Kept)>() + 1)
        };
        self.shards.iter().map(of).sum()
    }
}

impl Shard {
    fn put(&mut self, key: Key, look: Look, now_ms: u64, most: usize) {
        self.is_changed = true;
        let kept = Kept {
            amount: look.after.amount,
            window: look.after.window,
            expires: seconds(now_ms + look.reset_ms).saturating_add(1),
        };
        if self.kept.len() >= most && !self.kept.contains_key(&key) {
            self.make_room(now_ms, most);
        }
        match self.kept.entry(key) {
            Entry::Occupied(mut entry) => *entry.get_mut() = kept,
            Entry::Vacant(entry) => drop(entry.insert(kept)),
        }
    }

    /// Forgets what matters no more, and where that is little, the half that matters least long.
    fn make_room(&mut self, now_ms: u64, most: usize) {
        self.forget_old(now_ms);
        if self.kept.len() <= most / 4 * 3 {
            return;
        }
        let mut ends: Vec<u32> = self.kept.values().map(|kept| kept.expires).collect();
        let half = ends.len() / 2;
        let (_, middle, _) = ends.select_nth_unstable(half);
        let (middle, mut surplus) = (*middle, half + 1);
        self.kept.retain(|_, kept| {
            let goes = kept.expires <= middle && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
        tracing::warn!(most = most * SHARDS, "more keys are counted than there is room for");
    }

    fn forget_old(&mut self, now_ms: u64) {
        let now = seconds(now_ms);
        let before = self.kept.len();
        self.kept.retain(|_, kept| kept.expires > now);
        self.is_changed |= self.kept.len() < before;
    }
}

fn place(key: Key) -> usize {
    // Not the bits by which a shard finds it.
    usize::try_from(key >> 40).unwrap_or_default() % SHARDS
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1_000).unwrap_or(u32::MAX)
}

/// Keys are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Algorithm, Window};

    const NOW: u64 = 1_800_000_000_000;

    fn quota(limit: u32, seconds: u32) -> Quota {
        Quota::new(Algorithm::SlidingWindow, Window { limit, seconds }, None)
    }

    #[test]
    fn a_call_counts_everywhere_or_nowhere() {
        let table = Table::new([7; 32], 1_000);
        let (own, all) =
            ((table.key("ana", 60, 0), quota(5, 60)), (table.key("", 60, 0), quota(3, 60)));
        let passed = (0..5).filter(|_| table.take(&[own, all], NOW).passes).count();
        assert_eq!(passed, 3);
        // What was refused was not counted as hers.
        assert_eq!((0..5).filter(|_| table.take(&[own], NOW).passes).count(), 2);
    }

    #[test]
    fn as_many_pass_at_once_as_may() {
        for algorithm in Algorithm::ALL {
            let table = Table::new([7; 32], 1_000);
            let quota = Quota::new(algorithm, Window { limit: 50, seconds: 60 }, None);
            let asked = [(table.key("ana", 60, 0), quota), (table.key("", 60, 0), quota)];
            let passed = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            let one = table.take(&asked, NOW).passes;
                            passed.fetch_add(one.into(), std::sync::atomic::Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(passed.into_inner(), 50, "{algorithm:?}");
        }
    }

    #[test]
    fn a_million_keys_fit_into_64_mib_and_the_table_does_not_grow() {
        const MANY: u64 = 1_000_000;
        let table = Table::new([7; 32], crate::traffic::limit::Settings::default().max_keys);
        for number in 0..MANY {
            table.take(&[(table.key(&number.to_string(), 60, 0), quota(5, 60))], NOW);
        }
        assert_eq!(table.len() as u64, MANY, "each is counted by itself");
        assert!(table.bytes() <= 64 << 20, "{} bytes", table.bytes());

        for number in MANY..2 * MANY {
            table.take(&[(table.key(&number.to_string(), 60, 0), quota(5, 60))], NOW + 1_000);
        }
        assert!(table.bytes() <= 64 << 20, "{} bytes", table.bytes());

        table.sweep(NOW + 200_000);
        assert_eq!(table.len(), 0);
        assert!(table.bytes() < 1 << 20, "{} bytes", table.bytes());
    }

    #[test]
    fn what_goes_first_is_what_matters_least_long() {
        let table = Table::new([7; 32], SHARDS);
        let long = (table.key("long", 60, 0), quota(5, 3_600));
        table.take(&[long], NOW);
        for number in 0..1_000 {
            table.take(&[(table.key(&number.to_string(), 60, 0), quota(5, 1))], NOW + number);
        }
        assert!(table.len() <= SHARDS, "{}", table.len());
        // A shard of one keeps only who came last; with room for four the long one stays.
        let table = Table::new([7; 32], 4 * SHARDS);
        table.take(&[long], NOW);
        for number in 0..1_000 {
            table.take(&[(table.key(&number.to_string(), 60, 0), quota(5, 1))], NOW);
        }
        assert_eq!(table.peek(long, NOW).remaining, 3);
    }

    #[test]
    fn what_was_written_down_is_counted_on() {
        let table = Table::new([7; 32], 1_000);
        let ana = (table.key("ana", 60, 0), quota(5, 60));
        for _ in 0..4 {
            assert!(table.take(&[ana], NOW).passes);
        }
        let noted = table.changed(NOW);
        assert_eq!(noted.len(), 1);
        assert!(table.changed(NOW).is_empty(), "nothing has changed since");

        let next = Table::new([7; 32], 1_000);
        next.take_up(noted.into_iter().flat_map(|(_, noted)| noted), NOW + 1_000);
        assert!(next.take(&[ana], NOW + 1_000).passes);
        assert!(!next.take(&[ana], NOW + 1_000).passes);
    }

    #[test]
    #[ignore = "measures, and means something in a release build only"]
    #[expect(clippy::print_stderr, reason = "it is what the measurement is for")]
    fn a_rule_costs_less_than_a_microsecond() {
        use crate::domain::Clock;
        const CALLS: u32 = 300_000;
        let clock = crate::domain::SystemClock;
        for algorithm in Algorithm::ALL {
            let table = Table::new([7; 32], 1_000_000);
            let quota = Quota::new(algorithm, Window { limit: Window::MOST, seconds: 60 }, None);
            let began = clock.tick();
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for number in 0..CALLS {
                            let text = format!("user={};tool=search", number % 10_000);
                            let asked = (table.key(&text, 60, 0), quota);
                            std::hint::black_box(table.take(&[asked], NOW));
                        }
                    });
                }
            });
            let each = clock.tick().duration_since(began).as_nanos() / u128::from(CALLS);
            eprintln!("{:<16} {each} ns a rule and call, with its key", algorithm.as_str());
            assert!(each < 1_000, "{algorithm:?}: {each} ns");
        }
    }
}
