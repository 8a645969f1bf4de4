//! One call past the doors: what is asked, through which endpoint, by which client.

use std::{net::IpAddr, sync::Arc, time::Instant};

use serde_json::{Map, Value};

use crate::{
    domain::{PrincipalKind, RequestId, Scope, SessionId},
    wire::{Askable, Exchange, Level, Method, Request, Revision, header::Repeated, meta},
};

/// One call, in today's dialect, from wherever it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names the call in answers, log lines and errors.
    pub request_id: RequestId,
    /// What the client sees through its endpoint.
    pub scope: Scope,
    /// What it asks.
    pub request: Request,
    /// The program that asks.
    pub client: Client,
    /// The session it asks in, for older revisions.
    pub session: Option<SessionKey>,
    /// The arguments it repeats in headers, from those that must.
    pub repeated: Option<Repeated>,
    /// Whether it may go on by itself while its client asks now and then how far it has come.
    pub as_task: AsTask,
    /// The request that it carries, where it is one of HTTP that came by a route.
    pub exchange: Option<Arc<Exchange>>,
    /// The address that it comes from; none where it comes by a pipe or the local socket.
    pub from: Option<IpAddr>,
    /// When its first byte was understood.
    pub began: Instant,
}

impl Call {
    /// A call of no session, that is no task and carries nothing else; from nowhere in particular.
    #[must_use]
    pub fn new(
        request_id: RequestId,
        scope: Scope,
        request: Request,
        client: Client,
        began: Instant,
    ) -> Self {
        Self {
            request_id,
            scope,
            request,
            client,
            session: None,
            repeated: None,
            as_task: AsTask::No,
            exchange: None,
            from: None,
            began,
        }
    }

    /// What it says, as it came.
    #[must_use]
    pub fn said(&self) -> &[u8] {
        self.exchange.as_ref().map_or(self.request.bytes(), |exchange| &exchange.body)
    }

    /// What it asks for.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.request.method()
    }
}

/// Whether a call is made as a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AsTask {
    /// Its client waits for the answer.
    #[default]
    No,
    /// Its client knows tasks, and leaves it to the server.
    IfSuitable,
    /// Its client wants it.
    Yes,
}

/// The program that calls, as far as it says.
#[derive(Debug, Clone)]
pub struct Client {
    /// The revision it speaks.
    pub revision: Revision,
    /// What it calls itself.
    pub name: Option<Arc<str>>,
    /// The transport it came by.
    pub via: &'static str,
    /// What it can be asked in the middle of a call, as JSON; none where nothing.
    pub capabilities: Option<Arc<str>>,
    /// Which log messages it wants to hear, and graver ones; none where none.
    pub level: Option<Level>,
}

impl Client {
    /// What it can be asked in the middle of a call.
    #[must_use]
    pub fn askable(&self) -> Askable {
        self.capabilities.as_deref().map(Askable::read).unwrap_or_default()
    }

    /// The capabilities it has where nobody hears what it is asked: the extensions it knows, as
    /// JSON; none where it knows none.
    #[must_use]
    pub fn extensions(&self) -> Option<String> {
        meta::only_extensions(self.capabilities.as_deref()?)
    }

    /// Whether it knows one of these extensions.
    #[must_use]
    pub fn knows_any(&self, extensions: &Map<String, Value>) -> bool {
        let said = self.capabilities.as_deref().map(meta::extensions).unwrap_or_default();
        said.iter().any(|known| extensions.contains_key(known))
    }
}

/// A session and who opened it: nobody else may use it.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// Which session.
    pub id: SessionId,
    /// Who opened it.
    pub owner: PrincipalKind,
}
