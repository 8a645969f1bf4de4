//! Who belongs to whom, as Linux tells it.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::{self, Command},
};

use rustix::process::{Pid, Signal, getppid, set_child_subreaper, set_parent_process_death_signal};

/// Whether a signal comes when the parent ends.
pub(super) const TELLS_OF_PARENT: bool = true;

/// Whether orphans come to this process.
pub(super) const ADOPTS_ORPHANS: bool = true;

/// Asks for SIGHUP when the parent ends.
pub(super) fn ask_for_word_of_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::HUP))?)
}

/// Makes this process the parent of all below it that lose theirs.
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Has the command killed when this process ends, however it ends.
#[expect(unsafe_code, reason = "the death signal can only be asked for between fork and exec")]
pub(super) fn bind(command: &mut Command) {
    let parent = i32::try_from(process::id()).ok().and_then(Pid::from_raw);
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that ended in between sends nothing any more.
        if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: it makes two system calls, takes no lock and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

/// The processes whose parent this one is.
pub(super) fn children() -> Vec<Pid> {
    let me = process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| parent_of(*pid) == Some(me)).filter_map(Pid::from_raw).collect()
}

fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; state and parent follow it.
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(1)?.parse().ok()
}
