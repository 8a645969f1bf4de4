//! Vetting: what a server offers, before it is put on a shelf. What hides something is cleaned or
//! left out, what is not approved of is held.

use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;

use crate::{
    catalog::{
        Catalog,
        shelf::{Entry, Offer, Unfit},
    },
    domain::{Digest, ItemKind, PinKind, Server},
    trust::{Hidden, Shown, Sweep, sweep, sweep_text},
    wire::{Askable, canonical},
};

/// Warnings that are kept of one offer; further ones are counted.
const WARNINGS: usize = 50;

/// What is said of an item without being part of its definition: it differs from time to time.
const UNPINNED: [&str; 1] = ["_meta"];

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
    shown: Vec<Shown>,
    warnings: Vec<String>,
    more: usize,
    refused: HashSet<(ItemKind, Box<str>)>,
}

impl Vetting {
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
    ) -> Result<Entry, Unfit> {
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
        if let Some(pinned) = PinKind::of(kind) {
            let text = canonical(raw.get(), &UNPINNED).ok_or(Unfit::Unreadable)?;
            self.shown.push(Shown::new(pinned, entry.name.clone(), text, hides));
        }
        Ok(entry)
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
        self.shown.push(Shown::new(PinKind::Instructions, "", text, hides));
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
        let Vetting { shown, mut warnings, more, refused } = vetting;
        if more > 0 {
            warnings.push(format!("and {more} more"));
        }
        let mut digests: BTreeMap<(PinKind, Box<str>), Digest> =
            shown.iter().map(|it| ((it.kind, it.name.clone()), it.digest)).collect();
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
        offer.vetted = Vetted { instructions, digests, held: held.len(), warnings, refused };
    }

    /// Whether a server may be asked for an item that is in no list of it.
    pub(super) fn may_ask(&self, server: &Server, kind: ItemKind, name: &str) -> bool {
        PinKind::of(kind).is_none_or(|kind| self.0.trust.may_ask(server, kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vetting: &mut Vetting, json: &str, hidden: Hidden) -> Result<Entry, Unfit> {
        let raw = RawValue::from_string(json.to_owned()).expect("JSON");
        vetting.read(ItemKind::Tool, &raw, (1_000, hidden))
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
