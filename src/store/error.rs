//! What can go wrong with the memory of the house.

use std::{fmt, io, path::PathBuf};

use crate::problem::{Classify, Kind};

/// Why the store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Set-up was never finished here.
    #[error("{} is not set up: it holds no secret.key", folder.display())]
    NotInitialised { folder: PathBuf },
    /// Set-up happens once.
    #[error("{} is set up already: it holds a secret.key", folder.display())]
    AlreadyInitialised { folder: PathBuf },
    /// Somebody else could replace the store.
    #[error("others may write to the data folder {} (mode {mode:03o}); run: chmod go-w {}", folder.display(), folder.display())]
    FolderOpen { folder: PathBuf, mode: u32 },
    /// The folder is not ours.
    #[error("the data folder {} belongs to user {owner}, who may change it; run: chown to the gateway's user", folder.display())]
    FolderForeign { folder: PathBuf, owner: u32 },
    /// One folder, one process.
    #[error("another process has the data folder {} open ({})", folder.display(), Holder(*pid))]
    InUse { folder: PathBuf, pid: Option<u32> },
    /// Somebody else could read the key.
    #[error("others may read the key file {} (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    KeyExposed { path: PathBuf, mode: u32 },
    /// There is a database and no key for it.
    #[error("the key file {} is missing and {} cannot be read without it; put it back from a backup", path.display(), database.display())]
    KeyMissing { path: PathBuf, database: PathBuf },
    /// The key file is there and is none.
    #[error("{} is not a key file; put it back from a backup", path.display())]
    KeyMalformed { path: PathBuf },
    /// Key and database come from different houses.
    #[error("the key file beside {} belongs to another database; put back the two that belong together", database.display())]
    KeyForeign { database: PathBuf },
    /// There is a key and no database for it.
    #[error("the database {} is missing; restore it from a backup", path.display())]
    DatabaseMissing { path: PathBuf },
    /// The file is there and was emptied.
    #[error("the database {} is empty although set-up was finished; restore it from a backup", path.display())]
    DatabaseEmpty { path: PathBuf },
    /// The file holds something else.
    #[error("{} is not a database of Tollhouse; restore it from a backup", path.display())]
    DatabaseForeign { path: PathBuf },
    /// The file cannot be used any more.
    #[error("the database {} is damaged ({fault}); restore it from a backup", path.display())]
    Damaged { path: PathBuf, fault: Fault },
    /// A later release wrote it.
    #[error("the database {} has schema {found}, and this release knows {known}; use a newer Tollhouse", path.display())]
    Newer { path: PathBuf, found: u16, known: u16 },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A read or write of the open database went wrong.
    #[error("the store does not answer: {0}")]
    Storage(Fault),
    /// A record is not as it was written, so nobody may rely on it.
    #[error("a record in {table} of the store was altered or damaged")]
    Altered { table: &'static str },
    /// A value that no record can hold, such as a path that is no text.
    #[error("it cannot be stored in {table}: {source}")]
    Unstorable { table: &'static str, source: rmp_serde::encode::Error },
    /// The disk takes no writes. The store keeps trying by itself.
    #[error("the store takes no changes right now: {reason}")]
    ReadOnly { reason: String },
    /// The disk failed under this change; nothing of it was kept, and the store is well again.
    #[error("the change was not written, nothing of it was kept: {reason}")]
    NotWritten { reason: String },
    /// More changes wait than may.
    #[error("{queue} changes wait for the store already")]
    Busy { queue: usize },
    /// The gateway is going.
    #[error("the store is closed")]
    Closed,
    /// The change itself was faulty; nothing of it was kept.
    #[error("a change to the store panicked")]
    Panicked,
}

impl Error {
    /// A fault found by the store itself.
    pub(super) fn found(text: &str) -> Self {
        Self::Storage(Fault::found(text))
    }

    /// The same bad news for one more of those whose changes shared a commit.
    pub(super) fn repeated(&self) -> Self {
        match self {
            Self::ReadOnly { reason } => Self::ReadOnly { reason: reason.clone() },
            Self::NotWritten { reason } => Self::NotWritten { reason: reason.clone() },
            other => Self::NotWritten { reason: other.to_string() },
        }
    }
}

/// What the database reported, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(String);

impl Fault {
    /// The fault behind a panic of the database.
    pub(super) fn panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Self(format!("panic: {}", text.lines().next().unwrap_or_default()))
    }

    /// A fault found by the store itself.
    pub(super) fn found(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "pid {pid}"),
            None => f.write_str("pid unknown"),
        }
    }
}

macro_rules! faults_of_the_database {
    ($($name:ident),*) => {$(
        impl From<redb::$name> for Error {
            fn from(error: redb::$name) -> Self {
                Self::Storage(Fault(redb::Error::from(error).to_string()))
            }
        }
    )*};
}

faults_of_the_database!(
    CommitError,
    DatabaseError,
    SetDurabilityError,
    StorageError,
    TableError,
    TransactionError
);

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Unstorable { .. } => Kind::Invalid,
            Self::AlreadyInitialised { .. } => Kind::Conflict,
            Self::Storage(_)
            | Self::ReadOnly { .. }
            | Self::NotWritten { .. }
            | Self::Busy { .. }
            | Self::InUse { .. }
            | Self::Closed => Kind::Unavailable,
            _ => Kind::Internal,
        }
    }
}
