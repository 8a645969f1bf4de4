//! THE MEMORY: what the house knows, in one file on disk, with one writer and many readers.
//!
//! **What an acknowledged write means.** When [`Store::write`] answers `Ok`, the change, its audit
//! lines and its feed entries are on the disk, together, and survive a crash and a power cut.
//! When it answers an error, nothing of the change is there, with one exception: an
//! [`Error::ReadOnly`] that tells of the disk failing under this very commit. The store could not
//! look then, and may find the change complete when it opens the file again; it never finds half
//! of it.
//!
//! A change is a closure over a [`Draft`]: it reads, decides and puts, and nobody else writes in
//! between. Drafts that wait together are committed together; one that fails or panics leaves no
//! trace and does not disturb its neighbours. Audit and feed are numbered alike, from 1, without
//! a gap.
//!
//! Every record is sealed with a key made of the master key in `secret.key`: nobody reads the
//! secrets in it without that key, and a record that was altered is refused, not believed.
//!
//! The data folder holds five names: `secret.key`, which is also the mark that set-up was
//! finished; `state.redb`; `logs.redb`, the records of calls; `lock`, which names the process while the store is open; and while
//! set-up runs, `secret.key.new`.

mod accept;
mod append;
mod changes;
mod codec;
mod draft;
mod error;
mod folder;
mod job;
mod key;
mod records;
mod recover;
mod seal;
mod shelf;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod told;
mod upgrade;
mod vault;
mod write;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot, watch};
use uuid::Uuid;

use crate::domain::{Actor, Clock};

use self::{
    folder::{Folder, Left, Lock, in_file},
    job::Write,
    key::MasterKey,
    seal::{KeyBytes, Seal, derive},
    shelf::Shelf,
    upgrade::House,
    vault::{DatabaseFile, Disk, Vault},
    write::{Message, Writer},
};

pub(crate) use self::{
    changes::Changes,
    draft::Draft,
    error::Error,
    records::{Edit, Mark, Records, View},
    shelf::Condition,
    snapshot::Snapshot,
};

/// How the store works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Memory for pages of the database, in MiB.
    pub(crate) cache_mib: u32,
    /// The most changes that wait or are being written; further ones are refused.
    pub(crate) queue: usize,
    /// The most changes in one commit.
    pub(crate) batch: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_mib: 16, queue: 1_024, batch: 256 }
    }
}

/// The memory of the house. Clones are the same store.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    inbox: mpsc::Sender<Message>,
    places: Arc<Semaphore>,
    queue: usize,
    shelf: Arc<Shelf>,
    seal: Arc<Seal>,
    pepper: KeyBytes,
    name: String,
}

impl Store {
    /// Makes the store, in set-up only: data folder, key file, database. Refuses a folder that
    /// was ever set up, whatever became of its database since.
    pub(crate) fn create(
        folder: &Path,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let folder = Folder::make(folder)?;
        let (lock, _) = Lock::take(&folder)?;
        refuse_what_was_set_up(&folder)?;
        let key = MasterKey::generate();
        // The order makes a crash harmless. Only the last step, one rename, makes the folder count
        // as set up, and by then key and database are complete and on the disk. A database beside
        // `secret.key.new` was never used by anybody, so the next try may begin anew; a database
        // beside no key at all is somebody's, and is refused.
        clear_interrupted(&folder)?;
        key.write_new(&folder)?;
        make_empty_file(&folder)?;
        let vault = Vault::in_folder(&folder, &key, settings);
        vault.make(&House::new(key.instance, clock.now()))?;
        folder.sync()?;
        MasterKey::finish(&folder)?;
        tracing::info!(folder = %folder.path().display(), instance = %key.instance, "store made");
        Self::start(vault, &key.bytes, (Some(lock), Left::Cleanly), settings, clock)
    }

    /// Opens the store of a folder that was set up. Never makes anything: where key or database
    /// are missing, emptied or not of this house, it refuses.
    pub(crate) fn open(
        folder: &Path,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let folder = Folder::check(folder)?;
        if !exists(&folder.key())? {
            refuse_database_without_key(&folder)?;
            return Err(Error::NotInitialised { folder: folder.path().to_owned() });
        }
        let (lock, left) = Lock::take(&folder)?;
        let key = MasterKey::read(&folder)?;
        if left == Left::Abruptly {
            tracing::warn!(folder = %folder.path().display(), "the store was not closed; checking it");
        }
        let vault = Vault::in_folder(&folder, &key, settings);
        Self::start(vault, &key.bytes, (Some(lock), left), settings, clock)
    }

    /// Whether set-up was finished here. Only the key file tells; an emptied database does not
    /// undo it.
    pub(crate) fn is_initialised(folder: &Path) -> bool {
        // What cannot be looked at is taken for set up: set-up must not open by mistake.
        exists(&folder.join("secret.key")).unwrap_or(true)
    }

    /// The one way to write. Runs the change on the writer's thread and commits it with its audit
    /// lines and feed entries, or nothing of it.
    ///
    /// The change is made even when the caller stops waiting for the answer. Fails with the
    /// change's own error, or with the store's: see [`Error`].
    pub(crate) async fn write<T, E>(
        &self,
        actor: &Actor,
        change: impl FnOnce(&mut Draft<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        let place = place.map_err(|_| Error::Busy { queue: self.0.queue })?;
        let (reply, answer) = oneshot::channel();
        let actor = actor.clone();
        let job = Write { actor, change: Some(change), result: None, reply, _place: place };
        self.0.inbox.send(Message::Write(Box::new(job))).map_err(|_| Error::Closed)?;
        answer.await.unwrap_or_else(|_| Err(Error::Closed.into()))
    }

    /// A consistent view of everything that is committed now.
    pub(crate) fn read(&self) -> Result<Snapshot, Error> {
        Snapshot::take(&self.0.shelf, &self.0.seal, &self.0.inbox)
    }

    /// Tells of every change that is committed from now on, also of those whose makers did not wait
    /// to hear of it. Views of what is stored follow this, or they fall behind.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.shelf.changes()
    }

    /// The key under which texts of API keys are hashed. It is made of the master key and stored
    /// nowhere, so a stolen database cannot confirm a guessed or leaked key.
    pub(crate) fn pepper(&self) -> &[u8; 32] {
        &self.0.pepper
    }

    /// What others may call this house: no other has the same name, as its master key has no other.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the store takes changes, and why not.
    pub(crate) fn state(&self) -> Condition {
        self.0.shelf.condition()
    }

    /// Finishes what was told before and closes the file cleanly. Everything acknowledged is on
    /// the disk already; what comes later is refused with [`Error::Closed`].
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.0.inbox.send(Message::Close(reply)).is_ok() {
            // No answer means that somebody else closed it in the same moment.
            drop(closed.await);
        }
    }

    fn start<D: Disk>(
        vault: Vault<D>,
        master: &KeyBytes,
        (lock, left): (Option<Lock>, Left),
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let opened = vault.open(left)?;
        let (inbox, outbox) = mpsc::channel();
        let queue = settings.queue.clamp(1, Semaphore::MAX_PERMITS);
        let path = vault.disk.path().to_owned();
        let shelf = Arc::new(Shelf::new(opened.database, path.clone()));
        let inner = Inner {
            inbox,
            places: Arc::new(Semaphore::new(queue)),
            queue,
            shelf: Arc::clone(&shelf),
            seal: Arc::clone(&vault.seal),
            pepper: derive(master, "tollhouse api keys 1"),
            name: name(master),
        };
        let writer = Writer {
            inbox: outbox,
            shelf,
            vault,
            lock,
            clock,
            batch: settings.batch.max(1),
            gathered: 1,
            end: opened.end,
            promised: opened.end.sequence,
            pause: Duration::ZERO,
            trouble: None,
        };
        let thread = thread::Builder::new().name("store".to_owned());
        thread.spawn(|| writer.run()).map_err(in_file(&path))?;
        Ok(Self(Arc::new(inner)))
    }
}

impl Vault<DatabaseFile> {
    fn in_folder(folder: &Folder, key: &MasterKey, settings: &Settings) -> Self {
        Self {
            disk: DatabaseFile(folder.database()),
            seal: Arc::new(Seal::new(&key.bytes)),
            cache_bytes: usize::try_from(settings.cache_mib.max(1)).unwrap_or(usize::MAX >> 20)
                << 20,
        }
    }
}

fn refuse_what_was_set_up(folder: &Folder) -> Result<(), Error> {
    if exists(&folder.key())? {
        return Err(Error::AlreadyInitialised { folder: folder.path().to_owned() });
    }
    refuse_database_without_key(folder)
}

/// A database without any key is somebody's whose key was lost; one beside a new key is what an
/// interrupted set-up left.
fn refuse_database_without_key(folder: &Folder) -> Result<(), Error> {
    let database = folder.database();
    if exists(&database)? && !exists(&folder.new_key())? {
        return Err(Error::KeyMissing { path: folder.key(), database });
    }
    Ok(())
}

/// Removes the database of an interrupted set-up, before the new key beside it is replaced: without
/// that key it would look like somebody's.
fn clear_interrupted(folder: &Folder) -> Result<(), Error> {
    let path = folder.database();
    if exists(&path)? {
        fs::remove_file(&path).map_err(in_file(&path))?;
        folder.sync()?;
    }
    Ok(())
}

fn make_empty_file(folder: &Folder) -> Result<(), Error> {
    let path = folder.database();
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.map(drop).map_err(in_file(&path))
}

/// A name made of the master key, of which it tells nothing.
fn name(master: &KeyBytes) -> String {
    let digest = derive(master, "tollhouse name 1");
    Uuid::from_slice(&digest[..16]).expect("sixteen bytes").simple().to_string()
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(in_file(path))
}
