//! Other issuers: whoever brings a token of one that the settings trust comes in as what its
//! claims make of them. They need no account here, and are never more than a role of one
//! organization.
//!
//! The keys of an issuer are read when the first of its tokens is shown, again when a token names
//! a key that is not known yet, and now and then, so that one that was withdrawn opens nothing any
//! more. Who fetches them is not this room's affair: it says what is due, and learns.

mod claims;
mod jwks;
mod settings;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::sha::sha256;
use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value};
use url::Url;

pub(super) use self::settings::check;
pub(crate) use self::settings::{KeySettings, Misfit, Settings};
use self::{
    claims::Subject,
    jwks::{Algorithm, Key},
    settings::may_be_read,
};
use crate::{
    access::{Access, Caller, Credential, Error, credential::Token, jwt::LEEWAY, strict::Strict},
    domain::{OrganizationId, Principal, PrincipalKind, SubjectId, Timestamp},
};

/// The longest token that is looked at, in bytes. Those of large companies list many groups.
const LONGEST: usize = 16 * 1_024;
/// How many tokens that were verified are remembered. One takes about 400 bytes.
const REMEMBERED: usize = 10_000;
/// What a token may call itself (RFC 9068). Others are for other things, though signed alike.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// The issuers, and their tokens that were found good.
pub(super) struct Issuers {
    known: Vec<Arc<Issuer>>,
    keys: KeySettings,
    /// By their SHA-256. Checking one costs up to a tenth of a millisecond.
    good: RwLock<HashMap<[u8; 32], Arc<Vouched>>>,
}

/// An issuer, and its keys.
pub(crate) struct Issuer {
    settings: Settings,
    keys: ArcSwap<Keys>,
    /// When they were last asked for.
    tried_at: Mutex<Option<Timestamp>>,
    /// Held by whoever reads them, so that only one does.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Keys {
    all: Vec<Key>,
    /// None where they never were.
    read_at: Option<Timestamp>,
}

/// A token of an issuer that is good, but for whom it is meant.
pub(super) struct Vouched {
    issuer: Arc<Issuer>,
    audience: Vec<String>,
    subject: Subject,
    pub(super) ends_at: Timestamp,
}

/// Where the keys of an issuer are.
pub(crate) enum Place {
    /// In the set at this URL.
    Set(String),
    /// Said in the first of these documents that is there.
    Told(Vec<String>),
}

/// A token as it can be read before it is verified.
struct Opened<'a> {
    algorithm: Algorithm,
    key: Option<String>,
    signed: &'a str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

impl Issuers {
    pub(super) fn new(issuers: &[Settings], keys: KeySettings) -> Self {
        let known = issuers.iter().cloned().map(|settings| {
            Arc::new(Issuer {
                settings,
                keys: ArcSwap::default(),
                tried_at: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            })
        });
        Self { known: known.collect(), keys, good: RwLock::default() }
    }

    /// What a token says that one of these issuers signed; none where none claims to have.
    pub(super) fn read(&self, text: &str, now: Timestamp) -> Option<Result<Arc<Vouched>, Error>> {
        if self.known.is_empty() {
            return None;
        }
        let digest = sha256(text.as_bytes());
        let found = self.good.read().get(&digest).cloned();
        if let Some(vouched) = found {
            let is_over = vouched.ends_at <= now;
            return Some(if is_over { Err(Error::TokenOver) } else { Ok(vouched) });
        }
        let (issuer, opened) = self.open(text)?;
        Some(self.verify(issuer, &opened, now).map(Arc::new).inspect(|vouched| {
            let mut good = self.good.write();
            if good.len() >= REMEMBERED {
                good.retain(|_, vouched| vouched.ends_at > now);
            }
            // A crowd larger than that pays for every check, and takes up no more room.
            if good.len() < REMEMBERED {
                good.insert(digest, Arc::clone(vouched));
            }
        }))
    }

    /// The token, and who claims to have signed it.
    fn open<'a>(&self, text: &'a str) -> Option<(&Arc<Issuer>, Opened<'a>)> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let claims = object(claims)?;
        let name = claims.get("iss")?.as_str()?;
        let issuer = self.known.iter().find(|it| it.settings.issuer == name)?;
        let head = object(head)?;
        // What its issuer insists that readers understand is understood by none here (RFC 7515).
        if head.contains_key("crit") || !head.get("typ").is_none_or(is_a_token) {
            return None;
        }
        let algorithm = Algorithm::named(head.get("alg")?.as_str()?)?;
        let key = head.get("kid").map(|id| id.as_str().map(str::to_owned).ok_or(())).transpose();
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some((issuer, Opened { algorithm, key: key.ok()?, signed, signature, claims }))
    }

    fn verify(
        &self,
        issuer: &Arc<Issuer>,
        opened: &Opened<'_>,
        now: Timestamp,
    ) -> Result<Vouched, Error> {
        let Opened { algorithm, key, signed, signature, claims } = opened;
        let keys = issuer.keys.load();
        let span = |seconds: u32| Duration::from_secs(seconds.into());
        let life = span(self.keys.seconds) + span(self.keys.stale_seconds);
        if keys.read_at.is_none_or(|at| at.after(life) <= now) {
            return Err(Error::KeysUnread);
        }
        let key = keys.find(*algorithm, key.as_deref()).ok_or(Error::InvalidToken)?;
        let is_signed = issuer.settings.algorithms.contains(algorithm)
            && key.has_signed(*algorithm, signed.as_bytes(), signature);
        if !is_signed {
            return Err(Error::InvalidToken);
        }
        issuer.vouch(claims, now)
    }

    fn is_due(&self, issuer: &Issuer, key: Option<&str>, now: Timestamp) -> bool {
        let passed = |at: Option<Timestamp>, seconds: u32| {
            at.is_none_or(|at| at.after(Duration::from_secs(seconds.into())) <= now)
        };
        let keys = issuer.keys.load();
        let is_known =
            key.is_none_or(|key| keys.all.iter().any(|it| it.id.as_deref() == Some(key)));
        (passed(keys.read_at, self.keys.seconds) || !is_known)
            && passed(*issuer.tried_at.lock(), self.keys.retry_seconds)
    }
}

impl Keys {
    /// The key of that name. A token that names none is of the only key it can be of.
    fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&Key> {
        let mut fitting = self
            .all
            .iter()
            .filter(|key| key.fits(algorithm) && (id.is_none() || key.id.as_deref() == id));
        let first = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then_some(first)
    }
}

impl Issuer {
    /// What it calls itself.
    pub(crate) fn name(&self) -> &str {
        &self.settings.issuer
    }

    /// Whether it may be at an address that is not public.
    pub(crate) const fn is_private(&self) -> bool {
        self.settings.private
    }

    /// Where its keys are.
    pub(crate) fn place(&self) -> Place {
        if let Some(url) = &self.settings.jwks_url {
            return Place::Set(url.clone());
        }
        let issuer = self.name().trim_end_matches('/');
        let mut told = vec![format!("{issuer}/.well-known/openid-configuration")];
        // RFC 8414 puts the well-known name before the path.
        if let Ok(url) = Url::parse(issuer) {
            let (origin, path) = (url.origin().ascii_serialization(), url.path());
            let path = path.trim_end_matches('/');
            told.push(format!("{origin}/.well-known/oauth-authorization-server{path}"));
        }
        Place::Told(told)
    }

    /// Where its keys are, from a document that it publishes of itself; none where the document is
    /// another's.
    pub(crate) fn set_of(&self, document: &[u8]) -> Option<String> {
        let Strict(said) = serde_json::from_slice(document).ok()?;
        let member = |name: &str| said.get(name).and_then(Value::as_str);
        let is_its_own = member("issuer") == Some(self.name());
        let set = member("jwks_uri").filter(|url| may_be_read(url, self.settings.private));
        set.filter(|_| is_its_own).map(str::to_owned)
    }

    /// What its claims say, once its signature was found under them.
    fn vouch(
        self: &Arc<Self>,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Vouched, Error> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let invalid = || Error::InvalidToken;
        let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or_else(invalid)?;
        let ends_at = time(claims.get("exp").ok_or_else(invalid)?, LEEWAY).ok_or_else(invalid)?;
        for begins in ["nbf", "iat"].iter().filter_map(|name| claims.get(*name)) {
            if time(begins, -LEEWAY).is_none_or(|at| at > now) {
                return Err(Error::InvalidToken);
            }
        }
        // One that is bound to a key of its bearer is good in nobody else's hands (RFC 7800).
        if claims.contains_key("cnf") {
            return Err(Error::InvalidToken);
        }
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => {
                all.iter().filter_map(Value::as_str).map(Into::into).collect()
            }
            _ => return Err(Error::InvalidToken),
        };
        let meant = &self.settings.audience;
        if !meant.is_empty() && !audience.iter().any(|it| meant.contains(it)) {
            return Err(Error::InvalidToken);
        }
        if ends_at <= now {
            return Err(Error::TokenOver);
        }
        let (name, subject) = (subject, claims::subject(&self.settings, subject, claims));
        tracing::info!(issuer = self.name(), subject = ?name, id = %subject.id, "a token is good");
        Ok(Vouched { issuer: Arc::clone(self), audience, subject, ends_at })
    }
}

/// A claim that is a moment, shifted by seconds.
fn time(claim: &Value, shift: i64) -> Option<Timestamp> {
    // RFC 7519 allows fractions.
    #[expect(clippy::cast_possible_truncation, reason = "a float is cut to the range of numbers")]
    let seconds = claim.as_i64().or_else(|| claim.as_f64().map(|it| it.floor() as i64))?;
    Some(Timestamp::from_ms(seconds.saturating_add(shift).saturating_mul(1_000)))
}

fn is_a_token(typ: &Value) -> bool {
    typ.as_str().is_some_and(|typ| TYPES.contains(&&*typ.to_ascii_lowercase()))
}

/// A part of a token: JSON that every reader reads the same.
fn object(part: &str) -> Option<Map<String, Value>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&json).ok()? {
        Strict(Value::Object(members)) => Some(members),
        Strict(_) => None,
    }
}

impl Vouched {
    /// Whose it is, and where they belong.
    pub(super) const fn subject(&self) -> SubjectId {
        self.subject.id
    }

    /// Whether it opens the endpoint with this URL, or the house where none is named.
    fn is_meant_for(&self, at: Option<&str>) -> bool {
        // What is named in the settings was looked for when it was verified.
        !self.issuer.settings.audience.is_empty()
            || at.is_some_and(|at| self.audience.iter().any(|meant| meant == at))
    }
}

impl Access {
    /// Whose a token of another issuer is.
    pub(super) fn federated_caller(
        &self,
        vouched: &Vouched,
        token: &Token,
    ) -> Result<Caller, Error> {
        if !vouched.is_meant_for(token.at.as_deref()) {
            return Err(Error::InvalidToken);
        }
        let role = vouched.subject.role.ok_or(Error::NothingHere("role"))?;
        let organization = self.federated_home(vouched)?;
        let within = vouched.subject.within;
        let principal = Principal {
            kind: PrincipalKind::Federated(vouched.subject.id),
            organization,
            role,
            permissions: role.permissions().and(within),
            limits: None,
            person: None,
            within,
        };
        Ok(Caller::federated(principal, token.text.clone()))
    }

    /// Where somebody belongs whom another issuer vouches for, while their organization is open.
    pub(super) fn federated_home(&self, vouched: &Vouched) -> Result<OrganizationId, Error> {
        let book = self.0.book.load();
        let found = match &vouched.subject.organization {
            None => book.organization(&super::DEFAULT_ORGANIZATION),
            Some(name) => book.organization_called(name),
        };
        match found {
            Some(organization) if organization.is_active => Ok(organization.id),
            _ => Err(Error::NothingHere("organization")),
        }
    }

    /// The issuer whose keys must be read before a credential can be judged, if that is so.
    pub(crate) fn keys_due(&self, credential: &Credential) -> Option<Arc<Issuer>> {
        let Credential::Token(token) = credential else { return None };
        let issuers = &self.0.issuers;
        if issuers.known.is_empty() {
            return None;
        }
        let (text, now) = (token.text.expose(), self.0.clock.now());
        // Most tokens are ours, and are known already.
        if self.0.tokens.read(text, now).is_ok() {
            return None;
        }
        let found = issuers.good.read().get(&sha256(text.as_bytes())).cloned();
        let (issuer, key) = if let Some(vouched) = &found {
            (&vouched.issuer, None)
        } else {
            let (issuer, opened) = issuers.open(text)?;
            (issuer, opened.key)
        };
        issuers.is_due(issuer, key.as_deref(), now).then(|| Arc::clone(issuer))
    }

    /// Reads the keys of an issuer where they are still due when it is this one's turn: `read` is
    /// to bring the set.
    pub(crate) async fn renew_keys<B: AsRef<[u8]>>(
        &self,
        credential: &Credential,
        issuer: &Issuer,
        read: impl Future<Output = Option<B>>,
    ) {
        let _turn = issuer.turn.lock().await;
        // Somebody else's turn may have brought them.
        if self.keys_due(credential).is_none() {
            return;
        }
        let keys = read.await.and_then(|set| jwks::read(set.as_ref()));
        let now = self.0.clock.now();
        if let Some(all) = keys {
            tracing::debug!(issuer = issuer.name(), keys = all.len(), "keys were read");
            issuer.keys.store(Arc::new(Keys { all, read_at: Some(now) }));
            // What was signed with a key that is not there any more is not good any more.
            let mut good = self.0.issuers.good.write();
            good.retain(|_, vouched| vouched.issuer.name() != issuer.name());
        } else {
            tracing::warn!(issuer = issuer.name(), "its keys cannot be read");
        }
        *issuer.tried_at.lock() = Some(now);
    }

    /// How the keys of issuers are read.
    pub(crate) fn issuer_keys(&self) -> &KeySettings {
        &self.0.issuers.keys
    }
}
