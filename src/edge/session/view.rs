//! Sessions as the office sees them: who has one, since when, and what is said in it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{Known, Opening, Place, STANDING, Session, Sessions, keep::Notes};
use crate::{
    domain::{OrganizationId, PrincipalKind, RequestId, Scope, SessionId, Timestamp},
    problem::{Kind, Problem},
    wire::{InputRequest, Revision, input::REFUSAL},
};

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionView {
    /// Which session.
    pub(crate) id: SessionId,
    /// Who opened it.
    pub(crate) owner: PrincipalKind,
    /// Where they belong.
    pub(crate) organization: OrganizationId,
    /// The request that opened it, as the log names it.
    pub(crate) request_id: RequestId,
    /// The endpoint it was opened at.
    pub(crate) scope: Scope,
    /// The transport it goes by.
    pub(crate) via: &'static str,
    /// What its client speaks.
    pub(crate) revision: Revision,
    /// What its client calls itself.
    pub(crate) client: Option<Arc<str>>,
    /// How far it is.
    pub(crate) status: Status,
    /// When it was opened.
    pub(crate) opened_at: Timestamp,
    /// When its client was heard of last.
    pub(crate) seen_at: Timestamp,
    /// When it ended.
    pub(crate) ended_at: Option<Timestamp>,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its client has not gone on after the handshake.
    Initializing,
    /// It is used.
    Active,
    /// It ended.
    Closed,
    /// It was ended because its owner is not let in any more.
    Error,
}

impl Status {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Active => "active",
            Self::Closed => "closed",
            Self::Error => "error",
        }
    }
}

impl SessionView {
    pub(super) fn ended(mut self, status: Status, at: Timestamp) -> Self {
        self.status = status;
        self.ended_at = Some(at.max(self.opened_at));
        self
    }

    /// Whether it has not ended.
    pub(crate) const fn is_open(&self) -> bool {
        self.ended_at.is_none()
    }
}

/// What went on over one transport since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Sessions that are open.
    pub(crate) active: u64,
    /// Sessions that were ever opened.
    pub(crate) total: u64,
    /// Messages that clients were told beside the plain answers.
    pub(crate) told: u64,
}

/// What is written down of sessions beside themselves.
#[derive(Debug, Default)]
pub(super) struct Book {
    by_owner: HashMap<PrincipalKind, usize>,
    by_organization: HashMap<OrganizationId, usize>,
    by_transport: BTreeMap<(OrganizationId, &'static str), Traffic>,
    /// Those that ended last, the latest at the end.
    ended: VecDeque<SessionView>,
    /// What is to be noted of those that ended.
    notes: Notes,
}

impl Book {
    /// Takes note of a session that is to be opened, if its owner and their organization may have
    /// one more.
    pub(super) fn enter(
        &mut self,
        opening: &Opening,
        limit: usize,
        quota: usize,
    ) -> Result<(), Problem> {
        let of_all = self.by_organization.get(&opening.organization).copied().unwrap_or_default();
        if of_all >= quota {
            let message = format!(
                "{quota} sessions are open, which is the limit of this organization, max_sessions"
            );
            let problem = Problem::new(Kind::Quota, message).with_retry_after(60);
            return Err(problem.with_data("quota", "max_sessions"));
        }
        let open = self.by_owner.get(&opening.owner).copied().unwrap_or_default();
        if open >= limit {
            let message = format!(
                "you have {limit} open sessions, which is the limit edge.sessions.max_per_principal; end some with DELETE"
            );
            let problem = Problem::new(Kind::Limited, message).with_retry_after(60);
            return Err(problem.with_data("quota", "edge.sessions.max_per_principal"));
        }
        self.count(opening);
        Ok(())
    }

    /// Takes note of a session that is open, whatever the limits are.
    pub(super) fn count(&mut self, opening: &Opening) {
        *self.by_owner.entry(opening.owner.clone()).or_default() += 1;
        *self.by_organization.entry(opening.organization).or_default() += 1;
        let key = (opening.organization, opening.via);
        let traffic = self.by_transport.entry(key).or_default();
        traffic.active += 1;
        traffic.total += 1;
    }

    /// Takes note of a session that has ended.
    pub(super) fn leave(&mut self, session: SessionView, told: u64, kept: usize) {
        if let Some(open) = self.by_owner.get_mut(&session.owner) {
            *open -= 1;
            if *open == 0 {
                self.by_owner.remove(&session.owner);
            }
        }
        if let Some(of_all) = self.by_organization.get_mut(&session.organization) {
            *of_all -= 1;
            if *of_all == 0 {
                self.by_organization.remove(&session.organization);
            }
        }
        let key = (session.organization, session.via);
        let traffic = self.by_transport.entry(key).or_default();
        traffic.active -= 1;
        traffic.told += told;
        self.notes.ended(&session);
        self.remember(session, kept);
    }

    /// Keeps a session that has ended; the oldest go where there are too many.
    pub(super) fn remember(&mut self, session: SessionView, kept: usize) {
        self.ended.push_back(session);
        while self.ended.len() > kept {
            if let Some(oldest) = self.ended.pop_front() {
                self.notes.forget(oldest.id);
            }
        }
    }

    /// Forgets the sessions of an organization that have ended, and what went on in it.
    fn forget(&mut self, organization: OrganizationId) {
        let (gone, kept) =
            self.ended.drain(..).partition(|session| session.organization == organization);
        self.ended = kept;
        let gone: VecDeque<SessionView> = gone;
        for session in gone {
            self.notes.forget(session.id);
        }
        self.by_transport
            .retain(|(whose, _), traffic| *whose != organization || traffic.active > 0);
    }

    /// What is to be noted of sessions that ended since this was last asked.
    pub(super) fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }
}

impl Sessions {
    /// All open sessions, and those that ended last.
    pub(crate) fn list(&self) -> Vec<SessionView> {
        let open: Vec<(SessionId, Arc<Known>)> =
            self.0.open.read().iter().map(|(id, known)| (id.clone(), known.clone())).collect();
        let open = open.iter().map(|(id, known)| self.view(id, known));
        let ended = self.0.book.lock().ended.clone();
        open.chain(ended).collect()
    }

    /// One session, also one that ended lately.
    pub(crate) fn show(&self, id: &SessionId) -> Option<SessionView> {
        match self.known(id) {
            Some(known) => Some(self.view(id, &known)),
            None => self.0.book.lock().ended.iter().find(|ended| ended.id == *id).cloned(),
        }
    }

    /// Ends the sessions of an organization, and forgets that there were any.
    pub(crate) fn forget(&self, organization: OrganizationId) {
        let theirs: Vec<SessionId> = {
            let open = self.0.open.read();
            let theirs = open.iter().filter(|it| it.1.opening.organization == organization);
            theirs.map(|(id, _)| id.clone()).collect()
        };
        for id in &theirs {
            self.turn_out(id);
        }
        self.0.book.lock().forget(organization);
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.0.open.read().len()
    }

    /// How many an organization has open.
    pub(crate) fn count_of(&self, organization: OrganizationId) -> usize {
        self.0.book.lock().by_organization.get(&organization).copied().unwrap_or_default()
    }

    /// What went on over these transports since the start, for an organization.
    pub(crate) fn traffic(&self, transports: &[&str], organization: OrganizationId) -> Traffic {
        let is_meant =
            |whose: OrganizationId, via: &str| whose == organization && transports.contains(&via);
        let open = self.0.open.read();
        let told = open
            .values()
            .filter(|known| is_meant(known.opening.organization, known.opening.via))
            .map(|known| known.log.count())
            .sum();
        drop(open);
        let mut sum = Traffic { told, ..Traffic::default() };
        for ((whose, via), traffic) in &self.0.book.lock().by_transport {
            if is_meant(*whose, via) {
                sum.active += traffic.active;
                sum.total += traffic.total;
                sum.told += traffic.told;
            }
        }
        sum
    }

    /// Says something in a session, beside all calls, and gives the id of its event; none where
    /// there is no such session.
    pub(crate) fn tell(&self, id: &SessionId, message: Bytes) -> Option<String> {
        let session = Session { id: id.clone(), known: self.known(id)? };
        Some(session.tell(message).id())
    }

    /// What was said on the stream that stands open, as far as it is kept: ids and messages.
    pub(crate) fn replay(
        &self,
        id: &SessionId,
        after: Option<&str>,
        limit: usize,
    ) -> Option<Vec<(String, Bytes)>> {
        let start = Place { stream: STANDING, number: 0 };
        let after = after.and_then(Place::parse).filter(|place| place.stream == STANDING);
        let kept = self.known(id)?.log.kept(after.unwrap_or(start), limit);
        Some(kept.into_iter().map(|(place, message)| (place.id(), message)).collect())
    }

    /// Asks a session's client whether it is there, and says whether it answered in time; none
    /// where there is no such session.
    pub(crate) async fn ping(&self, id: &SessionId, patience: Duration) -> Option<bool> {
        let session = Session { id: id.clone(), known: self.known(id)? };
        let out = session.out();
        let (key, method, params) = (String::new(), "ping".to_owned(), "{}".to_owned());
        let question = InputRequest { key, method, params };
        let answer = session.ask(&out, &question, patience).await;
        Some(!answer.starts_with(&format!("{{\"{REFUSAL}\"")))
    }

    fn known(&self, id: &SessionId) -> Option<Arc<Known>> {
        self.0.open.read().get(id).cloned()
    }

    pub(super) fn view(&self, id: &SessionId, known: &Known) -> SessionView {
        let Opening { owner, organization, request_id, scope, via, revision, client, .. } =
            known.opening.clone();
        let quiet_ms = self.now_ms().saturating_sub(known.seen_ms.load(Ordering::Relaxed));
        let quiet_ms = i64::try_from(quiet_ms).unwrap_or(i64::MAX);
        let seen_at = Timestamp::from_ms(self.0.clock.now().as_ms().saturating_sub(quiet_ms));
        let is_active = known.is_active.load(Ordering::Relaxed);
        let status = if is_active { Status::Active } else { Status::Initializing };
        SessionView {
            id: id.clone(),
            owner,
            organization,
            request_id,
            scope,
            via,
            revision,
            client,
            status,
            opened_at: known.opened_at,
            seen_at: seen_at.max(known.opened_at),
            ended_at: None,
        }
    }
}
