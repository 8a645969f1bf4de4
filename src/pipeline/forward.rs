//! Attempts: pick an instance, call it, judge what comes back, and try again where that is safe.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    access::Permit,
    domain::{Item, Server, TaskSupport},
    links::{self, is_linked},
    observe::Line,
    pipeline::{
        Body, Notices, Pipeline,
        parked::{self, Owner, Parked},
        relay::{Conversing, HEARD, Patience, Turn, is_unsafe, refusal},
        repeat::param_headers,
    },
    problem::{Classify, Kind, Problem, chain},
    traffic::{self, Candidates, Pick, Ticket},
    upstream::{self, Ask, Party, Upstream, oauth::Account},
    wire::{
        Address, Answer, AsTask, Asks, Call, Era, InputRequired, Level, Method, Outcome,
        ResultType, header, input::responses,
    },
};

/// What a call has on its way.
#[derive(Clone, Copy)]
pub(super) struct Road<'a> {
    pub(super) call: &'a Call,
    pub(super) permit: &'a Permit,
    pub(super) candidates: &'a Candidates<'a>,
    /// Where the client hears what comes before the answer, if it can.
    pub(super) notices: Option<&'a Notices>,
    /// With whose account the server is spoken to, where everybody has their own.
    pub(super) account: Option<&'a Account>,
}

impl<'a> Road<'a> {
    pub(super) const fn new(
        call: &'a Call,
        permit: &'a Permit,
        candidates: &'a Candidates<'a>,
        notices: Option<&'a Notices>,
    ) -> Self {
        Self { call, permit, candidates, notices, account: None }
    }
}

/// Where a call begins.
pub(super) enum Start {
    /// With its first attempt, or with what is parked.
    Anew(Ticket),
    /// Where it was left.
    GoesOn(Conversing, Ticket),
}

/// What a call has come to.
pub(super) enum Forwarded {
    /// To an answer.
    Body(Body),
    /// Its server made a task of it; it goes on by itself.
    Task(Conversing, Ticket),
}

/// The same, before the answer is judged.
enum Came {
    Answer(Answer),
    Task(Conversing, Ticket),
}

/// How a call was given up.
enum GaveUp {
    /// For a reason of the server's or the house's.
    Failed(upstream::Error),
    /// For one that is the client's to know as it is.
    Told(Problem),
}

impl From<upstream::Error> for GaveUp {
    fn from(error: upstream::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Problem> for GaveUp {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

impl Pipeline {
    /// Carries a call to a server, within one deadline for all attempts.
    pub(super) async fn forward(
        &self,
        start: Start,
        road: Road<'_>,
        line: &mut Line,
    ) -> Result<Forwarded, Problem> {
        let call = road.call;
        let server = road.candidates.server();
        // However the call ends: what was kept of its server may be wrong then.
        let _changing = changes_something(call, road.candidates.item())
            .then(|| self.traffic.changing(server.id));
        let account = match self.links.account(server, road.permit.caller()) {
            Ok(account) => account,
            Err(error @ links::Error::MustSignIn { .. }) => return must_sign_in(call, error),
            Err(error) => return Err(error.into()),
        };
        let road = Road { account: account.as_ref(), ..road };
        let seconds = server.timeout_seconds.unwrap_or(self.settings.timeout_seconds);
        let now = Instant::now();
        let step = Duration::from_secs(seconds.into());
        let longest = Duration::from_secs(self.settings.longest_seconds.max(seconds).into());
        let mut patience = Patience { deadline: now + step, step, last: now + longest };
        let ours = call.request.state().filter(|state| Parked::is_ours(state));
        let outcome = match (start, ours) {
            (Start::GoesOn(conversing, ticket), _) => {
                self.turn(conversing, ticket, road, &mut patience).await
            }
            (Start::Anew(ticket), Some(state)) => {
                self.go_on(state, ticket, road, &mut patience).await
            }
            (Start::Anew(ticket), None) => self.attempt(ticket, road, &mut patience, line).await,
        };
        match outcome {
            Ok(Came::Task(conversing, ticket)) => Ok(Forwarded::Task(conversing, ticket)),
            Ok(Came::Answer(answer)) => {
                if is_about_headers(&answer) {
                    // Its definition of the item is not the one we have.
                    self.catalog.suspect(&server.id);
                }
                judge(server, call, answer).map(Forwarded::Body)
            }
            // Whoever gives the tokens, or the server, does not know them any more.
            Err(GaveUp::Failed(error)) if is_linked(server) && error.is_about_the_token() => {
                must_sign_in(call, self.links.must_sign_in(server))
            }
            Err(GaveUp::Failed(error)) => Err(self.give_up(server, &error, seconds)),
            Err(GaveUp::Told(problem)) => Err(problem),
        }
    }

    /// Asks one instance after the other, as long as that is safe.
    async fn attempt(
        &self,
        ticket: Ticket,
        road: Road<'_>,
        patience: &mut Patience,
        line: &mut Line,
    ) -> Result<Came, GaveUp> {
        let Road { call, candidates, .. } = road;
        let params = param_headers(candidates.item(), call)?;
        let subject = Some(&*candidates.item().name).filter(|_| renames(candidates, call));
        let address = Address { subject, params: &params };
        let refused = responses(&call.request).iter().find_map(|(_, said)| refusal(said.get()));
        if let Some(error) = refused {
            let message = format!("the client did not answer what the server asked: {error}");
            return Err(Problem::new(Kind::Invalid, message).into());
        }
        let owner = stays(call).then(|| owner_of(road.permit, call));
        let is_repeatable = is_repeatable(call, candidates.item());
        let mut attempts = candidates.attempts();
        loop {
            let pick = candidates.next(&mut attempts, owner.as_deref());
            let pick = pick.map_err(traffic::Error::into_problem)?;
            line.attempt(pick.instance().id);
            let left = self.settings.max_attempts.saturating_sub(attempts.count());
            let others = u32::try_from(candidates.untried(&attempts)).unwrap_or(u32::MAX).min(left);
            // One that hangs shall leave time for others.
            let mut own = if is_repeatable { patience.shared_with(others) } else { *patience };
            let failed = match road.notices.filter(|_| may_converse(call)) {
                None => {
                    let is_hedged = is_repeatable && owner.is_none() && others > 0;
                    let next = || {
                        let budget = candidates.may_retry();
                        let pick = budget.then(|| candidates.next(&mut attempts, None).ok())?;
                        pick.inspect(|pick| line.attempt(pick.instance().id))
                    };
                    let asking = (&pick, own.deadline);
                    let asked = self.ask_plainly(asking, road, address, is_hedged.then_some(next));
                    match Box::pin(asked).await {
                        Ok(answer) => return Ok(Came::Answer(answer)),
                        Err(error) => error,
                    }
                }
                Some(notices) => {
                    let mut conversing = self.converse(pick.clone(), road, address);
                    match conversing.turn(call, notices, &mut own).await {
                        Turn::Answered(answer) => return Ok(Came::Answer(answer)),
                        Turn::Failed(error) => error,
                        Turn::BecomesTask => return Ok(Came::Task(conversing, ticket)),
                        Turn::Asks => return self.park(conversing, ticket, road.permit, call),
                        Turn::OutOfTime => {
                            let error = out_of_time(&own);
                            pick.failed(&error.to_string());
                            error
                        }
                    }
                }
            };
            let may_try_again = attempts.count() < self.settings.max_attempts
                && is_safe(&failed, is_repeatable)
                // Whoever says when to come back is not asked before; others are.
                && (others > 0 || failed.retry_after_seconds().is_none())
                && Instant::now() < patience.deadline
                && candidates.may_retry();
            if !may_try_again {
                return Err(failed.into());
            }
        }
    }

    /// Begins a call in which the server may say and ask things before it answers.
    fn converse(&self, pick: Pick, road: Road<'_>, address: Address<'_>) -> Conversing {
        let Road { call, permit, candidates, account, .. } = road;
        let account = account.cloned();
        let item = candidates.item();
        let (ear, heard) = mpsc::channel(HEARD);
        let upstream = self.upstream.clone();
        let request = call.request.clone();
        let subject: Option<Box<str>> = address.subject.map(Into::into);
        let params = address.params.to_vec();
        let party = party(permit, call);
        let as_task = item.task_support == TaskSupport::Required;
        // Servers of today's revision make tasks only of calls whose clients know them.
        let capabilities = match call.as_task {
            AsTask::No => party.capabilities.clone(),
            _ => Some(upstream::with_tasks(party.capabilities.as_deref()).into()),
        };
        let is_modern = call.client.revision.era() == Era::Modern;
        // Older clients that ask for no level hear what their servers say by themselves.
        let level = call.client.level.or((!is_modern).then_some(Level::Info));
        let progress = call.request.meta().progress_token.is_some();
        // How long it may take is not the server's conversation's to say, which may be parked.
        let deadline = Instant::now() + FOREVER;
        Conversing::new(
            Box::pin(async move {
                let capabilities = capabilities.as_deref();
                let ask = Ask {
                    request: &request,
                    address: Address { subject: subject.as_deref(), params: &params },
                    asks: Asks { progress, level, capabilities },
                    party: Some(&party),
                    account: account.as_ref(),
                    ear: Some(&ear),
                    is_standing: false,
                    as_task,
                    deadline,
                };
                ask_of(&upstream, &pick, ask).await
            }),
            heard,
        )
    }

    /// Goes on with a call that was parked, once its client has answered.
    async fn go_on(
        &self,
        state: &str,
        ticket: Ticket,
        road: Road<'_>,
        patience: &mut Patience,
    ) -> Result<Came, GaveUp> {
        let call = road.call;
        let mut conversing = self.parked.take(state, &owner(road.permit, call))?;
        conversing.answer(call)?;
        self.turn(conversing, ticket, road, patience).await
    }

    /// Goes on with a call until something is to be said to its client.
    async fn turn(
        &self,
        mut conversing: Conversing,
        ticket: Ticket,
        road: Road<'_>,
        patience: &mut Patience,
    ) -> Result<Came, GaveUp> {
        let Some(notices) = road.notices else {
            return Err(Problem::new(Kind::Invalid, "this transport cannot go on with it").into());
        };
        match conversing.turn(road.call, notices, patience).await {
            Turn::Answered(answer) => Ok(Came::Answer(answer)),
            Turn::Failed(error) => Err(error.into()),
            Turn::BecomesTask => Ok(Came::Task(conversing, ticket)),
            Turn::Asks => self.park(conversing, ticket, road.permit, road.call),
            Turn::OutOfTime => Err(out_of_time(patience).into()),
        }
    }

    fn park(
        &self,
        conversing: Conversing,
        ticket: Ticket,
        permit: &Permit,
        call: &Call,
    ) -> Result<Came, GaveUp> {
        let limits = parked::Limits {
            parked: self.settings.max_parked,
            parked_per_principal: self.settings.max_parked_per_principal,
            expires: Instant::now() + Duration::from_secs(self.settings.input_seconds.into()),
        };
        let requests = conversing.asked();
        let state = self.parked.park(conversing, owner(permit, call), ticket, limits)?;
        let state = Some(Value::from(state).to_string());
        Ok(Came::Answer(InputRequired { requests, state }.into_answer()))
    }

    /// Tells everybody who should know that a server did not answer.
    pub(super) fn give_up(
        &self,
        server: &Server,
        error: &upstream::Error,
        seconds: u32,
    ) -> Problem {
        let reason = error.to_string();
        match error.kind() {
            // One slow call says little about a server; that it cannot be reached says enough.
            Kind::Timeout => self.catalog.suspect(&server.id),
            Kind::Unavailable | Kind::Upstream if error.is_about_the_server() => {
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

/// Tells somebody where to sign in. Of a tool it is told as what the tool says, which the model
/// reads and its person sees; errors of the protocol are often shown to nobody.
fn must_sign_in(call: &Call, error: links::Error) -> Result<Forwarded, Problem> {
    if *call.method() != Method::ToolsCall {
        return Err(error.into());
    }
    let text = serde_json::to_string(&error.to_string()).expect("text is always JSON");
    let told = Answer::of_result(&format!(
        r#"{{"resultType":"complete","isError":true,"content":[{{"type":"text","text":{text}}}]}}"#
    ));
    Ok(Forwarded::Body(Body::Carried(told)))
}

/// Asks an instance that was chosen, and takes note of how it was.
pub(super) async fn ask_of(
    upstream: &Upstream,
    pick: &Pick,
    ask: Ask<'_>,
) -> Result<Answer, upstream::Error> {
    let outcome = upstream.ask(pick.instance(), ask).await;
    match &outcome {
        Ok(_) => pick.answered(),
        Err(error) if error.is_about_the_server() && !error.is_about_the_token() => {
            pick.failed(&error.to_string());
        }
        Err(_) => {}
    }
    outcome
}

/// Whether a call that failed so may be made again: one that provably never ran, or that may run
/// twice.
pub(super) fn is_safe(error: &upstream::Error, is_repeatable: bool) -> bool {
    let may_run = !error.was_delivered() || (is_repeatable && error.is_about_the_server());
    may_run && !error.is_about_the_token()
}

/// Whether a call may change what its server says to others.
fn changes_something(call: &Call, item: &Item) -> bool {
    *call.method() == Method::ToolsCall && !item.annotations.is_read_only()
}

/// Whether a call may run twice: what only reads, and tools that say so of themselves.
fn is_repeatable(call: &Call, item: &Item) -> bool {
    match call.method() {
        Method::ToolsCall => item.annotations.is_read_only() || item.annotations.is_idempotent(),
        Method::PromptsGet | Method::ResourcesRead | Method::Complete => true,
        _ => false,
    }
}

/// Whether a call must go where the calls of its client went before: to a server of an older
/// revision that may ask its clients something, each client is a conversation of its own.
fn stays(call: &Call) -> bool {
    call.client.capabilities.is_some() || call.client.level.is_some()
}

/// Whether the server knows the item under another name than the client.
fn renames(candidates: &Candidates<'_>, call: &Call) -> bool {
    call.request.subject().is_some_and(|asked| *asked != *candidates.item().name)
}

/// Whether a server found fault with how the gateway speaks to it, which is no client's business.
fn is_about_headers(answer: &Answer) -> bool {
    let ours = [header::MISMATCH, header::UNSUPPORTED_VERSION];
    matches!(answer.outcome(), Outcome::Error { code } if ours.iter().any(|it| i64::from(*it) == *code))
}

/// Longer than any call takes.
const FOREVER: Duration = Duration::from_hours(24);

fn out_of_time(patience: &Patience) -> upstream::Error {
    upstream::Error::too_slow(patience.step)
}

/// Whether a server could have anything to say or ask before it answers.
fn may_converse(call: &Call) -> bool {
    let client = &call.client;
    let is_legacy = client.revision.era() == Era::Legacy;
    call.method().may_ask() && (is_legacy || client.capabilities.is_some())
        || client.level.is_some()
        || call.as_task != AsTask::No
        || call.request.meta().progress_token.is_some()
}

/// Whose conversations with servers a call belongs to: a session's, or a principal's.
pub(super) fn owner_of(permit: &Permit, call: &Call) -> Arc<str> {
    match &call.session {
        Some(session) => session.id.shared(),
        None => permit.caller().principal().kind.to_string().into(),
    }
}

/// Who calls, as far as a server of an older revision must know.
fn party(permit: &Permit, call: &Call) -> Party {
    let principal: Arc<str> = permit.caller().principal().kind.to_string().into();
    Party {
        is_many: call.session.is_none(),
        owner: owner_of(permit, call),
        principal,
        capabilities: call.client.capabilities.clone(),
        level: call.client.level,
        era: call.client.revision.era(),
    }
}

fn owner(permit: &Permit, call: &Call) -> Owner {
    let session = call.session.as_ref().map(|session| &session.id);
    Owner::new(&permit.caller().principal().kind, session, &call.request)
}

/// Whether what came back can be given to the client.
fn judge(server: &Server, call: &Call, answer: Answer) -> Result<Body, Problem> {
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
        Outcome::Result { r#type: ResultType::InputRequired, .. } => {
            let Some(asked) = InputRequired::read(&answer) else {
                return unusable("asks for input that cannot be read");
            };
            let askable = call.client.askable();
            for one in &asked.requests {
                if !askable.answers(&one.method) {
                    return unusable(&format!(
                        "asks for {}, which the client cannot do",
                        one.method
                    ));
                }
                if is_unsafe(&one.method, &one.params) {
                    return unusable("asks to open an address that is not https");
                }
            }
            Ok(Body::Carried(answer))
        }
        Outcome::Result { r#type: ResultType::Unknown | ResultType::Task, .. } => {
            unusable("answered with a kind of result that the gateway does not know")
        }
    }
}
