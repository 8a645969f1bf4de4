//! Saying something in sessions: to one, or to all of an organization.
//!
//! Whatever is said arrives as a notification, `notifications/tollhouse/event`, so that nobody can
//! put words into a server's mouth, and clients that do not know it pass over it.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    access::Caller,
    admin::{
        House, Office,
        desk::{Checked, Failure, Visitor, done},
        sessions,
        transports::{EVENTS, Family, PING, WEBSOCKET},
    },
    domain::Permission,
    edge::SessionView,
    problem::{Kind, Problem},
    registry::Registry,
};

/// The longest name of an event, in bytes.
const NAME_BYTES: usize = 128;
/// Events that are shown again, where nothing else is asked for.
const PAGE: usize = 50;

/// Something to be said in one session.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(default, rename = "event")]
    name: Option<String>,
    /// What a frame of WebSocket is, in place of a name.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    retry: Option<u64>,
    #[serde(default)]
    session_id: Option<String>,
}

/// Something to be said in many.
#[derive(Debug, Deserialize)]
pub(super) struct Broadcast {
    #[serde(flatten)]
    event: Event,
    #[serde(default)]
    server_id: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    org_id: Option<String>,
}

/// Which session is meant, where it stands in the query.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    session_id: Option<String>,
}

/// Says something in one session that reads events.
pub(super) async fn event(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Query(query): Query<Named>,
    headers: HeaderMap,
    Checked(event): Checked<Event>,
) -> Result<Response, Failure> {
    let name = event.name.clone().unwrap_or_default();
    let message = notification(&name, &event)?;
    let named = event.session_id.or(query.session_id);
    let session = meant((&office.house, &office.registry), &caller, named, &headers, EVENTS)?;
    say(&office.house, &session, message)
}

/// Says something in one session over WebSocket.
pub(super) async fn send(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Query(query): Query<Named>,
    headers: HeaderMap,
    Checked(event): Checked<Event>,
) -> Result<Response, Failure> {
    let named = event.session_id.clone().or(query.session_id);
    let kind = event.kind.clone().unwrap_or_default();
    let message = match &*kind {
        "ping" => None,
        "text" | "binary" | "pong" => Some(notification(&kind, &event)?),
        _ => {
            let message = "\"type\" is none of text, binary, ping, pong";
            return Err(Problem::new(Kind::Invalid, message).into());
        }
    };
    let session = meant((&office.house, &office.registry), &caller, named, &headers, WEBSOCKET)?;
    match message {
        Some(message) => say(&office.house, &session, message),
        None => pinged(&office.house, &session).await,
    }
}

/// Says something in all sessions that read events.
pub(super) async fn broadcast(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Checked(form): Checked<Broadcast>,
) -> Result<Response, Failure> {
    let name = form.event.name.clone().unwrap_or_default();
    say_to_all(&caller, (&house, &registry), EVENTS, (&name, &form))
}

/// Says something in all sessions over WebSocket.
pub(super) async fn ws_broadcast(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Checked(form): Checked<Broadcast>,
) -> Result<Response, Failure> {
    let name = form.event.name.clone().or_else(|| form.event.kind.clone());
    let name = name.unwrap_or_else(|| "text".to_owned());
    say_to_all(&caller, (&house, &registry), WEBSOCKET, (&name, &form))
}

/// Asks the client of a session over WebSocket whether it is there.
pub(super) async fn ping(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Query(query): Query<Named>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let session = meant((&house, &registry), &caller, query.session_id, &headers, WEBSOCKET)?;
    pinged(&house, &session).await
}

/// Ends a session over WebSocket. One that is gone has ended already.
pub(super) async fn close(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Query(query): Query<Named>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let id = name(query.session_id, &headers)?;
    let sessions = house.sessions()?;
    if let Ok(session) =
        sessions::open((&house, &registry), &caller, &id, Permission::SessionsWrite)
        && WEBSOCKET.has(&session)
    {
        sessions.end(&session.id);
    }
    Ok(done("the session has ended"))
}

/// From where events are shown again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Since {
    last_event_id: Option<String>,
    limit: Option<usize>,
}

/// Shows what was said in a session, as far as it is kept.
pub(super) async fn replay(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Path(id): Path<String>,
    Query(since): Query<Since>,
) -> Result<Response, Failure> {
    let sessions = house.sessions()?;
    let session = sessions::open((&house, &registry), &caller, &id, Permission::SessionsRead)?;
    let limit = since.limit.unwrap_or(PAGE).min(1_000);
    let kept = sessions.replay(&session.id, since.last_event_id.as_deref(), limit);
    let kept = kept.unwrap_or_default();
    let events: Vec<Value> = kept
        .iter()
        .map(|(id, message)| {
            let data: Option<&RawValue> = serde_json::from_slice(message).ok();
            json!({ "id": id, "event": "message", "data": data })
        })
        .collect();
    let body = json!({
        "session_id": session.id.as_str(),
        "events": events,
        "count": events.len(),
    });
    Ok(Json(body).into_response())
}

fn name(named: Option<String>, headers: &HeaderMap) -> Result<String, Failure> {
    let header = || headers.get("x-session-id")?.to_str().ok().map(str::to_owned);
    named.or_else(header).filter(|name| !name.is_empty()).ok_or_else(|| {
        let message = "name a session in \"session_id\" or the header X-Session-ID";
        Problem::new(Kind::Invalid, message).into()
    })
}

fn meant(
    (house, registry): (&House, &Registry),
    caller: &Caller,
    named: Option<String>,
    headers: &HeaderMap,
    family: Family,
) -> Result<SessionView, Failure> {
    let id = name(named, headers)?;
    let session = sessions::open((house, registry), caller, &id, Permission::SessionsWrite)?;
    if family.has(&session) {
        return Ok(session);
    }
    Err(Problem::new(Kind::NotFound, "the session goes by another transport").into())
}

fn say(house: &House, session: &SessionView, message: Bytes) -> Result<Response, Failure> {
    let gone = || Problem::new(Kind::NotFound, "the session has ended");
    let event = house.sessions()?.tell(&session.id, message).ok_or_else(gone)?;
    let body = json!({
        "success": true,
        "message": "it was said in the session",
        "session_id": session.id.as_str(),
        "event_id": event,
    });
    Ok(Json(body).into_response())
}

async fn pinged(house: &House, session: &SessionView) -> Result<Response, Failure> {
    let answered = house.sessions()?.ping(&session.id, PING).await;
    let gone = || Problem::new(Kind::NotFound, "the session has ended");
    let has_answered = answered.ok_or_else(gone)?;
    let status = if has_answered { StatusCode::OK } else { StatusCode::GATEWAY_TIMEOUT };
    let message = if has_answered { "the client answered" } else { "the client did not answer" };
    let body = json!({
        "success": has_answered,
        "message": message,
        "session_id": session.id.as_str(),
    });
    Ok((status, Json(body)).into_response())
}

fn say_to_all(
    caller: &Caller,
    (house, registry): (&House, &Registry),
    family: Family,
    (name, form): (&str, &Broadcast),
) -> Result<Response, Failure> {
    let organization = caller.principal().organization.to_string();
    if form.org_id.as_ref().is_some_and(|wanted| *wanted != organization) {
        let message = "only sessions of your own organization can be spoken to";
        return Err(Problem::new(Kind::Forbidden, message).into());
    }
    let message = notification(name, &form.event)?;
    let directory = registry.directory();
    let is_meant = |session: &SessionView| {
        let at = |server| sessions::is_at(session, server, &directory, caller);
        session.is_open()
            && family.has(session)
            && form.user_id.as_ref().is_none_or(|user| sessions::is_of(session, user))
            && form.server_id.as_deref().is_none_or(at)
    };
    let all = sessions::all(house, &directory, caller);
    let meant = all.iter().filter(|session| is_meant(session));
    let doors = house.sessions()?;
    let sent = meant.filter_map(|it| doors.tell(&it.id, message.clone())).count();
    tracing::info!(actor = %caller.actor(), event = name, sent, "said something in all sessions");
    let body = json!({
        "success": true,
        "message": format!("it was said in {sent} sessions"),
        "sent": sent,
    });
    Ok(Json(body).into_response())
}

/// What is said, as a client hears it.
fn notification(name: &str, event: &Event) -> Result<Bytes, Failure> {
    let is_plain =
        !name.is_empty() && name.len() <= NAME_BYTES && !name.chars().any(char::is_control);
    if !is_plain {
        let message = format!("\"event\" is no name of 1 to {NAME_BYTES} bytes");
        return Err(Failure::unprocessable(Problem::new(Kind::Invalid, message)));
    }
    let mut params = json!({ "event": name, "data": event.data });
    if let Some(id) = &event.id {
        params["id"] = id.clone();
    }
    if let Some(retry) = event.retry {
        params["retry"] = retry.into();
    }
    let message = json!({
        "jsonrpc": "2.0",
        "method": "notifications/tollhouse/event",
        "params": params,
    });
    Ok(message.to_string().into())
}
