//! Who, and may they.
//!
//! A credential becomes a [`Caller`], a caller and a target become a [`Permit`], and there is no
//! other way in: only this room can make either.

mod api_key;
mod app;
mod basic;
mod book;
mod credential;
mod error;
mod guess;
pub(crate) mod issuers;
mod jwt;
mod keys;
mod lanes;
mod leash;
mod logins;
mod mac;
pub(crate) mod oauth;
mod organizations;
mod page;
mod password;
mod people;
mod permit;
mod policy;
mod profile;
mod refusals;
mod second_factor;
mod sign_in;
mod site;
mod strict;
#[cfg(test)]
mod tests;
mod tokens;
mod totp;
mod users;
mod words;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{
        api_key::KeyRing,
        basic::Remembered,
        book::{Book, Person},
        issuers::Issuers,
        lanes::Lanes,
        leash::Leashes,
        logins::Logins,
        policy::Rulebook,
        sign_in::Successors,
        tokens::Tokens,
    },
    domain::{Actor, Clock, Noun, OrganizationId, Permissions, Principal, PrincipalKind, UserId},
    problem::chain,
    store::{self, Changes, Store},
};

pub(crate) use app::{Asked, Refusal as AppRefusal};
pub(crate) use credential::{Credential, bearer};
pub(crate) use error::Error;
pub(crate) use jwt::random_text;
pub(crate) use keys::{KeyChange, NewKey, ShownKey};
pub(crate) use leash::{Leash, Reach};
pub(crate) use organizations::{NewOrganization, OrganizationChange};
pub(crate) use page::{is_same_origin, set_cookie};
pub(crate) use people::furnish;
pub(crate) use permit::{Caller, DEFAULT_ORGANIZATION, Permit};
pub(crate) use policy::{Definition, Question, Replay, Veil, Written};
pub(crate) use profile::{PasswordForm, Profile, ProfileForm};
pub(crate) use sign_in::{Attempt, Pass, SignedIn};
pub(crate) use site::{Resource, Site};
pub(crate) use tokens::SHORTEST_SECRET;
pub(crate) use users::{NewUser, UserChange};

/// How often is looked for what ended by the clock.
const TICK: Duration = Duration::from_millis(500);
/// Uses of keys that one write notes at most.
const NOTED_AT_ONCE: usize = 1_000;

/// Who may come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether callers must show a credential. Without it whoever reaches the address may use
    /// tools; managing the house still needs a key. Only a loopback address may be open.
    pub(crate) enabled: bool,
    /// API keys of one organization.
    pub(crate) max_keys: usize,
    /// People of one organization.
    pub(crate) max_users: usize,
    /// Organizations there may be at most.
    pub(crate) max_organizations: usize,
    /// Seconds between two times that the last uses of keys are written down; as many are lost in a
    /// crash.
    pub(crate) note_use_seconds: u32,
    /// Passwords that are hashed at the same time; each takes 19 MiB.
    pub(crate) hashes_at_once: usize,
    /// Passwords that wait to be hashed; further ones are sent away for a moment.
    pub(crate) hashes_waiting: usize,
    /// Whether a username and a password may stand in every request (HTTP Basic).
    pub(crate) basic: bool,
    /// How people sign in.
    pub(crate) sign_in: sign_in::Settings,
    /// What they get when they did.
    pub(crate) tokens: tokens::Settings,
    /// How much policies may be.
    pub(crate) policy_limits: policy::Limits,
    /// Policies that hold in every organization, beside those in the store.
    pub(crate) policies: Vec<Definition>,
    /// What clients get that act for them.
    pub(crate) oauth: oauth::Settings,
    /// Other issuers whose tokens open something here.
    pub(crate) issuers: Vec<issuers::Settings>,
    /// How the keys of these are read.
    pub(crate) issuer_keys: issuers::KeySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_keys: 10_000,
            max_users: 10_000,
            max_organizations: 1_000,
            note_use_seconds: 10,
            hashes_at_once: 1,
            hashes_waiting: 32,
            basic: false,
            sign_in: sign_in::Settings::default(),
            tokens: tokens::Settings::default(),
            policy_limits: policy::Limits::default(),
            policies: Vec::new(),
            oauth: oauth::Settings::default(),
            issuers: Vec::new(),
            issuer_keys: issuers::KeySettings::default(),
        }
    }
}

impl Settings {
    /// Looks for what is wrong with the issuers that no type can say.
    pub(crate) fn check_issuers(&self) -> Result<(), issuers::Misfit> {
        issuers::check(&self.issuers)
    }
}

/// The guard's book: who is known, and what they may do.
#[derive(Clone)]
pub(crate) struct Access(Arc<Inner>);

struct Inner {
    settings: Settings,
    store: Store,
    clock: Arc<dyn Clock>,
    ring: KeyRing,
    book: ArcSwap<Book>,
    rulebook: Rulebook,
    /// Up to which change everything here was read; held while it is read, so that an older reading
    /// never replaces a newer one and brings a revoked key back.
    seen: Mutex<Option<u64>>,
    hashing: Arc<Semaphore>,
    /// Places in the line before that, and at work.
    hash_queue: Semaphore,
    logins: Logins,
    tokens: Tokens,
    issuers: Issuers,
    counter: oauth::Counter,
    successors: Successors,
    lanes: Lanes,
    refusals: refusals::Refusals,
    leashes: Leashes,
    remembered: Remembered,
}

impl Access {
    /// Reads who is known.
    pub(crate) fn new(
        settings: Settings,
        store: &Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let ring = KeyRing::new(store.pepper());
        let at_once = settings.hashes_at_once.min(Semaphore::MAX_PERMITS / 2);
        let waiting = settings.hashes_waiting.min(Semaphore::MAX_PERMITS / 2);
        let sign_in = &settings.sign_in;
        let window = Duration::from_secs(sign_in.window_seconds.into());
        let rulebook = Rulebook::new(settings.policy_limits.clone(), &settings.policies);
        let access = Self(Arc::new(Inner {
            lanes: Lanes::new(window, sign_in.per_account, sign_in.per_address),
            refusals: refusals::Refusals::default(),
            tokens: Tokens::new(settings.tokens.clone(), store),
            issuers: Issuers::new(&settings.issuers, settings.issuer_keys.clone()),
            settings,
            store: store.clone(),
            clock,
            ring,
            book: ArcSwap::default(),
            rulebook,
            seen: Mutex::default(),
            hashing: Arc::new(Semaphore::new(at_once)),
            hash_queue: Semaphore::new(at_once + waiting),
            logins: Logins::default(),
            counter: oauth::Counter::default(),
            successors: Successors::default(),
            leashes: Leashes::default(),
            remembered: Remembered::default(),
        }));
        access.reload()?;
        Ok(access)
    }

    /// Keeps up with the store until `stop`: also with changes whose makers did not stay to see
    /// them through.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut changes = self.0.store.changes();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                heard = changes.changed() => {
                    if heard.is_err() {
                        return;
                    }
                    if let Err(error) = self.reload() {
                        tracing::warn!(error = chain(&error), "the keys cannot be read again");
                    }
                }
                // What ends by the clock is told by nobody.
                () = tokio::time::sleep(TICK) => self.check_leashes(),
            }
        }
    }

    /// Reads again what changed.
    fn reload(&self) -> Result<(), Error> {
        let mut seen = self.0.seen.lock();
        let snapshot = self.0.store.read()?;
        let last = Some(snapshot.last_sequence()?);
        if *seen != last || self.0.rulebook.is_unreadable() {
            let changes = Changes::since(&snapshot, *seen)?;
            // First, so that keys that cannot be read keep no policy from holding.
            if self.0.rulebook.is_unreadable()
                || changes.concern(&[Noun::Policy, Noun::Namespace, Noun::Organization])
            {
                self.0.rulebook.reload(&snapshot);
            }
            if changes.concern(&[Noun::Organization, Noun::User]) {
                let book = Book::new(snapshot.organizations()?, snapshot.users()?);
                self.0.book.store(Arc::new(book));
            }
            // What a key opens follows from the book.
            if changes.concern(&[Noun::Organization, Noun::User, Noun::Key]) {
                let book = self.0.book.load();
                self.0.ring.replace(snapshot.keys()?, &book, &snapshot.key_uses()?);
            }
            self.0.logins.refresh(&snapshot, &changes, self.0.clock.now())?;
            self.0.tokens.refresh(&snapshot, &changes)?;
            *seen = last;
            self.check_leashes();
        }
        Ok(())
    }

    /// Whether somebody may still do, and see, what they could.
    pub(crate) fn is_still(&self, principal: &Principal) -> bool {
        match &principal.kind {
            PrincipalKind::Key(id) => self.0.ring.is_still(id, principal, self.0.clock.now()),
            PrincipalKind::User(id) => {
                let is_same = |may: Permissions| may.and(principal.within) == principal.permissions;
                self.welcome(id).is_ok_and(|person| is_same(person.permissions))
            }
            // Their token says what they may, and is looked at every time.
            PrincipalKind::Federated(_) => self.is_open(&principal.organization),
            PrincipalKind::Operator | PrincipalKind::Anonymous => true,
        }
    }

    /// Whether an organization is there and not switched off.
    fn is_open(&self, id: &OrganizationId) -> bool {
        self.0.book.load().organization(id).is_some_and(|found| found.is_active)
    }

    /// Somebody who may come in.
    fn welcome(&self, id: &UserId) -> Result<Arc<Person>, Error> {
        self.0.book.load().welcome(id)
    }

    /// Whether somebody is let in now.
    pub(crate) fn is_let_in(&self, kind: &PrincipalKind) -> bool {
        match kind {
            PrincipalKind::Key(id) => self.0.ring.opens(id, self.0.clock.now()),
            PrincipalKind::User(id) => self.welcome(id).is_ok(),
            // Their issuer knows; what they bring next is looked at.
            PrincipalKind::Federated(_) | PrincipalKind::Operator | PrincipalKind::Anonymous => {
                true
            }
        }
    }

    /// Writes down now and then, until `stop`, when keys were used last. Calls only note it in
    /// memory.
    pub(crate) async fn note_uses(&self, stop: CancellationToken) {
        let period = Duration::from_secs(u64::from(self.0.settings.note_use_seconds).max(1));
        while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            self.write_uses().await;
        }
        self.write_uses().await;
    }

    async fn write_uses(&self) {
        let machine = Actor::system("uses of keys");
        for uses in self.0.ring.uses().chunks(NOTED_AT_ONCE) {
            let noted = uses.to_vec();
            let written = self.0.store.write(&machine, move |change| {
                for used in noted {
                    // One that was revoked meanwhile is not remembered.
                    if change.key(&used.id)?.is_some() {
                        change.note_key_use(used)?;
                    }
                }
                Ok::<_, store::Error>(())
            });
            match written.await {
                Ok(()) => self.0.ring.are_noted(uses),
                Err(error) => tracing::debug!(%error, "the uses of keys are noted later"),
            }
        }
    }
}
