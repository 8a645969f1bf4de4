//! API keys in memory: looked up by id, compared by digest.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;

use crate::{
    access::{Error, book::Book, credential::PresentedKey, mac::Mac},
    domain::{
        ApiKey, KeyId, KeyType, KeyUse, Limits, OrganizationId, Permissions, Principal,
        PrincipalKind, Role, Timestamp, UserId,
    },
};

/// Every key there is, ready to be asked. Keys are 256 random bits, so one keyed hash is as good
/// as a slow one and costs a fifth of a microsecond.
pub(super) struct KeyRing {
    keys: ArcSwap<HashMap<KeyId, Held>>,
    mac: Mac,
}

impl KeyRing {
    pub(super) fn new(pepper: &[u8; 32]) -> Self {
        Self { keys: ArcSwap::default(), mac: Mac::new(pepper) }
    }

    /// HMAC-SHA-256 of a text under the pepper.
    pub(super) fn digest(&self, text: &str) -> [u8; 32] {
        self.mac.of(text.as_bytes())
    }

    /// Puts other keys in place of all. When each was used is remembered.
    pub(super) fn replace(&self, keys: Vec<ApiKey>, book: &Book, known: &[KeyUse]) {
        let before = self.keys.load();
        let noted: HashMap<KeyId, i64> =
            known.iter().map(|used| (used.id, used.last_used_at.as_ms())).collect();
        let hold = |key: ApiKey| {
            let used = match before.get(&key.id) {
                Some(held) => held.used.clone(),
                None => Arc::new(Used::new(noted.get(&key.id).copied().unwrap_or(NEVER))),
            };
            (key.id, Held::new(key, book, used))
        };
        self.keys.store(Arc::new(keys.into_iter().map(hold).collect()));
    }

    /// Who shows this text, if it opens anything now. What is wrong with it is not said.
    pub(super) fn find(&self, key: &PresentedKey, now: Timestamp) -> Result<Principal, Error> {
        let read = key.read(|text| self.digest(text))?;
        let keys = self.keys.load();
        let held = keys.get(&read.id).ok_or(Error::UnknownKey)?;
        let is_same: bool = held.digest.ct_eq(&read.digest).into();
        if !is_same || !held.opens(now) {
            return Err(Error::UnknownKey);
        }
        held.used.last_ms.store(now.as_ms(), Ordering::Relaxed);
        Ok(held.principal(read.id))
    }

    /// Whoever would show a key.
    pub(super) fn principal(&self, key: KeyId) -> Option<Principal> {
        Some(self.keys.load().get(&key)?.principal(key))
    }

    /// Whoever would show a key, where it opens anything now, and who holds it.
    pub(super) fn open(&self, key: KeyId, now: Timestamp) -> Option<(Principal, KeyType)> {
        let keys = self.keys.load();
        let held = keys.get(&key).filter(|held| held.opens(now))?;
        Some((held.principal(key), held.key_type))
    }

    /// Whether a key opens anything now.
    pub(super) fn opens(&self, key: &KeyId, now: Timestamp) -> bool {
        self.keys.load().get(key).is_some_and(|held| held.opens(now))
    }

    /// Whether whoever shows a key is now what they were.
    pub(super) fn is_still(&self, key: &KeyId, was: &Principal, now: Timestamp) -> bool {
        self.keys.load().get(key).is_some_and(|held| {
            let may = held.permissions.and(was.within);
            let reaches = match (&held.limits, &was.limits) {
                // An app's token may see less than its key.
                (held, was_limited) if was.within != Permissions::all() => held
                    .as_ref()
                    .is_none_or(|held| was_limited.as_ref().is_some_and(|was| held.include(was))),
                (held, was) => held == was,
            };
            held.opens(now) && may == was.permissions && reaches
        })
    }

    /// When a key was used last, as far as this process or the store knows.
    pub(super) fn last_used(&self, key: &KeyId) -> Option<Timestamp> {
        let last_ms = self.keys.load().get(key)?.used.last_ms.load(Ordering::Relaxed);
        (last_ms != NEVER).then(|| Timestamp::from_ms(last_ms))
    }

    /// Keys that were used since it was noted last.
    pub(super) fn uses(&self) -> Vec<KeyUse> {
        let keys = self.keys.load();
        let used = keys.iter().filter_map(|(id, held)| {
            let last_ms = held.used.last_ms.load(Ordering::Relaxed);
            let is_news = last_ms != held.used.noted_ms.load(Ordering::Relaxed);
            is_news.then(|| KeyUse { id: *id, last_used_at: Timestamp::from_ms(last_ms) })
        });
        used.collect()
    }

    /// Takes note that these uses are written down.
    pub(super) fn are_noted(&self, uses: &[KeyUse]) {
        let keys = self.keys.load();
        for used in uses {
            if let Some(held) = keys.get(&used.id) {
                held.used.noted_ms.store(used.last_used_at.as_ms(), Ordering::Relaxed);
            }
        }
    }
}

/// When a key was never used.
const NEVER: i64 = i64::MIN;

/// When a key was used, as the path notes it: one write to memory.
struct Used {
    last_ms: AtomicI64,
    /// What is written down of it.
    noted_ms: AtomicI64,
}

impl Used {
    fn new(noted_ms: i64) -> Self {
        Self { last_ms: AtomicI64::new(noted_ms), noted_ms: AtomicI64::new(noted_ms) }
    }
}

/// A key with what it stands for, so that a call looks nothing else up.
struct Held {
    digest: [u8; 32],
    /// Whether it opens anything, expiry aside.
    is_open: bool,
    expires_at: Option<Timestamp>,
    organization: OrganizationId,
    role: Role,
    permissions: Permissions,
    limits: Option<Arc<Limits>>,
    owner: Option<UserId>,
    key_type: KeyType,
    used: Arc<Used>,
}

impl Held {
    fn principal(&self, key: KeyId) -> Principal {
        Principal {
            kind: PrincipalKind::Key(key),
            organization: self.organization,
            role: self.role,
            permissions: self.permissions,
            limits: self.limits.clone(),
            person: self.owner,
            within: Permissions::all(),
        }
    }

    fn opens(&self, now: Timestamp) -> bool {
        self.is_open && self.expires_at.is_none_or(|end| end > now)
    }

    fn new(key: ApiKey, book: &Book, used: Arc<Used>) -> Self {
        Self {
            is_open: book.opens(&key),
            role: book.role(&key),
            permissions: book.permissions(&key),
            digest: key.digest,
            expires_at: key.expires_at,
            organization: key.organization,
            owner: key.owner,
            key_type: key.key_type,
            limits: (!key.limits.is_none()).then(|| Arc::new(key.limits)),
            used,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::book::tests::{book, key as a_key, user},
        domain::{Grant, KeyText},
    };

    fn key(ring: &KeyRing) -> (ApiKey, PresentedKey) {
        let (id, text) = KeyText::generate();
        let digest = ring.digest(text.expose());
        (ApiKey { id, digest, ..a_key() }, PresentedKey::new(text))
    }

    #[test]
    fn finds_a_key_by_its_text() {
        let ring = KeyRing::new(&[7; 32]);
        let (key, text) = key(&ring);
        ring.replace(vec![key.clone()], &book(vec![]), &[]);

        let found = ring.find(&text, Timestamp::from_ms(1)).ok().map(|found| found.kind);

        assert_eq!(found, Some(PrincipalKind::Key(key.id)));
    }

    #[test]
    fn a_key_that_is_over_or_revoked_or_unknown_opens_nothing() {
        let ring = KeyRing::new(&[7; 32]);
        let (key, text) = key(&ring);
        let over = ApiKey { expires_at: Some(Timestamp::from_ms(5)), ..key.clone() };
        let revoked = ApiKey { is_active: false, ..key.clone() };
        let other = ApiKey { digest: [0; 32], ..key.clone() };

        for keys in [vec![over], vec![revoked], vec![other], vec![]] {
            ring.replace(keys, &book(vec![]), &[]);
            assert!(ring.find(&text, Timestamp::from_ms(5)).is_err());
        }
    }

    #[test]
    fn a_key_never_outranks_its_owner() {
        let ring = KeyRing::new(&[7; 32]);
        let (key, text) = key(&ring);
        let owned = ApiKey {
            owner: Some(user(Role::Admin).id),
            grants: Grant::read("*").expect("a grant"),
            ..key
        };
        let as_owned_by = |role: Role| {
            ring.replace(vec![owned.clone()], &book(vec![user(role)]), &[]);
            ring.find(&text, Timestamp::from_ms(1)).map(|found| found.permissions)
        };

        assert_eq!(as_owned_by(Role::Admin).ok(), Some(Role::Admin.permissions()));
        assert_eq!(as_owned_by(Role::Viewer).ok(), Some(Role::Viewer.permissions()));
        ring.replace(vec![owned.clone()], &book(vec![]), &[]);
        assert!(ring.find(&text, Timestamp::from_ms(1)).is_err(), "its owner is gone");
    }

    #[test]
    fn what_was_used_is_told_once_it_is_news_and_survives_reading_again() {
        let ring = KeyRing::new(&[7; 32]);
        let (key, text) = key(&ring);
        ring.replace(vec![key.clone()], &book(vec![]), &[]);
        assert!(ring.uses().is_empty() && ring.last_used(&key.id).is_none());

        ring.find(&text, Timestamp::from_ms(9)).expect("a key");
        ring.replace(vec![key.clone()], &book(vec![]), &[]);

        let used = KeyUse { id: key.id, last_used_at: Timestamp::from_ms(9) };
        assert_eq!(ring.uses(), [used]);
        ring.are_noted(&[used]);
        assert!(ring.uses().is_empty());
        assert_eq!(ring.last_used(&key.id), Some(Timestamp::from_ms(9)));
    }
}
