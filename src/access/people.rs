//! Changes to who is known: claiming the house, making and revoking keys.

use serde::Deserialize;

use crate::{
    access::{Access, Caller, Error, password, permit::DEFAULT_ORGANIZATION},
    domain::{
        Actor, ApiKey, KeyId, KeyText, Namespace, NamespaceId, Organization, Role, Secret, Slug,
        Timestamp, User, UserId,
    },
    store::{self, Store},
};

/// The namespace that exists from the start.
pub(crate) const DEFAULT_NAMESPACE: NamespaceId = NamespaceId::fixed(2);
const NAME_LIMIT: usize = 100;

/// What somebody asks of a new key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What people will call it.
    pub(crate) name: String,
    /// What it may do.
    #[serde(default = "NewKey::default_role")]
    pub(crate) role: Role,
    /// When it ends, as RFC 3339; never, where it is absent.
    #[serde(default)]
    pub(crate) expires_at: Option<String>,
}

impl NewKey {
    const fn default_role() -> Role {
        Role::User
    }
}

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
            change.put_organization(&Organization {
                id: DEFAULT_ORGANIZATION,
                slug: slug.clone(),
                created_at,
            })?;
            change.put_namespace(&Namespace {
                id: DEFAULT_NAMESPACE,
                organization: DEFAULT_ORGANIZATION,
                slug,
                prefixing: None,
                created_at,
            })
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
        let username = name(username)?;
        password::check(&username, &password)?;
        if self.is_claimed()? {
            return Err(Error::AlreadyClaimed);
        }
        let password_hash = self.hash(password).await?;
        let (key, text) = self.mint(&format!("{username}'s first key"), Role::Admin, None);
        let id = UserId::fresh();
        let key = ApiKey { owner: Some(id), ..key };
        let user = User {
            id,
            organization: DEFAULT_ORGANIZATION,
            username,
            role: Role::Admin,
            password_hash,
            is_active: true,
            created_at: self.0.clock.now(),
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

    /// Makes a key. Its text is given once and never again.
    pub(crate) async fn create_key(
        &self,
        caller: &Caller,
        new: NewKey,
    ) -> Result<(ApiKey, Secret), Error> {
        let now = self.0.clock.now();
        let ends = |text: String| {
            let ends = Timestamp::parse(&text).ok_or(Error::InvalidExpiry)?;
            if ends <= now { Err(Error::AlreadyExpired) } else { Ok(ends) }
        };
        let expires_at = new.expires_at.map(ends).transpose()?;
        let (key, text) = self.mint(&name(&new.name)?, new.role, expires_at);
        let made = key.clone();
        let limit = self.0.settings.max_keys;
        self.0
            .store
            .write(&caller.actor(), move |change| {
                if change.keys()?.len() >= limit {
                    return Err(Error::TooManyKeys(limit));
                }
                change.put_key(&key)?;
                Ok(())
            })
            .await?;
        self.reload()?;
        Ok((made, text))
    }

    /// Every key, without its text.
    pub(crate) fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        Ok(self.0.store.read()?.keys()?)
    }

    /// Revokes a key: from now on it opens nothing.
    pub(crate) async fn revoke_key(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let unknown = || Error::NoSuchKey(id.chars().take(80).collect());
        let id: KeyId = id.parse().map_err(|_| unknown())?;
        let missing = unknown();
        self.0
            .store
            .write(&caller.actor(), move |change| {
                if change.key(&id)?.is_none() {
                    return Err(missing);
                }
                change.remove_key(&id)?;
                Ok(())
            })
            .await?;
        self.reload()
    }

    fn mint(&self, name: &str, role: Role, expires_at: Option<Timestamp>) -> (ApiKey, Secret) {
        let (id, text) = KeyText::generate();
        let key = ApiKey {
            id,
            organization: DEFAULT_ORGANIZATION,
            owner: None,
            name: name.to_owned(),
            role,
            digest: self.0.ring.digest(text.expose()),
            created_at: self.0.clock.now(),
            expires_at,
            is_active: true,
        };
        (key, text)
    }
}

pub(super) fn name(text: &str) -> Result<String, Error> {
    let text = text.trim();
    let is_good = !text.is_empty()
        && text.chars().count() <= NAME_LIMIT
        && !text.chars().any(char::is_control);
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(Error::InvalidName("a name has 1 to 100 characters and no control characters"))
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
        access::{Credential, Settings},
        domain::FixedClock,
    };

    struct House {
        access: Access,
        operator: Caller,
        _folder: tempfile::TempDir,
    }

    fn house() -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(FixedClock::default());
        let (data, settings) = (folder.path().join("data"), store::Settings::default());
        let store = Store::create(&data, &settings, clock.clone()).expect("a store");
        let access = Access::new(Settings::default(), &store, clock).expect("readable");
        let uid = rustix::process::geteuid().as_raw();
        let operator = access.authenticate(&Credential::Local { uid }).expect("the owner");
        House { access, operator, _folder: folder }
    }

    #[tokio::test]
    async fn a_key_that_was_revoked_by_somebody_who_left_opens_nothing() {
        let House { access, operator, _folder } = house();
        let new = NewKey { name: "laptop".into(), role: Role::User, expires_at: None };
        let (key, text) = access.create_key(&operator, new).await.expect("made");
        let shown = Credential::Key(text);
        let opens = || access.authenticate(&shown).is_ok();
        assert!(opens());

        let left = pin!(access.revoke_key(&operator, key.id.as_str())).now_or_never();

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
