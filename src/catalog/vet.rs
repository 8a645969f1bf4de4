//! Vetting: what a server offers, before it is put on a shelf. What hides something is cleaned or
//! left out, what is not approved of is held.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    catalog::{
        Catalog, View,
        shelf::{Entry, Offer, Unfit},
    },
    domain::{Digest, Item, ItemKind, PinKind, Prefixing, SEPARATOR, Scope, Server},
    trust::{Hidden, Shown, Sweep, sweep, sweep_text},
    wire::Askable,
};

/// Warnings that are kept of one offer; further ones are counted.
const WARNINGS: usize = 50;

/// What came of vetting an offer.
#[derive(Debug, Default)]
pub(super) struct Vetted {
    /// What the server tells models of itself, as far as that is shown.
    pub(super) instructions: Option<String>,
    /// Definitions that count and are offered.
    pub(super) digests: BTreeMap<(PinKind, Box<str>), Digest>,
    /// How many definitions are held.
    pub(super) held: usize,
    /// What was hidden, for whoever runs the house.
    pub(super) warnings: Vec<String>,
    /// Items that nobody may ask for, because they hide something.
    refused: HashSet<(ItemKind, Box<str>)>,
    /// Items that are offered without what they hid.
    swept: HashSet<(PinKind, Box<str>)>,
}

impl Vetted {
    /// Whether an item is left out for hiding something.
    pub(super) fn refuses(&self, kind: ItemKind, name: &str) -> bool {
        // Few are refused, and mostly none.
        self.refused.iter().any(|(of, refused)| *of == kind && **refused == *name)
    }
}

/// What a server shows, while it is vetted.
#[derive(Default)]
pub(super) struct Vetting {
    before: Before,
    shown: Vec<Shown>,
    warnings: Vec<String>,
    more: usize,
    refused: HashSet<(ItemKind, Box<str>)>,
}

/// What the server offered the last time, by what it wrote: what is the same is not read again.
#[derive(Default)]
struct Before {
    offer: Option<Arc<Offer>>,
    places: [HashMap<Bytes, usize>; 4],
}

impl Before {
    fn of(offer: Arc<Offer>) -> Self {
        let places = ItemKind::ALL.map(|kind| {
            let entries = offer.of_kind(kind).iter().enumerate();
            entries.map(|(at, entry)| (entry.json().clone(), at)).collect()
        });
        Self { offer: Some(offer), places }
    }

    fn find(&self, kind: ItemKind, raw: &RawValue) -> Option<(Entry, Option<Shown>)> {
        let offer = self.offer.as_ref()?;
        let at = *self.places[kind as usize].get(raw.get().as_bytes())?;
        let entry = offer.of_kind(kind).get(at)?;
        let Some(pinned) = PinKind::of(kind) else { return Some((entry.clone(), None)) };
        let key = (pinned, entry.name.clone());
        // What was taken out of it belonged to its definition.
        if offer.vetted.swept.contains(&key) {
            return None;
        }
        let digest = *offer.vetted.digests.get(&key)?;
        let shown = Shown::again(pinned, key.1, digest, entry.json().clone());
        Some((entry.clone(), Some(shown)))
    }
}

impl Vetting {
    /// Begins to vet what comes after this.
    pub(super) fn after(before: Option<Arc<Offer>>) -> Self {
        Self { before: before.map(Before::of).unwrap_or_default(), ..Self::default() }
    }

    /// An item is taken into the offer.
    pub(super) fn keep(&mut self, shown: Option<Shown>) {
        self.shown.extend(shown);
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push(warning);
        } else {
            self.more += 1;
        }
    }

    /// Reads an item out of a server's list, without what nobody sees in it.
    pub(super) fn read(
        &mut self,
        kind: ItemKind,
        raw: &RawValue,
        (limit, hidden): (usize, Hidden),
    ) -> Result<(Entry, Option<Shown>), Unfit> {
        if let Some(same) = self.before.find(kind, raw) {
            return Ok(same);
        }
        if raw.get().len() > limit {
            return Err(Unfit::TooLarge);
        }
        let (entry, hides) = match sweep(raw.get()) {
            Sweep::Clean => (Entry::read(kind, raw, limit)?, Vec::new()),
            Sweep::Swept { json, places } if hidden == Hidden::Strip => {
                let swept = RawValue::from_string(json).map_err(|_| Unfit::Nameless)?;
                (Entry::read(kind, &swept, limit)?, places)
            }
            Sweep::Swept { places, .. } => return Err(self.refuse(kind, raw, &places.join(", "))),
            Sweep::Stuck(place) => return Err(self.refuse(kind, raw, &place)),
        };
        if !hides.is_empty() {
            self.warn(format!("taken out of {kind} {}: {}", brief(&entry.name), hides.join(", ")));
        }
        let Some(pinned) = PinKind::of(kind) else { return Ok((entry, None)) };
        let shown = Shown::read(pinned, entry.name.clone(), raw.get(), hides);
        Ok((entry, Some(shown.ok_or(Unfit::Unreadable)?)))
    }

    fn refuse(&mut self, kind: ItemKind, raw: &RawValue, place: &str) -> Unfit {
        let name = Entry::name_of(raw).unwrap_or_default();
        self.warn(format!("left out: {kind} {}, which hides something in {place}", brief(&name)));
        if matches!(kind, ItemKind::Tool | ItemKind::Prompt) {
            self.refused.insert((kind, name));
        }
        Unfit::Hidden
    }

    fn instructions(&mut self, said: Option<&str>, hidden: Hidden) -> Option<String> {
        let said = said?;
        let text = serde_json::json!({ "instructions": said }).to_string();
        let swept = sweep_text("instructions", said);
        if hidden == Hidden::Refuse
            && let Some((_, place)) = &swept
        {
            self.warn(format!("left out: {place}"));
            return None;
        }
        let (clean, hides) = match swept {
            Some((clean, place)) => (clean, vec![place]),
            None => (said.to_owned(), Vec::new()),
        };
        if let Some(place) = hides.first() {
            self.warn(format!("taken out of the {place}"));
        }
        self.keep(Shown::read(PinKind::Instructions, "", &text, hides));
        Some(clean)
    }
}

/// A name in a warning.
fn brief(name: &str) -> String {
    name.chars().take(128).flat_map(char::escape_debug).collect()
}

impl Catalog {
    /// Weighs a whole offer, and takes what is held out of it.
    pub(super) fn vet(&self, offer: &mut Offer, askable: Askable, mut vetting: Vetting) {
        let trust = &self.0.trust;
        let said = offer.peer.as_ref().and_then(|peer| peer.instructions.as_deref());
        let instructions = vetting.instructions(said, trust.hidden());
        let Vetting { shown, mut warnings, more, refused, .. } = vetting;
        if more > 0 {
            warnings.push(format!("and {more} more"));
        }
        let mut digests: BTreeMap<(PinKind, Box<str>), Digest> =
            shown.iter().map(|it| ((it.kind, it.name.clone()), it.digest)).collect();
        let hiding = shown.iter().filter(|it| !it.hides.is_empty());
        let swept = hiding.map(|it| (it.kind, it.name.clone())).collect();
        let clients = (askable != Askable::NOTHING).then(|| askable.to_json());
        let held = trust.weigh(&offer.server, clients.as_deref(), shown);
        digests.retain(|key, _| !held.contains(key));
        for kind in ItemKind::ALL {
            if let Some(pinned) = PinKind::of(kind) {
                let is_held = |entry: &Entry| held.contains(&(pinned, entry.name.clone()));
                offer.items[kind as usize].retain(|entry| held.is_empty() || !is_held(entry));
            }
        }
        if !held.is_empty() {
            let count = held.len();
            let (noun, verb) =
                if count == 1 { ("definition", "is") } else { ("definitions", "are") };
            let note = format!("{count} {noun} of it {verb} held for review");
            offer.note = Some(match offer.note.take() {
                Some(before) => format!("{before}; {note}"),
                None => note,
            });
        }
        let instructions =
            instructions.filter(|_| !held.contains(&(PinKind::Instructions, "".into())));
        let held = held.len();
        offer.vetted = Vetted { instructions, digests, held, warnings, refused, swept };
    }

    /// Whether a server may be asked for an item that is in no list of it.
    pub(super) fn may_ask(&self, server: &Server, kind: ItemKind, name: &str) -> bool {
        PinKind::of(kind).is_none_or(|kind| self.0.trust.may_ask(server, kind, name))
    }

    /// The item of that name, where it is in no list because it is held.
    pub(super) fn held(
        &self,
        view: &View,
        kind: ItemKind,
        name: &str,
    ) -> Option<(Arc<Server>, Item)> {
        let pinned = PinKind::of(kind)?;
        let directory = self.0.registry.directory();
        let is_alone = matches!(view.scope, Scope::Server(_));
        let servers = directory.in_scope(&view.sight, &view.scope)?;
        servers.into_iter().find_map(|server| {
            let prefixing = directory.prefixing(&server);
            let plain = (is_alone || prefixing != Prefixing::Always).then_some(name);
            let prefixed = (!is_alone && prefixing != Prefixing::Never)
                .then(|| name.strip_prefix(server.name.as_str())?.strip_prefix(SEPARATOR))
                .flatten();
            let is_held = |name: &&str| self.0.trust.is_held(&server, pinned, name);
            let own = prefixed.into_iter().chain(plain).find(is_held)?;
            let item = Item::named(kind, own);
            Some((server, item))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::shelf::tests_support;

    fn read(vetting: &mut Vetting, json: &str, hidden: Hidden) -> Result<Entry, Unfit> {
        let raw = RawValue::from_string(json.to_owned()).expect("JSON");
        let (entry, shown) = vetting.read(ItemKind::Tool, &raw, (1_000, hidden))?;
        vetting.keep(shown);
        Ok(entry)
    }

    /// What came before, of tools.
    fn before(all: &[&str]) -> Arc<Offer> {
        let mut offer = tests_support::offer("time", &[]);
        let mut vetting = Vetting::default();
        for json in all {
            let entry = read(&mut vetting, json, Hidden::Strip).expect("an item");
            offer.items[ItemKind::Tool as usize].push(entry);
        }
        for shown in vetting.shown {
            let key = (shown.kind, shown.name);
            if !shown.hides.is_empty() {
                offer.vetted.swept.insert(key.clone());
            }
            offer.vetted.digests.insert(key, shown.digest);
        }
        Arc::new(offer)
    }

    #[test]
    fn what_is_as_before_byte_for_byte_is_not_read_again() {
        let (same, other) = (r#"{"name":"now","a":1}"#, r#"{ "name":"now","a":1}"#);
        let before = before(&[same]);
        let json = before.items[ItemKind::Tool as usize][0].json().clone();
        let mut vetting = Vetting::after(Some(before));

        let kept = read(&mut vetting, same, Hidden::Strip).expect("an item");
        let anew = read(&mut vetting, other, Hidden::Strip).expect("an item");

        assert_eq!(kept.json().as_ptr(), json.as_ptr());
        assert_ne!(anew.json().as_ptr(), json.as_ptr());
        assert_eq!(vetting.shown[0].digest, vetting.shown[1].digest);
    }

    #[test]
    fn a_definition_that_hides_nothing_any_more_is_another() {
        let before = before(&[r#"{"name":"now","description":"time\u200b"}"#]);
        let digest = before.vetted.digests[&(PinKind::Tool, "now".into())];
        let mut vetting = Vetting::after(Some(before));

        read(&mut vetting, r#"{"name":"now","description":"time"}"#, Hidden::Strip).expect("read");

        assert_ne!(vetting.shown[0].digest, digest);
    }

    #[test]
    fn what_hides_something_is_cleaned_or_left_out() {
        let tool = r#"{"name":"now","description":"the\u200b time"}"#;
        let mut vetting = Vetting::default();

        let entry = read(&mut vetting, tool, Hidden::Strip).expect("an item");
        let refused = read(&mut vetting, tool, Hidden::Refuse).err();

        assert_eq!(entry.named("now", |_| None), r#"{"name":"now","description":"the time"}"#);
        assert_eq!(refused, Some(Unfit::Hidden));
        assert_eq!(vetting.warnings.len(), 2);
        assert_eq!(vetting.shown.len(), 1);
        assert!(vetting.refused.contains(&(ItemKind::Tool, "now".into())));
    }

    #[test]
    fn what_is_said_beside_a_definition_is_not_pinned() {
        let mut vetting = Vetting::default();
        for json in [
            r#"{"name":"now","description":"a","_meta":{"at":1}}"#,
            r#"{ "description":"a", "name":"now" }"#,
            r#"{"name":"now","description":"b"}"#,
        ] {
            read(&mut vetting, json, Hidden::Strip).expect("an item");
        }

        let digests: Vec<Digest> = vetting.shown.iter().map(|it| it.digest).collect();
        assert!(digests[0] == digests[1] && digests[1] != digests[2]);
    }

    #[test]
    fn warnings_are_counted_beyond_a_limit() {
        let mut vetting = Vetting::default();
        for at in 0..=WARNINGS {
            vetting.warn(at.to_string());
        }

        assert_eq!((vetting.warnings.len(), vetting.more), (WARNINGS, 1));
    }
}
