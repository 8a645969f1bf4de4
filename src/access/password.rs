//! Passwords: which ones are good enough, and how they are hashed.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

use crate::{
    access::{Access, Error},
    domain::Secret,
};

const SHORTEST: usize = 15;
const LONGEST: usize = 1_024;
/// OWASP's floor for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Checks a password's length and that it is not the name it protects.
///
/// Fifteen characters, because nothing but the password stands before the account.
pub(super) fn check(username: &str, password: &Secret) -> Result<(), Error> {
    let text = password.expose();
    let is_one_character = text.chars().all(|c| text.starts_with(c));
    if text.len() > LONGEST {
        return Err(Error::WeakPassword("the password is longer than 1,024 bytes"));
    }
    if text.chars().count() < SHORTEST {
        return Err(Error::WeakPassword(
            "the password is shorter than 15 characters; a few plain words make a good one",
        ));
    }
    if is_one_character || text.to_lowercase().replace(&username.to_lowercase(), "").len() < 8 {
        return Err(Error::WeakPassword("the password is too easy to guess"));
    }
    Ok(())
}

impl Access {
    /// The argon2id hash of a password as a PHC string, computed off the runtime's own threads.
    pub(super) async fn hash(&self, password: Secret) -> Result<String, Error> {
        let _place = self.0.hashing.acquire().await.map_err(|_| Error::Hashing)?;
        let hashing = tokio::task::spawn_blocking(move || {
            let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let hash = argon2.hash_password(password.expose().as_bytes()).ok()?;
            Some(hash.to_string())
        });
        hashing.await.ok().flatten().ok_or(Error::Hashing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_long_passwords_of_any_characters() {
        for good in ["correct horse battery staple 9", "五つの言葉で十分に長いパスワードです"]
        {
            assert!(check("admin", &Secret::new(good)).is_ok(), "{good}");
        }
        assert!(check("admin", &Secret::new("x y".repeat(100))).is_ok());
    }

    #[test]
    fn refuses_what_is_short_or_guessed() {
        for bad in ["", "password", "aaaaaaaaaaaaaaaaaaaa", "administrator-admin"] {
            assert!(check("administrator", &Secret::new(bad)).is_err(), "{bad}");
        }
        assert!(check("admin", &Secret::new("x".repeat(2_000))).is_err());
    }
}
