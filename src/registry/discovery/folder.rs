//! Servers that are written down: in a folder of definitions, or in the file of a client.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;

use super::Source;
use crate::registry::file::{self, FILE_BYTES, Found};

/// Files of one folder at most.
const FILES: usize = 1_000;
/// How files of definitions end.
const ENDINGS: [&str; 4] = ["json", "yaml", "yml", "toml"];

/// A folder of definitions: as the settings name it, and where it is.
pub(super) struct Folder(pub(super) PathBuf, pub(super) PathBuf);

/// A file of a client: as the settings name it, and where it is.
pub(super) struct File(pub(super) PathBuf, pub(super) PathBuf);

impl Source for Folder {
    fn name(&self) -> String {
        format!("folder:{}", self.0.display())
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<Found>, String>> {
        let folder = self.1.clone();
        Box::pin(off_the_runtime(move || read_folder(&folder)))
    }
}

impl Source for File {
    fn name(&self) -> String {
        format!("file:{}", self.0.display())
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<Found>, String>> {
        let file = self.1.clone();
        Box::pin(off_the_runtime(move || read_file(&file)))
    }
}

async fn off_the_runtime(
    read: impl FnOnce() -> Result<Vec<Found>, String> + Send + 'static,
) -> Result<Vec<Found>, String> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// One that is wrong leaves the others out as well: what it names would seem to be gone.
fn read_folder(folder: &Path) -> Result<Vec<Found>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        let is_hidden = path.file_name().is_some_and(|it| it.to_string_lossy().starts_with('.'));
        if ENDINGS.contains(&ending) && !is_hidden {
            files.push(path);
        }
    }
    if files.len() > FILES {
        return Err(format!("{}: it has more than {FILES} files", folder.display()));
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        found.extend(read_file(&file)?);
    }
    Ok(found)
}

fn read_file(file: &Path) -> Result<Vec<Found>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(|error| failed(&error))?;
    let limit = FILE_BYTES as u64 + 1;
    opened.take(limit).read_to_string(&mut text).map_err(|error| failed(&error))?;
    file::read(&text).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("writable");
        };
        write("b.yaml", "mcpServers:\n  b: {url: 'http://127.0.0.1:1/mcp'}\n");
        write("a.json", r#"{"mcpServers": {"a": {"command": "x"}, "c": {"command": "y"}}}"#);
        write("notes.txt", "nothing of it");
        write(".hidden.json", "{");
        let found = read_folder(folder.path()).expect("readable");
        let names: Vec<&str> = found.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["a", "c", "b"]);

        write("half.json", "{\"mcpServers\": {");
        let wrong = read_folder(folder.path()).expect_err("unreadable");
        assert!(wrong.contains("half.json"), "{wrong}");
        assert!(read_folder(Path::new("/nowhere/at/all")).is_err());
    }
}
