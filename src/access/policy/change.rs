//! Changes to policies: written, checked, kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Limits, Page,
    compile::{Fields, Wrong},
    decide::Rule,
};
use crate::{
    access::{Access, Caller, Error, Settings},
    domain::{
        Actor, OrganizationId, Permission, Policy, PolicyId, PolicyType, Timestamp, is_hidden,
    },
};

const NAME_LIMIT: usize = 100;

/// Stands before the name of a policy of the settings file, where others have their id.
const FILE_PREFIX: &str = "file:";

/// A policy as people write it: to make one, to change one, or in the settings file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Definition {
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Why it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    /// Its place among others.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    /// When it holds; always, where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    conditions: Option<Value>,
    /// What it does then.
    #[serde(skip_serializing_if = "Option::is_none")]
    actions: Option<Value>,
    /// Whether it is asked at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active: Option<bool>,
}

/// Where a policy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// In the store, where it can be changed.
    Store,
    /// In the settings file.
    File,
}

/// A policy, where it stands, and what is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) policy: Policy,
    origin: Origin,
    /// Why it cannot be compiled; it denies everything then, as long as it is active.
    pub(crate) wrong: Option<Wrong>,
}

impl Written {
    /// Whether it stands in the store, where it can be changed, and not in the settings file.
    pub(crate) fn is_stored(&self) -> bool {
        self.origin == Origin::Store
    }

    /// What it goes by in paths.
    pub(crate) fn id(&self) -> String {
        match self.origin {
            Origin::Store => self.policy.id.to_string(),
            Origin::File => format!("{FILE_PREFIX}{}", self.policy.name),
        }
    }
}

impl Definition {
    /// A policy of the settings file. One that is wrong is kept, and denies everything.
    pub(super) fn of_file(&self, limits: &Limits) -> Policy {
        let actor = Actor::system("settings file");
        let new = blank(OrganizationId::fixed(0), PolicyId::fixed(0), actor, Timestamp::from_ms(0));
        self.over(new.clone(), limits).unwrap_or_else(|wrong| Policy {
            name: self.name.clone().unwrap_or_default(),
            actions: Value::Null,
            description: wrong.to_string(),
            ..new
        })
    }

    /// The policy with what is said here in place of what it said.
    pub(super) fn over(&self, before: Policy, limits: &Limits) -> Result<Policy, Wrong> {
        let priority = self.priority.unwrap_or(before.priority.into());
        let priority = u16::try_from(priority).ok().filter(|it| Policy::PRIORITIES.contains(it));
        let r#type = match &self.r#type {
            Some(text) => text
                .parse::<PolicyType>()
                .map_err(|unknown| Wrong::new("/type", unknown.to_string()))?,
            None => before.r#type,
        };
        let policy = Policy {
            name: name(self.name.as_deref().unwrap_or(&before.name))?,
            description: self.description.clone().unwrap_or(before.description),
            r#type,
            priority: priority
                .ok_or_else(|| Wrong::new("/priority", "it must lie between 1 and 1000"))?,
            conditions: self.conditions.clone().unwrap_or(before.conditions),
            actions: self.actions.clone().unwrap_or(before.actions),
            is_active: self.is_active.unwrap_or(before.is_active),
            ..before
        };
        Rule::compile(&policy, limits, &mut Fields::default())?;
        Ok(policy)
    }
}

/// A policy that says nothing yet.
pub(super) fn blank(
    organization: OrganizationId,
    id: PolicyId,
    created_by: Actor,
    now: Timestamp,
) -> Policy {
    Policy {
        id,
        organization,
        name: String::new(),
        description: String::new(),
        r#type: PolicyType::default(),
        priority: Policy::DEFAULT_PRIORITY,
        conditions: Value::Object(Map::new()),
        actions: Value::Null,
        is_active: true,
        created_by,
        created_at: now,
        updated_at: now,
    }
}

fn name(text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    let is_good = !text.is_empty()
        && text.chars().count() <= NAME_LIMIT
        && !text.chars().any(is_hidden)
        && !text.starts_with(FILE_PREFIX);
    if is_good {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("/name", "it must have 1 to 100 characters, none of them hidden"))
}

impl Settings {
    /// What is wrong with the policies of the settings file.
    pub(crate) fn check_policies(&self) -> Result<(), Wrong> {
        let mut names = Vec::new();
        for (index, definition) in self.policies.iter().enumerate() {
            let now = Timestamp::from_ms(0);
            let actor = Actor::system("settings file");
            let new = blank(OrganizationId::fixed(0), PolicyId::fixed(0), actor, now);
            let within = |wrong: Wrong| wrong.within(&format!("/{index}"));
            let policy = definition.over(new, &self.policy_limits).map_err(within)?;
            if names.contains(&policy.name) {
                return Err(within(Wrong::new("/name", "another has it")));
            }
            names.push(policy.name);
        }
        let limit = self.policy_limits.per_organization;
        if names.len() > limit {
            let reason = format!(
                "there are more than {limit}, the limit access.policy_limits.per_organization"
            );
            return Err(Wrong::new("/", reason));
        }
        Ok(())
    }
}

impl Caller {
    /// Checks that a caller may do all that policies decide about: nobody gives or takes what they
    /// do not have.
    fn may_decide(&self) -> Result<(), Error> {
        let all = [Permission::ToolsCall, Permission::PromptsGet, Permission::ResourcesRead];
        if self.holds(all.into_iter().collect()) { Ok(()) } else { Err(Error::Beyond) }
    }
}

impl Access {
    /// The policies that hold in an organization, the first to be asked first.
    pub(crate) fn policies(&self, organization: OrganizationId) -> Result<Vec<Written>, Error> {
        let rulebook = &self.0.rulebook;
        let stored = self.0.store.read()?.policies()?.into_iter();
        let stored = stored.filter(|policy| policy.organization == organization);
        let written = |policy: Policy, origin| {
            let compiled = Rule::compile(&policy, &rulebook.limits, &mut Fields::default());
            Written { wrong: compiled.err(), policy, origin }
        };
        let of_file = rulebook.of_file.iter().cloned().map(|policy| written(policy, Origin::File));
        let stored = stored.map(|policy| written(policy, Origin::Store));
        let mut all: Vec<Written> = of_file.chain(stored).collect();
        let place = |it: &Written| (std::cmp::Reverse(it.policy.priority), it.policy.name.clone());
        all.sort_by_cached_key(place);
        Ok(all)
    }

    /// One of them, by id or name.
    pub(crate) fn policy(&self, organization: OrganizationId, id: &str) -> Result<Written, Error> {
        let all = self.policies(organization)?;
        let by_id = all.iter().position(|written| written.id() == id);
        let found = by_id.or_else(|| all.iter().position(|written| written.policy.name == id));
        found.and_then(|at| all.into_iter().nth(at)).ok_or_else(|| Error::no_such_policy(id))
    }

    /// Makes a policy.
    pub(crate) async fn create_policy(
        &self,
        caller: &Caller,
        definition: Definition,
    ) -> Result<Written, Error> {
        let organization = caller.principal().organization;
        let (id, now) = (PolicyId::fresh(), self.0.clock.now());
        let limits = self.0.rulebook.limits.clone();
        let policy = definition.over(blank(organization, id, caller.actor(), now), &limits)?;
        caller.may_decide()?;
        self.refuse_name_of_file(&policy.name)?;
        let made = policy.clone();
        self.0
            .store
            .write(&caller.actor(), move |change| {
                let mut all = change.policies()?;
                all.retain(|other| other.organization == policy.organization);
                if all.len() >= limits.per_organization {
                    return Err(Error::TooManyPolicies(limits.per_organization));
                }
                if all.iter().any(|other| other.name == policy.name) {
                    return Err(Error::Taken("a policy of that name"));
                }
                Ok(change.put_policy(&policy)?)
            })
            .await?;
        self.reload()?;
        Ok(Written { policy: made, origin: Origin::Store, wrong: None })
    }

    /// Changes a policy: what the definition does not say stays as it is.
    pub(crate) async fn update_policy(
        &self,
        caller: &Caller,
        id: &str,
        definition: Definition,
    ) -> Result<Written, Error> {
        let id = self.stored_policy(caller, id)?;
        caller.may_decide()?;
        if let Some(name) = &definition.name {
            self.refuse_name_of_file(name.trim())?;
        }
        let limits = self.0.rulebook.limits.clone();
        let missing = Error::no_such_policy(&id.to_string());
        let changed = self
            .0
            .store
            .write(&caller.actor(), move |change| {
                let all = change.policies()?;
                let before = all.iter().find(|other| other.id == id).cloned().ok_or(missing)?;
                let policy = definition.over(before, &limits)?;
                let policy = Policy { updated_at: change.now(), ..policy };
                let is_taken = |other: &Policy| {
                    other.organization == policy.organization
                        && other.id != policy.id
                        && other.name == policy.name
                };
                if all.iter().any(is_taken) {
                    return Err(Error::Taken("a policy of that name"));
                }
                change.put_policy(&policy)?;
                Ok(policy)
            })
            .await?;
        self.reload()?;
        Ok(Written { policy: changed, origin: Origin::Store, wrong: None })
    }

    /// Removes a policy.
    pub(crate) async fn remove_policy(&self, caller: &Caller, id: &str) -> Result<PolicyId, Error> {
        let id = self.stored_policy(caller, id)?;
        caller.may_decide()?;
        let missing = Error::no_such_policy(&id.to_string());
        self.0
            .store
            .write(&caller.actor(), move |change| {
                change.remove_policy(&id)?.map(drop).ok_or(missing)
            })
            .await?;
        self.reload()?;
        Ok(id)
    }

    /// The id of a policy that can be changed.
    fn stored_policy(&self, caller: &Caller, id: &str) -> Result<PolicyId, Error> {
        let found = self.policy(caller.principal().organization, id)?;
        match found.origin {
            Origin::Store => Ok(found.policy.id),
            Origin::File => Err(Error::PolicyOfFile(found.policy.name)),
        }
    }

    /// Two policies of one name could not be told apart in the journal.
    fn refuse_name_of_file(&self, name: &str) -> Result<(), Error> {
        if self.0.rulebook.of_file.iter().any(|policy| policy.name == name) {
            return Err(Error::Taken("a policy of that name"));
        }
        Ok(())
    }

    /// Whether the stored policies could be read.
    pub(super) fn stored_policies(&self) -> Result<Vec<Policy>, Error> {
        match &**self.0.rulebook.page.load() {
            Page::Read(read) => Ok(read.stored.clone()),
            Page::Unreadable => Err(Error::PoliciesUnreadable),
        }
    }
}
