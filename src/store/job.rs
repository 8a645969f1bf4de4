//! One write on its way: what to do, and who waits for the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::domain::Actor;

use super::{draft::Draft, error::Error};

/// What becomes of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Refused,
}

/// A write, whatever it answers.
pub(super) trait Job: Send {
    /// Who makes the change.
    fn actor(&self) -> &Actor;

    /// Drafts the change. A panic in it is a refusal.
    fn run(&mut self, draft: &mut Draft<'_>) -> Verdict;

    /// Tells the caller how it went, once it is known what became of the commit.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

/// A write that answers a `T` or fails with an `E`.
pub(super) struct Write<T, E, C> {
    pub(super) actor: Actor,
    pub(super) change: Option<C>,
    pub(super) result: Option<Result<T, E>>,
    pub(super) reply: oneshot::Sender<Result<T, E>>,
    /// Its place in the queue, free again when it is answered.
    pub(super) _place: OwnedSemaphorePermit,
}

impl<T, E, C> Job for Write<T, E, C>
where
    T: Send,
    E: From<Error> + Send,
    C: FnOnce(&mut Draft<'_>) -> Result<T, E> + Send,
{
    fn actor(&self) -> &Actor {
        &self.actor
    }

    fn run(&mut self, draft: &mut Draft<'_>) -> Verdict {
        let change = self.change.take().expect("a job is run once");
        let result = catch_unwind(AssertUnwindSafe(|| change(draft)));
        let result = result.unwrap_or_else(|_| Err(Error::Panicked.into()));
        let verdict = if result.is_ok() { Verdict::Accepted } else { Verdict::Refused };
        self.result = Some(result);
        verdict
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        // A refusal may rest on a neighbour's change, so it too holds only once that is committed.
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        // Whoever went away does not want to know.
        drop(self.reply.send(result));
    }
}
