//! Who belongs to whom, where the system does not tell: the process group is all there is.

use std::{io, process::Command};

use rustix::process::Pid;

/// Whether a signal comes when the parent ends.
pub(super) const TELLS_OF_PARENT: bool = false;

/// Whether orphans come to this process.
pub(super) const ADOPTS_ORPHANS: bool = false;

/// There is no such word; the warden looks by itself.
pub(super) fn ask_for_word_of_parent() -> io::Result<()> {
    Ok(())
}

/// Orphans go to the system's first process.
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

/// The command's life cannot be bound to this process.
pub(super) fn bind(_: &mut Command) {}

/// None but the process group is known.
pub(super) fn children() -> Vec<Pid> {
    Vec::new()
}
