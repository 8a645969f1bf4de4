//! Records encrypted at rest: what is in the file is unreadable, and what was altered is refused.
//!
//! AES-256-GCM under a key made for this purpose only, with a random nonce before and a tag behind
//! the text. The database does not check its pages when it reads; the tag does, for every record.
//! Random nonces are good for 2^32 records under one key, which is more than a thousand million
//! changes.

use openssl::{
    hash::MessageDigest,
    pkey::PKey,
    rand::rand_bytes,
    sign::Signer,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};
use zeroize::Zeroizing;

const NONCE: usize = 12;
const TAG: usize = 16;

/// A key of 256 bits that is wiped when dropped.
pub(super) type KeyBytes = Zeroizing<[u8; 32]>;

/// Seals records and opens them again.
pub(super) struct Seal {
    key: KeyBytes,
}

impl Seal {
    /// The seal of the house with this master key.
    pub(super) fn new(master: &KeyBytes) -> Self {
        Self { key: derive(master, "tollhouse records 1") }
    }

    /// Encrypts a body. It can be opened in the same context only.
    pub(super) fn close(&self, context: &[u8], body: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rand_bytes(&mut nonce).expect("the operating system has randomness");
        let mut tag = [0; TAG];
        let cipher = Cipher::aes_256_gcm();
        let text = encrypt_aead(cipher, &*self.key, Some(&nonce), context, body, &mut tag)
            .expect("the key and the nonce have the cipher's lengths");
        [&nonce[..], &text, &tag].concat()
    }

    /// Decrypts a body; none when a single bit of it or of its context is another.
    pub(super) fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE)?;
        let (text, tag) = rest.split_at_checked(rest.len().checked_sub(TAG)?)?;
        let cipher = Cipher::aes_256_gcm();
        decrypt_aead(cipher, &*self.key, Some(nonce), context, text, tag).ok().map(Zeroizing::new)
    }
}

/// A key for one purpose, made of the master key: HMAC-SHA-256 of the purpose's name.
pub(super) fn derive(master: &KeyBytes, purpose: &str) -> KeyBytes {
    let key = PKey::hmac(&**master).expect("256 bits make an HMAC key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("OpenSSL has SHA-256");
    let mut bytes = Zeroizing::new([0; 32]);
    let length = signer.sign_oneshot(&mut *bytes, purpose.as_bytes());
    assert_eq!(length.expect("an HMAC can always be computed"), 32, "SHA-256 has 32 bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(byte: u8) -> Seal {
        Seal::new(&Zeroizing::new([byte; 32]))
    }

    #[test]
    fn what_is_sealed_is_opened_in_its_place_only() {
        let sealed = seal(1).close(b"here", b"hunter2");

        assert_eq!(seal(1).open(b"here", &sealed).as_deref(), Some(&b"hunter2".to_vec()));
        assert_eq!(seal(1).open(b"there", &sealed), None);
        assert_eq!(seal(2).open(b"here", &sealed), None);
    }

    #[test]
    fn every_altered_bit_is_noticed() {
        let sealed = seal(1).close(b"", b"admin: no");

        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal(1).open(b"", &altered), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(seal(1).open(b"", &sealed[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn keys_for_different_purposes_differ() {
        let master = Zeroizing::new([7; 32]);

        assert_ne!(derive(&master, "a"), derive(&master, "b"));
        assert_eq!(derive(&master, "a"), derive(&master, "a"));
    }
}
