//! Second factors: enrolling, being asked, and recovering.

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::{
    access::{Access, Caller, Error, sign_in::actor, totp},
    domain::{PrincipalKind, SecondFactor, Secret, User, UserId},
};

/// Recovery codes that somebody gets.
const CODES: usize = 10;
/// Characters of one, without its dash: 50 bits.
const CODE_LENGTH: usize = 10;

/// What an authenticator app is told.
pub(crate) struct Enrolment {
    pub(crate) secret: Secret,
    /// The same as a URI, for a picture that apps read.
    pub(crate) uri: Secret,
}

impl Access {
    /// Begins to give somebody a second factor. They are asked for it once they confirmed it.
    pub(crate) async fn enrol(
        &self,
        caller: &Caller,
        password: Secret,
        from: Option<IpAddr>,
    ) -> Result<Enrolment, Error> {
        let user = self.proved(person(caller)?, password, from).await?;
        let secret = totp::generate();
        let factor = SecondFactor {
            id: user.id,
            username: user.username.clone(),
            secret: secret.clone(),
            is_confirmed: false,
            last_step: 0,
            recovery: Vec::new(),
        };
        let who = actor(user.id);
        let written = self.0.store.write(&who, move |change| {
            if change.second_factor(&factor.id)?.is_some_and(|it| it.is_confirmed) {
                return Err(Error::HasSecondFactor);
            }
            change.put_second_factor(&factor)?;
            Ok(())
        });
        written.await?;
        let name: String = url::form_urlencoded::byte_serialize(user.username.as_bytes()).collect();
        let name = name.replace('+', "%20");
        let uri = Zeroizing::new(format!(
            "otpauth://totp/Tollhouse:{name}?secret={}&issuer=Tollhouse",
            secret.expose()
        ));
        Ok(Enrolment { secret, uri: Secret::new(uri.as_str()) })
    }

    /// Confirms a second factor with its first code. Gives the codes for when it is lost, once.
    pub(crate) async fn confirm(
        &self,
        caller: &Caller,
        code: &Secret,
    ) -> Result<Vec<Secret>, Error> {
        let id = person(caller)?;
        let codes: Vec<Secret> = (0..CODES).map(|_| recovery_code()).collect();
        let recovery = codes.iter().map(|code| self.code_digest(id, code)).collect();
        let (code, now) = (code.clone(), self.0.clock.now());
        let who = actor(id);
        let written = self.0.store.write(&who, move |change| {
            let found = change.second_factor(&id)?.filter(|factor| !factor.is_confirmed);
            let Some(factor) = found else { return Err(Error::NothingToConfirm) };
            let step = totp::step_of(&factor.secret, code.expose().trim(), factor.last_step, now);
            let last_step = step.ok_or(Error::WrongCode)?;
            change.put_second_factor(&SecondFactor {
                is_confirmed: true,
                last_step,
                recovery,
                ..factor
            })?;
            Ok(())
        });
        written.await?;
        // Whoever shows a password in every request is not let in by it any more.
        self.0.remembered.forget();
        Ok(codes)
    }

    /// Takes a second factor away from its owner, who shows the password and a code.
    pub(crate) async fn drop_second_factor(
        &self,
        caller: &Caller,
        (password, code): (Secret, Option<Secret>),
        from: Option<IpAddr>,
    ) -> Result<(), Error> {
        let user = self.proved(person(caller)?, password, from).await?;
        self.second_step(&user, code).await?;
        let who = actor(user.id);
        let written = self.0.store.write(&who, move |change| {
            change.remove_second_factor(&user.id)?;
            Ok::<(), Error>(())
        });
        written.await
    }

    /// Asks somebody who showed the right password for their second factor, if they have one.
    pub(super) async fn second_step(&self, user: &User, code: Option<Secret>) -> Result<(), Error> {
        let factor = self.0.store.read()?.second_factor(&user.id)?;
        if factor.is_none_or(|factor| !factor.is_confirmed) {
            return Ok(());
        }
        let code = code.ok_or(Error::SecondFactorNeeded)?;
        let (id, now) = (user.id, self.0.clock.now());
        let digest = self.code_digest(id, &code);
        let who = actor(id);
        let written = self.0.store.write(&who, move |change| {
            let Some(mut factor) = change.second_factor(&id)? else { return Ok(()) };
            let text = code.expose().trim();
            if let Some(step) = totp::step_of(&factor.secret, text, factor.last_step, now) {
                factor.last_step = step;
            } else {
                let place = factor.recovery.iter().position(|it| *it == digest);
                factor.recovery.remove(place.ok_or(Error::WrongCode)?);
            }
            change.put_second_factor(&factor)?;
            Ok(())
        });
        written.await
    }

    /// Whether somebody is asked for more than a password.
    pub(super) fn has_second_factor(&self, id: &UserId) -> Result<bool, Error> {
        Ok(self.0.store.read()?.second_factor(id)?.is_some_and(|factor| factor.is_confirmed))
    }

    fn code_digest(&self, id: UserId, code: &Secret) -> [u8; 32] {
        let letters = code.expose().chars().filter(char::is_ascii_alphanumeric);
        let letters: Zeroizing<String> = Zeroizing::new(letters.collect());
        let text = Zeroizing::new(format!("recovery {id} {}", letters.to_ascii_uppercase()));
        self.0.ring.digest(&text)
    }
}

fn person(caller: &Caller) -> Result<UserId, Error> {
    match caller.principal().kind {
        PrincipalKind::User(id) => Ok(id),
        _ => Err(Error::NotSignedIn),
    }
}

fn recovery_code() -> Secret {
    let random = totp::generate();
    let (first, second) = random.expose()[..CODE_LENGTH].split_at(CODE_LENGTH / 2);
    Secret::new(format!("{first}-{second}"))
}
