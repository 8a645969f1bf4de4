//! Older revisions in today's dialect: the one place where the doors know the past.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::Session;
use crate::{
    pipeline::{Body, Filter},
    problem::{Kind, Problem},
    wire::{Answer, Method, Notice, RawId, Request, Revision, Tells, meta, result, splice},
};

/// What a client asks for in its handshake.
pub(crate) struct Handshake {
    /// The revision it gets.
    pub(crate) revision: Revision,
    /// What it calls itself.
    pub(crate) client: Option<Arc<str>>,
    /// What it can be asked, as JSON; none where nothing.
    pub(crate) capabilities: Option<Arc<str>>,
}

impl Handshake {
    /// Reads an `initialize`.
    pub(crate) fn read(request: &Request) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Implementation {
            name: Arc<str>,
        }
        let version: String = request.param("protocolVersion").ok_or_else(|| {
            Problem::new(Kind::Invalid, "invalid params: \"protocolVersion\" is missing")
        })?;
        let client = request.param::<Implementation>("clientInfo");
        let capabilities = match request.param::<&RawValue>("capabilities") {
            Some(said) => meta::carried(said).map_err(|why| Problem::new(Kind::Invalid, why))?,
            None => None,
        };
        Ok(Self {
            revision: Revision::negotiate(&version),
            client: client.map(|client| client.name),
            capabilities: capabilities.map(Into::into),
        })
    }
}

static DISCOVER: LazyLock<Request> = LazyLock::new(|| Request::make(&Method::Discover, "{}"));
static PING: LazyLock<Request> = LazyLock::new(|| Request::make(&Method::Ping, "{}"));

/// What a handshake asks, in today's words.
pub(crate) fn discover() -> Request {
    DISCOVER.clone()
}

/// The question that asks nothing.
pub(crate) fn ping() -> Request {
    PING.clone()
}

/// What a client of an older revision hears of without asking, in today's words, and of these
/// resources besides.
pub(crate) fn listen(resources: Vec<String>) -> Request {
    let filter = Filter {
        tools_list_changed: true,
        prompts_list_changed: true,
        resources_list_changed: true,
        resource_subscriptions: resources,
        task_ids: Vec::new(),
    };
    let params = json!({ "notifications": filter });
    Request::make(&Method::Listen, &params.to_string())
}

/// Does what a notification of an older client says.
pub(crate) fn heed(session: &Session, notification: &Request) {
    if let Tells::Cancelled { id } = Notice::read(notification).tells() {
        session.cancel(id);
    }
}

/// The answer that says no more than that something was done.
pub(crate) fn nothing(id: &RawId) -> Bytes {
    result::answer(id, b"{}")
}

/// The answer to a handshake, out of what was discovered.
pub(crate) fn handshake_answer(id: &RawId, body: &Body, revision: Revision) -> Bytes {
    #[derive(Deserialize)]
    struct Discovered {
        capabilities: Value,
        #[serde(default)]
        instructions: Option<String>,
    }
    let Body::Made { result, .. } = body else {
        unreachable!("the gateway answers discovery itself")
    };
    let mut found: Discovered = serde_json::from_slice(result).expect("our own result");
    let extensions = found.capabilities[meta::EXTENSIONS].as_object_mut();
    let tasks = extensions.and_then(|extensions| extensions.remove(meta::TASKS));
    if found.capabilities[meta::EXTENSIONS].as_object().is_some_and(Map::is_empty) {
        found.capabilities.as_object_mut().map(|it| it.remove(meta::EXTENSIONS));
    }
    // What is an extension today was of the core once, and is unknown before that.
    if tasks.is_some() && revision >= Revision::V2025_11_25 {
        found.capabilities["tasks"] =
            json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } });
    }
    let server: Value = serde_json::from_str(meta::IMPLEMENTATION).expect("our own name");
    let mut opened = json!({
        "protocolVersion": revision.as_str(),
        "capabilities": found.capabilities,
        "serverInfo": server,
    });
    if let Some(instructions) = found.instructions {
        opened["instructions"] = instructions.into();
    }
    result::answer(id, opened.to_string().as_bytes())
}

/// A failure as older clients know it: they have a code of its own for a resource that is not
/// there.
pub(crate) fn problem(problem: Problem, method: &Method) -> Problem {
    const NO_RESOURCE: i32 = -32_002;
    let is_unknown = problem.kind() == Kind::NotFound && problem.rpc_code() == -32_602;
    if is_unknown && *method == Method::ResourcesRead {
        return problem.with_rpc(NO_RESOURCE);
    }
    problem
}

/// An answer for an older client. Members it does not know do not trouble it; shapes it refuses
/// are taken down to ones it reads.
pub(crate) fn answer(id: &RawId, body: &Body) -> Bytes {
    match body {
        Body::Listening(_) | Body::Exchanged(_) => nothing(id),
        Body::Made { result, fits_all: true } => result::answer(id, result),
        Body::Made { result, fits_all: false } => result::answer(id, &plainer_tools(result)),
        Body::Carried(answer) => match answer.structured_content() {
            Some(structured) if !structured.starts_with('{') => plainer_content(id, answer),
            _ => answer.for_legacy(id),
        },
    }
}

/// A list in which no schema is of a kind that older clients refuse: one such tool would cost
/// them the whole list.
fn plainer_tools(listed: &Bytes) -> Bytes {
    let members = result::members(listed).expect("our own list is an object");
    let Some((_, at)) = members.into_iter().find(|(name, _)| name == "tools") else {
        return listed.clone();
    };
    let tools: Vec<&RawValue> = serde_json::from_str(at.text(listed)).expect("our own list");
    let plainer: Vec<Cow<'_, str>> = tools.into_iter().map(plainer_tool).collect();
    splice(listed, &[(at, format!("[{}]", plainer.join(",")).as_bytes())])
}

/// A tool as it is where older clients read it, and with plainer schemas where they do not.
fn plainer_tool(raw: &RawValue) -> Cow<'_, str> {
    let is_object = |schema: &Value| schema["type"] == "object";
    let mut tool: Map<String, Value> = serde_json::from_str(raw.get()).expect("a listed item");
    let takes_object = tool.get("inputSchema").is_some_and(is_object);
    let gives_object = tool.get("outputSchema").is_none_or(is_object);
    if takes_object && gives_object {
        return raw.get().into();
    }
    if !gives_object {
        tool.remove("outputSchema");
    }
    if !takes_object {
        // Arguments are an object in every revision; the rest of the schema still holds.
        let schema = tool.get("inputSchema").and_then(Value::as_object);
        let mut plainer = schema.cloned().unwrap_or_default();
        plainer.insert("type".into(), "object".into());
        tool.insert("inputSchema".into(), plainer.into());
    }
    serde_json::to_string(&tool).expect("a tool is JSON").into()
}

/// A result whose structured content is no object, which older clients refuse: it goes as text.
fn plainer_content(id: &RawId, answer: &Answer) -> Bytes {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let Some(mut said) = answer.result().and_then(|raw| read(raw.get())) else {
        return answer.for_legacy(id);
    };
    said.remove("structuredContent");
    let text = json!({ "type": "text", "text": answer.structured_content() });
    match said.get_mut("content").and_then(Value::as_array_mut) {
        // Servers repeat structured content as text by themselves; then nothing is lost.
        Some(content) if content.iter().any(|block| block["text"] == text["text"]) => {}
        Some(content) => content.push(text),
        None => {
            said.insert("content".into(), json!([text]));
        }
    }
    result::answer(id, &serde_json::to_vec(&said).expect("a result is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(result: &str) -> Body {
        let text = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
        Body::Carried(Answer::parse(&text.into()).expect("an answer"))
    }

    fn read(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn one_modern_tool_does_not_cost_an_older_client_the_list() {
        let list = r#"{"tools":[{"name":"a","inputSchema":{"type":"object"},"x":1},{"name":"b","inputSchema":{"anyOf":[]},"outputSchema":{"type":"array"}},{"name":"c"}]}"#;
        let body = Body::Made { result: list.into(), fits_all: false };

        let sent = read(&answer(&RawId::null(), &body));

        let tools = &sent["result"]["tools"];
        assert_eq!(tools[0], json!({"name": "a", "inputSchema": {"type": "object"}, "x": 1}));
        assert_eq!(tools[1], json!({"name": "b", "inputSchema": {"anyOf": [], "type": "object"}}));
        assert_eq!(tools[2]["inputSchema"]["type"], "object");
    }

    #[test]
    fn structured_content_that_is_no_object_goes_as_text() {
        let sent = read(&answer(
            &RawId::null(),
            &carried(r#"{"content":[{"type":"text","text":"x"}],"structuredContent":[1,2]}"#),
        ));

        assert_eq!(sent["result"]["content"][1]["text"], "[1,2]");
        assert_eq!(sent["result"].get("structuredContent"), None);
    }

    #[test]
    fn structured_objects_pass_as_they_are() {
        let body = carried(r#"{"structuredContent":{"n":9223372036854775808},"content":[]}"#);

        let sent = answer(&RawId::null(), &body);

        assert!(String::from_utf8_lossy(&sent).contains(r#"{"n":9223372036854775808}"#));
    }
}
