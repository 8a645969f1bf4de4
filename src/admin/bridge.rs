//! The bridge to stdio: registered servers that are programs, over plain HTTP; and, where the
//! operator lists them, programs that are none.

use std::{path::Path, time::Duration};

use axum::{
    Extension, Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::time::Instant;

use crate::{
    access::{Caller, Credential},
    admin::{
        Office,
        desk::{Checked, Failure, Visitor},
        processes,
    },
    domain::{Endpoint, RequestId, Scope, Server},
    edge::{self, Peer},
    problem::{Kind, Problem},
    registry,
    upstream::{Exit, Run},
    wire::{Call, Client, Message, Request, Revision},
};

/// How long a process may take to start, over the bridge.
const START: Duration = Duration::from_secs(30);

/// Which programs may be run over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Absolute paths of programs that may be run with any arguments. None may, unless it stands
    /// here.
    pub(crate) commands: Vec<String>,
    /// Names of variables that whoever runs one may set for it.
    pub(crate) env: Vec<String>,
    /// Seconds one may take.
    pub(crate) timeout_seconds: u32,
    /// Bytes of its output that are given back, and of its standard error.
    pub(crate) output_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { commands: Vec::new(), env: Vec::new(), timeout_seconds: 30, output_bytes: 1 << 20 }
    }
}

/// What is to be done, and with which server's process.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Action {
    #[serde(rename = "action")]
    word: Option<String>,
    server: Option<String>,
    server_id: Option<String>,
    session_id: Option<String>,
}

impl Action {
    /// The name of a server. Predecessors call what runs a session.
    fn server(self, headers: &HeaderMap) -> Option<String> {
        let header = || headers.get("x-session-id")?.to_str().ok().map(str::to_owned);
        let named = self.server.or(self.server_id).or(self.session_id).or_else(header);
        named.filter(|name| !name.is_empty())
    }
}

/// Shows how processes are.
pub(super) async fn look(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Query(action): Query<Action>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    match action.word.as_deref().unwrap_or("status") {
        "status" => Ok(status(&office, &caller, action.server(&headers))),
        "start" | "stop" | "restart" => {
            let problem = Problem::new(Kind::Invalid, "send this action with POST");
            Err(Failure::with_status(problem, StatusCode::METHOD_NOT_ALLOWED))
        }
        _ => Err(no_such_action().into()),
    }
}

/// Starts, stops or starts anew the process of a server.
pub(super) async fn act(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Query(action): Query<Action>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let word = action.word.clone().ok_or_else(no_such_action)?;
    let name = action.server(&headers);
    if word == "status" {
        return Ok(status(&office, &caller, name));
    }
    if !["start", "stop", "restart"].contains(&&*word) {
        return Err(no_such_action().into());
    }
    let server = program(&office, &caller, name)?;
    for instance in &server.instances {
        if word != "start" {
            office.upstream.stop(&instance.id).await;
        }
        if word != "stop" {
            office.upstream.wake(instance, Instant::now() + START).await?;
        }
    }
    tracing::info!(actor = %caller.actor(), server = %server.name, action = word, "a process was told to {word}");
    Ok(status(&office, &caller, Some(server.name.to_string())))
}

/// How all processes are, or those of one server.
fn status(office: &Office, caller: &Caller, name: Option<String>) -> Response {
    let mut processes = processes::rows(office, caller);
    processes.retain(|row| row["kind"] == "process");
    let Some(name) = name else {
        let count = processes.len();
        let body = json!({ "success": true, "processes": processes, "count": count });
        return Json(body).into_response();
    };
    let known = program(office, caller, Some(name.clone()));
    processes.retain(|row| row["server"] == name || row["server_id"] == name);
    let first = processes.first().map(|row| row["status"].clone());
    let word = match (known, first) {
        (Err(_), _) => Value::from("not_found"),
        (Ok(_), None) => Value::from("stopped"),
        (Ok(_), Some(word)) => word,
    };
    let body = json!({
        "success": true,
        "session_id": name,
        "status": word,
        "processes": processes,
        "count": processes.len(),
    });
    Json(body).into_response()
}

/// A message for a server that is a program.
#[derive(Debug, Deserialize)]
pub(super) struct Letter {
    #[serde(default)]
    server: Option<String>,
    #[serde(default)]
    server_id: Option<String>,
    #[serde(default)]
    session_id: Option<String>,
    /// The whole message.
    #[serde(default)]
    message: Option<Box<RawValue>>,
    /// Or its parts.
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

/// What a request bears besides its body.
type Posted = (Extension<Credential>, Extension<RequestId>, Extension<Peer>);

/// Sends a message to a server and gives back its answer. It walks the path like any other call.
pub(super) async fn send(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    (Extension(credential), Extension(request_id), Extension(peer)): Posted,
    headers: HeaderMap,
    Checked(letter): Checked<Letter>,
) -> Result<Response, Failure> {
    let began = office.clock.tick();
    let request = letter.request()?;
    let Letter { server, server_id, session_id, .. } = letter;
    let named = Action { word: None, server, server_id, session_id }.server(&headers);
    let server = program(&office, &caller, named)?;
    let client = Client {
        revision: Revision::NEWEST,
        name: request.meta().client_name.clone(),
        via: "http",
        capabilities: None,
        level: None,
    };
    let scope = Scope::Server(server.name.as_str().into());
    let from = peer.address.map(|address| address.ip());
    let call = Call { from, ..Call::new(request_id, scope, request, client, began) };
    let reply = office.pipeline.handle(&call, &credential, None).await?;
    let answer = edge::answer(&call, &call.request.id(), &reply.body);
    let answer: &RawValue =
        serde_json::from_slice(&answer).expect("answers are put together as JSON");
    let body = json!({
        "success": true,
        "message": "the server answered",
        "session_id": server.name,
        "response": answer,
    });
    Ok(Json(body).into_response())
}

impl Letter {
    fn request(&self) -> Result<Request, Failure> {
        let text = match (&self.message, &self.method) {
            (Some(message), _) => message.get().to_owned(),
            (None, Some(method)) => {
                let id = self.id.as_ref().map_or("1", |id| id.get());
                let params = self.params.as_ref().map_or("{}", |params| params.get());
                let method = Value::from(method.as_str());
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#)
            }
            (None, None) => {
                let problem = Problem::new(Kind::Invalid, "\"message\" or \"method\" is missing");
                return Err(problem.into());
            }
        };
        let wrong = |message: String| Problem::new(Kind::Invalid, message);
        match Message::parse(&text.into()) {
            Ok(Message::Request(request)) => Ok(request),
            Ok(_) => Err(wrong("only requests are sent on, which are answered".into()).into()),
            Err(malformed) => Err(wrong(malformed.to_string()).into()),
        }
    }
}

/// A program to be run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    #[serde(default)]
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: std::collections::BTreeMap<String, crate::domain::Secret>,
    #[serde(default)]
    dir: Option<String>,
    /// `"30s"`, or nanoseconds as predecessors have it.
    #[serde(default)]
    timeout: Option<Value>,
}

/// Runs a program of the operator's list to its end, and gives back what it wrote.
pub(super) async fn execute(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Checked(order): Checked<Order>,
) -> Result<Response, Failure> {
    let settings = &office.bridge;
    check(settings, &order)?;
    let longest = Duration::from_secs(settings.timeout_seconds.into());
    let patience = order.timeout.as_ref().map(span).transpose()?.unwrap_or(longest).min(longest);
    let Order { command, args, env, .. } = order;
    let (began, actor) = (office.clock.tick(), caller.actor());
    tracing::info!(%actor, command, args = args.len(), "runs a program over the bridge");
    let run = Run {
        command: command.clone(),
        args: args.clone(),
        env,
        patience,
        output_bytes: settings.output_bytes,
    };
    let ran = office.upstream.execute(run).await?;
    let took = office.clock.tick().saturating_duration_since(began).as_millis();
    let exit = ran.exit.map_or_else(|| "took too long".to_owned(), |exit| exit.to_string());
    tracing::info!(%actor, command, pid = ran.pid, took_ms = took, "a program over the bridge {exit}");
    let body = json!({
        "success": ran.exit == Some(Exit::Code(0)),
        "output": String::from_utf8_lossy(&ran.output),
        "errors": String::from_utf8_lossy(&ran.errors),
        "exit_code": match ran.exit { Some(Exit::Code(code)) => Some(code), _ => None },
        "timed_out": ran.exit.is_none(),
        "truncated": ran.is_cut,
        "command": command,
        "args": args,
        "pid": ran.pid,
        "session_id": null,
        "timestamp": office.clock.now().to_string(),
    });
    Ok(Json(body).into_response())
}

/// Checks that the operator lets such a program be run so.
fn check(settings: &Settings, order: &Order) -> Result<(), Problem> {
    let forbidden = |message: String| Err(Problem::new(Kind::Forbidden, message));
    if order.command.is_empty() {
        return Err(Problem::new(Kind::Invalid, "\"command\" is missing"));
    }
    let is_listed =
        Path::new(&order.command).is_absolute() && settings.commands.contains(&order.command);
    if !is_listed {
        let message = "this command does not stand in the setting stdio_bridge.commands, which lists absolute paths";
        return forbidden(message.into());
    }
    if order.dir.is_some() {
        return forbidden("programs run in a folder of the gateway's; leave out \"dir\"".into());
    }
    match order.env.keys().find(|name| !settings.env.contains(name)) {
        Some(name) => forbidden(format!(
            "the variable {name:?} does not stand in the setting stdio_bridge.env"
        )),
        None => Ok(()),
    }
}

/// A span as `"30s"`, `"500ms"`, `"2m"`, or in nanoseconds.
fn span(value: &Value) -> Result<Duration, Problem> {
    let wrong = || Problem::new(Kind::Invalid, "\"timeout\" is no span such as \"30s\"");
    if let Some(nanoseconds) = value.as_u64() {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    let text = value.as_str().ok_or_else(wrong)?;
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let count: u64 = text[..end].parse().map_err(|_| wrong())?;
    let ms = match &text[end..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_millis(count.saturating_mul(ms)))
}

/// A registered server that is a program.
fn program(
    office: &Office,
    caller: &Caller,
    name: Option<String>,
) -> Result<std::sync::Arc<Server>, Problem> {
    let missing = || {
        let message = "name a server in \"server\" or \"session_id\", or the header X-Session-ID";
        Problem::new(Kind::Invalid, message)
    };
    let name = name.ok_or_else(missing)?;
    let directory = office.registry.directory();
    let found = directory.find(&caller.principal().sight(), &name).cloned();
    let server = found.ok_or(registry::Error::NoSuchServer(name))?;
    let is_program =
        server.instances.iter().all(|it| matches!(it.endpoint, Endpoint::Stdio { .. }));
    if !is_program {
        let message = format!("{} is no program, but reached over HTTP", server.name);
        return Err(Problem::new(Kind::Invalid, message));
    }
    Ok(server)
}

fn no_such_action() -> Problem {
    Problem::new(Kind::Invalid, "\"action\" is none of start, stop, restart, status")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(json: Value) -> Order {
        serde_json::from_value(json).expect("an order")
    }

    #[test]
    fn nothing_runs_that_the_operator_does_not_list() {
        let none = Settings::default();
        let some = Settings { commands: vec!["/bin/echo".into(), "sh".into()], ..none.clone() };
        let told = |settings: &Settings, json| {
            check(settings, &order(json)).map_err(|problem| problem.kind())
        };

        assert_eq!(told(&none, json!({"command": "/bin/echo"})), Err(Kind::Forbidden));
        assert_eq!(told(&some, json!({"command": "/bin/echo", "args": ["$(id)"]})), Ok(()));
        assert_eq!(told(&some, json!({"command": ""})), Err(Kind::Invalid));
        for bad in [
            json!({"command": "sh"}),
            json!({"command": "/bin/../bin/echo"}),
            json!({"command": "/bin/echo", "dir": "/"}),
            json!({"command": "/bin/echo", "env": {"LD_PRELOAD": "/tmp/x.so"}}),
        ] {
            assert_eq!(told(&some, bad.clone()), Err(Kind::Forbidden), "{bad}");
        }
    }

    #[test]
    fn a_timeout_is_a_span_or_nanoseconds() {
        let read = |value: Value| span(&value).ok();

        assert_eq!(read(json!("30s")), Some(Duration::from_secs(30)));
        assert_eq!(read(json!("500ms")), Some(Duration::from_millis(500)));
        assert_eq!(read(json!(30_000_000_000_u64)), Some(Duration::from_secs(30)));
        for bad in [json!("soon"), json!("-1s"), json!(""), json!(true), json!("30")] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }
}
