//! The master key: 256 random bits in a file of their own, from which every other key is made.
//!
//! The file's presence under its final name is the mark that set-up was finished. The database
//! cannot be that mark: an emptied one would open set-up to whoever comes next.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use openssl::rand::rand_bytes;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    error::Error,
    folder::{Folder, in_file},
    seal::KeyBytes,
};

/// More than any key file holds, in bytes.
const LIMIT: u64 = 4_096;

/// The key of one house.
pub(super) struct MasterKey {
    /// Which house it belongs to.
    pub(super) instance: Uuid,
    /// The key itself.
    pub(super) bytes: KeyBytes,
}

impl MasterKey {
    /// A new key for a new house.
    pub(super) fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rand_bytes(&mut *bytes).expect("the operating system has randomness");
        Self { instance: Uuid::new_v4(), bytes }
    }

    /// Writes the key where it does not count yet, and brings it to the disk.
    pub(super) fn write_new(&self, folder: &Folder) -> Result<(), Error> {
        let path = folder.new_key();
        let text = Zeroizing::new(format!(
            "# The master key of this gateway. Whoever has it and state.redb can read every secret;\n\
             # without it nobody can. Keep a copy where the copies of state.redb are not.\n\
             instance = {}\nkey = {}\n",
            self.instance,
            *Zeroizing::new(STANDARD_NO_PAD.encode(*self.bytes)),
        ));
        let write = || {
            // A file left by an interrupted set-up may have another mode; `mode` is for new ones.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(in_file(&path))?;
        folder.sync()
    }

    /// Makes the new key count: from here on set-up is finished.
    pub(super) fn finish(folder: &Folder) -> Result<(), Error> {
        let path = folder.key();
        fs::rename(folder.new_key(), &path).map_err(in_file(&path))?;
        folder.sync()
    }

    /// Reads the key of a folder where set-up was finished.
    pub(super) fn read(folder: &Folder) -> Result<Self, Error> {
        let path = folder.key();
        let file = fs::File::open(&path).map_err(in_file(&path))?;
        let mode = file.metadata().map_err(in_file(&path))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::KeyExposed { path, mode });
        }
        let mut text = Zeroizing::new(String::new());
        match file.take(LIMIT).read_to_string(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(in_file(&path)(error)),
            _ => Self::parse(&text).ok_or(Error::KeyMalformed { path }),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(" = "));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.trim())
        };
        let mut bytes = Zeroizing::new([0; 32]);
        let decoded = Zeroizing::new(STANDARD_NO_PAD.decode(value("key")?).ok()?);
        if decoded.len() != bytes.len() {
            return None;
        }
        bytes.copy_from_slice(&decoded);
        Some(Self { instance: value("instance")?.parse().ok()?, bytes })
    }
}
