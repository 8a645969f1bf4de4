//! What was counted is written down now and then, so that a restart is no reset.

use super::{Error, Limiter};
use crate::{
    domain::{Actor, LimitTallies},
    problem::chain,
    store,
};

impl Limiter {
    /// Takes up what was written down.
    pub(super) fn take_up(&self) -> Result<(), Error> {
        let now_ms = self.now_ms();
        for noted in self.store.read()?.limit_tallies()? {
            self.table.take_up(noted.tallies, now_ms);
        }
        Ok(())
    }

    /// Writes down what has changed.
    pub(super) async fn write_down(&self) {
        let changed = self.table.changed(self.now_ms());
        if changed.is_empty() {
            return;
        }
        let numbers: Vec<u8> = changed.iter().map(|(number, _)| *number).collect();
        let actor = Actor::system("rate limits");
        let written = self.store.write(&actor, move |change| {
            for (shard, tallies) in changed {
                change.note_limit_tallies(&LimitTallies { shard, tallies })?;
            }
            Ok::<_, store::Error>(())
        });
        if let Err(error) = written.await {
            // The next round has it.
            self.table.is_unwritten(numbers);
            tracing::debug!(error = chain(&error), "what was counted cannot be written down");
        }
    }
}
