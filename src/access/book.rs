//! The book of who belongs where: organizations and people in memory, and what follows for keys.

use std::collections::HashMap;

use crate::domain::{ApiKey, Organization, OrganizationId, Permissions, Role, User, UserId};

/// Organizations and people, at one moment.
#[derive(Debug, Default)]
pub(super) struct Book {
    organizations: HashMap<OrganizationId, Organization>,
    users: HashMap<UserId, User>,
}

impl Book {
    pub(super) fn new(organizations: Vec<Organization>, users: Vec<User>) -> Self {
        let organizations = organizations.into_iter().map(|it| (it.id, it)).collect();
        let users = users.into_iter().map(|user| (user.id, user)).collect();
        Self { organizations, users }
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
        let owner_is_in = key.owner.is_none_or(|owner| {
            let owner = self.users.get(&owner);
            owner.is_some_and(|owner| owner.is_active && is_in(&owner.organization))
        });
        key.is_active && is_in(&key.organization) && owner_is_in
    }

    /// What a key may do: never more than its owner may now.
    pub(super) fn permissions(&self, key: &ApiKey) -> Permissions {
        let owners = key
            .owner
            .map(|owner| self.users.get(&owner).map_or(Permissions::NONE, User::permissions));
        key.permissions().and(owners.unwrap_or(Permissions::all()))
    }

    /// What a key is: what its role says, or, where it has permissions of its own, what its owner
    /// is.
    pub(super) fn role(&self, key: &ApiKey) -> Role {
        let owner = || Some(self.users.get(&key.owner?)?.role);
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
