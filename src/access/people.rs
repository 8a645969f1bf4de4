//! Furnishing the house, and claiming it.

use crate::{
    access::{
        Access, Error, password, permit::DEFAULT_ORGANIZATION, words::username as username_of,
    },
    domain::{
        Actor, ApiKey, Namespace, NamespaceId, Organization, Plan, Quotas, Role, Secret, Slug,
        User, UserId,
    },
    store::{self, Store},
};

/// The namespace that exists from the start.
const DEFAULT_NAMESPACE: NamespaceId = NamespaceId::fixed(2);

/// Makes what every house has: one organization with one namespace. Does nothing a second time.
pub(crate) async fn furnish(store: &Store) -> Result<(), store::Error> {
    // Every later start writes nothing.
    if !store.read()?.organizations()?.is_empty() {
        return Ok(());
    }
    store
        .write(&Actor::system("first start"), |change| {
            if !change.organizations()?.is_empty() {
                return Ok(());
            }
            let created_at = change.now();
            let slug: Slug = "default".parse().expect("a slug");
            // Whoever runs a gateway for themselves pays nothing, and is not held to a plan.
            change.put_organization(&Organization {
                plan: Plan::Enterprise,
                quotas: Quotas::FIRST,
                ..Organization::new(DEFAULT_ORGANIZATION, slug, created_at)
            })?;
            let slug = Namespace::default_slug();
            let (id, organization) = (DEFAULT_NAMESPACE, DEFAULT_ORGANIZATION);
            change.put_namespace(&Namespace::new(id, organization, slug, created_at))
        })
        .await
}

impl Access {
    /// Whether somebody owns the house.
    pub(crate) fn is_claimed(&self) -> Result<bool, Error> {
        Ok(!self.0.store.read()?.users()?.is_empty())
    }

    /// Claims the house: makes the administrator and a first key. Can be done once.
    pub(crate) async fn claim(
        &self,
        actor: &Actor,
        username: &str,
        password: Secret,
    ) -> Result<Secret, Error> {
        let username = username_of(username)?;
        password::check(&username, &password)?;
        if self.is_claimed()? {
            return Err(Error::AlreadyClaimed);
        }
        let password_hash = self.hash(password).await?;
        let (key, text) = self.mint(&format!("{username}'s first key"), Role::Admin);
        let id = UserId::fresh();
        let key = ApiKey { owner: Some(id), is_superuser: true, ..key };
        let user = User {
            id,
            organization: DEFAULT_ORGANIZATION,
            email: format!("{username}@localhost").parse().ok(),
            username,
            name: String::new(),
            role: Role::Admin,
            is_superuser: true,
            password_hash,
            is_active: true,
            email_verified: false,
            created_at: self.0.clock.now(),
            updated_at: None,
        };
        self.0
            .store
            .write(actor, move |change| {
                // Asked again inside the write: two claims may have come this far together.
                if !change.users()?.is_empty() {
                    return Err(Error::AlreadyClaimed);
                }
                change.put_user(&user)?;
                change.put_key(&key)?;
                Ok(())
            })
            .await?;
        self.reload()?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::Arc, time::Duration};

    use futures_util::FutureExt;
    use tokio::{select, task::yield_now, time::timeout};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        access::{Caller, Credential, NewKey, Settings},
        domain::FixedClock,
    };

    struct House {
        access: Access,
        operator: Caller,
        _folder: tempfile::TempDir,
    }

    async fn house() -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(FixedClock::default());
        let (data, settings) = (folder.path().join("data"), store::Settings::default());
        let store = Store::create(&data, &settings, clock.clone()).expect("a store");
        furnish(&store).await.expect("furnished");
        let access = Access::new(Settings::default(), &store, clock).expect("readable");
        let uid = rustix::process::geteuid().as_raw();
        let operator = access.authenticate(&Credential::Local { uid }).expect("the owner");
        House { access, operator, _folder: folder }
    }

    #[tokio::test]
    async fn a_key_that_was_revoked_by_somebody_who_left_opens_nothing() {
        let House { access, operator, _folder } = house().await;
        let new: NewKey = serde_json::from_str(r#"{"name":"laptop"}"#).expect("a form");
        let (key, text) = access.create_key(&operator, new).await.expect("made");
        let shown = Credential::key(text);
        let opens = || access.authenticate(&shown).is_ok();
        assert!(opens());

        let left = pin!(access.revoke_key(&operator, key.key.id.as_str())).now_or_never();

        assert!(left.is_none(), "it waits for the disk");
        let closed = async {
            while opens() {
                yield_now().await;
            }
        };
        let seen = async {
            select! {
                () = access.follow(CancellationToken::new()) => panic!("it follows for ever"),
                () = closed => {}
            }
        };
        timeout(Duration::from_secs(10), seen).await.expect("the key is revoked");
    }
}
