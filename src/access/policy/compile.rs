//! Compiling: from a policy as it is written to what can be asked quickly, or the place where it is
//! wrong.

use std::{collections::HashMap, sync::Arc};

use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::{
    Limits,
    field::{Field, NAMES, Takes},
};

/// What is wrong with a policy, and where: a JSON pointer into it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {reason}")]
pub(crate) struct Wrong {
    pub(super) at: String,
    pub(super) reason: String,
}

impl Wrong {
    pub(super) fn new(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { at: at.into(), reason: reason.into() }
    }

    /// Whether it is the type of a policy.
    pub(crate) fn is_about_type(&self) -> bool {
        self.at == "/type"
    }

    /// The same, seen from outside.
    pub(super) fn within(self, at: &str) -> Self {
        Self { at: format!("{at}{}", self.at), reason: self.reason }
    }
}

/// A condition that can be asked.
#[derive(Debug)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Check(Check),
}

/// One field against one value.
#[derive(Debug)]
pub(super) struct Check {
    /// Which of the fields.
    pub(super) slot: usize,
    /// Which of the different checks: what one comes to, all like it come to.
    pub(super) number: usize,
    pub(super) test: Test,
    pub(super) is_negated: bool,
    /// Where it stands in the policy.
    pub(super) at: String,
    pub(super) operator: Operator,
}

/// What is asked of a value.
#[derive(Debug)]
pub(super) enum Test {
    Equals(Value),
    In(Vec<Value>),
    Order(Order, Value),
    Contains(Value),
    StartsWith(String),
    EndsWith(String),
    Matches(Regex),
    Exists,
}

/// How a value lies to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Condition {
    /// What it takes to evaluate it: arguments have to be parsed, and may be what cannot be compared.
    fn cost(&self, fields: &Fields) -> u8 {
        match self {
            Self::Check(check) => match fields.named[check.slot].field {
                Field::Argument(_) => 1,
                _ => 0,
            },
            Self::All(_) | Self::Any(_) => 2,
        }
    }
}

/// A field under the name by which a policy calls it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: Arc<str>,
    pub(super) field: Field,
    /// Whether its value is nothing for the journal.
    pub(super) is_secret: bool,
}

fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let secret = ["password", "passwd", "secret", "token", "credential", "api_key", "apikey"];
    name.starts_with("arguments") && secret.iter().any(|it| name.contains(it))
}

/// What the policies of an organization look at: each field once, and each check.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) named: Vec<Named>,
    /// By what they ask.
    checks: HashMap<(usize, &'static str, String), usize>,
}

impl Fields {
    /// How many different checks there are.
    pub(super) fn checks(&self) -> usize {
        self.checks.len()
    }

    fn slot(&mut self, name: String, field: Field) -> usize {
        let known = self.named.iter().position(|known| *known.name == *name);
        known.unwrap_or_else(|| {
            let is_secret = may_be_secret(&name);
            self.named.push(Named { name: name.into(), field, is_secret });
            self.named.len() - 1
        })
    }

    fn number(&mut self, slot: usize, operator: Operator, value: &Value) -> usize {
        let next = self.checks.len();
        *self.checks.entry((slot, operator.as_str(), value.to_string())).or_insert(next)
    }
}

/// An operator, by the name it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Nin,
    Contains,
    StartsWith,
    EndsWith,
    Regex,
    Exists,
}

impl Operator {
    const ALL: [Self; 13] = [
        Self::Eq,
        Self::Neq,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::In,
        Self::Nin,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Regex,
        Self::Exists,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::In => "in",
            Self::Nin => "nin",
            Self::Contains => "contains",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::Regex => "regex",
            Self::Exists => "exists",
        }
    }

    fn read(text: &str) -> Option<Self> {
        let text = match text {
            "ne" => "neq",
            "not_in" => "nin",
            other => other,
        };
        Self::ALL.into_iter().find(|operator| operator.as_str() == text)
    }
}

/// Compiles what stands below `/conditions`.
pub(super) fn condition(
    conditions: &Value,
    limits: &Limits,
    fields: &mut Fields,
) -> Result<Condition, Wrong> {
    let mut compiler = Compiler { limits, fields, rules: 0 };
    let Value::Object(members) = conditions else {
        return Err(Wrong::new("/conditions", "it must be an object"));
    };
    let is_rule =
        ["match", "rules", "field", "operator"].iter().any(|it| members.contains_key(*it));
    if is_rule {
        return compiler.node(members, "/conditions", 1);
    }
    let checks = members.iter().map(|(name, value)| compiler.pair(name, value));
    let mut parts: Vec<Condition> = checks.collect::<Result<_, _>>()?;
    parts.sort_by_key(|part| part.cost(fields));
    Ok(Condition::All(parts))
}

struct Compiler<'a> {
    limits: &'a Limits,
    fields: &'a mut Fields,
    rules: usize,
}

impl Compiler<'_> {
    fn node(
        &mut self,
        node: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<Condition, Wrong> {
        let depth_limit = self.limits.depth;
        if depth > depth_limit {
            let reason =
                format!("it nests deeper than {depth_limit}, the limit access.policy_limits.depth");
            return Err(Wrong::new(at, reason));
        }
        if !node.contains_key("rules") && !node.contains_key("match") {
            return self.rule(node, at).map(Condition::Check);
        }
        only(node, at, &["match", "rules"])?;
        let is_any = match node.get("match").map(Value::as_str) {
            None | Some(Some("all" | "and")) => false,
            Some(Some("any" | "or")) => true,
            Some(_) => return Err(Wrong::new(format!("{at}/match"), "it is neither all nor any")),
        };
        let at_rules = format!("{at}/rules");
        let rules = match node.get("rules").and_then(Value::as_array) {
            Some(rules) if !rules.is_empty() => rules,
            _ => return Err(Wrong::new(at_rules, "it must be a list of rules, at least one")),
        };
        let mut compiled = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let at = format!("{at_rules}/{index}");
            let Value::Object(rule) = rule else {
                return Err(Wrong::new(at, "it must be an object"));
            };
            compiled.push(self.node(rule, &at, depth + 1)?);
        }
        // Stable: among equals it is asked in the order in which it is written.
        compiled.sort_by_key(|part| part.cost(self.fields));
        Ok(if is_any { Condition::Any(compiled) } else { Condition::All(compiled) })
    }

    /// `{"field","operator","value"}`, for times with a `timezone`.
    fn rule(&mut self, rule: &Map<String, Value>, at: &str) -> Result<Check, Wrong> {
        only(rule, at, &["field", "operator", "value", "timezone"])?;
        let text = |member: &str| {
            let found = rule.get(member).and_then(Value::as_str);
            found.ok_or_else(|| Wrong::new(format!("{at}/{member}"), "it is missing, or no text"))
        };
        let name = text("field")?;
        let at_operator = format!("{at}/operator");
        let operator = Operator::read(text("operator")?).ok_or_else(|| {
            let known = Operator::ALL.map(Operator::as_str).join(", ");
            Wrong::new(at_operator.clone(), format!("there is no such operator; there are {known}"))
        })?;
        let zone = rule.get("timezone").map(|zone| read_zone(zone, at)).transpose()?;
        let slot = self.slot(name, &format!("{at}/field"), zone, &format!("{at}/timezone"))?;
        let at_value = format!("{at}/value");
        let value = match (rule.get("value"), operator) {
            (Some(value), _) => value.clone(),
            (None, Operator::Exists) => Value::Bool(true),
            (None, _) => return Err(Wrong::new(at_value, "it is missing")),
        };
        self.check(slot, (operator, &at_operator), (value, &at_value), at)
    }

    /// A member of a flat map: its field equals the value, or is in the list.
    fn pair(&mut self, name: &str, value: &Value) -> Result<Condition, Wrong> {
        let at = format!("/conditions/{}", name.replace('~', "~0").replace('/', "~1"));
        let slot = self.slot(name, &at, None, &at)?;
        let operator = if value.is_array() { Operator::In } else { Operator::Eq };
        self.check(slot, (operator, &at), (value.clone(), &at), &at).map(Condition::Check)
    }

    fn slot(
        &mut self,
        name: &str,
        at: &str,
        zone: Option<(&str, TimeZone)>,
        at_zone: &str,
    ) -> Result<usize, Wrong> {
        let (suffix, zone) = match zone {
            Some((name, zone)) => (format!("@{name}"), Some(zone)),
            None => (String::new(), None),
        };
        let is_zoned = zone.is_some();
        let field = Field::named(name, &zone.unwrap_or(TimeZone::UTC))
            .ok_or_else(|| Wrong::new(at, format!("there is no such field; there are {NAMES}")))?;
        if is_zoned && !field.is_time() {
            return Err(Wrong::new(at_zone, "only times have a time zone"));
        }
        Ok(self.fields.slot(format!("{name}{suffix}"), field))
    }

    fn check(
        &mut self,
        slot: usize,
        (operator, at_operator): (Operator, &str),
        (value, at_value): (Value, &str),
        at: &str,
    ) -> Result<Check, Wrong> {
        self.rules += 1;
        let limit = self.limits.rules;
        if self.rules > limit {
            let reason =
                format!("there are more than {limit} rules, the limit access.policy_limits.rules");
            return Err(Wrong::new(at, reason));
        }
        let takes = self.fields.named[slot].field.takes();
        let is_for_text =
            matches!(operator, Operator::StartsWith | Operator::EndsWith | Operator::Regex);
        let may_contain = takes.is_text() || takes == Takes::Words;
        let is_odd = is_for_text && !takes.is_text();
        if is_odd || (operator == Operator::Contains && !may_contain) {
            let reason =
                format!("{} is for texts; this field is {}", operator.as_str(), takes.words());
            return Err(Wrong::new(at_operator, reason));
        }
        let number = self.fields.number(slot, operator, &value);
        let (test, is_exists_false) = self.test(operator, takes, value, at_value)?;
        let is_negated = matches!(operator, Operator::Neq | Operator::Nin) || is_exists_false;
        Ok(Check { slot, number, test, is_negated, at: at.to_owned(), operator })
    }

    /// The test, and whether it asks for the contrary.
    fn test(
        &self,
        operator: Operator,
        takes: Takes,
        value: Value,
        at: &str,
    ) -> Result<(Test, bool), Wrong> {
        let wrong = |reason: String| Wrong::new(at, reason);
        let words = |value: Value| match value {
            Value::String(text) => Ok(text),
            _ => Err(wrong("it must be text".to_owned())),
        };
        let test = match operator {
            Operator::Eq | Operator::Neq => {
                if !takes.admits(&value) {
                    return Err(wrong(format!("it must be {}", takes.words())));
                }
                Test::Equals(value)
            }
            Operator::In | Operator::Nin => {
                let Value::Array(values) = value else {
                    return Err(wrong("it must be a list".to_owned()));
                };
                if let Some(odd) = values.iter().position(|value| !takes.admits(value)) {
                    let reason = format!("it must be {}", takes.words());
                    return Err(Wrong::new(format!("{at}/{odd}"), reason));
                }
                Test::In(values)
            }
            Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte => {
                Test::Order(order(operator), comparable(takes, value, at)?)
            }
            Operator::Contains if takes == Takes::Anything => Test::Contains(value),
            Operator::Contains => Test::Contains(Value::String(words(value)?)),
            Operator::StartsWith => Test::StartsWith(words(value)?),
            Operator::EndsWith => Test::EndsWith(words(value)?),
            Operator::Regex => Test::Matches(pattern(&words(value)?, self.limits, at)?),
            Operator::Exists => match value {
                Value::Bool(is_there) => return Ok((Test::Exists, !is_there)),
                _ => return Err(wrong("it must be true or false".to_owned())),
            },
        };
        Ok((test, false))
    }
}

const fn order(operator: Operator) -> Order {
    match operator {
        Operator::Gt => Order::Above,
        Operator::Gte => Order::AtLeast,
        Operator::Lt => Order::Below,
        _ => Order::AtMost,
    }
}

/// A value that others lie above or below of.
fn comparable(takes: Takes, value: Value, at: &str) -> Result<Value, Wrong> {
    let is_right = match takes {
        Takes::Anything => value.is_number() || value.is_string(),
        Takes::Flag => false,
        _ => takes.admits(&value),
    };
    if is_right {
        return Ok(value);
    }
    Err(Wrong::new(
        at,
        match takes {
            Takes::Flag => "true and false have no order".to_owned(),
            Takes::Anything => "it must be a number or text".to_owned(),
            _ => format!("it must be {}", takes.words()),
        },
    ))
}

/// A pattern that costs no more than it may.
pub(super) fn pattern(text: &str, limits: &Limits, at: &str) -> Result<Regex, Wrong> {
    let limit = limits.regex_bytes;
    let built = RegexBuilder::new(text).size_limit(limit).dfa_size_limit(limit).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            let limit_name = "access.policy_limits.regex_bytes";
            Wrong::new(
                at,
                format!("the pattern takes more than {limit} bytes, the limit {limit_name}"),
            )
        }
        other => {
            let said = other.to_string();
            let last = said.lines().last().unwrap_or_default();
            Wrong::new(at, format!("it is no pattern: {}", last.trim_start_matches("error: ")))
        }
    })
}

fn read_zone<'a>(zone: &'a Value, at: &str) -> Result<(&'a str, TimeZone), Wrong> {
    let known = zone.as_str().and_then(|name| Some((name, TimeZone::get(name).ok()?)));
    let reason = "it is no IANA time zone known here, such as Europe/Vienna";
    known.ok_or_else(|| Wrong::new(format!("{at}/timezone"), reason))
}

/// Refuses members that mean nothing.
pub(super) fn only(members: &Map<String, Value>, at: &str, known: &[&str]) -> Result<(), Wrong> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(odd) => {
            let odd: String = odd.chars().take(80).collect();
            let reason = format!("{odd:?} means nothing here; there are {}", known.join(", "));
            Err(Wrong::new(at, reason))
        }
        None => Ok(()),
    }
}
