//! Live sessions of older clients.

pub(super) mod translate;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Clock, PrincipalKind, Scope, SessionId},
    problem::{Kind, Problem},
    wire::{Revision, SessionKey},
};

/// How long sessions live, and how many.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Sessions open at the same time.
    pub(crate) max_open: usize,
    /// Seconds without a request after which a session ends.
    pub(crate) idle_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_open: 20_000, idle_seconds: 3_600 }
    }
}

/// One client's session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    id: SessionId,
    known: Arc<Known>,
}

/// What is known of a session.
#[derive(Debug)]
struct Known {
    owner: PrincipalKind,
    scope: Scope,
    revision: Revision,
    client: Option<Box<str>>,
    /// Milliseconds between the start of the house and the last request.
    seen_ms: AtomicU64,
}

impl Session {
    /// A session that somebody opened.
    pub(super) fn new(
        owner: PrincipalKind,
        scope: Scope,
        revision: Revision,
        client: Option<Box<str>>,
    ) -> Self {
        let known = Known { owner, scope, revision, client, seen_ms: AtomicU64::new(0) };
        Self { id: SessionId::fresh(), known: Arc::new(known) }
    }

    /// Which session, and whose.
    pub(super) fn key(&self) -> SessionKey {
        SessionKey { id: self.id.clone(), owner: self.known.owner.clone() }
    }

    /// What its client speaks.
    pub(super) fn revision(&self) -> Revision {
        self.known.revision
    }

    /// What its client calls itself.
    pub(super) fn client(&self) -> Option<Box<str>> {
        self.known.client.clone()
    }
}

/// All open sessions.
#[derive(Debug, Clone)]
pub(crate) struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// Idleness is a span, which no change of the time of day may end.
    began: Instant,
    open: RwLock<HashMap<SessionId, Arc<Known>>>,
}

impl Sessions {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let began = clock.tick();
        Self(Arc::new(Inner { settings, clock, began, open: RwLock::default() }))
    }

    /// Opens a session, if there is room.
    pub(super) fn open(&self, session: Session) -> Result<SessionId, Problem> {
        session.known.seen_ms.store(self.now_ms(), Ordering::Relaxed);
        let mut open = self.0.open.write();
        if open.len() >= self.0.settings.max_open {
            let limit = self.0.settings.max_open;
            let message =
                format!("{limit} sessions are open, which is the limit sessions.max_open");
            return Err(Problem::new(Kind::Limited, message).with_retry_after(60));
        }
        open.insert(session.id.clone(), session.known);
        Ok(session.id)
    }

    /// The session of that id, at the endpoint it was opened at.
    pub(super) fn find(&self, id: &SessionId, scope: &Scope) -> Option<Session> {
        let known = self.0.open.read().get(id).cloned()?;
        if known.scope != *scope {
            return None;
        }
        known.seen_ms.store(self.now_ms(), Ordering::Relaxed);
        Some(Session { id: id.clone(), known })
    }

    /// Ends a session.
    pub(super) fn end(&self, id: &SessionId) {
        self.0.open.write().remove(id);
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.0.open.read().len()
    }

    /// Ends idle sessions until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let period = Duration::from_secs(u64::from(self.0.settings.idle_seconds).clamp(1, 60));
        while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            self.sweep();
        }
    }

    fn sweep(&self) {
        let idle_ms = u64::from(self.0.settings.idle_seconds) * 1_000;
        let oldest = self.now_ms().saturating_sub(idle_ms);
        let mut open = self.0.open.write();
        open.retain(|_, known| known.seen_ms.load(Ordering::Relaxed) >= oldest);
        if open.capacity() > 4 * open.len() {
            open.shrink_to_fit();
        }
    }

    fn now_ms(&self) -> u64 {
        let since = self.0.clock.tick().saturating_duration_since(self.0.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FixedClock;

    fn sessions(max_open: usize) -> (Sessions, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::default());
        (Sessions::new(Settings { max_open, idle_seconds: 10 }, clock.clone()), clock)
    }

    fn session() -> Session {
        Session::new(PrincipalKind::Anonymous, Scope::Everything, Revision::V2025_06_18, None)
    }

    #[test]
    fn a_session_is_found_at_its_own_endpoint_only() {
        let (sessions, _) = sessions(5);
        let id = sessions.open(session()).expect("room");

        assert!(sessions.find(&id, &Scope::Everything).is_some());
        assert!(sessions.find(&id, &Scope::Server("a".into())).is_none());
        sessions.end(&id);
        assert!(sessions.find(&id, &Scope::Everything).is_none());
    }

    #[test]
    fn an_idle_session_ends_and_a_used_one_stays() {
        let (sessions, clock) = sessions(5);
        let used = sessions.open(session()).expect("room");
        let idle = sessions.open(session()).expect("room");
        clock.advance(Duration::from_secs(8));
        assert!(sessions.find(&used, &Scope::Everything).is_some());

        clock.advance(Duration::from_secs(8));
        sessions.sweep();

        assert!(sessions.find(&used, &Scope::Everything).is_some());
        assert!(sessions.find(&idle, &Scope::Everything).is_none());
    }

    #[test]
    fn there_is_a_limit() {
        let (sessions, _) = sessions(1);
        sessions.open(session()).expect("room");

        let full = sessions.open(session()).expect_err("no room");

        assert_eq!(full.kind(), Kind::Limited);
    }
}
