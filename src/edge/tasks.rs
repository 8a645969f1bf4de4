//! Tasks of clients of 2025-11-25, in today's words: there they are an extension.
//!
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks>

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    edge::{
        arrival::{Arrival, Inside},
        converse::call_of,
        session::{Out, Session},
    },
    pipeline::Body,
    problem::{Kind, Problem},
    wire::{
        AsTask, InputRequest, Method, Notice, RawId, Request,
        input::{RESPONSES, by_key},
        result,
    },
};

/// How long is waited for a change before it is looked again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Says which task a message belongs to.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// A task as today's revision shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    task_id: String,
    status: String,
    #[serde(default)]
    status_message: Option<String>,
    created_at: String,
    last_updated_at: String,
    ttl_ms: Option<u64>,
    poll_interval_ms: Option<u64>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
    #[serde(default)]
    input_requests: Option<Map<String, Value>>,
}

impl Shown {
    fn read(body: &Body) -> Result<Self, Problem> {
        let Body::Made { result, .. } = body else {
            unreachable!("the gateway answers of tasks itself")
        };
        serde_json::from_slice(result)
            .map_err(|error| Problem::new(Kind::Internal, error.to_string()))
    }

    /// The task as 2025-11-25 has it.
    fn in_older_words(&self) -> Value {
        let mut older = json!({
            "taskId": self.task_id,
            "status": self.status,
            "createdAt": self.created_at,
            "lastUpdatedAt": self.last_updated_at,
            "ttl": self.ttl_ms,
            "pollInterval": self.poll_interval_ms,
        });
        if let Some(message) = &self.status_message {
            older["statusMessage"] = message.as_str().into();
        }
        older
    }

    fn asked(&self) -> Vec<InputRequest> {
        let requests = self.input_requests.iter().flatten();
        let mut asked = Vec::new();
        for (key, one) in requests {
            let method = one["method"].as_str().unwrap_or_default().to_owned();
            let mut params = one["params"].as_object().cloned().unwrap_or_default();
            let meta = params.entry("_meta").or_insert_with(|| json!({}));
            meta[RELATED] = json!({ "taskId": self.task_id });
            let params = Value::from(params).to_string();
            asked.push(InputRequest { key: key.clone(), method, params });
        }
        asked
    }
}

/// Word of a task as 2025-11-25 has it; none where it is no such word.
pub(super) fn notice(notice: &Notice) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Told {
        params: Shown,
    }
    let told: Told = serde_json::from_slice(notice.bytes()).ok()?;
    let params = told.params.in_older_words();
    let told =
        json!({ "jsonrpc": "2.0", "method": "notifications/tasks/status", "params": params });
    Some(told.to_string().into())
}

/// Whether a call is to be a task, and the call without the word for it.
pub(super) fn wish(request: &Request) -> (Request, AsTask) {
    let wants = *request.method() == Method::ToolsCall && request.is_for_task();
    if wants { (request.without_param("task"), AsTask::Yes) } else { (request.clone(), AsTask::No) }
}

/// The answer to a call that became a task.
pub(super) fn begun(id: &RawId, body: &Body) -> Bytes {
    match Shown::read(body) {
        Ok(task) => {
            let result = json!({ "task": task.in_older_words() });
            result::answer(id, result.to_string().as_bytes())
        }
        // It was answered at once, as calls of the gateway's own tools are.
        Err(_) => crate::edge::session::translate::answer(id, body),
    }
}

/// Answers what a client asks of its tasks.
pub(super) async fn answer(
    inside: &Inside,
    arrival: &Arrival,
    session: &Session,
    request: &Request,
    out: Option<&Out>,
) -> Result<Bytes, Problem> {
    let id = request.id();
    let result = match request.method() {
        Method::TaskResult => {
            let asker = Asker { inside, arrival, session, out };
            return asker.result(&id, request).await;
        }
        Method::TaskList => {
            #[derive(Deserialize)]
            struct List {
                tasks: Vec<Shown>,
            }
            let Body::Made { result, .. } = ask(inside, arrival, session, request).await? else {
                unreachable!("the gateway answers of tasks itself")
            };
            let list: List = serde_json::from_slice(&result)
                .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
            let tasks: Vec<Value> = list.tasks.iter().map(Shown::in_older_words).collect();
            json!({ "tasks": tasks })
        }
        _ => Shown::read(&ask(inside, arrival, session, request).await?)?.in_older_words(),
    };
    Ok(result::answer(&id, result.to_string().as_bytes()))
}

async fn ask(
    inside: &Inside,
    arrival: &Arrival,
    session: &Session,
    request: &Request,
) -> Result<Body, Problem> {
    let call = call_of(arrival, session, (request.clone(), AsTask::No), false);
    Ok(inside.pipeline.handle(&call, &arrival.credential, None).await?.body)
}

/// Whoever waits for what comes of a task.
struct Asker<'a> {
    inside: &'a Inside,
    arrival: &'a Arrival,
    session: &'a Session,
    out: Option<&'a Out>,
}

impl Asker<'_> {
    /// What came of a task, once it has come. What the task asks meanwhile, its client is asked.
    async fn result(&self, id: &RawId, request: &Request) -> Result<Bytes, Problem> {
        let task = request.subject().unwrap_or_default().to_owned();
        let get = Request::make(&Method::TaskGet, &json!({ "taskId": task }).to_string());
        loop {
            let shown = Shown::read(&self.ask(&get).await?)?;
            if let Some(result) = &shown.result {
                return Ok(result::answer(id, related(result.get(), &task).as_bytes()));
            }
            if let Some(error) = &shown.error {
                let error = error.get();
                return Ok(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into());
            }
            match (shown.status.as_str(), self.out) {
                ("cancelled", _) => {
                    return Err(Problem::new(Kind::Invalid, "the task was cancelled"));
                }
                ("input_required", Some(out)) => self.put(&shown, out).await?,
                _ => self.inside.pipeline.task_changed(&task, LOOK_AGAIN).await,
            }
        }
    }

    async fn ask(&self, request: &Request) -> Result<Body, Problem> {
        ask(self.inside, self.arrival, self.session, request).await
    }

    /// Asks the client what a task asks, and hands the task the answers.
    async fn put(&self, shown: &Shown, out: &Out) -> Result<(), Problem> {
        let asked = shown.asked();
        let patience = self.inside.sessions.patience();
        let questions = asked.iter().map(|one| self.session.ask(out, one, patience));
        let answers = join_all(questions).await;
        let answers = by_key(&asked, &answers);
        let task = Value::from(shown.task_id.as_str());
        let params = format!(r#"{{"taskId":{task},"{RESPONSES}":{answers}}}"#);
        self.ask(&Request::make(&Method::TaskUpdate, &params)).await.map(drop)
    }
}

/// A result that says of which task it is.
fn related(result: &str, task: &str) -> String {
    let Ok(mut members) = serde_json::from_str::<Map<String, Value>>(result) else {
        return result.to_owned();
    };
    let meta = members.entry("_meta").or_insert_with(|| json!({}));
    meta[RELATED] = json!({ "taskId": task });
    Value::from(members).to_string()
}
