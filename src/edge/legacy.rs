//! Clients of 2024-11-05 to 2025-11-25: a handshake opens a session, and requests name it.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode};

use crate::{
    domain::SessionId,
    edge::{
        arrival::{Arrival, Inside},
        reply::{self, Refusal},
        session::{Session, translate},
    },
    pipeline::{NOT_THERE, Reply},
    problem::{Kind, Problem},
    wire::{Call, Client, Message, Method, RawId, Request, Revision, header},
};

/// The code of a method that is not there.
const NO_METHOD: i32 = -32_601;

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
            Message::Notification(_) => match self.session(&arrival, &RawId::null()) {
                Ok(session) => {
                    match self.0.admit(&arrival, &RawId::null(), Some(session.key())).await {
                        Ok(_) => reply::accepted(),
                        Err(refusal) => *refusal,
                    }
                }
                Err(refusal) => *refusal,
            },
            // The gateway asks nothing of older clients yet, so there is nothing to answer.
            Message::Answer => refuse(
                &arrival,
                &RawId::null(),
                &Problem::new(Kind::Invalid, "nothing was asked of this client").with_rpc(-32600),
                StatusCode::BAD_REQUEST,
            ),
        }
    }

    /// The handshake: what is here is discovered, and a session remembers who asked.
    async fn open(&self, arrival: Arrival, request: &Request) -> Response<Body> {
        let id = request.id();
        let asked = match translate::Handshake::read(request) {
            Ok(asked) => asked,
            Err(problem) => return refuse(&arrival, &id, &problem, StatusCode::BAD_REQUEST),
        };
        let call = Call {
            request_id: arrival.request_id.clone(),
            scope: arrival.scope.clone(),
            request: translate::discover(),
            client: Client {
                revision: asked.revision,
                name: asked.client.clone(),
                via: arrival.via,
            },
            session: None,
            repeated: None,
            began: arrival.began,
        };
        let reply = match self.0.pipeline.handle(&call, &arrival.credential).await {
            Ok(reply) => reply,
            Err(problem) => return reply::rpc_problem(&problem, &id, &call.request_id, None),
        };
        let Reply { body, caller } = reply;
        let session = Session::new(caller, call.scope, asked.revision, asked.client);
        let opened = match self.0.sessions.open(session) {
            Ok(opened) => opened,
            Err(problem) => return reply::rpc_problem(&problem, &id, &call.request_id, None),
        };
        let mut response = reply::json(translate::handshake_answer(&id, &body, asked.revision));
        let named = HeaderValue::from_str(opened.as_str()).expect("session ids are plain text");
        response.headers_mut().insert(header::SESSION_ID, named);
        response
    }

    async fn call(&self, arrival: Arrival, request: Request) -> Response<Body> {
        let id = request.id();
        let session = match self.session(&arrival, &id) {
            Ok(session) => session,
            Err(refusal) => return *refusal,
        };
        if !request.method().is_legacy() {
            let message = format!("method not found: {}", request.method());
            let problem = Problem::new(Kind::NotFound, message).with_rpc(NO_METHOD);
            return match self.0.admit(&arrival, &id, Some(session.key())).await {
                Ok(_) => refuse(&arrival, &id, &problem, StatusCode::OK),
                Err(refusal) => *refusal,
            };
        }
        let revision = session.revision();
        let call = Call {
            request_id: arrival.request_id,
            scope: arrival.scope,
            request,
            client: Client { revision, name: session.client(), via: arrival.via },
            session: Some(session.key()),
            repeated: None,
            began: arrival.began,
        };
        match self.0.pipeline.handle(&call, &arrival.credential).await {
            Ok(Reply { body, .. }) => reply::json(translate::answer(&id, &body)),
            Err(problem) => {
                let problem = translate::problem(problem, call.method());
                // Only the stateless revision tells an unknown method by its status.
                let status = (problem.rpc_code() == NO_METHOD).then_some(StatusCode::OK);
                reply::rpc_problem(&problem, &id, &call.request_id, status)
            }
        }
    }

    /// Ends a session.
    pub(super) async fn end(&self, arrival: Arrival) -> Response<Body> {
        if arrival.names_modern() {
            return reply::not_allowed();
        }
        let session = match self.session(&arrival, &RawId::null()) {
            Ok(session) => session,
            Err(refusal) => return *refusal,
        };
        let key = session.key();
        match self.0.admit(&arrival, &RawId::null(), Some(key.clone())).await {
            Ok(_) => {
                self.0.sessions.end(&key.id);
                reply::empty(StatusCode::NO_CONTENT)
            }
            Err(refusal) => *refusal,
        }
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

fn refuse(arrival: &Arrival, id: &RawId, problem: &Problem, status: StatusCode) -> Response<Body> {
    reply::rpc_problem(problem, id, &arrival.request_id, Some(status))
}
