//! Locking: which definitions every server offers now, asked for anew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    catalog::{
        Catalog, Error,
        list::Awaited,
        shelf::{Offer, Place, Shelf, State},
    },
    domain::{Digest, PinKind, Scope, Server, Sight},
};

/// What one server offers.
pub(crate) struct Locked {
    /// Which server.
    pub(crate) server: Arc<Server>,
    /// Its definitions, as shown to clients that cannot be asked anything; or why it did not answer.
    pub(crate) outcome: Result<LockedItems, String>,
}

/// The definitions of one server.
pub(crate) struct LockedItems {
    /// Those that are offered.
    pub(crate) digests: BTreeMap<(PinKind, Box<str>), Digest>,
    /// How many are held.
    pub(crate) held: usize,
}

impl Catalog {
    /// What every server within somebody's sight offers, after asking each.
    pub(crate) async fn locked(&self, sight: &Sight) -> Result<Vec<Locked>, Error> {
        let none = || Error::NoEndpoint(Scope::Everything);
        let directory = self.0.registry.directory();
        let servers = directory.in_scope(sight, &Scope::Everything).ok_or_else(none)?;
        let places = servers.iter().map(|server| Place::shared(server.id)).collect();
        let wait = Duration::from_millis(self.0.settings.first_wait_ms);
        let since = self.0.clock.tick();
        self.wait_for(Awaited { places, wait }).await;
        let shelves = self.0.shelves.lock();
        let all = servers.into_iter().map(|server| {
            let place = Place::shared(server.id);
            let outcome = match shelves.get(&place).map(|shelf| &shelf.state) {
                // What it said before that tells nothing of now.
                Some(State::Full { offer, at }) if *at >= since => Ok(LockedItems {
                    digests: offer.vetted.digests.clone(),
                    held: offer.vetted.held,
                }),
                Some(State::Failed { reason, .. }) => Err(reason.clone()),
                Some(State::Full { .. } | State::Empty) | None => {
                    Err("it has not answered in time".to_owned())
                }
            };
            Locked { server, outcome }
        });
        Ok(all.collect())
    }

    /// What stands on a shelf.
    pub(super) fn offer_of(&self, place: Place) -> Option<Arc<Offer>> {
        self.0.shelves.lock().get(&place).and_then(Shelf::offer).cloned()
    }

    /// What was hidden in a server's texts, and how many of its definitions are held.
    pub(crate) fn vetted(&self, server: &Server) -> (Vec<String>, usize) {
        let offer = self.offer_of(Place::shared(server.id));
        offer.map(|it| (it.vetted.warnings.clone(), it.vetted.held)).unwrap_or_default()
    }

    /// A server's definitions count otherwise than before: it is asked again, by all who are shown
    /// another list.
    pub(crate) fn reconsider(&self, server: &Server) {
        self.suspect_all(&server.id);
    }
}
