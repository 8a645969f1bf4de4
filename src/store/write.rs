//! The single writer: actor, change, audit and feed in one commit.
//!
//! One thread takes what waits in the queue, drafts one change after the other, commits the
//! accepted ones together and answers all. A commit costs two trips to the disk however many
//! changes it holds.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use redb::WriteTransaction;
use tokio::sync::oneshot;

use crate::domain::Clock;

use super::{
    append::{End, put_head},
    draft::Draft,
    error::Error,
    folder::Lock,
    job::{Job, Verdict},
    recover::Trouble,
    shelf::{Condition, Shelf},
    vault::{Disk, Vault, sheltered},
};

/// How long a commit waits for as many changes as came together last time.
const LINGER: Duration = Duration::from_millis(2);

/// What the writer is told.
pub(super) enum Message {
    Write(Box<dyn Job>),
    /// Somebody could not read: see whether the database must be opened again.
    Look,
    /// Finish what was told before, close the store, and say so.
    Close(oneshot::Sender<()>),
}

/// The only one who writes.
pub(super) struct Writer<D> {
    pub(super) inbox: Receiver<Message>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) vault: Vault<D>,
    pub(super) lock: Option<Lock>,
    pub(super) clock: Arc<dyn Clock>,
    /// The most changes in one commit.
    pub(super) batch: usize,
    /// How many changes came together last time.
    pub(super) gathered: usize,
    /// Where the audit ends that is committed.
    pub(super) end: End,
    /// The number the commit under way will end at.
    pub(super) promised: u64,
    /// How long the last pause after a failure was; zero once a change succeeded.
    pub(super) pause: Duration,
    /// While the disk takes no writes.
    pub(super) trouble: Option<Trouble>,
}

/// Why the writer stops: somebody asked for it, or nobody is left to ask anything.
type Goodbye = Option<oneshot::Sender<()>>;

impl<D: Disk> Writer<D> {
    /// Writes until the store is closed.
    pub(super) fn run(mut self) {
        let goodbye = loop {
            match self.receive() {
                Ok(Message::Write(job)) => {
                    let (jobs, goodbye) = self.gather(job);
                    self.serve(jobs);
                    if let Some(goodbye) = goodbye {
                        break Some(goodbye);
                    }
                }
                Ok(Message::Look) => self.look(),
                Ok(Message::Close(goodbye)) => break Some(goodbye),
                Err(RecvTimeoutError::Timeout) => self.try_again(),
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        self.leave();
        if let Some(goodbye) = goodbye {
            // Whoever went away does not want to know.
            let _ = goodbye.send(());
        }
    }

    fn receive(&self) -> Result<Message, RecvTimeoutError> {
        match &self.trouble {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(trouble) => self.inbox.recv_timeout(trouble.rest(&*self.clock)),
        }
    }

    /// Takes what waits behind the first job; waits only for those who came along last time.
    fn gather(&mut self, first: Box<dyn Job>) -> (Vec<Box<dyn Job>>, Goodbye) {
        let start = self.clock.tick();
        let mut jobs = vec![first];
        let mut goodbye = None;
        while jobs.len() < self.batch {
            let passed = self.clock.tick().saturating_duration_since(start);
            let awaited = jobs.len() < self.gathered && self.trouble.is_none();
            let wait = if awaited { LINGER.saturating_sub(passed) } else { Duration::ZERO };
            match self.inbox.recv_timeout(wait) {
                Ok(Message::Write(job)) => jobs.push(job),
                // A transaction is begun right after this, and that is looking.
                Ok(Message::Look) => {}
                Ok(Message::Close(reply)) => {
                    goodbye = Some(reply);
                    break;
                }
                Err(_) => break,
            }
        }
        self.gathered = jobs.len();
        (jobs, goodbye)
    }

    fn serve(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.rest(&*self.clock).is_zero()) {
            self.try_again();
        }
        let outcome = match self.begin() {
            Ok(transaction) => self.commit(transaction, &mut jobs).or_else(|e| self.settle(&e)),
            Err(error) => Err(error),
        };
        for job in jobs {
            job.answer(outcome.as_ref().copied().map_err(Error::repeated));
        }
    }

    /// Begins a transaction, after opening the database again where it refuses one.
    fn begin(&mut self) -> Result<WriteTransaction, Error> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.refusal());
        }
        self.shelf.begin_write().or_else(|error| {
            self.recover(&error)?;
            self.shelf.begin_write()
        })
    }

    fn look(&mut self) {
        match self.begin() {
            Ok(transaction) => drop(transaction),
            Err(error) => tracing::debug!(%error, "the store was looked at"),
        }
    }

    fn commit(
        &mut self,
        transaction: WriteTransaction,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<(), Error> {
        self.promised = self.end.sequence;
        sheltered(self.shelf.path(), || {
            let now = self.clock.now();
            let mut end = self.end;
            let mut has_notes = false;
            for job in jobs {
                let mut draft = Draft::new(&transaction, &self.vault.seal, now);
                if job.run(&mut draft) == Verdict::Accepted {
                    has_notes |= draft.has_notes();
                    end = draft.accept(job.actor(), end)?;
                }
            }
            let is_change = end != self.end;
            if !is_change && !has_notes {
                return Ok(transaction.abort()?);
            }
            if is_change {
                put_head(&transaction, &self.vault.seal, end)?;
            }
            self.promised = end.sequence;
            transaction.commit()?;
            // Nobody follows notes.
            if is_change {
                self.shelf.announce();
            }
            self.end = end;
            self.pause = Duration::ZERO;
            Ok(())
        })
    }

    /// After a failed commit: opens the database again and looks whether the changes are in it.
    ///
    /// What is seen then is on the disk, even if the disk forgot what it failed to sync: a commit
    /// shows only after its pages were synced, and opening again has synced what shows it.
    fn settle(&mut self, error: &Error) -> Result<(), Error> {
        let (before, promised) = (self.end.sequence, self.promised);
        self.recover(error)?;
        if promised > before && self.end.sequence >= promised {
            return Ok(());
        }
        Err(Error::NotWritten { reason: error.to_string() })
    }

    fn leave(self) {
        self.shelf.close();
        let is_well = self.shelf.condition() == Condition::Writable;
        // The mark of an open store stays after trouble, so that the next start checks everything.
        if let Some(lock) = self.lock.filter(|_| is_well)
            && let Err(error) = lock.leave()
        {
            tracing::warn!(%error, "the next start will check the store: its mark did not go");
        }
    }
}
