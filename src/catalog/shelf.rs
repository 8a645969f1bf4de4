//! Shelves: what one server offered, and when it was asked.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    catalog::{param_header, vet::Vetted},
    domain::{Annotations, ItemKind, ParamHeader, Server, ServerId, TaskSupport, is_hidden},
    upstream::Peer,
    wire::{Askable, Era, Span, result, splice},
};

/// Whose shelf it is: a server's, and which clients' it shows these items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) server: ServerId,
    pub(super) askable: Askable,
}

impl Place {
    /// What a server shows to everybody.
    pub(super) const fn shared(server: ServerId) -> Self {
        Self { server, askable: Askable::NOTHING }
    }

    pub(super) fn is_shared(self) -> bool {
        self.askable == Askable::NOTHING
    }
}

/// What is known of one server's items.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    /// Since when it is being asked, where it is.
    pub(super) asked_since: Option<Instant>,
    /// Whether it has ever answered.
    pub(super) has_answered: bool,
    /// Whether it must be asked again once it has answered.
    pub(super) is_suspect: bool,
    /// How often it said that a list of a kind is another now.
    pub(super) told: [u64; 4],
    /// What came of asking it.
    pub(super) state: State,
    /// What it offered when it answered last, and when that was.
    pub(super) last: Option<(Arc<Offer>, Instant)>,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// It has not answered yet.
    Empty,
    /// It answered.
    Full {
        /// What.
        offer: Arc<Offer>,
        /// When.
        at: Instant,
    },
    /// It did not.
    Failed {
        /// Why, in words for clients.
        reason: String,
        /// How many times in a row.
        failures: u32,
        /// When it is asked again.
        retry_at: Instant,
    },
}

impl Shelf {
    pub(super) const NEW: Self = Self {
        asked_since: None,
        has_answered: false,
        is_suspect: false,
        told: [0; 4],
        state: State::Empty,
        last: None,
    };

    pub(super) fn offer(&self) -> Option<&Arc<Offer>> {
        match &self.state {
            State::Full { offer, .. } => Some(offer),
            _ => None,
        }
    }

    /// Whether the server may show more to clients that it can ask something: one of an older
    /// revision hears in the handshake who that is.
    pub(super) fn tells_clients_apart(&self) -> bool {
        let peer = self.offer().and_then(|offer| offer.peer.as_deref());
        peer.is_some_and(|peer| peer.era == Era::Legacy)
    }
}

/// Everything one server offers.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) server: Arc<Server>,
    /// What the server said of itself; the gateway's own has nobody to ask.
    pub(super) peer: Option<Arc<Peer>>,
    /// Items by kind, in the server's own order.
    pub(super) items: [Vec<Entry>; 4],
    /// What of its offer could not be taken.
    pub(super) note: Option<String>,
    /// Tools that nobody may call through this gateway, because their definitions are invalid.
    pub(super) refused: HashSet<Box<str>>,
    /// What was found out about it.
    pub(super) vetted: Vetted,
    /// How long it holds, as the server says; none where it says nothing, or that nobody knows.
    pub(super) holds: Option<Duration>,
}

/// How much a server offers, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Offered {
    /// Tools.
    pub(crate) tools: usize,
    /// Prompts.
    pub(crate) prompts: usize,
    /// Resources.
    pub(crate) resources: usize,
    /// Resource templates.
    pub(crate) templates: usize,
}

impl Offer {
    pub(super) fn of_kind(&self, kind: ItemKind) -> &[Entry] {
        &self.items[kind as usize]
    }

    /// Whether both hold the same items.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let json = |offer: &Self| {
            offer
                .items
                .each_ref()
                .map(|of_kind| of_kind.iter().map(|entry| entry.json.clone()).collect::<Vec<_>>())
        };
        json(self) == json(other)
    }

    pub(super) fn count(&self) -> Offered {
        Offered {
            tools: self.of_kind(ItemKind::Tool).len(),
            prompts: self.of_kind(ItemKind::Prompt).len(),
            resources: self.of_kind(ItemKind::Resource).len(),
            templates: self.of_kind(ItemKind::Template).len(),
        }
    }
}

/// One item as its server wrote it, and where its name stands in it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The server's own name for it.
    pub(super) name: Box<str>,
    json: Bytes,
    key: Span,
    /// Where the URIs of pages stand that show what a tool does (the extension of MCP Apps).
    pages: Box<[Span]>,
    /// Whether clients of every revision can read it.
    pub(super) fits_all: bool,
    /// The arguments that go into headers too.
    pub(super) param_headers: Option<Arc<[ParamHeader]>>,
    /// Whether it is made for tasks.
    pub(super) task_support: TaskSupport,
    /// What its server says of its behaviour.
    pub(super) annotations: Annotations,
}

/// Why an item is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is larger than the limit catalog.item_bytes")]
    TooLarge,
    #[error("it has no name")]
    Nameless,
    #[error("it has two names")]
    Twice,
    #[error("its name is empty, too long or holds control characters")]
    Name,
    #[error("it hides something that nobody sees")]
    Hidden,
    #[error("it holds what cannot be read")]
    Unreadable,
    #[error("an x-mcp-header of it is invalid: {0}")]
    ParamHeader(&'static str),
}

/// The longest name of a tool or prompt, in bytes; the specification's own limit.
const NAME_LIMIT: usize = 128;
const URI_LIMIT: usize = 8_192;

impl Entry {
    /// Reads an item out of a server's list.
    pub(super) fn read(kind: ItemKind, raw: &RawValue, limit: usize) -> Result<Self, Unfit> {
        if raw.get().len() > limit {
            return Err(Unfit::TooLarge);
        }
        let json = Bytes::copy_from_slice(raw.get().as_bytes());
        let members = crate::wire::result::members(&json).ok_or(Unfit::Nameless)?;
        let value = |name: &str| members.iter().find(|(found, _)| found == name).map(|(_, at)| *at);
        let key = value(kind.key_member()).ok_or(Unfit::Nameless)?;
        // Readers differ in which of two they take; one of them could be another server's.
        if members.iter().filter(|(found, _)| found == kind.key_member()).count() > 1 {
            return Err(Unfit::Twice);
        }
        let name: Box<str> = serde_json::from_str(key.text(&json)).map_err(|_| Unfit::Nameless)?;
        let longest = match kind {
            ItemKind::Tool | ItemKind::Prompt => NAME_LIMIT,
            ItemKind::Resource | ItemKind::Template => URI_LIMIT,
        };
        if name.is_empty() || name.len() > longest || name.chars().any(is_hidden) {
            return Err(Unfit::Name);
        }
        let is_object = |schema: Option<Span>| {
            schema.is_none_or(|at| crate::wire::result::is_object_schema(at.text(&json)))
        };
        let fits_all = kind != ItemKind::Tool
            || (value("inputSchema").is_some()
                && is_object(value("inputSchema"))
                && is_object(value("outputSchema")));
        let param_headers = match value("inputSchema") {
            Some(at) if kind == ItemKind::Tool => {
                param_header::read(at.text(&json)).map_err(Unfit::ParamHeader)?
            }
            _ => None,
        };
        let execution = value("execution").filter(|_| kind == ItemKind::Tool);
        let task_support = execution.map(|at| result::task_support(at.text(&json)));
        let task_support = task_support.unwrap_or_default();
        let meta = value("_meta").filter(|_| kind == ItemKind::Tool);
        let pages = meta.map(|at| result::pages(&json, at)).unwrap_or_default();
        let said = value("annotations").filter(|_| kind == ItemKind::Tool);
        let annotations = said.and_then(|at| serde_json::from_str(at.text(&json)).ok());
        let annotations = annotations.unwrap_or_default();
        Ok(Self { name, json, key, pages, fits_all, param_headers, task_support, annotations })
    }

    /// The item as its server wrote it.
    pub(super) const fn json(&self) -> &Bytes {
        &self.json
    }

    /// The name of a tool that is not taken, where it has one.
    pub(super) fn name_of(raw: &RawValue) -> Option<Box<str>> {
        #[derive(serde::Deserialize)]
        struct Named {
            name: Box<str>,
        }
        serde_json::from_str::<Named>(raw.get()).ok().map(|named| named.name)
    }

    /// The item under another name, and its pages under the URIs that their resources go by;
    /// everything else as its server wrote it.
    pub(super) fn named(&self, name: &str, outward: impl Fn(&str) -> Option<String>) -> Bytes {
        let quoted = |text: &str| serde_json::to_string(text).expect("text is always JSON");
        let mut edits: Vec<(Span, String)> = Vec::new();
        if name != &*self.name {
            edits.push((self.key, quoted(name)));
        }
        for at in &self.pages {
            let uri = serde_json::from_str::<String>(at.text(&self.json)).ok();
            if let Some(new) = uri.and_then(|uri| outward(&uri)) {
                edits.push((*at, quoted(&new)));
            }
        }
        if edits.is_empty() {
            return self.json.clone();
        }
        edits.sort_unstable_by_key(|(at, _)| at.start);
        let edits: Vec<(Span, &[u8])> =
            edits.iter().map(|(at, new)| (*at, new.as_bytes())).collect();
        splice(&self.json, &edits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: ItemKind, json: &str) -> Result<Entry, Unfit> {
        let raw = RawValue::from_string(json.to_owned()).expect("JSON");
        Entry::read(kind, &raw, 1_000)
    }

    #[test]
    fn a_new_name_leaves_everything_else_as_it_was() {
        let tool = r#"{"x":1.0,"title":"echo", "name" : "echo" ,"inputSchema":{"type":"object","$defs":{"name":{}}}}"#;

        let entry = read(ItemKind::Tool, tool).expect("a tool");

        let named = String::from_utf8(entry.named("a__echo", |_| None).into()).expect("UTF-8");
        assert_eq!(named, tool.replace(r#""name" : "echo""#, r#""name" : "a__echo""#));
        assert!(entry.fits_all);
    }

    #[test]
    fn knows_what_older_clients_cannot_read() {
        for odd in [
            r#"{"name":"a"}"#,
            r#"{"name":"a","inputSchema":{}}"#,
            r#"{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}}"#,
        ] {
            assert!(!read(ItemKind::Tool, odd).expect("a tool").fits_all, "{odd}");
        }
        assert!(read(ItemKind::Prompt, r#"{"name":"a"}"#).expect("a prompt").fits_all);
    }

    #[test]
    fn refuses_names_that_hide_something() {
        for odd in ["", "a\\u0007", "a\\u202eb", "a\\u200b", &"x".repeat(129)] {
            let tool = format!(r#"{{"name":"{odd}"}}"#);
            assert_eq!(read(ItemKind::Tool, &tool).err(), Some(Unfit::Name), "{odd}");
        }
        assert_eq!(read(ItemKind::Tool, r#"{"title":"a"}"#).err(), Some(Unfit::Nameless));
        let two = r#"{"name":"a","n\u0061me":"another__tool"}"#;
        assert_eq!(read(ItemKind::Tool, two).err(), Some(Unfit::Twice));
        let large = format!(r#"{{"name":"a","description":"{}"}}"#, "x".repeat(1_000));
        assert_eq!(read(ItemKind::Tool, &large).err(), Some(Unfit::TooLarge));
    }
}

#[cfg(test)]
pub(super) mod tests_support {
    use super::*;
    use crate::domain::{NamespaceId, OrganizationId, State as ServerState, Timestamp};

    /// A server of that name, without instances.
    pub(in crate::catalog) fn server(name: &str) -> Arc<Server> {
        Arc::new(Server {
            id: ServerId::fresh(),
            organization: OrganizationId::fixed(1),
            namespace: NamespaceId::fixed(2),
            name: name.parse().expect("a slug"),
            description: String::new(),
            state: ServerState::Active,
            prefixing: None,
            timeout_seconds: None,
            max_in_flight: None,
            keeps_bodies: false,
            origin: None,
            cache: crate::domain::CachePolicy::default(),
            checks: None,
            labels: None,
            instances: Vec::new(),
            created_at: Timestamp::from_ms(0),
            updated_at: Timestamp::from_ms(0),
            on_change: None,
            balance: crate::domain::Balance::default(),
        })
    }

    /// What a server offers that has these tools and, under the same names, resources.
    pub(in crate::catalog) fn offer(name: &str, items: &[&str]) -> Offer {
        let read = |kind, json: String| {
            let raw = RawValue::from_string(json).expect("JSON");
            Entry::read(kind, &raw, 10_000).expect("an item")
        };
        let tool = |item: &&str| {
            read(
                ItemKind::Tool,
                format!(r#"{{"name":"{item}","inputSchema":{{"type":"object"}}}}"#),
            )
        };
        let resource = |item: &&str| {
            read(ItemKind::Resource, format!(r#"{{"uri":"memo://{item}","name":"{item}"}}"#))
        };
        Offer {
            server: server(name),
            peer: None,
            items: [
                items.iter().map(tool).collect(),
                Vec::new(),
                items.iter().map(resource).collect(),
                Vec::new(),
            ],
            note: None,
            refused: HashSet::new(),
            vetted: Vetted::default(),
            holds: None,
        }
    }
}
