//! Who, and may they.
//!
//! A credential becomes a [`Caller`], a caller and a target become a [`Permit`], and there is no
//! other way in: only this room can make either.

mod api_key;
mod basic;
mod credential;
mod guess;
mod jwt;
mod known;
mod lanes;
mod leash;
mod mac;
mod page;
mod password;
mod people;
mod permit;
mod profile;
mod second_factor;
mod sign_in;
#[cfg(test)]
mod tests;
mod tokens;
mod totp;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{
        api_key::KeyRing, basic::Remembered, known::Known, lanes::Lanes, leash::Leashes,
        sign_in::Successors, tokens::Tokens,
    },
    domain::{Clock, InvalidKey, Permission},
    problem::{Classify, Kind, Problem, chain},
    store::{self, Store},
};

pub(crate) use credential::{Credential, bearer};
pub(crate) use leash::{Leash, Reach};
pub(crate) use page::{is_same_origin, set_cookie};
pub(crate) use people::{DEFAULT_NAMESPACE, NewKey, furnish};
pub(crate) use permit::{Caller, DEFAULT_ORGANIZATION, Permit};
pub(crate) use profile::{PasswordForm, Profile, ProfileForm};
pub(crate) use sign_in::{Attempt, Pass, SignedIn};
pub(crate) use tokens::SHORTEST_SECRET;

/// How often is looked for what ended by the clock.
const TICK: Duration = Duration::from_millis(500);

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
    /// Passwords that wait to be hashed; further ones are sent away for a moment.
    pub(crate) hashes_waiting: usize,
    /// Whether a username and a password may stand in every request (HTTP Basic).
    pub(crate) basic: bool,
    /// How people sign in.
    pub(crate) sign_in: sign_in::Settings,
    /// What they get when they did.
    pub(crate) tokens: tokens::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_keys: 10_000,
            hashes_at_once: 2,
            hashes_waiting: 32,
            basic: false,
            sign_in: sign_in::Settings::default(),
            tokens: tokens::Settings::default(),
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
    /// Up to which change the ring was read; held while it is read, so that an older reading never
    /// replaces a newer one and brings a revoked key back.
    seen: Mutex<Option<u64>>,
    hashing: Arc<Semaphore>,
    /// Places in the line before that, and at work.
    hash_queue: Semaphore,
    known: Known,
    tokens: Tokens,
    successors: Successors,
    lanes: Lanes,
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
        let access = Self(Arc::new(Inner {
            lanes: Lanes::new(window, sign_in.per_account, sign_in.per_address),
            tokens: Tokens::new(settings.tokens.clone(), store),
            settings,
            store: store.clone(),
            clock,
            ring,
            seen: Mutex::default(),
            hashing: Arc::new(Semaphore::new(at_once)),
            hash_queue: Semaphore::new(at_once + waiting),
            known: Known::default(),
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

    /// Reads the keys again if anything changed.
    fn reload(&self) -> Result<(), Error> {
        let mut seen = self.0.seen.lock();
        let snapshot = self.0.store.read()?;
        let last = Some(snapshot.last_sequence()?);
        if *seen != last {
            self.0.ring.replace(snapshot.keys()?);
            self.0.known.refresh(&snapshot, *seen, self.0.clock.now())?;
            self.0.tokens.refresh(&snapshot, *seen)?;
            *seen = last;
            self.check_leashes();
        }
        Ok(())
    }
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No credential at all.
    #[error("this needs an API key or a token: send it as \"Authorization: Bearer …\"")]
    NoCredential,
    /// Text that is no key, a key nobody knows, or one that is revoked or over.
    #[error("Invalid API key")]
    UnknownKey,
    /// Text that is no token of ours, one that was altered, or one whose sign-in has ended.
    #[error("Invalid token")]
    InvalidToken,
    /// A token that was good once.
    #[error("the token has expired; get another at /auth/refresh")]
    TokenOver,
    /// A name or a password that is wrong; which, is not said.
    #[error("Invalid username or password")]
    WrongPassword,
    /// The right password, of somebody who may not come in any more.
    #[error("User account is disabled")]
    Disabled,
    /// The right password, and more is asked for.
    #[error("the second factor is missing: send the code of your authenticator app as \"totp\"")]
    SecondFactorNeeded,
    /// A code that is wrong or was used.
    #[error("the code is not right, or was used already")]
    WrongCode,
    /// A password is to be shown again, and is not, or is another.
    #[error("the current password is not right")]
    WrongCurrentPassword,
    /// Too many tries that failed.
    #[error("too many tries that failed; try again in {seconds} s")]
    TooManyTries {
        /// How long to wait.
        seconds: u64,
    },
    /// Too many passwords to hash.
    #[error("too many people sign in at this moment; try again in a second")]
    Busy,
    /// As many sign-ins as there may be.
    #[error("there are {0} sign-ins already, which is the limit access.sign_in.max_logins")]
    TooManyLogins(usize),
    /// A cookie without the proof that it is our own page which asks.
    #[error("a page shows that it is ours with the header x-csrf-token, and asks from our origin")]
    ForeignPage,
    /// Only for those who signed in.
    #[error("this is for people who signed in; the credential belongs to no sign-in")]
    NotSignedIn,
    /// Somebody else is called so.
    #[error("somebody else has this username")]
    NameTaken,
    /// A second factor is there already.
    #[error("there is a second factor already; remove it first")]
    HasSecondFactor,
    /// No second factor waits to be confirmed.
    #[error("no second factor waits to be confirmed")]
    NothingToConfirm,
    /// No key to sign a token with.
    #[error("there is no key to sign tokens with")]
    NoSigningKey,
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

impl Error {
    /// The failure as it is told, with the time after which trying again may help.
    pub(crate) fn into_problem(self) -> Problem {
        let seconds = match &self {
            Self::TooManyTries { seconds } => Some(*seconds),
            Self::Busy => Some(1),
            _ => None,
        };
        let is_asked_for_more = matches!(self, Self::SecondFactorNeeded);
        let mut problem = Problem::from(self);
        if is_asked_for_more {
            problem = problem.with_data("second_factor", "totp");
        }
        seconds.into_iter().fold(problem, Problem::with_retry_after)
    }
}

impl From<InvalidKey> for Error {
    fn from(_: InvalidKey) -> Self {
        Self::UnknownKey
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoCredential
            | Self::UnknownKey
            | Self::InvalidToken
            | Self::TokenOver
            | Self::WrongPassword
            | Self::Disabled
            | Self::SecondFactorNeeded
            | Self::WrongCode => Kind::Unauthenticated,
            Self::Malformed(_)
            | Self::WeakPassword(_)
            | Self::InvalidName(_)
            | Self::InvalidExpiry
            | Self::AlreadyExpired
            | Self::NotSignedIn => Kind::Invalid,
            Self::Stranger | Self::Denied(_) | Self::WrongCurrentPassword | Self::ForeignPage => {
                Kind::Forbidden
            }
            Self::OthersSession | Self::NoSuchKey(_) => Kind::NotFound,
            Self::AlreadyClaimed
            | Self::NameTaken
            | Self::HasSecondFactor
            | Self::NothingToConfirm => Kind::Conflict,
            Self::TooManyKeys(_) | Self::TooManyTries { .. } | Self::TooManyLogins(_) => {
                Kind::Limited
            }
            Self::Busy => Kind::Unavailable,
            Self::Hashing | Self::NoSigningKey => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}
