//! Sessions of clients.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::Caller,
    admin::{
        House, Office,
        desk::{Failure, Visitor, done, one},
    },
    domain::{Namespace, Permission, PrincipalKind, Scope, SessionId, Sight},
    edge::{SessionView, Sessions},
    problem::{Kind, Problem},
    registry::{Directory, Registry},
};

/// Sessions on one page, where nothing else is asked for.
const PAGE: usize = 100;
/// The most on one page.
const LARGEST_PAGE: usize = 1_000;

/// Which sessions somebody wants to see.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sought {
    limit: Option<usize>,
    offset: usize,
    /// The session that stood last on the page before.
    cursor: Option<String>,
    server: Option<String>,
    principal: Option<String>,
    via: Option<String>,
    status: Option<String>,
}

/// Lists sessions: those that are open, and those that ended lately, oldest first.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Query(sought): Query<Sought>,
) -> Result<Response, Failure> {
    let directory = registry.directory();
    let mut found = all(&house, &directory, &caller);
    found.retain(|session| is_sought(session, &sought, &directory, &caller));
    let total = found.len();
    if let Some(cursor) = &sought.cursor {
        let place = place_after(&found, cursor)?;
        found.drain(..place);
    }
    let limit = sought.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let has_more = found.len() > sought.offset.saturating_add(limit);
    let page: Vec<&SessionView> = found.iter().skip(sought.offset).take(limit).collect();
    let shown: Vec<Value> =
        page.iter().map(|session| shown(session, &directory, &caller)).collect();
    let next = page.last().filter(|_| has_more).map(|session| cursor(session));
    Ok(Json(json!({
        "success": true,
        "data": shown,
        "count": page.len(),
        "total": total,
        "nextCursor": next,
    }))
    .into_response())
}

/// Shows one session.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let found = house.sessions()?.show(&SessionId::shown(&id));
    let directory = registry.directory();
    let session = theirs(found, &directory, &caller, Permission::SessionsRead)?;
    Ok(one(shown(&session, &directory, &caller)))
}

/// Ends a session.
pub(super) async fn end(
    Visitor(caller): Visitor,
    State(house): State<House>,
    State(registry): State<Registry>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let session = open((&house, &registry), &caller, &id, Permission::SessionsWrite)?;
    house.sessions()?.end(&session.id);
    tracing::info!(actor = %caller.actor(), connection = %session.request_id, "ended a session");
    Ok(done("the session has ended"))
}

/// An open session that is the caller's own, or that they may do this with.
pub(super) fn open(
    (house, registry): (&House, &Registry),
    caller: &Caller,
    id: &str,
    permission: Permission,
) -> Result<SessionView, Failure> {
    let found = house.sessions()?.show(&SessionId::shown(id)).filter(SessionView::is_open);
    theirs(found, &registry.directory(), caller, permission)
}

/// A session, for those who may know of it. Others hear what one hears of one that is not there.
fn theirs(
    found: Option<SessionView>,
    directory: &Directory,
    caller: &Caller,
    permission: Permission,
) -> Result<SessionView, Failure> {
    let may = |session: &SessionView| {
        is_seen(session, directory, caller)
            && (session.owner == caller.principal().kind || caller.may(permission).is_ok())
    };
    found.filter(may).ok_or_else(|| Problem::new(Kind::NotFound, "there is no such session").into())
}

/// Whether a session lies in the caller's sight: in their organization, and, where they are limited
/// to a part of it, at an endpoint of that part, or their own.
fn is_seen(session: &SessionView, directory: &Directory, caller: &Caller) -> bool {
    let principal = caller.principal();
    let sight = principal.sight();
    let is_inside = || match &session.scope {
        Scope::Everything => false,
        Scope::Namespace(slug) => directory.namespace(&sight, slug.as_str()).is_some(),
        Scope::Server(name) => directory.find(&sight, name).is_some(),
    };
    session.organization == principal.organization
        && (principal.limits.is_none() || session.owner == principal.kind || is_inside())
}

/// The namespace that a session is in: that of its endpoint.
pub(super) fn namespace_of<'a>(
    session: &SessionView,
    directory: &'a Directory,
    caller: &Caller,
) -> Option<&'a Namespace> {
    let sight = caller.principal().sight();
    match &session.scope {
        Scope::Everything => None,
        Scope::Namespace(slug) => directory.namespace(&sight, slug.as_str()),
        Scope::Server(name) => {
            let inside = directory.find(&sight, name)?.namespace;
            directory.namespace(&sight, &inside.to_string())
        }
    }
}

/// Ends the sessions of those who are not let in any more, and those at endpoints that are gone.
pub(super) fn end_strangers(office: &Office) {
    let Ok(sessions) = office.house.sessions() else { return };
    let directory = office.registry.directory();
    let is_gone = |session: &SessionView| match session.scope {
        Scope::Namespace(_) => {
            directory.in_scope(&Sight::whole(session.organization), &session.scope).is_none()
        }
        Scope::Everything | Scope::Server(_) => false,
    };
    for session in sessions.list().iter().filter(|session| session.is_open()) {
        if !office.access.is_let_in(&session.owner) {
            sessions.turn_out(&session.id);
        } else if is_gone(session) {
            sessions.end(&session.id);
        }
    }
}

/// All sessions in the caller's sight, oldest first.
pub(super) fn all(house: &House, directory: &Directory, caller: &Caller) -> Vec<SessionView> {
    let mut all = house.sessions().map_or_else(|_| Vec::new(), Sessions::list);
    all.retain(|session| is_seen(session, directory, caller));
    all.sort_by(|a, b| key(a).cmp(&key(b)));
    all
}

fn key(session: &SessionView) -> (i64, &str) {
    (session.opened_at.as_ms(), session.id.as_str())
}

fn cursor(session: &SessionView) -> String {
    let (opened, id) = key(session);
    format!("{opened}.{id}")
}

/// Where the list goes on, though the session that stood last may be forgotten by now.
fn place_after(sessions: &[SessionView], cursor: &str) -> Result<usize, Failure> {
    let read = || {
        let (opened, id) = cursor.split_once('.')?;
        Some((opened.parse::<i64>().ok()?, id))
    };
    let last = read().ok_or_else(|| Problem::new(Kind::Invalid, "the cursor is none of ours"))?;
    Ok(sessions.partition_point(|session| key(session) <= last))
}

fn is_sought(
    session: &SessionView,
    sought: &Sought,
    directory: &Directory,
    caller: &Caller,
) -> bool {
    let is = |wanted: &Option<String>, said: &str| wanted.as_ref().is_none_or(|it| it == said);
    is(&sought.via, session.via)
        && is(&sought.status, session.status.as_str())
        && sought.principal.as_ref().is_none_or(|wanted| is_of(session, wanted))
        && sought.server.as_ref().is_none_or(|it| is_at(session, it, directory, caller))
}

/// Whether a session is somebody's, by the name that stands in records or by the id alone.
pub(super) fn is_of(session: &SessionView, principal: &str) -> bool {
    let owner = session.owner.to_string();
    owner == principal || owner.split_once(':').is_some_and(|(_, id)| id == principal)
}

/// Whether a session is one with a server, by its name or its id.
pub(super) fn is_at(
    session: &SessionView,
    server: &str,
    directory: &Directory,
    caller: &Caller,
) -> bool {
    let Scope::Server(at) = &session.scope else { return false };
    let find =
        |name: &str| directory.find(&caller.principal().sight(), name).map(|server| server.id);
    **at == *server || find(at).is_some_and(|id| Some(id) == find(server))
}

/// A session as people see it.
pub(super) fn shown(session: &SessionView, directory: &Directory, caller: &Caller) -> Value {
    let sight = caller.principal().sight();
    let (kind, namespace, name) = match &session.scope {
        Scope::Everything => ("gateway", None, None),
        Scope::Namespace(slug) => ("namespace", Some(slug.to_string()), None),
        Scope::Server(name) => ("server", None, Some(&**name)),
    };
    let server = name.and_then(|name| directory.find(&sight, name));
    let namespace = namespace.or_else(|| {
        server.and_then(|it| directory.namespace_name(it.namespace)).map(ToString::to_string)
    });
    let principal = session.owner.to_string();
    let user = (session.owner != PrincipalKind::Anonymous).then_some(&principal);
    let changed = session.ended_at.unwrap_or(session.seen_at);
    json!({
        "id": session.id.as_str(),
        "organization_id": session.organization.to_string(),
        "namespace": namespace,
        "server_id": server.map(|server| server.id.to_string()),
        "server": server.map_or(name, |server| Some(server.name.as_str())),
        "target_kind": kind,
        "protocol": transport(session.via),
        "transport_type": transport(session.via).to_uppercase(),
        "via": session.via,
        "status": session.status.as_str(),
        "client_id": session.client,
        "connection_id": session.request_id.as_str(),
        "principal": principal,
        "user_id": user,
        "started_at": session.opened_at.to_string(),
        "last_activity": session.seen_at.to_string(),
        "ended_at": session.ended_at.map(|at| at.to_string()),
        "created_at": session.opened_at.to_string(),
        "updated_at": changed.to_string(),
        "metadata": {
            "revision": session.revision.as_str(),
            "endpoint": session.scope.to_string(),
        },
    })
}

/// The transport that a session goes by, as predecessors call it.
fn transport(via: &str) -> &str {
    match via {
        "http" | "unix" => "streamable",
        "ws" => "websocket",
        other => other,
    }
}
