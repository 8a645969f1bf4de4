//! Tasks: calls that go on by themselves, while their clients ask now and then how far they have
//! come.
//!
//! The gateway keeps tasks itself, so that clients which know them can use them with every server,
//! whatever it knows of tasks. A task belongs to its caller, and to the session it was made in.
//! <https://modelcontextprotocol.io/extensions/tasks>

use std::{collections::HashMap, sync::Arc, time::Duration};

use openssl::rand::rand_bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Permit,
    domain::{LimitStandings, PrincipalKind, SessionId, Target, Timestamp},
    pipeline::{
        Body, Pipeline, Reply, filter,
        forward::{Forwarded, Road, Start},
        told,
    },
    problem::{Kind, Problem},
    traffic::{Counted, Route},
    wire::{Answer, AsTask, Call, Completed, InputRequired, Method, RawId, input::RESPONSES},
};

/// How often a client may ask how far a task has come, in milliseconds.
const POLL_MS: u64 = 500;

/// All tasks.
#[derive(Default)]
pub(super) struct Tasks {
    by_id: Mutex<HashMap<Box<str>, Arc<Task>>>,
    running: TaskTracker,
}

/// One task.
struct Task {
    id: Box<str>,
    principal: PrincipalKind,
    session: Option<SessionId>,
    began: Timestamp,
    kept: Duration,
    state: Mutex<State>,
    changed: Notify,
    over: CancellationToken,
}

/// How far a task has come.
struct State {
    at: Stage,
    since: Timestamp,
}

enum Stage {
    Working,
    /// Its server asks this; the client's answers are put in its place.
    Asks(InputRequired),
    /// What the client answered, as JSON.
    Answered(InputRequired, String),
    Completed(Box<RawValue>),
    /// With this JSON-RPC error.
    Failed(Value),
    Cancelled,
}

impl Stage {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Working | Self::Answered(..) => "working",
            Self::Asks(_) => "input_required",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(_) | Self::Cancelled)
    }
}

/// Whether a call is a task from its beginning.
pub(super) fn is_task(call: &Call) -> bool {
    *call.method() == Method::ToolsCall && call.as_task == AsTask::Yes
}

impl Task {
    fn new(call: &Call, principal: &PrincipalKind, now: Timestamp, kept: Duration) -> Self {
        let mut bytes = [0; 16];
        rand_bytes(&mut bytes).expect("the operating system has randomness");
        Self {
            id: uuid::Uuid::from_bytes(bytes).simple().to_string().into(),
            principal: principal.clone(),
            session: call.session.as_ref().map(|session| session.id.clone()),
            began: now,
            kept,
            state: Mutex::new(State { at: Stage::Working, since: now }),
            changed: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    /// Comes to a stage, unless it is over already; says whether it did.
    fn come_to(&self, at: Stage, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let is_over = state.at.is_over();
        if !is_over {
            *state = State { at, since: now };
        }
        drop(state);
        self.changed.notify_waiters();
        !is_over
    }

    /// The task as today's revision shows it, with what came of it.
    fn show(&self, result_type: &str) -> Value {
        let mut shown = self.show_bare();
        shown["resultType"] = result_type.into();
        shown
    }

    /// The same where it stands in no result.
    fn show_bare(&self) -> Value {
        let state = self.state.lock();
        let mut shown = json!({
            "taskId": self.id,
            "status": state.at.as_str(),
            "createdAt": self.began.to_string(),
            "lastUpdatedAt": state.since.to_string(),
            "ttlMs": self.kept.as_millis(),
            "pollIntervalMs": POLL_MS,
        });
        match &state.at {
            Stage::Asks(asked) => {
                let requests = asked.requests.iter().map(|one| {
                    let params: Value = serde_json::from_str(&one.params).unwrap_or_default();
                    (one.key.clone(), json!({ "method": one.method, "params": params }))
                });
                shown["inputRequests"] = Value::Object(requests.collect::<Map<_, _>>());
            }
            Stage::Failed(error) => shown["error"] = error.clone(),
            Stage::Working | Stage::Answered(..) | Stage::Completed(_) | Stage::Cancelled => {}
        }
        shown
    }

    /// The same as JSON; a result stands in it as its server wrote it.
    fn show_whole(&self) -> String {
        self.with_result(&self.show("complete"))
    }

    fn with_result(&self, shown: &Value) -> String {
        let mut shown = shown.to_string();
        if let Stage::Completed(result) = &self.state.lock().at {
            shown.pop();
            shown.push_str(r#","result":"#);
            shown.push_str(result.get());
            shown.push('}');
        }
        shown
    }

    /// Waits for answers to what is asked; none where it is over before.
    async fn answers(&self) -> Option<(InputRequired, String)> {
        let mut changed = std::pin::pin!(self.changed.notified());
        loop {
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                match std::mem::replace(&mut state.at, Stage::Working) {
                    Stage::Answered(asked, answers) => return Some((asked, answers)),
                    other => state.at = other,
                }
                if state.at.is_over() {
                    return None;
                }
            }
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }
}

impl Tasks {
    /// Forgets tasks whose results are old enough.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.by_id.lock().retain(|_, task| {
            let state = task.state.lock();
            !state.at.is_over() || state.since.after(task.kept) > now
        });
    }

    /// Ends what a session left behind.
    pub(super) fn leave(&self, session: &SessionId) {
        self.by_id.lock().retain(|_, task| {
            let is_its = task.session.as_ref() == Some(session);
            if is_its {
                task.over.cancel();
            }
            !is_its
        });
    }

    /// Ends all tasks.
    pub(super) async fn end(&self) {
        for (_, task) in self.by_id.lock().drain() {
            task.over.cancel();
        }
        self.running.close();
        self.running.wait().await;
    }

    /// Whether a task is the caller's own.
    pub(super) fn is_callers(&self, id: &str, permit: &Permit, call: &Call) -> bool {
        self.of_caller(id, permit, call).is_some()
    }

    fn of_caller(&self, id: &str, permit: &Permit, call: &Call) -> Option<Arc<Task>> {
        let task = self.by_id.lock().get(id).cloned()?;
        let session = call.session.as_ref().map(|session| &session.id);
        let is_theirs =
            task.principal == permit.caller().principal().kind && task.session.as_ref() == session;
        is_theirs.then_some(task)
    }

    fn find(&self, permit: &Permit, call: &Call) -> Result<Arc<Task>, Problem> {
        let id = call.request.subject().unwrap_or_default();
        self.of_caller(id, permit, call).ok_or_else(|| {
            let id: String = id.chars().take(80).collect();
            Problem::new(Kind::NotFound, format!("there is no task {id:?}"))
        })
    }
}

impl Pipeline {
    /// Begins a task: the call goes on by itself, and its client hears which task it is.
    pub(super) fn begin_task(
        &self,
        start: Start,
        permit: Permit,
        target: Target,
        call: &Call,
    ) -> Result<Reply, Problem> {
        let principal = permit.caller().principal().kind.clone();
        let kept = Duration::from_secs(self.settings.task_seconds.into());
        let task = Arc::new(Task::new(call, &principal, self.journal.now(), kept));
        let mut by_id = self.tasks.by_id.lock();
        let of_one = by_id.values().filter(|task| task.principal == principal).count();
        if by_id.len() >= self.settings.max_tasks || of_one >= self.settings.max_tasks_per_principal
        {
            let message = "as many tasks are kept as may; cancel one, or make the call without";
            return Err(Problem::new(Kind::Limited, message).with_retry_after(5));
        }
        by_id.insert(task.id.clone(), task.clone());
        drop(by_id);
        let (caller, server) = (permit.caller().principal().clone(), target.server().cloned());
        let result = task.show("task").to_string().into();
        let pipeline = self.clone();
        // It is a task already: nothing more becomes of it.
        let call = Call { as_task: AsTask::No, ..call.clone() };
        self.tasks.running.spawn(async move {
            let over = task.over.clone();
            let running = Box::pin(pipeline.run_task(&task, start, (permit, target), call));
            if over.run_until_cancelled(running).await.is_none() {
                pipeline.move_task(&task, Stage::Cancelled);
            }
        });
        let (body, standings) = (Body::Made { result, fits_all: true }, LimitStandings::default());
        Ok(Reply { body, caller, server, instance: None, standings })
    }

    async fn run_task(
        &self,
        task: &Task,
        first: Start,
        (permit, target): (Permit, Target),
        call: Call,
    ) {
        let mut start = Some(first);
        let mut request = call.request.clone();
        loop {
            let made = Call { request, ..call.clone() };
            let body = self.run_once(start.take(), (&permit, &target), &made).await;
            if let Some(asked) = body.as_ref().ok().and_then(Body::asks) {
                self.move_task(task, Stage::Asks(asked));
                let Some((asked, answers)) = task.answers().await else { return };
                request = asked.answered(&call.request, &answers);
                continue;
            }
            self.move_task(task, outcome(body));
            return;
        }
    }

    /// Makes a task's call, or goes on with it.
    async fn run_once(
        &self,
        start: Option<Start>,
        (permit, target): (&Permit, &Target),
        call: &Call,
    ) -> Result<Body, Problem> {
        let mut line = self.journal.open(call);
        line.caller(permit.caller().principal());
        line.target(target);
        let start = match start {
            Some(start) => start,
            None => {
                Start::Anew(self.traffic.admit(permit, target, (call, Counted::Already)).await?)
            }
        };
        let Route::There(candidates) = self.traffic.route(permit, target) else {
            unreachable!("only calls that leave the house are tasks")
        };
        // What is said before the result has nobody to hear it.
        let (notices, _) = mpsc::channel(1);
        let road = Road::new(call, permit, &candidates, Some(&notices));
        let outcome = self.forward(start, road, &mut line).await;
        let caller = permit.caller().principal().clone();
        let reply = outcome.map(|came| {
            let Forwarded::Body(body) = came else { unreachable!("a task makes no other task") };
            let body = filter::apply(&self.catalog, permit, target, call, body);
            let (server, standings) = (target.server().cloned(), LimitStandings::default());
            Reply { body, caller, server, instance: None, standings }
        });
        line.close(told(&reply));
        reply.map(|reply| reply.body)
    }

    /// Answers what is asked of tasks.
    pub(super) fn answer_of_task(&self, permit: &Permit, call: &Call) -> Result<Body, Problem> {
        let made = |result: String| Ok(Body::Made { result: result.into(), fits_all: true });
        if *call.method() == Method::TaskList {
            return made(self.list_tasks(permit, call));
        }
        let task = self.tasks.find(permit, call)?;
        match call.method() {
            Method::TaskUpdate => {
                let answers: Option<&RawValue> = call.request.param(RESPONSES);
                let answers = answers.ok_or_else(|| {
                    Problem::new(Kind::Invalid, "invalid params: \"inputResponses\" is missing")
                })?;
                self.update_task(&task, answers)?;
            }
            Method::TaskCancel => {
                if task.state.lock().at.is_over() {
                    let message = "invalid params: the task is over already";
                    return Err(Problem::new(Kind::Invalid, message));
                }
                task.over.cancel();
                self.move_task(&task, Stage::Cancelled);
            }
            _ => {}
        }
        made(task.show_whole())
    }

    fn update_task(&self, task: &Task, answers: &RawValue) -> Result<(), Problem> {
        let mut state = task.state.lock();
        let at = std::mem::replace(&mut state.at, Stage::Working);
        let Stage::Asks(asked) = at else {
            state.at = at;
            return Err(Problem::new(Kind::Invalid, "invalid params: the task asks nothing now"));
        };
        *state = State {
            at: Stage::Answered(asked, answers.get().to_owned()),
            since: self.journal.now(),
        };
        drop(state);
        task.changed.notify_waiters();
        self.tell_of(task);
        Ok(())
    }

    /// Brings a task to a stage, and tells those who listen.
    fn move_task(&self, task: &Task, at: Stage) {
        if task.come_to(at, self.journal.now()) {
            self.tell_of(task);
        }
    }

    fn tell_of(&self, task: &Task) {
        let shown = task.with_result(&task.show_bare());
        self.tell_of_task(&task.id, task.session.as_ref(), &shown);
    }

    fn list_tasks(&self, permit: &Permit, call: &Call) -> String {
        let session = call.session.as_ref().map(|session| &session.id);
        let by_id = self.tasks.by_id.lock();
        let mut own: Vec<&Arc<Task>> = by_id
            .values()
            .filter(|task| task.principal == permit.caller().principal().kind)
            .filter(|task| task.session.as_ref() == session)
            .collect();
        own.sort_by_key(|task| task.began);
        let shown: Vec<Value> = own.iter().map(|task| task.show("complete")).collect();
        json!({ "resultType": "complete", "tasks": shown }).to_string()
    }

    /// Waits until a task changes, or for a while.
    pub(crate) async fn task_changed(&self, id: &str, limit: Duration) {
        let task = self.tasks.by_id.lock().get(id).cloned();
        let Some(task) = task else { return };
        let mut changed = std::pin::pin!(task.changed.notified());
        changed.as_mut().enable();
        let stays = matches!(task.state.lock().at, Stage::Working | Stage::Answered(..));
        if stays {
            // Whoever waits looks again then.
            let _ = tokio::time::timeout(limit, changed).await;
        }
    }
}

/// A result with what today's revision wants in it.
fn completed(answer: &Answer) -> Option<Box<RawValue>> {
    let whole = Answer::parse(&answer.for_modern(&RawId::null(), Completed::Plain)).ok()?;
    whole.result().map(ToOwned::to_owned)
}

fn outcome(body: Result<Body, Problem>) -> Stage {
    let failed =
        |code: i32, message: &str| Stage::Failed(json!({ "code": code, "message": message }));
    match body {
        Err(problem) => failed(problem.rpc_code(), problem.message()),
        Ok(Body::Carried(answer)) => match (completed(&answer), answer.error()) {
            (Some(result), _) => Stage::Completed(result),
            (None, Some(error)) => {
                Stage::Failed(serde_json::from_str(error.get()).unwrap_or_default())
            }
            (None, None) => failed(-32_603, "the server's answer cannot be read"),
        },
        Ok(Body::Made { .. } | Body::Listening(_) | Body::Exchanged(_)) => {
            failed(-32_603, "the call was no task")
        }
    }
}
