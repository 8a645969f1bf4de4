//! What is kept of a session: enough to look it up, and to go on with it after a restart.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{OrganizationId, PrincipalKind, RequestId, Scope, SessionId, Timestamp};

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Which session.
    pub id: SessionId,
    /// Who opened it: nobody else may use it.
    pub owner: PrincipalKind,
    /// Where they belong.
    pub organization: OrganizationId,
    /// The request that opened it, as the log names it.
    pub request_id: RequestId,
    /// The endpoint it was opened at.
    pub scope: Scope,
    /// The transport it goes by.
    pub via: String,
    /// The revision its client speaks.
    pub revision: String,
    /// What its client calls itself.
    pub client: Option<Arc<str>>,
    /// What its client can be asked, as JSON.
    pub capabilities: Option<Box<str>>,
    /// Which log messages its client asked for.
    pub level: Option<String>,
    /// The resources whose changes it hears of.
    pub subscribed: Vec<String>,
    /// How far it is: `initializing`, `active`, `closed` or `error`.
    pub status: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its client was heard of last.
    pub seen_at: Timestamp,
    /// When it ended; none while it is open.
    pub ended_at: Option<Timestamp>,
}
