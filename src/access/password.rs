//! Passwords: which ones are good enough, and how they are hashed.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

use crate::{
    access::{Access, Error, guess},
    domain::Secret,
    observe::stand_behind,
};

const SHORTEST: usize = 15;
const LONGEST: usize = 1_024;
/// OWASP's floor for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The hash of nobody's password, as costly to check as anybody's.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmUgIQ$\
                       3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Checks a password's length and that it is not the name it protects.
///
/// Fifteen characters, because nothing but the password stands before the account.
pub(super) fn check(username: &str, password: &Secret) -> Result<(), Error> {
    let text = password.expose();
    check_length(password)?;
    if text.chars().count() < SHORTEST {
        return Err(Error::WeakPassword(
            "the password is shorter than 15 characters; a few plain words make a good one",
        ));
    }
    let lower = text.to_lowercase();
    let is_name = lower.replace(&username.to_lowercase(), "").len() < 8;
    if is_name || guess::is_guessed(&lower) {
        return Err(Error::WeakPassword("the password is too easy to guess"));
    }
    Ok(())
}

/// Checks that a password is no longer than any may be, before anything is done with it.
pub(super) fn check_length(password: &Secret) -> Result<(), Error> {
    if password.expose().len() > LONGEST {
        return Err(Error::WeakPassword("the password is longer than 1,024 bytes"));
    }
    Ok(())
}

impl Access {
    /// The argon2id hash of a password as a PHC string, computed off the runtime's own threads.
    pub(super) async fn hash(&self, password: Secret) -> Result<String, Error> {
        let hash = self.in_turn(move || {
            let hash = argon2()?.hash_password(password.expose().as_bytes()).ok()?;
            Some(hash.to_string())
        });
        hash.await?.ok_or(Error::Hashing)
    }

    /// Whether a password is that of a hash. Where there is no hash it is not, after as much work.
    pub(super) async fn verify(
        &self,
        password: Secret,
        hash: Option<String>,
    ) -> Result<bool, Error> {
        let is_somebodys = hash.is_some();
        let is_right = self.in_turn(move || {
            let hash = hash.as_deref().unwrap_or(NOBODYS);
            Some(argon2()?.verify_password(password.expose().as_bytes(), hash).is_ok())
        });
        Ok(is_right.await?.ok_or(Error::Hashing)? && is_somebodys)
    }

    /// Does costly work when its turn comes. Those who would wait behind too many are sent away.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.0.hash_queue.try_acquire().map_err(|_| Error::Busy)?;
        let turn = std::sync::Arc::clone(&self.0.hashing).acquire_owned().await;
        let turn = turn.map_err(|_| Error::Hashing)?;
        let (tell, told) = tokio::sync::oneshot::channel();
        // The turn goes with the work, which goes on when nobody waits for it any more. A thread of
        // its own, because none can take back that it stands behind others.
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            stand_behind();
            // Whoever waited may be gone.
            drop(tell.send(work()));
            drop(turn);
        });
        thread.map_err(|_| Error::Hashing)?;
        told.await.map_err(|_| Error::Hashing)
    }
}

fn argon2() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
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

    #[test]
    fn nobodys_hash_costs_as_much_as_anybodys() {
        let hash = argon2().expect("good parameters").hash_password(b"x").expect("a hash");
        let costs = |hash: &str| hash.rsplitn(3, '$').nth(2).map(str::to_owned);

        let anybodys = costs(&hash.to_string());

        assert_eq!(costs(NOBODYS), anybodys);
        let salt_and_digest =
            |hash: &str| hash.rsplitn(3, '$').take(2).map(str::len).sum::<usize>();
        assert_eq!(salt_and_digest(NOBODYS), salt_and_digest(&hash.to_string()));
    }
}
