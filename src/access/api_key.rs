//! API keys in memory: looked up by id, compared by digest.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use openssl::sha::Sha256;
use subtle::ConstantTimeEq;

use crate::{
    access::Error,
    domain::{ApiKey, KeyId, KeyText, Timestamp},
};

const BLOCK: usize = 64;

/// Every key there is, ready to be asked. Keys are 256 random bits, so one keyed hash is as good
/// as a slow one and costs a fifth of a microsecond.
pub(super) struct KeyRing {
    keys: ArcSwap<HashMap<KeyId, ApiKey>>,
    /// The states after the padded pepper, so that a look-up hashes only the key.
    inner: Sha256,
    outer: Sha256,
}

impl KeyRing {
    pub(super) fn new(pepper: &[u8; 32]) -> Self {
        let padded = |with: u8| {
            let mut block = [with; BLOCK];
            for (byte, pepper) in block.iter_mut().zip(pepper) {
                *byte ^= pepper;
            }
            let mut state = Sha256::new();
            state.update(&block);
            state
        };
        Self { keys: ArcSwap::default(), inner: padded(0x36), outer: padded(0x5C) }
    }

    /// HMAC-SHA-256 of a key's text under the pepper (RFC 2104).
    pub(super) fn digest(&self, text: &str) -> [u8; 32] {
        let mut inner = self.inner.clone();
        inner.update(text.as_bytes());
        let mut outer = self.outer.clone();
        outer.update(&inner.finish());
        outer.finish()
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
        Ok(Found { id: key.id, organization: key.organization, role: key.role })
    }
}

/// What a key stands for.
pub(super) struct Found {
    pub(super) id: KeyId,
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
    fn the_digest_is_hmac_sha_256() {
        let mut pepper = [0; 32];
        pepper[..4].copy_from_slice(b"Jefe");
        let ring = KeyRing::new(&pepper);

        let digest = ring.digest("what do ya want for nothing?");

        // RFC 4231, test case 2: a key is padded with zeros, so these 32 bytes are the same key.
        assert_eq!(digest[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(digest[28..], [0x64, 0xec, 0x38, 0x43]);
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
