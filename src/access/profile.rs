//! What people see and change of themselves.

use std::net::IpAddr;

use serde::Deserialize;

use crate::{
    access::{
        Access, Caller, Credential, Error, password,
        sign_in::{actor, end_others},
        users::{readdressed, refuse_taken},
        words::{username as username_of, words},
    },
    domain::{Email, PrincipalKind, Secret, User},
};

/// What somebody changes of themselves. Their role is not theirs to change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProfileForm {
    /// What they sign in with.
    username: Option<String>,
    /// Another name to sign in with.
    email: Option<String>,
    /// What people call them.
    #[serde(alias = "full_name")]
    name: Option<String>,
}

/// A person, and how they sign in.
pub(crate) struct Profile {
    pub(crate) user: User,
    /// Whether they are asked for a second factor.
    pub(crate) has_second_factor: bool,
}

/// A new password for an old one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordForm {
    current_password: Option<Secret>,
    new_password: Secret,
}

impl Access {
    /// The person behind a caller; none where it is a key of no person's, or the machine's owner.
    pub(crate) fn profile(&self, caller: &Caller) -> Result<Option<Profile>, Error> {
        let Some(id) = caller.principal().person else { return Ok(None) };
        let snapshot = self.0.store.read()?;
        let Some(user) = snapshot.user(&id)? else { return Ok(None) };
        let has_second_factor = snapshot.second_factor(&id)?.is_some_and(|it| it.is_confirmed);
        Ok(Some(Profile { user, has_second_factor }))
    }

    /// The same of a person who just signed in.
    pub(crate) fn profile_of(&self, user: &User) -> Result<Profile, Error> {
        let has_second_factor = self.has_second_factor(&user.id)?;
        Ok(Profile { user: user.clone(), has_second_factor })
    }

    /// Changes what people may change of themselves.
    pub(crate) async fn change_profile(
        &self,
        caller: &Caller,
        form: ProfileForm,
    ) -> Result<(), Error> {
        let PrincipalKind::User(id) = caller.principal().kind else {
            return Err(Error::NotSignedIn);
        };
        let username = form.username.map(|text| username_of(&text)).transpose()?;
        let email = form.email.map(|text| text.parse::<Email>()).transpose()?;
        let name = form.name.map(|text| words(text.trim())).transpose()?;
        let who = actor(id);
        let written = self.0.store.write(&who, move |change| {
            let Some(before) = change.user(&id)? else { return Err(Error::InvalidToken) };
            let (email, email_verified) = readdressed(&before, email);
            let user = User {
                username: username.unwrap_or_else(|| before.username.clone()),
                name: name.unwrap_or_else(|| before.name.clone()),
                email_verified,
                email,
                updated_at: Some(change.now()),
                ..before
            };
            refuse_taken(&change.users()?, &user)?;
            change.put_user(&user)?;
            Ok(())
        });
        written.await?;
        self.reload()
    }

    /// Changes a person's password. Whoever else is signed in as them is not any more.
    pub(crate) async fn change_password(
        &self,
        (caller, credential): (&Caller, &Credential),
        form: PasswordForm,
        from: Option<IpAddr>,
    ) -> Result<(), Error> {
        let PrincipalKind::User(id) = caller.principal().kind else {
            return Err(Error::NotSignedIn);
        };
        let kept = self.login_of(credential).ok();
        let current = form.current_password.ok_or(Error::WrongCurrentPassword)?;
        let user = self.proved(id, current, from).await?;
        password::check(&user.username, &form.new_password)?;
        let before = user.password_hash.clone();
        let password_hash = self.hash(form.new_password).await?;
        let who = actor(id);
        let written = self.0.store.write(&who, move |change| {
            let found = change.user(&id)?.filter(|user| user.password_hash == before);
            let Some(user) = found else { return Err(Error::WrongCurrentPassword) };
            change.put_user(&User { password_hash, ..user })?;
            end_others(change, id, kept)
        });
        written.await?;
        self.reload()
    }

    /// The person, once they have shown their password again.
    pub(super) async fn proved(
        &self,
        id: crate::domain::UserId,
        current: Secret,
        from: Option<IpAddr>,
    ) -> Result<User, Error> {
        password::check_length(&current)?;
        let user = self.0.store.read()?.user(&id)?.ok_or(Error::InvalidToken)?;
        let made = self.0.lanes.enter(&user.username, from, self.0.clock.now())?;
        let verified = self.verify(current, Some(user.password_hash.clone())).await;
        if !verified.inspect_err(|error| self.0.lanes.withdraw(&made, error))? {
            return Err(Error::WrongCurrentPassword);
        }
        self.0.lanes.forgive(&made);
        Ok(user)
    }
}
