//! Who is signed in, in memory: what a call asks of them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    access::book::Book,
    domain::{Consent, Login, LoginId, LoginKind, Noun, Timestamp, UserId},
    store::{self, Changes, Snapshot},
};

/// Every sign-in, as of the last change.
#[derive(Default)]
pub(super) struct Logins(ArcSwap<All>);

type All = HashMap<LoginId, Arc<Standing>>;

/// What a call asks of a sign-in.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) user: UserId,
    pub(super) kind: LoginKind,
    /// HMAC of what renews it.
    pub(super) digest: [u8; 32],
    /// What its person lets a client do with it.
    pub(super) consent: Option<Arc<Consent>>,
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
            consent: login.consent.clone().map(Arc::new),
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

impl Logins {
    /// Keeps up with what changed.
    pub(super) fn refresh(
        &self,
        snapshot: &Snapshot,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        let Some(ids) = changes.of(Noun::Login) else {
            self.0.store(Arc::new(self.read(snapshot, now)?));
            return Ok(());
        };
        let mut ids = ids.filter_map(|id| id.parse::<LoginId>().ok()).peekable();
        if ids.peek().is_none() {
            return Ok(());
        }
        let mut all = HashMap::clone(&self.0.load());
        for id in ids {
            match snapshot.login(&id)? {
                Some(login) => enter(&mut all, &login, now),
                None => drop(all.remove(&id)),
            }
        }
        self.0.store(Arc::new(all));
        Ok(())
    }

    fn read(&self, snapshot: &Snapshot, now: Timestamp) -> Result<All, store::Error> {
        let mut all = HashMap::clone(&self.0.load());
        let mut there = HashSet::new();
        for login in snapshot.logins()? {
            enter(&mut all, &login, now);
            there.insert(login.id);
        }
        all.retain(|id, _| there.contains(id));
        Ok(all)
    }

    /// A sign-in.
    pub(super) fn login(&self, id: &LoginId) -> Option<Arc<Standing>> {
        self.0.load().get(id).cloned()
    }

    /// What a person gave clients leave for.
    pub(super) fn consents_of(&self, user: UserId) -> Vec<(LoginId, Arc<Consent>)> {
        let all = self.0.load();
        let own = all.iter().filter(|(_, login)| login.user == user);
        own.filter_map(|(id, login)| Some((*id, login.consent.clone()?))).collect()
    }

    /// What was begun with a code.
    pub(super) fn begun_with(&self, code: &[u8; 32]) -> Vec<LoginId> {
        let all = self.0.load();
        let is_it = |login: &Standing| login.consent.as_ref().is_some_and(|it| it.code == *code);
        all.iter().filter(|(_, login)| is_it(login)).map(|(id, _)| *id).collect()
    }

    /// The sign-ins to end before somebody gets another: those that are over, and the oldest of
    /// theirs beyond a limit. None where there are too many of everybody's.
    pub(super) fn in_the_way(
        &self,
        (user, book): (UserId, &Book),
        (spans, now): (&dyn Fn(LoginKind) -> Spans, Timestamp),
        (max, max_per_user): (usize, usize),
    ) -> Option<Vec<LoginId>> {
        let all = self.0.load();
        let is_over = |login: &Standing| {
            login.is_over(spans(login.kind), now) || book.person(&login.user).is_none()
        };
        let (over, open): (Vec<_>, Vec<_>) = all.iter().partition(|(_, login)| is_over(login));
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

/// When a page asked last is known here only; to start with it is taken to be there.
fn enter(all: &mut All, login: &Login, now: Timestamp) {
    let seen = all.get(&login.id).map(|it| it.seen.load(Ordering::Relaxed));
    let seen = seen.map_or(now, Timestamp::from_ms);
    all.insert(login.id, Arc::new(Standing::of(login, seen)));
}
