//! The command and all that descends from it: waited for, signalled, ended.

use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group,
    test_kill_process_group, wait,
};
use tokio::{signal::unix, time::timeout};

use super::kin;

/// How long what was killed is given to be gone, before what it left is killed in turn.
const ROUND: Duration = Duration::from_millis(20);

/// The command, whose process group bears its number, and whoever was left to us by its end.
pub(super) struct Family {
    head: Pid,
    status: Option<WaitStatus>,
    is_empty: bool,
}

impl Family {
    pub(super) const fn new(head: Pid) -> Self {
        Self { head, status: None, is_empty: false }
    }

    pub(super) const fn has_lost_its_head(&self) -> bool {
        self.status.is_some() || self.is_empty
    }

    /// Takes note of all who ended.
    pub(super) fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.head => self.status = Some(status),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return,
                Err(_) => {
                    self.is_empty = true;
                    return;
                }
            }
        }
    }

    /// Ends everybody: asked first, killed after that time.
    pub(super) async fn end(&mut self, child: &mut unix::Signal, stop: Duration) {
        self.signal(Signal::TERM);
        let politely = async {
            while !self.is_gone() {
                child.recv().await;
            }
        };
        let _ = timeout(stop, politely).await;
        // The children of who is killed become ours, and are killed in the next round.
        while !self.is_gone() {
            self.signal(Signal::KILL);
            let _ = timeout(ROUND, child.recv()).await;
        }
    }

    fn is_gone(&mut self) -> bool {
        self.reap();
        self.is_empty && (kin::ADOPTS_ORPHANS || test_kill_process_group(self.head).is_err())
    }

    /// Whoever is gone already needs no signal.
    fn signal(&self, signal: Signal) {
        // Once the head is reaped, its number may name another's group. Those it left are ours now.
        if self.status.is_none() || !kin::ADOPTS_ORPHANS {
            let _ = kill_process_group(self.head, signal);
        }
        for pid in kin::children() {
            let _ = kill_process(pid, signal);
        }
    }

    /// The command's exit code; for one ended by a signal 128 and more, as shells have it.
    pub(super) fn code(&self) -> u8 {
        let Some(status) = self.status else { return 0 };
        let by_signal = status.terminating_signal().map(|signal| 128 + signal);
        let code = status.exit_status().or(by_signal).unwrap_or_default();
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}
