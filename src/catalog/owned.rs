//! The gateway's own server: a few tools that work with nothing else installed.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    access::{DEFAULT_ORGANIZATION, Veil},
    catalog::{
        Catalog,
        find::shows,
        shelf::{Entry, Offer, Place},
        vet::Vetted,
    },
    domain::{Health, Item, ItemKind, NamespaceId, Server, ServerId, Sight, State, Timestamp},
    registry::Directory,
    wire::{Call, result},
};

const SERVER: ServerId = ServerId::fixed(3);

/// The gateway's own tools, as they are listed.
const TOOLS: [&str; 3] = [
    r#"{"name":"list_servers","title":"List servers","description":"Lists the MCP servers behind this gateway and whether each one answers.","inputSchema":{"type":"object","properties":{},"additionalProperties":false},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"#,
    r#"{"name":"explain_name","title":"Explain a name","description":"Says which server a tool, prompt or resource of this gateway comes from, and what that server itself calls it.","inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"The name or URI as this gateway lists it."}},"required":["name"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"#,
    r#"{"name":"current_time","title":"Current time","description":"Tells the current time, in UTC or in a time zone.","inputSchema":{"type":"object","properties":{"timezone":{"type":"string","description":"An IANA time zone such as Europe/Berlin."}},"additionalProperties":false},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"#,
];

static OFFER: LazyLock<Arc<Offer>> = LazyLock::new(|| {
    let entry = |tool: &&str| {
        let raw = RawValue::from_string((*tool).to_owned()).expect("our own tools are JSON");
        Entry::read(ItemKind::Tool, &raw, usize::MAX).expect("our own tools are well formed")
    };
    let server = Server {
        id: SERVER,
        organization: DEFAULT_ORGANIZATION,
        namespace: NamespaceId::fixed(0),
        name: Directory::BUILT_IN.parse().expect("our own name is a name"),
        description: "The gateway itself".to_owned(),
        state: State::Active,
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
    };
    let items = [TOOLS.iter().map(entry).collect(), Vec::new(), Vec::new(), Vec::new()];
    Arc::new(Offer {
        server: Arc::new(server),
        peer: None,
        items,
        note: None,
        refused: HashSet::new(),
        vetted: Vetted::default(),
        holds: None,
    })
});

/// What the gateway itself offers.
pub(super) fn offer() -> Arc<Offer> {
    OFFER.clone()
}

/// Whether a server is the gateway itself.
pub(super) fn is_own(server: &Server) -> bool {
    server.id == SERVER
}

impl Catalog {
    /// Calls one of the gateway's own tools.
    pub(crate) fn call_own(
        &self,
        sight: &Sight,
        item: &Item,
        (call, veil): (&Call, &Veil<'_>),
    ) -> Bytes {
        match &*item.name {
            "list_servers" => self.list_servers(sight, veil),
            "explain_name" => self.explain_name(sight, (call, veil)),
            "current_time" => self.current_time(call),
            unknown => result::tool_error(&format!("the gateway has no tool {unknown:?}")),
        }
    }

    fn list_servers(&self, sight: &Sight, veil: &Veil<'_>) -> Bytes {
        let directory = self.0.registry.directory();
        let servers: Vec<_> = directory
            .servers(sight)
            .filter(|server| veil.shows_server(server))
            .map(|server| {
                let health = self.0.registry.health(server);
                let tools = self.tools_shown(server, veil);
                let mut shown = json!({
                    "name": server.name,
                    "description": server.description,
                    "health": health.as_str(),
                    "tools": tools,
                });
                if let Health::Unhealthy { reason, since } = health {
                    shown["reason"] = reason.into();
                    shown["since"] = since.to_string().into();
                }
                shown
            })
            .collect();
        let own = shown_of(&OFFER, veil);
        let house = json!({
            "name": OFFER.server.name,
            "description": OFFER.server.description,
            "health": Health::Healthy.as_str(),
            "tools": own,
        });
        let all: Vec<_> = std::iter::once(house).chain(servers).collect();
        result::tool(&json!({ "servers": all }))
    }

    fn explain_name(&self, sight: &Sight, (call, veil): (&Call, &Veil<'_>)) -> Bytes {
        #[derive(Deserialize)]
        struct Arguments {
            name: String,
        }
        let Some(Arguments { name }) = call.request.param("arguments") else {
            return result::tool_error("give the argument \"name\", a text");
        };
        match self.explain(sight, (call, veil), &name) {
            Some((server, item)) => result::tool(&json!({
                "name": name,
                "kind": item.kind.as_str(),
                "server": server.name,
                "server_name": item.name,
                "health": self.0.registry.health(&server).as_str(),
            })),
            None => result::tool_error(&format!("this gateway lists nothing named {name:?}")),
        }
    }

    /// How many tools of a server somebody may know of; none while it does not answer.
    fn tools_shown(&self, server: &Server, veil: &Veil<'_>) -> Option<usize> {
        let shelves = self.0.shelves.lock();
        let offer = shelves.get(&Place::shared(server.id))?.offer()?;
        Some(shown_of(offer, veil))
    }

    fn current_time(&self, call: &Call) -> Bytes {
        #[derive(Deserialize, Default)]
        struct Arguments {
            #[serde(default)]
            timezone: Option<String>,
        }
        let arguments: Arguments = call.request.param("arguments").unwrap_or_default();
        let now = self.0.clock.now();
        let Some(zone) = arguments.timezone else {
            return result::tool(&json!({ "time": now.to_string(), "timezone": "UTC" }));
        };
        match now.in_zone(&zone) {
            Some(time) => result::tool(&json!({ "time": time, "timezone": zone })),
            None => result::tool_error(&format!("{zone:?} is no time zone known here")),
        }
    }
}

/// How many tools of an offer somebody may know of.
fn shown_of(offer: &Offer, veil: &Veil<'_>) -> usize {
    let tools = offer.of_kind(ItemKind::Tool).iter();
    let shown = tools
        .filter(|tool| shows(veil, &offer.server, ItemKind::Tool, (&tool.name, &tool.annotations)));
    shown.count()
}
