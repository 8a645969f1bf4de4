//! Signing in, staying signed in, and signing out.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    access::{
        Access, Credential, Error, jwt,
        logins::{Spans, Standing},
        page, password,
    },
    domain::{
        Actor, Before, Consent, Login, LoginId, LoginKind, PrincipalKind, Secret, Timestamp, User,
        UserId,
    },
    store::Draft,
};

const PREFIX: &str = "thr_";
const ID_LENGTH: usize = 36;
/// Bytes of the mark by which a refresh token is known to be of ours, however old it is.
const MARK: usize = 16;
const DAY: Duration = Duration::from_hours(24);

/// How people sign in, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Wrong passwords for one account before it has to wait.
    pub(crate) per_account: u32,
    /// Wrong passwords from one address, or one /64, before it has to wait.
    pub(crate) per_address: u32,
    /// Seconds after which wrong passwords are forgotten.
    pub(crate) window_seconds: u32,
    /// Sign-ins at the same time.
    pub(crate) max_logins: usize,
    /// Of these, for one person; one more ends their oldest.
    pub(crate) max_per_user: usize,
    /// Days for which a sign-in lasts without being used.
    pub(crate) idle_days: u32,
    /// Days for which it lasts at most.
    pub(crate) longest_days: u32,
    /// Seconds for which the refresh token before gives the same successor once more, to clients
    /// that lost the answer or asked twice.
    pub(crate) grace_seconds: u32,
    /// Minutes for which a page stays signed in without being used.
    pub(crate) page_idle_minutes: u32,
    /// Hours for which it stays signed in at most.
    pub(crate) page_hours: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            per_account: 10,
            per_address: 30,
            window_seconds: 600,
            max_logins: 10_000,
            max_per_user: 100,
            idle_days: 7,
            longest_days: 30,
            grace_seconds: 10,
            page_idle_minutes: 30,
            page_hours: 12,
        }
    }
}

impl Settings {
    pub(super) fn spans(&self, kind: LoginKind) -> Spans {
        match kind {
            LoginKind::Tokens => {
                Spans { longest: DAY * self.longest_days, idle: DAY * self.idle_days }
            }
            LoginKind::Page => Spans {
                longest: Duration::from_secs(u64::from(self.page_hours) * 3_600),
                idle: Duration::from_secs(u64::from(self.page_idle_minutes) * 60),
            },
        }
    }

    fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }
}

/// What somebody signs in with.
pub(crate) struct Attempt {
    /// A username, or an email address.
    pub(crate) name: String,
    pub(crate) password: Secret,
    /// A one-time password or a recovery code.
    pub(crate) second: Option<Secret>,
    pub(crate) kind: LoginKind,
    /// Where they are, over a network.
    pub(crate) from: Option<IpAddr>,
}

/// Somebody who signed in.
pub(crate) struct SignedIn {
    pub(crate) user: User,
    pub(crate) pass: Pass,
    /// Seconds for which the access token, or the cookie, is good.
    pub(crate) expires_in: u64,
}

/// What they have of it.
pub(crate) enum Pass {
    /// For programs.
    Tokens { access: Secret, refresh: Secret },
    /// For pages: the cookie, and what goes with it where something is changed.
    Page { cookie: Secret, csrf: Secret },
}

/// Refresh tokens that were just given, so that whoever asks twice gets the same.
#[derive(Default)]
pub(super) struct Successors(Mutex<HashMap<LoginId, (Secret, Timestamp)>>);

impl Successors {
    fn put(&self, login: LoginId, text: Secret, now: Timestamp, grace: Duration) {
        let mut given = self.0.lock();
        given.retain(|_, (_, at)| at.after(grace) > now);
        given.insert(login, (text, now));
    }

    fn get(&self, login: LoginId) -> Option<Secret> {
        self.0.lock().get(&login).map(|(text, _)| text.clone())
    }
}

/// What came of a refresh token.
enum Renewal {
    /// Another stands for it now.
    By(Secret, Box<User>),
    /// It was used before: somebody else may have it.
    UsedTwice,
    Refused(Error),
}

impl Access {
    /// Signs somebody in. Of whether there is such a person, nobody learns anything, also not by
    /// how long it takes.
    pub(crate) async fn sign_in(&self, attempt: Attempt) -> Result<SignedIn, Error> {
        let Attempt { name, password, second, kind, from } = attempt;
        password::check_length(&password)?;
        let made = self.0.lanes.enter(&name, from, self.0.clock.now())?;
        let verified = self.verified(&name, password).await;
        let user = verified.inspect_err(|error| {
            self.0.lanes.withdraw(&made, error);
            if matches!(error, Error::WrongPassword) {
                self.note_failed_sign_in(&name, from);
            }
        })?;
        self.welcome(&user.id)?;
        self.second_step(&user, second).await?;
        self.0.lanes.forgive(&made);
        let login = self.begin_login(&user, kind, None).await?;
        tracing::info!(user = %user.id, "signed in");
        self.passed(user, login).await
    }

    /// The person with this name and this password.
    pub(super) async fn verified(&self, name: &str, password: Secret) -> Result<User, Error> {
        let found = self.0.book.load().signs_in(name);
        let user = found.map(|id| self.0.store.read()?.user(&id)).transpose()?.flatten();
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let is_right = self.verify(password, hash).await?;
        user.filter(|_| is_right).ok_or_else(|| {
            tracing::info!(user = found.map(tracing::field::display), "a wrong password");
            Error::WrongPassword
        })
    }

    /// Begins a sign-in of somebody who proved who they are, or of a client they gave leave to.
    pub(super) async fn begin_login(
        &self,
        user: &User,
        kind: LoginKind,
        consent: Option<Consent>,
    ) -> Result<(LoginId, Secret), Error> {
        let now = self.0.clock.now();
        let limits = &self.0.settings.sign_in;
        let spans = |kind| self.0.settings.sign_in.spans(kind);
        let max = (limits.max_logins, limits.max_per_user);
        let book = self.0.book.load();
        let in_the_way = self.0.logins.in_the_way((user.id, &book), (&spans, now), max);
        let in_the_way = in_the_way.ok_or(Error::TooManyLogins(limits.max_logins))?;
        let id = LoginId::fresh();
        let text = match kind {
            LoginKind::Tokens => self.refresh_token(id),
            LoginKind::Page => page::cookie(id),
        };
        let login = Login {
            id,
            user: user.id,
            username: user.username.clone(),
            kind,
            digest: self.0.ring.digest(text.expose()),
            before: None,
            created_at: now,
            renewed_at: now,
            consent,
        };
        let (user, hash) = (user.id, user.password_hash.clone());
        let who = actor(user);
        let written = self.0.store.write(&who, move |change| {
            // The password may have been changed while it was checked.
            let is_same = |it: &User| it.is_active && it.password_hash == hash;
            if !change.user(&user)?.is_some_and(|user| is_same(&user)) {
                return Err(Error::WrongPassword);
            }
            for id in in_the_way {
                change.remove_login(&id)?;
            }
            change.put_login(&login)?;
            Ok(())
        });
        written.await?;
        self.reload()?;
        Ok((id, text))
    }

    pub(super) async fn passed(
        &self,
        user: User,
        (login, text): (LoginId, Secret),
    ) -> Result<SignedIn, Error> {
        if text.expose().starts_with(PREFIX) {
            let (access, expires_in) = self.issue(user.id, login).await?;
            return Ok(SignedIn { user, pass: Pass::Tokens { access, refresh: text }, expires_in });
        }
        let expires_in = self.0.settings.sign_in.spans(LoginKind::Page).longest.as_secs();
        let csrf = self.csrf_token(&text);
        Ok(SignedIn { user, pass: Pass::Page { cookie: text, csrf }, expires_in })
    }

    /// Gives new tokens for a refresh token, which is good once. One that comes back later is in
    /// two hands, and ends the sign-in.
    pub(crate) async fn refresh(&self, text: &Secret) -> Result<SignedIn, Error> {
        self.renew(text, None).await
    }

    /// The same for whoever has the token: a client, or its person where none is named.
    pub(super) async fn renew(
        &self,
        text: &Secret,
        client: Option<&str>,
    ) -> Result<SignedIn, Error> {
        let login = self.genuine(text).ok_or(Error::InvalidToken)?;
        let standing = self.0.logins.login(&login).ok_or(Error::InvalidToken)?;
        if standing.consent.as_ref().map(|consent| &*consent.client) != client {
            return Err(Error::InvalidToken);
        }
        self.welcome(&standing.user)?;
        let (next, digest) = (self.refresh_token(login), self.0.ring.digest(text.expose()));
        let next_digest = self.0.ring.digest(next.expose());
        let (access, settings) = (Arc::clone(&self.0), self.0.settings.sign_in.clone());
        let who = actor(standing.user);
        let renewal = self.0.store.write(&who, move |change| {
            let Some(found) = change.login(&login)? else {
                return Ok(Renewal::Refused(Error::InvalidToken));
            };
            let user = match change.user(&found.user)? {
                Some(user) if user.is_active => user,
                Some(_) => return Ok(Renewal::Refused(Error::Disabled)),
                None => return Ok(Renewal::Refused(Error::InvalidToken)),
            };
            let (now, spans) = (change.now(), settings.spans(found.kind));
            if spans.are_over(found.created_at, found.renewed_at, now) {
                change.remove_login(&login)?;
                return Ok(Renewal::Refused(Error::InvalidToken));
            }
            if !is_equal(&found.digest, &digest) {
                return Ok(access.used_before(&found, &digest, (user, now, settings.grace())));
            }
            // Told before it is written: whoever asks in the same moment gets the same.
            access.successors.put(login, next.clone(), now, settings.grace());
            let before = Some(Before { digest, at: now });
            let renewed = Login { digest: next_digest, before, renewed_at: now, ..found };
            change.put_login(&renewed)?;
            Ok::<_, Error>(Renewal::By(next, Box::new(user)))
        });
        match renewal.await? {
            Renewal::By(next, user) => {
                self.reload()?;
                self.passed(*user, (login, next)).await
            }
            Renewal::UsedTwice => {
                tracing::warn!(%login, user = %standing.user, "a refresh token was used twice");
                self.end_logins("a refresh token was used twice", vec![login]).await?;
                Err(Error::InvalidToken)
            }
            Renewal::Refused(error) => {
                self.reload()?;
                Err(error)
            }
        }
    }

    /// Ends the sign-in of a credential.
    pub(crate) async fn sign_out(&self, credential: &Credential) -> Result<(), Error> {
        let login = self.login_of(credential)?;
        let standing = self.standing(&login)?;
        let who = actor(standing.user);
        let written = self.0.store.write(&who, move |change| {
            change.remove_login(&login)?;
            Ok::<(), Error>(())
        });
        written.await?;
        self.reload()
    }

    /// The sign-in that a credential belongs to.
    pub(super) fn login_of(&self, credential: &Credential) -> Result<LoginId, Error> {
        match credential {
            Credential::Token(token) => {
                let shown = self.read_token(token.text.expose())?;
                shown.login().ok_or(Error::NotSignedIn)
            }
            Credential::Page(page) => Ok(self.page(page)?.0),
            _ => Err(Error::NotSignedIn),
        }
    }

    /// A sign-in that is not over, of somebody who is welcome.
    pub(super) fn standing(&self, login: &LoginId) -> Result<Arc<Standing>, Error> {
        let standing = self.0.logins.login(login).ok_or(Error::InvalidToken)?;
        let spans = self.0.settings.sign_in.spans(standing.kind);
        if standing.is_over(spans, self.0.clock.now()) {
            return Err(Error::InvalidToken);
        }
        self.welcome(&standing.user)?;
        Ok(standing)
    }

    /// Ends sign-ins, for a reason of the house's own.
    pub(super) async fn end_logins(&self, why: &str, logins: Vec<LoginId>) -> Result<(), Error> {
        let who = Actor::system(why);
        let written = self.0.store.write(&who, move |change| {
            for login in logins {
                change.remove_login(&login)?;
            }
            Ok::<(), Error>(())
        });
        written.await?;
        self.reload()
    }

    /// A new refresh token: its sign-in, 256 random bits, and a mark that only this house can make.
    fn refresh_token(&self, login: LoginId) -> Secret {
        let stem = Zeroizing::new(format!("{PREFIX}{login}.{}", *jwt::random_text()));
        Secret::new(format!("{}.{}", *stem, self.mark(&stem)))
    }

    /// The sign-in of a refresh token that this house gave once. Whoever makes one up ends nobody's
    /// sign-in with it.
    pub(super) fn genuine(&self, text: &Secret) -> Option<LoginId> {
        let (stem, mark) = text.expose().rsplit_once('.')?;
        let is_ours: bool = self.mark(stem).as_bytes().ct_eq(mark.as_bytes()).into();
        let rest = stem.strip_prefix(PREFIX).filter(|_| is_ours)?;
        rest.split_at_checked(ID_LENGTH)?.0.parse().ok()
    }

    fn mark(&self, stem: &str) -> String {
        let text = Zeroizing::new(format!("mark {stem}"));
        URL_SAFE_NO_PAD.encode(&self.0.ring.digest(&text)[..MARK])
    }
}

impl super::Inner {
    /// What becomes of a refresh token that is not the one that is due.
    fn used_before(
        &self,
        found: &Login,
        digest: &[u8; 32],
        (user, now, grace): (User, Timestamp, Duration),
    ) -> Renewal {
        let is_last = |it: &Before| is_equal(&it.digest, digest) && it.at.after(grace) > now;
        if !found.before.as_ref().is_some_and(is_last) {
            return Renewal::UsedTwice;
        }
        // None after a restart within these seconds: then its client signs in again.
        let next = self.successors.get(found.id);
        next.map_or(Renewal::Refused(Error::InvalidToken), |next| Renewal::By(next, Box::new(user)))
    }
}

fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

/// Somebody as the one who changes something.
pub(super) fn actor(user: UserId) -> Actor {
    Actor::from(&PrincipalKind::User(user))
}

/// Ends every sign-in of a person but one.
pub(super) fn end_others(
    change: &mut Draft<'_>,
    user: UserId,
    kept: Option<LoginId>,
) -> Result<(), Error> {
    for login in change.logins()? {
        if login.user == user && Some(login.id) != kept {
            change.remove_login(&login.id)?;
        }
    }
    Ok(())
}
