//! Rate limits: how many calls may pass in how long, counted by whom, what and where.

mod change;
mod count;
mod rule;
mod shared;
mod snapshot;
mod table;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::{
    count::Quota,
    rule::{Facts, Names, Rule},
    shared::Shared,
    table::{Key, Table, Taken},
};
use crate::{
    access::{Caller, Permit},
    domain::{
        Algorithm, Clock, Dimension, LimitStanding, LimitStandings, OrganizationId, RateLimit,
        RateLimitForm, RateLimitId, Target, household,
    },
    problem::chain,
    store::{Snapshot, Store},
    wire::{Call, Method},
};

pub(crate) use change::{Error, Written};
pub(crate) use rule::Refused;
pub(crate) use shared::Sharing;

/// How calls are limited.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Rate limits of every organization, beside those in the store.
    pub(crate) rules: Vec<RateLimitForm>,
    /// Rate limits of one organization in the store, and as many in the settings file.
    pub(crate) per_organization: usize,
    /// Keys that are counted at the same time: beyond, those that matter least long are forgotten.
    pub(crate) max_keys: usize,
    /// How often what was counted is written down, in seconds, so that a restart is no reset.
    pub(crate) note_seconds: u32,
    /// Where several gateways count together.
    pub(crate) redis: shared::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            per_organization: 100,
            max_keys: 1 << 20,
            note_seconds: 10,
            redis: shared::Settings::default(),
        }
    }
}

type OfPolicies = HashMap<RateLimitId, (Arc<RateLimit>, Arc<Rule>)>;

/// Rules of policies that are kept compiled.
const POLICIES: usize = 10_000;

/// Counts calls and says whether one more may pass.
pub(super) struct Limiter {
    settings: Settings,
    store: Store,
    clock: Arc<dyn Clock>,
    of_file: Vec<RateLimit>,
    rules: ArcSwap<Rules>,
    /// The rules that policies ask for, each with the limit that it was made of.
    of_policies: RwLock<OfPolicies>,
    /// The number of the change up to which the rules were read.
    seen: Mutex<Option<u64>>,
    table: Table,
    shared: Option<Shared>,
    /// When the gateway started, on both clocks: what is counted with never goes back.
    start: (u64, Instant),
}

/// The rules that hold.
#[derive(Debug, Default)]
struct Rules {
    everywhere: Vec<Arc<Rule>>,
    of: HashMap<OrganizationId, Vec<Arc<Rule>>>,
    by_id: HashMap<RateLimitId, Arc<Rule>>,
}

/// Too many calls.
#[derive(Debug, Clone)]
pub(crate) struct Exceeded {
    /// Which limit has the longest wait.
    pub(crate) by: LimitStanding,
    /// Where the call stands with all.
    pub(crate) standings: LimitStandings,
}

impl Exceeded {
    /// After how long the call may pass, in whole seconds.
    pub(crate) fn wait_seconds(&self) -> u64 {
        self.by.wait_ms.div_ceil(1_000).max(1)
    }
}

/// What became of the calls that a limit was asked about.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    /// Which limit.
    pub(crate) written: Written,
    /// Calls that passed since the gateway started; none where they are other people's too.
    pub(crate) allowed: Option<u64>,
    /// Calls that did not.
    pub(crate) refused: Option<u64>,
    /// Who was refused, the last first.
    pub(crate) lately: Vec<Refused>,
    /// How somebody who was asked for stands with it.
    pub(crate) standings: Vec<LimitStanding>,
}

impl Limiter {
    pub(super) fn new(
        settings: Settings,
        store: &Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let now_ms = u64::try_from(clock.now().as_ms()).unwrap_or_default();
        let limiter = Self {
            of_file: settings.of_file()?,
            table: Table::new(*store.pepper(), settings.max_keys),
            shared: Shared::new(&settings.redis, store.name()).map_err(Error::Redis)?,
            store: store.clone(),
            start: (now_ms, clock.tick()),
            rules: ArcSwap::default(),
            of_policies: RwLock::default(),
            seen: Mutex::new(None),
            settings,
            clock,
        };
        limiter.reload()?;
        limiter.take_up()?;
        Ok(limiter)
    }

    fn now_ms(&self) -> u64 {
        let passed = self.clock.tick().saturating_duration_since(self.start.1);
        self.start.0 + u64::try_from(passed.as_millis()).unwrap_or_default()
    }

    /// Reads the rules again if anything changed.
    pub(super) fn reload(&self) -> Result<(), Error> {
        let mut seen = self.seen.lock();
        let snapshot = self.store.read()?;
        let last = Some(snapshot.last_sequence()?);
        if *seen == last {
            return Ok(());
        }
        let stored = snapshot.rate_limits()?;
        let all = || self.of_file.iter().chain(&stored);
        // Names cost reading, which laptops without limits need not do.
        let has_names = all().any(|limit| !limit.only.is_empty());
        let names = if has_names { names(&snapshot)? } else { Names::default() };
        let before = self.rules.load();
        let mut rules = Rules::default();
        for limit in all().filter(|limit| limit.is_active) {
            let rule = Arc::new(Rule::new(limit, &names, before.by_id.get(&limit.id)));
            rules.by_id.insert(limit.id, rule.clone());
            let of_all = limit.organization == OrganizationId::fixed(0);
            let place = if of_all {
                &mut rules.everywhere
            } else {
                rules.of.entry(limit.organization).or_default()
            };
            place.push(rule);
        }
        self.rules.store(Arc::new(rules));
        *seen = last;
        Ok(())
    }

    /// Counts a call, if it may pass.
    pub(super) async fn take(
        &self,
        permit: &Permit,
        target: &Target,
        call: &Call,
    ) -> Result<LimitStandings, Box<Exceeded>> {
        let by_policy = permit.limits();
        if (self.rules.load().by_id.is_empty() && by_policy.is_empty()) || is_free(call) {
            return Ok(LimitStandings::default());
        }
        let (rules, principal) = (self.rules.load_full(), permit.caller().principal());
        let by_policy: Vec<Arc<Rule>> = by_policy.iter().map(|it| self.of_policy(it)).collect();
        let facts = Facts { principal, target, call };
        let own = rules.of.get(&principal.organization).into_iter().flatten();
        let counted = rules.everywhere.iter().chain(own).chain(&by_policy);
        let counted: Vec<(&Arc<Rule>, String)> =
            counted.filter_map(|rule| Some((rule, rule.key(facts)?))).collect();
        if counted.is_empty() {
            return Ok(LimitStandings::default());
        }
        let taken = match &self.shared {
            None => self.take_here(&counted, |quota| quota),
            Some(shared) => match Box::pin(shared.take(&asked_of_all(&counted))).await {
                Some(taken) => taken,
                None => self.take_here(&counted, |quota| shared.share(quota)),
            },
        };
        self.judge(&counted, &taken)
    }

    /// The rule of a limit that a policy asks for, the same each time, until it is another.
    fn of_policy(&self, limit: &Arc<RateLimit>) -> Arc<Rule> {
        if let Some((known, rule)) = self.of_policies.read().get(&limit.id)
            && Arc::ptr_eq(known, limit)
        {
            return rule.clone();
        }
        let mut all = self.of_policies.write();
        if all.len() >= POLICIES {
            all.clear();
        }
        let before = all.get(&limit.id).map(|(_, rule)| rule);
        let rule = Arc::new(Rule::new(limit, &Names::default(), before));
        all.insert(limit.id, (limit.clone(), rule.clone()));
        rule
    }

    /// Counts a call in this gateway's own memory.
    fn take_here(
        &self,
        counted: &[(&Arc<Rule>, String)],
        share: impl Fn(Quota) -> Quota + Copy,
    ) -> Taken {
        let asked: SmallVec<[(Key, Quota); 4]> =
            counted.iter().flat_map(|(rule, key)| self.asked(rule, key, share)).collect();
        self.table.take(&asked, self.now_ms())
    }

    /// What came of it, for each limit that counted the call.
    fn judge(
        &self,
        counted: &[(&Arc<Rule>, String)],
        taken: &Taken,
    ) -> Result<LimitStandings, Box<Exceeded>> {
        let now_ms = self.now_ms();
        let mut looks = taken.looks.iter();
        let mut standings = Vec::with_capacity(taken.looks.len());
        for (rule, key) in counted {
            let before = standings.len();
            let of_rule = rule.quotas.iter().zip(looks.by_ref());
            let standing = |(quota, look)| rule.standing(quota, look, (now_ms, taken.passes));
            standings.extend(of_rule.map(standing));
            if taken.passes {
                rule.counts.allowed.fetch_add(1, Relaxed);
            } else if standings[before..].iter().any(|standing| standing.wait_ms > 0) {
                rule.counts.refuse(rule.shown(key), self.clock.now());
            }
        }
        let longest = standings.iter().max_by_key(|standing| standing.wait_ms).cloned();
        let standings = LimitStandings::from(standings);
        match longest {
            Some(by) if !taken.passes => Err(Box::new(Exceeded { by, standings })),
            _ => Ok(standings),
        }
    }

    fn asked(
        &self,
        rule: &Rule,
        key: &str,
        share: impl Fn(Quota) -> Quota,
    ) -> SmallVec<[(Key, Quota); 4]> {
        let asked = rule.quotas.iter().map(|(window, quota)| {
            let quota = share(*quota);
            // A bucket is counted in units of its limit.
            let unit = match quota.algorithm {
                Algorithm::TokenBucket => quota.limit,
                Algorithm::SlidingWindow | Algorithm::FixedWindow => 0,
            };
            (self.table.key(key, window.seconds, unit), quota)
        });
        asked.collect()
    }

    /// What became of the calls of an organization, and how those who are named stand.
    fn usage(
        &self,
        (organization, is_above): (OrganizationId, bool),
        whom: &HashMap<Dimension, String>,
    ) -> Result<Vec<Usage>, Error> {
        let names = if whom.is_empty() { Names::new() } else { names(&self.store.read()?)? };
        let of = |dimension: Dimension| {
            let value = whom.get(&dimension);
            let id = value.and_then(|value| names.get(&(dimension, value.clone())));
            match (dimension, id.or(value)) {
                // One organization's is its own.
                (Dimension::Organization, _) => Some(organization.to_string()),
                (Dimension::Ip, Some(value)) => Some(household(value.parse().ok()?).to_string()),
                (_, value) => value.cloned(),
            }
        };
        let (rules, now_ms) = (self.rules.load(), self.now_ms());
        let used = self.written(organization)?.into_iter().map(|written| {
            // What limits of all counted is other organizations' business as well.
            let is_own = written.is_stored || is_above;
            let rule = rules.by_id.get(&written.limit.id).filter(|_| is_own);
            let counts = rule.map(|rule| &rule.counts);
            let counted_here = rule.filter(|_| self.shared.is_none());
            let standings =
                counted_here.map_or_else(Vec::new, |rule| self.standings(rule, &of, now_ms));
            Usage {
                allowed: counts.map(|counts| counts.allowed.load(Relaxed)),
                refused: counts.map(|counts| counts.refused.load(Relaxed)),
                lately: counts.map_or_else(Vec::new, |counts| counts.lately()),
                standings,
                written,
            }
        });
        Ok(used.collect())
    }

    fn standings(
        &self,
        rule: &Rule,
        of: &impl Fn(Dimension) -> Option<String>,
        now_ms: u64,
    ) -> Vec<LimitStanding> {
        let Some(key) = rule.key_of(of) else { return Vec::new() };
        let asked = self.asked(rule, &key, |quota| quota).into_iter();
        let looks = asked.map(|asked| self.table.peek(asked, now_ms));
        let quotas = rule.quotas.iter().zip(looks);
        quotas.map(|(quota, look)| rule.standing(quota, &look, (now_ms, false))).collect()
    }
}

/// What is asked of all gateways.
fn asked_of_all(counted: &[(&Arc<Rule>, String)]) -> Vec<(String, Quota)> {
    let of = |(rule, key): &(&Arc<Rule>, String)| {
        let key = rule.key_of_all(key);
        let asked = rule.quotas.iter();
        asked.map(move |(window, quota)| (format!("{key}:{}", window.seconds), *quota)).collect()
    };
    counted.iter().flat_map(|one| -> Vec<_> { of(one) }).collect()
}

/// What keeps a connection alive, or opens it, costs nobody anything.
fn is_free(call: &Call) -> bool {
    matches!(call.method(), Method::Ping | Method::Discover | Method::Initialize)
}

/// The ids of what people call by names.
fn names(snapshot: &Snapshot) -> Result<Names, Error> {
    let mut names = Names::new();
    for organization in snapshot.organizations()? {
        let name = (Dimension::Organization, organization.slug.to_string());
        names.insert(name, organization.id.to_string());
    }
    for namespace in snapshot.namespaces()? {
        let name = (Dimension::Namespace, namespace.slug.to_string());
        names.insert(name, namespace.id.to_string());
    }
    for user in snapshot.users()? {
        names.insert((Dimension::User, user.username.clone()), user.id.to_string());
    }
    for key in snapshot.keys()? {
        names.insert((Dimension::ApiKey, key.name.clone()), key.id.to_string());
    }
    Ok(names)
}

impl crate::traffic::Traffic {
    /// What became of the calls of somebody's organization that limits were asked about, and how
    /// those stand with them who are named, by what they are, where this gateway counts by itself.
    pub(crate) fn limit_usage(
        &self,
        caller: &Caller,
        whom: &HashMap<Dimension, String>,
    ) -> Result<Vec<Usage>, Error> {
        let whose = (caller.principal().organization, caller.is_above());
        self.0.limiter.usage(whose, whom)
    }

    /// Whether gateways count together; none where nobody wants that.
    pub(crate) fn sharing(&self) -> Option<Sharing> {
        self.0.limiter.shared.as_ref().map(Shared::sharing)
    }

    /// Keeps the rules as they are stored, writes down what was counted, and stays in touch with
    /// other gateways, until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let limiter = &self.0.limiter;
        let attending = async {
            let Some(shared) = &limiter.shared else { return };
            let mut rounds = tokio::time::interval(shared::ROUND);
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(rounds.tick()).await.is_some() {
                shared.attend().await;
            }
            shared.leave().await;
        };
        tokio::join!(attending, limiter.keep(&stop));
    }
}

impl Limiter {
    async fn keep(&self, stop: &CancellationToken) {
        let mut changes = self.store.changes();
        let round = Duration::from_secs(self.settings.note_seconds.max(1).into());
        let mut rounds = tokio::time::interval(round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = rounds.tick() => {
                    self.table.sweep(self.now_ms());
                    self.write_down().await;
                }
                Ok(()) = changes.changed() => {
                    if let Err(error) = self.reload() {
                        let error = chain(&error);
                        tracing::warn!(error, "the rate limits cannot be read again");
                    }
                }
            }
        }
        self.write_down().await;
    }
}
