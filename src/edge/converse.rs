//! Calls of older clients, whatever they come by: what today's revision says in results, they are
//! told and asked while they wait.

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::{
    access::Credential,
    edge::{
        arrival::{Arrival, Inside},
        session::{Out, Session, translate},
        tasks,
    },
    pipeline::{NOTICES, Reply},
    problem::{Kind, Problem},
    wire::{AsTask, Call, Client, Method, Request, input::by_key},
};

/// The code of a method that is not there.
pub(super) const NO_METHOD: i32 = -32_601;

/// The code of a call that its client cancelled.
pub(super) const CANCELLED: i32 = -32_800;

/// How often a server may ask for more before a call is given up.
const ROUNDS: usize = 10;

/// Makes a call for an older client. What is said before the answer goes to `out`, where the
/// client reads such things.
pub(super) async fn call(
    inside: Inside,
    arrival: Arrival,
    session: Session,
    request: Request,
    out: Option<Out>,
) -> Result<Bytes, Problem> {
    let begun = session.begin(request.id());
    let _in_use = session.in_use();
    tokio::select! {
        answer = answer(&inside, &arrival, &session, &request, out) => answer,
        () = begun.token.cancelled() => {
            Err(Problem::new(Kind::Invalid, "the request was cancelled").with_rpc(CANCELLED))
        }
    }
}

async fn answer(
    inside: &Inside,
    arrival: &Arrival,
    session: &Session,
    request: &Request,
    out: Option<Out>,
) -> Result<Bytes, Problem> {
    let id = request.id();
    match request.method() {
        Method::SetLevel => {
            let level = request.param("level").ok_or_else(|| {
                Problem::new(Kind::Invalid, "invalid params: \"level\" is none of RFC 5424")
            })?;
            inside.known(arrival, session).await?;
            session.set_level(level);
            return Ok(translate::nothing(&id));
        }
        Method::Subscribe | Method::Unsubscribe => {
            let uri: String = request
                .param("uri")
                .ok_or_else(|| Problem::new(Kind::Invalid, "invalid params: \"uri\" is missing"))?;
            let is_wanted = *request.method() == Method::Subscribe;
            inside.subscribe(arrival, session, &uri, is_wanted).await?;
            return Ok(translate::nothing(&id));
        }
        Method::TaskGet | Method::TaskCancel | Method::TaskList | Method::TaskResult => {
            return Box::pin(tasks::answer(inside, arrival, session, request, out.as_ref())).await;
        }
        method if !method.is_legacy() => {
            inside.known(arrival, session).await?;
            let message = format!("method not found: {method}");
            return Err(Problem::new(Kind::NotFound, message).with_rpc(NO_METHOD));
        }
        _ => {}
    }
    let (request, as_task) = &tasks::wish(request);
    let mut made = request.clone();
    for _ in 0..=ROUNDS {
        let call = call_of(arrival, session, (made, *as_task), out.is_some());
        let reply = match &out {
            None => inside.pipeline.handle(&call, &arrival.credential, None).await,
            Some(out) => while_told(inside, &call, &arrival.credential, out).await,
        };
        let reply = reply.map_err(|problem| translate::problem(problem, call.method()))?;
        let Some((asked, out)) = reply.body.asks().zip(out.as_ref()) else {
            return Ok(match as_task {
                AsTask::Yes => tasks::begun(&id, &reply.body),
                _ => translate::answer(&id, &reply.body),
            });
        };
        let patience = inside.sessions.patience();
        let questions = asked.requests.iter().map(|one| session.ask(out, one, patience));
        let answers = join_all(questions).await;
        made = asked.answered(request, &by_key(&asked.requests, &answers));
    }
    let message = format!("the server asked for more than {ROUNDS} rounds of input");
    Err(Problem::new(Kind::Upstream, message))
}

/// What a session's client asks, as today's revision has it.
pub(super) fn call_of(
    arrival: &Arrival,
    session: &Session,
    (request, as_task): (Request, AsTask),
    can_be_told: bool,
) -> Call {
    let opening = session.opening();
    let client = Client {
        revision: opening.revision,
        name: opening.client.clone(),
        via: arrival.via,
        capabilities: opening.capabilities.clone().filter(|_| can_be_told),
        level: session.level(),
    };
    let (request_id, scope) = (arrival.request_id.clone(), arrival.scope.clone());
    Call {
        session: Some(session.key()),
        as_task,
        from: arrival.from,
        ..Call::new(request_id, scope, request, client, arrival.began)
    }
}

/// Makes a call while its client is told what its server says.
pub(super) async fn while_told(
    inside: &Inside,
    call: &Call,
    credential: &Credential,
    out: &Out,
) -> Result<Reply, Problem> {
    let (notices, mut told) = mpsc::channel(NOTICES);
    let mut handling = std::pin::pin!(inside.pipeline.handle(call, credential, Some(&notices)));
    let reply = loop {
        tokio::select! {
            biased;
            Some(notice) = told.recv() => out.say(notice.bytes().clone()).await,
            reply = &mut handling => break reply,
        }
    };
    // What was told before the answer comes before it.
    while let Ok(notice) = told.try_recv() {
        out.say(notice.bytes().clone()).await;
    }
    reply
}
