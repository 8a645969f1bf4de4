//! Where the database lies, and how it is made, opened and checked.
//!
//! The database may panic when its file is damaged, so it is opened on a thread of its own, whose
//! panic is an error here.

use std::{
    cmp::Ordering,
    fs::{self, OpenOptions},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, StorageBackend, StorageError,
    TableHandle as _, WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};

use crate::domain::{AuditHead, AuditLine};

use super::{
    append::End,
    codec,
    error::{Error, Fault},
    folder::Left,
    seal::Seal,
    table::{self, AUDIT, AUDIT_HEAD, FEED, Record, last_number},
    upgrade::{House, SCHEMA},
};

/// The largest database that is copied to memory while its disk fails, in bytes.
const COPY_LIMIT: u64 = 64 << 20;

/// What holds the pages: a file, or in tests memory that fails and forgets.
pub(super) trait Disk: Send + Sync + 'static {
    type Backend: StorageBackend;

    /// Opens it for reading and writing. It must be there already.
    fn open(&self) -> io::Result<Self::Backend>;

    /// All of it, as it is now.
    fn copy(&self, limit: u64) -> io::Result<Vec<u8>>;

    /// Its name for people.
    fn path(&self) -> &Path;
}

/// A file on a disk.
pub(super) struct DatabaseFile(pub(super) PathBuf);

impl Disk for DatabaseFile {
    type Backend = FileBackend;

    fn open(&self) -> io::Result<FileBackend> {
        let file = OpenOptions::new().read(true).write(true).open(&self.0)?;
        FileBackend::new(file).map_err(io::Error::other)
    }

    fn copy(&self, limit: u64) -> io::Result<Vec<u8>> {
        if fs::metadata(&self.0)?.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        fs::read(&self.0)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

/// The database's place together with what is needed to open it.
pub(super) struct Vault<D> {
    pub(super) disk: D,
    pub(super) seal: Arc<Seal>,
    pub(super) cache_bytes: usize,
}

/// An open database.
pub(super) struct Opened {
    pub(super) database: Database,
    /// Where audit and feed end.
    pub(super) end: End,
}

impl<D: Disk> Vault<D> {
    /// Makes a new database in an empty place and closes it again.
    pub(super) fn make(&self, house: &House) -> Result<(), Error> {
        on_a_thread_of_its_own(self.disk.path(), || {
            let database = self.builder().create_with_backend(self.attach()?)?;
            let transaction = begin(&database)?;
            for table in table::ALL {
                transaction.open_table(table.definition())?;
            }
            self.put_house(&transaction, house)?;
            Ok(transaction.commit()?)
        })
    }

    /// Opens the database, and checks all of it when the last process left it abruptly.
    pub(super) fn open(&self, left: Left) -> Result<Opened, Error> {
        on_a_thread_of_its_own(self.disk.path(), || {
            let backend = self.attach()?;
            // Opening an empty place would make a new database in it.
            if backend.len().map_err(|source| self.file(source))? == 0 {
                return Err(Error::DatabaseEmpty { path: self.path() });
            }
            let mut database = self.open_backend(backend)?;
            if left == Left::Abruptly {
                self.check(&mut database)?;
            }
            self.admit(database)
        })
    }

    /// The database as it is on the disk, copied to memory: for reading only.
    pub(super) fn copy(&self) -> Result<Database, Error> {
        on_a_thread_of_its_own(self.disk.path(), || {
            let bytes = self.disk.copy(COPY_LIMIT).map_err(|source| self.file(source))?;
            let memory = InMemoryBackend::new();
            let filled = memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, &bytes));
            filled.map_err(|source| self.file(source))?;
            Ok(self.admit(self.open_backend(memory)?)?.database)
        })
    }

    /// Proves that the disk takes writes, by one that changes nothing.
    pub(super) fn prove(&self, database: &Database) -> Result<(), Error> {
        sheltered(self.disk.path(), || {
            let house = self.house(database)?;
            let transaction = begin(database)?;
            self.put_house(&transaction, &house)?;
            Ok(transaction.commit()?)
        })
    }

    fn attach(&self) -> Result<D::Backend, Error> {
        self.disk.open().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::DatabaseMissing { path: self.path() },
            _ => self.file(source),
        })
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder
    }

    fn open_backend(&self, backend: impl StorageBackend) -> Result<Database, Error> {
        self.builder().create_with_backend(backend).map_err(|error| self.refusal(error))
    }

    fn check(&self, database: &mut Database) -> Result<(), Error> {
        if database.check_integrity().map_err(|error| self.refusal(error))? {
            tracing::info!(database = %self.path().display(), "the store was checked and is whole");
        } else {
            tracing::error!(
                database = %self.path().display(),
                "the store was damaged and went back to its last whole state; \
                 compare the last audit lines with what you know"
            );
        }
        Ok(())
    }

    /// Whether the database is ours, of this house and of a schema we know.
    fn admit(&self, database: Database) -> Result<Opened, Error> {
        let house = self.house(&database)?;
        if !house.is_known() {
            return Err(Error::Newer { path: self.path(), found: house.schema, known: SCHEMA });
        }
        self.make_tables(&database)?;
        let transaction = database.begin_read()?;
        let sequence = last_number(&transaction.open_table(AUDIT.definition())?)?;
        if sequence != last_number(&transaction.open_table(FEED.definition())?)? {
            let fault = Fault::found("audit and feed end at different numbers");
            return Err(Error::Damaged { path: self.path(), fault });
        }
        let end = self.end(&transaction, sequence)?;
        Ok(Opened { database, end })
    }

    /// Where the audit ends, by its last line and by its head, which must agree.
    fn end(&self, transaction: &ReadTransaction, sequence: u64) -> Result<End, Error> {
        let heads = transaction.open_table(AuditHead::TABLE.definition())?;
        let head: Option<AuditHead> = codec::fetch(&heads, &self.seal, AUDIT_HEAD)?;
        let lines = transaction.open_table(AUDIT.definition())?;
        let last = codec::fetch(&lines, &self.seal, &sequence.to_be_bytes());
        let last: Option<AuditLine> = last.map_err(|error| match error {
            Error::Altered { .. } => {
                let what = format!("line {sequence} of the audit is not what was written there");
                Error::Damaged { path: self.path(), fault: Fault::found(&what) }
            }
            error => error,
        })?;
        let chain = last.and_then(|line| line.chain);
        // Releases of before wrote neither.
        let ends = (sequence, chain);
        if head.is_none_or(|head| (head.sequence, Some(head.chain)) == ends) {
            return Ok(End { sequence, chain });
        }
        let said = head.map_or(0, |head| head.sequence);
        let fault = Fault::found(match said.cmp(&sequence) {
            Ordering::Greater => {
                "lines were cut off the end of the audit, which its head still knows"
            }
            Ordering::Equal => "the last line of the audit is not the one that its head knows",
            Ordering::Less => "the audit goes on behind its head",
        });
        Err(Error::Damaged { path: self.path(), fault })
    }

    /// Makes the tables that the release which wrote the database last did not know.
    fn make_tables(&self, database: &Database) -> Result<(), Error> {
        let known: Vec<String> = {
            let transaction = database.begin_read()?;
            transaction.list_tables()?.map(|table| table.name().to_owned()).collect()
        };
        if table::ALL.iter().all(|table| known.iter().any(|name| name == table.name)) {
            return Ok(());
        }
        let transaction = begin(database)?;
        for table in table::ALL {
            transaction.open_table(table.definition())?;
        }
        tracing::info!(database = %self.path().display(), "the store was given new tables");
        Ok(transaction.commit()?)
    }

    fn house(&self, database: &Database) -> Result<House, Error> {
        let foreign = || Error::DatabaseForeign { path: self.path() };
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(House::TABLE.definition()) {
            Ok(table) => table,
            Err(redb::TableError::Storage(error)) => return Err(error.into()),
            Err(_) => return Err(foreign()),
        };
        match codec::fetch(&table, &self.seal, House::KEY) {
            Ok(house) => house.ok_or_else(foreign),
            Err(Error::Altered { .. }) => Err(Error::KeyForeign { database: self.path() }),
            Err(error) => Err(error),
        }
    }

    fn put_house(&self, transaction: &WriteTransaction, house: &House) -> Result<(), Error> {
        let record = codec::close(&self.seal, House::TABLE, House::KEY, &codec::encode(house)?);
        let mut table = transaction.open_table(House::TABLE.definition())?;
        table.insert(House::KEY, record.as_slice())?;
        Ok(())
    }

    fn refusal(&self, error: redb::DatabaseError) -> Error {
        use redb::DatabaseError::{DatabaseAlreadyOpen, Storage};

        let path = self.path();
        match error {
            DatabaseAlreadyOpen => {
                let folder = path.parent().unwrap_or(&path).to_owned();
                Error::InUse { folder, pid: None }
            }
            Storage(StorageError::Io(source)) => match source.kind() {
                io::ErrorKind::InvalidData => Error::DatabaseForeign { path },
                io::ErrorKind::UnexpectedEof => {
                    Error::Damaged { path, fault: Fault::found("its end is missing") }
                }
                _ => Error::File { path, source },
            },
            other => match Error::from(other) {
                Error::Storage(fault) => Error::Damaged { path, fault },
                error => error,
            },
        }
    }

    fn path(&self) -> PathBuf {
        self.disk.path().to_owned()
    }

    fn file(&self, source: io::Error) -> Error {
        Error::File { path: self.path(), source }
    }
}

/// A write transaction that is on the disk when it is committed, and quickly found after a crash.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Does work that a damaged file may turn into a panic.
pub(super) fn sheltered<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|payload| {
        Err(Error::Damaged { path: path.to_owned(), fault: Fault::panic(&*payload) })
    })
}

/// Does work that a damaged file may turn into a panic, which nobody else hears of.
pub(super) fn on_a_thread_of_its_own<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let done = thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|payload| {
        Err(Error::Damaged { path: path.to_owned(), fault: Fault::panic(&*payload) })
    })
}
