//! Rate limits, and what became of the calls they were asked about.

use std::collections::{BTreeMap, HashMap};

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    admin::desk::{Checked, Failure, Visitor},
    domain::{Dimension, LimitStanding, RateLimit, RateLimitForm},
    problem::{Kind, Problem},
    traffic::{
        Traffic,
        limit::{Usage, Written},
    },
};

/// Lists the rate limits that hold in an organization.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(traffic): State<Traffic>,
) -> Result<Response, Failure> {
    let found = traffic.limits(caller.principal().organization)?;
    let all: Vec<Value> = found.iter().map(shown).collect();
    let count = all.len();
    let body = json!({ "success": true, "rate_limits": all, "data": all, "count": count });
    Ok(Json(body).into_response())
}

/// Shows one.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(traffic): State<Traffic>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let limit = shown(&traffic.limit(caller.principal().organization, &id)?);
    Ok(Json(json!({ "success": true, "rate_limit": limit, "data": limit })).into_response())
}

/// Makes one.
pub(super) async fn create(
    Visitor(caller): Visitor,
    State(traffic): State<Traffic>,
    Checked(definition): Checked<RateLimitForm>,
) -> Result<Response, Failure> {
    let made = traffic.create_limit(&caller, definition).await;
    let limit = shown(&made.map_err(Failure::unprocessable)?);
    let message = "the rate limit holds from now on";
    let body = json!({ "success": true, "message": message, "rate_limit": limit, "data": limit });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Changes one.
pub(super) async fn update(
    Visitor(caller): Visitor,
    State(traffic): State<Traffic>,
    Path(id): Path<String>,
    Checked(definition): Checked<RateLimitForm>,
) -> Result<Response, Failure> {
    let changed = traffic.update_limit(&caller, &id, definition).await;
    let limit = shown(&changed.map_err(Failure::unprocessable)?);
    let message = "the rate limit holds from now on as it is";
    let body = json!({ "success": true, "message": message, "rate_limit": limit, "data": limit });
    Ok(Json(body).into_response())
}

/// Removes one.
pub(super) async fn remove(
    Visitor(caller): Visitor,
    State(traffic): State<Traffic>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = traffic.remove_limit(&caller, &id).await?.to_string();
    let message = "the rate limit holds no more";
    let body = json!({ "success": true, "message": message, "rate_limit_id": id });
    Ok(Json(body).into_response())
}

/// Says what became of the calls that rate limits were asked about, and, where somebody or
/// something is named, how it stands with each: `?user=ana&tool=wiki_search`.
pub(super) async fn usage(
    Visitor(caller): Visitor,
    State(traffic): State<Traffic>,
    Query(mut named): Query<BTreeMap<String, String>>,
) -> Result<Response, Failure> {
    // Where somebody above organizations works, which was read already.
    named.remove("organization");
    let read = |(name, value): (String, String)| {
        let unknown = |error| Problem::new(Kind::Invalid, format!("{error}"));
        Ok::<_, Problem>((name.parse::<Dimension>().map_err(unknown)?, value))
    };
    let named: HashMap<_, _> = named.into_iter().map(read).collect::<Result<_, _>>()?;
    let used = traffic.limit_usage(&caller, &named)?;
    let all: Vec<Value> = used.iter().map(shown_usage).collect();
    let count = all.len();
    Ok(Json(json!({ "success": true, "data": all, "count": count })).into_response())
}

fn shown(written: &Written) -> Value {
    let Written { limit, is_stored } = written;
    let RateLimit { windows, .. } = limit;
    let of = |seconds| windows.iter().find(|it| it.seconds == seconds).map(|it| it.limit);
    let limits: Vec<Value> = windows
        .iter()
        .map(|it| json!({ "limit": it.limit, "window": in_words(it.seconds), "window_seconds": it.seconds }))
        .collect();
    let only: serde_json::Map<String, Value> = limit
        .only
        .iter()
        .map(|(dimension, values)| (dimension.as_str().to_owned(), json!(values)))
        .collect();
    json!({
        "id": written.id(),
        "organization_id": is_stored.then(|| limit.organization.to_string()),
        "name": limit.name,
        "description": limit.description,
        "scope": limit.scope.to_string(),
        "match": only,
        "algorithm": limit.algorithm,
        "limits": limits,
        // As predecessors say it.
        "requests_per_minute": of(60),
        "requests_per_hour": of(3_600),
        "requests_per_day": of(86_400),
        "burst_limit": limit.burst,
        "is_active": limit.is_active,
        "origin": if *is_stored { "store" } else { "file" },
        "created_by": limit.created_by,
        "created_at": is_stored.then(|| limit.created_at.to_string()),
        "updated_at": is_stored.then(|| limit.updated_at.to_string()),
    })
}

fn in_words(seconds: u32) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let whole = units.iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds}s"), |(unit, word)| format!("{}{word}", seconds / unit))
}

fn shown_usage(usage: &Usage) -> Value {
    let lately = usage.lately.iter().map(|refused| {
        json!({ "key": refused.key, "at": refused.at.to_string(), "times": refused.times })
    });
    let standing = |it: &LimitStanding| {
        json!({
            "limit": it.window.limit,
            "window_seconds": it.window.seconds,
            "used": it.window.limit.saturating_sub(it.remaining),
            "remaining": it.remaining,
            "reset": it.resets_at(),
            "retry_after_seconds": it.wait_ms.div_ceil(1_000),
        })
    };
    json!({
        "id": usage.written.id(),
        "name": usage.written.limit.name,
        "scope": usage.written.limit.scope.to_string(),
        "is_active": usage.written.limit.is_active,
        "allowed": usage.allowed,
        "refused": usage.refused,
        "refused_lately": lately.collect::<Vec<_>>(),
        "standings": usage.standings.iter().map(standing).collect::<Vec<_>>(),
    })
}
