//! Organizations as people make, change and delete them.

use serde::Deserialize;

use crate::{
    access::{
        Access, Caller, DEFAULT_ORGANIZATION, Error,
        users::forget,
        words::{name, words},
    },
    domain::{Namespace, NamespaceId, Organization, OrganizationId, Plan, Quotas, Slug, User},
    store::Draft,
};

/// The longest that logs are kept, in days.
const LONGEST_RETENTION: u32 = 3_650;

/// An organization to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrganization {
    /// Its name in paths; what people call it, where that will do.
    #[serde(default)]
    slug: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "plan_type")]
    plan: Plan,
    #[serde(default)]
    max_servers: Option<u32>,
    #[serde(default)]
    max_sessions: Option<u32>,
    #[serde(default)]
    log_retention_days: Option<u32>,
}

/// What is to be different about one. What is not mentioned stays; its slug always does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "plan_type")]
    plan: Option<Plan>,
    #[serde(default)]
    max_servers: Option<u32>,
    #[serde(default)]
    max_sessions: Option<u32>,
    #[serde(default)]
    log_retention_days: Option<u32>,
    #[serde(default)]
    is_active: Option<bool>,
}

impl Access {
    /// Makes an organization with a namespace for what says none.
    pub(crate) async fn create_organization(
        &self,
        caller: &Caller,
        new: NewOrganization,
    ) -> Result<Organization, Error> {
        let title = new.name.map(|text| name(&text)).transpose()?;
        let slug = new.slug.as_deref().or(title.as_deref());
        let slug: Slug = slug.ok_or(Error::Unclear("give a slug"))?.parse()?;
        let wanted = (new.max_servers, new.max_sessions, new.log_retention_days);
        let quotas = quotas(Quotas::NEW, wanted)?;
        let id = OrganizationId::fresh();
        let made = Organization {
            name: title.unwrap_or_default(),
            plan: new.plan,
            quotas,
            ..Organization::new(id, slug, self.0.clock.now())
        };
        let (organization, limit) = (made.clone(), self.0.settings.max_organizations);
        let actor = caller.actor();
        let done = self.0.store.write(&actor, move |change| {
            let all = change.organizations()?;
            if all.len() >= limit {
                return Err(Error::TooManyOrganizations(limit));
            }
            if all.iter().any(|other| other.slug == organization.slug) {
                return Err(Error::Taken("an organization of that slug"));
            }
            change.put_organization(&organization)?;
            let slug = Namespace::default_slug();
            let at = organization.created_at;
            change.put_namespace(&Namespace::new(NamespaceId::fresh(), id, slug, at))?;
            Ok(())
        });
        done.await?;
        self.reload()?;
        Ok(made)
    }

    /// The organizations that a caller may know of: their own, or all.
    pub(crate) fn organizations(&self, caller: &Caller) -> Result<Vec<Organization>, Error> {
        let own = caller.principal().organization;
        let all = self.0.store.read()?.organizations()?;
        Ok(all.into_iter().filter(|it| caller.is_above() || it.id == own).collect())
    }

    /// One of them, by id or slug.
    pub(crate) fn organization(&self, caller: &Caller, text: &str) -> Result<Organization, Error> {
        let mut all = self.organizations(caller)?.into_iter();
        all.find(|it| is_called(it, text)).ok_or_else(|| Error::no_such_organization(text))
    }

    /// Changes an organization.
    pub(crate) async fn change_organization(
        &self,
        caller: &Caller,
        text: &str,
        wanted: OrganizationChange,
    ) -> Result<Organization, Error> {
        let id = self.organization(caller, text)?.id;
        let title = wanted.name.map(|text| words(text.trim())).transpose()?;
        if id == DEFAULT_ORGANIZATION && wanted.is_active == Some(false) {
            return Err(Error::FirstOrganization);
        }
        let limits = (wanted.max_servers, wanted.max_sessions, wanted.log_retention_days);
        let text = text.to_owned();
        let actor = caller.actor();
        let done = self.0.store.write(&actor, move |change| {
            let found = change.organization(&id)?;
            let before = found.ok_or_else(|| Error::no_such_organization(&text))?;
            let organization = Organization {
                name: title.unwrap_or(before.name),
                plan: wanted.plan.unwrap_or(before.plan),
                quotas: quotas(before.quotas, limits)?,
                is_active: wanted.is_active.unwrap_or(before.is_active),
                updated_at: Some(change.now()),
                ..before
            };
            refuse_without_superuser(change, &organization)?;
            change.put_organization(&organization)?;
            Ok::<_, Error>(organization)
        });
        let organization = done.await?;
        self.reload()?;
        Ok(organization)
    }

    /// Deletes an organization with its people, keys, servers, policies, rate limits and namespaces. What the audit says
    /// of them stays.
    pub(crate) async fn delete_organization(
        &self,
        caller: &Caller,
        text: &str,
    ) -> Result<OrganizationId, Error> {
        let id = self.organization(caller, text)?.id;
        if id == DEFAULT_ORGANIZATION {
            return Err(Error::FirstOrganization);
        }
        let text = text.to_owned();
        let actor = caller.actor();
        let done = self.0.store.write(&actor, move |change| {
            let found = change.organization(&id)?;
            let gone = found.ok_or_else(|| Error::no_such_organization(&text))?;
            refuse_without_superuser(change, &Organization { is_active: false, ..gone })?;
            clear_out(change, id)
        });
        done.await?;
        self.reload()?;
        Ok(id)
    }
}

/// Removes an organization and everything in it.
fn clear_out(change: &mut Draft<'_>, id: OrganizationId) -> Result<(), Error> {
    for server in change.servers()?.iter().filter(|it| it.organization == id) {
        change.remove_server(&server.id)?;
    }
    for key in change.keys()?.iter().filter(|it| it.organization == id) {
        change.remove_key(&key.id)?;
    }
    // And what its people own elsewhere.
    let users = change.users()?.into_iter().filter(|it| it.organization == id);
    forget(change, &users.map(|user| user.id).collect())?;
    for policy in change.policies()?.iter().filter(|it| it.organization == id) {
        change.remove_policy(&policy.id)?;
    }
    for limit in change.rate_limits()?.iter().filter(|it| it.organization == id) {
        change.remove_rate_limit(&limit.id)?;
    }
    for route in change.routes()?.iter().filter(|it| it.organization == id) {
        change.remove_route(&route.id)?;
    }
    for namespace in change.namespaces()?.iter().filter(|it| it.organization == id) {
        change.remove_namespace(&namespace.id)?;
    }
    change.remove_organization(&id)?;
    Ok(())
}

/// Refuses to shut out the last of those who stand above organizations.
fn refuse_without_superuser(change: &Draft<'_>, after: &Organization) -> Result<(), Error> {
    let users = change.users()?;
    let is_above = |user: &&User| user.is_active && user.is_superuser;
    let mut above = users.iter().filter(is_above).peekable();
    let is_shut = |user: &User| user.organization == after.id && !after.is_active;
    // Before the house is claimed there is nobody to shut out.
    if above.peek().is_some() && above.all(is_shut) {
        return Err(Error::LastAdministrator);
    }
    Ok(())
}

fn is_called(organization: &Organization, text: &str) -> bool {
    organization.slug.as_str() == text || organization.id.to_string() == text
}

fn quotas(
    before: Quotas,
    (max_servers, max_sessions, log_retention_days): (Option<u32>, Option<u32>, Option<u32>),
) -> Result<Quotas, Error> {
    let log_retention_days = log_retention_days.unwrap_or(before.log_retention_days);
    if !(1..=LONGEST_RETENTION).contains(&log_retention_days) {
        return Err(Error::Unclear("log_retention_days lies between 1 and 3,650"));
    }
    Ok(Quotas {
        max_servers: max_servers.unwrap_or(before.max_servers),
        max_sessions: max_sessions.unwrap_or(before.max_sessions),
        log_retention_days,
    })
}
