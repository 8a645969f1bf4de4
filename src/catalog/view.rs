//! Who looks at the catalog, and from where.

use crate::{
    access::Caller,
    domain::{Scope, Sight},
    wire::{Askable, Call},
};

/// What decides what a client is shown. Clients with equal views see the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// How far they see.
    pub(crate) sight: Sight,
    /// Which part of that is shown.
    pub(crate) scope: Scope,
    /// What the client can be asked: servers of older revisions offer more to who can do more.
    pub(crate) askable: Askable,
}

impl View {
    /// What somebody sees who makes this call.
    pub(crate) fn of(caller: &Caller, call: &Call) -> Self {
        Self {
            sight: caller.principal().sight(),
            scope: call.scope.clone(),
            askable: call.client.askable(),
        }
    }
}
