//! Gates: which policies can hold at all, found by what they ask for first.
//!
//! Most policies name a server, a tool or a role. Those that name others are not looked at.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{
    compile::{Condition, Fields, Test},
    decide::{Looked, Rule},
    field::{Field, Value},
};

/// Which policies are behind which values. The numbers are places in the order of policies.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// Behind none: they are always looked at.
    open: Vec<usize>,
    by_slot: Vec<Gate>,
}

/// The policies that want certain texts in one field.
#[derive(Debug)]
struct Gate {
    slot: usize,
    by_text: HashMap<Box<str>, Vec<usize>>,
}

impl Gates {
    pub(super) fn new(rules: &[Rule], fields: &Fields) -> Self {
        let mut gates = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            match wanted(&rule.condition, fields) {
                Some((slot, texts)) => gates.put(place, slot, &texts),
                None => gates.open.push(place),
            }
        }
        gates
    }

    fn put(&mut self, place: usize, slot: usize, texts: &[&str]) {
        let known = self.by_slot.iter().position(|gate| gate.slot == slot);
        let at = known.unwrap_or_else(|| {
            self.by_slot.push(Gate { slot, by_text: HashMap::new() });
            self.by_slot.len() - 1
        });
        for text in texts {
            let behind = self.by_slot[at].by_text.entry((*text).into()).or_default();
            // A text that is wanted twice is wanted once.
            if behind.last() != Some(&place) {
                behind.push(place);
            }
        }
    }

    /// The policies that may hold, in their order.
    pub(super) fn passed(&self, looked: &Looked<'_>) -> Vec<usize> {
        let mut passed = self.open.clone();
        for gate in &self.by_slot {
            match looked.value(gate.slot) {
                Value::Text(text) => passed.extend(gate.by_text.get(&**text).into_iter().flatten()),
                Value::Missing => {}
                // Nobody knows yet which text it will be.
                _ => passed.extend(gate.by_text.values().flatten()),
            }
        }
        passed.sort_unstable();
        passed.dedup();
        passed
    }
}

/// The texts without one of which a condition cannot hold, where it asks for such.
fn wanted<'c>(condition: &'c Condition, fields: &Fields) -> Option<(usize, Vec<&'c str>)> {
    let check = match condition {
        Condition::All(parts) => return parts.iter().find_map(|part| wanted(part, fields)),
        Condition::Any(_) => return None,
        Condition::Check(check) => check,
    };
    // What an argument is, a client says, who may make it something that cannot be compared.
    let is_plain = !matches!(fields.named[check.slot].field, Field::Argument(_));
    let texts = match &check.test {
        Test::Equals(wanted) => vec![wanted.as_str()],
        Test::In(wanted) => wanted.iter().map(Json::as_str).collect(),
        _ => return None,
    };
    let texts: Option<Vec<&str>> = texts.into_iter().collect();
    texts.filter(|_| is_plain && !check.is_negated).map(|texts| (check.slot, texts))
}
