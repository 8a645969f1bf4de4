//! Plain JSON-RPC: one request, or an array of them, without a session and without a stream.
//!
//! Requests are calls of today's stateless revision that need not say so: what they leave out of
//! `_meta` is what can be left out. A handshake is answered, and nothing is remembered of it.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    domain::{Clock, LimitStandings, Scope},
    edge::{
        arrival::{Arrival, Inside},
        batch::{Batch, addressed},
        converse::NO_METHOD,
        modern,
        reply::{self, Refusal},
        session::translate::{self, Handshake},
    },
    pipeline::{NOT_THERE, Reply},
    problem::{Kind, Problem},
    registry::Directory,
    wire::{
        self, Call, Client, Malformed, Message, Method, RawId, Request, Revision, meta, result,
    },
};

/// How much is taken in an array.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Messages in one array.
    pub(crate) max_batch: usize,
    /// Calls of one array that are made at the same time.
    pub(crate) at_once: usize,
    /// Bytes of the answers to one array; what does not fit is told as an error.
    pub(crate) answers_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_batch: 100, at_once: 8, answers_bytes: 64 << 20 }
    }
}

/// The door for plain JSON-RPC.
#[derive(Clone)]
pub(super) struct Rpc {
    pub(super) inside: Inside,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
}

/// How a body says whom it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addressing {
    /// By its path.
    Path,
    /// By a member of its params.
    Param,
}

impl Rpc {
    /// Answers a message, or an array of them.
    pub(super) async fn any(
        &self,
        arrival: &Arrival,
        addressing: Addressing,
        body: &Bytes,
    ) -> Response<Body> {
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return self.many(arrival, addressing, body).await;
        }
        let (body, scope) = address(arrival, addressing, body);
        let id = match Message::parse(&body) {
            Ok(Message::Request(request)) => {
                let id = request.id();
                match self.call(arrival, scope, request).await {
                    Ok((answer, standings)) => {
                        let mut response = reply::json(answer);
                        reply::tell_limits(&standings, response.headers_mut());
                        return response;
                    }
                    Err(problem) => return told(arrival, &id, &problem),
                }
            }
            Ok(Message::Notification(_)) => match self.admit(arrival).await {
                Ok(()) => return reply::accepted(),
                Err(refusal) => return *refusal,
            },
            Ok(Message::Answer(_)) => RawId::null(),
            Err(malformed) => {
                return told(arrival, &malformed.id(), &unreadable(&malformed));
            }
        };
        told(arrival, &id, &nothing_asked())
    }

    /// Answers an array of messages: those that ask something, in their order.
    pub(super) async fn many(
        &self,
        arrival: &Arrival,
        addressing: Addressing,
        body: &Bytes,
    ) -> Response<Body> {
        let batch = match Batch::parse(body, self.settings.max_batch) {
            Ok(batch) => batch,
            Err(problem) => return told(arrival, &RawId::null(), &problem),
        };
        let answering = batch.0.into_iter().map(|message| {
            let rpc = self.clone();
            async move { rpc.one_of_many(arrival, addressing, &message).await }
        });
        let mut answers = stream::iter(answering).buffered(self.settings.at_once);
        let mut said = BytesMut::new();
        while let Some(answer) = answers.next().await {
            let Some((id, answer)) = answer else { continue };
            said.extend_from_slice(if said.is_empty() { b"[" } else { b"," });
            if said.len() + answer.len() > self.settings.answers_bytes {
                let limit = self.settings.answers_bytes;
                let message = format!(
                    "it was done, but the answers are larger than {limit} bytes, which is the limit edge.rpc.answers_bytes"
                );
                let problem = Problem::new(Kind::TooLarge, message);
                said.extend_from_slice(&wire::rpc_error(&problem, &id, &arrival.request_id));
            } else {
                said.extend_from_slice(&answer);
            }
        }
        if said.is_empty() {
            // All were notifications, whose sender is checked all the same.
            return match self.admit(arrival).await {
                Ok(()) => reply::accepted(),
                Err(refusal) => *refusal,
            };
        }
        said.extend_from_slice(b"]");
        reply::json(said.freeze())
    }

    /// The answer to one message of an array, where it is to be answered.
    async fn one_of_many(
        &self,
        arrival: &Arrival,
        addressing: Addressing,
        message: &Bytes,
    ) -> Option<(RawId, Bytes)> {
        let (message, scope) = address(arrival, addressing, message);
        let (id, problem) = match Message::parse(&message) {
            Ok(Message::Notification(_)) => return None,
            Ok(Message::Request(request)) => {
                let id = request.id();
                match self.call(arrival, scope, request).await {
                    Ok((answer, _)) => return Some((id, answer)),
                    Err(problem) => (id, problem),
                }
            }
            Ok(Message::Answer(_)) => (RawId::null(), nothing_asked()),
            // What stands in an array is JSON, whatever else it is not.
            Err(malformed @ Malformed::NotJson(_)) => {
                (RawId::null(), unreadable(&malformed).with_rpc(-32_600))
            }
            Err(malformed) => (malformed.id(), unreadable(&malformed)),
        };
        let answer = wire::rpc_error(&problem, &id, &arrival.request_id);
        Some((id, answer))
    }

    async fn call(
        &self,
        arrival: &Arrival,
        scope: Scope,
        request: Request,
    ) -> Result<(Bytes, LimitStandings), Problem> {
        let id = request.id();
        match request.method() {
            Method::Initialize => {
                let answer = self.shake_hands(arrival, scope, &request).await?;
                return Ok((answer, LimitStandings::default()));
            }
            // There is no stream on which it could be heard.
            Method::Listen => {
                let message = format!("method not found: {}", request.method());
                return Err(Problem::new(Kind::NotFound, message).with_rpc(NO_METHOD));
            }
            _ => {}
        }
        let call = call_of(arrival, scope, request);
        let Reply { body, caller, server, standings, .. } = self.handle(&call, arrival).await?;
        if *call.method() == Method::Ping {
            // A ping asks nothing of the path but whether its sender may come in.
            if server.is_none() && names_another(&call.scope) {
                let message = format!("there is no endpoint {}", call.scope);
                return Err(Problem::new(Kind::NotFound, message).with_rpc(NOT_THERE));
            }
            let pong = json!({
                "message": "pong",
                "timestamp": self.clock.now().to_string(),
                "server_id": server.map(|server| server.id.to_string()),
                "user_id": caller.kind.to_string(),
            });
            return Ok((result::answer(&id, pong.to_string().as_bytes()), standings));
        }
        Ok((modern::render(&call, &id, &body), standings))
    }

    /// Calls, with an ear for what a server asks where the client said that it can be asked.
    async fn handle(&self, call: &Call, arrival: &Arrival) -> Result<Reply, Problem> {
        // What is said before the answer has nobody to hear it.
        let (notices, _) = mpsc::channel(1);
        let notices = call.client.capabilities.is_some().then_some(&notices);
        self.inside.pipeline.handle(call, &arrival.credential, notices).await
    }

    /// Answers a handshake. Every request stands alone here, so no session comes of it.
    async fn shake_hands(
        &self,
        arrival: &Arrival,
        scope: Scope,
        request: &Request,
    ) -> Result<Bytes, Problem> {
        let asked = Handshake::read(request)?;
        let mut call = call_of(arrival, scope, translate::discover());
        call.client.name = asked.client;
        let reply = self.inside.pipeline.handle(&call, &arrival.credential, None).await?;
        Ok(translate::handshake_answer(&request.id(), &reply.body, asked.revision))
    }

    async fn admit(&self, arrival: &Arrival) -> Result<(), Refusal> {
        self.inside.admit(arrival, &RawId::null(), None).await.map(drop)
    }
}

/// A call of the stateless revision.
pub(super) fn call_of(arrival: &Arrival, scope: Scope, request: Request) -> Call {
    let said = request.meta();
    let client = Client {
        revision: Revision::NEWEST,
        name: said.client_name.clone(),
        via: arrival.via,
        capabilities: said.capabilities.as_deref().map(Into::into),
        level: None,
    };
    let request_id = arrival.request_id.clone();
    let Arrival { from, began, .. } = *arrival;
    Call { from, ..Call::new(request_id, scope, request, client, began) }
}

/// Whether an endpoint is that of a server which is not the gateway's own.
fn names_another(scope: &Scope) -> bool {
    matches!(scope, Scope::Server(name) if **name != *Directory::BUILT_IN)
}

/// The message without its address, and the endpoint it is for.
fn address(arrival: &Arrival, addressing: Addressing, message: &Bytes) -> (Bytes, Scope) {
    let by_param = (addressing == Addressing::Param).then(|| addressed(message)).flatten();
    match by_param {
        Some((message, server)) => (message, Scope::Server(server)),
        None => (message.clone(), arrival.scope.clone()),
    }
}

fn unreadable(malformed: &Malformed) -> Problem {
    Problem::new(Kind::Invalid, malformed.to_string()).with_rpc(malformed.rpc_code())
}

fn nothing_asked() -> Problem {
    Problem::new(Kind::Invalid, "nothing was asked of this client").with_rpc(-32_600)
}

/// A failure: what cannot be read has a status, what was read and failed is an answer.
fn told(arrival: &Arrival, id: &RawId, problem: &Problem) -> Response<Body> {
    let is_answer = problem.rpc_code() == NO_METHOD;
    let status = is_answer.then_some(StatusCode::OK);
    reply::rpc_problem(problem, id, &arrival.request_id, status)
}

/// Which methods there are, for people and programs.
pub(super) fn introspection() -> Response<Body> {
    let methods: Vec<Value> = METHODS
        .iter()
        .map(|(name, description, params)| {
            json!({ "name": name, "description": description, "params": params })
        })
        .collect();
    let body = json!({
        "description": "The methods of MCP as plain JSON-RPC 2.0: one request, or an array of them",
        "version": env!("CARGO_PKG_VERSION"),
        "transport": "rpc",
        "protocol_version": Revision::NEWEST.as_str(),
        "server_info": serde_json::from_str::<Value>(meta::IMPLEMENTATION).expect("our own name"),
        "methods": methods,
    });
    reply::json(body.to_string().into())
}

const METHODS: &[(&str, &str, &[&str])] = &[
    ("ping", "Asks whether the gateway is there", &[]),
    (
        "initialize",
        "Asks what is offered, as older revisions do; opens no session",
        &["protocolVersion", "capabilities", "clientInfo"],
    ),
    ("server/discover", "Asks what is spoken and offered", &[]),
    ("tools/list", "Lists tools", &["cursor"]),
    ("tools/call", "Calls a tool", &["name", "arguments"]),
    ("prompts/list", "Lists prompts", &["cursor"]),
    ("prompts/get", "Gets a prompt", &["name", "arguments"]),
    ("resources/list", "Lists resources", &["cursor"]),
    ("resources/templates/list", "Lists templates of resources", &["cursor"]),
    ("resources/read", "Reads a resource", &["uri"]),
    ("completion/complete", "Completes an argument", &["ref", "argument", "context"]),
];
