//! What is summed up of calls, by hour and by day.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    admin::{
        Office,
        audit::moment,
        desk::{Failure, Visitor, many},
    },
    domain::{OrganizationId, Timestamp},
    observe::{About, Span, Sum, SumsWanted},
    problem::{Kind, Problem},
};

/// The most spans in one answer.
const SPANS: i64 = 10_000;

/// Which sums are wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default = "hourly", alias = "window_type")]
    window: Span,
    #[serde(default, alias = "start_time")]
    since: Option<String>,
    #[serde(default, alias = "end_time")]
    until: Option<String>,
    #[serde(default)]
    server: Option<String>,
    #[serde(default, alias = "rpc_method")]
    method: Option<String>,
    /// What sums are told apart by: `server`, `method`, or both with a comma between.
    #[serde(default)]
    by: String,
}

const fn hourly() -> Span {
    Span::Hourly
}

/// What a row is about.
type Key = (Timestamp, Option<OrganizationId>, Option<String>, Option<String>);

/// Lists sums in the order of time, each organization's for itself.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let (mut by_server, mut by_method) = (false, false);
    for word in asked.by.split(',').filter(|word| !word.is_empty()) {
        match word {
            "server" => by_server = true,
            "method" => by_method = true,
            _ => return Err(invalid("by names server, method, or both with a comma between")),
        }
    }
    let until = moment("until", asked.until.as_deref())?.unwrap_or_else(|| office.clock.now());
    let since = moment("since", asked.since.as_deref())?;
    let since = since.unwrap_or_else(|| Timestamp::from_ms(until.as_ms() - usual(asked.window)));
    if (until.as_ms().saturating_sub(since.as_ms())) / asked.window.ms() > SPANS {
        return Err(invalid("that is a longer time than one answer holds: ask for parts of it"));
    }
    let wanted = SumsWanted {
        span: asked.window,
        since,
        until,
        organization: caller.confined_to(),
        server: asked.server,
        method: asked.method,
    };
    let mut rows: BTreeMap<Key, Sum> = BTreeMap::new();
    for (about, sum) in office.book.sums(wanted).await? {
        let begin = about.begin();
        let About { organization, server, method, .. } = about;
        let server = server.filter(|_| by_server);
        let key = (begin, organization, server, by_method.then_some(method));
        rows.entry(key).or_default().add(&sum);
    }
    let rows: Vec<Value> = rows.iter().map(|(key, sum)| row(asked.window, key, sum)).collect();
    Ok(many(&rows))
}

fn invalid(message: &str) -> Failure {
    Problem::new(Kind::Invalid, message).into()
}

/// Over how long sums are shown where nothing is said, in milliseconds.
fn usual(span: Span) -> i64 {
    let days = match span {
        Span::Hourly => 1,
        Span::Daily => 30,
    };
    i64::try_from((Duration::from_hours(24) * days).as_millis()).unwrap_or(i64::MAX)
}

fn row(span: Span, (begin, organization, server, method): &Key, sum: &Sum) -> Value {
    json!({
        "window_type": span,
        "window_start": begin.to_string(),
        "organization_id": organization.map(|it| it.to_string()),
        "server": server,
        "rpc_method": method,
        "total_requests": sum.total,
        "success_requests": sum.total - sum.failed,
        "error_requests": sum.failed,
        "p50_ms": sum.percentile_ms(0.5),
        "p95_ms": sum.percentile_ms(0.95),
        "p99_ms": sum.percentile_ms(0.99),
        "avg_duration_ms": sum.mean_ms(),
        "bytes_in": sum.bytes_in,
        "bytes_out": sum.bytes_out,
    })
}
