//! The two words a door obeys: finish what you have, and stop now.

use tokio_util::sync::CancellationToken;

/// Tells doors to close. Clones speak of the same doors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    draining: CancellationToken,
    cutting: CancellationToken,
}

impl Stop {
    /// No new connections and no new requests; running ones finish.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Whatever still runs ends now.
    pub(crate) fn cut(&self) {
        self.draining.cancel();
        self.cutting.cancel();
    }

    /// Waits for [`Stop::drain`].
    pub(crate) async fn drained(&self) {
        self.draining.cancelled().await;
    }

    /// Waits for [`Stop::cut`].
    pub(super) async fn is_cut(&self) {
        self.cutting.cancelled().await;
    }

    /// A listener of its own for one connection, so that thousands do not share a lock.
    pub(super) fn for_connection(&self) -> CancellationToken {
        self.draining.child_token()
    }
}
