//! Patience with the other side: a span of waiting that is used up only while nothing moves.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// How long one may still be kept waiting.
#[derive(Debug)]
pub(super) struct Patience {
    whole: Duration,
    left: Duration,
    since: Option<Instant>,
    moved: usize,
}

impl Patience {
    /// Fresh patience.
    pub(super) const fn new(whole_ms: u64) -> Self {
        let whole = Duration::from_millis(whole_ms);
        Self { whole, left: whole, since: None, moved: 0 }
    }

    /// Nothing moves: from now on it is used up, and gone at the moment given.
    pub(super) fn wait(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now) + self.left
    }

    /// So many bytes moved: the wait is over. Every `step` bytes patience is fresh again.
    pub(super) fn moved(&mut self, bytes: usize, step: usize) {
        self.moved += bytes;
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if self.moved >= step {
            self.moved = 0;
            self.left = self.whole;
        }
    }
}

/// The one timer of a connection. It is set anew only for an earlier moment or after it rang, so
/// a busy connection hardly ever touches the runtime's timers.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once the moment is past; until then the task is woken by then.
    pub(super) fn poll(&mut self, moment: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(moment)));
        if moment < sleep.deadline() {
            sleep.as_mut().reset(moment);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if moment <= sleep.deadline() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(moment);
        }
    }
}
