//! People: their accounts, and who may change which.

use std::collections::HashSet;

use serde::Deserialize;

use crate::{
    access::{
        Access, Caller, Error, password,
        sign_in::end_others,
        words::{username, words},
    },
    domain::{ApiKey, Email, OrganizationId, Role, Secret, User, UserId},
    store::Draft,
};

/// Somebody who is to have an account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// What they sign in with; their address, where nothing is said.
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    /// What people call them.
    #[serde(default, alias = "full_name")]
    name: Option<String>,
    password: Secret,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default)]
    is_superuser: bool,
    #[serde(default)]
    is_active: Option<bool>,
}

/// What is to be different about somebody's account. What is not mentioned stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserChange {
    #[serde(default)]
    email: Option<String>,
    #[serde(default, alias = "full_name")]
    name: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default)]
    is_superuser: Option<bool>,
    #[serde(default)]
    is_active: Option<bool>,
    #[serde(default)]
    email_verified: Option<bool>,
}

impl Access {
    /// Makes an account in the caller's organization.
    pub(crate) async fn create_user(&self, caller: &Caller, new: NewUser) -> Result<User, Error> {
        let email = new.email.map(|text| text.parse::<Email>()).transpose()?;
        let username = match (new.username, &email) {
            (Some(text), _) => username(&text)?,
            (None, Some(email)) => email.to_string(),
            (None, None) => return Err(Error::Unclear("give a username or an email")),
        };
        password::check(&username, &new.password)?;
        let user = User {
            id: UserId::fresh(),
            organization: caller.principal().organization,
            username,
            email,
            name: words(new.name.as_deref().unwrap_or_default().trim())?,
            role: new.role.unwrap_or(Role::User),
            is_superuser: new.is_superuser,
            password_hash: String::new(),
            is_active: new.is_active.unwrap_or(true),
            email_verified: false,
            created_at: self.0.clock.now(),
            updated_at: None,
        };
        if !caller.holds(user.permissions()) {
            return Err(Error::Beyond);
        }
        let user = User { password_hash: self.hash(new.password).await?, ..user };
        let (made, limit) = (user.clone(), self.0.settings.max_users);
        let actor = caller.actor();
        let done = self.0.store.write(&actor, move |change| {
            let users = change.users()?;
            let here = users.iter().filter(|other| other.organization == user.organization);
            if here.count() >= limit {
                return Err(Error::TooManyUsers(limit));
            }
            refuse_taken(&users, &user)?;
            change.put_user(&user)?;
            Ok(())
        });
        done.await?;
        self.reload()?;
        Ok(made)
    }

    /// Everybody with an account in the caller's organization.
    pub(crate) fn users(&self, caller: &Caller) -> Result<Vec<User>, Error> {
        let organization = caller.principal().organization;
        let users = self.0.store.read()?.users()?;
        Ok(users.into_iter().filter(|user| user.organization == organization).collect())
    }

    /// One of them, by id, name or address.
    pub(crate) fn user(&self, caller: &Caller, text: &str) -> Result<User, Error> {
        let users = self.users(caller)?;
        let found = users.into_iter().find(|user| is_called(user, text));
        found.ok_or_else(|| Error::no_such_user(text))
    }

    /// Changes somebody's account.
    pub(crate) async fn change_user(
        &self,
        caller: &Caller,
        text: &str,
        wanted: UserChange,
    ) -> Result<User, Error> {
        let before = self.user(caller, text)?;
        let email = wanted.email.map(|text| text.parse::<Email>()).transpose()?;
        let title = wanted.name.map(|text| words(text.trim())).transpose()?;
        if !caller.holds(before.permissions()) {
            return Err(Error::Beyond);
        }
        let hash = match wanted.password {
            Some(password) => {
                password::check(&before.username, &password)?;
                Some(self.hash(password).await?)
            }
            None => None,
        };
        let (role, is_superuser) = (wanted.role, wanted.is_superuser);
        let (is_active, email_verified) = (wanted.is_active, wanted.email_verified);
        let (maker, id) = (caller.clone(), before.id);
        let actor = caller.actor();
        let done = self.0.store.write(&actor, move |change| {
            let before = find_user(change, maker.principal().organization, &id.to_string())?;
            let (email, is_verified) = readdressed(&before, email);
            let user = User {
                name: title.unwrap_or_else(|| before.name.clone()),
                role: role.unwrap_or(before.role),
                is_superuser: is_superuser.unwrap_or(before.is_superuser),
                is_active: is_active.unwrap_or(before.is_active),
                email_verified: email_verified.unwrap_or(is_verified),
                email,
                password_hash: hash.unwrap_or_else(|| before.password_hash.clone()),
                updated_at: Some(change.now()),
                ..before.clone()
            };
            if !maker.holds(before.permissions()) || !maker.holds(user.permissions()) {
                return Err(Error::Beyond);
            }
            let users = change.users()?;
            refuse_taken(&users, &user)?;
            refuse_last(&users, &before, Some(&user))?;
            change.put_user(&user)?;
            // Whoever had their password is not them.
            if user.password_hash != before.password_hash {
                end_others(change, user.id, None)?;
            }
            Ok(user)
        });
        let user = done.await?;
        self.reload()?;
        Ok(user)
    }

    /// Deletes somebody's account, and the keys they own.
    pub(crate) async fn delete_user(&self, caller: &Caller, text: &str) -> Result<(), Error> {
        let (maker, text) = (caller.clone(), text.to_owned());
        let actor = caller.actor();
        let done = self.0.store.write(&actor, move |change| {
            let user = find_user(change, maker.principal().organization, &text)?;
            if !maker.holds(user.permissions()) {
                return Err(Error::Beyond);
            }
            refuse_last(&change.users()?, &user, None)?;
            forget(change, &HashSet::from([user.id]))?;
            Ok::<_, Error>(())
        });
        done.await?;
        self.reload()
    }
}

/// Removes people's accounts, with what is theirs alone.
pub(super) fn forget(change: &mut Draft<'_>, people: &HashSet<UserId>) -> Result<(), Error> {
    let is_theirs = |key: &&ApiKey| key.owner.is_some_and(|owner| people.contains(&owner));
    for key in change.keys()?.iter().filter(is_theirs) {
        change.remove_key(&key.id)?;
    }
    for login in change.logins()?.iter().filter(|login| people.contains(&login.user)) {
        change.remove_login(&login.id)?;
    }
    for id in people {
        change.remove_second_factor(id)?;
        change.remove_user(id)?;
    }
    Ok(())
}

/// Somebody of an organization, by id, name or address.
pub(super) fn find_user(
    change: &Draft<'_>,
    organization: OrganizationId,
    text: &str,
) -> Result<User, Error> {
    let users = change.users()?.into_iter();
    let mut theirs = users.filter(|user| user.organization == organization);
    theirs.find(|user| is_called(user, text)).ok_or_else(|| Error::no_such_user(text))
}

fn is_called(user: &User, text: &str) -> bool {
    user.id.to_string() == text
        || user.username.eq_ignore_ascii_case(text)
        || user.email.as_ref().is_some_and(|email| email.as_str().eq_ignore_ascii_case(text))
}

/// The address of somebody who may have another now, and whether it is proved to be theirs: another
/// is not yet.
pub(super) fn readdressed(before: &User, email: Option<Email>) -> (Option<Email>, bool) {
    let is_same = email.is_none() || email == before.email;
    (email.or_else(|| before.email.clone()), before.email_verified && is_same)
}

/// Refuses names that somebody else signs in with, in whatever organization.
pub(super) fn refuse_taken(users: &[User], user: &User) -> Result<(), Error> {
    let others = || users.iter().filter(|other| other.id != user.id);
    // A name that is another's address would be two accounts to whoever signs in with it.
    if others().any(|other| is_called(other, &user.username)) {
        return Err(Error::Taken("a user of that name"));
    }
    let email = user.email.as_ref();
    if email.is_some_and(|email| others().any(|other| is_called(other, email.as_str()))) {
        return Err(Error::Taken("a user of that address"));
    }
    Ok(())
}

/// Refuses a change after which nobody could manage an organization, or the house, any more.
fn refuse_last(users: &[User], before: &User, after: Option<&User>) -> Result<(), Error> {
    let manages = |user: &User| user.is_active && (user.role == Role::Admin || user.is_superuser);
    let is_above = |user: &User| user.is_active && user.is_superuser;
    let others = || users.iter().filter(|other| other.id != before.id);
    let is_last_here = manages(before)
        && !after.is_some_and(manages)
        && !others().any(|other| other.organization == before.organization && manages(other));
    let is_last_above = is_above(before) && !after.is_some_and(is_above) && !others().any(is_above);
    if is_last_here || is_last_above { Err(Error::LastAdministrator) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::book::tests::user;

    fn admin(number: u128) -> User {
        User { id: UserId::fixed(number), username: format!("a{number}"), ..user(Role::Admin) }
    }

    #[test]
    fn the_last_administrator_stays() {
        let (one, other) = (admin(1), admin(2));
        let demoted = User { role: Role::User, ..one.clone() };
        let asleep = User { is_active: false, ..other.clone() };
        let elsewhere = User { organization: OrganizationId::fixed(9), ..other.clone() };
        let told = |others: &[&User], after| {
            let users: Vec<User> =
                others.iter().map(|user| (*user).clone()).chain([one.clone()]).collect();
            refuse_last(&users, &one, after).is_ok()
        };

        assert!(told(&[&other], None) && told(&[&other], Some(&demoted)));
        assert!(told(&[], Some(&one)), "nothing is taken");
        for others in [&[][..], &[&asleep], &[&elsewhere]] {
            assert!(!told(others, None) && !told(others, Some(&demoted)));
        }
    }

    #[test]
    fn somebody_stays_above_organizations() {
        let above = User { is_superuser: true, ..admin(1) };
        let users = [above.clone(), admin(2)];

        assert!(refuse_last(&users, &above, None).is_err());
        assert!(refuse_last(&users, &above, Some(&admin(1))).is_err());
    }

    #[test]
    fn no_two_accounts_answer_to_one_name() {
        let one = User { email: "a@x.org".parse().ok(), ..admin(1) };
        let with = |username: &str, email: Option<&str>| User {
            username: username.into(),
            email: email.and_then(|email| email.parse().ok()),
            ..admin(2)
        };
        let is_free = |user: &User| refuse_taken(std::slice::from_ref(&one), user).is_ok();

        assert!(is_free(&with("b", Some("b@x.org"))) && is_free(&one));
        for taken in [with("A1", None), with("A@x.org", None), with("b", Some("A@X.org"))] {
            assert!(!is_free(&taken), "{taken:?}");
        }
    }
}
