//! The path: every call of every transport walks it, and its stages hand over evidence.

mod answer;
mod filter;
mod forward;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Credential},
    catalog::{self, Catalog},
    domain::{ItemKind, PrincipalKind},
    observe::{Journal, Line, Outcome},
    problem::{Classify, Problem},
    registry::Registry,
    traffic::{self, Route, Traffic},
    upstream::Upstream,
    wire::{Answer, Call},
};

/// The JSON-RPC code of a session or endpoint that is not there.
pub(crate) const NOT_THERE: i32 = -32001;

/// How long calls may take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Seconds for a call with all its attempts, where its server says nothing else.
    pub(crate) timeout_seconds: u32,
    /// Attempts at a call that provably never reached a server.
    pub(crate) max_attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout_seconds: 60, max_attempts: 3 }
    }
}

/// The path of the house.
#[derive(Clone)]
pub(crate) struct Pipeline {
    settings: Settings,
    access: Access,
    catalog: Catalog,
    traffic: Traffic,
    registry: Registry,
    upstream: Upstream,
    journal: Journal,
}

/// The rooms that the path leads through.
pub(crate) struct Rooms {
    pub(crate) access: Access,
    pub(crate) catalog: Catalog,
    pub(crate) traffic: Traffic,
    pub(crate) registry: Registry,
    pub(crate) upstream: Upstream,
    pub(crate) journal: Journal,
}

/// What comes back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The answer.
    pub(crate) body: Body,
    /// Who asked, as it turned out.
    pub(crate) caller: PrincipalKind,
}

/// An answer without the client's id.
#[derive(Debug)]
pub(crate) enum Body {
    /// What a server said.
    Carried(Answer),
    /// What the gateway says itself: a result in today's dialect.
    Made {
        /// The result, as JSON.
        result: Bytes,
        /// Whether clients of every revision can read it as it is.
        fits_all: bool,
    },
}

impl Pipeline {
    /// A path through these rooms.
    pub(crate) fn new(settings: Settings, rooms: Rooms) -> Self {
        let Rooms { access, catalog, traffic, registry, upstream, journal } = rooms;
        Self { settings, access, catalog, traffic, registry, upstream, journal }
    }

    /// Carries a call from its client to an answer, and leaves one line of it.
    pub(crate) async fn handle(
        &self,
        call: &Call,
        credential: &Credential,
    ) -> Result<Reply, Problem> {
        let mut line = self.journal.open(call);
        let outcome = self.walk(call, credential, &mut line).await;
        line.close(told(&outcome));
        outcome
    }

    /// Whether a call with this credential would get past the first stage now.
    pub(crate) fn knows(&self, credential: &Credential) -> bool {
        self.access.authenticate(credential).is_ok()
    }

    async fn walk(
        &self,
        call: &Call,
        credential: &Credential,
        line: &mut Line,
    ) -> Result<Reply, Problem> {
        let caller = self.access.authenticate(credential)?;
        line.caller(caller.principal());
        caller.owns(call.session.as_ref()).map_err(not_there)?;
        let kind = caller.principal().kind.clone();
        let target = self.catalog.find(&caller, call).await.map_err(not_found)?;
        line.target(&target);
        let permit = self.access.authorize(caller, &target).map_err(|denied| hide(denied, call))?;
        let ticket = self.traffic.admit(&permit, &target).map_err(|full| {
            Problem::from(full).with_retry_after(traffic::Error::RETRY_AFTER_SECONDS)
        })?;
        let body = match self.traffic.route(&target) {
            Route::Here(item) => self.answer(&permit, item, call).await?,
            Route::There(candidates) => self.forward(&ticket, &candidates, call, line).await?,
        };
        Ok(Reply { body: filter::apply(&self.catalog, &permit, &target, call, body), caller: kind })
    }
}

/// What JSON-RPC calls a method that is not served, and MCP an endpoint or session that is not
/// there.
fn not_found(error: catalog::Error) -> Problem {
    match error {
        catalog::Error::NoMethod(_) => Problem::from(error).with_rpc(-32601),
        catalog::Error::NoEndpoint(_) => not_there(error),
        catalog::Error::Unknown { kind: ItemKind::Resource, ref name } => {
            let uri = name.clone();
            Problem::from(error).with_data("uri", uri)
        }
        _ => error.into(),
    }
}

fn not_there(error: impl Classify) -> Problem {
    Problem::from(error).with_rpc(NOT_THERE)
}

/// A caller who may not use an item is told what one hears who asks for nothing: that it is
/// unknown. The journal has the truth.
fn hide(denied: crate::access::Error, call: &Call) -> Problem {
    let truth = denied.to_string();
    let Some(kind) = answer::item_kind(call.method()) else { return denied.into() };
    let name = call.request.subject().unwrap_or_default();
    not_found(catalog::Error::unknown(kind, name)).with_cause(truth)
}

fn told(outcome: &Result<Reply, Problem>) -> Outcome<'_> {
    use crate::wire::Outcome as Said;
    match outcome {
        Err(problem) => Outcome::Problem(problem),
        Ok(Reply { body: Body::Made { .. }, .. }) => Outcome::Ok,
        Ok(Reply { body: Body::Carried(answer), .. }) => match answer.outcome() {
            Said::Result { is_error: true, .. } => Outcome::ToolError,
            Said::Result { .. } => Outcome::Ok,
            Said::Error { code } => Outcome::ServerError(*code),
        },
    }
}
