//! Deciding: a call and its caller against the policies of an organization.
//!
//! Policies are asked by priority, the highest first, and among equals those that deny first. The
//! first that holds decides; where none does, roles decide. What cannot be evaluated denies. What is
//! known without the arguments is asked first, and nothing twice.

use std::{
    cell::{Cell, OnceCell},
    cmp::Ordering,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use serde_json::{Number, Value as Json};

use super::{
    Limits,
    compile::{self, Check, Condition, Fields, Named, Order, Test, Wrong},
    effect::{self, Effect, Strength},
    field::{Facts, Value},
    gate::Gates,
    redact::Redaction,
};
use crate::domain::{Decision, Policy, Preference, PrincipalKind, RateLimit, Verdict};

/// The active policies of an organization, compiled and in order.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    fields: Fields,
    rules: Vec<Rule>,
    gates: Gates,
    digest: u64,
}

/// One policy, compiled.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) priority: u16,
    pub(super) condition: Condition,
    pub(super) effect: Effect,
    pub(super) message: Option<String>,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    /// That depends on what is not known yet.
    Maybe,
}

/// Something that cannot be compared as a policy wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) field: Arc<str>,
    pub(super) reason: &'static str,
}

impl Failed {
    pub(super) fn told(&self) -> String {
        format!("it cannot be evaluated: {}: {}", self.field, self.reason)
    }
}

impl Rule {
    /// Compiles a policy, or says where it is wrong.
    pub(super) fn compile(
        policy: &Policy,
        limits: &Limits,
        fields: &mut Fields,
    ) -> Result<Self, Wrong> {
        limits.check_size(policy)?;
        let condition = compile::condition(&policy.conditions, limits, fields)?;
        let (effect, message) = effect::compile(policy, limits)?;
        let (name, priority) = (policy.name.as_str().into(), policy.priority);
        Ok(Self { name, priority, condition, effect, message })
    }

    /// One that denies everything, in place of a policy nobody understands any more.
    fn broken(policy: &Policy, wrong: &Wrong) -> Self {
        Self {
            name: policy.name.as_str().into(),
            // Whatever it was meant to outrank, it may not be outranked itself.
            priority: u16::MAX,
            condition: Condition::All(Vec::new()),
            effect: Effect::Broken(format!("it cannot be compiled: {wrong}")),
            message: None,
        }
    }

    /// Where it stands: high priorities first, and of equal ones those that deny.
    fn place(&self) -> (std::cmp::Reverse<u16>, bool, Arc<str>) {
        let denies = matches!(self.effect, Effect::Deny | Effect::Require(_) | Effect::Broken(_));
        (std::cmp::Reverse(self.priority), !denies, self.name.clone())
    }

    /// What its condition comes to; a requirement that is met holds nobody up.
    pub(super) fn holds(&self, looked: &Looked<'_>) -> Result<Truth, Failed> {
        match self.effect {
            Effect::Require(strength) if is_met(strength, looked.facts) => Ok(Truth::No),
            _ => looked.truth(&self.condition),
        }
    }
}

fn is_met(strength: Strength, facts: &Facts<'_>) -> bool {
    match strength {
        Strength::Credential => facts.principal.kind != PrincipalKind::Anonymous,
        Strength::User => matches!(facts.principal.kind, PrincipalKind::User(_)),
        Strength::Operator => facts.principal.kind == PrincipalKind::Operator,
    }
}

/// How a call was decided, and what was looked at for it.
pub(super) struct Decided<'r> {
    pub(super) decision: Decision,
    pub(super) rule: Option<&'r Rule>,
    /// Why it could not be evaluated, where that is why it is denied.
    pub(super) failed: Option<String>,
    pub(super) redactions: Vec<(&'r Rule, &'r Arc<Redaction>)>,
    pub(super) limits: Vec<&'r Arc<RateLimit>>,
    pub(super) destinations: Vec<&'r Arc<[Preference]>>,
}

impl Decided<'_> {
    /// What was decided, with everything that was looked at for it.
    pub(super) fn verdict(&self, looked: &Looked<'_>) -> Verdict {
        let rule = self.rule;
        Verdict {
            decision: self.decision,
            policy: rule.map(|rule| rule.name.clone()),
            message: self.failed.clone().or_else(|| rule?.message.clone()),
            redacted_by: self.redactions.iter().map(|(rule, _)| rule.name.clone()).collect(),
            inputs: looked.inputs(),
        }
    }
}

impl Ruleset {
    /// Compiles the active ones of these policies. One that cannot be compiled denies everything.
    pub(super) fn new<'p>(policies: impl IntoIterator<Item = &'p Policy>, limits: &Limits) -> Self {
        let mut set = Self::default();
        let mut hasher = DefaultHasher::new();
        for policy in policies.into_iter().filter(|policy| policy.is_active) {
            let rule = Rule::compile(policy, limits, &mut set.fields).unwrap_or_else(|wrong| {
                tracing::error!(
                    policy = policy.name,
                    %wrong,
                    "a policy cannot be compiled: everything is denied until it is changed or removed"
                );
                Rule::broken(policy, &wrong)
            });
            (policy.id, policy.updated_at, &policy.name).hash(&mut hasher);
            set.rules.push(rule);
        }
        set.rules.sort_by_cached_key(Rule::place);
        set.gates = Gates::new(&set.rules, &set.fields);
        // Zero stands for no policies at all.
        set.digest = hasher.finish() | 1;
        set
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What tells these policies from others.
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Decides about a call.
    pub(super) fn decide(&self, looked: &Looked<'_>) -> Decided<'_> {
        let (redactions, limits, destinations) = (Vec::new(), Vec::new(), Vec::new());
        let (decision, rule, failed) = (Decision::Role, None, None);
        let mut decided = Decided { decision, rule, failed, redactions, limits, destinations };
        for place in self.gates.passed(looked) {
            let rule = &self.rules[place];
            if decided.rule.is_some() && !rule.effect.is_beside() {
                continue;
            }
            let failed = match (rule.holds(looked), &rule.effect) {
                (Ok(Truth::No), _) => continue,
                (Err(failed), _) => Some(failed.told()),
                (Ok(_), Effect::Broken(reason)) => Some(reason.clone()),
                (Ok(_), Effect::Redact(redaction)) => {
                    decided.redactions.push((rule, redaction));
                    continue;
                }
                (Ok(_), Effect::RateLimit(limit)) => {
                    decided.limits.push(limit);
                    continue;
                }
                (Ok(_), Effect::Route(destination)) => {
                    decided.destinations.push(destination);
                    continue;
                }
                (Ok(_), Effect::Allow) => {
                    (decided.decision, decided.rule) = (Decision::Allow, Some(rule));
                    continue;
                }
                (Ok(_), Effect::Deny | Effect::Require(_)) => None,
            };
            (decided.decision, decided.rule) = (Decision::Deny, Some(rule));
            decided.failed = failed;
            decided.redactions.clear();
            return decided;
        }
        decided
    }

    /// Everything that may be decided about a call of which not everything is known, each with the
    /// policy that would decide so.
    pub(super) fn foresee(&self, looked: &Looked<'_>) -> Vec<(Decision, Option<&Rule>)> {
        let mut foreseen = Vec::new();
        for place in self.gates.passed(looked) {
            let rule = &self.rules[place];
            let holds = rule.holds(looked);
            let decision = match (&holds, &rule.effect) {
                (Ok(Truth::No), _)
                | (Ok(_), Effect::Redact(_) | Effect::RateLimit(_) | Effect::Route(_)) => continue,
                (Ok(_), Effect::Allow) => Decision::Allow,
                (Ok(_), Effect::Deny | Effect::Require(_) | Effect::Broken(_)) | (Err(_), _) => {
                    Decision::Deny
                }
            };
            foreseen.push((decision, Some(rule)));
            if holds != Ok(Truth::Maybe) {
                return foreseen;
            }
        }
        foreseen.push((Decision::Role, None));
        foreseen
    }

    /// Whether every call that these facts leave open is denied.
    pub(super) fn hides(&self, facts: &Facts<'_>) -> bool {
        let looked = Looked::new(self, facts);
        for place in self.gates.passed(&looked) {
            let rule = &self.rules[place];
            match (rule.holds(&looked), &rule.effect) {
                (Ok(Truth::Yes | Truth::Maybe), Effect::Allow) => return false,
                (Ok(Truth::No | Truth::Maybe), _)
                | (Ok(_), Effect::Redact(_) | Effect::RateLimit(_) | Effect::Route(_)) => {}
                (Ok(Truth::Yes), Effect::Deny | Effect::Require(_) | Effect::Broken(_))
                | (Err(_), _) => return true,
            }
        }
        false
    }
}

/// The fields that were looked at, each once.
pub(super) struct Looked<'f> {
    fields: &'f [Named],
    facts: &'f Facts<'f>,
    values: Vec<OnceCell<Value<'f>>>,
    /// What checks came to, by their number.
    weights: Vec<Cell<Option<Weight>>>,
}

impl<'f> Looked<'f> {
    pub(super) fn new(rules: &'f Ruleset, facts: &'f Facts<'f>) -> Self {
        let fields = &*rules.fields.named;
        let weights = vec![Cell::new(None); rules.fields.checks()];
        Self { fields, facts, values: vec![OnceCell::new(); fields.len()], weights }
    }

    pub(super) fn named(&self, slot: usize) -> &'f Named {
        &self.fields[slot]
    }

    pub(super) fn value(&self, slot: usize) -> &Value<'f> {
        self.values[slot].get_or_init(|| self.facts.value(&self.fields[slot].field))
    }

    fn inputs(&self) -> Vec<(Arc<str>, String)> {
        let looked = self.fields.iter().zip(&self.values);
        let looked = looked.filter_map(|(named, value)| Some((named, value.get()?)));
        looked.map(|(named, value)| (named.name.clone(), shown(named, value))).collect()
    }

    /// Whether a condition holds.
    fn truth(&self, condition: &Condition) -> Result<Truth, Failed> {
        match self.weigh(condition) {
            Weight::Known(truth) => Ok(truth),
            Weight::Failed => Err(self.failure(condition).expect("it failed just now")),
        }
    }

    fn weigh(&self, condition: &Condition) -> Weight {
        let (parts, settled) = match condition {
            Condition::Check(check) => return self.weigh_check(check),
            Condition::All(parts) => (parts, Truth::No),
            Condition::Any(parts) => (parts, Truth::Yes),
        };
        let mut whole = if settled == Truth::No { Truth::Yes } else { Truth::No };
        for part in parts {
            match self.weigh(part) {
                Weight::Known(truth) if truth == settled => return Weight::Known(settled),
                Weight::Known(Truth::Maybe) => whole = Truth::Maybe,
                Weight::Known(_) => {}
                Weight::Failed => return Weight::Failed,
            }
        }
        Weight::Known(whole)
    }

    fn weigh_check(&self, check: &Check) -> Weight {
        let known = &self.weights[check.number];
        known.get().unwrap_or_else(|| {
            let weight = self.check(check).map_or(Weight::Failed, Weight::Known);
            known.set(Some(weight));
            weight
        })
    }

    /// Why a condition failed: the first part that did.
    fn failure(&self, condition: &Condition) -> Option<Failed> {
        match condition {
            Condition::Check(check) => self.check(check).err(),
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().find_map(|part| self.failure(part))
            }
        }
    }

    /// Whether one check holds.
    pub(super) fn check(&self, check: &Check) -> Result<Truth, Failed> {
        let failed = |reason| Failed { field: self.named(check.slot).name.clone(), reason };
        let holds = match self.value(check.slot) {
            Value::Unknown => return Ok(Truth::Maybe),
            Value::Unreadable(reason) => return Err(failed(reason)),
            Value::Missing => false,
            value => holds(&check.test, value).map_err(failed)?,
        };
        Ok(if holds == check.is_negated { Truth::No } else { Truth::Yes })
    }
}

/// What a condition comes to; why it failed is asked for again.
#[derive(Debug, Clone, Copy)]
enum Weight {
    Known(Truth),
    Failed,
}

fn holds(test: &Test, value: &Value<'_>) -> Result<bool, &'static str> {
    Ok(match test {
        Test::Exists => true,
        Test::Equals(wanted) => is_same(value, wanted),
        Test::In(wanted) => wanted.iter().any(|wanted| is_same(value, wanted)),
        Test::Contains(wanted) => match (value, wanted) {
            (Value::Json(Json::Array(items)), wanted) => {
                items.iter().any(|item| is_same_json(item, wanted))
            }
            (Value::Words(words), Json::String(wanted)) => words.contains(wanted),
            (value, Json::String(part)) => text(value)?.contains(&**part),
            _ => return Err("it is no list"),
        },
        Test::StartsWith(part) => text(value)?.starts_with(&**part),
        Test::EndsWith(part) => text(value)?.ends_with(&**part),
        Test::Matches(pattern) => pattern.is_match(text(value)?),
        Test::Order(order, bound) => {
            let ordering = compare(value, bound)?;
            match order {
                Order::Above => ordering.is_gt(),
                Order::AtLeast => ordering.is_ge(),
                Order::Below => ordering.is_lt(),
                Order::AtMost => ordering.is_le(),
            }
        }
    })
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, &'static str> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Json(Json::String(text)) => Ok(text),
        _ => Err("it is no text"),
    }
}

fn is_same(value: &Value<'_>, wanted: &Json) -> bool {
    match (value, wanted) {
        (Value::Text(text), Json::String(wanted)) => **text == **wanted,
        (Value::Flag(flag), Json::Bool(wanted)) => flag == wanted,
        (Value::Words(words), Json::String(wanted)) => words.contains(wanted),
        (Value::Number(number), Json::Number(wanted)) => {
            compare_numbers(&Number::from(*number), wanted) == Some(Ordering::Equal)
        }
        (Value::Json(value), wanted) => is_same_json(value, wanted),
        _ => false,
    }
}

/// Equality in which `1` and `1.0` are the same number.
fn is_same_json(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => {
            compare_numbers(one, other) == Some(Ordering::Equal)
        }
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same_json(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            let is_there = |(name, one): (&String, &Json)| {
                other.get(name).is_some_and(|other| is_same_json(one, other))
            };
            one.len() == other.len() && one.iter().all(is_there)
        }
        (one, other) => one == other,
    }
}

fn compare(value: &Value<'_>, bound: &Json) -> Result<Ordering, &'static str> {
    match (value, bound) {
        (Value::Number(number), Json::Number(bound)) => {
            compare_numbers(&Number::from(*number), bound)
        }
        (Value::Json(Json::Number(number)), Json::Number(bound)) => compare_numbers(number, bound),
        (value, Json::String(bound)) => Some(text(value)?.cmp(bound)),
        _ => return Err("it is no number"),
    }
    .ok_or("it cannot be compared")
}

fn compare_numbers(one: &Number, other: &Number) -> Option<Ordering> {
    let whole = |number: &Number| {
        number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
    };
    if let (Some(one), Some(other)) = (one.as_i64(), other.as_i64()) {
        return Some(one.cmp(&other));
    }
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

/// The longest text of an input in the journal, in characters.
pub(super) const INPUT_LIMIT: usize = 200;

/// What a field held, as JSON for the journal: cut short, and never what looks like a secret.
pub(super) fn shown(named: &Named, value: &Value<'_>) -> String {
    let text = |text: &str| {
        let end = text.char_indices().nth(INPUT_LIMIT).map_or(text.len(), |(end, _)| end);
        serde_json::to_string(&text[..end]).expect("text is always JSON")
    };
    match value {
        Value::Unknown | Value::Missing => "null".to_owned(),
        _ if named.is_secret => "\"[secret]\"".to_owned(),
        Value::Unreadable(reason) => text(reason),
        Value::Text(said) => text(said),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Words(words) => text(&words.join(" ")),
        Value::Json(Json::String(said)) => text(said),
        // Lists and objects may hold anything, also secrets under names nobody sees here.
        Value::Json(Json::Array(items)) => format!("\"[{} items]\"", items.len()),
        Value::Json(Json::Object(members)) => format!("\"{{{} members}}\"", members.len()),
        Value::Json(plain) => plain.to_string(),
    }
}
