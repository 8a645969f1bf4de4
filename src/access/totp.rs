//! One-time passwords of time (RFC 6238): six digits, thirty seconds, HMAC-SHA-1, which is what
//! every authenticator app speaks.

use openssl::{hash::MessageDigest, pkey::PKey, rand::rand_bytes, sign::Signer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::{Secret, Timestamp};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const STEP_MS: i64 = 30_000;
const SECRET_BYTES: usize = 20;

/// A new secret, in base32 as apps take it.
pub(super) fn generate() -> Secret {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    rand_bytes(&mut *bytes).expect("the operating system has randomness");
    let text = bytes.chunks(5).flat_map(|five| {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (0..8).rev().map(move |place| char::from(ALPHABET[(bits >> (5 * place) & 31) as usize]))
    });
    Secret::new(text.collect::<String>())
}

/// The step of time for which a code is right, if it is for one that was not used: this one, or one
/// beside it for clocks that are not quite right.
pub(super) fn step_of(secret: &Secret, code: &str, last: u64, now: Timestamp) -> Option<u64> {
    let current = u64::try_from(now.as_ms() / STEP_MS).ok()?;
    let key = bytes(secret)?;
    let near = current.saturating_sub(1)..=current + 1;
    near.filter(|step| *step > last).find(|step| {
        digits(&key, *step).is_some_and(|it| it.as_bytes().ct_eq(code.as_bytes()).into())
    })
}

/// The code of a moment, as an app shows it.
#[cfg(test)]
pub(super) fn code(secret: &Secret, now: Timestamp) -> Secret {
    let step = u64::try_from(now.as_ms() / STEP_MS).expect("after 1970");
    let digits = bytes(secret).and_then(|key| digits(&key, step));
    Secret::new(digits.expect("a secret of ours"))
}

/// The six digits of a step (RFC 4226, section 5.3).
fn digits(key: &[u8], step: u64) -> Option<String> {
    let key = PKey::hmac(key).ok()?;
    let mut signer = Signer::new(MessageDigest::sha1(), &key).ok()?;
    let digest = signer.sign_oneshot_to_vec(&step.to_be_bytes()).ok()?;
    let offset = usize::from(digest.last()? & 15);
    let four: [u8; 4] = digest.get(offset..offset + 4)?.try_into().ok()?;
    let number = u32::from_be_bytes(four) & 0x7fff_ffff;
    Some(format!("{:06}", number % 1_000_000))
}

fn bytes(secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES));
    for eight in secret.expose().as_bytes().chunks(8) {
        let mut bits = 0_u64;
        for letter in eight {
            let place = ALPHABET.iter().position(|it| it == letter)?;
            bits = bits << 5 | place as u64;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // The RFC's eight digits end with these six.
        let key = b"12345678901234567890";
        for (seconds, code) in
            [(59_u64, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")]
        {
            assert_eq!(digits(key, seconds / 30).as_deref(), Some(code));
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_its_time() {
        let secret = generate();
        let now = Timestamp::from_ms(3_000_000);
        let code = digits(&bytes(&secret).expect("base32"), 100).expect("a code");

        assert_eq!(step_of(&secret, &code, 0, now), Some(100));
        assert_eq!(step_of(&secret, &code, 100, now), None);
        assert_eq!(step_of(&secret, &code, 0, Timestamp::from_ms(3_060_000)), None);
        assert_eq!(step_of(&secret, "", 0, now), None);
    }

    #[test]
    fn a_secret_is_what_apps_take() {
        let secret = generate();

        assert_eq!(secret.expose().len(), 32);
        assert_eq!(bytes(&secret).map(|it| it.len()), Some(SECRET_BYTES));
    }
}
