//! API keys as people make, change and revoke them.

use serde::{Deserialize, Deserializer};

use crate::{
    access::{
        Access, Caller, DEFAULT_ORGANIZATION, Error,
        error::brief,
        users::find_user,
        words::{name, words},
    },
    domain::{
        ApiKey, Grant, KeyId, KeyText, KeyType, Limits, NamespaceId, OrganizationId, Permissions,
        Role, Secret, ServerId, Timestamp, User,
    },
    store::Draft,
};

/// Entries of one list in a key's form.
const LIST_LIMIT: usize = 100;

/// What somebody asks of a new key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What people will call it.
    name: String,
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// Who holds it.
    #[serde(default, alias = "type")]
    key_type: KeyType,
    /// Whose it is to be: a person by id or name; its maker's, where nothing is said.
    #[serde(default, alias = "owner")]
    user_id: Option<String>,
    /// What it is.
    #[serde(default)]
    role: Option<Role>,
    /// What it may do, in place of a role.
    #[serde(default, alias = "scopes")]
    permissions: Option<Vec<String>>,
    /// Namespaces it is limited to, by id or slug.
    #[serde(default)]
    namespaces: Option<Vec<String>>,
    /// The same, where it is one.
    #[serde(default, alias = "namespace_id")]
    namespace: Option<String>,
    /// Servers it is limited to, by id or name.
    #[serde(default)]
    servers: Option<Vec<String>>,
    /// The same, where it is one.
    #[serde(default, alias = "server_id")]
    server: Option<String>,
    /// When it ends, as RFC 3339; never, where it is absent.
    #[serde(default)]
    expires_at: Option<String>,
}

/// What is to be different about a key. What is not mentioned stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    is_active: Option<bool>,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default, alias = "scopes")]
    permissions: Option<Vec<String>>,
    #[serde(default)]
    namespaces: Option<Vec<String>>,
    #[serde(default)]
    servers: Option<Vec<String>>,
    #[serde(default, deserialize_with = "End::mentioned")]
    expires_at: Option<End>,
}

/// When a key is to end, where that is mentioned: `null` takes its end away.
#[derive(Debug)]
enum End {
    At(String),
    Never,
}

impl End {
    fn mentioned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Some(text.map_or(Self::Never, Self::At)))
    }
}

/// The same, once it is read.
#[derive(Debug, Clone, Copy)]
enum Ends {
    At(Timestamp),
    Never,
}

/// A key as people may see it.
#[derive(Debug)]
pub(crate) struct ShownKey {
    pub(crate) key: ApiKey,
    /// What it may do now.
    pub(crate) permissions: Permissions,
    pub(crate) last_used_at: Option<Timestamp>,
}

/// What a key is to be, beside its names.
struct Wishes {
    role: Option<Role>,
    grants: Option<Vec<Grant>>,
    namespaces: Option<Vec<String>>,
    servers: Option<Vec<String>>,
}

impl Wishes {
    fn read(
        role: Option<Role>,
        permissions: Option<Vec<String>>,
        namespaces: Option<Vec<String>>,
        servers: Option<Vec<String>>,
    ) -> Result<Self, Error> {
        if role.is_some() && permissions.is_some() {
            return Err(Error::Unclear("give either a role or permissions, not both"));
        }
        let lists = [&permissions, &namespaces, &servers];
        if lists.into_iter().flatten().any(|list| list.len() > LIST_LIMIT) {
            return Err(Error::Unclear("a list of a key has at most 100 entries"));
        }
        let grants = permissions.map(|texts| read_grants(&texts)).transpose()?;
        Ok(Self { role, grants, namespaces, servers })
    }

    /// Makes a key so, as far as its maker may.
    fn apply(self, change: &Draft<'_>, caller: &Caller, key: &mut ApiKey) -> Result<(), Error> {
        if let Some(role) = self.role {
            key.role = role;
            key.grants.clear();
        }
        if let Some(grants) = self.grants {
            // A star means whatever there is to be given; a name means just that.
            let named = grants.iter().filter(|grant| grant.is_exact());
            if named.into_iter().any(|grant| !caller.holds(grant.permissions())) {
                return Err(Error::Beyond);
            }
            key.role = Role::ApiUser;
            key.grants = grants;
        }
        if let Some(names) = self.namespaces {
            key.limits.namespaces = find_namespaces(change, key.organization, &names)?;
        }
        if let Some(names) = self.servers {
            key.limits.servers = find_servers(change, key.organization, &names)?;
        }
        if caller.holds(key.permissions()) { Ok(()) } else { Err(Error::Beyond) }
    }
}

impl Access {
    /// Makes a key. Its text is given once and never again.
    pub(crate) async fn create_key(
        &self,
        caller: &Caller,
        new: NewKey,
    ) -> Result<(ShownKey, Secret), Error> {
        let expires_at = new.expires_at.map(|text| self.end(&text)).transpose()?;
        let with = |list: Option<Vec<String>>, one: Option<String>| match (list, one) {
            (list, None) => list,
            (list, Some(one)) => Some(list.unwrap_or_default().into_iter().chain([one]).collect()),
        };
        let namespaces = with(new.namespaces, new.namespace);
        let servers = with(new.servers, new.server);
        let wishes = Wishes::read(new.role, new.permissions, namespaces, servers)?;
        let (key, text) = self.mint(&name(&new.name)?, Role::User);
        let organization = caller.principal().organization;
        let mut key = ApiKey {
            organization,
            description: words(&new.description.unwrap_or_default())?,
            key_type: new.key_type,
            expires_at,
            // What is made in another organization stays in it, whoever makes it.
            is_superuser: caller.is_above() && organization == DEFAULT_ORGANIZATION,
            ..key
        };
        let id = key.id;
        let (maker, limit, owner) = (caller.clone(), self.0.settings.max_keys, new.user_id);
        let actor = caller.actor();
        let made = self.0.store.write(&actor, move |change| {
            let keys = change.keys()?;
            if keys.iter().filter(|other| other.organization == organization).count() >= limit {
                return Err(Error::TooManyKeys(limit));
            }
            key.owner = match owner {
                Some(text) => Some(find_user(change, organization, &text)?.id),
                // A program's own key outlives whoever made it.
                None if key.key_type == KeyType::User => maker.principal().person,
                None => None,
            };
            wishes.apply(change, &maker, &mut key)?;
            change.put_key(&key)?;
            Ok(())
        });
        made.await?;
        self.reload()?;
        Ok((self.key(caller, id.as_str())?, text))
    }

    /// Every key of the caller's organization, without its text.
    pub(crate) fn keys(&self, caller: &Caller) -> Result<Vec<ShownKey>, Error> {
        let organization = caller.principal().organization;
        let keys = self.0.store.read()?.keys()?;
        let theirs = keys.into_iter().filter(|key| key.organization == organization);
        Ok(theirs.map(|key| self.shown(key)).collect())
    }

    /// One of them.
    pub(crate) fn key(&self, caller: &Caller, id: &str) -> Result<ShownKey, Error> {
        let mut keys = self.keys(caller)?;
        let place = keys.iter().position(|shown| shown.key.id.as_str() == id);
        place.map(|place| keys.swap_remove(place)).ok_or_else(|| Error::no_such_key(id))
    }

    /// Changes a key.
    pub(crate) async fn change_key(
        &self,
        caller: &Caller,
        id: &str,
        wanted: KeyChange,
    ) -> Result<ShownKey, Error> {
        let ends = match wanted.expires_at {
            Some(End::At(text)) => Some(Ends::At(self.end(&text)?)),
            Some(End::Never) => Some(Ends::Never),
            None => None,
        };
        let named = wanted.name.map(|text| name(&text)).transpose()?;
        let described = wanted.description.map(|text| words(&text)).transpose()?;
        let is_active = wanted.is_active;
        let wishes =
            Wishes::read(wanted.role, wanted.permissions, wanted.namespaces, wanted.servers)?;
        let (maker, text) = (caller.clone(), id.to_owned());
        let actor = caller.actor();
        let changed = self.0.store.write(&actor, move |change| {
            let mut key = find_key(change, &maker, &text)?;
            key.name = named.unwrap_or(key.name);
            key.description = described.unwrap_or(key.description);
            key.is_active = is_active.unwrap_or(key.is_active);
            key.expires_at = match ends {
                Some(Ends::At(moment)) => Some(moment),
                Some(Ends::Never) => None,
                None => key.expires_at,
            };
            wishes.apply(change, &maker, &mut key)?;
            key.updated_at = Some(change.now());
            change.put_key(&key)?;
            Ok::<_, Error>(())
        });
        changed.await?;
        self.reload()?;
        self.key(caller, id)
    }

    /// Revokes a key: from now on it opens nothing.
    pub(crate) async fn revoke_key(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let (maker, id) = (caller.clone(), id.to_owned());
        let actor = caller.actor();
        let revoked = self.0.store.write(&actor, move |change| {
            let key = find_key(change, &maker, &id)?;
            change.remove_key(&key.id)?;
            Ok::<_, Error>(())
        });
        revoked.await?;
        self.reload()
    }

    /// A new key of the first organization that nobody owns, and its text.
    pub(super) fn mint(&self, name: &str, role: Role) -> (ApiKey, Secret) {
        let (id, text) = KeyText::generate();
        let last_four = text.expose()[text.expose().len() - 4..].to_owned();
        let key = ApiKey {
            id,
            organization: DEFAULT_ORGANIZATION,
            owner: None,
            name: name.to_owned(),
            description: String::new(),
            key_type: KeyType::User,
            role,
            grants: Vec::new(),
            limits: Limits::default(),
            is_superuser: false,
            last_four,
            digest: self.0.ring.digest(text.expose()),
            created_at: self.0.clock.now(),
            expires_at: None,
            is_active: true,
            updated_at: None,
        };
        (key, text)
    }

    fn shown(&self, key: ApiKey) -> ShownKey {
        let permissions = self.0.book.load().permissions(&key);
        let last_used_at = self.0.ring.last_used(&key.id);
        ShownKey { key, permissions, last_used_at }
    }

    fn end(&self, text: &str) -> Result<Timestamp, Error> {
        let ends = Timestamp::parse(text).ok_or(Error::InvalidExpiry)?;
        if ends <= self.0.clock.now() { Err(Error::AlreadyExpired) } else { Ok(ends) }
    }
}

/// A key of the caller's organization, if they have all of its rights themselves.
fn find_key(change: &Draft<'_>, caller: &Caller, id: &str) -> Result<ApiKey, Error> {
    let unknown = || Error::no_such_key(id);
    let found = change.key(&id.parse::<KeyId>().map_err(|_| unknown())?)?;
    let organization = caller.principal().organization;
    let key = found.filter(|key| key.organization == organization).ok_or_else(unknown)?;
    let owner = key.owner.map(|owner| change.user(&owner)).transpose()?.flatten();
    let owners = owner.as_ref().map_or(Permissions::all(), User::permissions);
    if caller.holds(key.permissions().and(owners)) { Ok(key) } else { Err(Error::Beyond) }
}

fn read_grants(texts: &[String]) -> Result<Vec<Grant>, Error> {
    let mut grants = Vec::new();
    for text in texts {
        grants.extend(Grant::read(text)?);
    }
    grants.sort();
    grants.dedup();
    if grants.is_empty() {
        return Err(Error::Unclear("permissions: name at least one"));
    }
    Ok(grants)
}

fn find_namespaces(
    change: &Draft<'_>,
    organization: OrganizationId,
    names: &[String],
) -> Result<Vec<NamespaceId>, Error> {
    let all = change.namespaces()?;
    let find = |name: &String| {
        let is_meant = |slug: &str, id: NamespaceId| slug == name || id.to_string() == *name;
        let mut theirs = all.iter().filter(|it| it.organization == organization);
        let found = theirs.find(|it| is_meant(it.slug.as_str(), it.id));
        found.map(|it| it.id).ok_or_else(|| Error::NoSuchNamespace(brief(name)))
    };
    names.iter().map(find).collect()
}

fn find_servers(
    change: &Draft<'_>,
    organization: OrganizationId,
    names: &[String],
) -> Result<Vec<ServerId>, Error> {
    let all = change.servers()?;
    let find = |name: &String| {
        let mut theirs = all.iter().filter(|it| it.organization == organization);
        let found = theirs.find(|it| it.name.as_str() == name || it.id.to_string() == *name);
        found.map(|it| it.id).ok_or_else(|| Error::NoSuchServer(brief(name)))
    };
    names.iter().map(find).collect()
}
