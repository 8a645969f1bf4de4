//! Explaining: why a call is allowed, denied or left to roles, rule by rule.

use std::{cell::OnceCell, collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Arguments, Definition, Facts, ItemFacts, ServerFacts,
    change::blank,
    compile::{Condition, Wrong},
    decide::{Failed, INPUT_LIMIT, Looked, Rule, Ruleset, Truth, shown},
    effect::Effect,
    field::{Field, TRANSPORTS},
    server_facts,
};
use crate::{
    access::{Access, Caller, Error},
    domain::{
        Annotations, Decision, Item, ItemKind, NamespaceId, OrganizationId, Permission,
        Permissions, Policy, PolicyId, Principal, PrincipalKind, Role, Scope, Server, Slug,
        Timestamp,
    },
    wire::{Client, Revision},
};

/// A call that is only thought of.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Question {
    /// Who would make it; the one who asks, where nothing is said.
    caller: Who,
    /// The server it would go to.
    pub(crate) server: String,
    /// The server's namespace, where it is not registered.
    namespace: Option<String>,
    /// The tool it would call, under its server's own name for it.
    tool: Option<String>,
    /// Or the prompt it would get.
    prompt: Option<String>,
    /// Or the resource it would read.
    resource: Option<String>,
    /// What the tool's server says of its behaviour; what it really says, where it is known.
    annotations: Option<Annotations>,
    arguments: Option<Value>,
    /// What the journal keeps of a call's arguments, by field, where nobody has the whole.
    inputs: Map<String, Value>,
    client: Program,
    transport: Option<String>,
    /// The endpoint it would come to; the one of everything, where nothing is said.
    endpoint: Option<String>,
    /// When; now, where nothing is said.
    at: Option<String>,
    /// A policy that is asked too, in place of one of the same name.
    pub(super) policy: Option<Definition>,
}

/// Who would call.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Who {
    kind: Option<String>,
    /// Of a key, or of a person, who may also go by name.
    id: Option<String>,
    role: Option<Role>,
}

/// With which program.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Program {
    name: Option<Arc<str>>,
    revision: Option<String>,
}

/// How a call would be decided, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    /// `allow`, `deny`, or `role` where no policy decides.
    decision: &'static str,
    /// Whether it would be made in the end.
    allowed: bool,
    /// Whether lists show what it would be about.
    listed: bool,
    /// The policy that decides.
    policy: Option<String>,
    message: Option<String>,
    /// Whether the role, or what a key may do in its place, would allow it.
    role_permits: bool,
    /// The policies whose redactions the answer would pass.
    redacted_by: Vec<String>,
    /// What was looked at to decide.
    inputs: Map<String, Value>,
    /// Every active policy, in the order in which they are asked.
    policies: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    policy: String,
    priority: u16,
    effect: &'static str,
    /// `yes`, `no`, or `error`.
    holds: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether it is the one that decides.
    decides: bool,
    checks: Vec<CheckStep>,
}

#[derive(Debug, Serialize)]
struct CheckStep {
    /// Where it stands in the policy.
    at: String,
    field: String,
    operator: &'static str,
    found: Value,
    holds: &'static str,
}

impl Question {
    /// The item it is about.
    pub(crate) fn item(&self) -> Result<(ItemKind, &str), Error> {
        let named = [
            (ItemKind::Tool, &self.tool),
            (ItemKind::Prompt, &self.prompt),
            (ItemKind::Resource, &self.resource),
        ];
        let mut named = named.iter().filter_map(|(kind, name)| Some((*kind, name.as_deref()?)));
        match (named.next(), named.next()) {
            _ if self.server.is_empty() => Err(Wrong::new("/server", "it is missing").into()),
            (Some(item), None) => Ok(item),
            _ => Err(Wrong::new("/", "give one of tool, prompt and resource").into()),
        }
    }

    /// Who would call. Those of other organizations are not known here.
    pub(super) fn principal(&self, access: &Access, asker: &Principal) -> Result<Principal, Error> {
        let wrong = |at: &str, reason: &str| Error::from(Wrong::new(at, reason));
        let organization = asker.organization;
        let made_up = |kind, role: Role, permissions| Principal {
            kind,
            organization,
            role,
            permissions,
            limits: None,
            person: None,
            within: Permissions::all(),
        };
        let known = match (self.caller.kind.as_deref(), self.caller.id.as_deref()) {
            (None, None) => asker.clone(),
            (Some("operator"), None) => {
                made_up(PrincipalKind::Operator, Role::Admin, Permissions::all())
            }
            (Some("anonymous"), None) => {
                made_up(PrincipalKind::Anonymous, Role::User, Role::User.permissions())
            }
            (None | Some("key"), Some(id)) => access.key_principal(organization, id)?,
            (Some("user"), Some(id)) => access.user_principal(organization, id)?,
            (Some("key" | "user"), None) => return Err(wrong("/caller/id", "it is missing")),
            _ => {
                let reason = "it is none of key, user, operator and anonymous";
                return Err(wrong("/caller/kind", reason));
            }
        };
        Ok(match self.caller.role {
            // Of their own role, they keep what a key may do less.
            Some(role) if role != known.role => {
                Principal { role, permissions: role.permissions(), ..known }
            }
            _ => known,
        })
    }

    /// What the journal keeps of its arguments. Texts that stand for something else, or that were
    /// cut, say nothing.
    fn kept(&self) -> HashMap<Box<[Box<str>]>, Value> {
        let is_whole = |value: &&Value| match value {
            Value::String(text) => {
                let stands_for = text.starts_with(['[', '{']) && text.ends_with([']', '}']);
                !stands_for && text.chars().count() < INPUT_LIMIT
            }
            _ => true,
        };
        let inputs = self.inputs.iter().filter(|(_, value)| is_whole(value));
        inputs
            .filter_map(|(name, value)| Some((Field::of_argument(name)?, value.clone())))
            .collect()
    }

    pub(super) fn client(&self) -> Result<Client, Error> {
        let revision = match &self.client.revision {
            None => Revision::NEWEST,
            Some(text) => text
                .parse()
                .map_err(|()| Wrong::new("/client/revision", "it is no revision of MCP"))?,
        };
        let via = match self.transport.as_deref() {
            None => "http",
            Some(said) => *TRANSPORTS.iter().find(|known| **known == said).ok_or_else(|| {
                Wrong::new("/transport", format!("it is none of {}", TRANSPORTS.join(", ")))
            })?,
        };
        let name = self.client.name.clone();
        Ok(Client { revision, name, via, capabilities: None, level: None })
    }

    fn scope(&self) -> Result<Scope, Error> {
        let Some(path) = &self.endpoint else { return Ok(Scope::Everything) };
        let known = Scope::at(path);
        known
            .ok_or_else(|| Wrong::new("/endpoint", "it is no endpoint of MCP, such as /mcp").into())
    }

    pub(super) fn time(&self, now: Timestamp) -> Result<Timestamp, Error> {
        match &self.at {
            None => Ok(now),
            Some(text) => Timestamp::parse(text).ok_or_else(|| {
                Wrong::new("/at", "it is no time such as 2027-01-31T20:00:00Z").into()
            }),
        }
    }
}

/// What is known of a call that is only thought of.
pub(super) struct Scene<'q> {
    pub(super) principal: Principal,
    pub(super) kind: ItemKind,
    /// Whether the server is one that the caller sees at all: a key that is limited to others never
    /// comes as far as the policies.
    pub(super) is_in_sight: bool,
    question: &'q Question,
    name: &'q str,
    client: Client,
    scope: Scope,
    server: ServerFacts<'q>,
    annotations: Annotations,
    kept: HashMap<Box<[Box<str>]>, Value>,
    now: Timestamp,
}

impl<'q> Scene<'q> {
    pub(super) fn new(
        access: &Access,
        asker: &Caller,
        question: &'q Question,
        known: (Option<&'q Server>, Option<&Item>),
        namespaces: &'q HashMap<NamespaceId, Slug>,
    ) -> Result<Self, Error> {
        let (kind, name) = question.item()?;
        let principal = question.principal(access, asker.principal())?;
        let (server, item) = known;
        let facts = if server.is_some() {
            server_facts(server, namespaces)
        } else {
            let namespace = question.namespace.as_deref();
            ServerFacts { name: &question.server, id: None, namespace, tags: &[] }
        };
        let annotations = question.annotations.as_ref().or(item.map(|item| &item.annotations));
        Ok(Self {
            is_in_sight: server.is_none_or(|server| principal.sight().shows(server)),
            principal,
            kind,
            question,
            name,
            client: question.client()?,
            scope: question.scope()?,
            server: facts,
            annotations: annotations.cloned().unwrap_or_default(),
            kept: question.kept(),
            now: question.time(access.0.clock.now())?,
        })
    }

    /// Its arguments; `else_` where nothing is said of them.
    pub(super) fn arguments<'s>(&'s self, else_: Arguments<'s>) -> Arguments<'s> {
        match &self.question.arguments {
            Some(given) => Arguments::Given(Some(given)),
            None if !self.kept.is_empty() => Arguments::Kept(&self.kept),
            None => else_,
        }
    }

    pub(super) fn facts<'s>(&'s self, arguments: Arguments<'s>) -> Facts<'s> {
        let (kind, name) = (self.kind, self.name);
        Facts {
            principal: &self.principal,
            scope: &self.scope,
            client: &self.client,
            server: self.server,
            item: Some(ItemFacts { kind, name, annotations: &self.annotations }),
            is_completion: false,
            arguments,
            now: self.now,
            read: OnceCell::new(),
        }
    }

    /// What its caller needs where no policy decides.
    pub(super) const fn permission(&self) -> Permission {
        match self.kind {
            ItemKind::Tool => Permission::ToolsCall,
            ItemKind::Prompt => Permission::PromptsGet,
            ItemKind::Resource | ItemKind::Template => Permission::ResourcesRead,
        }
    }
}

impl Access {
    /// Says how a call would be decided, and why, without making it.
    pub(crate) fn explain(
        &self,
        asker: &Caller,
        question: &Question,
        known: (Option<&Server>, Option<&Item>),
    ) -> Result<Explained, Error> {
        let rules = self.with_candidate(asker, question.policy.as_ref())?;
        let namespaces = self.namespaces_of(asker.principal().organization)?;
        let scene = Scene::new(self, asker, question, known, &namespaces)?;
        let is_listed = scene.is_in_sight && !rules.hides(&scene.facts(Arguments::Unknown));
        let facts = scene.facts(scene.arguments(Arguments::Given(None)));
        let explained = explained(&rules, &facts, scene.permission(), is_listed);
        Ok(Explained { allowed: explained.allowed && scene.is_in_sight, ..explained })
    }

    pub(super) fn namespaces_of(
        &self,
        organization: OrganizationId,
    ) -> Result<HashMap<NamespaceId, Slug>, Error> {
        let namespaces = self.0.store.read()?.namespaces()?.into_iter();
        let namespaces = namespaces.filter(|it| it.organization == organization);
        Ok(namespaces.map(|it| (it.id, it.slug)).collect())
    }

    fn key_principal(&self, organization: OrganizationId, id: &str) -> Result<Principal, Error> {
        let known = id.parse().ok().and_then(|id| self.0.ring.principal(id));
        let known = known.filter(|it| it.organization == organization);
        known.ok_or_else(|| Error::no_such_key(id))
    }

    fn user_principal(&self, organization: OrganizationId, id: &str) -> Result<Principal, Error> {
        let book = self.0.book.load();
        let by_name = || book.signs_in(id);
        let known = id.parse().ok().or_else(by_name).and_then(|id| Some((id, book.person(&id)?)));
        let known = known.filter(|(_, person)| person.organization == organization);
        let (id, person) = known.ok_or_else(|| Error::no_such_user(id))?;
        Ok(Caller::person(id, person).principal().clone())
    }

    /// The policies of the caller's organization, with one more or another one.
    pub(super) fn with_candidate(
        &self,
        caller: &Caller,
        candidate: Option<&Definition>,
    ) -> Result<Ruleset, Error> {
        let rulebook = &self.0.rulebook;
        let organization = caller.principal().organization;
        let mut all = rulebook.of_file.clone();
        all.extend(
            self.stored_policies()?.into_iter().filter(|it| it.organization == organization),
        );
        if let Some(definition) = candidate {
            let known = all.iter().position(|it| Some(&it.name) == definition.name.as_ref());
            let (id, now) = (PolicyId::fresh(), self.0.clock.now());
            let before = match known {
                Some(at) => all.remove(at),
                None => Policy {
                    name: "candidate".to_owned(),
                    ..blank(organization, id, caller.actor(), now)
                },
            };
            let candidate = definition.over(before, &rulebook.limits);
            all.push(candidate.map_err(|wrong| wrong.within("/policy"))?);
        }
        Ok(Ruleset::new(&all, &rulebook.limits))
    }
}

fn explained(
    rules: &Ruleset,
    facts: &Facts<'_>,
    permission: Permission,
    is_listed: bool,
) -> Explained {
    let looked = Looked::new(rules, facts);
    let decided = rules.decide(&looked);
    let verdict = decided.verdict(&looked);
    let role_permits = facts.principal.may(permission);
    let names = |names: Vec<std::sync::Arc<str>>| names.iter().map(ToString::to_string).collect();
    let input = |(name, value): (std::sync::Arc<str>, String)| {
        (name.to_string(), serde_json::from_str(&value).unwrap_or_default())
    };
    let deciding = decided.rule;
    let is_deciding = |rule: &Rule| deciding.is_some_and(|it| std::ptr::eq(it, rule));
    Explained {
        decision: verdict.decision.as_str(),
        allowed: is_allowed(verdict.decision, facts.principal, permission),
        listed: is_listed,
        policy: verdict.policy.map(|name| name.to_string()),
        message: verdict.message,
        role_permits,
        redacted_by: names(verdict.redacted_by),
        inputs: verdict.inputs.into_iter().map(input).collect(),
        policies: rules.rules().iter().map(|rule| step(rule, &looked, is_deciding(rule))).collect(),
    }
}

/// Whether a call would be made in the end.
pub(super) const fn is_allowed(
    decision: Decision,
    principal: &Principal,
    permission: Permission,
) -> bool {
    match decision {
        Decision::Allow => principal.may(permission) || principal.may_be_let(permission),
        Decision::Deny => false,
        Decision::Role => principal.may(permission),
    }
}

fn step(rule: &Rule, looked: &Looked<'_>, decides: bool) -> Step {
    let mut checks = Vec::new();
    trace(&rule.condition, looked, &mut checks);
    let held = rule.holds(looked);
    let reason = match (&rule.effect, &held) {
        (Effect::Broken(reason), _) => Some(reason.clone()),
        (_, Err(failed)) => Some(failed.told()),
        _ => rule.message.clone(),
    };
    Step {
        policy: rule.name.to_string(),
        priority: rule.priority.min(*Policy::PRIORITIES.end()),
        effect: rule.effect.as_str(),
        holds: word(&held),
        reason,
        decides,
        checks,
    }
}

fn word(held: &Result<Truth, Failed>) -> &'static str {
    match held {
        Ok(Truth::Yes) => "yes",
        Ok(Truth::No) => "no",
        Ok(Truth::Maybe) => "maybe",
        Err(_) => "error",
    }
}

fn trace(condition: &Condition, looked: &Looked<'_>, checks: &mut Vec<CheckStep>) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            for part in parts {
                trace(part, looked, checks);
            }
        }
        Condition::Check(check) => {
            let named = looked.named(check.slot);
            let found = shown(named, looked.value(check.slot));
            checks.push(CheckStep {
                at: check.at.clone(),
                field: named.name.to_string(),
                operator: check.operator.as_str(),
                found: serde_json::from_str(&found).unwrap_or_default(),
                holds: word(&looked.check(check)),
            });
        }
    }
}
