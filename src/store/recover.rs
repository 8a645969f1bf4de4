//! What the writer does when the disk fails.
//!
//! After one failed write the database refuses every further one until it is opened again. So the
//! writer closes it and opens it again: at once the first time, and after growing pauses while that
//! does not help or the next change fails like the one before. In between, readers see a copy in
//! memory, and every change is refused with the reason.

use std::time::{Duration, Instant};

use crate::domain::Clock;

use super::{
    error::Error,
    folder::Left,
    shelf::Condition,
    vault::{Disk, Opened, sheltered},
    write::Writer,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A disk that takes no writes, and when it is tried again.
pub(super) struct Trouble {
    reason: String,
    until: Instant,
}

impl Trouble {
    /// How long until the next try.
    pub(super) fn rest(&self, clock: &dyn Clock) -> Duration {
        self.until.saturating_duration_since(clock.tick())
    }

    /// What callers are told meanwhile.
    pub(super) fn refusal(&self) -> Error {
        Error::ReadOnly { reason: self.reason.clone() }
    }
}

impl<D: Disk> Writer<D> {
    /// Opens the database again after this error, or begins to refuse changes.
    pub(super) fn recover(&mut self, error: &Error) -> Result<(), Error> {
        let reason = error.to_string();
        tracing::error!(reason, "the store takes no changes; opening it again");
        self.shelf.set_condition(Condition::ReadOnly { reason: reason.clone() });
        match self.vault.copy() {
            Ok(copy) => self.shelf.put(copy),
            Err(error) => {
                tracing::warn!(%error, "nothing can be read from the store until it is open again");
                self.shelf.clear(error.to_string());
            }
        }
        // A second failure without a success between shows that opening again does not help yet.
        let is_first = self.pause.is_zero();
        self.trouble = Some(self.rest(reason));
        if is_first {
            self.try_again();
        }
        self.trouble.as_ref().map_or(Ok(()), |trouble| Err(trouble.refusal()))
    }

    /// Tries once more, and waits twice as long as before when it does not help.
    pub(super) fn try_again(&mut self) {
        let Some(trouble) = self.trouble.take() else {
            return;
        };
        if let Err(error) = self.reopen() {
            tracing::debug!(%error, "the store still takes no changes");
            self.trouble = Some(self.rest(trouble.reason));
        }
    }

    fn rest(&mut self, reason: String) -> Trouble {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        Trouble { reason, until: self.clock.tick() + self.pause }
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let opened = sheltered(self.shelf.path(), || {
            let opened = self.vault.open(Left::Abruptly)?;
            self.vault.prove(&opened.database)?;
            Ok(opened)
        });
        let Opened { database, end } = opened?;
        if end.sequence < self.end.sequence {
            tracing::error!(
                before = self.end.sequence,
                now = end.sequence,
                "the disk lost changes that it had confirmed"
            );
        }
        self.end = end;
        self.shelf.put(database);
        // A change that was refused when the disk failed may be found complete now.
        self.shelf.announce();
        self.shelf.set_condition(Condition::Writable);
        tracing::info!("the store takes changes again");
        Ok(())
    }
}
