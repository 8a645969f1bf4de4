//! The file of records: sheets with the lines of calls, and sums over them.
//!
//! They lie in a file of their own, `logs.redb`, because a file has one writer and lines of calls
//! must not delay changes. What they promise is less, too: a crash may take the last lines with
//! it, and a file that cannot be read any more is laid aside for a new one.
//!
//! What a sheet says is the business of whoever writes it; here it is bytes with a [`Mark`].

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, StorageBackend as _, TableDefinition, WriteTransaction,
    backends::FileBackend,
};

use super::{
    error::Error,
    folder::in_file,
    vault::{begin, on_a_thread_of_its_own, sheltered},
};
use crate::domain::Timestamp;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Sheets, by the number of their first line.
const SHEETS: Definition = TableDefinition::new("sheets");
/// What must be known of a sheet to pass it over, by the same number.
const MARKS: Definition = TableDefinition::new("marks");
/// Sums, by keys of whoever makes them.
const SUMS: Definition = TableDefinition::new("sums");

/// Space in the file that nothing fills before it is worth the trouble to give it back, in bytes.
const SLACK: u64 = 16 << 20;

/// What is known of a sheet without looking at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The number of its first line.
    pub(crate) first: u64,
    /// How many numbers it takes up; not every one need have a line any more.
    pub(crate) numbers: u32,
    /// The moment of its oldest line.
    pub(crate) oldest: Timestamp,
    /// The moment of its newest line.
    pub(crate) newest: Timestamp,
    /// Its size.
    pub(crate) bytes: u32,
}

impl Mark {
    /// The number that comes after its last one.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.numbers.into())
    }

    fn value(&self) -> [u8; 24] {
        let mut value = [0; 24];
        value[..8].copy_from_slice(&self.oldest.as_ms().to_be_bytes());
        value[8..16].copy_from_slice(&self.newest.as_ms().to_be_bytes());
        value[16..20].copy_from_slice(&self.numbers.to_be_bytes());
        value[20..].copy_from_slice(&self.bytes.to_be_bytes());
        value
    }

    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let number = |at: usize| value.get(at..)?.first_chunk().map(|it| u32::from_be_bytes(*it));
        let moment = |at: usize| {
            let ms = value.get(at..)?.first_chunk().map(|it| i64::from_be_bytes(*it));
            ms.map(Timestamp::from_ms)
        };
        Some(Self {
            first: u64::from_be_bytes(key.try_into().ok()?),
            oldest: moment(0)?,
            newest: moment(8)?,
            numbers: number(16)?,
            bytes: number(20)?,
        })
    }
}

/// The file of records. Clones are the same file.
#[derive(Clone)]
pub(crate) struct Records(Arc<Inner>);

struct Inner {
    path: PathBuf,
    cache_bytes: usize,
    /// None after it failed, until it is opened again.
    database: RwLock<Option<Database>>,
}

impl Records {
    /// Opens the file in a data folder that this process has, and makes it where there is none.
    /// One that is no database any more is laid aside, under a name with this moment in it.
    pub(crate) fn open(folder: &Path, cache_mib: u32, now: Timestamp) -> Result<Self, Error> {
        let path = folder.join("logs.redb");
        let cache_bytes = usize::try_from(cache_mib.max(1)).unwrap_or(usize::MAX >> 20) << 20;
        let database = match database(&path, cache_bytes) {
            Err(Error::Damaged { fault, .. }) => {
                let aside = path.with_extension(format!("damaged-{}", now.as_ms()));
                fs::rename(&path, &aside).map_err(in_file(&path))?;
                let aside = aside.display().to_string();
                tracing::error!(%fault, aside, "the records of calls are damaged; beginning anew");
                database(&path, cache_bytes)?
            }
            opened => opened?,
        };
        let database = RwLock::new(Some(database));
        Ok(Self(Arc::new(Inner { path, cache_bytes, database })))
    }

    /// Looks at everything that is written now. What is removed in between is still seen.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&View) -> Result<T, Error>) -> Result<T, Error> {
        let database = self.0.database.read();
        let database = database.as_ref().ok_or(Error::Closed)?;
        self.sheltered(|| look(&View(database.begin_read()?)))
    }

    /// Writes all of this, or nothing of it.
    pub(crate) fn write(
        &self,
        change: impl FnOnce(&mut Edit) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.reopen()?;
        let written = {
            let database = self.0.database.read();
            let database = database.as_ref().ok_or(Error::Closed)?;
            self.sheltered(|| {
                let mut edit = Edit(begin(database)?);
                change(&mut edit)?;
                Ok(edit.0.commit()?)
            })
        };
        // After a failed write a database takes no other one until it is opened again.
        if written.is_err() {
            drop(self.0.database.write().take());
        }
        written
    }

    /// Gives space back to the disk, where much of the file is empty. Says how many bytes.
    pub(crate) fn shrink(&self) -> Result<u64, Error> {
        let path = &self.0.path;
        let size = || fs::metadata(path).map(|file| file.len()).map_err(in_file(path));
        let (before, filled) = (size()?, self.read(View::bytes)?);
        if before < filled.saturating_mul(2).saturating_add(SLACK) {
            return Ok(0);
        }
        let mut database = self.0.database.write();
        let database = database.as_mut().ok_or(Error::Closed)?;
        self.sheltered(|| database.compact().map_err(|error| Error::found(&error.to_string())))?;
        Ok(before.saturating_sub(size()?))
    }

    /// Closes the file. Nothing is read or written any more.
    pub(crate) fn close(&self) {
        drop(self.0.database.write().take());
    }

    fn reopen(&self) -> Result<(), Error> {
        let mut place = self.0.database.write();
        if place.is_none() {
            *place = Some(database(&self.0.path, self.0.cache_bytes)?);
        }
        Ok(())
    }

    fn sheltered<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        sheltered(&self.0.path, work)
    }
}

fn database(path: &Path, cache_bytes: usize) -> Result<Database, Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    on_a_thread_of_its_own(path, || {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(in_file(path))?;
        let backend = FileBackend::new(file);
        let backend = backend.map_err(|error| Error::found(&error.to_string()))?;
        let is_new = backend.len().map_err(in_file(path))? == 0;
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let damaged = |error: redb::DatabaseError| match Error::from(error) {
            Error::Storage(fault) => Error::Damaged { path: path.to_owned(), fault },
            error => error,
        };
        let database = builder.create_with_backend(backend).map_err(damaged)?;
        if is_new {
            make_tables(&database)?;
        }
        Ok(database)
    })
}

fn make_tables(database: &Database) -> Result<(), Error> {
    let transaction = begin(database)?;
    for table in [SHEETS, MARKS, SUMS] {
        transaction.open_table(table)?;
    }
    Ok(transaction.commit()?)
}

/// What is written at one moment.
pub(crate) struct View(ReadTransaction);

impl View {
    /// What is known of every sheet, by the number of its first line.
    pub(crate) fn marks(&self) -> Result<BTreeMap<u64, Mark>, Error> {
        let mut marks = BTreeMap::new();
        for entry in self.0.open_table(MARKS)?.iter()? {
            let (key, value) = entry?;
            let mark = Mark::read(key.value(), value.value());
            let mark = mark.ok_or(Error::Altered { table: "marks" })?;
            marks.insert(mark.first, mark);
        }
        Ok(marks)
    }

    /// Shows a sheet; none where it is there no more.
    pub(crate) fn sheet<T>(
        &self,
        first: u64,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        let sheet = self.0.open_table(SHEETS)?.get(first.to_be_bytes().as_slice())?;
        Ok(sheet.map(|sheet| look(sheet.value())))
    }

    /// Shows sums in the order of their keys, from one key on to before another.
    pub(crate) fn sums(
        &self,
        (from, to): (&[u8], &[u8]),
        mut look: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Error> {
        for entry in self.0.open_table(SUMS)?.range(from..to)? {
            let (key, value) = entry?;
            look(key.value(), value.value());
        }
        Ok(())
    }

    /// Bytes that all of it fills.
    fn bytes(&self) -> Result<u64, Error> {
        let mut bytes = 0;
        for table in [SHEETS, MARKS, SUMS] {
            bytes += self.0.open_table(table)?.stats()?.stored_bytes();
        }
        Ok(bytes)
    }
}

/// What is being written.
pub(crate) struct Edit(WriteTransaction);

impl Edit {
    /// Writes a sheet, in place of one with the same first line.
    pub(crate) fn put_sheet(&mut self, mark: &Mark, sheet: &[u8]) -> Result<(), Error> {
        let key = mark.first.to_be_bytes();
        self.0.open_table(SHEETS)?.insert(key.as_slice(), sheet)?;
        self.0.open_table(MARKS)?.insert(key.as_slice(), mark.value().as_slice())?;
        Ok(())
    }

    /// Shows a sheet as it is now; none where there is none.
    pub(crate) fn sheet<T>(
        &self,
        first: u64,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        let sheets = self.0.open_table(SHEETS)?;
        let sheet = sheets.get(first.to_be_bytes().as_slice())?;
        Ok(sheet.map(|sheet| look(sheet.value())))
    }

    /// Removes a sheet.
    pub(crate) fn remove_sheet(&mut self, first: u64) -> Result<(), Error> {
        let key = first.to_be_bytes();
        self.0.open_table(SHEETS)?.remove(key.as_slice())?;
        self.0.open_table(MARKS)?.remove(key.as_slice())?;
        Ok(())
    }

    /// Writes a sum, made of the one that is there.
    pub(crate) fn sum(
        &mut self,
        key: &[u8],
        add: impl FnOnce(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<(), Error> {
        let mut sums = self.0.open_table(SUMS)?;
        let sum = {
            let before = sums.get(key)?;
            add(before.as_ref().map(redb::AccessGuard::value))
        };
        sums.insert(key, sum.as_slice())?;
        Ok(())
    }

    /// Removes sums, from one key on to before another.
    pub(crate) fn remove_sums(&mut self, (from, to): (&[u8], &[u8])) -> Result<(), Error> {
        self.0.open_table(SUMS)?.retain_in(from..to, |_, _| false)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(first: u64) -> Mark {
        let (oldest, newest) = (Timestamp::from_ms(5), Timestamp::from_ms(7));
        Mark { first, numbers: 3, oldest, newest, bytes: 2 }
    }

    #[test]
    fn what_was_written_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Records::open(folder.path(), 1, Timestamp::from_ms(0)).expect("it opens");
        let records = open();
        let written = records.write(|edit| {
            edit.put_sheet(&mark(1), b"ab")?;
            edit.put_sheet(&mark(4), b"cd")?;
            edit.sum(b"k", |_| b"1".to_vec())?;
            edit.sum(b"k", |before| [before.expect("it is there"), b"2"].concat())
        });
        written.expect("it is written");
        records.close();
        assert!(records.read(View::marks).is_err());

        let records = open();
        records.write(|edit| edit.remove_sheet(1)).expect("it is written");
        let seen = records.read(|view| {
            let mut sums = Vec::new();
            view.sums((b"k", b"l"), |_, sum| sums.push(sum.to_vec()))?;
            Ok((view.marks()?, view.sheet(4, <[u8]>::to_vec)?, view.sheet(1, |_| ())?, sums))
        });

        let (marks, sheet, gone, sums) = seen.expect("it is read");
        assert_eq!(marks.into_values().collect::<Vec<_>>(), [mark(4)]);
        assert_eq!((sheet, gone), (Some(b"cd".to_vec()), None));
        assert_eq!(sums, [b"12".to_vec()]);
    }

    #[test]
    fn a_change_that_fails_leaves_nothing_and_the_next_one_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::open(folder.path(), 1, Timestamp::from_ms(0)).expect("it opens");
        let failed = records.write(|edit| {
            edit.put_sheet(&mark(1), b"ab")?;
            Err(Error::Closed)
        });
        assert!(failed.is_err());

        records.write(|edit| edit.put_sheet(&mark(4), b"cd")).expect("it is written");

        let marks = records.read(View::marks).expect("it is read");
        assert_eq!(marks.into_keys().collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn a_file_that_is_no_database_is_laid_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("logs.redb"), vec![7; 9_000]).expect("written");

        let records = Records::open(folder.path(), 1, Timestamp::from_ms(42)).expect("it opens");

        assert!(records.read(View::marks).expect("it is read").is_empty());
        let aside = fs::read(folder.path().join("logs.damaged-42")).expect("it is kept");
        assert_eq!(aside.len(), 9_000);
    }

    #[test]
    fn space_that_is_not_needed_goes_back_to_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::open(folder.path(), 1, Timestamp::from_ms(0)).expect("it opens");
        let sheet = vec![1; 1 << 20];
        for first in 0..40 {
            records.write(|edit| edit.put_sheet(&mark(first), &sheet)).expect("it is written");
        }
        for first in 1..40 {
            records.write(|edit| edit.remove_sheet(first)).expect("it is written");
        }

        let freed = records.shrink().expect("it is compacted");

        assert!(freed > 20 << 20, "{freed}");
        assert_eq!(records.shrink().expect("there is nothing to do"), 0);
        let kept = records.read(|view| view.sheet(0, <[u8]>::len)).expect("it is read");
        assert_eq!(kept, Some(1 << 20));
    }
}
