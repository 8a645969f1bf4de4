//! Access tokens: issued to those who signed in, and checked in memory.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use openssl::sha::sha256;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::{
    access::{
        Access, Error,
        app::App,
        credential::Token,
        issuers::Vouched,
        jwt::{self, Claims, Key, Refusal},
        permit::Caller,
    },
    domain::{Actor, Consent, LoginId, Noun, Secret, SigningKey, Timestamp, UserId},
    store::{self, Changes, Snapshot, Store},
};

/// The fewest bytes of a key that is shared with others.
pub(crate) const SHORTEST_SECRET: usize = 32;
/// How many tokens that were verified are remembered. One takes about 130 bytes.
const REMEMBERED: usize = 10_000;
const DAY: Duration = Duration::from_hours(24);

/// Access tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Minutes for which one is good.
    pub(crate) minutes: u32,
    /// Days after which another key signs them.
    pub(crate) rotation_days: u32,
    /// Seconds for which the token of an app is good where it asks for no time.
    pub(crate) app_seconds: u32,
    /// The most seconds it can ask for.
    pub(crate) max_app_seconds: u32,
    /// A key of at least 32 characters, for tokens that others who have it can check: they are
    /// signed with HS256 then. Without it the gateway makes Ed25519 keys of its own.
    #[serde(serialize_with = "openly")]
    pub(crate) secret_key: Option<Secret>,
}

#[expect(clippy::ref_option, reason = "serde gives it so")]
fn openly<S: serde::Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            minutes: 10,
            rotation_days: 30,
            app_seconds: 300,
            max_app_seconds: 3_600,
            secret_key: None,
        }
    }
}

impl Settings {
    /// How long a token is good.
    pub(super) fn life(&self) -> Duration {
        Duration::from_secs(u64::from(self.minutes) * 60)
    }

    /// How long a key that signs no more still verifies: until all it signed is over.
    fn overlap(&self) -> Duration {
        self.life().max(Duration::from_secs(self.max_app_seconds.into()))
            + Duration::from_secs(2 * jwt::LEEWAY.unsigned_abs())
    }
}

/// The keys, and the tokens that were found good.
pub(super) struct Tokens {
    settings: Settings,
    /// Who writes them, and for whom: this house.
    house: String,
    ring: ArcSwap<Ring>,
    /// By their SHA-256. Checking one costs sixty microseconds, finding it here less than one.
    good: RwLock<HashMap<[u8; 32], Arc<Claims>>>,
}

#[derive(Default)]
struct Ring {
    /// Everything that verifies; the first one signs.
    keys: Vec<Key>,
    /// When the one that signs was made; none where it is not ours.
    made_at: Option<Timestamp>,
}

/// Whose a token is, for how long.
pub(super) struct Shown {
    pub(super) whose: Whose,
    pub(super) ends_at: Timestamp,
}

/// Whose a token is.
pub(super) enum Whose {
    Person {
        user: UserId,
        login: LoginId,
        /// The client that has it, and the endpoint it opens; none where its person has it.
        client: Option<(String, String)>,
    },
    App(App),
    /// Of whom another issuer vouches for.
    Federated(Arc<Vouched>),
}

impl Shown {
    /// The sign-in it belongs to; none where an app has it, or where another issuer knows.
    pub(super) const fn login(&self) -> Option<LoginId> {
        match &self.whose {
            Whose::Person { login, .. } => Some(*login),
            Whose::App(_) | Whose::Federated(_) => None,
        }
    }
}

impl Tokens {
    pub(super) fn new(settings: Settings, store: &Store) -> Self {
        let house = format!("urn:tollhouse:{}", store.name());
        Self { settings, house, ring: ArcSwap::default(), good: RwLock::default() }
    }

    /// Keeps up with the keys.
    pub(super) fn refresh(
        &self,
        snapshot: &Snapshot,
        changes: &Changes,
    ) -> Result<(), store::Error> {
        if !changes.concern(&[Noun::SigningKey]) {
            return Ok(());
        }
        let mut records = snapshot.signing_keys()?;
        records.sort_by_key(|key| (key.retired_at.is_some(), std::cmp::Reverse(key.created_at)));
        let overlap = self.settings.overlap();
        let own = |key: &SigningKey| Key::of(key, key.retired_at.map(|at| at.after(overlap)));
        let shared = self.settings.secret_key.as_ref().map(Key::shared);
        let made_at = match (&shared, records.first()) {
            (None, Some(first)) if first.retired_at.is_none() => Some(first.created_at),
            _ => None,
        };
        let keys = shared.into_iter().chain(records.iter().filter_map(own)).collect();
        self.ring.store(Arc::new(Ring { keys, made_at }));
        self.good.write().clear();
        Ok(())
    }

    /// Whose a token is. Whether they are still welcome is asked elsewhere, at every call.
    pub(super) fn read(&self, text: &str, now: Timestamp) -> Result<Shown, Error> {
        let claims = self.claims(text, now).map_err(|refusal| match refusal {
            Refusal::Invalid => Error::InvalidToken,
            Refusal::Over => Error::TokenOver,
        })?;
        let ends_at = jwt::ends(&claims);
        let Some(login) = claims.sid else {
            let app = App::of(&claims, &self.house).ok_or(Error::InvalidToken)?;
            return Ok(Shown { whose: Whose::App(app), ends_at });
        };
        let user = claims.sub.strip_prefix("user:").and_then(|id| id.parse().ok());
        let user = user.ok_or(Error::InvalidToken)?;
        let client = claims.client_id.clone().map(|client| (client, claims.aud.clone()));
        Ok(Shown { whose: Whose::Person { user, login, client }, ends_at })
    }

    fn claims(&self, text: &str, now: Timestamp) -> Result<Arc<Claims>, Refusal> {
        let digest = sha256(text.as_bytes());
        let found = self.good.read().get(&digest).cloned();
        if let Some(claims) = found {
            return if jwt::is_over(&claims, now) { Err(Refusal::Over) } else { Ok(claims) };
        }
        let ring = self.ring.load();
        let claims = Arc::new(jwt::verify(&ring.keys, text, &self.house, now)?);
        let mut good = self.good.write();
        if good.len() >= REMEMBERED {
            good.retain(|_, claims| !jwt::is_over(claims, now));
        }
        // A crowd larger than that pays for every check, and takes up no more room.
        if good.len() < REMEMBERED {
            good.insert(digest, claims.clone());
        }
        Ok(claims)
    }

    fn sign(
        &self,
        user: UserId,
        (login, consent): (LoginId, Option<&Consent>),
        now: Timestamp,
    ) -> Option<Secret> {
        let claims = Claims {
            aud: consent.map_or(&self.house, |it| &it.resource).clone(),
            sid: Some(login),
            client_id: consent.map(|it| it.client.clone()),
            scope: consent.map(|it| it.scopes.to_string()),
            ..self.claims_of(format!("user:{user}"), self.settings.life(), now)
        };
        self.write(&claims)
    }

    /// A token that says what an app may, for so long.
    pub(super) fn sign_app(&self, app: &App, life: Duration, now: Timestamp) -> Option<Secret> {
        let sub = format!("app:{}", app.key);
        self.write(&app.over(&self.house, self.claims_of(sub, life, now)))
    }

    /// What every token says, meant for the house.
    fn claims_of(&self, sub: String, life: Duration, now: Timestamp) -> Claims {
        let iat = now.as_ms().div_euclid(1_000);
        Claims {
            iss: self.house.clone(),
            aud: self.house.clone(),
            sub,
            sid: None,
            jti: jwt::random_text().to_string(),
            iat,
            nbf: iat,
            exp: iat.saturating_add_unsigned(life.as_secs()),
            client_id: None,
            scope: None,
            org: None,
            ns: None,
        }
    }

    fn write(&self, claims: &Claims) -> Option<Secret> {
        let ring = self.ring.load();
        Some(Secret::new(ring.keys.first()?.sign(claims)))
    }

    /// Whether there is a key to sign with, and it is not due to be replaced.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let rotation = DAY * self.settings.rotation_days;
        let made_at = self.ring.load().made_at;
        self.settings.secret_key.is_some() || made_at.is_some_and(|at| at.after(rotation) > now)
    }
}

impl Access {
    /// Whose a token is: one of ours, or of an issuer that is trusted.
    pub(super) fn read_token(&self, text: &str) -> Result<Shown, Error> {
        let now = self.0.clock.now();
        match self.0.tokens.read(text, now) {
            Err(Error::InvalidToken) => {}
            ours => return ours,
        }
        let vouched = self.0.issuers.read(text, now).ok_or(Error::InvalidToken)??;
        Ok(Shown { ends_at: vouched.ends_at, whose: Whose::Federated(vouched) })
    }

    /// Who shows a token. That of a client opens the endpoint it was made for, and nothing else.
    pub(super) fn token_caller(&self, token: &Token) -> Result<Caller, Error> {
        let shown = self.read_token(token.text.expose())?;
        let (user, login, client) = match shown.whose {
            Whose::Person { user, login, client } => (user, login, client),
            Whose::App(app) => return self.app_caller(&app),
            Whose::Federated(it) => return self.federated_caller(&it, token),
        };
        let standing = self.standing(&login)?;
        if standing.user != user {
            return Err(Error::InvalidToken);
        }
        let caller = Caller::person(user, &*self.welcome(&user)?);
        match (standing.consent.as_deref(), &client) {
            (None, None) => Ok(caller),
            (Some(consent), Some((client, resource)))
                if consent.client == *client
                    && consent.resource == *resource
                    && token.at.as_deref() == Some(resource) =>
            {
                Ok(caller.within(consent.scopes.permissions()))
            }
            _ => Err(Error::InvalidToken),
        }
    }

    /// An access token for a sign-in, and the seconds for which it is good.
    pub(super) async fn issue(&self, user: UserId, login: LoginId) -> Result<(Secret, u64), Error> {
        let now = self.0.clock.now();
        self.have_signing_key().await?;
        let standing = self.0.logins.login(&login).ok_or(Error::InvalidToken)?;
        let whose = (login, standing.consent.as_deref());
        let token = self.0.tokens.sign(user, whose, now).ok_or(Error::NoSigningKey)?;
        Ok((token, self.0.settings.tokens.life().as_secs()))
    }

    /// Sees to it that there is a key to sign with, and that it is not too old.
    pub(super) async fn have_signing_key(&self) -> Result<(), Error> {
        if self.0.tokens.is_fresh(self.0.clock.now()) {
            return Ok(());
        }
        let age = DAY * self.0.settings.tokens.rotation_days;
        self.rotate(&Actor::system("signing keys"), Some(age)).await
    }

    /// Puts another key in place of the one that signs.
    pub(crate) async fn rotate_signing_keys(&self, actor: &Actor) -> Result<(), Error> {
        self.rotate(actor, None).await
    }

    /// The same where that key is older than `age`. What it signed stays good until its end.
    async fn rotate(&self, actor: &Actor, age: Option<Duration>) -> Result<(), Error> {
        let overlap = self.0.settings.tokens.overlap();
        self.0
            .store
            .write(actor, move |change| {
                let now = change.now();
                let keys = change.signing_keys()?;
                let is_young =
                    |key: &SigningKey| age.is_some_and(|age| key.created_at.after(age) > now);
                // Asked again inside the write: many may have come this far together.
                if keys.iter().any(|key| key.retired_at.is_none() && is_young(key)) {
                    return Ok(());
                }
                for mut key in keys {
                    match key.retired_at {
                        None => {
                            key.retired_at = Some(now);
                            change.put_signing_key(&key)?;
                        }
                        Some(at) if at.after(overlap) <= now => {
                            change.remove_signing_key(&key.id)?;
                        }
                        Some(_) => {}
                    }
                }
                change.put_signing_key(&jwt::generate(now))?;
                Ok::<(), Error>(())
            })
            .await?;
        self.reload()
    }
}
