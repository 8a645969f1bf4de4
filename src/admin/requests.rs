//! The book of calls: looked through, listened to, taken along.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::{
    access::{Access, Caller, Credential, Leash, Reach},
    admin::{
        Office,
        audit::{self, moment},
        desk::{Failure, Visitor, one},
    },
    domain::Permission,
    edge,
    observe::{Book, Page, RequestLine, Search, Sheet, Wanted, Word},
    problem::{Kind, Problem},
    wire::{csv_field, csv_text, encode_event_with_id},
};

/// The most lines in one answer.
const MOST: usize = 1_000;

/// Lines that are read at once where all are taken along. Small, because many may be slow to take
/// theirs.
const PIECE: usize = 200;

/// Which lines are wanted, in our words and those of predecessors.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    #[serde(alias = "start_time")]
    since: Option<String>,
    #[serde(alias = "end_time")]
    until: Option<String>,
    #[serde(alias = "user_id")]
    caller: Option<String>,
    #[serde(alias = "client_id")]
    client: Option<String>,
    server: Option<String>,
    #[serde(alias = "tool")]
    item: Option<String>,
    #[serde(alias = "rpc_method")]
    method: Option<String>,
    outcome: Option<String>,
    level: Option<String>,
    error: Option<bool>,
    policy: Option<String>,
    decision: Option<String>,
    endpoint: Option<String>,
    transport: Option<String>,
    #[serde(alias = "session_id")]
    session: Option<String>,
    instance: Option<String>,
    #[serde(alias = "remote_ip")]
    address: Option<String>,
    path: Option<String>,
    request_id: Option<String>,
    #[serde(alias = "search")]
    text: Option<String>,
    min_ms: Option<f64>,
    max_ms: Option<f64>,
    before: Option<u64>,
    after: Option<u64>,
    limit: Option<usize>,
    offset: usize,
    /// Whether all that fit are counted.
    total: bool,
    /// `jsonl` or `csv`, where lines are taken along.
    format: Option<String>,
}

/// Milliseconds as the microseconds that lines have.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of floats stops at the ends"
)]
fn us(name: &str, ms: Option<f64>) -> Result<Option<u64>, Problem> {
    match ms {
        Some(ms) if !(ms.is_finite() && ms >= 0.0) => {
            Err(Problem::new(Kind::Invalid, format!("{name} is a number of milliseconds")))
        }
        ms => Ok(ms.map(|ms| (ms * 1_000.0) as u64)),
    }
}

impl Asked {
    fn wanted(&self, caller: &Caller) -> Result<Wanted, Problem> {
        let columns = [
            (Word::Caller, &self.caller),
            (Word::Client, &self.client),
            (Word::Server, &self.server),
            (Word::Item, &self.item),
            (Word::Method, &self.method),
            (Word::Outcome, &self.outcome),
            (Word::Policy, &self.policy),
            (Word::Decision, &self.decision),
            (Word::Endpoint, &self.endpoint),
            (Word::Via, &self.transport),
            (Word::Session, &self.session),
            (Word::Instance, &self.instance),
            (Word::Address, &self.address),
            (Word::Path, &self.path),
            (Word::RequestId, &self.request_id),
        ];
        let (failed, status_from, status_below) = match self.level.as_deref() {
            None => (self.error, None, None),
            Some("info") => (Some(false), None, None),
            Some("warning") => (Some(true), None, Some(500)),
            Some("error") => (Some(true), Some(500), None),
            Some(_) => {
                let message = "level is info, warning or error: there are no other ones here";
                return Err(Problem::new(Kind::Invalid, message));
            }
        };
        let said = |(column, said): (Word, &Option<String>)| Some((column, said.clone()?));
        Ok(Wanted {
            organization: caller.confined_to(),
            words: columns.into_iter().filter_map(said).collect(),
            since: moment("since", self.since.as_deref())?,
            until: moment("until", self.until.as_deref())?,
            slow_us: us("min_ms", self.min_ms)?,
            quick_us: us("max_ms", self.max_ms)?,
            failed,
            status_from,
            status_below,
            text: self.text.clone(),
            before: self.before,
            after: self.after,
        })
    }
}

/// What kind of lines is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Sort {
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// Lists lines of the audit, or of calls where that is said.
pub(super) async fn logs(
    visitor: Visitor,
    State(office): State<Office>,
    Query(sort): Query<Sort>,
    uri: Uri,
) -> Result<Response, Failure> {
    let unread = |error: QueryRejection| Problem::new(Kind::Invalid, error.body_text());
    match sort.kind.as_deref() {
        None | Some("audit") => {
            let wanted = Query::try_from_uri(&uri).map_err(unread)?;
            audit::list(visitor, State(office.store), wanted).await
        }
        Some("request") => {
            visitor.0.may(Permission::LogsRead)?;
            let asked = Query::try_from_uri(&uri).map_err(unread)?;
            list(visitor, State(office.book), asked).await
        }
        Some(_) => Err(Problem::new(Kind::Invalid, "the type is audit or request").into()),
    }
}

/// Lists lines of calls, the newest first.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(book): State<Book>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let limit = asked.limit.unwrap_or(100).clamp(1, MOST);
    let page = Page { limit, offset: asked.offset, counts_all: asked.total };
    let found = book.search(asked.wanted(&caller)?, page).await?;
    let next = found.lines.last().filter(|_| found.has_more).map(|line| line.id);
    let body = json!({
        "success": true,
        "data": found.lines,
        "count": found.lines.len(),
        "pagination": {
            "limit": limit,
            "offset": asked.offset,
            "total": found.total,
            "before": next,
        },
    });
    Ok(Json(body).into_response())
}

/// Shows one line, by its number or the id of its request.
pub(super) async fn show(
    Visitor(caller): Visitor,
    State(book): State<Book>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let mut wanted = Asked::default().wanted(&caller)?;
    match id.parse::<u64>() {
        Ok(number) => {
            (wanted.before, wanted.after) = (Some(number.saturating_add(1)), number.checked_sub(1));
        }
        Err(_) => wanted.words.push((Word::RequestId, id)),
    }
    let page = Page { limit: 1, offset: 0, counts_all: false };
    let found = book.search(wanted, page).await?.lines.pop();
    let unknown = || Problem::new(Kind::NotFound, "there is no such line");
    let line = found.ok_or_else(unknown)?;
    let body = book.said(&line).await?;
    Ok(one(Whole { line, body }))
}

/// A line with what was said, where that is kept.
#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    line: RequestLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
}

/// Somebody who hears of lines as they come.
struct Listener {
    lines: broadcast::Receiver<Arc<Vec<u8>>>,
    search: Search,
    access: Access,
    credential: Credential,
    leash: Leash,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// Whether they may hear of them still.
    fn may(&self) -> bool {
        let caller = self.access.authenticate(&self.credential);
        caller.is_ok_and(|caller| caller.may(Permission::LogsRead).is_ok())
    }

    /// What fits of a sheet, as events.
    fn events(&self, bytes: &[u8]) -> Vec<u8> {
        let mut events = Vec::new();
        let Some(sheet) = Sheet::read(bytes) else { return events };
        let Some(sieve) = self.search.sieve(&sheet) else { return events };
        for row in (0..sheet.rows()).filter(|row| sieve.fits(*row)) {
            let line = RequestLine::of(&sheet, row);
            let data = serde_json::to_vec(&line).expect("a line is always JSON");
            events.extend(encode_event_with_id(&data, &line.id.to_string()));
        }
        events
    }
}

impl edge::Source for Listener {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let came = tokio::select! {
                biased;
                () = self.leash.over() => return None,
                came = self.lines.recv() => came,
            };
            if !self.may() {
                return None;
            }
            match came {
                Ok(bytes) => {
                    let events = self.events(&bytes);
                    if !events.is_empty() {
                        return Some(events.into());
                    }
                }
                // The book has what was missed.
                Err(broadcast::error::RecvError::Lagged(batches)) => {
                    let said = json!({ "missed_batches": batches });
                    return Some(format!("event: missed\ndata: {said}\n\n").into());
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Tells of lines as they come, each as an event that bears its number.
pub(super) async fn live(
    Visitor(caller): Visitor,
    credential: Option<Extension<Credential>>,
    State(office): State<Office>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let Office { access, book, house, .. } = office;
    let credential = credential.map_or(Credential::None, |Extension(credential)| credential);
    let listener = Listener {
        _place: book.listener()?,
        lines: book.listen()?,
        search: Search::new(asked.wanted(&caller)?),
        leash: access.leash(&credential, Reach::Credential),
        access,
        credential,
    };
    // Said at once, so that a client knows that it hears.
    let hello = Bytes::from_static(b": listening\n\n");
    Ok(edge::stream_of(edge::events(listener, Some(hello), house.closing())))
}

/// What a line has as CSV.
const COLUMNS: [&str; 22] = [
    "id",
    "timestamp",
    "request_id",
    "organization_id",
    "user_id",
    "client_id",
    "remote_ip",
    "transport",
    "endpoint",
    "rpc_method",
    "server",
    "instance",
    "item",
    "outcome",
    "status_code",
    "duration_ms",
    "attempts",
    "decision",
    "policy",
    "request_bytes",
    "response_bytes",
    "problem",
];

fn row(line: &Value) -> String {
    COLUMNS.map(|column| csv_field(&csv_text(line.get(column))).into_owned()).join(",")
}

/// Hands out all lines that fit, the newest first, a piece at a time.
pub(super) async fn export(
    Visitor(caller): Visitor,
    State(book): State<Book>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let (is_csv, kind) = match asked.format.as_deref() {
        None | Some("jsonl") => (false, "application/jsonl"),
        Some("csv") => (true, "text/csv; charset=utf-8"),
        Some(_) => return Err(Problem::new(Kind::Invalid, "the format is jsonl or csv").into()),
    };
    let wanted = asked.wanted(&caller)?;
    let page = Page { limit: PIECE, offset: 0, counts_all: false };
    // The first piece is read before anything is said: what fails then is told.
    let first = book.search(wanted.clone(), page).await?;
    let heading = if is_csv { COLUMNS.join(",") + "\n" } else { String::new() };
    let start = (Some(first), heading);
    let pieces = stream::try_unfold(start, move |(found, mut text)| {
        let (book, mut wanted) = (book.clone(), wanted.clone());
        async move {
            let Some(found) = found else { return Ok(None) };
            for line in &found.lines {
                let json = json!(line);
                text.push_str(&if is_csv { row(&json) } else { json.to_string() });
                text.push('\n');
            }
            wanted.before = found.lines.last().map(|line| line.id);
            let next = if found.has_more {
                Some(book.search(wanted, page).await.map_err(std::io::Error::other)?)
            } else {
                None
            };
            Ok::<_, std::io::Error>(Some((Bytes::from(text), (next, String::new()))))
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
