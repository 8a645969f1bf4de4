//! Namespaces: groups of servers with an endpoint of their own.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    access::Caller,
    domain::{Namespace, NamespaceId, OrganizationId, Prefixing, Slug},
    registry::{Error, Registry},
    store::Draft,
};

const NAME_LIMIT: usize = 100;
const DESCRIPTION_LIMIT: usize = 4_096;
const METADATA_LIMIT: usize = 50;
const METADATA_BYTES: usize = 1_024;

/// A namespace to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespace {
    /// Its name in paths; what people call it, where that will do.
    #[serde(default)]
    slug: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    prefix: Option<Prefixing>,
    #[serde(default)]
    is_active: Option<bool>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// What is to be different about one. What is not mentioned stays; its slug always does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamespaceChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    prefix: Option<Prefixing>,
    #[serde(default)]
    is_active: Option<bool>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// What becomes of servers in a namespace that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// It stays as long as there are any.
    Keep,
    /// They are retired with it.
    Retire,
}

impl Registry {
    /// Makes a namespace in the caller's organization.
    pub(crate) async fn create_namespace(
        &self,
        caller: &Caller,
        new: NewNamespace,
    ) -> Result<Namespace, Error> {
        let slug = new.slug.as_deref().or(new.name.as_deref()).unwrap_or_default();
        let slug: Slug = slug.parse().map_err(|source| Error::Name { member: "slug", source })?;
        let organization = caller.principal().organization;
        let made = Namespace {
            name: new.name.unwrap_or_default(),
            description: new.description.unwrap_or_default(),
            prefixing: new.prefix,
            is_active: new.is_active.unwrap_or(true),
            metadata: new.metadata.unwrap_or_default(),
            ..Namespace::new(NamespaceId::fresh(), organization, slug, self.0.clock.now())
        };
        check(&made)?;
        let (namespace, limit) = (made.clone(), self.0.settings.max_namespaces);
        let actor = caller.actor();
        let written = self.0.store.write(&actor, move |change| {
            if find(change, organization, namespace.slug.as_str())?.is_some() {
                return Err(Error::NamespaceTaken(namespace.slug.to_string()));
            }
            enter(change, &namespace, limit)
        });
        written.await?;
        self.settle().await?;
        Ok(made)
    }

    /// Changes a namespace.
    pub(crate) async fn change_namespace(
        &self,
        caller: &Caller,
        name: &str,
        wanted: NamespaceChange,
    ) -> Result<Namespace, Error> {
        let (organization, name) = (caller.principal().organization, name.to_owned());
        let actor = caller.actor();
        let written = self.0.store.write(&actor, move |change| {
            let found = find(change, organization, &name)?;
            let before = found.ok_or_else(|| Error::no_such_namespace(&name))?;
            let namespace = Namespace {
                name: wanted.name.unwrap_or(before.name),
                description: wanted.description.unwrap_or(before.description),
                prefixing: wanted.prefix.or(before.prefixing),
                is_active: wanted.is_active.unwrap_or(before.is_active),
                metadata: wanted.metadata.unwrap_or(before.metadata),
                updated_at: Some(change.now()),
                ..before
            };
            check(&namespace)?;
            change.put_namespace(&namespace)?;
            Ok::<_, Error>(namespace)
        });
        let namespace = written.await?;
        self.settle().await?;
        Ok(namespace)
    }

    /// Deletes a namespace, and gives what it was.
    pub(crate) async fn delete_namespace(
        &self,
        caller: &Caller,
        name: &str,
        contents: Contents,
    ) -> Result<Namespace, Error> {
        let (organization, name) = (caller.principal().organization, name.to_owned());
        let actor = caller.actor();
        let written = self.0.store.write(&actor, move |change| {
            let found = find(change, organization, &name)?;
            let namespace = found.ok_or_else(|| Error::no_such_namespace(&name))?;
            if namespace.slug.as_str() == Namespace::DEFAULT {
                return Err(Error::DefaultNamespace);
            }
            let servers = change.servers()?;
            let inside: Vec<_> =
                servers.iter().filter(|server| server.namespace == namespace.id).collect();
            if contents == Contents::Keep && !inside.is_empty() {
                return Err(Error::NotEmpty(inside.len()));
            }
            for server in inside {
                change.remove_server(&server.id)?;
            }
            change.remove_namespace(&namespace.id)?;
            Ok(namespace)
        });
        let namespace = written.await?;
        self.settle().await?;
        Ok(namespace)
    }
}

/// A namespace of an organization, by slug or id.
pub(super) fn find(
    change: &Draft<'_>,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<Namespace>, Error> {
    let mut all = change.namespaces()?.into_iter().filter(|it| it.organization == organization);
    Ok(all.find(|it| it.slug.as_str() == name || it.id.to_string() == name))
}

/// Enters a new namespace, if its organization may have one more.
pub(super) fn enter(
    change: &mut Draft<'_>,
    namespace: &Namespace,
    limit: usize,
) -> Result<(), Error> {
    let all = change.namespaces()?;
    let mine = all.iter().filter(|other| other.organization == namespace.organization);
    if mine.count() >= limit {
        return Err(Error::TooManyNamespaces(limit));
    }
    Ok(change.put_namespace(namespace)?)
}

fn check(namespace: &Namespace) -> Result<(), Error> {
    let wrong = |member, reason: &str| Err(Error::Form { member, reason: reason.to_owned() });
    let is_plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
    if namespace.name.chars().count() > NAME_LIMIT || !is_plain(&namespace.name) {
        return wrong("name", "it is longer than 100 characters, or has control characters");
    }
    if namespace.description.len() > DESCRIPTION_LIMIT || !is_plain(&namespace.description) {
        return wrong("description", "it is longer than 4,096 bytes, or has control characters");
    }
    let is_short = |(name, value): (&String, &String)| {
        !name.is_empty() && name.len() <= METADATA_BYTES && value.len() <= METADATA_BYTES
    };
    if namespace.metadata.len() > METADATA_LIMIT || !namespace.metadata.iter().all(is_short) {
        return wrong("metadata", "it has more than 50 entries, or one over 1,024 bytes");
    }
    Ok(())
}
