//! The data folder: whose it is, who has it open, and how the last one left it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::error::Error;

/// A folder that nobody else can write to.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder where there is none (mode 0700), and checks it.
    pub(super) fn make(path: &Path) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(in_file(path))?;
        Self::check(path)
    }

    /// Checks a folder that is there.
    pub(super) fn check(path: &Path) -> Result<Self, Error> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotInitialised { folder: path.to_owned() });
            }
            Err(error) => return Err(in_file(path)(error)),
        };
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(Error::FolderOpen { folder: path.to_owned(), mode });
        }
        let me = rustix::process::geteuid();
        // The superuser may write anywhere, and containers give it folders of others.
        if metadata.uid() != me.as_raw() && metadata.uid() != 0 && !me.is_root() {
            let owner = metadata.uid();
            return Err(Error::FolderForeign { folder: path.to_owned(), owner });
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.0.join("state.redb")
    }

    /// The key file, which is also the mark that set-up was finished.
    pub(super) fn key(&self) -> PathBuf {
        self.0.join("secret.key")
    }

    /// The key file until set-up is finished.
    pub(super) fn new_key(&self) -> PathBuf {
        self.0.join("secret.key.new")
    }

    /// Brings the names in the folder to the disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(in_file(&self.0))
    }
}

/// How the last process left the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It closed the store, or there was none.
    Cleanly,
    /// It was killed, or the machine stopped.
    Abruptly,
}

/// The folder is this process's own while it lives.
///
/// The file `lock` holds the process id while the store is open and nothing after it was closed.
/// It is never removed: a lock on a removed file would keep nobody out.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the folder, or says who has it.
    pub(super) fn take(folder: &Folder) -> Result<(Self, Left), Error> {
        let path = folder.path().join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(in_file(&path))?;
        let taken = file.try_lock();
        let mut left_there = String::new();
        let read = file.read_to_string(&mut left_there);
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (folder, pid) = (folder.path().to_owned(), left_there.trim().parse().ok());
                return Err(Error::InUse { folder, pid });
            }
            Err(TryLockError::Error(source)) => return Err(Error::File { path, source }),
        }
        // What cannot be read was not left cleanly either.
        let is_clean = read.is_ok() && left_there.is_empty();
        let left = if is_clean { Left::Cleanly } else { Left::Abruptly };
        mark(&mut file).map_err(in_file(&path))?;
        Ok((Self { file }, left))
    }

    /// Gives the folder back, with word that everything was closed.
    pub(super) fn leave(self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_all()
    }
}

fn mark(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    file.sync_all()
}

/// An error of the operating system, with the path it is about.
pub(super) fn in_file(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
