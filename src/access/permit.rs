//! Caller and Permit: the evidence that stages of the path hand on.

use crate::{
    access::{Access, Credential, Error},
    domain::{Actor, OrganizationId, Permission, Principal, PrincipalKind, Role, Target},
    wire::SessionKey,
};

/// The organization that exists from the start.
pub(crate) const DEFAULT_ORGANIZATION: OrganizationId = OrganizationId::fixed(1);

/// Somebody who is known. Only a credential makes one.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Principal);

impl Caller {
    /// Somebody who showed a credential in this room.
    pub(super) const fn of(principal: Principal) -> Self {
        Self(principal)
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
        if self.0.role.permits(permission) { Ok(()) } else { Err(Error::Denied(permission)) }
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
        let kind_and_role = match credential {
            Credential::Key(text) => {
                let found = self.0.ring.find(text.expose(), self.0.clock.now())?;
                if found.owner.is_some_and(|owner| self.0.known.active(&owner).is_err()) {
                    return Err(Error::UnknownKey);
                }
                return Ok(Caller(Principal {
                    kind: PrincipalKind::Key(found.id),
                    organization: found.organization,
                    role: found.role,
                }));
            }
            Credential::Token(text) => return self.token_caller(text.expose()),
            Credential::Page(page) => return self.page_caller(page),
            Credential::Basic(basic) => return self.basic_caller(basic),
            // Whoever may read the data folder's key file owns the house already.
            Credential::Local { uid } if is_owner(*uid) => (PrincipalKind::Operator, Role::Admin),
            Credential::Local { .. } => return Err(Error::Stranger),
            Credential::None if !self.0.settings.enabled => (PrincipalKind::Anonymous, Role::User),
            Credential::None => return Err(Error::NoCredential),
        };
        let (kind, role) = kind_and_role;
        Ok(Caller(Principal { kind, organization: DEFAULT_ORGANIZATION, role }))
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
