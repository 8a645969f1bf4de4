//! The audit: who changed what.

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    admin::desk::{Failure, Visitor, one},
    domain::{AuditLine, Timestamp},
    observe::{
        audit::{self, Search},
        report,
    },
    problem::{Kind, Problem},
    store::Store,
};

/// The most lines in one answer.
const MOST: usize = 1_000;

/// Which lines are wanted, in the words of predecessors.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    resource_type: Option<String>,
    #[serde(default)]
    resource_id: Option<String>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    actor_id: Option<String>,
    #[serde(default, alias = "start_time")]
    since: Option<String>,
    #[serde(default, alias = "end_time")]
    until: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
}

/// Lists lines, the newest first: of the caller's organization, or of all for those who stand
/// above them.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(store): State<Store>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let limit = wanted.limit.unwrap_or(100).clamp(1, MOST);
    let search = Search {
        organization: caller.confined_to(),
        noun: wanted.resource_type,
        action: wanted.action,
        actor: wanted.actor_id,
        thing: wanted.resource_id,
        since: moment("since", wanted.since.as_deref())?,
        until: moment("until", wanted.until.as_deref())?,
    };
    let (lines, total) = audit::search(&store.read()?, &search, (limit, wanted.offset))?;
    let data: Vec<Value> = lines.iter().map(shown).collect();
    let body = json!({
        "success": true,
        "data": data,
        "count": data.len(),
        "pagination": { "limit": limit, "offset": wanted.offset, "total": total },
    });
    Ok(Json(body).into_response())
}

/// About what time a report is.
#[derive(Debug, Deserialize)]
pub(super) struct About {
    #[serde(default, alias = "start_time")]
    since: Option<String>,
    #[serde(default, alias = "end_time")]
    until: Option<String>,
}

/// Reports who could do what and when, and who changed what: in the caller's organization, or in
/// all for those who stand above them.
pub(super) async fn report(
    Visitor(caller): Visitor,
    State(store): State<Store>,
    Query(about): Query<About>,
) -> Result<Response, Failure> {
    let since = moment("since", about.since.as_deref())?.unwrap_or(Timestamp::from_ms(0));
    let until = moment("until", about.until.as_deref())?.unwrap_or(Timestamp::from_ms(i64::MAX));
    Ok(one(report::report(&store.read()?, caller.confined_to(), (since, until))?))
}

/// Verifies the whole audit.
pub(super) async fn verify(State(store): State<Store>) -> Result<Response, Failure> {
    Ok(one(audit::verify(&store.read()?)?))
}

/// The moment that a parameter names.
pub(super) fn moment(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let read = |text: &str| {
        let wrong = || format!("{name} is no moment, such as 2026-11-30T20:00:00Z");
        Timestamp::parse(text).ok_or_else(|| Problem::new(Kind::Invalid, wrong()))
    };
    text.map(read).transpose()
}

/// What a thing was or is, as it is kept.
fn values(json: Option<&str>) -> Option<Value> {
    json.and_then(|json| serde_json::from_str(json).ok())
}

fn shown(line: &AuditLine) -> Value {
    json!({
        "id": line.sequence,
        "created_at": line.at.to_string(),
        "organization_id": line.organization.map(|it| it.to_string()),
        "action": audit::action(line),
        "resource_type": line.noun,
        "resource_id": line.id,
        "resource_name": line.name,
        "actor_id": line.actor,
        "actor_ip": line.from,
        "old_values": values(line.old.as_deref()),
        "new_values": values(line.new.as_deref()),
        "detail": line.detail,
        "chain": line.chain.map(|it| it.to_string()),
    })
}
