//! Tools, in the language of 2026-07-28.

use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use super::{ANSWER_LIMIT, CALL_LIMIT, Client, Error, answer};
use crate::wire::{SseDecoder, header, meta};

const REVISION: &str = "2026-07-28";
/// Pages of one list.
const MAX_PAGES: usize = 1_000;

/// A tool on offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name, as it is called.
    pub name: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The schema of its arguments.
    #[serde(default, rename = "inputSchema")]
    pub input_schema: Value,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A server whose items a list lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which server.
    pub server: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// All tools on offer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    /// The tools.
    pub tools: Vec<Tool>,
    /// The servers that could not be asked.
    pub missing: Vec<Missing>,
}

/// What a tool answered.
#[derive(Debug, Clone)]
pub struct CallResult {
    /// The whole result, as it came.
    pub raw: Box<RawValue>,
    /// Whether the tool could not do it.
    pub is_error: bool,
    /// Whether this is an answer; otherwise the tool asks for something first.
    pub is_complete: bool,
    /// The blocks of its content.
    pub content: Vec<Value>,
    /// Its content as data, where it gives some.
    pub structured: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolsPage {
    tools: Vec<Tool>,
    next_cursor: Option<String>,
    #[serde(rename = "_meta", default)]
    meta: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolAnswer {
    #[serde(default)]
    result_type: Option<String>,
    #[serde(default)]
    is_error: bool,
    #[serde(default)]
    content: Vec<Value>,
    structured_content: Option<Value>,
}

/// A message of a server: the answer, or something on the way to it.
#[derive(Deserialize)]
struct Incoming {
    id: Option<Value>,
    result: Option<Box<RawValue>>,
    error: Option<Value>,
}

impl Client {
    /// All tools that the caller may use.
    pub async fn tools(&self) -> Result<Tools, Error> {
        let mut all = Tools::default();
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let result = self.request_mcp("tools/list", None, params).await?;
            let page: ToolsPage = self.read(&result)?;
            all.tools.extend(page.tools);
            let missing = page.meta.get(meta::MISSING).cloned().unwrap_or_default();
            let missing: Vec<Missing> = serde_json::from_value(missing).unwrap_or_default();
            for server in missing {
                // Every page of a list may name them.
                if !all.missing.contains(&server) {
                    all.missing.push(server);
                }
            }
            let Some(cursor) = page.next_cursor else { break };
            params = json!({"cursor": cursor});
        }
        Ok(all)
    }

    /// Calls a tool. The arguments go out as they stand, numbers of any size included.
    pub async fn call(&self, tool: &str, arguments: &RawValue) -> Result<CallResult, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            name: &'a str,
            arguments: &'a RawValue,
            #[serde(rename = "_meta")]
            meta: Value,
        }
        let params = Params { name: tool, arguments, meta: envelope() };
        let raw = self.ask("tools/call", Some(tool), &params).await?;
        let answer: ToolAnswer = self.read(&raw)?;
        Ok(CallResult {
            raw,
            is_error: answer.is_error,
            is_complete: answer.result_type.is_none_or(|kind| kind == "complete"),
            content: answer.content,
            structured: answer.structured_content,
        })
    }

    async fn request_mcp(
        &self,
        method: &str,
        name: Option<&str>,
        mut params: Value,
    ) -> Result<Box<RawValue>, Error> {
        params["_meta"] = envelope();
        self.ask(method, name, &params).await
    }

    async fn ask(
        &self,
        method: &str,
        name: Option<&str>,
        params: &impl Serialize,
    ) -> Result<Box<RawValue>, Error> {
        #[derive(Serialize)]
        struct Request<'a, P> {
            jsonrpc: &'a str,
            id: u8,
            method: &'a str,
            params: &'a P,
        }
        let body = Request { jsonrpc: "2.0", id: 1, method, params };
        let mut request = self
            .request(Method::POST, "/mcp")?
            .timeout(CALL_LIMIT)
            .header(ACCEPT, "application/json, text/event-stream")
            .header(header::PROTOCOL_VERSION, REVISION)
            .header(header::METHOD, method)
            .json(&body);
        if let Some(name) = name {
            request = request.header(header::NAME, header::encode(name));
        }
        let response = self.send(request).await?;
        let content = response.headers().get(CONTENT_TYPE);
        let is_stream =
            content.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_stream { self.last_event(response).await } else { self.single(response).await }
    }

    /// The answer in a plain body.
    async fn single(&self, response: Response) -> Result<Box<RawValue>, Error> {
        let status = response.status();
        let body = self.whole(response).await?;
        match serde_json::from_slice(&body) {
            Ok(Incoming { result: Some(result), .. }) if status.is_success() => Ok(result),
            _ => Err(answer::refused(&self.place, status, &body)),
        }
    }

    /// The answer in a stream: what comes before it is on the way to it.
    async fn last_event(&self, mut response: Response) -> Result<Box<RawValue>, Error> {
        let status = response.status();
        let mut decoder = SseDecoder::new(ANSWER_LIMIT);
        while let Some(piece) = response.chunk().await.map_err(|error| self.lost(error))? {
            for event in decoder.push(&piece).map_err(|_| Error::TooLarge)? {
                let message = serde_json::from_slice::<Incoming>(&event.data);
                match message {
                    Ok(Incoming { result: Some(result), id: Some(_), .. }) => return Ok(result),
                    Ok(Incoming { error: Some(_), .. }) => {
                        return Err(answer::refused(&self.place, status, &event.data));
                    }
                    _ => {}
                }
            }
        }
        Err(answer::unreadable(&self.place, status, b"the stream ended before the answer"))
    }

    fn read<'a, T: Deserialize<'a>>(&self, result: &'a RawValue) -> Result<T, Error> {
        let status = reqwest::StatusCode::OK;
        let wrong = |_| answer::unreadable(&self.place, status, result.get().as_bytes());
        serde_json::from_str(result.get()).map_err(wrong)
    }
}

/// What every request of this revision says about its maker.
fn envelope() -> Value {
    let implementation: Value =
        serde_json::from_str(meta::IMPLEMENTATION).expect("the gateway's own name is JSON");
    json!({
        meta::PROTOCOL_VERSION: REVISION,
        meta::CLIENT_INFO: implementation,
        meta::CLIENT_CAPABILITIES: {},
    })
}
