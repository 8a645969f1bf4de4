//! Caller and Permit: the evidence that stages of the path hand on.

use std::{net::IpAddr, sync::Arc};

use serde_json::Value;

use crate::{
    access::{
        Access, Credential, Error,
        book::Person,
        policy::{self, Obligations},
    },
    domain::{
        Actor, Instance, OrganizationId, Permission, Permissions, Preference, Principal,
        PrincipalKind, RateLimit, Role, Secret, Target, TokenScopes, UserId, Verdict,
    },
    wire::{Call, SessionKey},
};

/// The organization that exists from the start.
pub(crate) const DEFAULT_ORGANIZATION: OrganizationId = OrganizationId::fixed(1);

/// Somebody who is known. Only a credential makes one.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    principal: Principal,
    /// The token of another issuer that they came with.
    token: Option<Secret>,
    /// The address they came from, where that is of interest.
    from: Option<IpAddr>,
}

impl Caller {
    /// Somebody with an account.
    pub(super) fn person(id: UserId, person: &Person) -> Self {
        Self::app(Principal {
            kind: PrincipalKind::User(id),
            organization: person.organization,
            role: person.role,
            permissions: person.permissions,
            limits: None,
            person: Some(id),
            within: Permissions::all(),
        })
    }

    /// An app, as far as its token goes.
    pub(super) const fn app(principal: Principal) -> Self {
        Self { principal, token: None, from: None }
    }

    /// Somebody whom another issuer vouches for with this token.
    pub(super) const fn federated(principal: Principal, token: Secret) -> Self {
        Self { principal, token: Some(token), from: None }
    }

    /// The same person, as far as a client may go for them.
    pub(super) fn within(self, within: Permissions) -> Self {
        let permissions = self.principal.permissions.and(within);
        Self { principal: Principal { permissions, within, ..self.principal }, ..self }
    }

    /// The same, who came from this address.
    pub(crate) fn at(self, from: Option<IpAddr>) -> Self {
        Self { from, ..self }
    }

    /// Who it is.
    pub(crate) const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The token of another issuer that they came with, to be exchanged for another. It never goes
    /// on as it is.
    pub(crate) const fn subject_token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The name that stands in the audit for what this caller changes.
    pub(crate) fn actor(&self) -> Actor {
        Actor::from(&self.principal).at(self.from)
    }

    /// Checks that the caller may do something in the house itself.
    pub(crate) fn may(&self, permission: Permission) -> Result<(), Error> {
        if self.principal.may(permission) {
            return Ok(());
        }
        let is_narrow = !self.principal.within.has(permission);
        let wider =
            is_narrow.then(|| TokenScopes::to_reach(self.principal.within, permission)).flatten();
        Err(wider.map_or(Error::Denied(permission), |wider| Error::OutOfScope(permission, wider)))
    }

    /// Whether the caller may do all of this, and so may give it away or take it.
    pub(super) const fn holds(&self, permissions: Permissions) -> bool {
        self.principal.permissions.include(permissions)
    }

    /// Whether the caller stands above organizations.
    pub(crate) const fn is_above(&self) -> bool {
        self.principal.may(Permission::OrganizationsManage)
    }

    /// The organization whose lines and sums the caller sees; none where they see those of all.
    pub(crate) fn confined_to(&self) -> Option<OrganizationId> {
        (!self.is_above()).then_some(self.principal.organization)
    }

    /// Checks that a session is the caller's own.
    pub(crate) fn owns(&self, session: Option<&SessionKey>) -> Result<(), Error> {
        match session {
            Some(session) if session.owner != self.principal.kind => Err(Error::OthersSession),
            _ => Ok(()),
        }
    }
}

/// Leave to do one thing. Forwarding asks for it, and only [`Access::authorize`] gives it.
#[derive(Debug)]
pub(crate) struct Permit {
    caller: Caller,
    obligations: Obligations,
    limits: Vec<Arc<RateLimit>>,
    destinations: Vec<Arc<[Preference]>>,
    verdict: Option<Arc<Verdict>>,
}

impl Permit {
    /// Whose leave it is.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What policies said of it, where there are any.
    pub(crate) const fn verdict(&self) -> Option<&Arc<Verdict>> {
        self.verdict.as_ref()
    }

    /// How often policies let it be made.
    pub(crate) fn limits(&self) -> &[Arc<RateLimit>] {
        &self.limits
    }

    /// Whether policies let it go to some instances only.
    pub(crate) fn is_bound(&self) -> bool {
        !self.destinations.is_empty()
    }

    /// Whether policies let it go to an instance.
    pub(crate) fn reaches(&self, instance: &Instance) -> bool {
        let mut wishes = self.destinations.iter().flat_map(|all| all.iter());
        wishes.all(|wish| wish.is_met_by(instance))
    }

    /// Whether something must be taken out of the answer.
    pub(crate) fn obliges(&self) -> bool {
        !self.obligations.is_empty()
    }

    /// Takes out of an answer, its result or its error, what must not get out.
    pub(crate) fn redact(&self, said: &mut Value) {
        self.obligations.apply(said);
    }
}

impl Access {
    /// Who shows this credential.
    pub(crate) fn authenticate(&self, credential: &Credential) -> Result<Caller, Error> {
        let (kind, role, permissions) = match credential {
            Credential::Key(key) => {
                return Ok(Caller::app(self.0.ring.find(key, self.0.clock.now())?));
            }
            Credential::Token(token) => return self.token_caller(token),
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
        let (limits, person, within) = (None, None, Permissions::all());
        let principal = Principal { kind, organization, role, permissions, limits, person, within };
        Ok(Caller::app(principal))
    }

    /// Whoever owns this machine's data folder, for what the house does by itself because their
    /// settings say so.
    pub(crate) fn owner(&self) -> Option<Caller> {
        let uid = rustix::process::geteuid().as_raw();
        self.authenticate(&Credential::Local { uid }).ok()
    }

    /// The caller, at work in an organization of that name: their own, or any where they stand
    /// above organizations. To others it is as if there were no other.
    pub(crate) fn standing_in(&self, caller: Caller, name: &str) -> Result<Caller, Error> {
        let book = self.0.book.load();
        let found = book.organization_called(name).map(|found| found.id);
        match found.filter(|id| *id == caller.principal.organization || caller.is_above()) {
            Some(organization) => {
                let principal = Principal { organization, ..caller.principal };
                Ok(Caller { principal, ..caller })
            }
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

    /// Whether the caller may do what the call asks: policies first, and what they leave open is
    /// the role's to say. What a policy allows stands in for the role, never for what a key was
    /// made to be less than its role, nor for scopes.
    pub(crate) fn authorize(
        &self,
        caller: Caller,
        target: &Target,
        call: &Call,
    ) -> Result<Permit, Error> {
        let judged = self.judge(&caller, target, call)?;
        let permission = target.permission();
        if !(judged.allows && caller.principal.may_be_let(permission)) {
            caller.may(permission)?;
        }
        let policy::Judgement { obligations, limits, destinations, verdict, .. } = judged;
        Ok(Permit { caller, obligations, limits, destinations, verdict })
    }
}

fn is_owner(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
