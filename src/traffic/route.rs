//! Routes: from a target to the instances that may serve it.

use std::sync::Arc;

use crate::{
    domain::{Instance, Item, Server, Target},
    traffic::Traffic,
};

/// Where a call goes.
pub(crate) enum Route<'a> {
    /// The gateway answers it.
    Here(Option<&'a Item>),
    /// One of these instances does.
    There(Candidates<'a>),
}

/// The instances that may serve a call, best first. Only [`Traffic::route`] names them.
pub(crate) struct Candidates<'a> {
    server: &'a Arc<Server>,
    item: &'a Item,
}

impl<'a> Candidates<'a> {
    /// Whose instances they are.
    pub(crate) const fn server(&self) -> &'a Arc<Server> {
        self.server
    }

    /// The item, under the server's own name.
    pub(crate) const fn item(&self) -> &'a Item {
        self.item
    }

    /// The instances, best first.
    pub(crate) fn instances(&self) -> &'a [Instance] {
        &self.server.instances
    }
}

impl Traffic {
    /// Where a call goes.
    #[expect(clippy::unused_self, reason = "what is chosen depends on what is in flight")]
    pub(crate) fn route<'a>(&self, target: &'a Target) -> Route<'a> {
        match target {
            Target::House { item, .. } => Route::Here(item.as_ref()),
            Target::Item { server, item, .. } => Route::There(Candidates { server, item }),
        }
    }
}
