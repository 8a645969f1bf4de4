//! Listing: what an endpoint shows, fresh enough.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    catalog::{
        Catalog, Error, Offered,
        merge::{Merged, Missing},
        owned,
        shelf::{Offer, Shelf, State},
    },
    domain::{ItemKind, OrganizationId, Scope, Server, ServerId, Slug},
    registry::Directory,
    upstream::{Capabilities, Peer},
};

/// A page of a list.
pub(crate) struct Listed {
    /// The result, as JSON.
    pub(crate) result: Bytes,
    /// Whether clients of every revision can read its items.
    pub(crate) fits_all: bool,
}

/// What an endpoint has.
#[derive(Debug)]
pub(crate) struct Discovered {
    /// What is offered.
    pub(crate) capabilities: Capabilities,
    /// What the one server behind the endpoint tells models, where it is one.
    pub(crate) instructions: Option<String>,
}

/// Servers of a scope that are waited for, and until when.
struct Awaited {
    servers: Vec<ServerId>,
    wait: Duration,
}

impl Catalog {
    /// A page of the items of a kind.
    pub(crate) async fn list(
        &self,
        organization: OrganizationId,
        scope: &Scope,
        kind: ItemKind,
        cursor: Option<&str>,
    ) -> Result<Listed, Error> {
        let merged = self.fresh(organization, scope).await?;
        for missing in &merged.missing {
            self.0.metrics.missing(&missing.server);
        }
        let result = merged.page(kind, cursor, self.0.settings.page_size)?;
        Ok(Listed { result, fits_all: merged.fits_all(kind) })
    }

    /// What an endpoint has. A server that has not answered yet may have everything; where it is
    /// the only one, it is worth a wait.
    pub(crate) async fn discover(
        &self,
        organization: OrganizationId,
        scope: &Scope,
    ) -> Result<Discovered, Error> {
        let merged = match scope {
            Scope::Server(_) => self.fresh(organization, scope).await?,
            Scope::Everything | Scope::Namespace(_) => self.merged(organization, scope)?,
        };
        let peers = || merged.offers.iter().filter_map(|offer| offer.peer.as_deref());
        let answered = |name: &Slug| merged.offers.iter().any(|offer| offer.server.name == *name);
        let is_one_silent = merged.missing.iter().any(|missing| !answered(&missing.server));
        let may = |has: fn(&Peer) -> bool| is_one_silent || peers().any(has);
        let own = merged.offers.iter().any(|offer| offer.peer.is_none());
        let instructions = match scope {
            Scope::Server(_) => peers().find_map(|peer| peer.instructions.clone()),
            _ => None,
        };
        Ok(Discovered {
            capabilities: Capabilities {
                tools: own || may(|peer| peer.capabilities.tools),
                prompts: may(|peer| peer.capabilities.prompts),
                resources: may(|peer| peer.capabilities.resources),
                completions: may(|peer| peer.capabilities.completions),
                logging: may(|peer| peer.capabilities.logging),
                subscribe: may(|peer| peer.capabilities.subscribe),
            },
            instructions,
        })
    }

    /// What tells one state of an endpoint's lists from another, by kind.
    pub(crate) fn digests(
        &self,
        organization: OrganizationId,
        scope: &Scope,
    ) -> Result<[u64; 4], Error> {
        Ok(self.merged(organization, scope)?.digests())
    }

    /// Tells of every change of a list, and of much that is none.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// How much a server offers, and what of it is left out; none while it does not answer.
    pub(crate) fn offered(&self, server: &ServerId) -> Option<(Offered, Option<String>)> {
        let shelves = self.0.shelves.lock();
        let offer = shelves.get(server)?.offer()?;
        Some((offer.count(), offer.note.clone()))
    }

    /// Waits until a server has been asked, and says what came of it.
    pub(crate) async fn introduce(&self, server: &Server) -> Result<(), String> {
        let wait = Duration::from_millis(self.0.settings.first_wait_ms);
        self.wait_for(Awaited { servers: vec![server.id], wait }).await;
        let shelves = self.0.shelves.lock();
        match shelves.get(&server.id).map(|shelf| &shelf.state) {
            Some(State::Full { .. }) => Ok(()),
            Some(State::Failed { reason, .. }) => Err(reason.clone()),
            Some(State::Empty) | None => Err(STARTING.to_owned()),
        }
    }

    /// What an endpoint shows, after waiting for those who are due and likely to answer.
    pub(super) async fn fresh(
        &self,
        organization: OrganizationId,
        scope: &Scope,
    ) -> Result<Arc<Merged>, Error> {
        let merged = self.merged(organization, scope)?;
        let now = self.0.clock.tick();
        if merged.fresh_until.lock().is_some_and(|until| now < until) {
            return Ok(merged);
        }
        let servers = self.servers(organization, scope)?;
        let (awaited, fresh_until) = self.due(&servers, now);
        if !awaited.servers.is_empty() {
            self.wait_for(awaited).await;
        }
        let merged = self.merged(organization, scope)?;
        *merged.fresh_until.lock() = fresh_until;
        Ok(merged)
    }

    /// What an endpoint shows, as far as is known now.
    pub(super) fn merged(
        &self,
        organization: OrganizationId,
        scope: &Scope,
    ) -> Result<Arc<Merged>, Error> {
        let version = *self.0.version.borrow();
        let key = (organization, scope.clone());
        if let Some(merged) = self.0.merged.load().get(&key)
            && merged.version == version
        {
            return Ok(merged.clone());
        }
        let merged = Arc::new(self.merge(version, organization, scope)?);
        // Scopes name what is registered, so there are few; those of older versions go.
        self.0.merged.rcu(|known| {
            let mut known: HashMap<_, _> = known
                .iter()
                .filter(|(_, merged)| merged.version == version)
                .map(|(key, merged)| (key.clone(), merged.clone()))
                .collect();
            known.insert(key.clone(), merged.clone());
            known
        });
        Ok(merged)
    }

    fn merge(
        &self,
        version: u64,
        organization: OrganizationId,
        scope: &Scope,
    ) -> Result<Merged, Error> {
        let directory = self.0.registry.directory();
        let mut offers: Vec<(Arc<Offer>, _)> = Vec::new();
        let mut missing = Vec::new();
        let mut told = [0_u64; 4];
        {
            let shelves = self.0.shelves.lock();
            for server in self.servers(organization, scope)? {
                let known = shelves.get(&server.id).unwrap_or(&Shelf::NEW);
                for (all, of_one) in told.iter_mut().zip(known.told) {
                    *all = all.wrapping_add(of_one);
                }
                let reason = match &known.state {
                    State::Full { offer, .. } => {
                        offers.push((offer.clone(), directory.prefixing(&server)));
                        continue;
                    }
                    State::Failed { reason, .. } => reason.clone(),
                    State::Empty => STARTING.to_owned(),
                };
                missing.push(Missing { server: server.name.clone(), reason });
            }
        }
        if shows_own(scope) {
            offers.push((owned::offer(), crate::domain::Prefixing::Always));
            offers.sort_by(|(a, _), (b, _)| a.server.name.cmp(&b.server.name));
        }
        let merged = Merged::new(version, scope, offers, missing, self.0.settings.page_size);
        Ok(merged.told_so_often(told))
    }

    fn servers(
        &self,
        organization: OrganizationId,
        scope: &Scope,
    ) -> Result<Vec<Arc<Server>>, Error> {
        if matches!(scope, Scope::Server(name) if &**name == Directory::BUILT_IN) {
            return Ok(Vec::new());
        }
        let servers = self.0.registry.directory().in_scope(organization, scope);
        servers.ok_or_else(|| Error::NoEndpoint(scope.clone()))
    }

    /// Which servers must be asked before a list goes out, and how long the list will hold. Those
    /// that are only a little behind are asked meanwhile; those that failed are asked again by
    /// themselves, and nobody waits for them.
    fn due(&self, servers: &[Arc<Server>], now: Instant) -> (Awaited, Option<Instant>) {
        let settings = &self.0.settings;
        let fresh = Duration::from_millis(settings.fresh_ms);
        let stale = Duration::from_millis(settings.stale_ms);
        let first_wait = Duration::from_millis(settings.first_wait_ms);
        let mut awaited = Awaited { servers: Vec::new(), wait: Duration::ZERO };
        let mut wanted = Vec::new();
        let mut fresh_until = now + fresh;
        let shelves = self.0.shelves.lock();
        for server in servers {
            let known = shelves.get(&server.id).unwrap_or(&Shelf::NEW);
            match &known.state {
                State::Empty => {
                    // Counted from when it was first asked: one that hangs delays the first
                    // lists, not every list.
                    let asked = known.asked_since.unwrap_or(now);
                    let left = first_wait.saturating_sub(now.saturating_duration_since(asked));
                    if !left.is_zero() {
                        awaited.servers.push(server.id);
                        awaited.wait = awaited.wait.max(left);
                    }
                }
                State::Failed { .. } => {}
                State::Full { .. } if self.0.upstream.is_asleep(&server.instances[0]) => {}
                State::Full { at, .. } if now < *at + fresh => {
                    fresh_until = fresh_until.min(*at + fresh);
                }
                State::Full { at, .. } if now < *at + stale => {
                    wanted.push(server.id);
                    fresh_until = now;
                }
                State::Full { .. } => {
                    awaited.servers.push(server.id);
                    awaited.wait = awaited.wait.max(Duration::from_millis(settings.wait_ms));
                }
            }
        }
        drop(shelves);
        if !wanted.is_empty() {
            self.want(wanted);
        }
        let holds = awaited.servers.is_empty() && fresh_until > now;
        (awaited, holds.then_some(fresh_until))
    }

    /// Asks for servers and waits until each has answered, or failed, or the time is over.
    async fn wait_for(&self, awaited: Awaited) {
        let mut version = self.0.version.subscribe();
        let since = self.0.clock.tick();
        let is_settled = |shelf: Option<&Shelf>| match shelf.map(|shelf| &shelf.state) {
            Some(State::Full { at, .. }) => *at >= since,
            Some(State::Failed { .. }) => true,
            Some(State::Empty) | None => false,
        };
        let is_gone = |id: &ServerId| !self.0.registry.directory().all().any(|it| it.id == *id);
        let all_settled = || {
            let shelves = self.0.shelves.lock();
            awaited.servers.iter().all(|id| is_settled(shelves.get(id)) || is_gone(id))
        };
        self.want(awaited.servers.iter().copied());
        let waiting = async {
            while !all_settled() {
                if version.changed().await.is_err() {
                    return;
                }
            }
        };
        // What is not there by then is named as missing.
        drop(tokio::time::timeout(awaited.wait, waiting).await);
    }
}

/// Why a server that has not answered yet is missing.
const STARTING: &str = "it has not answered yet";

/// Whether the gateway's own tools are part of what an endpoint shows.
fn shows_own(scope: &Scope) -> bool {
    match scope {
        Scope::Everything => true,
        Scope::Namespace(_) => false,
        Scope::Server(name) => &**name == Directory::BUILT_IN,
    }
}
