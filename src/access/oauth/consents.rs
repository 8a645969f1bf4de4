//! What people gave clients leave for, to be seen and ended.

use crate::{
    access::{Access, Caller, Error, error::brief},
    domain::{Consent, LoginId, Permission, PrincipalKind, Timestamp, User, UserId},
};

/// What somebody gave leave for, as people see it.
pub(crate) struct ConsentView {
    pub(crate) id: LoginId,
    pub(crate) consent: Consent,
    /// Who gave it.
    pub(crate) username: String,
    pub(crate) created_at: Timestamp,
    pub(crate) renewed_at: Timestamp,
}

impl Access {
    /// What the caller gave leave for; or somebody of their organization, for those who may see the
    /// accounts there.
    pub(crate) fn consents(
        &self,
        caller: &Caller,
        user: Option<&str>,
    ) -> Result<Vec<ConsentView>, Error> {
        let user = match (user, &caller.principal().kind) {
            (Some(name), _) => {
                caller.may(Permission::UsersRead)?;
                self.user(caller, name)?.id
            }
            (None, PrincipalKind::User(id)) => *id,
            (None, _) => return Ok(Vec::new()),
        };
        let logins = self.0.store.read()?.logins()?.into_iter();
        let theirs = logins.filter(|it| it.user == user && self.standing(&it.id).is_ok());
        let view = |login: crate::domain::Login| {
            Some(ConsentView {
                id: login.id,
                consent: login.consent?,
                username: login.username,
                created_at: login.created_at,
                renewed_at: login.renewed_at,
            })
        };
        Ok(theirs.filter_map(view).collect())
    }

    /// Takes leave back that the caller gave, or somebody whose account they may change.
    pub(crate) async fn take_back(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let none = || Error::NoSuchConsent(brief(id));
        let login = id.parse::<LoginId>().map_err(|_| none())?;
        let standing = self.0.logins.login(&login).filter(|it| it.consent.is_some());
        let user = standing.ok_or_else(none)?.user;
        // Whose it is, is not told to those who may not end it.
        if caller.principal().kind != PrincipalKind::User(user) && !self.may_change(caller, user)? {
            return Err(none());
        }
        let who = caller.actor();
        let written = self.0.store.write(&who, move |change| {
            change.remove_login(&login)?;
            Ok::<(), Error>(())
        });
        written.await?;
        self.reload()
    }

    fn may_change(&self, caller: &Caller, user: UserId) -> Result<bool, Error> {
        let here = caller.principal().organization;
        let is_beneath = |user: User| user.organization == here && caller.holds(user.permissions());
        let found = self.0.store.read()?.user(&user)?;
        Ok(caller.may(Permission::UsersWrite).is_ok() && found.is_some_and(is_beneath))
    }
}
