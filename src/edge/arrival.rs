//! What has come in at a door, and what lies behind all of them.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, header::ACCEPT};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Credential,
    domain::{PrincipalKind, RequestId, Scope},
    edge::{
        reply::{self, Refusal},
        session::{Sessions, translate},
    },
    pipeline::{Pipeline, Reply},
    problem::Problem,
    wire::{Call, Client, Era, RawId, Revision, SessionKey, header},
};

/// What a request brings besides its body.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) request_id: RequestId,
    pub(super) scope: Scope,
    pub(super) headers: HeaderMap,
    pub(super) credential: Credential,
    pub(super) via: &'static str,
    /// The address that it comes from; none where it comes by a pipe or the local socket.
    pub(super) from: Option<IpAddr>,
    pub(super) began: std::time::Instant,
}

impl Arrival {
    /// Whether its sender reads streams of events.
    pub(super) fn reads_events(&self) -> bool {
        let accepts = self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accepts.into_iter().any(|accept| accept.contains("text/event-stream"))
    }

    /// Whether the headers name a stateless revision.
    pub(super) fn names_modern(&self) -> bool {
        let version = self.headers.get(header::PROTOCOL_VERSION);
        let version = version.and_then(|value| value.to_str().ok());
        let revision = version.and_then(|text| text.trim().parse::<Revision>().ok());
        revision.is_some_and(|revision| revision.era() == Era::Modern)
    }
}

/// What answers calls behind the doors: the path, and the sessions of older clients.
#[derive(Clone)]
pub(super) struct Inside(Arc<Rooms>);

/// What lies behind the doors.
pub(super) struct Rooms {
    pub(super) pipeline: Pipeline,
    pub(super) sessions: Sessions,
    /// Cancelled when the doors close: streams that stand open end then.
    pub(super) closing: CancellationToken,
}

impl std::ops::Deref for Inside {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.0
    }
}

impl Inside {
    pub(super) fn new(pipeline: Pipeline, sessions: Sessions) -> Self {
        Self(Arc::new(Rooms { pipeline, sessions, closing: CancellationToken::new() }))
    }

    /// Refuses whom nobody knows before anything is read of what they send: a stranger's body
    /// takes up no memory, and strangers learn nothing of sessions.
    pub(super) async fn recognise(&self, arrival: &Arrival) -> Result<PrincipalKind, Refusal> {
        match self.pipeline.who(&arrival.credential) {
            Some(caller) => Ok(caller),
            None => self.admit(arrival, &RawId::null(), None).await.map(|reply| reply.caller.kind),
        }
    }

    /// The same, for those who are not answered in JSON-RPC.
    pub(super) async fn known_at_all(&self, arrival: &Arrival) -> Result<(), Problem> {
        if self.pipeline.knows(&arrival.credential) {
            return Ok(());
        }
        self.pass(arrival, None).await.map(drop)
    }

    /// Lets a message onto the path that asks nothing: only its sender is checked.
    pub(super) async fn admit(
        &self,
        arrival: &Arrival,
        id: &RawId,
        session: Option<SessionKey>,
    ) -> Result<Reply, Refusal> {
        self.pass(arrival, session)
            .await
            .map_err(|problem| reply::rpc_problem(&problem, id, &arrival.request_id, None).into())
    }

    /// The same, where what comes of it is told in other ways than by HTTP.
    pub(super) async fn pass(
        &self,
        arrival: &Arrival,
        session: Option<SessionKey>,
    ) -> Result<Reply, Problem> {
        let client = Client {
            revision: Revision::NEWEST_LEGACY,
            name: None,
            via: arrival.via,
            capabilities: None,
            level: None,
        };
        let (request_id, scope) = (arrival.request_id.clone(), arrival.scope.clone());
        let request = translate::ping();
        let call = Call {
            session,
            from: arrival.from,
            ..Call::new(request_id, scope, request, client, arrival.began)
        };
        self.pipeline.handle(&call, &arrival.credential, None).await
    }
}
