//! The open database, shared by the one writer and the many readers.

use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::watch;

use super::{
    error::Error,
    vault::{begin, sheltered},
};

/// Whether the store takes changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It does.
    Writable,
    /// It does not, and keeps trying. Reading goes on.
    ReadOnly {
        /// What went wrong.
        reason: String,
    },
}

/// Where the database stands while it is open. Only the writer exchanges it.
pub(super) struct Shelf {
    holding: RwLock<Holding>,
    condition: watch::Sender<Condition>,
    /// Counts how often what readers see became another.
    changes: watch::Sender<u64>,
    path: PathBuf,
}

enum Holding {
    Database(Database),
    /// The disk gives nothing at all, for this reason.
    Nothing(String),
    Closed,
}

impl Shelf {
    pub(super) fn new(database: Database, path: PathBuf) -> Self {
        let holding = RwLock::new(Holding::Database(database));
        let condition = watch::Sender::new(Condition::Writable);
        Self { holding, condition, changes: watch::Sender::new(0), path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.with(|database| Ok(database.begin_read()?))
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, Error> {
        self.with(begin)
    }

    /// Exchanges the database; the one before is closed.
    pub(super) fn put(&self, database: Database) {
        self.exchange(Holding::Database(database));
    }

    /// Closes the database, for this reason and for the time being.
    pub(super) fn clear(&self, reason: String) {
        self.exchange(Holding::Nothing(reason));
    }

    /// Closes the database for good.
    pub(super) fn close(&self) {
        self.exchange(Holding::Closed);
    }

    pub(super) fn condition(&self) -> Condition {
        self.condition.borrow().clone()
    }

    pub(super) fn set_condition(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    /// Tells that readers see something else from now on.
    pub(super) fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Follows what is announced.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows the condition as it changes.
    #[cfg(test)]
    pub(super) fn watch(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        match &*self.holding.read() {
            Holding::Database(database) => sheltered(&self.path, || work(database)),
            Holding::Closed => Err(Error::Closed),
            Holding::Nothing(reason) => Err(Error::ReadOnly { reason: reason.clone() }),
        }
    }

    fn exchange(&self, holding: Holding) {
        let before = std::mem::replace(&mut *self.holding.write(), holding);
        // Closing a damaged database may panic, and there is nothing left to lose by it.
        let closed = sheltered(&self.path, || {
            drop(before);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the database did not close well");
        }
    }
}
