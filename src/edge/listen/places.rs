//! Places for connections: so many in all, so many for each address.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use super::Settings;
use crate::domain::household;

/// The places of one door.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place in the door, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Places {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            most: settings.max_connections,
            most_per_address: settings.max_connections_per_address,
            taken: Mutex::default(),
        })
    }

    /// A place for a client at the address, if there is one.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let address = address.and_then(counted);
        let mut taken = self.taken.lock();
        if taken.all >= self.most {
            return None;
        }
        if let Some(address) = address {
            let here = taken.by_address.entry(address).or_default();
            // Counted only below the limit, which is never zero here: no empty entry stays.
            if *here >= self.most_per_address.max(1) {
                return None;
            }
            *here += 1;
        }
        taken.all += 1;
        Some(Place { places: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        let Some(address) = self.address else {
            return;
        };
        if let Some(here) = taken.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// What an address is counted as; this machine is not.
fn counted(address: IpAddr) -> Option<IpAddr> {
    (!address.to_canonical().is_loopback()).then(|| household(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize, most_per_address: usize) -> Arc<Places> {
        Places::new(&Settings {
            max_connections: most,
            max_connections_per_address: most_per_address,
            ..Settings::default()
        })
    }

    impl Places {
        fn take_at(self: &Arc<Self>, address: &str) -> Option<Place> {
            self.take(Some(address.parse().expect("an address")))
        }
    }

    #[test]
    fn one_address_does_not_take_the_places_of_another() {
        let places = places(10, 2);

        let held: Vec<_> = (0..2).filter_map(|_| places.take_at("192.0.2.1")).collect();

        assert_eq!(held.len(), 2);
        assert!(places.take_at("192.0.2.1").is_none());
        assert!(places.take_at("::ffff:192.0.2.1").is_none());
        assert!(places.take_at("192.0.2.2").is_some());
        drop(held);
        assert!(places.take_at("192.0.2.1").is_some());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let places = places(10, 1);

        let held = places.take_at("2001:db8::1");

        assert!(held.is_some());
        assert!(places.take_at("2001:db8::2").is_none());
        assert!(places.take_at("2001:db8:0:1::1").is_some());
    }

    #[test]
    fn this_machine_is_only_counted_in_all() {
        let places = places(3, 1);

        let held: Vec<_> = (0..3).filter_map(|_| places.take_at("127.0.0.1")).collect();

        assert_eq!(held.len(), 3);
        assert!(places.take_at("127.0.0.1").is_none());
        assert!(places.take(None).is_none());
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let places = places(3, 1);

        drop(places.take_at("192.0.2.1"));

        assert!(places.taken.lock().by_address.is_empty());
    }
}
