//! A file of lines, followed by another when it is full.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use super::{Failure, Line, Sink};

/// The newest lines stand in the file of this path, older ones in `path.1`, `path.2`, ….
pub(super) struct RotatingFile {
    path: PathBuf,
    bytes: u64,
    backups: u32,
    /// The file and its size; none before the first line, and after a failure.
    open: Option<(File, u64)>,
}

impl RotatingFile {
    pub(super) const fn new(path: PathBuf, bytes: u64, backups: u32) -> Self {
        Self { path, bytes, backups, open: None }
    }

    fn backup(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }

    fn rotate(&self) -> io::Result<()> {
        if self.backups == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.backups).rev() {
            match fs::rename(self.backup(number), self.backup(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.backup(1))
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self
            .open
            .as_ref()
            .is_some_and(|(_, size)| *size > 0 && size + text.len() as u64 > self.bytes)
        {
            self.open = None;
            self.rotate()?;
        }
        if self.open.is_none() {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(0o640).open(&self.path)?;
            let size = file.metadata()?.len();
            self.open = Some((file, size));
            if size > 0 && size + text.len() as u64 > self.bytes {
                return self.write(text);
            }
        }
        let (file, size) = self.open.as_mut().expect("it was opened just now");
        let begin = *size;
        let written = file.write_all(text);
        if written.is_err() {
            // What is half written is taken back, so that no line stands there twice.
            file.set_len(begin)?;
        } else {
            *size += text.len() as u64;
        }
        written
    }
}

impl Sink for RotatingFile {
    fn send(&mut self, lines: &[Line]) -> Result<(), Failure> {
        let text: String = lines.iter().flat_map(|line| [&*line.json, "\n"]).collect();
        let written = self.write(text.as_bytes());
        if written.is_err() {
            self.open = None;
        }
        let place = |error| Failure::Later(format!("{}: {error}", self.path.display()));
        written.map_err(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Timestamp, observe::sink::Gravity};

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line = |text: &&str| Line {
            at: Timestamp::from_ms(0),
            gravity: Gravity::Info,
            json: (*text).into(),
        };
        texts.iter().map(line).collect()
    }

    #[test]
    fn a_full_file_is_followed_by_another_and_so_many_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut file = RotatingFile::new(path.clone(), 8, 2);
        for text in ["one", "two", "three", "four", "five"] {
            assert_eq!(file.send(&lines(&[text])), Ok(()));
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();

        assert_eq!(read("log").as_deref(), Some("five\n"));
        assert_eq!(read("log.1").as_deref(), Some("four\n"));
        assert_eq!(read("log.2").as_deref(), Some("three\n"));
        assert_eq!(read("log.3"), None);
        // One that is begun anew goes on where it was.
        let mut file = RotatingFile::new(path, 8, 2);
        assert_eq!(file.send(&lines(&["6", "7"])), Ok(()));
        assert_eq!(
            (read("log").as_deref(), read("log.1").as_deref()),
            (Some("6\n7\n"), Some("five\n"))
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("not yet").join("log");
        let mut file = RotatingFile::new(path.clone(), 1_000, 2);
        assert!(matches!(file.send(&lines(&["one"])), Err(Failure::Later(_))));

        fs::create_dir(path.parent().expect("one")).expect("made");

        assert_eq!(file.send(&lines(&["one"])), Ok(()));
        assert_eq!(fs::read_to_string(path).expect("it is there"), "one\n");
    }
}
