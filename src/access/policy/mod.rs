//! Policies: rules over callers, servers, items, arguments and time, beyond what roles say.
//!
//! They are compiled when they are written, and again when they are read: what cannot be compiled
//! is refused the first time and denies everything the second. Who asks them asks an immutable set
//! in memory, one for each organization, replaced whole when something changes. They decide about
//! calls that name a tool, a prompt or a resource; lists show what they let through.

mod change;
mod compile;
mod decide;
mod effect;
mod explain;
mod field;
mod gate;
mod redact;
mod replay;
mod strict;
#[cfg(test)]
mod tests;
mod veil;

use std::{cell::OnceCell, collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use self::{
    decide::{Looked, Ruleset},
    field::{Arguments, Facts, ItemFacts, ServerFacts},
    redact::Redaction,
};
use crate::{
    access::{Access, Caller, Error},
    domain::{
        Decision, NamespaceId, OrganizationId, Policy, Preference, RateLimit, Server, Slug, Target,
        Timestamp, Verdict,
    },
    problem::chain,
    store::{self, Snapshot},
    wire::{Call, Client, Method},
};

pub(crate) use self::{
    change::{Definition, Written},
    explain::Question,
    replay::Replay,
    veil::Veil,
};

pub(super) use self::compile::Wrong;

/// How much a policy may be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Policies of one organization.
    pub(crate) per_organization: usize,
    /// Rules in one policy; also paths and patterns of one redaction.
    pub(crate) rules: usize,
    /// How deep rules may nest.
    pub(crate) depth: usize,
    /// Bytes of one policy, as JSON.
    pub(crate) bytes: usize,
    /// Bytes that one pattern may take once it is compiled.
    pub(crate) regex_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_organization: 100, rules: 64, depth: 8, bytes: 16 << 10, regex_bytes: 256 << 10 }
    }
}

impl Limits {
    fn check_size(&self, policy: &Policy) -> Result<(), Wrong> {
        let json = |value: &Value| value.to_string().len();
        let size = json(&policy.conditions) + json(&policy.actions) + policy.description.len();
        if size > self.bytes {
            let reason = format!(
                "it has more than {} bytes, the limit access.policy_limits.bytes",
                self.bytes
            );
            return Err(Wrong::new("/", reason));
        }
        Ok(())
    }
}

/// The policies that hold now.
pub(super) struct Rulebook {
    limits: Limits,
    /// Those of the settings file: they hold in every organization.
    of_file: Vec<Policy>,
    page: ArcSwap<Page>,
    changed: watch::Sender<u64>,
}

/// What holds at one moment.
enum Page {
    Read(Read),
    /// The stored policies cannot be read, so nobody knows what they forbid.
    Unreadable,
}

#[derive(Default)]
struct Read {
    stored: Vec<Policy>,
    namespaces: HashMap<NamespaceId, Slug>,
    /// Organizations with policies of their own; these come with the file's.
    by_organization: HashMap<OrganizationId, Arc<Ruleset>>,
    /// What holds in all others; none where nothing does.
    elsewhere: Option<Arc<Ruleset>>,
}

impl Read {
    fn of(&self, organization: OrganizationId) -> Option<&Arc<Ruleset>> {
        let found = self.by_organization.get(&organization).or(self.elsewhere.as_ref());
        found.filter(|rules| !rules.is_empty())
    }
}

impl Rulebook {
    pub(super) fn new(limits: Limits, definitions: &[Definition]) -> Self {
        let of_file = definitions.iter().map(|it| it.of_file(&limits)).collect();
        let page = ArcSwap::from_pointee(Page::Unreadable);
        Self { limits, of_file, page, changed: watch::Sender::new(0) }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        matches!(**self.page.load(), Page::Unreadable)
    }

    fn turn_to(&self, page: Page) {
        self.page.store(Arc::new(page));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Reads the policies of a snapshot. Where that fails, everything is denied.
    pub(super) fn reload(&self, snapshot: &Snapshot) {
        let read = || Ok::<_, store::Error>((snapshot.policies()?, snapshot.namespaces()?));
        let (stored, namespaces) = match read() {
            Ok(read) => read,
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "the policies cannot be read: everything is denied");
                self.turn_to(Page::Unreadable);
                return;
            }
        };
        let namespaces = namespaces.into_iter().map(|it| (it.id, it.slug)).collect();
        if let Page::Read(known) = &**self.page.load()
            && known.stored == stored
            && known.namespaces == namespaces
        {
            return;
        }
        let mut own: HashMap<OrganizationId, Vec<&Policy>> = HashMap::new();
        for policy in &stored {
            own.entry(policy.organization).or_default().push(policy);
        }
        let ruleset = |own: Vec<&Policy>| {
            Arc::new(Ruleset::new(self.of_file.iter().chain(own), &self.limits))
        };
        let by_organization = own.into_iter().map(|(id, own)| (id, ruleset(own))).collect();
        let elsewhere = Some(ruleset(Vec::new())).filter(|rules| !rules.is_empty());
        let read = Read { stored, namespaces, by_organization, elsewhere };
        self.turn_to(Page::Read(read));
    }
}

/// What policies say of a call: nothing where there are none.
pub(super) struct Judgement {
    /// Whether a policy allows it in the place of the caller's role.
    pub(super) allows: bool,
    pub(super) obligations: Obligations,
    /// How often it may be made.
    pub(super) limits: Vec<Arc<RateLimit>>,
    /// What instances must be like that it goes to.
    pub(super) destinations: Vec<Arc<[Preference]>>,
    pub(super) verdict: Option<Arc<Verdict>>,
}

/// What must be done with the answer.
#[derive(Debug, Default)]
pub(super) struct Obligations(Vec<Arc<Redaction>>);

impl Obligations {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn apply(&self, said: &mut Value) {
        for redaction in &self.0 {
            redaction.apply(said);
        }
    }
}

impl Judgement {
    fn none() -> Self {
        let obligations = Obligations::default();
        let (limits, destinations) = (Vec::new(), Vec::new());
        Self { allows: false, obligations, limits, destinations, verdict: None }
    }
}

impl Access {
    /// What policies say of a call that names an item. What names none is left to roles.
    pub(super) fn judge(
        &self,
        caller: &Caller,
        target: &Target,
        call: &Call,
    ) -> Result<Judgement, Error> {
        let Some(item) = target.item() else { return Ok(Judgement::none()) };
        let page = self.0.rulebook.page.load();
        let read = match &**page {
            Page::Read(read) => read,
            Page::Unreadable => return Err(Error::PoliciesUnreadable),
        };
        let Some(rules) = read.of(caller.principal().organization) else {
            return Ok(Judgement::none());
        };
        let facts = Facts {
            principal: caller.principal(),
            scope: &call.scope,
            client: &call.client,
            server: server_facts(target.server().map(|server| &**server), &read.namespaces),
            item: Some(ItemFacts {
                kind: item.kind,
                name: &item.name,
                annotations: &item.annotations,
            }),
            is_completion: *call.method() == Method::Complete,
            arguments: Arguments::In(&call.request),
            now: self.0.clock.now(),
            read: OnceCell::new(),
        };
        let looked = Looked::new(rules, &facts);
        let decided = rules.decide(&looked);
        let verdict = Arc::new(decided.verdict(&looked));
        if decided.decision == Decision::Deny {
            return Err(Error::DeniedByPolicy(verdict));
        }
        let redactions = decided.redactions.into_iter().map(|(_, it)| it.clone());
        Ok(Judgement {
            allows: decided.decision == Decision::Allow,
            obligations: Obligations(redactions.collect()),
            limits: decided.limits.into_iter().cloned().collect(),
            destinations: decided.destinations.into_iter().cloned().collect(),
            verdict: Some(verdict),
        })
    }

    /// Tells of every change of a policy.
    pub(crate) fn policy_changes(&self) -> watch::Receiver<u64> {
        self.0.rulebook.changed.subscribe()
    }

    /// What tells the policies of an organization from those before.
    pub(crate) fn policies_digest(&self, organization: OrganizationId) -> u64 {
        match &**self.0.rulebook.page.load() {
            Page::Read(read) => read.of(organization).map_or(0, |rules| rules.digest()),
            Page::Unreadable => u64::MAX,
        }
    }
}

fn server_facts<'a>(
    server: Option<&'a Server>,
    namespaces: &'a HashMap<NamespaceId, Slug>,
) -> ServerFacts<'a> {
    match server {
        Some(server) => ServerFacts {
            name: server.name.as_str(),
            id: Some(server.id),
            namespace: namespaces.get(&server.namespace).map(Slug::as_str),
            tags: server.tags(),
        },
        None => ServerFacts { name: OWN, id: None, namespace: None, tags: &[] },
    }
}

/// The name of the gateway's own server.
const OWN: &str = "tollhouse";
