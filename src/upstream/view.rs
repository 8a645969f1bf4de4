//! What goes on with instances: processes, and conversations of single clients.

use std::sync::Arc;

use tokio::time::Instant;

use super::{ChildView, Error, Upstream, way::Way};
use crate::domain::{Instance, InstanceId};

/// One conversation with an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConversationView {
    /// With which instance.
    pub(crate) instance: InstanceId,
    /// Whose it is, and who is behind them; none where all share it.
    pub(crate) owner: Option<(Arc<str>, Arc<str>)>,
    /// Calls on their way in it.
    pub(crate) in_flight: usize,
    /// The process at its other end, where it is one.
    pub(crate) child: Option<ChildView>,
}

impl Way {
    /// The process at its other end, where it is one.
    pub(super) fn process(&self) -> Option<ChildView> {
        if let Self::Stdio(stdio) = self { Some(stdio.view()) } else { None }
    }
}

impl Upstream {
    /// Every process, and every conversation of a single client.
    pub(crate) fn conversations(&self) -> Vec<ConversationView> {
        self.0.conversations()
    }

    /// Starts the process of an instance, where it is one and does not run.
    pub(crate) async fn wake(&self, instance: &Instance, deadline: Instant) -> Result<(), Error> {
        let connection = self.0.connection(instance, None)?;
        if let Way::Stdio(stdio) = connection.way() {
            stdio.wake(deadline).await?;
        }
        Ok(())
    }

    /// Stops the process of an instance, where it is one. The next call starts it again.
    pub(crate) async fn stop(&self, instance: &InstanceId) {
        let Some(connection) = self.0.known(instance) else { return };
        if let Way::Stdio(stdio) = connection.way() {
            stdio.stop().await;
        }
    }
}
