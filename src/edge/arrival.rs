//! What has come in at a door, and what lies behind all of them.

use http::HeaderMap;

use crate::{
    access::Credential,
    domain::{RequestId, Scope},
    edge::{
        reply::{self, Refusal},
        session::{Sessions, translate},
    },
    pipeline::{Pipeline, Reply},
    wire::{Call, Client, Era, RawId, Revision, SessionKey, header},
};

/// What a request brings besides its body.
pub(super) struct Arrival {
    pub(super) request_id: RequestId,
    pub(super) scope: Scope,
    pub(super) headers: HeaderMap,
    pub(super) credential: Credential,
    pub(super) via: &'static str,
    pub(super) began: std::time::Instant,
}

impl Arrival {
    /// Whether the headers name a stateless revision.
    pub(super) fn names_modern(&self) -> bool {
        let version = self.headers.get(header::PROTOCOL_VERSION);
        let version = version.and_then(|value| value.to_str().ok());
        let revision = version.and_then(|text| text.trim().parse::<Revision>().ok());
        revision.is_some_and(|revision| revision.era() == Era::Modern)
    }
}

/// What answers calls behind the doors: the path, and the sessions of older clients.
pub(super) struct Inside {
    pub(super) pipeline: Pipeline,
    pub(super) sessions: Sessions,
}

impl Inside {
    /// Refuses whom nobody knows before anything is read of what they send: a stranger's body
    /// takes up no memory, and strangers learn nothing of sessions.
    pub(super) async fn recognise(&self, arrival: &Arrival) -> Result<(), Refusal> {
        if self.pipeline.knows(&arrival.credential) {
            return Ok(());
        }
        self.admit(arrival, &RawId::null(), None).await.map(drop)
    }

    /// Lets a message onto the path that asks nothing: only its sender is checked.
    pub(super) async fn admit(
        &self,
        arrival: &Arrival,
        id: &RawId,
        session: Option<SessionKey>,
    ) -> Result<Reply, Refusal> {
        let call = Call {
            request_id: arrival.request_id.clone(),
            scope: arrival.scope.clone(),
            request: translate::ping(),
            client: Client { revision: Revision::NEWEST_LEGACY, name: None, via: arrival.via },
            session,
            repeated: None,
            began: arrival.began,
        };
        self.pipeline
            .handle(&call, &arrival.credential)
            .await
            .map_err(|problem| reply::rpc_problem(&problem, id, &arrival.request_id, None).into())
    }
}
