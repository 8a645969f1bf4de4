//! The doors to channels: who is let in by which way, and what all of them share.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Method as Verb, Response, StatusCode};

use crate::{
    access::{self, Credential},
    domain::PrincipalKind,
    edge::{
        self,
        arrival::{Arrival, Inside},
        body::Reader,
        channel::{Channel, Guest, Outbox, Settings, Way},
        reply::{self, Refusal},
        sse::Streams,
        websocket,
    },
    problem::Problem,
    wire::RawId,
};

/// What the doors to channels share.
pub(super) struct Channels {
    pub(super) inside: Inside,
    pub(super) reader: Arc<Reader>,
    pub(super) settings: Settings,
    /// The largest message, in bytes.
    pub(super) largest: usize,
    pub(super) streams: Streams,
}

/// Somebody who was let in.
pub(super) struct Known {
    pub(super) arrival: Arrival,
    pub(super) caller: PrincipalKind,
}

impl Channels {
    pub(super) fn new(inside: Inside, reader: Arc<Reader>, settings: &edge::Settings) -> Self {
        let (largest, streams) = (settings.body_bytes, Streams::default());
        Self { inside, reader, settings: settings.channels.clone(), largest, streams }
    }

    /// Lets in who is known, by a method that the way takes.
    pub(super) async fn let_in(
        &self,
        way: Way,
        mut arrival: Arrival,
        verb: &Verb,
    ) -> Result<Known, Refusal> {
        if *verb != way.verb() {
            return Err(reply::takes_only(&way.verb()).into());
        }
        // A browser sends a cookie along with whatever page opens a channel.
        if matches!(arrival.credential, Credential::Page(_)) {
            arrival.credential = Credential::None;
        }
        if way == Way::Socket && matches!(arrival.credential, Credential::None) {
            arrival.credential = offered_key(&arrival.headers).unwrap_or(Credential::None);
        }
        let caller = self.inside.recognise(&arrival).await?;
        Ok(Known { arrival, caller })
    }

    /// A channel for whoever was let in, and where it says what it has to say.
    pub(super) fn channel(&self, arrival: Arrival) -> (Channel, Outbox) {
        let outbox = Outbox::new(self.settings.limits());
        let Arrival { scope, credential, via, from, .. } = arrival;
        let guest = Guest { scope, credential, via, from };
        let channel = Channel::new(self.inside.clone(), guest, outbox.clone(), &self.settings);
        (channel, outbox)
    }
}

/// Refuses a request on a way to a channel.
pub(super) fn refuse(arrival: &Arrival, problem: &Problem, status: StatusCode) -> Response<Body> {
    reply::rpc_problem(problem, &RawId::null(), &arrival.request_id, Some(status))
}

/// The key or token that a page offers as a subprotocol: browsers let it set no headers.
fn offered_key(headers: &HeaderMap) -> Option<Credential> {
    access::bearer(websocket::offers(headers).find_map(|offer| offer.strip_prefix("bearer."))?)
}
