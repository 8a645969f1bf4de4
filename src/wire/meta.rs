//! `_meta` of requests: what it says to the gateway, and what goes onward in its place.
//!
//! Keys: <https://modelcontextprotocol.io/specification/2026-07-28/basic> (`_meta`).

use std::fmt::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Era, Revision,
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
/// The servers whose items a merged list lacks, and why.
pub const MISSING: &str = "io.tollhouse/missing";
const PROGRESS_TOKEN: &str = "progressToken";

/// What clients can do mid-call that needs nothing of the gateway: the server asks in its result,
/// and the client's next request carries the answer.
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
    pub client_name: Option<Box<str>>,
    /// Whether members stand in it that are the gateway's to change.
    is_ours: bool,
    /// The capabilities that are carried on, as JSON.
    capabilities: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Implementation {
    name: Box<str>,
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
                LOG_LEVEL | PROGRESS_TOKEN => Ok(()),
                _ => continue,
            };
            taken.map_err(|_| "a member of \"_meta\" stands there twice")?;
            meta.is_ours = true;
        }
        if let Some(raw) = capabilities {
            meta.has_capabilities = true;
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
    ///
    /// Progress and log messages are asked for by members that stay behind, as long as the
    /// gateway has no way to pass what they would bring.
    pub(super) fn onward(&self, era: Era, written: Option<&str>) -> Option<String> {
        if era == Era::Legacy && !self.is_ours {
            return None;
        }
        let mut new = String::with_capacity(256);
        new.push('{');
        if era == Era::Modern {
            let version = Revision::NEWEST;
            let capabilities = self.capabilities.as_deref().unwrap_or("{}");
            let _ = write!(
                new,
                r#""{PROTOCOL_VERSION}":"{version}","{CLIENT_INFO}":{IMPLEMENTATION},"{CLIENT_CAPABILITIES}":{capabilities}"#
            );
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

fn is_ours(name: &str) -> bool {
    [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL, PROGRESS_TOKEN].contains(&name)
}

/// The capabilities a server behind the gateway may count on.
fn carried(raw: &RawValue) -> Result<Option<Box<str>>, &'static str> {
    let members: Members<'_> =
        serde_json::from_str(raw.get()).map_err(|_| "the client capabilities are no object")?;
    let kept: Vec<String> = members
        .0
        .iter()
        .filter(|(name, _)| CARRIED_CAPABILITIES.contains(&&**name))
        .map(|(name, value)| format!("\"{name}\":{}", value.get()))
        .collect();
    Ok((!kept.is_empty()).then(|| format!("{{{}}}", kept.join(",")).into()))
}
