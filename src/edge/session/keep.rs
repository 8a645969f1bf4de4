//! Keeping: what is noted of sessions in the store, and how they go on after a restart.
//!
//! Notes are written in the background, so that no call waits for the disk. A session goes on
//! where nothing of it was lost but its connection: one that lived on a channel ended with it, and
//! one that a server had a conversation of its own with is told to begin anew, because what that
//! server remembered is gone.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Known, Opening, Session, SessionView, Sessions, Status, log::Log};
use crate::{
    domain::{Actor, SessionId, SessionRecord},
    problem::chain,
    store,
};

/// How often changes are noted.
const EVERY: Duration = Duration::from_secs(1);
/// How long a session may have been used without a note of it, in milliseconds.
const SEEN_EVERY_MS: u64 = 30_000;
/// How many notes are written together.
const TOGETHER: usize = 500;

/// The transports whose sessions may go on without the connection they were opened on.
const LASTING: [&str; 2] = ["http", "unix"];
/// All transports.
const TRANSPORTS: [&str; 5] = ["http", "unix", "ws", "sse", "stdio"];

/// What is to be noted.
#[derive(Debug, Default)]
pub(super) struct Notes {
    records: Vec<SessionRecord>,
    forgotten: Vec<SessionId>,
}

impl Sessions {
    /// Takes up what was open when the house closed, and what ended last before.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub(crate) fn take_up(&self) -> Result<(), store::Error> {
        let mut records = self.0.store.read()?.sessions()?;
        records.sort_by_key(|record| record.ended_at.unwrap_or(record.seen_at));
        let now = self.0.clock.now();
        let idle_ms = i64::from(self.0.settings.idle_seconds) * 1_000;
        let (mut taken_up, mut ended) = (0_usize, 0_usize);
        for record in records {
            let Some(via) = TRANSPORTS.into_iter().find(|known| *known == record.via) else {
                continue;
            };
            let Ok(revision) = record.revision.parse() else { continue };
            let quiet_ms = now.as_ms().saturating_sub(record.seen_at.as_ms()).max(0);
            let goes_on = record.ended_at.is_none()
                && record.status == Status::Active.as_str()
                && LASTING.contains(&via)
                && quiet_ms < idle_ms;
            let opening = Opening {
                owner: record.owner.clone(),
                organization: record.organization,
                request_id: record.request_id.clone(),
                scope: record.scope.clone(),
                revision,
                client: record.client.clone(),
                capabilities: record.capabilities.as_deref().map(Into::into),
                via,
                channel: None,
            };
            if goes_on {
                let seen_ms = self.now_ms().saturating_sub(quiet_ms.unsigned_abs());
                self.go_on(opening, &record, seen_ms);
                taken_up += 1;
            } else {
                self.0.book.lock().remember(opening.ended(&record), self.0.settings.kept_ended);
                ended += usize::from(record.ended_at.is_none());
            }
        }
        if taken_up + ended > 0 {
            tracing::info!(taken_up, ended, "sessions of the last run");
        }
        Ok(())
    }

    fn go_on(&self, opening: Opening, record: &SessionRecord, seen_ms: u64) {
        // Whoever takes up a stream shows the number of an event of the last run: those of this
        // one are greater.
        let first = self.0.clock.now().as_ms().unsigned_abs();
        let mut known = Known::new(opening, record.opened_at, &self.0.settings);
        known.log = Log::after(first, known.log.limits());
        known.is_active.store(true, Ordering::Relaxed);
        known.seen_ms.store(seen_ms, Ordering::Relaxed);
        known.noted_ms.store(seen_ms, Ordering::Relaxed);
        known.is_changed.store(false, Ordering::Relaxed);
        *known.level.get_mut() = record.level.as_deref().and_then(|level| level.parse().ok());
        known.subscribed.get_mut().extend(record.subscribed.iter().cloned());
        self.0.book.lock().count(&known.opening);
        self.0.open.write().insert(record.id.clone(), Arc::new(known));
    }

    /// Notes changes until `stop`.
    pub(super) async fn keep(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            self.note().await;
        }
    }

    /// Notes everything that changed since the last time.
    pub(super) async fn note(&self) {
        let apart = self.0.pipeline.apart();
        let open: Vec<(SessionId, Arc<Known>)> = {
            let open = self.0.open.read();
            open.iter().map(|(id, known)| (id.clone(), known.clone())).collect()
        };
        let mut notes = self.0.book.lock().take_notes();
        for (id, known) in &open {
            if known.is_due(apart.contains(id.as_str())) {
                notes.records.push(self.record(id, known).await);
            }
        }
        self.write(notes).await;
    }

    async fn record(&self, id: &SessionId, known: &Known) -> SessionRecord {
        let subscribed = known.subscribed.lock().await.iter().cloned().collect();
        let mut record = self.view(id, known).record();
        record.capabilities = known.opening.capabilities.as_deref().map(Into::into);
        record.level = known.level.lock().map(|level| level.to_string());
        record.subscribed = subscribed;
        if known.is_apart.load(Ordering::Relaxed) {
            // It cannot go on: should the house end now, that is how it ended.
            Status::Closed.as_str().clone_into(&mut record.status);
        }
        record
    }

    async fn write(&self, notes: Notes) {
        let Notes { records, forgotten } = notes;
        let actor = Actor::system("sessions");
        let mut records = records.into_iter().peekable();
        let mut forgotten = forgotten.into_iter().peekable();
        while records.peek().is_some() || forgotten.peek().is_some() {
            let these: Vec<_> = records.by_ref().take(TOGETHER).collect();
            let gone: Vec<_> = forgotten.by_ref().take(TOGETHER).collect();
            let again: Vec<SessionId> = these.iter().map(|record| record.id.clone()).collect();
            let written = self.0.store.write(&actor, move |draft| {
                for record in &these {
                    draft.note_session(record)?;
                }
                for id in &gone {
                    draft.forget_session(id);
                }
                Ok::<_, store::Error>(())
            });
            if let Err(error) = written.await {
                tracing::warn!(error = chain(&error), "sessions cannot be noted; trying again");
                let open = self.0.open.read();
                for known in again.iter().filter_map(|id| open.get(id)) {
                    known.is_changed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Lets go of all sessions at the end of the house: those that may go on are noted as open.
    pub(super) async fn lay_down(&self) {
        self.note().await;
        let open: Vec<_> = self.0.open.write().drain().collect();
        for (id, known) in open {
            let goes_on =
                known.opening.channel.is_none() && !known.is_apart.load(Ordering::Relaxed);
            if goes_on {
                self.end_quietly(&id, &known);
            } else {
                self.let_go(&id, &known, Status::Closed);
            }
        }
        let notes = self.0.book.lock().take_notes();
        self.write(notes).await;
    }
}

impl Known {
    /// Whether something is to be noted of it now; takes it for noted. `is_apart` says whether a
    /// server has a conversation with its client alone.
    fn is_due(&self, is_apart: bool) -> bool {
        let seen_ms = self.seen_ms.load(Ordering::Relaxed);
        let noted_ms = self.noted_ms.load(Ordering::Relaxed);
        let was_apart = self.is_apart.swap(is_apart, Ordering::Relaxed);
        let is_changed = self.is_changed.swap(false, Ordering::Relaxed);
        let is_due = is_changed
            || was_apart != is_apart
            || seen_ms.saturating_sub(noted_ms) >= SEEN_EVERY_MS;
        if is_due {
            self.noted_ms.store(seen_ms, Ordering::Relaxed);
        }
        is_due
    }
}

impl Notes {
    /// Takes note of a session that has ended.
    pub(super) fn ended(&mut self, session: &SessionView) {
        self.records.push(session.record());
    }

    /// Has a session forgotten.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.records.retain(|record| record.id != id);
        self.forgotten.push(id);
    }
}

impl Opening {
    /// A session of the last run that does not go on.
    fn ended(self, record: &SessionRecord) -> SessionView {
        let status = match &*record.status {
            "error" => Status::Error,
            _ => Status::Closed,
        };
        SessionView {
            id: record.id.clone(),
            owner: self.owner,
            organization: self.organization,
            request_id: self.request_id,
            scope: self.scope,
            via: self.via,
            revision: self.revision,
            client: self.client,
            status,
            opened_at: record.opened_at,
            seen_at: record.seen_at,
            ended_at: Some(record.ended_at.unwrap_or(record.seen_at)),
        }
    }
}

impl SessionView {
    /// What is kept of it.
    fn record(&self) -> SessionRecord {
        SessionRecord {
            id: self.id.clone(),
            owner: self.owner.clone(),
            organization: self.organization,
            request_id: self.request_id.clone(),
            scope: self.scope.clone(),
            via: self.via.to_owned(),
            revision: self.revision.as_str().to_owned(),
            client: self.client.clone(),
            capabilities: None,
            level: None,
            subscribed: Vec::new(),
            status: self.status.as_str().to_owned(),
            opened_at: self.opened_at,
            seen_at: self.seen_at,
            ended_at: self.ended_at,
        }
    }
}

impl Session {
    /// Takes note that something about it is to be noted.
    pub(in crate::edge) fn has_changed(&self) {
        self.known.is_changed.store(true, Ordering::Relaxed);
    }
}
