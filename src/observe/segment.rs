//! Segments: what was said in calls, compressed, in files that the book points into.
//!
//! A segment is `{organization}/{day}/{server}/{number}.jsonl.zst` in the folder `logs`: frames of
//! zstd, one behind the other, each with one line of JSON, so that all of it is a file that other
//! tools read, and one record is read without the others. A process begins segments of its own:
//! what a crash left behind half a record is never written on.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use zstd::bulk::Compressor;

use crate::domain::Timestamp;

/// How hard frames are compressed: little, because it is done for every record.
const LEVEL: i32 = 1;
/// Bytes that wait to be written together.
const BUFFER: usize = 64 << 10;
/// A segment of this size is followed by another, in bytes.
const SEGMENT: u64 = 32 << 20;
/// The largest record that is read, in bytes.
const RECORD: usize = 8 << 20;

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment, as a path in the folder.
    pub(super) segment: String,
    /// Where it begins there.
    pub(super) at: u64,
    /// How long it is there.
    pub(super) bytes: u64,
}

/// The folder of segments.
#[derive(Debug, Clone)]
pub(crate) struct Archive(PathBuf);

/// Segments that are being written.
pub(super) struct Segments {
    archive: Archive,
    open: HashMap<PathBuf, Segment>,
    /// Kept, because making one costs more than most records. None where there is no memory.
    compressor: Option<Compressor<'static>>,
}

#[derive(Debug)]
struct Segment {
    name: String,
    file: BufWriter<File>,
    size: u64,
}

impl Archive {
    /// The one in a data folder.
    pub(crate) fn new(data: &Path) -> Self {
        Self(data.join("logs"))
    }

    /// Reads a record.
    pub(super) fn read(&self, place: &Place) -> io::Result<Vec<u8>> {
        let segment = Path::new(&place.segment);
        // The book is ours, and still: nothing outside the folder is ever opened.
        if !segment.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut file = File::open(self.0.join(segment))?;
        file.seek(SeekFrom::Start(place.at))?;
        let mut record = Vec::new();
        let frame = file.take(place.bytes);
        let decoder = zstd::Decoder::new(frame)?;
        decoder.take(RECORD as u64).read_to_end(&mut record)?;
        Ok(record)
    }

    /// Removes the days of an organization that ended before this moment; and gives the size of
    /// each that is left.
    pub(super) fn retain(
        &self,
        limit: impl Fn(&str) -> Timestamp,
    ) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut left = Vec::new();
        for organization in folders(&self.0)? {
            let oldest = limit(&name(&organization)).to_string();
            for day in folders(&organization)? {
                // As text, because days are written as dates: the year first.
                if *name(&day) < oldest[..10] {
                    fs::remove_dir_all(&day)?;
                } else {
                    left.push((day.clone(), size(&day)?));
                }
            }
            // Only one that is empty is removed.
            let _ = fs::remove_dir(&organization);
        }
        left.sort_by_key(|(day, _)| name(day));
        Ok(left)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folders in a folder; none where it is not there.
fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let all = entries.map(|entry| entry.map(|entry| entry.path()));
    Ok(all.collect::<io::Result<Vec<_>>>()?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The size of all files in a folder.
fn size(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

impl Segments {
    pub(super) fn new(archive: Archive) -> Self {
        Self { archive, open: HashMap::new(), compressor: Compressor::new(LEVEL).ok() }
    }

    /// Adds a record of a call that ended at this moment, and whose line has this number.
    pub(super) fn add(
        &mut self,
        (organization, server): (&str, &str),
        at: Timestamp,
        number: u64,
        record: &[u8],
    ) -> io::Result<Place> {
        let day = &at.to_string()[..10];
        let folder: PathBuf = [organization, day, server].iter().collect();
        if self.open.get(&folder).is_none_or(|segment| segment.size >= SEGMENT) {
            self.sync()?;
            let segment = self.begin(&folder, number)?;
            self.open.insert(folder.clone(), segment);
        }
        let segment = self.open.get_mut(&folder).expect("it was begun just now");
        let compressor = self.compressor.as_mut().ok_or(io::ErrorKind::OutOfMemory)?;
        let frame = compressor.compress(record)?;
        segment.file.write_all(&frame)?;
        let (at, bytes) = (segment.size, frame.len() as u64);
        segment.size += bytes;
        Ok(Place { segment: segment.name.clone(), at, bytes })
    }

    fn begin(&self, folder: &Path, number: u64) -> io::Result<Segment> {
        let whole = self.archive.0.join(folder);
        DirBuilder::new().recursive(true).mode(0o700).create(&whole)?;
        let name = folder.join(format!("{number}.jsonl.zst"));
        // One that is there is what a crash left of lines that were never written.
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let file = file.open(self.archive.0.join(&name))?;
        let name = name.to_string_lossy().into_owned();
        Ok(Segment { name, file: BufWriter::with_capacity(BUFFER, file), size: 0 })
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        for segment in self.open.values_mut() {
            segment.file.flush()?;
            segment.file.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// Closes all of them: the next record begins others.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn segments(folder: &Path) -> (Archive, Segments) {
        let archive = Archive::new(folder);
        (archive.clone(), Segments::new(archive))
    }

    #[test]
    fn each_record_is_read_alone_and_all_of_them_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, mut segments) = segments(folder.path());
        let at = Timestamp::from_ms(20_000 * DAY_MS);
        let records = [&b"{\"a\":1}\n"[..], b"{\"b\":2}\n"];
        let places =
            records.map(|record| segments.add(("o", "time"), at, 7, record).expect("room"));
        segments.sync().expect("room");

        for (place, record) in places.iter().zip(records) {
            assert_eq!(place.segment, "o/2024-10-04/time/7.jsonl.zst");
            assert_eq!(archive.read(place).expect("it is there"), record);
        }
        let file = File::open(folder.path().join("logs").join(&places[0].segment)).expect("there");
        let all = zstd::decode_all(file).expect("a file of zstd");
        assert_eq!(all, records.concat());
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, _) = segments(folder.path());
        for segment in ["../secret.key", "/etc/passwd", "a/../../b"] {
            let place = Place { segment: segment.into(), at: 0, bytes: 10 };
            let refused = archive.read(&place).expect_err("it is outside").kind();
            assert_eq!(refused, io::ErrorKind::InvalidInput, "{segment}");
        }
    }

    #[test]
    fn days_that_are_over_go_and_others_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, mut segments) = segments(folder.path());
        for (organization, day) in [("a", 1), ("a", 5), ("b", 1)] {
            let at = Timestamp::from_ms((20_000 + day) * DAY_MS + 5);
            segments.add((organization, "time"), at, 1, b"x").expect("room");
        }
        segments.sync().expect("room");
        let limit = |organization: &str| {
            Timestamp::from_ms((20_000 + if organization == "a" { 5 } else { 1 }) * DAY_MS + 9)
        };

        let left = archive.retain(limit).expect("it is read");

        let names = left.iter().map(|(day, size)| (name(day.parent().expect("one")), size > &0));
        assert_eq!(names.collect::<Vec<_>>(), [("b".to_owned(), true), ("a".to_owned(), true)]);
    }
}
