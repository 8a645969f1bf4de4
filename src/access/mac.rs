//! HMAC-SHA-256 under one key, many times.

use openssl::sha::{Sha256, sha256};

const BLOCK: usize = 64;

/// The states after the padded key, so that only the text is left to be hashed.
pub(super) struct Mac {
    inner: Sha256,
    outer: Sha256,
}

impl Mac {
    /// For a key of any length (RFC 2104).
    pub(super) fn new(key: &[u8]) -> Self {
        let hashed = (key.len() > BLOCK).then(|| sha256(key));
        let key = hashed.as_ref().map_or(key, <[u8; 32]>::as_slice);
        let padded = |with: u8| {
            let mut block = [with; BLOCK];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = Sha256::new();
            state.update(&block);
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5C) }
    }

    /// The code of a text.
    pub(super) fn of(&self, text: &[u8]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        inner.update(text);
        let mut outer = self.outer.clone();
        outer.update(&inner.finish());
        outer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_4231() {
        let second = Mac::new(b"Jefe").of(b"what do ya want for nothing?");
        let long = Mac::new(&[0xaa; 131]);
        let sixth = long.of(b"Test Using Larger Than Block-Size Key - Hash Key First");

        assert_eq!(second[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(second[28..], [0x64, 0xec, 0x38, 0x43]);
        assert_eq!(sixth[..4], [0x60, 0xe4, 0x31, 0x59]);
    }
}
