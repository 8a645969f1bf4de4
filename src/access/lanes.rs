//! Lanes: how often somebody may guess.
//!
//! Failures are counted for each account, whether it exists or not, and for each address. A few
//! are nobody's business; then every further one doubles the wait. A lane is never closed for good.

use std::{collections::HashMap, hash::Hash, net::IpAddr, time::Duration};

use parking_lot::Mutex;

use crate::{
    access::Error,
    domain::{Timestamp, household},
};

/// Lanes that are remembered at the same time.
const MOST: usize = 10_000;
/// The first wait, once a lane is full.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// All lanes.
pub(super) struct Lanes {
    window: Duration,
    accounts: Mutex<Kind<Box<str>>>,
    addresses: Mutex<Kind<IpAddr>>,
}

struct Kind<K> {
    limit: u32,
    lanes: HashMap<K, Lane>,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    failures: u32,
    last: Timestamp,
    open_at: Timestamp,
}

/// A try that was let through. It counts as a failure until it is known to be none.
pub(super) struct Try {
    account: Box<str>,
    address: Option<IpAddr>,
}

impl Lanes {
    pub(super) fn new(window: Duration, per_account: u32, per_address: u32) -> Self {
        let accounts = Mutex::new(Kind { limit: per_account, lanes: HashMap::new() });
        let addresses = Mutex::new(Kind { limit: per_address, lanes: HashMap::new() });
        Self { window, accounts, addresses }
    }

    /// Lets somebody try, or says how long to wait.
    pub(super) fn enter(
        &self,
        account: &str,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Try, Error> {
        let account: Box<str> = account.trim().to_lowercase().chars().take(200).collect();
        let address = from.and_then(lane_of);
        let (mut accounts, mut addresses) = (self.accounts.lock(), self.addresses.lock());
        let waits = [
            accounts.wait(&account, self.window, now),
            address.and_then(|address| addresses.wait(&address, self.window, now)),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(Error::TooManyTries { seconds: wait.as_secs().max(1) });
        }
        accounts.count(account.clone(), self.window, now);
        if let Some(address) = address {
            addresses.count(address, self.window, now);
        }
        Ok(Try { account, address })
    }

    /// A try was none to count.
    pub(super) fn forgive(&self, made: &Try) {
        self.accounts.lock().lanes.remove(&made.account);
        if let Some(address) = made.address
            && let Some(lane) = self.addresses.lock().lanes.get_mut(&address)
        {
            lane.failures = lane.failures.saturating_sub(1);
        }
    }

    /// A try that was not looked at is as if it had not been made.
    pub(super) fn withdraw(&self, made: &Try, error: &Error) {
        if !matches!(error, Error::Busy) {
            return;
        }
        self.accounts.lock().withdraw(&made.account);
        if let Some(address) = &made.address {
            self.addresses.lock().withdraw(address);
        }
    }
}

impl<K: Eq + Hash + Clone> Kind<K> {
    fn withdraw(&mut self, key: &K) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.failures = lane.failures.saturating_sub(1);
            lane.open_at = lane.last;
        }
    }

    fn wait(&self, key: &K, window: Duration, now: Timestamp) -> Option<Duration> {
        let lane = self.lanes.get(key).filter(|lane| !lane.is_over(window, now))?;
        let ms = lane.open_at.as_ms() - now.as_ms();
        u64::try_from(ms).ok().filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms + 999))
    }

    fn count(&mut self, key: K, window: Duration, now: Timestamp) {
        if self.lanes.len() >= MOST && !self.lanes.contains_key(&key) {
            self.make_room(window, now);
        }
        let fresh = Lane { failures: 0, last: now, open_at: now };
        let lane = self.lanes.entry(key).or_insert(fresh);
        if lane.is_over(window, now) {
            *lane = fresh;
        }
        lane.failures = lane.failures.saturating_add(1);
        lane.last = now;
        let beyond = lane.failures.saturating_sub(self.limit.saturating_sub(1));
        if beyond > 0 {
            let doubled = FIRST_WAIT.saturating_mul(1 << (beyond - 1).min(16));
            lane.open_at = now.after(doubled.min(window / 2));
        }
    }

    fn make_room(&mut self, window: Duration, now: Timestamp) {
        self.lanes.retain(|_, lane| !lane.is_over(window, now));
        if self.lanes.len() < MOST {
            return;
        }
        let oldest =
            self.lanes.iter().min_by_key(|(_, lane)| lane.last).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.lanes.remove(&key);
        }
    }
}

impl Lane {
    /// Whether nothing happened on it for so long that it is forgotten.
    fn is_over(&self, window: Duration, now: Timestamp) -> bool {
        self.last.after(window) <= now
    }
}

/// The lane of an address: a whole /64, which is what one household has. Everybody behind a proxy
/// on this machine comes from a loopback address, so that is no lane.
fn lane_of(address: IpAddr) -> Option<IpAddr> {
    (!address.to_canonical().is_loopback()).then(|| household(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(10);

    fn lanes() -> Lanes {
        Lanes::new(WINDOW, 10, 30)
    }

    fn seconds(result: Result<Try, Error>) -> u64 {
        match result {
            Err(Error::TooManyTries { seconds }) => seconds,
            Err(error) => panic!("{error}"),
            Ok(_) => 0,
        }
    }

    #[test]
    fn a_try_that_nobody_looked_at_is_none() {
        let (lanes, now) = (lanes(), Timestamp::from_ms(0));
        let try_once = || lanes.enter("Ann", None, now).expect("let through");

        for _ in 0..100 {
            lanes.withdraw(&try_once(), &Error::Busy);
        }
        for _ in 0..10 {
            lanes.withdraw(&try_once(), &Error::WrongPassword);
        }

        assert_eq!(seconds(lanes.enter("Ann", None, now)), 30);
    }

    #[test]
    fn ten_failures_are_let_through_and_then_each_waits_longer() {
        let lanes = lanes();
        let mut now = Timestamp::from_ms(0);
        let waits: Vec<u64> = (0..11).map(|_| seconds(lanes.enter("Ann", None, now))).collect();
        assert_eq!(waits[..10], [0; 10]);
        assert_eq!(waits[10], 30);

        let mut longest = 0;
        for expected in [60, 120, 240, 300, 300] {
            now = now.after(Duration::from_secs(longest.max(30)));
            assert_eq!(seconds(lanes.enter(" ann ", None, now)), 0, "it opens again");
            longest = seconds(lanes.enter("ann", None, now));
            assert_eq!(longest, expected);
        }
        assert_eq!(seconds(lanes.enter("bob", None, now)), 0);
    }

    #[test]
    fn the_right_password_opens_the_lane() {
        let (lanes, now) = (lanes(), Timestamp::from_ms(0));
        for _ in 0..50 {
            let made = lanes.enter("ann", None, now).expect("it is open");
            lanes.forgive(&made);
        }
    }

    #[test]
    fn a_household_shares_a_lane_and_loopback_is_none() {
        let (lanes, now) = (lanes(), Timestamp::from_ms(0));
        let from = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        for n in 0..30 {
            let address = from(&format!("2001:db8::{n:x}"));
            assert_eq!(seconds(lanes.enter(&format!("u{n}"), address, now)), 0);
        }

        assert_eq!(seconds(lanes.enter("x", from("2001:db8::ffff"), now)), 30);
        assert_eq!(seconds(lanes.enter("x", from("2001:db8:0:1::1"), now)), 0);
        for n in 0..100 {
            assert_eq!(seconds(lanes.enter(&format!("v{n}"), from("127.0.0.1"), now)), 0);
        }
    }

    #[test]
    fn a_crowd_of_names_takes_up_no_more_room() {
        let (lanes, now) = (lanes(), Timestamp::from_ms(0));
        for n in 0..MOST + 5 {
            drop(lanes.enter(&format!("u{n}"), None, now.after(Duration::from_millis(n as u64))));
        }

        assert_eq!(lanes.accounts.lock().lanes.len(), MOST);
    }
}
