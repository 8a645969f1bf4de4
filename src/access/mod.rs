//! Who, and may they.
//!
//! A credential becomes a [`Caller`], a caller and a target become a [`Permit`], and there is no
//! other way in: only this room can make either.

mod api_key;
mod credential;
mod password;
mod people;
mod permit;

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    access::api_key::KeyRing,
    domain::{Clock, InvalidKey, Permission},
    problem::{Classify, Kind, chain},
    store::{self, Store},
};

pub(crate) use credential::Credential;
pub(crate) use people::{DEFAULT_NAMESPACE, NewKey, furnish};
pub(crate) use permit::{Caller, DEFAULT_ORGANIZATION, Permit};

/// Who may come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether callers must show a credential. Without it whoever reaches the address may use
    /// tools; managing the house still needs a key. Only a loopback address may be open.
    pub(crate) enabled: bool,
    /// API keys there may be at most.
    pub(crate) max_keys: usize,
    /// Passwords that are hashed at the same time; each takes 19 MiB.
    pub(crate) hashes_at_once: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, max_keys: 10_000, hashes_at_once: 2 }
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
    /// Up to which change the ring was read; held while it is read, so that an older reading never
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
        let access = Self(Arc::new(Inner { settings, store, clock, ring, seen, hashing }));
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
            self.0.ring.replace(snapshot.keys()?);
            *seen = last;
        }
        Ok(())
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
    /// Hashing a password failed.
    #[error("the password could not be hashed")]
    Hashing,
    /// The store could not be read or written.
    #[error("the store did not take it")]
    Store(#[from] store::Error),
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
            | Self::AlreadyExpired => Kind::Invalid,
            Self::Stranger | Self::Denied(_) => Kind::Forbidden,
            Self::OthersSession | Self::NoSuchKey(_) => Kind::NotFound,
            Self::AlreadyClaimed => Kind::Conflict,
            Self::TooManyKeys(_) => Kind::Limited,
            Self::Hashing => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}
