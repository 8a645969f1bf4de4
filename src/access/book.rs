//! The book of who belongs where: organizations and people in memory, and what follows for keys.

use std::{collections::HashMap, sync::Arc};

use openssl::sha::sha256;

use crate::{
    access::Error,
    domain::{ApiKey, Organization, OrganizationId, Permissions, Role, User, UserId},
};

/// Organizations and people, at one moment.
#[derive(Debug, Default)]
pub(super) struct Book {
    organizations: HashMap<OrganizationId, Organization>,
    people: HashMap<UserId, Arc<Person>>,
    /// By what they sign in with, in small letters: their name, and their address.
    names: HashMap<String, UserId>,
}

/// What a call asks of a person.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) organization: OrganizationId,
    pub(super) role: Role,
    pub(super) permissions: Permissions,
    /// Whether they may come in: they, and their organization, are not switched off.
    pub(super) is_in: bool,
    /// Changes with the password, and tells nothing of it.
    pub(super) mark: [u8; 32],
}

impl Book {
    pub(super) fn new(organizations: Vec<Organization>, users: Vec<User>) -> Self {
        let organizations: HashMap<_, _> =
            organizations.into_iter().map(|it| (it.id, it)).collect();
        let (mut people, mut names) = (HashMap::new(), HashMap::new());
        for user in users {
            let address = user.email.as_ref().map(|email| email.as_str().to_lowercase());
            // Nobody's name is another's address: accounts are not made so.
            names.extend(address.map(|address| (address, user.id)));
            names.insert(user.username.to_lowercase(), user.id);
            let is_on = |it: &Organization| it.is_active;
            let person = Person {
                organization: user.organization,
                role: user.role,
                permissions: user.permissions(),
                is_in: user.is_active && organizations.get(&user.organization).is_some_and(is_on),
                mark: sha256(user.password_hash.as_bytes()),
            };
            people.insert(user.id, Arc::new(person));
        }
        Self { organizations, people, names }
    }

    /// Somebody with an account.
    pub(super) fn person(&self, id: &UserId) -> Option<&Arc<Person>> {
        self.people.get(id)
    }

    /// Somebody who may come in.
    pub(super) fn welcome(&self, id: &UserId) -> Result<Arc<Person>, Error> {
        let person = self.person(id).ok_or(Error::InvalidToken)?;
        if person.is_in { Ok(person.clone()) } else { Err(Error::Disabled) }
    }

    /// Who signs in with this name or address.
    pub(super) fn signs_in(&self, name: &str) -> Option<UserId> {
        self.names.get(&name.trim().to_lowercase()).copied()
    }

    /// One organization.
    pub(super) fn organization(&self, id: &OrganizationId) -> Option<&Organization> {
        self.organizations.get(id)
    }

    /// An organization by its name in paths or its id.
    pub(super) fn organization_called(&self, name: &str) -> Option<&Organization> {
        let by_id = || self.organizations.get(&name.parse().ok()?);
        self.organizations.values().find(|it| it.slug.as_str() == name).or_else(by_id)
    }

    /// Whether a key opens anything, expiry aside: not where it, its owner or their organization
    /// is switched off or gone.
    pub(super) fn opens(&self, key: &ApiKey) -> bool {
        let is_in = |id| self.organizations.get(id).is_some_and(|it: &Organization| it.is_active);
        let owner_is_in =
            key.owner.is_none_or(|owner| self.person(&owner).is_some_and(|owner| owner.is_in));
        key.is_active && is_in(&key.organization) && owner_is_in
    }

    /// What a key may do: never more than its owner may now.
    pub(super) fn permissions(&self, key: &ApiKey) -> Permissions {
        let owners = key
            .owner
            .map(|owner| self.person(&owner).map_or(Permissions::NONE, |it| it.permissions));
        key.permissions().and(owners.unwrap_or(Permissions::all()))
    }

    /// What a key is: what its role says, or, where it has permissions of its own, what its owner
    /// is.
    pub(super) fn role(&self, key: &ApiKey) -> Role {
        let owner = || Some(self.person(&key.owner?)?.role);
        if key.grants.is_empty() { key.role } else { owner().unwrap_or(Role::ApiUser) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{KeyText, KeyType, Limits, Timestamp};

    const HERE: OrganizationId = OrganizationId::fixed(1);

    /// A key of a program.
    pub(in crate::access) fn key() -> ApiKey {
        ApiKey {
            id: KeyText::generate().0,
            organization: HERE,
            owner: None,
            name: "k".into(),
            description: String::new(),
            key_type: KeyType::User,
            role: Role::User,
            grants: Vec::new(),
            limits: Limits::default(),
            is_superuser: false,
            last_four: String::new(),
            digest: [0; 32],
            created_at: Timestamp::from_ms(0),
            expires_at: None,
            is_active: true,
            updated_at: None,
        }
    }

    /// Always the same person, in some role.
    pub(in crate::access) fn user(role: Role) -> User {
        User {
            id: UserId::fixed(7),
            organization: HERE,
            username: "ana".into(),
            email: None,
            name: String::new(),
            role,
            is_superuser: false,
            password_hash: String::new(),
            is_active: true,
            email_verified: false,
            created_at: Timestamp::from_ms(0),
            updated_at: None,
        }
    }

    fn organization() -> Organization {
        let slug = "here".parse().expect("a slug");
        Organization::new(HERE, slug, Timestamp::from_ms(0))
    }

    /// A book of one organization with these people.
    pub(in crate::access) fn book(users: Vec<User>) -> Book {
        Book::new(vec![organization()], users)
    }

    #[test]
    fn a_key_opens_nothing_once_its_owner_or_organization_is_switched_off() {
        let owned = ApiKey { owner: Some(user(Role::User).id), ..key() };
        let inactive = User { is_active: false, ..user(Role::User) };
        let closed = Organization { is_active: false, ..organization() };

        assert!(book(vec![user(Role::User)]).opens(&owned) && book(vec![]).opens(&key()));
        assert!(!book(vec![inactive]).opens(&owned));
        assert!(!book(vec![]).opens(&owned));
        assert!(!Book::new(vec![closed], vec![]).opens(&key()));
        assert!(!Book::new(vec![], vec![]).opens(&key()));
    }

    #[test]
    fn an_organization_is_found_by_its_slug_or_its_id() {
        let book = book(vec![]);

        for name in ["here", &*HERE.to_string()] {
            assert_eq!(book.organization_called(name).map(|it| it.id), Some(HERE), "{name}");
        }
        assert!(book.organization_called("there").is_none());
    }
}
