//! Calls of which servers make tasks: waited for here, so that nobody else need know.
//!
//! A server of 2025-11-25 says in its list that a tool must be a task; one of today's revision says
//! so when it is called.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks>
//! <https://modelcontextprotocol.io/extensions/tasks>

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use tokio::time::{Duration, Instant, sleep};

use super::{Error, MidCall, callers::Question, error::Oddity, party::Ask, way::Way};
use crate::wire::{
    Address, Answer, Asks, Era, InputRequired, Message, Method, Outcome, Request, ResultType,
    header::MISSING_CAPABILITY,
    meta::{EXTENSIONS, TASKS},
};

/// How long a server may take to let go of a task.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often a server is asked how far a task has come, where it does not say.
const POLL_MS: u64 = 500;
/// The bounds of what it may say.
const POLLS_MS: std::ops::RangeInclusive<u64> = 20..=30_000;

/// A task as a server of today's revision shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    task_id: String,
    status: String,
    poll_interval_ms: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Way {
    /// Asks, and waits where a task is made of the call.
    pub(super) async fn ask_or_wait(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        if *ask.request.method() != Method::ToolsCall {
            return self.ask(ask).await;
        }
        if self.describe(ask.deadline).await?.era == Era::Legacy {
            if ask.as_task {
                // Boxed, because few calls come here and all would carry its size.
                return Box::pin(self.wait_for_older(ask)).await;
            }
            return self.ask(ask).await;
        }
        let answer = self.ask(ask).await?;
        if needs_tasks(&answer) {
            // It did not run: the server wants it said that tasks are known.
            let capabilities = with_tasks(ask.asks.capabilities);
            let asks = Asks { capabilities: Some(&capabilities), ..ask.asks };
            let ask = Ask { asks, ..ask };
            let answer = Box::pin(self.ask(ask)).await?;
            return if is_task(&answer) {
                Box::pin(self.wait_for(answer, ask)).await
            } else {
                Ok(answer)
            };
        }
        if is_task(&answer) { Box::pin(self.wait_for(answer, ask)).await } else { Ok(answer) }
    }

    async fn wait_for_older(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        let request = ask.request.with_params(&[("task", "{}")]);
        let begun = self.ask(Ask { request: &request, ..ask }).await?;
        let Some(id) = older_task(&begun) else { return Ok(begun) };
        let mut giving_up =
            GivingUp { way: self.clone(), id: Some(id.clone()), capabilities: None };
        tell(ask, MidCall::BecomesTask);
        let wanted = Request::make(&Method::TaskResult, &json!({ "taskId": id }).to_string());
        let waiting = Ask { request: &wanted, address: Address::default(), ..ask };
        let answer = self.ask(waiting).await;
        if answer.is_ok() {
            giving_up.id = None;
        }
        answer
    }

    async fn wait_for(&self, answer: Answer, ask: Ask<'_>) -> Result<Answer, Error> {
        let capabilities = with_tasks(ask.asks.capabilities);
        let id = read(&answer)?.task_id;
        let mut giving_up = GivingUp {
            way: self.clone(),
            id: Some(id.clone()),
            capabilities: Some(capabilities.clone()),
        };
        tell(ask, MidCall::BecomesTask);
        let get = Request::make(&Method::TaskGet, &json!({ "taskId": id }).to_string());
        let asks = Asks { capabilities: Some(&capabilities), ..Asks::default() };
        let mut pause = read(&answer)?.poll_interval_ms;
        let mut is_asked = false;
        loop {
            let pause_ms = pause.unwrap_or(POLL_MS).clamp(*POLLS_MS.start(), *POLLS_MS.end());
            sleep(Duration::from_millis(pause_ms)).await;
            let polling = Ask { asks, ..Ask::plain(&get, Address::default(), ask.deadline) };
            let told = self.ask(polling).await?;
            if let Outcome::Error { .. } = told.outcome() {
                return Ok(told);
            }
            let shown = read(&told)?;
            pause = shown.poll_interval_ms;
            if let Some(done) = outcome(&shown)? {
                giving_up.id = None;
                return Ok(done);
            }
            // What it asks is asked once, until it goes on.
            let asks_now = shown.status == "input_required";
            if asks_now && !is_asked {
                self.pass_on(&told, &id, ask, &capabilities);
            }
            is_asked = asks_now;
        }
    }

    /// Asks the caller what a task asks.
    fn pass_on(&self, told: &Answer, task: &str, ask: Ask<'_>, capabilities: &str) {
        let Some(asked) = InputRequired::read(told) else { return };
        for one in asked.requests {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":{},"params":{}}}"#,
                Value::from(one.method),
                one.params
            );
            let Ok(Message::Request(request)) = Message::parse(&text.into()) else { continue };
            let update = Update {
                way: self.clone(),
                task: task.to_owned(),
                key: one.key,
                capabilities: capabilities.to_owned(),
            };
            tell(ask, MidCall::Question(Question::new(request, move |reply| update.send(&reply))));
        }
    }
}

fn tell(ask: Ask<'_>, heard: MidCall) {
    if let Some(ear) = ask.ear {
        // A full ear refuses what is asked by dropping it.
        drop(ear.try_send(heard));
    }
}

fn read(answer: &Answer) -> Result<Shown<'_>, Error> {
    let shown = answer.result().and_then(|raw| serde_json::from_str(raw.get()).ok());
    shown.ok_or_else(|| Oddity::Handshake("its task cannot be read".to_owned()).into())
}

/// What came of a task; none while it goes on.
fn outcome(shown: &Shown<'_>) -> Result<Option<Answer>, Error> {
    let error = |json: &str| {
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"error":{json}}}"#);
        Answer::parse(&text.into()).map(Some).map_err(Error::from)
    };
    match (shown.status.as_str(), shown.result, shown.error) {
        ("completed", Some(result), _) => Ok(Some(Answer::of_result(result.get()))),
        ("failed", _, Some(said)) => error(said.get()),
        ("cancelled" | "failed" | "completed", ..) => {
            error(r#"{"code":-32000,"message":"the server's task ended without a result"}"#)
        }
        _ => Ok(None),
    }
}

fn is_task(answer: &Answer) -> bool {
    matches!(answer.outcome(), Outcome::Result { r#type: ResultType::Task, .. })
}

/// Whether a server refuses a call only because it would have to be a task.
pub(super) fn needs_tasks(answer: &Answer) -> bool {
    let code = i64::from(MISSING_CAPABILITY);
    *answer.outcome() == (Outcome::Error { code })
        && answer.error().is_some_and(|error| error.get().contains(TASKS))
}

/// A client's capabilities, and that tasks are known.
pub(crate) fn with_tasks(capabilities: Option<&str>) -> String {
    let said = capabilities.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let mut said = said.unwrap_or_default();
    let extensions = said.entry(EXTENSIONS).or_insert_with(|| json!({}));
    extensions[TASKS] = json!({});
    Value::from(said).to_string()
}

fn older_task(begun: &Answer) -> Option<String> {
    #[derive(Deserialize)]
    struct Begun {
        task: Task,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Task {
        task_id: String,
    }
    let begun: Begun = serde_json::from_str(begun.result()?.get()).ok()?;
    Some(begun.task.task_id)
}

/// The answer to what a task asked, on its way.
struct Update {
    way: Way,
    task: String,
    key: String,
    capabilities: String,
}

impl Update {
    fn send(self, reply: &Bytes) {
        // A refusal has no word of its own in this revision; the task waits for another answer.
        let answer = Answer::parse(reply).ok();
        let Some(result) = answer.as_ref().and_then(Answer::result) else { return };
        let params = format!(
            r#"{{"taskId":{},"inputResponses":{{{}:{}}}}}"#,
            Value::from(self.task.as_str()),
            Value::from(self.key.as_str()),
            result.get()
        );
        put(self.way, Request::make(&Method::TaskUpdate, &params), Some(self.capabilities));
    }
}

/// Sends something whose answer nobody waits for.
fn put(way: Way, request: Request, capabilities: Option<String>) {
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    let tasks = way.tasks().clone();
    tasks.spawn(async move {
        let asks = Asks { capabilities: capabilities.as_deref(), ..Asks::default() };
        let ask = Ask::plain(&request, Address::default(), Instant::now() + FAREWELL);
        // A server that does not hear it works, or waits, in vain.
        drop(way.ask(Ask { asks, ..ask }).await);
    });
}

/// Cancels a task, when dropped, that nobody waits for any more.
struct GivingUp {
    way: Way,
    id: Option<String>,
    capabilities: Option<String>,
}

impl Drop for GivingUp {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let cancel = Request::make(&Method::TaskCancel, &json!({ "taskId": id }).to_string());
        put(self.way.clone(), cancel, self.capabilities.take());
    }
}
