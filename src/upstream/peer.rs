//! What a server says of itself.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, value::RawValue};

use super::error::Oddity;
use crate::wire::{
    Era, Revision,
    meta::{SERVER_INFO, TASKS},
};

/// The longest name or version of a server, in bytes.
const NAME_LIMIT: usize = 256;
/// All it says of extensions, in bytes; one that says more is taken to know none.
const EXTENSIONS_LIMIT: usize = 16 * 1_024;
/// The longest instructions, in bytes.
const INSTRUCTIONS_LIMIT: usize = 64 * 1_024;

/// What a server said of itself when it was first spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The family of revisions it is spoken to in.
    pub(crate) era: Era,
    /// The revision it is spoken to in.
    pub(crate) revision: Revision,
    /// What it calls itself.
    pub(crate) server_info: Option<ServerInfo>,
    /// What it offers.
    pub(crate) capabilities: Capabilities,
    /// The extensions it knows, but for tasks, which are the gateway's own.
    pub(crate) extensions: Map<String, Value>,
    /// How it wants to be used, in words for a model.
    pub(crate) instructions: Option<String>,
}

/// What a server calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ServerInfo {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    #[serde(default)]
    pub(crate) version: String,
}

/// What a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of the protocol")]
pub(crate) struct Capabilities {
    /// Tools.
    pub(crate) tools: bool,
    /// Prompts.
    pub(crate) prompts: bool,
    /// Resources.
    pub(crate) resources: bool,
    /// Completion of arguments.
    pub(crate) completions: bool,
    /// Log messages.
    pub(crate) logging: bool,
    /// Word of changes of single resources.
    pub(crate) subscribe: bool,
}

impl Peer {
    /// A stateless server that does not say what it offers. Asking will tell.
    pub(super) fn untold() -> Self {
        let capabilities = Capabilities {
            tools: true,
            prompts: true,
            resources: true,
            completions: true,
            logging: true,
            subscribe: true,
        };
        Self {
            era: Era::Modern,
            revision: Revision::NEWEST,
            server_info: None,
            capabilities,
            extensions: Map::new(),
            instructions: None,
        }
    }

    /// Reads the result of `server/discover`. A server that does not claim the revision the
    /// gateway asks in is none of that era.
    pub(super) fn discovered(result: &RawValue) -> Option<Self> {
        let said: Said = serde_json::from_str(result.get()).ok()?;
        let claims = match &said.supported_versions {
            Some(versions) => versions.iter().any(|version| version == Revision::NEWEST.as_str()),
            None => said.capabilities.is_some(),
        };
        claims.then(|| said.into_peer(Revision::NEWEST))
    }

    /// Reads the result of `initialize`.
    pub(super) fn initialized(result: &RawValue) -> Result<Self, Oddity> {
        let said: Said = serde_json::from_str(result.get())
            .map_err(|error| Oddity::Handshake(error.to_string()))?;
        let version = said.protocol_version.clone().unwrap_or_default();
        match version.parse::<Revision>() {
            Ok(revision) if revision.era() == Era::Legacy => Ok(said.into_peer(revision)),
            _ => Err(Oddity::Revision(version)),
        }
    }
}

/// The members of a handshake's result that the gateway acts on, of either era.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    supported_versions: Option<Vec<String>>,
    protocol_version: Option<String>,
    capabilities: Option<SaidCapabilities>,
    server_info: Option<ServerInfo>,
    instructions: Option<String>,
    #[serde(rename = "_meta")]
    meta: Option<SaidMeta>,
}

#[derive(Deserialize)]
struct SaidMeta {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<ServerInfo>,
}

#[derive(Default, Deserialize)]
struct SaidCapabilities {
    tools: Option<IgnoredAny>,
    prompts: Option<IgnoredAny>,
    resources: Option<SaidResources>,
    completions: Option<IgnoredAny>,
    logging: Option<IgnoredAny>,
    #[serde(default)]
    extensions: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct SaidResources {
    #[serde(default)]
    subscribe: bool,
}

impl Said {
    fn into_peer(self, revision: Revision) -> Peer {
        let said = self.capabilities.unwrap_or_default();
        let extensions = said.extensions.as_deref().map(read_extensions).unwrap_or_default();
        let capabilities = Capabilities {
            tools: said.tools.is_some(),
            prompts: said.prompts.is_some(),
            resources: said.resources.is_some(),
            completions: said.completions.is_some(),
            logging: said.logging.is_some(),
            subscribe: said.resources.is_some_and(|resources| resources.subscribe),
        };
        let server_info = self.server_info.or(self.meta.and_then(|meta| meta.server_info));
        let cut_info = |info: ServerInfo| ServerInfo {
            name: cut(info.name, NAME_LIMIT),
            version: cut(info.version, NAME_LIMIT),
        };
        Peer {
            era: revision.era(),
            revision,
            server_info: server_info.map(cut_info),
            capabilities,
            extensions,
            instructions: self.instructions.map(|text| cut(text, INSTRUCTIONS_LIMIT)),
        }
    }
}

fn read_extensions(raw: &RawValue) -> Map<String, Value> {
    if raw.get().len() > EXTENSIONS_LIMIT {
        return Map::new();
    }
    let mut extensions: Map<String, Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    extensions.remove(TASKS);
    extensions
}

/// What is kept of a text, which stays in memory as long as the server is registered.
fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text.shrink_to_fit();
    text
}

// The attribute above must be text; this keeps it the same as the constant.
const _: () = assert!(matches!(SERVER_INFO.as_bytes(), b"io.modelcontextprotocol/serverInfo"));

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    #[test]
    fn reads_what_a_stateless_server_says() {
        let result = raw(
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{"listChanged":true}},
                "instructions":"ask nicely","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"t","version":"1"}}}"#,
        );

        let peer = Peer::discovered(&result).expect("a stateless server");

        assert_eq!(peer.era, Era::Modern);
        assert_eq!(peer.server_info.expect("told").name, "t");
        assert_eq!(peer.instructions.as_deref(), Some("ask nicely"));
        let offered = Capabilities { tools: true, prompts: true, ..Capabilities::default() };
        assert_eq!(peer.capabilities, offered);
    }

    #[test]
    fn what_is_remembered_of_a_server_is_bounded() {
        let long = "ä".repeat(1 << 20);
        let result = raw(&format!(
            r#"{{"protocolVersion":"2025-06-18","instructions":"{long}","serverInfo":{{"name":"{long}"}}}}"#
        ));

        let peer = Peer::initialized(&result).expect("a server");

        assert_eq!(peer.instructions.map(|text| text.len()), Some(INSTRUCTIONS_LIMIT));
        assert_eq!(peer.server_info.map(|info| info.name.len()), Some(NAME_LIMIT));
    }

    #[test]
    fn who_does_not_claim_todays_revision_is_of_older_ones() {
        assert_eq!(Peer::discovered(&raw(r#"{"supportedVersions":["2025-11-25"]}"#)), None);
        assert_eq!(Peer::discovered(&raw("{}")), None);
    }

    #[test]
    fn a_handshake_ends_in_a_revision_with_one() {
        let handshake = |version| {
            Peer::initialized(&raw(&format!(
                r#"{{"protocolVersion":"{version}","capabilities":{{}},"serverInfo":{{"name":"x"}}}}"#
            )))
        };

        assert_eq!(handshake("2024-11-05").map(|peer| peer.revision), Ok(Revision::V2024_11_05));
        assert_eq!(handshake("2026-07-28"), Err(Oddity::Revision("2026-07-28".into())));
    }
}
