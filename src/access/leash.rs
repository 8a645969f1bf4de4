//! Leashes: what stands open ends when the credential it was opened with opens nothing any more.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Access, Credential, tokens::Whose},
    domain::{KeyId, LoginId, OrganizationId, PrincipalKind, SubjectId, Timestamp, UserId},
};

/// How long something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As long as its credential: a stream or a connection.
    Credential,
    /// As long as its owner is welcome, by this credential or the one that follows it: a session.
    Owner,
}

/// What something stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ground {
    /// A key, and the end of the token it was exchanged for.
    Key(KeyId, Option<Timestamp>),
    /// A sign-in, and the end of its token.
    Login(LoginId, Option<Timestamp>),
    /// Somebody whom another issuer vouches for, where they belong, and the end of their token.
    Federated(SubjectId, OrganizationId, Option<Timestamp>),
    /// A person and the mark of their password.
    Person(UserId, [u8; 32]),
    /// What opens nothing now.
    Nothing,
}

/// Held by what stands open.
#[derive(Debug)]
pub(crate) struct Leash {
    /// Shared by all that stands on the same; one of its own would weigh more than it saves.
    knot: Option<Arc<CancellationToken>>,
}

impl Leash {
    /// Waits until the credential opens nothing any more.
    pub(crate) async fn over(&self) {
        match &self.knot {
            Some(knot) => knot.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// Everything that is held, by what it stands on.
#[derive(Default)]
pub(super) struct Leashes(Mutex<HashMap<Ground, Weak<CancellationToken>>>);

impl Leashes {
    fn hold(&self, ground: Ground) -> Arc<CancellationToken> {
        let mut held = self.0.lock();
        if let Some(knot) = held.get(&ground).and_then(Weak::upgrade) {
            return knot;
        }
        let knot = Arc::new(CancellationToken::new());
        held.insert(ground, Arc::downgrade(&knot));
        knot
    }

    /// How many grounds something stands on.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Lets go of everything whose ground is gone.
    fn check(&self, stands: impl Fn(&Ground) -> bool) {
        self.0.lock().retain(|ground, knot| {
            let Some(knot) = knot.upgrade() else { return false };
            let stands = stands(ground);
            if !stands {
                knot.cancel();
            }
            stands
        });
    }
}

impl Access {
    /// Holds what a credential opens, until it opens nothing any more.
    pub(crate) fn leash(&self, credential: &Credential, reach: Reach) -> Leash {
        let Some(ground) = self.ground(credential, reach) else {
            return Leash { knot: None };
        };
        let knot = self.0.leashes.hold(ground);
        // Looked at after it is held: what ended in between would be missed otherwise.
        if !self.stands(&ground) {
            knot.cancel();
        }
        Leash { knot: Some(knot) }
    }

    /// Lets go of everything whose credential opens nothing any more.
    pub(super) fn check_leashes(&self) {
        self.0.leashes.check(|ground| self.stands(ground));
    }

    /// None where nothing can end it: the machine's owner, and everybody where everybody may enter.
    fn ground(&self, credential: &Credential, reach: Reach) -> Option<Ground> {
        match credential {
            Credential::None | Credential::Local { .. } => None,
            Credential::Key(key) => {
                let found = self.0.ring.find(key, self.0.clock.now()).map(|found| found.kind);
                Some(match found {
                    Ok(PrincipalKind::Key(id)) => Ground::Key(id, None),
                    _ => Ground::Nothing,
                })
            }
            Credential::Token(token) => Some(match self.read_token(token.text.expose()) {
                Ok(shown) => {
                    let ends_at = (reach == Reach::Credential).then_some(shown.ends_at);
                    match shown.whose {
                        Whose::Person { login, .. } => Ground::Login(login, ends_at),
                        Whose::App(app) => Ground::Key(app.key, ends_at),
                        Whose::Federated(it) => match self.federated_home(&it) {
                            Ok(home) => Ground::Federated(it.subject(), home, ends_at),
                            Err(_) => Ground::Nothing,
                        },
                    }
                }
                Err(_) => Ground::Nothing,
            }),
            Credential::Page(page) => {
                let standing = self.page(page);
                Some(standing.map_or(Ground::Nothing, |(login, _)| Ground::Login(login, None)))
            }
            Credential::Basic(basic) => Some(match self.basic(basic) {
                Ok((user, person)) => Ground::Person(user, person.mark),
                Err(_) => Ground::Nothing,
            }),
        }
    }

    fn stands(&self, ground: &Ground) -> bool {
        let now = self.0.clock.now();
        match ground {
            Ground::Key(id, ends_at) => {
                ends_at.is_none_or(|end| end > now) && self.0.ring.opens(id, now)
            }
            Ground::Login(login, ends_at) => {
                ends_at.is_none_or(|end| end > now) && self.standing(login).is_ok()
            }
            Ground::Federated(_, home, ends_at) => {
                ends_at.is_none_or(|end| end > now) && self.is_open(home)
            }
            Ground::Person(user, mark) => {
                self.welcome(user).is_ok_and(|person| person.mark == *mark)
            }
            Ground::Nothing => false,
        }
    }
}
