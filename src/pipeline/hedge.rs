//! Hedging: a call that takes long and may run twice is made at another instance as well, and
//! whoever answers first is heard. Off unless somebody wants it: it costs servers work.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::{
    domain::TaskSupport,
    pipeline::{
        Pipeline,
        forward::{Road, ask_of},
    },
    traffic::Pick,
    upstream::{self, Ask},
    wire::{Address, Answer, Asks},
};

impl Pipeline {
    /// Asks an instance where nothing can be said before its answer; and another as well, which
    /// `next` chooses, where that is wished and the first takes long.
    pub(super) async fn ask_plainly(
        &self,
        (pick, deadline): (&Pick, Instant),
        road: Road<'_>,
        address: Address<'_>,
        next: Option<impl FnOnce() -> Option<Pick>>,
    ) -> Result<Answer, upstream::Error> {
        let as_task = road.candidates.item().task_support == TaskSupport::Required;
        let extensions = road.call.client.extensions();
        let asks = Asks { capabilities: extensions.as_deref(), ..Asks::default() };
        let ask = Ask::plain(&road.call.request, address, deadline);
        let ask = Ask { asks, account: road.account, as_task, ..ask };
        let patience = Duration::from_millis(self.settings.hedge_ms.into());
        match next.filter(|_| !patience.is_zero()) {
            Some(next) => Box::pin(self.ask_hedged(pick, ask, patience, next)).await,
            None => ask_of(&self.upstream, pick, ask).await,
        }
    }

    /// Fails only once both have, or the first, where there is no other.
    async fn ask_hedged(
        &self,
        first: &Pick,
        ask: Ask<'_>,
        patience: Duration,
        next: impl FnOnce() -> Option<Pick>,
    ) -> Result<Answer, upstream::Error> {
        let mut first = Box::pin(ask_of(&self.upstream, first, ask));
        if let Ok(outcome) = timeout(patience, &mut first).await {
            return outcome;
        }
        let Some(other) = next() else { return first.await };
        let mut second = Box::pin(ask_of(&self.upstream, &other, ask));
        tokio::select! {
            outcome = &mut first => match outcome {
                Ok(answer) => Ok(answer),
                Err(_) => second.await,
            },
            outcome = &mut second => match outcome {
                Ok(answer) => Ok(answer),
                Err(_) => first.await,
            },
        }
    }
}
