//! The REST facade: one server's tools, resources and prompts for clients that speak no JSON-RPC.

use std::{collections::HashMap, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json, value::RawValue};

use crate::{
    domain::{Clock, Endpoint, Instance, InstanceId, ItemKind, Permission, Principal, Server},
    edge::{
        arrival::{Arrival, Inside},
        plain::{Ask, Facade},
        reply, rpc,
    },
    pipeline::{Body as Said, NOT_THERE, Reply},
    problem::{Kind, Problem},
    wire::{Message, Outcome, Request, ResultType, meta},
};

/// Pages of one list that are put together.
const PAGES: usize = 1_000;
/// The JSON-RPC code for a resource that is not there.
const NO_RESOURCE: i64 = -32_002;
/// The codes for a method that is not there, and for params that do not fit.
const CLIENTS_FAULT: [i64; 3] = [-32_600, -32_601, -32_602];

/// The door for REST.
pub(super) struct Rest<'a> {
    pub(super) inside: &'a Inside,
    pub(super) clock: &'a dyn Clock,
    pub(super) arrival: &'a Arrival,
    pub(super) facade: &'a Facade,
}

/// Who answered, and to whom.
struct Answered {
    server: Option<Arc<Server>>,
    caller: Principal,
    /// None where nobody was asked for it.
    instance: Option<InstanceId>,
}

impl Rest<'_> {
    /// Answers a request; the body counts where something is used.
    pub(super) async fn answer(&self, body: &Bytes) -> Response<Body> {
        let answered = match self.facade.ask {
            Ask::List(kind) => self.list(kind).await,
            Ask::Use(kind) => self.with(kind, body).await,
        };
        match answered {
            Ok(body) => reply::json(body),
            Err(problem) => self.refuse(&problem),
        }
    }

    /// Tells a failure in the envelope.
    pub(super) fn refuse(&self, problem: &Problem) -> Response<Body> {
        reply::http_problem(problem, &self.arrival.request_id, self.clock.now())
    }

    /// The same, under a more exact status than the problem's own.
    pub(super) fn refuse_with(&self, problem: &Problem, status: StatusCode) -> Response<Body> {
        let mut response = self.refuse(problem);
        *response.status_mut() = status;
        response
    }

    async fn list(&self, kind: ItemKind) -> Result<Bytes, Problem> {
        let member = plural(kind);
        let (items, answered) = self.items(kind).await?;
        let mut body = format!(r#"{{"{member}":[{}]"#, items.join(","));
        let beside = json!({
            "count": items.len(),
            "template": self.facade.server,
            "discovery_method": "mcp",
            "source": "catalog",
        });
        append(&mut body, &beside);
        Ok(self.signed(body, &answered))
    }

    /// All items of a kind, each as its server wrote it.
    async fn items(&self, kind: ItemKind) -> Result<(Vec<String>, Answered), Problem> {
        let method = Ask::List(kind).method();
        let mut items = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES {
            let params = match &cursor {
                Some(cursor) => json!({ "cursor": cursor }).to_string(),
                None => "{}".to_owned(),
            };
            let Reply { body, caller, server, instance, .. } =
                self.handle(Request::make(&method, &params)).await?;
            let page = self.page(&body, plural(kind))?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok((items, Answered { server, caller, instance }));
            }
        }
        Err(Problem::new(Kind::TooLarge, format!("the list has more than {PAGES} pages")))
    }

    fn page(&self, body: &Said, member: &str) -> Result<Page, Problem> {
        let listed = result(body)?;
        let members: HashMap<String, &RawValue> = read(&listed)?;
        let items: Vec<&RawValue> = match members.get(member) {
            Some(items) => read(items.get())?,
            None => Vec::new(),
        };
        let said: Value = members.get("_meta").map_or(Ok(Value::Null), |said| read(said.get()))?;
        // With one server there is nobody else who could stand in for it.
        let mut missing = said[meta::MISSING].as_array().into_iter().flatten();
        if let Some(missing) = missing.find(|it| it["stale"] != true) {
            let reason = missing["reason"].as_str().unwrap_or("it does not answer");
            let message = format!("{}: {reason}", self.facade.server);
            return Err(Problem::new(Kind::Unavailable, message)
                .with_data("template", &*self.facade.server));
        }
        let next = members.get("nextCursor").map(|next| read(next.get())).transpose()?;
        Ok(Page { items: items.into_iter().map(|item| item.get().to_owned()).collect(), next })
    }

    /// Uses one item: calls a tool, reads a resource, gets a prompt.
    async fn with(&self, kind: ItemKind, body: &Bytes) -> Result<Bytes, Problem> {
        let request = request(self.facade.ask, body)?;
        let name = request.subject().unwrap_or_default().to_owned();
        let Reply { body, caller, server, instance, .. } = self.handle(request).await?;
        let is_tool_error = match &body {
            Said::Carried(answer) => {
                *answer.outcome()
                    == Outcome::Result { r#type: ResultType::Complete, is_error: true }
            }
            _ => false,
        };
        let answered = result(&body).map_err(|problem| match kind {
            // Its one param was text already: what does not fit is the resource it names.
            ItemKind::Resource if problem.kind() == Kind::Invalid => {
                let message = problem.message().to_owned();
                Problem::new(Kind::NotFound, message).with_data("template", &*self.facade.server)
            }
            _ => problem,
        });
        if (answered.is_err() || is_tool_error) && self.is_unknown(kind, &name).await {
            let message = format!("unknown {} {name:?} at {}", kind.as_str(), self.facade.server);
            return Err(
                Problem::new(Kind::NotFound, message).with_data("template", &*self.facade.server)
            );
        }
        let mut body = answered?.trim_end().to_owned();
        // Its closing brace comes after what is added.
        body.pop();
        Ok(self.signed(body, &Answered { server, caller, instance }))
    }

    /// Whether a server, which can be asked for more than it lists, lists no such item. Resources
    /// need not be listed.
    async fn is_unknown(&self, kind: ItemKind, name: &str) -> bool {
        if !matches!(kind, ItemKind::Tool | ItemKind::Prompt) {
            return false;
        }
        let Ok((items, _)) = self.items(kind).await else { return false };
        let named = |item: &String| {
            let item: Value = serde_json::from_str(item).unwrap_or_default();
            item["name"] == name
        };
        !items.iter().any(named)
    }

    async fn handle(&self, request: Request) -> Result<Reply, Problem> {
        let call = rpc::call_of(self.arrival, self.arrival.scope.clone(), request);
        let reply = self.inside.pipeline.handle(&call, &self.arrival.credential, None).await;
        reply.map_err(|problem| {
            if problem.rpc_code() != NOT_THERE {
                return problem;
            }
            let message = format!("unknown server {:?}", self.facade.server);
            Problem::new(Kind::NotFound, message).with_data("template", &*self.facade.server)
        })
    }

    /// The end of a body: who answered, and how long it took.
    fn signed(&self, mut body: String, answered: &Answered) -> Bytes {
        let took = self.clock.tick().saturating_duration_since(self.arrival.began);
        let mut info = json!({
            "execution_time_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "used_stdio_fallback": false,
        });
        if let Some(server) = &answered.server {
            info["server_id"] = server.id.to_string().into();
            let strategy = self.inside.pipeline.strategy(server);
            info["load_balancer_strategy"] = strategy.as_str().into();
            let asked = |it: &&Instance| Some(it.id) == answered.instance;
            if let Some(instance) = server.instances.iter().find(asked) {
                let is_fallback = server.balance.stdio_fallback && instance.endpoint.is_program();
                info["used_stdio_fallback"] = is_fallback.into();
                info["instance_id"] = instance.id.to_string().into();
                info["transport"] = self.inside.pipeline.transport(instance).into();
                // URLs and command lines may hold what is not meant for everybody.
                if answered.caller.may(Permission::ServersWrite) {
                    let name = match instance.endpoint {
                        Endpoint::Http { .. } => "endpoint",
                        Endpoint::Stdio { .. } => "command",
                    };
                    info[name] = instance.endpoint.location().into();
                }
            }
        }
        append(&mut body, &json!({ "_gateway_info": info }));
        body.push('}');
        body.into()
    }
}

struct Page {
    items: Vec<String>,
    next: Option<String>,
}

/// Adds the members of an object to one that is still open.
fn append(open: &mut String, members: &Value) {
    let members = members.to_string();
    if !open.trim_end().ends_with('{') {
        open.push(',');
    }
    open.push_str(&members[1..members.len() - 1]);
}

fn plural(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Tool => "tools",
        ItemKind::Prompt => "prompts",
        ItemKind::Resource => "resources",
        ItemKind::Template => "resourceTemplates",
    }
}

/// The request that a body makes.
fn request(ask: Ask, body: &Bytes) -> Result<Request, Problem> {
    let wrong = |message: String| Problem::new(Kind::Invalid, message);
    let params: &RawValue = serde_json::from_slice(body)
        .map_err(|error| wrong(format!("the body is not JSON: {error}")))?;
    let method = ask.method();
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{}}}"#, params.get());
    match Message::parse(&text.into()) {
        Ok(Message::Request(request)) => Ok(request),
        Ok(_) => Err(wrong("the body is no request".into())),
        Err(malformed) => Err(wrong(malformed.to_string())),
    }
}

/// The result of an answer, as JSON; a server's error as a problem.
fn result(body: &Said) -> Result<String, Problem> {
    match body {
        Said::Made { result, .. } => Ok(String::from_utf8_lossy(result).into_owned()),
        Said::Carried(answer) => match answer.outcome() {
            Outcome::Result { .. } => Ok(answer.result().map_or("{}", RawValue::get).to_owned()),
            Outcome::Error { code } => {
                let kind = match *code {
                    NO_RESOURCE => Kind::NotFound,
                    code if CLIENTS_FAULT.contains(&code) => Kind::Invalid,
                    _ => Kind::Upstream,
                };
                let message = answer.error_message().unwrap_or_default();
                Err(Problem::new(kind, message).with_data("code", code.to_string()))
            }
        },
        Said::Listening(_) | Said::Exchanged(_) => {
            unreachable!("the facade never listens, and has no routes")
        }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::new(Kind::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_params_and_nothing_more() {
        let tool = Ask::Use(ItemKind::Tool);
        let subject = |body: &'static str| request(tool, &body.into()).map(|it| it.params());

        assert_eq!(
            subject(r#"{"name":"add","arguments":{"n":1e400}}"#).ok().as_deref(),
            Some(r#"{"name":"add","arguments":{"n":1e400}}"#)
        );
        for bad in ["", "[]", "{}", r#"{"name":1}"#, r#"{"name":"a"},"method":"x""#] {
            assert_eq!(subject(bad).map_err(|it| it.kind()), Err(Kind::Invalid), "{bad}");
        }
    }

    #[test]
    fn members_are_added_to_an_open_object() {
        let mut open = String::from("{");

        append(&mut open, &json!({"a": 1}));
        append(&mut open, &json!({"b": {"c": "}"}}));

        assert_eq!(open, r#"{"a":1,"b":{"c":"}"}"#);
    }
}
