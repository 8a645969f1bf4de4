//! The path: every call of every transport walks it, and its stages hand over evidence.

mod answer;
mod exchange;
mod filter;
mod forward;
mod hedge;
mod issuers;
mod listen;
mod parked;
mod relay;
mod repeat;
mod tasks;

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{TryFutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{self, Access, Caller, Credential, Leash, Permit, Reach},
    catalog::{self, Catalog},
    domain::{
        Instance, InstanceId, ItemKind, LimitStandings, OrganizationId, Principal, PrincipalKind,
        Scope, Server, SessionId, Sight, Strategy, Target,
    },
    links::Links,
    observe::{Journal, Line, Outcome},
    pipeline::{
        forward::{Forwarded, Road, Start},
        listen::Listeners,
        parked::Parked,
        tasks::{Tasks, is_task},
    },
    problem::{Classify, Kind, Problem},
    registry::{Directory, Registry},
    traffic::{self, Counted, Keeping, Route, Ticket, Traffic},
    upstream::Upstream,
    wire::{Answer, Call, InputRequired, Method},
};

pub(crate) use listen::{Filter, Listening};
pub(crate) use relay::{NOTICES, Notices};

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
    /// Milliseconds after which a call that may run twice is made at another instance as well, if
    /// its server has one; 0 never does that.
    pub(crate) hedge_ms: u32,
    /// Seconds that a call may take at most, however much progress it shows.
    pub(crate) longest_seconds: u32,
    /// Seconds that a client has to answer what a server asks in the middle of a call.
    pub(crate) input_seconds: u32,
    /// Calls that wait for input at the same time.
    pub(crate) max_parked: usize,
    /// Of these, for one principal.
    pub(crate) max_parked_per_principal: usize,
    /// Tasks that run or whose results are kept, at the same time.
    pub(crate) max_tasks: usize,
    /// Of these, for one principal.
    pub(crate) max_tasks_per_principal: usize,
    /// Seconds for which the result of a task is kept.
    pub(crate) task_seconds: u32,
    /// Streams at the same time on which clients hear of changes.
    pub(crate) max_listeners: usize,
    /// Resources whose changes one of them hears of, and as many tasks.
    pub(crate) max_resources_per_listener: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_seconds: 60,
            max_attempts: 3,
            hedge_ms: 0,
            longest_seconds: 3_600,
            input_seconds: 300,
            max_parked: 1_000,
            max_parked_per_principal: 100,
            max_tasks: 1_000,
            max_tasks_per_principal: 100,
            task_seconds: 600,
            max_listeners: 20_000,
            max_resources_per_listener: 500,
        }
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
    links: Links,
    upstream: Upstream,
    journal: Journal,
    parked: Arc<Parked>,
    tasks: Arc<Tasks>,
    listeners: Arc<Listeners>,
}

/// The rooms that the path leads through.
pub(crate) struct Rooms {
    pub(crate) access: Access,
    pub(crate) catalog: Catalog,
    pub(crate) traffic: Traffic,
    pub(crate) registry: Registry,
    pub(crate) links: Links,
    pub(crate) upstream: Upstream,
    pub(crate) journal: Journal,
}

/// What comes back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The answer.
    pub(crate) body: Body,
    /// Who asked, as it turned out.
    pub(crate) caller: Principal,
    /// The server that was asked, or whose endpoint it is; none where that is the gateway's own.
    pub(crate) server: Option<Arc<Server>>,
    /// The instance of it that answered; none where none was asked.
    pub(crate) instance: Option<InstanceId>,
    /// Where the call stands with rate limits.
    pub(crate) standings: LimitStandings,
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
    /// Word of changes, for as long as somebody listens.
    Listening(Listening),
    /// The response to a request of HTTP that came by a route, and to no other call.
    Exchanged(Box<http::Response<exchange::Flow>>),
}

impl Body {
    /// What is said; nothing where it is not at hand as a whole.
    fn said(&self) -> &[u8] {
        match self {
            Self::Carried(answer) => answer.bytes(),
            Self::Made { result, .. } => result,
            Self::Listening(_) | Self::Exchanged(_) => &[],
        }
    }

    /// What a server asks in place of an answer; none where it answers.
    pub(crate) fn asks(&self) -> Option<InputRequired> {
        match self {
            Self::Carried(answer) => InputRequired::of(answer),
            Self::Made { .. } | Self::Listening(_) | Self::Exchanged(_) => None,
        }
    }
}

impl Pipeline {
    /// A path through these rooms.
    pub(crate) fn new(settings: Settings, rooms: Rooms) -> Self {
        let Rooms { access, catalog, traffic, registry, links, upstream, journal } = rooms;
        let (parked, tasks, listeners) = (Arc::new(Parked::new()), Arc::default(), Arc::default());
        Self {
            settings,
            access,
            catalog,
            traffic,
            registry,
            links,
            upstream,
            journal,
            parked,
            tasks,
            listeners,
        }
    }

    /// Carries a call from its client to an answer, and leaves one line of it. What its server
    /// says before the answer goes to `notices`, where the client can hear it.
    ///
    /// Boxed here, so that the doors, which are many and deep, carry nothing of its size.
    pub(crate) fn handle<'a>(
        &'a self,
        call: &'a Call,
        credential: &'a Credential,
        notices: Option<&'a Notices>,
    ) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(async move {
            let mut line = self.journal.open(call);
            let outcome = self.walk(call, credential, notices, &mut line).await;
            match &outcome {
                Ok(reply) => line.said(call.said(), reply.body.said()),
                Err(problem) => line.standings(problem.standings()),
            }
            line.close(told(&outcome));
            outcome
        })
    }

    /// Whether a call with this credential would get past the first stage now.
    pub(crate) fn knows(&self, credential: &Credential) -> bool {
        self.who(credential).is_some()
    }

    /// Who shows this credential, if anybody is known by it now.
    pub(crate) fn who(&self, credential: &Credential) -> Option<PrincipalKind> {
        let caller = self.access.authenticate(credential).ok()?;
        Some(caller.principal().kind.clone())
    }

    /// What lies in the sight of whoever shows this credential.
    pub(crate) fn sight(&self, credential: &Credential) -> Result<Sight, Problem> {
        Ok(self.access.authenticate(credential)?.principal().sight())
    }

    /// What is registered now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.registry.directory()
    }

    /// Holds what a credential opens, until it opens nothing any more.
    pub(crate) fn leash(&self, credential: &Credential, reach: Reach) -> Leash {
        self.access.leash(credential, reach)
    }

    /// Prepares a credential that takes longer than a call may wait for; none for others, whose
    /// connections shall not carry what they do not need.
    pub(crate) fn prepare<'a>(
        &'a self,
        credential: &'a Credential,
        from: Option<std::net::IpAddr>,
    ) -> Option<BoxFuture<'a, Result<(), Problem>>> {
        if let Some(issuer) = self.access.keys_due(credential) {
            return Some(Box::pin(async move {
                self.read_keys(credential, &issuer).await;
                Ok(())
            }));
        }
        let preparing = self.access.prepare(credential, from)?;
        Some(Box::pin(preparing.map_err(crate::access::Error::into_problem)))
    }

    /// Sessions that an organization may have open at the same time.
    pub(crate) fn max_sessions(&self, organization: OrganizationId) -> usize {
        self.access.max_sessions(organization)
    }

    /// Keeps calls that wait and clients that listen, until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.sweep(stop.clone()), self.relay_news(stop));
    }

    async fn sweep(&self, stop: CancellationToken) {
        let round = Duration::from_secs(u64::from(self.settings.input_seconds).clamp(1, 5));
        while stop.run_until_cancelled(tokio::time::sleep(round)).await.is_some() {
            self.parked.sweep();
            self.tasks.sweep(self.journal.now());
        }
        self.tasks.end().await;
    }

    /// How calls are shared among the instances of a server.
    pub(crate) fn strategy(&self, server: &Server) -> Strategy {
        self.traffic.strategy_of(server)
    }

    /// The transport by which an instance is reached, as far as it is known.
    pub(crate) fn transport(&self, instance: &Instance) -> &'static str {
        self.upstream.transport(instance)
    }

    /// Whose conversations with servers are theirs alone: sessions, and principals without one.
    pub(crate) fn apart(&self) -> HashSet<Arc<str>> {
        let conversations = self.upstream.conversations();
        conversations.into_iter().filter_map(|one| Some(one.owner?.0)).collect()
    }

    /// Lets go of what a session left behind, here and at servers.
    pub(crate) fn leave(&self, session: &SessionId) {
        self.parked.leave(session);
        self.tasks.leave(session);
        self.upstream.leave(session.as_str());
    }

    async fn walk(
        &self,
        call: &Call,
        credential: &Credential,
        notices: Option<&Notices>,
        line: &mut Line,
    ) -> Result<Reply, Problem> {
        let caller = self.access.authenticate(credential)?;
        line.caller(caller.principal());
        caller.owns(call.session.as_ref()).map_err(not_there)?;
        let principal = caller.principal().clone();
        let veil = self.access.veil(&caller, call);
        let found = self.catalog.find(&caller, call, &veil).await;
        let target = found.map_err(|error| self.not_had(&caller, call, error, line))?;
        line.target(&target);
        let server = self.server(&principal, call, &target);
        let permit = self.access.authorize(caller, &target, call);
        line.verdict(permit.as_ref().map_or_else(access::Error::verdict, Permit::verdict));
        let permit = permit.map_err(|denied| hide(denied, call))?;
        line.permitted();
        let goes_on = call.request.state().is_some_and(Parked::is_ours);
        let counted = if goes_on { Counted::Already } else { Counted::Yes };
        let ticket = self.traffic.admit(&permit, &target, (call, counted)).await;
        let ticket = ticket.map_err(traffic::Error::into_problem)?;
        let standings = ticket.standings();
        line.admitted(&standings);
        let body = match self.traffic.route(&permit, &target) {
            Route::Here(_) if *call.method() == Method::Listen => {
                self.listen(&permit, call).await?
            }
            Route::Here(item) => self.answer(&permit, item, call).await?,
            Route::There(candidates) if let Some(exchange) = &call.exchange => {
                let way = (&permit, &candidates);
                Box::pin(self.exchange(ticket, way, exchange, line)).await?
            }
            Route::There(_) if is_task(call) => {
                return self.begin_task(Start::Anew(ticket), permit, target, call);
            }
            Route::There(candidates) => {
                // What a server says on the way is not looked through, and is kept back.
                let notices = notices.filter(|_| !permit.obliges());
                let road = Road::new(call, &permit, &candidates, notices);
                let forwarded = match self.traffic.keeping(&permit, &target, call) {
                    Some(keeping) => {
                        Box::pin(self.forward_or_recall(keeping, ticket, road, line)).await
                    }
                    None => self.forward(Start::Anew(ticket), road, line).await,
                };
                match forwarded? {
                    Forwarded::Body(body) => body,
                    Forwarded::Task(conversing, ticket) => {
                        let start = Start::GoesOn(conversing, ticket);
                        return self.begin_task(start, permit, target, call);
                    }
                }
            }
        };
        let body = filter::apply(&self.catalog, &permit, &target, call, body);
        Ok(Reply { body, caller: principal, server, instance: line.instance(), standings })
    }

    /// The answer that was kept, or that whoever asks the same gets; else carries the call.
    async fn forward_or_recall(
        &self,
        keeping: Keeping<'_>,
        ticket: Ticket,
        road: Road<'_>,
        line: &mut Line,
    ) -> Result<Forwarded, Problem> {
        let (mut ticket, mut came) = (Some(ticket), None);
        let asking = async {
            let forwarded = Box::pin(self.forward(Start::Anew(ticket.take()?), road, line)).await;
            let answer = match &forwarded {
                Ok(Forwarded::Body(Body::Carried(answer))) => Some(answer.clone()),
                _ => None,
            };
            came = Some(forwarded);
            answer
        };
        let kept = Box::pin(keeping.recall(asking)).await;
        match (came, kept, ticket) {
            (Some(forwarded), ..) => forwarded,
            (None, Some(answer), _) => {
                line.recalled();
                Ok(Forwarded::Body(Body::Carried(answer)))
            }
            // Whoever was asked meanwhile said nothing that could be kept.
            (None, None, Some(ticket)) => self.forward(Start::Anew(ticket), road, line).await,
            (None, None, None) => unreachable!("whoever takes the ticket has an outcome"),
        }
    }

    /// What somebody is told for whom nothing is found. That an item is held is told to those who
    /// could use it otherwise; to others it is unknown, as any.
    fn not_had(
        &self,
        caller: &Caller,
        call: &Call,
        error: catalog::Error,
        line: &mut Line,
    ) -> Problem {
        let catalog::Error::Held { target, .. } = &error else { return not_found(error) };
        line.target(target);
        let permit = self.access.authorize(caller.clone(), target, call);
        line.verdict(permit.as_ref().map_or_else(access::Error::verdict, Permit::verdict));
        match permit {
            Ok(_) => not_found(error),
            Err(denied) => hide(denied, call),
        }
    }

    /// The server that a call is about: whose item it names, or whose endpoint it came by.
    fn server(&self, caller: &Principal, call: &Call, target: &Target) -> Option<Arc<Server>> {
        match (target, &call.scope) {
            (Target::Item { server, .. }, _) => Some(server.clone()),
            (Target::House { .. }, Scope::Server(name)) => {
                self.registry.directory().find(&caller.sight(), name).cloned()
            }
            (Target::House { .. }, _) => None,
        }
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
fn hide(denied: access::Error, call: &Call) -> Problem {
    // Whose token is too narrow may get another, and nothing is hidden from the person.
    if denied.scopes().is_some() {
        return denied.into_problem();
    }
    let unknown = match (call.method(), catalog::sought(call)) {
        _ if denied.kind() != Kind::Forbidden => return denied.into(),
        (Method::Exchange, _) => catalog::Error::NoRoute,
        (_, Some(kind)) => {
            catalog::Error::unknown(kind, call.request.subject().unwrap_or_default())
        }
        (Method::Other(method), None) => catalog::Error::NoMethod(method.to_string()),
        _ => return denied.into(),
    };
    not_found(unknown).with_cause(denied.to_string())
}

fn told(outcome: &Result<Reply, Problem>) -> Outcome<'_> {
    use crate::wire::Outcome as Said;
    match outcome {
        Err(problem) => Outcome::Problem(problem),
        Ok(Reply { body: Body::Made { .. } | Body::Listening(_), .. }) => Outcome::Ok,
        Ok(Reply { body: Body::Exchanged(response), .. }) => match response.status() {
            status if status.is_server_error() => Outcome::ServerError(status.as_u16().into()),
            _ => Outcome::Ok,
        },
        Ok(Reply { body: Body::Carried(answer), .. }) => match answer.outcome() {
            Said::Result { is_error: true, .. } => Outcome::ToolError,
            Said::Result { .. } => Outcome::Ok,
            Said::Error { code } => Outcome::ServerError(*code),
        },
    }
}
