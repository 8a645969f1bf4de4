//! Requests of HTTP that came by a route: carried to an instance, and back, within the same limits
//! as calls.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    access::Permit,
    domain::{HeaderChange, HttpRoute, Server},
    observe::Line,
    pipeline::{Body, Pipeline, forward::is_safe, relay::Patience},
    problem::{Kind, Problem},
    traffic::{self, Candidates, Pick, Ticket},
    upstream::{self, Parcel},
    wire::{Exchange, header::named_by_connection, project},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way back.
pub(crate) type Flow = UnsyncBoxBody<Bytes, BoxError>;

/// Statuses by which a server, or whatever stands before it, says that it does not work now.
const UNWELL: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];

impl Pipeline {
    /// Carries a request to a server, and what it says back.
    pub(super) async fn exchange(
        &self,
        ticket: Ticket,
        (permit, candidates): (&Permit, &Candidates<'_>),
        exchange: &Exchange,
        line: &mut Line,
    ) -> Result<Body, Problem> {
        let server = candidates.server();
        let seconds = exchange.rule().timeout_seconds.or(server.timeout_seconds);
        let patience = Duration::from_secs(seconds.unwrap_or(self.settings.timeout_seconds).into());
        let mut headers = exchange.headers.clone();
        change(&mut headers, &exchange.rule().request.headers);
        let is_read = exchange.rule().response.json.is_some() || permit.obliges();
        if is_read {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let body = match &exchange.rule().request.json {
            Some(projection) if !exchange.body.is_empty() => {
                let text = std::str::from_utf8(&exchange.body).ok();
                let projected = text.and_then(|text| project(text, projection));
                let wrong = "the body is no JSON that has what the route sends on";
                projected.ok_or_else(|| Problem::new(Kind::Invalid, wrong))?.into()
            }
            _ => exchange.body.clone(),
        };
        let target = exchange.target();
        let verb = &exchange.verb;
        let parcel = Parcel { verb, target: &target, headers: &headers, body: &body };
        let trip = Trip { permit, candidates, parcel, patience };
        let (pick, response) = self.attempt_exchange(&trip, line).await?;
        let (mut head, incoming) = response.into_parts();
        let has_no_body = *verb == http::Method::HEAD || head.status == StatusCode::NO_CONTENT;
        // How it came is not how it goes on.
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        clean(&mut head.headers);
        let body = if is_read && !has_no_body {
            let limit = self.upstream.answer_bytes();
            let read = Read { server, patience, limit };
            let whole = read.whole(&mut head.headers, incoming).await?;
            let text = whole_text(exchange, permit, head.status, whole)
                .map_err(|what| withheld(server, what))?;
            drop((pick, ticket));
            Full::new(text).map_err(|never| match never {}).boxed_unsync()
        } else {
            let timer = Box::pin(sleep(patience));
            Stream { incoming, patience, timer, _held: (pick, ticket) }.boxed_unsync()
        };
        change(&mut head.headers, &exchange.rule().response.headers);
        Ok(Body::Exchanged(Box::new(Response::from_parts(head, body))))
    }

    /// Asks one instance after the other, as long as that is safe.
    async fn attempt_exchange(
        &self,
        trip: &Trip<'_>,
        line: &mut Line,
    ) -> Result<(Pick, Response<Incoming>), Problem> {
        let Trip { permit, candidates, parcel, patience } = trip;
        let server = candidates.server();
        let account = self.links.account(server, permit.caller())?;
        let is_repeatable = parcel.verb.is_idempotent();
        let mut attempts = candidates.attempts();
        let deadline = Instant::now() + *patience;
        let whole = Patience { deadline, step: *patience, last: deadline };
        loop {
            let pick = candidates.next(&mut attempts, None);
            let pick = pick.map_err(traffic::Error::into_problem)?;
            line.attempt(pick.instance().id);
            let left = self.settings.max_attempts.saturating_sub(attempts.count());
            let others = u32::try_from(candidates.untried(&attempts)).unwrap_or(u32::MAX).min(left);
            // One that hangs shall leave time for others.
            let own = if is_repeatable { whole.shared_with(others) } else { whole };
            let carried =
                self.upstream.carry(pick.instance(), account.as_ref(), parcel, own.deadline).await;
            let may_go_on = || others > 0 && Instant::now() < whole.deadline;
            match carried {
                Ok(response) if UNWELL.contains(&response.status()) => {
                    pick.failed(&format!("it answered with status {}", response.status()));
                    if !(is_repeatable && may_go_on() && candidates.may_retry()) {
                        return Ok((pick, response));
                    }
                }
                Ok(response) => {
                    pick.answered();
                    return Ok((pick, response));
                }
                Err(error) => {
                    if error.is_about_the_server() && !error.is_about_the_token() {
                        pick.failed(&error.to_string());
                    }
                    let is_safe = is_safe(&error, is_repeatable);
                    if !(is_safe && may_go_on() && candidates.may_retry()) {
                        let seconds = u32::try_from(patience.as_secs()).unwrap_or(u32::MAX);
                        return Err(self.give_up(server, &error, seconds));
                    }
                }
            }
        }
    }
}

/// A request that is ready to go.
struct Trip<'a> {
    permit: &'a Permit,
    candidates: &'a Candidates<'a>,
    parcel: Parcel<'a>,
    patience: Duration,
}

/// Sets and leaves out headers.
fn change(headers: &mut HeaderMap, by: &HeaderChange) {
    for name in &by.remove {
        headers.remove(name.as_str());
    }
    for (name, value) in &by.set {
        // They were checked when they were written.
        if let (Ok(name), Ok(value)) =
            (name.parse::<header::HeaderName>(), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
}

/// Takes out what belongs to one connection only, and what would let a server act as the gateway's
/// own page.
fn clean(headers: &mut HeaderMap) {
    let mut gone = named_by_connection(headers);
    let is_gone = |name: &&header::HeaderName| {
        **name != header::CONTENT_LENGTH
            && (HttpRoute::is_framing(name) || HttpRoute::is_wall(name))
    };
    gone.extend(headers.keys().filter(is_gone).cloned());
    for name in gone {
        headers.remove(name);
    }
}

/// How a body is read that is looked into.
struct Read<'a> {
    server: &'a Server,
    patience: Duration,
    limit: usize,
}

impl Read<'_> {
    async fn whole(&self, headers: &mut HeaderMap, body: Incoming) -> Result<Bytes, Problem> {
        headers.remove(header::CONTENT_LENGTH);
        let coding = headers.get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(withheld(self.server, "is compressed, which nobody asked for"));
        }
        let reading = Limited::new(body, self.limit).collect();
        match tokio::time::timeout(self.patience, reading).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(withheld(self.server, &format!("is longer than {} bytes", self.limit)))
            }
            Ok(Err(_)) => Err(withheld(self.server, "broke off")),
            Err(_) => {
                let problem = upstream::Error::too_slow(self.patience);
                Err(Problem::new(Kind::Timeout, format!("{}: {problem}", self.server.name)))
            }
        }
    }
}

/// A body as it goes on: what the route takes of it, without what policies keep back.
fn whole_text(
    exchange: &Exchange,
    permit: &Permit,
    status: StatusCode,
    whole: Bytes,
) -> Result<Bytes, &'static str> {
    let text = std::str::from_utf8(&whole).ok();
    let projection = exchange.rule().response.json.as_ref().filter(|_| status.is_success());
    let projected = match projection {
        Some(projection) => {
            let part = text.and_then(|text| project(text, projection));
            Some(part.ok_or("is no JSON that has what the route sends back")?)
        }
        None => None,
    };
    if !permit.obliges() {
        return Ok(projected.map_or(whole, Bytes::from));
    }
    let text = projected.as_deref().or(text);
    let said = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let said =
        said.ok_or("is no JSON, so that nothing can be taken out of it as a policy wants")?;
    // Policies know what is said by where tools say it.
    let mut result = json!({ "structuredContent": said });
    permit.redact(&mut result);
    Ok(result["structuredContent"].to_string().into())
}

fn withheld(server: &Server, what: &str) -> Problem {
    let message = format!("what {} answered {what}", server.name);
    Problem::new(Kind::Upstream, message).with_data("server", server.name.as_str())
}

/// A body that goes on as it comes. The call is in flight until it ends.
struct Stream {
    incoming: Incoming,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    _held: (Pick, Ticket),
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                let next = Instant::now() + self.patience;
                self.timer.as_mut().reset(next);
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending if self.timer.as_mut().poll(context).is_ready() => {
                Poll::Ready(Some(Err("the server paused for too long".into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}
