//! Replaying: what a policy that is not there yet would have made of calls that were made.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Arguments, Definition,
    compile::Wrong,
    decide::{Looked, Ruleset},
    explain::{Question, Scene, is_allowed},
};
use crate::{
    access::{Access, Caller, Error},
    domain::{Item, ItemKind, Server},
};

/// The calls that can be replayed at once.
const MOST_CALLS: usize = 1_000;

/// A policy, and calls that were made before it was there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    /// It is asked in place of one of the same name.
    policy: Definition,
    calls: Vec<Question>,
}

/// How a call would be decided today, without and with the policy.
#[derive(Debug, Serialize)]
pub(crate) struct Replayed {
    before: Outcome,
    after: Outcome,
    /// The policy that decides afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// Why nobody can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Allowed,
    Denied,
    /// That depends on arguments that were not kept.
    Depends,
    /// Who called, or what was called, is not there any more.
    Unknown,
}

impl Replayed {
    const fn unknown(reason: String) -> Self {
        let (before, after) = (Outcome::Unknown, Outcome::Unknown);
        Self { before, after, policy: None, reason: Some(reason) }
    }
}

impl Access {
    /// Says how each of these calls would be decided, without and with a policy. `known` finds what
    /// is known of the server and the item of a call.
    pub(crate) fn replay(
        &self,
        asker: &Caller,
        replay: &Replay,
        known: impl Fn(&Question) -> (Option<Arc<Server>>, Option<Item>),
    ) -> Result<Vec<Replayed>, Error> {
        if replay.calls.len() > MOST_CALLS {
            let reason = format!("more than {MOST_CALLS} calls cannot be replayed at once");
            return Err(Wrong::new("/calls", reason).into());
        }
        let before = self.with_candidate(asker, None)?;
        let after = self.with_candidate(asker, Some(&replay.policy))?;
        let namespaces = self.namespaces_of(asker.principal().organization)?;
        let one = |question: &Question| {
            if question.policy.is_some() {
                return Err(Wrong::new("/policy", "all calls are replayed with the same").into());
            }
            let (server, item) = known(question);
            let known = (server.as_deref(), item.as_ref());
            match Scene::new(self, asker, question, known, &namespaces) {
                Ok(scene) if scene.kind == ItemKind::Tool && item.is_none() => {
                    Ok(Replayed::unknown("the server has no such tool now".to_owned()))
                }
                Ok(scene) => Ok(replayed(&before, &after, &scene)),
                Err(error @ Error::Policy(_)) => Err(error),
                Err(gone) => Ok(Replayed::unknown(gone.to_string())),
            }
        };
        let calls = replay.calls.iter().enumerate();
        let replayed = calls.map(|(at, question)| match one(question) {
            Err(Error::Policy(wrong)) => Err(wrong.within(&format!("/calls/{at}")).into()),
            other => other,
        });
        replayed.collect()
    }
}

fn replayed(before: &Ruleset, after: &Ruleset, scene: &Scene<'_>) -> Replayed {
    let (before, _) = outcome(before, scene);
    let (after, policy) = outcome(after, scene);
    Replayed { before, after, policy, reason: None }
}

/// What becomes of a call, and the policy that says so.
fn outcome(rules: &Ruleset, scene: &Scene<'_>) -> (Outcome, Option<String>) {
    if !scene.is_in_sight {
        return (Outcome::Denied, None);
    }
    let facts = scene.facts(scene.arguments(Arguments::Unknown));
    let looked = Looked::new(rules, &facts);
    let foreseen = rules.foresee(&looked);
    let mut allowed = foreseen
        .iter()
        .map(|(decision, _)| is_allowed(*decision, &scene.principal, scene.permission()));
    let first = allowed.next().unwrap_or_default();
    let outcome = match (first, allowed.all(|other| other == first)) {
        (_, false) => Outcome::Depends,
        (true, true) => Outcome::Allowed,
        (false, true) => Outcome::Denied,
    };
    let policy = foreseen.first().and_then(|(_, rule)| Some(rule.as_ref()?.name.to_string()));
    (outcome, policy)
}
