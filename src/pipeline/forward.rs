//! Attempts: pick an instance, call it, judge what comes back, and try again where that is safe.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    catalog::Argument,
    domain::{Item, Server},
    observe::Line,
    pipeline::{Body, Pipeline},
    problem::{Classify, Kind, Problem, chain},
    traffic::{Candidates, Ticket},
    upstream,
    wire::{Address, Answer, Call, Era, Outcome, ResultType, header},
};

impl Pipeline {
    /// Carries a call to a server, within one deadline for all attempts.
    pub(super) async fn forward(
        &self,
        _ticket: &Ticket,
        candidates: &Candidates<'_>,
        call: &Call,
        line: &mut Line,
    ) -> Result<Body, Problem> {
        let server = candidates.server();
        let seconds = server.timeout_seconds.unwrap_or(self.settings.timeout_seconds);
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        let params = param_headers(candidates.item(), call)?;
        let subject = Some(&*candidates.item().name).filter(|_| renames(candidates, call));
        let address = Address { subject, params: &params };
        let mut instances = candidates.instances().iter().cycle();
        for attempt in 1.. {
            let instance = instances.next().ok_or_else(|| none_left(server))?;
            line.attempt();
            match self.upstream.ask(instance, &call.request, address, deadline).await {
                Ok(answer) => {
                    self.registry.answered(server);
                    if is_about_headers(&answer) {
                        // Its definition of the item is not the one we have.
                        self.catalog.suspect(&server.id);
                    }
                    return judge(server, call, answer);
                }
                Err(error)
                    if attempt < self.settings.max_attempts
                        && is_safe(&error)
                        && Instant::now() < deadline => {}
                Err(error) => return Err(self.give_up(server, &error, seconds)),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Tells everybody who should know that a server did not answer.
    fn give_up(&self, server: &Server, error: &upstream::Error, seconds: u32) -> Problem {
        let reason = error.to_string();
        match error.kind() {
            // One slow call says little about a server; that it cannot be reached says enough.
            Kind::Timeout => self.catalog.suspect(&server.id),
            Kind::Unavailable | Kind::Upstream if error.is_about_the_server() => {
                self.registry.failed(server, &reason);
                self.catalog.suspect(&server.id);
            }
            _ => {}
        }
        let problem = Problem::new(error.kind(), format!("{}: {reason}", server.name))
            .with_data("server", server.name.as_str())
            .with_cause(chain(error));
        match error.retry_after_seconds() {
            Some(wait) => problem.with_retry_after(wait),
            None if error.kind() == Kind::Timeout => {
                problem.with_data("timeout_seconds", seconds.to_string())
            }
            None => problem,
        }
    }
}

/// Whether a call that failed so may be made again: only one that provably never ran.
fn is_safe(error: &upstream::Error) -> bool {
    !error.was_delivered() && error.retry_after_seconds().is_none()
}

fn none_left(server: &Server) -> Problem {
    Problem::new(Kind::Unavailable, format!("{} has no instance", server.name))
}

/// The headers that repeat arguments of this call. Those of the item's definition are made anew,
/// once the client's own agree with them; those it does not know of go on as they came.
fn param_headers(item: &Item, call: &Call) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
    let brought = call.repeated.as_ref().map(header::Repeated::headers);
    let mut headers = brought.cloned().unwrap_or_default();
    let wanted = item.param_headers.as_deref().unwrap_or_default();
    let arguments: Map<String, Value> = if wanted.is_empty() {
        Map::new()
    } else {
        call.request.param("arguments").unwrap_or_default()
    };
    for wanted in wanted {
        let name = format!("{}{}", header::PARAM_PREFIX, wanted.name);
        let Ok(name) = HeaderName::try_from(name) else { continue };
        headers.remove(&name);
        let Some(argument) = Argument::find(&arguments, &wanted.path) else { continue };
        if let Some(repeated) = &call.repeated {
            repeated.check(&name, |said| argument.is_said_by(said)).map_err(|mismatch| {
                Problem::new(Kind::Invalid, mismatch.to_string()).with_rpc(header::MISMATCH)
            })?;
        }
        headers.insert(name, header::encode(&argument.text));
    }
    Ok(headers.into_iter().filter_map(|(name, value)| Some((name?, value))).collect())
}

/// Whether the server knows the item under another name than the client.
fn renames(candidates: &Candidates<'_>, call: &Call) -> bool {
    call.request.subject() != Some(&*candidates.item().name)
}

/// Whether a server found fault with how the gateway speaks to it, which is no client's business.
fn is_about_headers(answer: &Answer) -> bool {
    let ours = [header::MISMATCH, header::UNSUPPORTED_VERSION];
    matches!(answer.outcome(), Outcome::Error { code } if ours.iter().any(|it| i64::from(*it) == *code))
}

/// Whether what came back can be given to the client.
fn judge(server: &Server, call: &Call, answer: Answer) -> Result<Body, Problem> {
    let is_modern = call.client.revision.era() == Era::Modern;
    let unusable = |what: &str| {
        let message = format!("{} {what}", server.name);
        Err(Problem::new(Kind::Upstream, message).with_data("server", server.name.as_str()))
    };
    match answer.outcome() {
        Outcome::Error { .. } if is_about_headers(&answer) => {
            unusable("refused the headers of the gateway; try again")
        }
        Outcome::Result { r#type: ResultType::Complete, .. } | Outcome::Error { .. } => {
            Ok(Body::Carried(answer))
        }
        // The client's next request carries what was asked for, and finds its way by name.
        Outcome::Result { r#type: ResultType::InputRequired, .. } if is_modern => {
            Ok(Body::Carried(answer))
        }
        Outcome::Result { r#type: ResultType::InputRequired, .. } => unusable(
            "asks for input, which this client's revision cannot give through the gateway yet",
        ),
        Outcome::Result { r#type: ResultType::Unknown, .. } => {
            unusable("answered with a kind of result that the gateway does not know")
        }
    }
}
