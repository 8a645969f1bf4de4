//! Merging: one list out of many shelves, written once and served until something changes.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    catalog::{
        names::{Named, assign, assign_uris, mark},
        shelf::{Entry, Offer},
        template,
    },
    domain::{Cursor, InvalidCursor, ItemKind, Prefixing, Scope, Server, ServerId, Slug},
    wire::meta,
};

/// A server whose items a list lacks, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) server: Slug,
    pub(super) reason: String,
    /// Whether it is shown all the same, with what it offered before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stale: bool,
}

impl Missing {
    /// A server that is left out, or of which something is.
    pub(super) fn new(server: &Slug, reason: String) -> Self {
        Self { server: server.clone(), reason, stale: false }
    }
}

/// What one endpoint shows.
#[derive(Debug)]
pub(super) struct Merged {
    /// The version of the catalog it was made of.
    pub(super) version: u64,
    /// Until when nobody needs to be asked again.
    pub(super) fresh_until: Mutex<Option<Instant>>,
    pub(super) offers: Vec<Arc<Offer>>,
    pub(super) missing: Vec<Missing>,
    /// The resources of a server that go by another name here.
    marks: HashMap<ServerId, Marks>,
    lists: [List; 4],
    told: [u64; 4],
}

/// The resources of one server that another has too.
#[derive(Debug, Default)]
struct Marks {
    uris: HashSet<Box<str>>,
    templates: Vec<Box<str>>,
}

impl Marks {
    /// What a URI is called here; none where it keeps its name.
    fn outward(&self, server: &Slug, uri: &str) -> Option<String> {
        let mut templates = self.templates.iter();
        let is_marked =
            self.uris.contains(uri) || templates.any(|template| template::matches(template, uri));
        is_marked.then(|| mark(uri, server))
    }
}

#[derive(Debug, Default)]
struct List {
    /// Items in order, each as it goes out.
    items: Vec<Bytes>,
    /// Whose each is, and which of its own.
    places: Vec<(Slug, usize)>,
    /// Which of the offers each is in.
    owners: Vec<usize>,
    by_name: HashMap<String, (usize, usize)>,
    first_page: Bytes,
    fits_all: bool,
    digest: u64,
}

impl Merged {
    /// Merges offers, which come in the order of their servers' names.
    pub(super) fn new(
        version: u64,
        scope: &Scope,
        offers: Vec<(Arc<Offer>, Prefixing)>,
        mut missing: Vec<Missing>,
        page_size: usize,
    ) -> Self {
        let borrowed: Vec<(&Offer, Prefixing)> =
            offers.iter().map(|(offer, prefixing)| (&**offer, *prefixing)).collect();
        let mut marks = HashMap::new();
        let named = ItemKind::ALL.map(|kind| {
            let named = name_all(scope, &borrowed, kind, &mut missing);
            note_marks(&mut marks, &borrowed, kind, &named);
            (kind, named)
        });
        let mut lists: [List; 4] = Default::default();
        for (kind, named) in named {
            lists[kind as usize] = List::new(&borrowed, kind, named, &marks);
        }
        for (offer, _) in &borrowed {
            if let Some(reason) = &offer.note {
                missing.push(Missing::new(&offer.server.name, reason.clone()));
            }
        }
        for kind in ItemKind::ALL {
            let list = &mut lists[kind as usize];
            list.first_page = list.page(kind, 0, page_size, &missing);
        }
        let offers = offers.into_iter().map(|(offer, _)| offer).collect();
        Self { version, fresh_until: Mutex::new(None), offers, missing, marks, lists, told: [0; 4] }
    }

    /// A page of a list, as a result.
    pub(super) fn page(
        &self,
        kind: ItemKind,
        cursor: Option<&str>,
        page_size: usize,
    ) -> Result<Bytes, InvalidCursor> {
        let list = &self.lists[kind as usize];
        match cursor {
            None => Ok(list.first_page.clone()),
            Some(cursor) => {
                let start = list.after(&cursor.parse()?);
                Ok(list.page(kind, start, page_size, &self.missing))
            }
        }
    }

    /// A page of those items of a list that are shown, as a result.
    pub(super) fn page_of(
        &self,
        kind: ItemKind,
        cursor: Option<&str>,
        (page_size, missing): (usize, &[Missing]),
        is_shown: impl Fn(&Offer, &Entry) -> bool,
    ) -> Result<Bytes, InvalidCursor> {
        let list = &self.lists[kind as usize];
        let start = cursor.map(str::parse).transpose()?.map_or(0, |cursor| list.after(&cursor));
        let shown = |at: &usize| {
            let offer = &self.offers[list.owners[*at]];
            is_shown(offer, &offer.of_kind(kind)[list.places[*at].1])
        };
        let mut shown = (start..list.items.len()).filter(shown);
        let page: Vec<usize> = shown.by_ref().take(page_size).collect();
        let has_more = shown.next().is_some();
        Ok(list.result(kind, &page, has_more, missing))
    }

    /// Whether clients of every revision can read all items of a kind.
    pub(super) fn fits_all(&self, kind: ItemKind) -> bool {
        self.lists[kind as usize].fits_all
    }

    /// What a server's own URI is called here; none where it keeps its name.
    pub(super) fn outward(&self, server: &Server, uri: &str) -> Option<String> {
        let marks = self.marks.get(&server.id)?;
        if self.find(ItemKind::Resource, uri).is_some() {
            return None;
        }
        marks.outward(&server.name, uri)
    }

    /// Takes note of how often servers said that a list of a kind is another now.
    pub(super) fn told_so_often(self, told: [u64; 4]) -> Self {
        Self { told, ..self }
    }

    /// What tells one state of the lists from another, by kind.
    pub(super) fn digests(&self) -> [u64; 4] {
        let digest = |kind| self.lists[kind as usize].digest.wrapping_add(self.told[kind as usize]);
        ItemKind::ALL.map(digest)
    }

    /// Whether any of a server's resources goes by another name here.
    pub(super) fn renames(&self, server: &Server) -> bool {
        self.marks.contains_key(&server.id)
    }

    /// The item of that name.
    pub(super) fn find(&self, kind: ItemKind, name: &str) -> Option<(&Arc<Offer>, &Entry)> {
        let (offer, item) = self.lists[kind as usize].by_name.get(name)?;
        let offer = &self.offers[*offer];
        Some((offer, &offer.of_kind(kind)[*item]))
    }
}

fn note_marks(
    marks: &mut HashMap<ServerId, Marks>,
    offers: &[(&Offer, Prefixing)],
    kind: ItemKind,
    named: &[Named],
) {
    for Named { offer, item, name } in named {
        let (offer, _) = offers[*offer];
        let own = &offer.of_kind(kind)[*item].name;
        if **own == **name {
            continue;
        }
        match kind {
            ItemKind::Tool | ItemKind::Prompt => {}
            ItemKind::Resource => {
                marks.entry(offer.server.id).or_default().uris.insert(own.clone());
            }
            ItemKind::Template => {
                marks.entry(offer.server.id).or_default().templates.push(own.clone());
            }
        }
    }
}

fn name_all(
    scope: &Scope,
    offers: &[(&Offer, Prefixing)],
    kind: ItemKind,
    missing: &mut Vec<Missing>,
) -> Vec<Named> {
    if let Scope::Server(_) = scope {
        let own = |(at, (offer, _)): (usize, &(&Offer, Prefixing))| -> Vec<Named> {
            let entries = offer.of_kind(kind).iter().enumerate();
            entries
                .map(|(item, entry)| Named { offer: at, item, name: entry.name.to_string() })
                .collect()
        };
        return offers.iter().enumerate().flat_map(own).collect();
    }
    match kind {
        ItemKind::Tool | ItemKind::Prompt => {
            let (named, left_out) = assign(offers, kind);
            for of_one in left_out.chunk_by(|(a, _), (b, _)| a == b) {
                let (server, name) = &of_one[0];
                let count = of_one.len();
                tracing::warn!(%server, name, count, "{kind}s are left out: others have their names");
                let reason = format!(
                    "{count} {kind}s are left out, {name:?} first: others have their names"
                );
                missing.push(Missing::new(server, reason));
            }
            named
        }
        ItemKind::Resource | ItemKind::Template => {
            let offers: Vec<&Offer> = offers.iter().map(|(offer, _)| *offer).collect();
            assign_uris(&offers, kind)
        }
    }
}

impl List {
    fn new(
        offers: &[(&Offer, Prefixing)],
        kind: ItemKind,
        named: Vec<Named>,
        marks: &HashMap<ServerId, Marks>,
    ) -> Self {
        let mut list = Self { fits_all: true, ..Self::default() };
        for Named { offer, item, name } in named {
            let server = &offers[offer].0.server;
            let entry = &offers[offer].0.of_kind(kind)[item];
            let outward = |uri: &str| marks.get(&server.id)?.outward(&server.name, uri);
            list.items.push(entry.named(&name, outward));
            list.places.push((server.name.clone(), item));
            list.owners.push(offer);
            list.fits_all &= entry.fits_all;
            list.by_name.insert(name, (offer, item));
        }
        let mut hasher = DefaultHasher::new();
        list.items.hash(&mut hasher);
        list.digest = hasher.finish();
        list
    }

    /// Where the page after a cursor begins.
    fn after(&self, cursor: &Cursor) -> usize {
        let is_before = |(server, item): &(Slug, usize)| {
            (server.as_str(), *item) < (cursor.server.as_str(), cursor.sent)
        };
        self.places.partition_point(is_before)
    }

    /// One page as a result: the items, where it goes on, and who is missing.
    fn page(&self, kind: ItemKind, start: usize, size: usize, missing: &[Missing]) -> Bytes {
        let end = (start + size).min(self.items.len());
        let page: Vec<usize> = (start..end).collect();
        self.result(kind, &page, end < self.items.len(), missing)
    }

    /// These items as a result.
    fn result(&self, kind: ItemKind, page: &[usize], has_more: bool, missing: &[Missing]) -> Bytes {
        let items = || page.iter().map(|at| &self.items[*at]);
        let total: usize = items().map(|item| item.len() + 1).sum();
        let mut result = Vec::with_capacity(total + 256);
        result.extend_from_slice(format!("{{\"{}\":[", kind.list_member()).as_bytes());
        for (at, item) in items().enumerate() {
            if at > 0 {
                result.push(b',');
            }
            result.extend_from_slice(item);
        }
        result.push(b']');
        if let Some(last) = page.last().filter(|_| has_more) {
            let (server, item) = &self.places[*last];
            let cursor = Cursor { server: server.to_string(), sent: item + 1 };
            result.extend_from_slice(format!(r#","nextCursor":"{cursor}""#).as_bytes());
        }
        // Servers of older revisions do not say how long their lists hold, and lists depend on
        // who asks.
        result.extend_from_slice(br#","resultType":"complete","ttlMs":0,"cacheScope":"private""#);
        if !missing.is_empty() {
            let missing = serde_json::to_string(missing).expect("plain data is JSON");
            let member = format!(r#","_meta":{{"{}":{missing}}}"#, meta::MISSING);
            result.extend_from_slice(member.as_bytes());
        }
        result.push(b'}');
        result.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::shelf::tests_support::offer;

    fn merged(page_size: usize, offers: Vec<Offer>) -> Merged {
        let offers = offers.into_iter().map(|offer| (Arc::new(offer), Prefixing::Always)).collect();
        Merged::new(1, &Scope::Everything, offers, Vec::new(), page_size)
    }

    fn read(page: &Bytes) -> serde_json::Value {
        serde_json::from_slice(page).expect("JSON")
    }

    #[test]
    fn pages_hold_every_item_once_in_order() {
        let merged = merged(2, vec![offer("a", &["x", "y", "z"]), offer("b", &["x", "y"])]);

        let mut names = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = merged.page(ItemKind::Tool, cursor.as_deref(), 2).expect("a cursor");
            let page = read(&page);
            let tools = page["tools"].as_array().expect("tools");
            names
                .extend(tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = Some(next.to_owned());
        }

        assert_eq!(names, ["a__x", "a__y", "a__z", "b__x", "b__y"]);
    }

    #[test]
    fn a_page_goes_on_where_the_last_ended_though_a_server_has_gone() {
        let before = merged(2, vec![offer("a", &["x", "y"]), offer("b", &["x"])]);
        let page = read(&before.page(ItemKind::Tool, None, 2).expect("a page"));
        let cursor = page["nextCursor"].as_str().expect("a cursor");

        let after = merged(2, vec![offer("b", &["x"])]);

        let page = read(&after.page(ItemKind::Tool, Some(cursor), 2).expect("a page"));
        assert_eq!(page["tools"][0]["name"], "b__x");
    }

    #[test]
    fn the_missing_are_named() {
        let missing = Missing::new(&"c".parse().expect("a slug"), "gone".into());
        let merged = Merged::new(1, &Scope::Everything, Vec::new(), vec![missing], 2);

        let page = read(&merged.page(ItemKind::Tool, None, 2).expect("a page"));

        assert_eq!(page["_meta"]["io.tollhouse/missing"][0]["server"], "c");
    }

    #[test]
    fn what_another_has_the_name_of_is_not_left_out_in_silence() {
        let offers = ["a", "b"].map(|name| (Arc::new(offer(name, &["x"])), Prefixing::Never));

        let merged = Merged::new(1, &Scope::Everything, offers.into(), Vec::new(), 2);

        let page = read(&merged.page(ItemKind::Tool, None, 2).expect("a page"));
        assert_eq!(page["tools"].as_array().map(Vec::len), Some(1));
        let missing = &page["_meta"]["io.tollhouse/missing"][0];
        assert_eq!(missing["server"], "b");
        assert_eq!(
            missing["reason"],
            r#"1 tools are left out, "x" first: others have their names"#
        );
    }

    #[test]
    fn a_uri_is_marked_only_where_two_servers_have_it() {
        let merged = merged(9, vec![offer("a", &["x", "y"]), offer("b", &["x"])]);

        let page = read(&merged.page(ItemKind::Resource, None, 9).expect("a page"));

        let uris: Vec<&str> = page["resources"]
            .as_array()
            .expect("resources")
            .iter()
            .map(|resource| resource["uri"].as_str().expect("a uri"))
            .collect();
        assert_eq!(uris, ["memo://x#tollhouse=a", "memo://y", "memo://x#tollhouse=b"]);
        let (found, entry) =
            merged.find(ItemKind::Resource, "memo://x#tollhouse=b").expect("found");
        assert_eq!((found.server.name.as_str(), &*entry.name), ("b", "memo://x"));
        let marked = |uri| merged.outward(&found.server, uri);
        assert_eq!(marked("memo://x").as_deref(), Some("memo://x#tollhouse=b"));
        assert_eq!((marked("memo://y"), marked("memo://z")), (None, None));
    }
}
