//! Who, and may they.
//!
//! A credential becomes a [`Caller`], a caller and a target become a [`Permit`], and there is no
//! other way in: only this room can make either.

mod api_key;
mod book;
mod credential;
mod keys;
mod organizations;
mod password;
mod people;
mod permit;
mod users;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{api_key::KeyRing, book::Book},
    domain::{
        Actor, Clock, InvalidEmail, InvalidGrant, InvalidKey, InvalidName, Permission, Principal,
        PrincipalKind,
    },
    problem::{Classify, Kind, chain},
    store::{self, Store},
};

pub(crate) use credential::Credential;
pub(crate) use keys::{KeyChange, NewKey, ShownKey};
pub(crate) use organizations::{NewOrganization, OrganizationChange};
pub(crate) use people::furnish;
pub(crate) use permit::{Caller, DEFAULT_ORGANIZATION, Permit};
pub(crate) use users::{NewUser, UserChange};

/// Names and descriptions that people give are at most so long, in characters.
const TEXT_LIMIT: usize = 1_000;
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_keys: 10_000,
            max_users: 10_000,
            max_organizations: 1_000,
            note_use_seconds: 10,
            hashes_at_once: 2,
        }
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
    /// Up to which change ring and book were read; held while it is read, so that an older reading never
    /// replaces a newer one and brings a revoked key back.
    seen: Mutex<Option<u64>>,
    hashing: tokio::sync::Semaphore,
}

impl Access {
    /// Reads who is known.
    pub(crate) fn new(
        settings: Settings,
        store: &Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let ring = KeyRing::new(store.pepper());
        let hashing = tokio::sync::Semaphore::new(settings.hashes_at_once);
        let (store, seen) = (store.clone(), Mutex::default());
        let book = ArcSwap::default();
        let access = Self(Arc::new(Inner { settings, store, clock, ring, book, seen, hashing }));
        access.reload()?;
        Ok(access)
    }

    /// Keeps up with the store until `stop`: also with changes whose makers did not stay to see
    /// them through.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut changes = self.0.store.changes();
        while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
            if let Err(error) = self.reload() {
                tracing::warn!(error = chain(&error), "the keys cannot be read again");
            }
        }
    }

    /// Reads the keys again if anything changed.
    fn reload(&self) -> Result<(), Error> {
        let mut seen = self.0.seen.lock();
        let snapshot = self.0.store.read()?;
        let last = Some(snapshot.last_sequence()?);
        if *seen != last {
            let book = Arc::new(Book::new(snapshot.organizations()?, snapshot.users()?));
            self.0.ring.replace(snapshot.keys()?, &book, &snapshot.key_uses()?);
            self.0.book.store(book);
            *seen = last;
        }
        Ok(())
    }

    /// Whether somebody may still do, and see, what they could.
    pub(crate) fn is_still(&self, principal: &Principal) -> bool {
        match &principal.kind {
            PrincipalKind::Key(id) => self.0.ring.is_still(id, principal, self.0.clock.now()),
            PrincipalKind::Operator | PrincipalKind::Anonymous => true,
        }
    }

    /// Whether somebody is let in now.
    pub(crate) fn is_let_in(&self, kind: &PrincipalKind) -> bool {
        match kind {
            PrincipalKind::Key(id) => self.0.ring.opens(id, self.0.clock.now()),
            PrincipalKind::Operator | PrincipalKind::Anonymous => true,
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

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No credential at all.
    #[error("this needs an API key: send it as \"Authorization: Bearer thk_…\"")]
    NoCredential,
    /// Text that is no key, a key nobody knows, or one that is revoked or over.
    #[error("Invalid API key")]
    UnknownKey,
    /// A credential that cannot be read.
    #[error("the credential cannot be read: {0}")]
    Malformed(&'static str),
    /// A socket's other end belongs to somebody else.
    #[error("only the owner of the data folder may use its socket")]
    Stranger,
    /// Known, and not allowed.
    #[error("this needs the permission {0}")]
    Denied(Permission),
    /// A session that somebody else opened.
    #[error("Session not found")]
    OthersSession,
    /// The house has an administrator already.
    #[error("this gateway is claimed already; make further keys with `tollhouse key create`")]
    AlreadyClaimed,
    /// A password that is no good.
    #[error("{0}")]
    WeakPassword(&'static str),
    /// A name that is no good.
    #[error("{0}")]
    InvalidName(&'static str),
    /// An expiry that cannot be read.
    #[error("expires_at is no time such as 2027-01-31T00:00:00Z")]
    InvalidExpiry,
    /// An expiry that is over already.
    #[error("expires_at lies in the past")]
    AlreadyExpired,
    /// No key of that id.
    #[error("there is no API key {0:?}")]
    NoSuchKey(String),
    /// As many keys as there may be.
    #[error("there are {0} API keys already, which is the limit access.max_keys")]
    TooManyKeys(usize),
    /// As many people as there may be.
    #[error("there are {0} people already, which is the limit access.max_users")]
    TooManyUsers(usize),
    /// As many organizations as there may be.
    #[error("there are {0} organizations already, which is the limit access.max_organizations")]
    TooManyOrganizations(usize),
    /// Nobody of that id or name.
    #[error("there is no user {0:?}")]
    NoSuchUser(String),
    /// No organization of that id or name, as far as the caller may know.
    #[error("there is no organization {0:?}")]
    NoSuchOrganization(String),
    /// No namespace of that id or name.
    #[error("there is no namespace {0:?}")]
    NoSuchNamespace(String),
    /// No server of that id or name.
    #[error("there is no server {0:?}")]
    NoSuchServer(String),
    /// A name that somebody or something else has.
    #[error("there is {0} already")]
    Taken(&'static str),
    /// Rights given, or taken, that the caller does not have.
    #[error("nobody gives or takes rights that they do not have themselves")]
    Beyond,
    /// Nobody would be left to manage an organization, or the house.
    #[error("this is the last administrator; make another first")]
    LastAdministrator,
    /// The organization that exists from the start.
    #[error("the first organization cannot be deleted or switched off")]
    FirstOrganization,
    /// Two things said that exclude each other.
    #[error("{0}")]
    Unclear(&'static str),
    /// A slug that is none.
    #[error("slug: {0}")]
    Slug(#[from] InvalidName),
    /// An address that is none.
    #[error("email: {0}")]
    Email(#[from] InvalidEmail),
    /// A permission that is none.
    #[error("permissions: {0}")]
    Grant(#[from] InvalidGrant),
    /// Hashing a password failed.
    #[error("the password could not be hashed")]
    Hashing,
    /// The store could not be read or written.
    #[error("the store did not take it")]
    Store(#[from] store::Error),
}

impl Error {
    /// The longest name that is repeated in an error, in characters.
    const NAME_LIMIT: usize = 80;

    fn no_such_key(name: &str) -> Self {
        Self::NoSuchKey(brief(name))
    }

    fn no_such_user(name: &str) -> Self {
        Self::NoSuchUser(brief(name))
    }

    fn no_such_organization(name: &str) -> Self {
        Self::NoSuchOrganization(brief(name))
    }
}

fn brief(name: &str) -> String {
    name.chars().take(Error::NAME_LIMIT).collect()
}

impl From<InvalidKey> for Error {
    fn from(_: InvalidKey) -> Self {
        Self::UnknownKey
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoCredential | Self::UnknownKey => Kind::Unauthenticated,
            Self::Malformed(_)
            | Self::WeakPassword(_)
            | Self::InvalidName(_)
            | Self::InvalidExpiry
            | Self::AlreadyExpired
            | Self::Unclear(_)
            | Self::Slug(_)
            | Self::Email(_)
            | Self::Grant(_) => Kind::Invalid,
            Self::Stranger | Self::Denied(_) | Self::Beyond => Kind::Forbidden,
            Self::OthersSession
            | Self::NoSuchKey(_)
            | Self::NoSuchUser(_)
            | Self::NoSuchOrganization(_)
            | Self::NoSuchNamespace(_)
            | Self::NoSuchServer(_) => Kind::NotFound,
            Self::AlreadyClaimed
            | Self::Taken(_)
            | Self::LastAdministrator
            | Self::FirstOrganization => Kind::Conflict,
            Self::TooManyKeys(_) | Self::TooManyUsers(_) | Self::TooManyOrganizations(_) => {
                Kind::Limited
            }
            Self::Hashing => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}
