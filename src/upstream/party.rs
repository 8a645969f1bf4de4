//! On whose behalf a server is spoken to, and what is asked of it.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Ear, oauth::Account};
use crate::wire::{Address, Asks, Era, Level, Request};

/// A client, as far as a server of an older revision must know it: such a server has one session
/// with each client that it may ask something, and none of them hears what is another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Party {
    /// Whose conversation it is: a session, or a principal without one.
    pub(crate) owner: Arc<str>,
    /// Who is behind it.
    pub(crate) principal: Arc<str>,
    /// What it can be asked, as JSON; none where nothing.
    pub(crate) capabilities: Option<Arc<str>>,
    /// Which log messages it asked for.
    pub(crate) level: Option<Level>,
    /// Which family of revisions it speaks: a server of both is spoken to in its own, because what
    /// a server can ask differs between them.
    pub(crate) era: Era,
    /// Whether several clients may stand behind the owner, so that no two calls may be made in one
    /// conversation at the same time.
    pub(crate) is_many: bool,
}

impl Party {
    /// Whether it needs a conversation of its own with a server of an older revision.
    pub(super) fn needs_own(&self) -> bool {
        self.capabilities.is_some() || self.level.is_some()
    }
}

/// The one client of a conversation of its own.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// Whose conversation it is.
    pub(super) owner: Arc<str>,
    /// What it can be asked, as JSON.
    pub(super) capabilities: Arc<str>,
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The question.
    pub(crate) request: &'a Request,
    /// How it is addressed.
    pub(crate) address: Address<'a>,
    /// What is asked for beside its answer.
    pub(crate) asks: Asks<'a>,
    /// For whom, where that matters.
    pub(crate) party: Option<&'a Party>,
    /// With whose account, where everybody has their own.
    pub(crate) account: Option<&'a Account>,
    /// Where what comes before the answer is heard.
    pub(crate) ear: Option<&'a Ear>,
    /// Whether it stands open for as long as there is a conversation, and keeps none awake.
    pub(crate) is_standing: bool,
    /// Whether a server of an older revision takes the call only as a task, which is waited for.
    pub(crate) as_task: bool,
    /// When the answer must be there.
    pub(crate) deadline: Instant,
}

impl<'a> Ask<'a> {
    /// A question of the gateway's own, or of a client that hears nothing but the answer.
    pub(crate) fn plain(request: &'a Request, address: Address<'a>, deadline: Instant) -> Self {
        Self {
            request,
            address,
            asks: Asks::default(),
            party: None,
            account: None,
            ear: None,
            is_standing: false,
            as_task: false,
            deadline,
        }
    }
}
