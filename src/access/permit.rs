//! Caller and Permit: the evidence that stages of the path hand on.

use crate::{
    access::{Access, Credential, Error, book::Person},
    domain::{
        Actor, OrganizationId, Permission, Permissions, Principal, PrincipalKind, Role, Target,
        UserId,
    },
    wire::SessionKey,
};

/// The organization that exists from the start.
pub(crate) const DEFAULT_ORGANIZATION: OrganizationId = OrganizationId::fixed(1);

/// Somebody who is known. Only a credential makes one.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Principal);

impl Caller {
    /// Somebody with an account.
    pub(super) fn person(id: UserId, person: &Person) -> Self {
        Self(Principal {
            kind: PrincipalKind::User(id),
            organization: person.organization,
            role: person.role,
            permissions: person.permissions,
            limits: None,
            person: Some(id),
        })
    }

    /// Who it is.
    pub(crate) const fn principal(&self) -> &Principal {
        &self.0
    }

    /// The name that stands in the audit for what this caller changes.
    pub(crate) fn actor(&self) -> Actor {
        Actor::from(&self.0)
    }

    /// Checks that the caller may do something in the house itself.
    pub(crate) fn may(&self, permission: Permission) -> Result<(), Error> {
        if self.0.may(permission) { Ok(()) } else { Err(Error::Denied(permission)) }
    }

    /// Whether the caller may do all of this, and so may give it away or take it.
    pub(super) const fn holds(&self, permissions: Permissions) -> bool {
        self.0.permissions.include(permissions)
    }

    /// Whether the caller stands above organizations.
    pub(crate) const fn is_above(&self) -> bool {
        self.0.may(Permission::OrganizationsManage)
    }

    /// Checks that a session is the caller's own.
    pub(crate) fn owns(&self, session: Option<&SessionKey>) -> Result<(), Error> {
        match session {
            Some(session) if session.owner != self.0.kind => Err(Error::OthersSession),
            _ => Ok(()),
        }
    }
}

/// Leave to do one thing. Forwarding asks for it, and only [`Access::authorize`] gives it.
#[derive(Debug)]
pub(crate) struct Permit {
    caller: Caller,
}

impl Permit {
    /// Whose leave it is.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Access {
    /// Who shows this credential.
    pub(crate) fn authenticate(&self, credential: &Credential) -> Result<Caller, Error> {
        let (kind, role, permissions) = match credential {
            Credential::Key(text) => {
                return Ok(Caller(self.0.ring.find(text.expose(), self.0.clock.now())?));
            }
            Credential::Token(text) => return self.token_caller(text.expose()),
            Credential::Page(page) => return self.page_caller(page),
            Credential::Basic(basic) => return self.basic_caller(basic),
            // Whoever may read the data folder's key file owns the house already.
            Credential::Local { uid } if is_owner(*uid) => {
                (PrincipalKind::Operator, Role::Admin, Permissions::all())
            }
            Credential::Local { .. } => return Err(Error::Stranger),
            Credential::None if !self.0.settings.enabled => {
                (PrincipalKind::Anonymous, Role::User, Role::User.permissions())
            }
            Credential::None => return Err(Error::NoCredential),
        };
        let organization = DEFAULT_ORGANIZATION;
        let (limits, person) = (None, None);
        Ok(Caller(Principal { kind, organization, role, permissions, limits, person }))
    }

    /// The caller, at work in an organization of that name: their own, or any where they stand
    /// above organizations. To others it is as if there were no other.
    pub(crate) fn standing_in(&self, caller: Caller, name: &str) -> Result<Caller, Error> {
        let book = self.0.book.load();
        let found = book.organization_called(name).map(|found| found.id);
        match found.filter(|id| *id == caller.0.organization || caller.is_above()) {
            Some(organization) => Ok(Caller(Principal { organization, ..caller.0 })),
            None => Err(Error::no_such_organization(name)),
        }
    }

    /// Sessions that an organization may have open at the same time.
    pub(crate) fn max_sessions(&self, organization: OrganizationId) -> usize {
        let book = self.0.book.load();
        // One that was deleted a moment ago may have none.
        let quotas = book.organization(&organization).map(|found| found.quotas);
        quotas.map_or(0, |quotas| quotas.max_sessions as usize)
    }

    /// Whether the caller may do what the call asks.
    #[expect(clippy::unused_self, reason = "policies, which this room keeps, are asked here")]
    pub(crate) fn authorize(&self, caller: Caller, target: &Target) -> Result<Permit, Error> {
        caller.may(target.permission())?;
        Ok(Permit { caller })
    }
}

fn is_owner(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
