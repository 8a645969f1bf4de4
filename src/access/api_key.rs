//! API keys in memory: looked up by id, compared by digest.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;

use crate::{
    access::{Error, mac::Mac},
    domain::{ApiKey, KeyId, KeyText, Timestamp, UserId},
};

/// Every key there is, ready to be asked. Keys are 256 random bits, so one keyed hash is as good
/// as a slow one and costs a fifth of a microsecond.
pub(super) struct KeyRing {
    keys: ArcSwap<HashMap<KeyId, ApiKey>>,
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

    /// Whether a key opens anything now.
    pub(super) fn opens(&self, id: &KeyId, now: Timestamp) -> bool {
        let is_open = |key: &ApiKey| key.is_active && key.expires_at.is_none_or(|end| end > now);
        self.keys.load().get(id).is_some_and(is_open)
    }

    /// Whose key it is, where it is somebody's.
    pub(super) fn owner(&self, id: &KeyId) -> Option<UserId> {
        self.keys.load().get(id).and_then(|key| key.owner)
    }

    /// Puts other keys in place of all.
    pub(super) fn replace(&self, keys: Vec<ApiKey>) {
        self.keys.store(Arc::new(keys.into_iter().map(|key| (key.id, key)).collect()));
    }

    /// The key of this text, if it opens anything now. What is wrong with it is not said.
    pub(super) fn find(&self, text: &str, now: Timestamp) -> Result<Found, Error> {
        let text = KeyText::parse(text)?;
        let digest = self.digest(text.expose());
        let keys = self.keys.load();
        let key = keys.get(&text.id).ok_or(Error::UnknownKey)?;
        let is_same: bool = key.digest.ct_eq(&digest).into();
        if !is_same || !key.is_active || key.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::UnknownKey);
        }
        let (id, owner) = (key.id, key.owner);
        Ok(Found { id, owner, organization: key.organization, role: key.role })
    }
}

/// What a key stands for.
pub(super) struct Found {
    pub(super) id: KeyId,
    pub(super) owner: Option<UserId>,
    pub(super) organization: crate::domain::OrganizationId,
    pub(super) role: crate::domain::Role,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OrganizationId, Role};

    fn key(ring: &KeyRing) -> (ApiKey, crate::domain::Secret) {
        let (id, text) = KeyText::generate();
        let key = ApiKey {
            id,
            organization: OrganizationId::fixed(1),
            owner: None,
            name: "k".into(),
            role: Role::User,
            digest: ring.digest(text.expose()),
            created_at: Timestamp::from_ms(0),
            expires_at: None,
            is_active: true,
        };
        (key, text)
    }

    #[test]
    fn finds_a_key_by_its_text() {
        let ring = KeyRing::new(&[7; 32]);
        let (key, text) = key(&ring);
        ring.replace(vec![key.clone()]);

        let found = ring.find(text.expose(), Timestamp::from_ms(1)).ok().map(|found| found.id);

        assert_eq!(found, Some(key.id));
    }

    #[test]
    fn a_key_that_is_over_or_revoked_or_unknown_opens_nothing() {
        let ring = KeyRing::new(&[7; 32]);
        let (key, text) = key(&ring);
        let over = ApiKey { expires_at: Some(Timestamp::from_ms(5)), ..key.clone() };
        let revoked = ApiKey { is_active: false, ..key.clone() };
        let other = ApiKey { digest: [0; 32], ..key.clone() };

        for keys in [vec![over], vec![revoked], vec![other], vec![]] {
            ring.replace(keys);
            assert!(ring.find(text.expose(), Timestamp::from_ms(5)).is_err());
        }
    }
}
