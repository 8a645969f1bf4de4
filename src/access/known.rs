//! Who has an account and who is signed in, in memory: what a call asks of them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use openssl::sha::sha256;

use crate::{
    access::Error,
    domain::{
        FeedEntry, Login, LoginId, LoginKind, Noun, OrganizationId, Role, Timestamp, User, UserId,
    },
    store::{self, Snapshot},
};

/// So many changes are read one by one; after more, everything is read again.
const FEW: usize = 256;

/// Everybody who is known, as of the last change.
#[derive(Default)]
pub(super) struct Known(ArcSwap<View>);

#[derive(Clone, Default)]
struct View {
    people: HashMap<UserId, Person>,
    /// By the name they sign in with, in small letters.
    names: HashMap<String, UserId>,
    logins: HashMap<LoginId, Arc<Standing>>,
}

/// What a call asks of a person.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) organization: OrganizationId,
    pub(super) role: Role,
    pub(super) is_active: bool,
    /// Changes with the password, and tells nothing of it.
    pub(super) mark: [u8; 32],
}

/// What a call asks of a sign-in.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) user: UserId,
    pub(super) kind: LoginKind,
    /// HMAC of what renews it.
    pub(super) digest: [u8; 32],
    created_at: Timestamp,
    renewed_at: Timestamp,
    /// When its page asked last, in milliseconds since 1970.
    seen: AtomicI64,
}

/// How long sign-ins last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spans {
    /// From its beginning, whatever happens.
    pub(super) longest: Duration,
    /// Without being used.
    pub(super) idle: Duration,
}

impl Spans {
    /// Whether something that began and was used then is over.
    pub(super) fn are_over(self, began: Timestamp, used: Timestamp, now: Timestamp) -> bool {
        began.after(self.longest) <= now || used.after(self.idle) <= now
    }
}

impl Standing {
    fn of(login: &Login, seen: Timestamp) -> Self {
        Self {
            user: login.user,
            kind: login.kind,
            digest: login.digest,
            created_at: login.created_at,
            renewed_at: login.renewed_at,
            seen: AtomicI64::new(seen.as_ms()),
        }
    }

    /// Takes note that its page is there.
    pub(super) fn see(&self, now: Timestamp) {
        self.seen.fetch_max(now.as_ms(), Ordering::Relaxed);
    }

    /// Whether it is over by now.
    pub(super) fn is_over(&self, spans: Spans, now: Timestamp) -> bool {
        let used = match self.kind {
            LoginKind::Tokens => self.renewed_at,
            LoginKind::Page => Timestamp::from_ms(self.seen.load(Ordering::Relaxed)),
        };
        spans.are_over(self.created_at, used, now)
    }
}

impl Known {
    /// Keeps up with what changed after the change `seen`.
    pub(super) fn refresh(
        &self,
        snapshot: &Snapshot,
        seen: Option<u64>,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        let Some(changes) = changes(snapshot, seen)? else {
            self.0.store(Arc::new(self.read(snapshot, now)?));
            return Ok(());
        };
        let of = |noun: Noun| changes.iter().filter(move |change| change.noun == noun);
        if of(Noun::User).next().is_none() && of(Noun::Login).next().is_none() {
            return Ok(());
        }
        let mut view = View::clone(&self.0.load());
        for change in of(Noun::Login) {
            let Ok(id) = change.id.parse::<LoginId>() else { continue };
            match snapshot.login(&id)? {
                Some(login) => view.enter(&login, now),
                None => drop(view.logins.remove(&id)),
            }
        }
        for change in of(Noun::User) {
            let Ok(id) = change.id.parse::<UserId>() else { continue };
            view.names.retain(|_, owner| *owner != id);
            match snapshot.user(&id)? {
                Some(user) => view.add(&user),
                None => drop(view.people.remove(&id)),
            }
        }
        self.0.store(Arc::new(view));
        Ok(())
    }

    fn read(&self, snapshot: &Snapshot, now: Timestamp) -> Result<View, store::Error> {
        let mut view = View { logins: self.0.load().logins.clone(), ..View::default() };
        for user in snapshot.users()? {
            view.add(&user);
        }
        let mut there = HashSet::new();
        for login in snapshot.logins()? {
            view.enter(&login, now);
            there.insert(login.id);
        }
        view.logins.retain(|id, _| there.contains(id));
        Ok(view)
    }

    /// Somebody with an account.
    pub(super) fn person(&self, id: &UserId) -> Option<Person> {
        self.0.load().people.get(id).cloned()
    }

    /// Somebody who may come in.
    pub(super) fn active(&self, id: &UserId) -> Result<Person, Error> {
        let person = self.person(id).ok_or(Error::InvalidToken)?;
        if person.is_active { Ok(person) } else { Err(Error::Disabled) }
    }

    /// Who signs in with this name.
    pub(super) fn find(&self, name: &str) -> Option<UserId> {
        self.0.load().names.get(&name.trim().to_lowercase()).copied()
    }

    /// A sign-in.
    pub(super) fn login(&self, id: &LoginId) -> Option<Arc<Standing>> {
        self.0.load().logins.get(id).cloned()
    }

    /// The sign-ins to end before somebody gets another: those that are over, and the oldest of
    /// theirs beyond a limit. None where there are too many of everybody's.
    pub(super) fn in_the_way(
        &self,
        user: UserId,
        (spans, now): (&dyn Fn(LoginKind) -> Spans, Timestamp),
        (max, max_per_user): (usize, usize),
    ) -> Option<Vec<LoginId>> {
        let view = self.0.load();
        let is_over = |login: &Standing| {
            login.is_over(spans(login.kind), now) || !view.people.contains_key(&login.user)
        };
        let (over, open): (Vec<_>, Vec<_>) =
            view.logins.iter().partition(|(_, login)| is_over(login));
        let mut own: Vec<_> = open.iter().filter(|(_, login)| login.user == user).collect();
        own.sort_by_key(|(_, login)| login.created_at);
        let crowd = (own.len() + 1).saturating_sub(max_per_user);
        let crowded: Vec<LoginId> =
            own[..crowd.min(own.len())].iter().map(|(id, _)| **id).collect();
        if open.len() - crowded.len() >= max {
            return None;
        }
        Some(over.into_iter().map(|(id, _)| *id).chain(crowded).collect())
    }
}

impl View {
    fn add(&mut self, user: &User) {
        self.names.insert(user.username.to_lowercase(), user.id);
        let person = Person {
            organization: user.organization,
            role: user.role,
            is_active: user.is_active,
            mark: sha256(user.password_hash.as_bytes()),
        };
        self.people.insert(user.id, person);
    }

    /// When a page asked last is known here only; to start with it is taken to be there.
    fn enter(&mut self, login: &Login, now: Timestamp) {
        let seen = self.logins.get(&login.id).map(|it| it.seen.load(Ordering::Relaxed));
        let seen = seen.map_or(now, Timestamp::from_ms);
        self.logins.insert(login.id, Arc::new(Standing::of(login, seen)));
    }
}

/// What changed after a change; none where that was so much, or so long ago, that all is to be read.
pub(super) fn changes(
    snapshot: &Snapshot,
    seen: Option<u64>,
) -> Result<Option<Vec<FeedEntry>>, store::Error> {
    let Some(seen) = seen else { return Ok(None) };
    let changes = snapshot.feed(seen, FEW + 1)?;
    let follows = changes.first().is_none_or(|first| first.sequence == seen + 1);
    Ok((follows && changes.len() <= FEW).then_some(changes))
}
