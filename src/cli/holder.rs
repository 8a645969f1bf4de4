//! Who holds a port.

use std::fmt;

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its name, where this user may read it.
    pub(crate) name: String,
    /// Its number.
    pub(crate) pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// The process that listens on this TCP port, where the system tells this user.
pub(crate) fn of(port: u16) -> Option<Holder> {
    platform::of(port)
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{fs, path::Path};

    use super::Holder;

    /// `TCP_LISTEN`, as /proc/net/tcp writes it.
    const LISTENING: &str = "0A";

    pub(super) fn of(port: u16) -> Option<Holder> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let tables: Vec<String> = tables.into_iter().flatten().collect();
        let inodes: Vec<&str> = tables.iter().flat_map(|table| inodes(table, port)).collect();
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let folder = |pid: u32| Path::new("/proc").join(pid.to_string());
        let pid = pids.find(|pid| inodes.iter().any(|inode| holds(&folder(*pid), inode)))?;
        let name = fs::read_to_string(folder(pid).join("comm")).unwrap_or_default();
        Some(Holder { name: name.trim().to_owned(), pid })
    }

    /// The sockets of a table that listen on the port.
    fn inodes(table: &str, port: u16) -> impl Iterator<Item = &str> {
        let ending = format!(":{port:04X}");
        table.lines().skip(1).filter_map(move |line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_it = words.get(1)?.ends_with(&ending) && *words.get(3)? == LISTENING;
            is_it.then(|| words.get(9).copied())?
        })
    }

    fn holds(process: &Path, inode: &str) -> bool {
        let socket = format!("socket:[{inode}]");
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.any(|target| target.to_str() == Some(&socket))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn reads_only_listeners_on_the_port() {
            let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111 1
   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 222 1
   2: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 333 1
";

            assert_eq!(inodes(table, 8080).collect::<Vec<_>>(), ["111"]);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    /// Other systems tell only through programs of their own.
    pub(super) fn of(_: u16) -> Option<super::Holder> {
        None
    }
}
