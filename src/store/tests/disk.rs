//! Disks made of memory: they fail when told, and forget what was never synced.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::store::vault::Disk;

/// What a disk was told to do.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Write(usize, Vec<u8>),
    Len(usize),
    Sync,
}

/// How a disk misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// After so many more operations, one fails.
    FailsOnceAfter(usize),
    /// After so many more operations, every one fails.
    FailsAfter(usize),
    /// The next read fails.
    CannotReadOnce,
}

#[derive(Debug)]
struct Platter {
    mood: Mood,
    /// What reading shows.
    shown: Vec<u8>,
    /// What a power cut leaves.
    kept: Vec<u8>,
    /// What was shown and not synced yet.
    pending: Vec<Op>,
    /// Everything that was ever done, where it is wanted.
    log: Option<Vec<Op>>,
}

/// A disk that can be opened again and again.
#[derive(Debug, Clone)]
pub(super) struct MemoryDisk(Arc<Mutex<Platter>>);

impl MemoryDisk {
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        let (kept, shown) = (bytes.clone(), bytes);
        let platter = Platter { mood: Mood::Well, shown, kept, pending: Vec::new(), log: None };
        Self(Arc::new(Mutex::new(platter)))
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.platter().mood = mood;
    }

    pub(super) fn mood(&self) -> Mood {
        self.platter().mood
    }

    /// What is left after a power cut now.
    pub(super) fn kept(&self) -> Vec<u8> {
        self.platter().kept.clone()
    }

    pub(super) fn keep_log(&self) {
        self.platter().log = Some(Vec::new());
    }

    pub(super) fn log(&self) -> Vec<Op> {
        self.platter().log.clone().unwrap_or_default()
    }

    pub(super) fn log_length(&self) -> usize {
        self.platter().log.as_ref().map_or(0, Vec::len)
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("no test panics while it holds the platter")
    }

    fn perform(&self, op: Op) -> io::Result<()> {
        let mut platter = self.platter();
        let fails = match platter.mood {
            Mood::Well | Mood::CannotReadOnce => false,
            Mood::FailsOnceAfter(0) => {
                platter.mood = Mood::Well;
                true
            }
            Mood::FailsAfter(0) => true,
            Mood::FailsOnceAfter(n) => {
                platter.mood = Mood::FailsOnceAfter(n - 1);
                false
            }
            Mood::FailsAfter(n) => {
                platter.mood = Mood::FailsAfter(n - 1);
                false
            }
        };
        if fails {
            if matches!(op, Op::Sync) {
                // As Linux does: what could not be synced still shows and is never written.
                platter.pending.clear();
            }
            return Err(io::Error::other("the disk was told to fail"));
        }
        if let Some(log) = &mut platter.log {
            log.push(op.clone());
        }
        apply(&mut platter.shown, &op);
        if matches!(op, Op::Sync) {
            for op in std::mem::take(&mut platter.pending) {
                apply(&mut platter.kept, &op);
            }
        } else {
            platter.pending.push(op);
        }
        Ok(())
    }
}

pub(super) fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(at, data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(data);
        }
        Op::Len(length) => bytes.resize(*length, 0),
        Op::Sync => {}
    }
}

impl redb::StorageBackend for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.mood == Mood::CannotReadOnce {
            platter.mood = Mood::Well;
            return Err(io::Error::other("the disk was told to fail"));
        }
        let at = usize::try_from(offset).expect("small");
        let found = platter.shown.get(at..at + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.perform(Op::Len(usize::try_from(len).expect("small")))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.perform(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.perform(Op::Write(usize::try_from(offset).expect("small"), data.to_vec()))
    }
}

impl Disk for MemoryDisk {
    type Backend = Self;

    fn open(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    fn copy(&self, _limit: u64) -> io::Result<Vec<u8>> {
        Ok(self.platter().shown.clone())
    }

    fn path(&self) -> &Path {
        Path::new("memory")
    }
}
