//! Clients of 2025-03-26 to 2025-11-25 over HTTP: a handshake opens a session, requests name it,
//! and a stream stands open for what is said beside the answers.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio_util::task::TaskTracker;

use crate::{
    access::Reach,
    domain::SessionId,
    edge::{
        arrival::{Arrival, Inside},
        channel::Outbox,
        converse::{self, CANCELLED, NO_METHOD},
        reply::{self, Refusal},
        session::{Opening, Out, Place, Reader, STANDING, Session, translate},
        stream::{self, Leashed, Source},
    },
    pipeline::{NOT_THERE, Reply},
    problem::{Kind, Problem},
    wire::{self, Call, Client, Message, Method, RawId, Request, Revision, header},
};

/// How soon a client may take up a stream that broke, in milliseconds.
const RETRY_MS: u32 = 1_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The door for older clients.
pub(super) struct Legacy<'a>(pub(super) &'a Inside);

impl Legacy<'_> {
    /// Answers a message of an older revision.
    pub(super) async fn answer(&self, arrival: Arrival, message: Message) -> Response<Body> {
        match message {
            Message::Request(request) if *request.method() == Method::Initialize => {
                self.open(arrival, &request).await
            }
            Message::Request(request) => self.call(arrival, request).await,
            Message::Notification(notification) => match self.own_session(&arrival).await {
                Ok(session) => {
                    translate::heed(&session, &notification);
                    reply::accepted()
                }
                Err(refusal) => *refusal,
            },
            Message::Answer(answer) => match self.own_session(&arrival).await {
                Ok(session) if session.answered(answer.clone()) => reply::accepted(),
                Ok(_) => refuse(
                    &arrival,
                    &RawId::null(),
                    &Problem::new(Kind::Invalid, "nothing was asked under this id")
                        .with_rpc(-32_600),
                    StatusCode::BAD_REQUEST,
                ),
                Err(refusal) => *refusal,
            },
        }
    }

    /// The handshake: what is here is discovered, and a session remembers who asked.
    async fn open(&self, arrival: Arrival, request: &Request) -> Response<Body> {
        let id = request.id();
        match open(self.0, &arrival, request, None).await {
            Ok((session, answer)) => {
                let mut response = reply::json(answer);
                let named = HeaderValue::from_str(session.id().as_str());
                let named = named.expect("session ids are plain text");
                response.headers_mut().insert(header::SESSION_ID, named);
                response
            }
            Err((problem, status)) => {
                reply::rpc_problem(&problem, &id, &arrival.request_id, status)
            }
        }
    }

    /// A call: answered in JSON, or, where something is said before the answer, on a stream.
    async fn call(&self, arrival: Arrival, request: Request) -> Response<Body> {
        let id = request.id();
        let session = match self.session(&arrival, &id) {
            Ok(session) => session,
            Err(refusal) => return *refusal,
        };
        let request_id = arrival.request_id.clone();
        let tell = |problem: Problem| {
            // Only the stateless revision tells an unknown method by its status.
            let is_answer = [NO_METHOD, CANCELLED].contains(&problem.rpc_code());
            let status = is_answer.then_some(StatusCode::OK);
            reply::rpc_problem(&problem, &id, &request_id, status)
        };
        let reads_events = arrival.reads_events();
        let stream = session.open_stream();
        let out = reads_events.then(|| Out::Stream(session.clone(), stream));
        let calling = converse::call(self.0.clone(), arrival, session.clone(), request, out);
        let mut calling = Calling {
            session: session.clone(),
            stream,
            id: id.clone(),
            request_id: request_id.clone(),
            tasks: self.0.sessions.tasks().clone(),
            running: Some(Box::pin(calling)),
        };
        if !reads_events {
            let answer = (&mut calling).await;
            session.close_stream(stream);
            return answer.map_or_else(tell, reply::json);
        }
        tokio::select! {
            biased;
            () = session.is_broken_silence(stream) => {}
            answer = &mut calling => {
                if session.is_silent(stream) {
                    session.close_stream(stream);
                    return answer.map_or_else(tell, reply::json);
                }
                calling.put(answer);
            }
        }
        let first = priming(&session, Place { stream, number: 0 });
        let source = Answering { reader: session.read(stream), calling };
        stream::response(stream::events(source, first, self.0.closing.clone()))
    }

    /// The stream that stands open, or one that is taken up where it broke.
    pub(super) async fn stream(&self, arrival: Arrival) -> Response<Body> {
        if arrival.names_modern() || !arrival.headers.contains_key(header::SESSION_ID) {
            return reply::not_allowed();
        }
        let session = match self.own_session(&arrival).await {
            Ok(session) => session,
            Err(refusal) => return *refusal,
        };
        if let Err(problem) = self.0.listen(&arrival, &session).await {
            return reply::rpc_problem(&problem, &RawId::null(), &arrival.request_id, None);
        }
        let place = arrival.headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
        let reader = match place.and_then(Place::parse) {
            Some(place) => session.resume(place),
            None => None,
        };
        let first = match &reader {
            Some(_) => None,
            None => priming(&session, Place { stream: STANDING, number: 0 }),
        };
        let source = reader.unwrap_or_else(|| session.read_standing());
        let leash = self.0.pipeline.leash(&arrival.credential, Reach::Credential);
        let source = Leashed { source, leash };
        stream::response(stream::events(source, first, self.0.closing.clone()))
    }

    /// Ends a session.
    pub(super) async fn end(&self, arrival: Arrival) -> Response<Body> {
        if arrival.names_modern() {
            return reply::not_allowed();
        }
        match self.own_session(&arrival).await {
            Ok(session) => {
                self.0.sessions.end(session.id());
                reply::empty(StatusCode::NO_CONTENT)
            }
            Err(refusal) => *refusal,
        }
    }

    /// The session a message names, checked to be its sender's.
    async fn own_session(&self, arrival: &Arrival) -> Result<Session, Refusal> {
        let session = self.session(arrival, &RawId::null())?;
        self.0.admit(arrival, &RawId::null(), Some(session.key())).await?;
        Ok(session)
    }

    /// The session a request names: 400 where it names none, 404 where there is none of that id.
    fn session(&self, arrival: &Arrival, id: &RawId) -> Result<Session, Refusal> {
        let not_there = |kind, message, status| {
            let problem = Problem::new(kind, message).with_rpc(NOT_THERE);
            Err(refuse(arrival, id, &problem, status).into())
        };
        let versions = arrival.headers.get_all(header::PROTOCOL_VERSION);
        let is_known = |value: &HeaderValue| {
            value.to_str().is_ok_and(|text| text.trim().parse::<Revision>().is_ok())
        };
        if !versions.iter().all(is_known) || versions.iter().count() > 1 {
            let message = "unsupported protocol version in the header mcp-protocol-version";
            return not_there(Kind::Invalid, message, StatusCode::BAD_REQUEST);
        }
        let Some(shown) = header::single(&arrival.headers, &header::SESSION_ID) else {
            let message =
                "Bad Request: no session; begin with initialize, or send the _meta of 2026-07-28";
            return not_there(Kind::Invalid, message, StatusCode::BAD_REQUEST);
        };
        let shown = SessionId::shown(shown.to_str().unwrap_or_default());
        match self.0.sessions.find(&shown, &arrival.scope) {
            Some(session) => Ok(session),
            None => not_there(Kind::NotFound, "Session not found", StatusCode::NOT_FOUND),
        }
    }
}

/// Opens a session for whoever shakes hands, and gives the answer to that. A session of a channel
/// says what it has to say there.
pub(super) async fn open(
    inside: &Inside,
    arrival: &Arrival,
    request: &Request,
    channel: Option<Outbox>,
) -> Result<(Session, Bytes), (Problem, Option<StatusCode>)> {
    let asked = translate::Handshake::read(request)
        .map_err(|problem| (problem, Some(StatusCode::BAD_REQUEST)))?;
    let client = Client {
        revision: asked.revision,
        name: asked.client.clone(),
        via: arrival.via,
        capabilities: None,
        level: None,
    };
    let (request_id, scope) = (arrival.request_id.clone(), arrival.scope.clone());
    let call = Call::new(request_id, scope, translate::discover(), client, arrival.began);
    let call = Call { from: arrival.from, ..call };
    let reply = inside.pipeline.handle(&call, &arrival.credential, None).await;
    let Reply { body, caller, .. } = reply.map_err(|problem| (problem, None))?;
    let opening = Opening {
        owner: caller.kind,
        organization: caller.organization,
        request_id: call.request_id,
        scope: call.scope,
        revision: asked.revision,
        client: asked.client,
        capabilities: asked.capabilities,
        via: arrival.via,
        channel,
    };
    let session = inside.sessions.open(opening).map_err(|problem| (problem, None))?;
    let answer = translate::handshake_answer(&request.id(), &body, asked.revision);
    Ok((session, answer))
}

fn refuse(arrival: &Arrival, id: &RawId, problem: &Problem, status: StatusCode) -> Response<Body> {
    reply::rpc_problem(problem, id, &arrival.request_id, Some(status))
}

/// The event with which a stream begins that can be taken up again, for clients that know it.
fn priming(session: &Session, place: Place) -> Option<Bytes> {
    let is_known = session.opening().revision >= Revision::V2025_11_25;
    is_known.then(|| format!("id: {}\nretry: {RETRY_MS}\ndata: \n\n", place.id()).into())
}

type Running = Pin<Box<dyn Future<Output = Result<Bytes, Problem>> + Send>>;

/// A call while it runs. It goes on to its end though its client hangs up: to older revisions that
/// says nothing.
struct Calling {
    session: Session,
    stream: u64,
    id: RawId,
    request_id: crate::domain::RequestId,
    tasks: TaskTracker,
    running: Option<Running>,
}

impl Calling {
    /// Puts the answer on the stream, which ends with it.
    fn put(&mut self, answer: Result<Bytes, Problem>) {
        let answer = match answer {
            Ok(answer) => Some(answer),
            Err(problem) if problem.rpc_code() == CANCELLED => None,
            Err(problem) => Some(wire::rpc_error(&problem, &self.id, &self.request_id)),
        };
        if let Some(answer) = answer {
            self.session.say_on(self.stream, answer);
        }
        self.session.close_stream(self.stream);
    }
}

impl Future for Calling {
    type Output = Result<Bytes, Problem>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.running else { return Poll::Pending };
        let answer = std::task::ready!(running.as_mut().poll(context));
        self.running = None;
        Poll::Ready(answer)
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let mut rest = Self {
            session: self.session.clone(),
            stream: self.stream,
            id: self.id.clone(),
            request_id: self.request_id.clone(),
            tasks: self.tasks.clone(),
            running: None,
        };
        self.tasks.spawn(async move {
            let answer = running.await;
            rest.put(answer);
        });
    }
}

/// The stream of a call: what is said before its answer, and the answer.
struct Answering {
    reader: Reader,
    calling: Calling,
}

impl Source for Answering {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                event = Source::next(&mut self.reader) => return event,
                answer = &mut self.calling => self.calling.put(answer),
            }
        }
    }
}
