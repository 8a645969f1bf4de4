//! `_meta` of requests: what it says to the gateway, and what goes onward in its place.
//!
//! Keys: <https://modelcontextprotocol.io/specification/2026-07-28/basic> (`_meta`).

use std::{fmt::Write, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    Era, Level, Onward, Revision,
    member::{Members, take},
};

/// The revision a request is made in.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Who made it.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// What its maker can do.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Which log messages its maker wants.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Who answered.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// Which request of a listener a notice is about.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The servers whose items a merged list lacks, and why.
pub const MISSING: &str = "io.tollhouse/missing";
const PROGRESS_TOKEN: &str = "progressToken";

/// Whether a member of a request's `_meta` says something of the request or its client, and nothing
/// that a server's answer could depend on.
#[must_use]
pub fn is_of_the_envelope(member: &str) -> bool {
    let own = [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL, PROGRESS_TOKEN];
    let traces = ["traceparent", "tracestate", "baggage"];
    own.contains(&member) || traces.contains(&member)
}

/// What clients can do mid-call, and the gateway carries between revisions.
const CARRIED_CAPABILITIES: &[&str] = &["elicitation", "sampling", "roots"];

/// How the gateway names itself to servers and clients.
pub const IMPLEMENTATION: &str =
    concat!(r#"{"name":"tollhouse","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// What a request's `_meta` says to the gateway.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// The claimed revision, as text.
    pub version: Option<Box<str>>,
    /// Whether the client said what it can do.
    pub has_capabilities: bool,
    /// The client's name.
    pub client_name: Option<Arc<str>>,
    /// The capabilities that are carried on, as JSON; none where there are none of these.
    pub capabilities: Option<Box<str>>,
    /// Whether the client knows tasks (the extension of today's revision).
    pub knows_tasks: bool,
    /// Under which token the client wants to hear of progress, as JSON.
    pub progress_token: Option<Box<str>>,
    /// Which log messages the client wants, and graver ones.
    pub log_level: Option<Level>,
    /// Whether members stand in it that are the gateway's to change.
    is_ours: bool,
}

#[derive(Deserialize)]
struct Implementation {
    name: Arc<str>,
}

impl Meta {
    pub(super) fn parse(raw: &RawValue) -> Result<Self, &'static str> {
        let members: Members<'_> =
            serde_json::from_str(raw.get()).map_err(|_| "\"_meta\" is no object")?;
        let mut meta = Self::default();
        let mut capabilities = None;
        let mut info = None;
        for (name, value) in &members.0 {
            let taken: Result<(), serde_json::Error> = match &**name {
                PROTOCOL_VERSION => {
                    let version: Box<str> = serde_json::from_str(value.get())
                        .map_err(|_| "the protocol version in \"_meta\" is no text")?;
                    take(&mut meta.version, name, version)
                }
                CLIENT_CAPABILITIES => take(&mut capabilities, name, *value),
                CLIENT_INFO => take(&mut info, name, *value),
                LOG_LEVEL => {
                    let level = serde_json::from_str(value.get())
                        .map_err(|_| "the log level in \"_meta\" is none of RFC 5424")?;
                    take(&mut meta.log_level, name, level)
                }
                PROGRESS_TOKEN => {
                    if !is_token(value.get()) {
                        return Err("the progress token is neither text nor number");
                    }
                    take(&mut meta.progress_token, name, value.get().into())
                }
                _ => continue,
            };
            taken.map_err(|_| "a member of \"_meta\" stands there twice")?;
            meta.is_ours = true;
        }
        if let Some(raw) = capabilities {
            meta.has_capabilities = true;
            meta.knows_tasks = knows_tasks(raw);
            meta.capabilities = carried(raw)?;
        }
        let info = info.map(|info| serde_json::from_str::<Implementation>(info.get()));
        if let Some(info) = info {
            let info = info.map_err(|_| "the client info in \"_meta\" has no name")?;
            meta.client_name = Some(info.name);
        }
        Ok(meta)
    }

    /// The `_meta` for a server of that era, or none where what stands there may stay.
    pub(super) fn onward(&self, onward: &Onward<'_>, written: Option<&str>) -> Option<String> {
        let asks = onward.asks;
        if onward.era == Era::Legacy && !self.is_ours && !asks.progress {
            return None;
        }
        let mut new = String::with_capacity(256);
        new.push('{');
        if onward.era == Era::Modern {
            let version = Revision::NEWEST;
            let capabilities = asks.capabilities.unwrap_or("{}");
            let _ = write!(
                new,
                r#""{PROTOCOL_VERSION}":"{version}","{CLIENT_INFO}":{IMPLEMENTATION},"{CLIENT_CAPABILITIES}":{capabilities}"#
            );
            if let Some(level) = asks.level {
                let _ = write!(new, r#","{LOG_LEVEL}":"{level}""#);
            }
        }
        if asks.progress {
            let comma = if new.len() > 1 { "," } else { "" };
            let _ = write!(new, r#"{comma}"{PROGRESS_TOKEN}":{}"#, onward.id);
        }
        let members: Members<'_> =
            written.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Members(Vec::new()));
        for (name, value) in members.0 {
            if is_ours(&name) {
                continue;
            }
            if new.len() > 1 {
                new.push(',');
            }
            new.push_str(&serde_json::to_string(&name).expect("text is always JSON"));
            new.push(':');
            new.push_str(value.get());
        }
        new.push('}');
        Some(new)
    }
}

/// The member of capabilities under which extensions stand.
pub const EXTENSIONS: &str = "extensions";
/// The extension of tasks.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

fn knows_tasks(capabilities: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow, default)]
        extensions: Option<&'a RawValue>,
    }
    let said: Option<Said<'_>> = serde_json::from_str(capabilities.get()).ok();
    let extensions = said.and_then(|said| said.extensions);
    let members = extensions.and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok());
    members.is_some_and(|members| members.get(TASKS).is_some())
}

/// Whether JSON is text or a number.
fn is_token(json: &str) -> bool {
    json.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

fn is_ours(name: &str) -> bool {
    [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL, PROGRESS_TOKEN].contains(&name)
}

/// The capabilities a server behind the gateway may count on.
pub fn carried(raw: &RawValue) -> Result<Option<Box<str>>, &'static str> {
    let members: Members<'_> =
        serde_json::from_str(raw.get()).map_err(|_| "the client capabilities are no object")?;
    let kept = members.0.iter().filter_map(|(name, value)| match &**name {
        EXTENSIONS => Some(format!("\"{name}\":{}", carried_extensions(value)?)),
        name if CARRIED_CAPABILITIES.contains(&name) => Some(format!("\"{name}\":{}", value.get())),
        _ => None,
    });
    let kept: Vec<String> = kept.collect();
    Ok((!kept.is_empty()).then(|| format!("{{{}}}", kept.join(",")).into()))
}

/// The extensions a client knows, but for tasks, which are the gateway's own; none where there are
/// no others.
fn carried_extensions(raw: &RawValue) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(raw.get()).ok()?;
    let carried = members.0.iter().filter(|(name, _)| name != TASKS).map(|(name, value)| {
        let name = serde_json::to_string(name).expect("text is always JSON");
        format!("{name}:{}", value.get())
    });
    let carried: Vec<String> = carried.collect();
    (!carried.is_empty()).then(|| format!("{{{}}}", carried.join(",")))
}

/// Capabilities without all that is no extension, as JSON; none where there is none.
#[must_use]
pub fn only_extensions(capabilities: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(capabilities).ok()?;
    Some(format!("{{\"{EXTENSIONS}\":{}}}", members.get(EXTENSIONS)?.get()))
}

/// The names of the extensions in capabilities, as JSON.
#[must_use]
pub fn extensions(capabilities: &str) -> Vec<String> {
    let members = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let extensions = members(capabilities).and_then(|mut said| said.remove(EXTENSIONS));
    match extensions {
        Some(Value::Object(extensions)) => extensions.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}
