//! Why somebody is not let in, or does not get what they ask for.

use std::sync::Arc;

use crate::{
    access::policy::Wrong,
    domain::{
        InvalidEmail, InvalidGrant, InvalidKey, InvalidName, Permission, TokenScopes, Verdict,
    },
    problem::{Classify, Kind, Problem},
    store,
};

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
    #[error("the token has expired; get another at /auth/refresh, or where you got it")]
    TokenOver,
    /// A token of another issuer whose keys are not known at the moment.
    #[error("the keys of the token's issuer cannot be read; try again in a moment")]
    KeysUnread,
    /// A good token of another issuer, with claims that mean nothing here.
    #[error("the token is good, but no {0} here follows from its claims; see access.issuers")]
    NothingHere(&'static str),
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
    /// Allowed to the person, and not to the client that asks for them.
    #[error("the client may not do this: its token needs the scopes {1}, for {0}")]
    OutOfScope(Permission, TokenScopes),
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
    /// Nothing of that id that the caller gave a client leave for.
    #[error("there is no consent {0:?}")]
    NoSuchConsent(String),
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
    /// A policy that is no good.
    #[error("the policy is not right at {0}")]
    Policy(#[from] Wrong),
    /// No policy of that id or name.
    #[error("there is no policy {0:?}")]
    NoSuchPolicy(String),
    /// A policy that stands in the settings file.
    #[error("the policy {0:?} stands in the settings file, and is changed there")]
    PolicyOfFile(String),
    /// As many policies as there may be.
    #[error(
        "there are {0} policies already, which is the limit access.policy_limits.per_organization"
    )]
    TooManyPolicies(usize),
    /// A policy says no.
    #[error("{}", told(.0))]
    DeniedByPolicy(Arc<Verdict>),
    /// What policies say is not known.
    #[error("the policies cannot be read, so nothing is permitted")]
    PoliciesUnreadable,
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
            Self::Busy | Self::KeysUnread => Some(1),
            _ => None,
        };
        let is_asked_for_more = matches!(self, Self::SecondFactorNeeded);
        let scopes = self.scopes().map(ToString::to_string);
        let mut problem = Problem::from(self);
        if is_asked_for_more {
            problem = problem.with_data("second_factor", "totp");
        }
        if let Some(scopes) = scopes {
            problem = problem.with_data("scope", scopes);
        }
        seconds.into_iter().fold(problem, Problem::with_retry_after)
    }

    /// What a policy said, where one said no.
    pub(crate) const fn verdict(&self) -> Option<&Arc<Verdict>> {
        match self {
            Self::DeniedByPolicy(verdict) => Some(verdict),
            _ => None,
        }
    }

    /// The scopes with which it would be allowed, where only they are missing.
    pub(crate) const fn scopes(&self) -> Option<&TokenScopes> {
        match self {
            Self::OutOfScope(_, scopes) => Some(scopes),
            _ => None,
        }
    }

    /// The longest name that is repeated in an error, in characters.
    const NAME_LIMIT: usize = 80;

    pub(super) fn no_such_key(name: &str) -> Self {
        Self::NoSuchKey(brief(name))
    }

    pub(super) fn no_such_user(name: &str) -> Self {
        Self::NoSuchUser(brief(name))
    }

    pub(super) fn no_such_policy(name: &str) -> Self {
        Self::NoSuchPolicy(brief(name))
    }

    pub(super) fn no_such_organization(name: &str) -> Self {
        Self::NoSuchOrganization(brief(name))
    }
}

/// Who denied it, and why.
fn told(verdict: &Verdict) -> String {
    let name = verdict.policy.as_deref().unwrap_or_default();
    match &verdict.message {
        Some(message) => format!("the policy {name:?} denies it: {message}"),
        None => format!("the policy {name:?} denies it"),
    }
}

/// As much of a name as is repeated.
pub(super) fn brief(name: &str) -> String {
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
            | Self::NotSignedIn
            | Self::Unclear(_)
            | Self::Policy(_)
            | Self::Slug(_)
            | Self::Email(_)
            | Self::Grant(_) => Kind::Invalid,
            Self::Stranger
            | Self::Denied(_)
            | Self::DeniedByPolicy(_)
            | Self::OutOfScope(..)
            | Self::Beyond
            | Self::WrongCurrentPassword
            | Self::NothingHere(_)
            | Self::ForeignPage => Kind::Forbidden,
            Self::OthersSession
            | Self::NoSuchKey(_)
            | Self::NoSuchUser(_)
            | Self::NoSuchOrganization(_)
            | Self::NoSuchNamespace(_)
            | Self::NoSuchServer(_)
            | Self::NoSuchPolicy(_)
            | Self::NoSuchConsent(_) => Kind::NotFound,
            Self::AlreadyClaimed
            | Self::Taken(_)
            | Self::LastAdministrator
            | Self::FirstOrganization
            | Self::PolicyOfFile(_)
            | Self::HasSecondFactor
            | Self::NothingToConfirm => Kind::Conflict,
            Self::TooManyKeys(_)
            | Self::TooManyUsers(_)
            | Self::TooManyOrganizations(_)
            | Self::TooManyPolicies(_)
            | Self::TooManyTries { .. }
            | Self::TooManyLogins(_) => Kind::Limited,
            Self::Busy | Self::PoliciesUnreadable | Self::KeysUnread => Kind::Unavailable,
            Self::Hashing | Self::NoSigningKey => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}
