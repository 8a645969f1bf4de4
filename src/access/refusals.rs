//! Refusals: who wanted what and may not, for the audit.
//!
//! Somebody who tries the same again and again is told of once a minute, with how often it was, so
//! that nobody fills the audit by knocking.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Access, Caller},
    domain::{Actor, Noun, OrganizationId, Permission, Refusal},
};

/// How often refusals are written down.
const ROUND: Duration = Duration::from_secs(1);
/// How long the same refusal is not told of again.
const CALM: Duration = Duration::from_mins(1);
/// Different refusals that are remembered; others are told of as one.
const MOST: usize = 1_000;
/// The longest text of a stranger in a line, in characters.
const TEXT: usize = 100;

/// What was refused, and to whom.
type What = (Actor, Noun, String);

#[derive(Debug)]
struct Refused {
    name: String,
    organization: Option<OrganizationId>,
    /// How often since it was told of.
    untold: u32,
    told_at: Option<Instant>,
}

/// Refusals that are not written down yet, and those of the last minute.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<What, Refused>>);

impl Refusals {
    fn note(&self, mut what: What, name: &str, organization: Option<OrganizationId>) {
        let mut all = self.0.lock();
        if all.len() >= MOST && !all.contains_key(&what) {
            what = (Actor::system("refusals"), what.1, "too many to tell them apart".to_owned());
        }
        let fresh = || Refused { name: name.to_owned(), organization, untold: 0, told_at: None };
        all.entry(what).or_insert_with(fresh).untold += 1;
    }

    /// What is to be told now; all of it where this is the last time.
    fn due(&self, now: Instant, is_last: bool) -> Vec<(Actor, Refusal)> {
        let mut due = Vec::new();
        self.0.lock().retain(|(actor, noun, id), refused| {
            let is_calm = refused.told_at.is_none_or(|told_at| now >= told_at + CALM);
            if refused.untold == 0 {
                return !is_calm;
            }
            if is_calm || is_last {
                let times = std::mem::take(&mut refused.untold);
                refused.told_at = Some(now);
                let refusal = Refusal {
                    noun: *noun,
                    id: id.clone(),
                    name: refused.name.clone(),
                    organization: refused.organization,
                    detail: (times > 1).then(|| format!("{times} times")),
                };
                due.push((actor.clone(), refusal));
            }
            true
        });
        due
    }
}

impl Access {
    /// Notes that a caller wanted something of the office and lacks the permission.
    pub(crate) fn note_refusal(&self, caller: &Caller, route: &str, lacks: Permission) {
        let what = (caller.actor(), Noun::Request, route.to_owned());
        let organization = Some(caller.principal().organization);
        self.0.refusals.note(what, lacks.as_str(), organization);
    }

    /// Notes that somebody tried to sign in under a name and could not.
    pub(crate) fn note_failed_sign_in(&self, username: &str, from: Option<std::net::IpAddr>) {
        let username: String = username.chars().take(TEXT).collect();
        let actor = Actor::system("sign-in").at(from);
        self.0.refusals.note((actor, Noun::SignIn, username), "", None);
    }

    /// Writes refusals into the audit, until `stop`.
    pub(crate) async fn tell_refusals(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_some() {
            self.write_refusals(false).await;
        }
        self.write_refusals(true).await;
    }

    /// Says of whose account a failed sign-in was. A name that nobody has may be a password, typed
    /// into the wrong field, and is not told.
    fn identify(&self, refusal: &mut Refusal) {
        let book = self.0.book.load();
        let known = book.signs_in(&refusal.id);
        let person = known.and_then(|id| book.person(&id));
        refusal.organization = person.map(|person| person.organization);
        (refusal.id, refusal.name) = match known {
            Some(id) => (id.to_string(), std::mem::take(&mut refusal.id)),
            None => ("unknown".to_owned(), "a name that nobody has".to_owned()),
        };
    }

    async fn write_refusals(&self, is_last: bool) {
        let mut by_actor: HashMap<Actor, Vec<Refusal>> = HashMap::new();
        for (actor, mut refusal) in self.0.refusals.due(self.0.clock.tick(), is_last) {
            if refusal.noun == Noun::SignIn {
                self.identify(&mut refusal);
            }
            by_actor.entry(actor).or_default().push(refusal);
        }
        for (actor, refusals) in by_actor {
            let told = refusals.len();
            let written = self.0.store.write(&actor, move |draft| {
                for refusal in refusals {
                    draft.note_refusal(refusal);
                }
                Ok::<_, crate::store::Error>(())
            });
            if let Err(error) = written.await {
                tracing::error!(%error, told, "refusals cannot be written into the audit");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Clock as _, FixedClock};

    fn what(id: &str) -> What {
        (Actor::system("test"), Noun::Request, id.to_owned())
    }

    #[test]
    fn who_knocks_again_and_again_is_told_of_once_a_minute() {
        let (refusals, clock) = (Refusals::default(), FixedClock::default());
        let told = |is_last: bool| {
            let due = refusals.due(clock.tick(), is_last);
            due.into_iter().map(|(_, it)| (it.id, it.detail)).collect::<Vec<_>>()
        };
        refusals.note(what("a"), "x", None);
        assert_eq!(told(false), [("a".to_owned(), None)]);
        for _ in 0..3 {
            refusals.note(what("a"), "x", None);
            assert!(told(false).is_empty());
        }
        clock.advance(CALM);
        assert_eq!(told(false), [("a".to_owned(), Some("3 times".to_owned()))]);
        refusals.note(what("a"), "x", None);
        assert_eq!(told(true).len(), 1);
        clock.advance(CALM);
        assert!(told(false).is_empty());
        assert!(refusals.0.lock().is_empty());
    }

    #[test]
    fn too_many_are_told_of_as_one() {
        let (refusals, clock) = (Refusals::default(), FixedClock::default());
        for number in 0..MOST + 5 {
            refusals.note(what(&number.to_string()), "x", None);
        }

        let due = refusals.due(clock.tick(), false);

        assert_eq!(due.len(), MOST + 1);
        assert!(due.iter().any(|(_, it)| it.detail.as_deref() == Some("5 times")));
    }
}
