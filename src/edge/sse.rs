//! HTTP+SSE of 2024-11-05: the gateway speaks on a stream, its client posts beside it.

use std::{collections::HashMap, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures_channel::mpsc;
use futures_util::StreamExt;
use http::{Response, StatusCode};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{PrincipalKind, Scope, SessionId},
    edge::{
        body::Whole,
        channel::{Channel, Outbox},
        channels::{Channels, Known, refuse},
        reply,
        stream::{self, Source},
    },
    pipeline::NOT_THERE,
    problem::{Kind, Problem},
    wire::{Malformed, Message},
};

/// How many messages wait for their channel at most.
const POSTED: usize = 32;

/// The streams that stand open.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<SessionId, Open>>>);

impl Streams {
    /// Does something with a stream. None for whoever did not open it, and who learns no more than
    /// that.
    fn of<T>(&self, guest: &Known, id: &SessionId, act: impl FnOnce(&mut Open) -> T) -> Option<T> {
        let mut streams = self.0.lock();
        let open = streams.get_mut(id)?;
        (open.owner == guest.caller && open.scope == guest.arrival.scope).then(|| act(open))
    }
}

/// What is known of an open stream.
struct Open {
    owner: PrincipalKind,
    scope: Scope,
    inbox: mpsc::Sender<Whole>,
}

/// A stream while it is open. Given up on drop.
struct Entry {
    streams: Streams,
    id: SessionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.streams.0.lock().remove(&self.id);
    }
}

impl Channels {
    /// Opens a stream, and tells where to post.
    pub(super) fn open_stream(&self, guest: Known) -> Response<Body> {
        let Known { arrival, caller } = guest;
        let (id, scope) = (SessionId::fresh(), arrival.scope.clone());
        let place = match &scope {
            Scope::Everything => String::new(),
            Scope::Namespace(namespace) => format!("/mcp/{namespace}"),
            Scope::Server(server) => format!("/servers/{server}"),
        };
        let first = format!("event: endpoint\ndata: {place}/message?session_id={id}\n\n");
        let (inbox, posted) = inbox();
        self.streams.0.lock().insert(id.clone(), Open { owner: caller, scope, inbox });
        let entry = Entry { streams: self.streams.clone(), id };
        let (channel, outbox) = self.channel(arrival);
        let speaking = Speaking { channel: Some(channel), outbox, posted, _entry: entry };
        // It ends by itself when the doors close, once its calls are answered.
        let until = CancellationToken::new();
        stream::response(stream::events(speaking, Some(first.into()), until))
    }

    /// Takes a message to the channel whose stream the query names.
    pub(super) fn post(
        &self,
        guest: &Known,
        query: Option<&str>,
        message: Whole,
    ) -> Response<Body> {
        let arrival = &guest.arrival;
        let named = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let named = named.into_iter().find(|(name, _)| name == "session_id" || name == "sessionId");
        let Some((_, id)) = named else {
            let problem = Problem::new(Kind::Invalid, "the query lacks session_id");
            return refuse(arrival, &problem, StatusCode::BAD_REQUEST);
        };
        let id = SessionId::shown(&id);
        let is_there = self.streams.of(guest, &id, |_| ()).is_some();
        if is_there && let Err(malformed @ Malformed::NotJson(_)) = Message::parse(&message.bytes) {
            let problem = Problem::new(Kind::Invalid, malformed.to_string());
            let problem = problem.with_rpc(malformed.rpc_code());
            return refuse(arrival, &problem, StatusCode::BAD_REQUEST);
        }
        match self.streams.of(guest, &id, |open| open.inbox.try_send(message).is_ok()) {
            Some(true) => reply::accepted(),
            Some(false) => {
                let message = "messages come faster than they are taken; try again in a second";
                let problem = Problem::new(Kind::Limited, message).with_retry_after(1);
                refuse(arrival, &problem, StatusCode::TOO_MANY_REQUESTS)
            }
            None => {
                let problem = Problem::new(Kind::NotFound, "Session not found");
                refuse(arrival, &problem.with_rpc(NOT_THERE), StatusCode::NOT_FOUND)
            }
        }
    }
}

/// Room for messages that wait.
fn inbox<T>() -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    // Its one sender has a place of its own beside the others.
    mpsc::channel(POSTED - 1)
}

/// What the gateway says on a stream.
struct Speaking {
    /// None once it has ended.
    channel: Option<Channel>,
    outbox: Outbox,
    posted: mpsc::Receiver<Whole>,
    _entry: Entry,
}

impl Source for Speaking {
    async fn next(&mut self) -> Option<Bytes> {
        while let Some(channel) = &mut self.channel {
            tokio::select! {
                biased;
                _ = channel.run() => self.channel = None,
                said = self.outbox.next() => return said.map(|said| stream::message(&said)),
                Some(message) = self.posted.next() => channel.take(message),
            }
        }
        self.outbox.take().map(|said| stream::message(&said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_messages_wait_and_no_more() {
        let (mut inbox, mut posted) = inbox();
        for message in 0..POSTED {
            inbox.try_send(message).expect("room");
        }
        assert!(inbox.try_send(POSTED).expect_err("no room").is_full());
        assert_eq!(posted.try_recv(), Ok(0));
        inbox.try_send(POSTED).expect("room again");
    }
}
