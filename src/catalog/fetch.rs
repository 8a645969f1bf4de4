//! Fetching: one server is asked for all it offers.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    catalog::{
        Catalog,
        shelf::{Entry, Offer, Place, Unfit},
        vet::{Vetted, Vetting},
    },
    domain::{Instance, ItemKind, Server},
    upstream::{self, Ask, Party, oauth::Account},
    wire::{Address, Askable, Era, Method, Outcome, Request},
};

/// Pages of one list that are read at most; a server that goes on beyond is going in circles.
const PAGES: usize = 100;

/// The longest cursor that is taken; it goes back to the server, and all of a list are remembered.
const CURSOR_LIMIT: usize = 8_192;

/// Begins the name of the conversations in which servers are asked what they offer to clients that
/// they can ask something.
const LISTING: &str = "catalog/";

/// Whether a conversation is one of these.
pub(super) fn is_listing(owner: &str) -> bool {
    owner.starts_with(LISTING)
}

impl Catalog {
    /// Everything a server offers to such clients, as one of its instances tells it within the
    /// deadline.
    pub(super) async fn fetch(
        &self,
        (server, instance): (Arc<Server>, &Instance),
        askable: Askable,
        deadline: Instant,
    ) -> Result<Offer, upstream::Error> {
        if askable == Askable::NOTHING {
            return self.fetch_as(None, (server, instance), (askable, deadline)).await;
        }
        let owner: Arc<str> = format!("{LISTING}{}/{}", server.id, askable.to_json()).into();
        let party = Party {
            owner: owner.clone(),
            principal: LISTING.into(),
            capabilities: Some(askable.to_json().into()),
            level: None,
            era: Era::Legacy,
            is_many: false,
        };
        let offer = self.fetch_as(Some(&party), (server, instance), (askable, deadline)).await;
        self.0.upstream.leave(&owner);
        offer
    }

    async fn fetch_as(
        &self,
        party: Option<&Party>,
        (server, instance): (Arc<Server>, &Instance),
        (askable, deadline): (Askable, Instant),
    ) -> Result<Offer, upstream::Error> {
        let account = self.0.links.any_account(&server);
        let account = account.as_ref();
        let peer = self.0.upstream.describe(instance, account, deadline).await?;
        let mut items: [Vec<Entry>; 4] = Default::default();
        let mut notes = Vec::new();
        let mut refused = HashSet::new();
        let before = self.offer_of(Place { server: server.id, askable });
        let mut room = (self.0.settings.bytes_per_server, Vetting::after(before));
        // As long as the one of its lists that holds least long.
        let mut holds: Option<Duration> = None;
        for kind in ItemKind::ALL {
            let has = match kind {
                ItemKind::Tool => peer.capabilities.tools,
                ItemKind::Prompt => peer.capabilities.prompts,
                ItemKind::Resource | ItemKind::Template => peer.capabilities.resources,
            };
            if has {
                let taken =
                    self.fetch_kind((instance, party, account), kind, deadline, &mut room).await?;
                items[kind as usize] = taken.entries;
                holds = holds.into_iter().chain([taken.holds]).min();
                notes.extend(taken.note);
                refused.extend(taken.refused);
            }
        }
        for note in &notes {
            tracing::warn!(server = %server.name, note, "part of what {} offers is left out", server.name);
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        let (server, vetted) = (server.clone(), Vetted::default());
        let holds = holds.filter(|holds| !holds.is_zero());
        let peer = Some(peer);
        let mut offer = Offer { server, peer, items, note, refused, vetted, holds };
        self.vet(&mut offer, askable, room.1);
        Ok(offer)
    }

    async fn fetch_kind(
        &self,
        (instance, party, account): (&Instance, Option<&Party>, Option<&Account>),
        kind: ItemKind,
        deadline: Instant,
        room: &mut (usize, Vetting),
    ) -> Result<Taken, upstream::Error> {
        let mut taking = Taking::new(self, kind, room);
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let params = match &cursor {
                None => "{}".to_owned(),
                Some(cursor) => serde_json::json!({ "cursor": cursor }).to_string(),
            };
            let request = Request::make(&list_method(kind), &params);
            let ask = Ask { party, account, ..Ask::plain(&request, Address::default(), deadline) };
            let answer = self.0.upstream.ask(instance, ask).await?;
            if let Outcome::Error { code } = answer.outcome() {
                // Servers may announce more than they implement.
                let note = (*code != -32601)
                    .then(|| format!("{} was answered with error {code}", list_method(kind)));
                return Ok(taking.with_note(note));
            }
            let Some(page) = answer.result().and_then(|raw| page(raw, kind)) else {
                return Ok(taking.with_note(Some(format!("its list of {kind}s is no list"))));
            };
            cursor = taking.take(page);
            if cursor.is_none() {
                let note = taking.note.take();
                return Ok(taking.with_note(note));
            }
        }
        let note = format!("its list of {kind}s has no end; the first {PAGES} pages are taken");
        Ok(taking.with_note(Some(note)))
    }
}

/// The method that lists items of a kind.
pub(super) const fn list_method(kind: ItemKind) -> Method {
    match kind {
        ItemKind::Tool => Method::ToolsList,
        ItemKind::Prompt => Method::PromptsList,
        ItemKind::Resource => Method::ResourcesList,
        ItemKind::Template => Method::TemplatesList,
    }
}

struct Page<'a> {
    items: Vec<&'a RawValue>,
    next: Option<String>,
    /// How long it holds, as its server says.
    ttl_ms: Option<f64>,
}

fn page(result: &RawValue, kind: ItemKind) -> Option<Page<'_>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        #[serde(borrow, default)]
        tools: Option<Vec<&'a RawValue>>,
        #[serde(borrow, default)]
        prompts: Option<Vec<&'a RawValue>>,
        #[serde(borrow, default)]
        resources: Option<Vec<&'a RawValue>>,
        #[serde(borrow, default)]
        resource_templates: Option<Vec<&'a RawValue>>,
        #[serde(default)]
        next_cursor: Option<String>,
        #[serde(default)]
        ttl_ms: Option<f64>,
    }
    let whole: Whole<'_> = serde_json::from_str(result.get()).ok()?;
    let items = match kind {
        ItemKind::Tool => whole.tools,
        ItemKind::Prompt => whole.prompts,
        ItemKind::Resource => whole.resources,
        ItemKind::Template => whole.resource_templates,
    };
    Some(Page { items: items?, next: whole.next_cursor, ttl_ms: whole.ttl_ms })
}

/// What was taken of one list.
struct Taken {
    entries: Vec<Entry>,
    note: Option<String>,
    refused: HashSet<Box<str>>,
    /// How long it holds, as its server says; zero where it does not.
    holds: Duration,
}

/// What has been taken of one list so far.
struct Taking<'a> {
    catalog: &'a Catalog,
    kind: ItemKind,
    /// Bytes that may still be taken.
    room: &'a mut usize,
    vetting: &'a mut Vetting,
    entries: Vec<Entry>,
    names: HashSet<Box<str>>,
    cursors: HashSet<String>,
    refused: HashSet<Box<str>>,
    note: Option<String>,
    /// As long as the one of its pages that holds least long; none before the first.
    holds: Option<Duration>,
}

impl<'a> Taking<'a> {
    fn new(
        catalog: &'a Catalog,
        kind: ItemKind,
        (room, vetting): &'a mut (usize, Vetting),
    ) -> Self {
        Self {
            catalog,
            kind,
            room,
            vetting,
            entries: Vec::new(),
            names: HashSet::new(),
            cursors: HashSet::new(),
            refused: HashSet::new(),
            note: None,
            holds: None,
        }
    }

    fn with_note(self, note: Option<String>) -> Taken {
        let holds = self.holds.unwrap_or_default();
        Taken { entries: self.entries, note, refused: self.refused, holds }
    }

    /// Takes a page and says where the next one begins.
    fn take(&mut self, page: Page<'_>) -> Option<String> {
        let settings = &self.catalog.0.settings;
        let holds = Duration::try_from_secs_f64(page.ttl_ms.unwrap_or_default() / 1_000.0);
        self.holds = self.holds.into_iter().chain([holds.unwrap_or_default()]).min();
        for raw in page.items {
            if self.entries.len() >= settings.items_per_server {
                let limit = settings.items_per_server;
                self.note = Some(format!("it offers more than {limit} {}s", self.kind));
                return None;
            }
            let bytes = raw.get().len();
            let manner = (settings.item_bytes, self.catalog.0.trust.hidden());
            match self.vetting.read(self.kind, raw, manner) {
                Ok(_) if bytes > *self.room => {
                    self.note = Some("it offers more than catalog.bytes_per_server".to_owned());
                    return None;
                }
                Ok((entry, shown)) if self.names.insert(entry.name.clone()) => {
                    *self.room -= bytes;
                    self.entries.push(entry);
                    self.vetting.keep(shown);
                }
                Ok((entry, _)) => {
                    self.note = Some(format!("it offers the {} {:?} twice", self.kind, entry.name));
                }
                Err(reason @ Unfit::ParamHeader(_)) => {
                    self.refused.extend(Entry::name_of(raw));
                    self.note = Some(format!("a {} is left out: {reason}", self.kind));
                }
                Err(reason) => self.note = Some(format!("a {} is left out: {reason}", self.kind)),
            }
        }
        let next = page.next?;
        if next.len() > CURSOR_LIMIT {
            self.note = Some(format!("its list of {}s goes on at an overlong cursor", self.kind));
            return None;
        }
        // A cursor that comes again would go in circles.
        self.cursors.insert(next.clone()).then_some(next)
    }
}
