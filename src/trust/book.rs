//! The book: what is known of each server, and what of that the store does not know yet.

use std::collections::{BTreeMap, HashMap, HashSet};

use std::time::Instant;

use crate::{
    domain::{
        Definition, Digest, OnChange, PinKind, Pins, Server, ServerId, Standing, Timestamp, Version,
    },
    trust::{Settings, Shown},
};

/// An item among those of its server.
pub(super) type Key = (PinKind, Box<str>);

/// What becomes of a definition that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It counts.
    Take,
    /// It waits.
    Hold,
}

impl Rule {
    pub(super) const fn of(on_change: OnChange) -> Self {
        match on_change {
            OnChange::Accept => Self::Take,
            OnChange::Review => Self::Hold,
        }
    }
}

/// What is known of one server.
pub(super) struct Known {
    pub(super) pins: Pins,
    pub(super) items: BTreeMap<Key, Vec<Version>>,
    /// Whether the store knows that it was met.
    pub(super) is_noted: bool,
    /// Items of which the store knows less, and what it knows.
    pub(super) news: BTreeMap<Key, Vec<Version>>,
    /// Definitions that the store does not have.
    pub(super) fresh: HashMap<Digest, Definition>,
    /// When something was noted last.
    pub(super) noted_at: Option<Instant>,
}

/// A server that is not any more: what the store knows of it.
#[derive(Clone)]
pub(super) struct Departed {
    pub(super) server: ServerId,
    pub(super) items: Vec<Key>,
    pub(super) digests: HashSet<Digest>,
}

impl Known {
    /// A server that was met just now.
    pub(super) fn met(server: &Server, now: Timestamp) -> Self {
        let pins = Pins { id: server.id, server: server.name.clone(), since: now };
        Self { is_noted: false, ..Self::noted(pins) }
    }

    /// A server as the store knows it.
    pub(super) fn noted(pins: Pins) -> Self {
        Self {
            pins,
            items: BTreeMap::new(),
            is_noted: true,
            news: BTreeMap::new(),
            fresh: HashMap::new(),
            noted_at: None,
        }
    }

    pub(super) fn has_news(&self) -> bool {
        !self.is_noted || !self.news.is_empty()
    }

    /// Takes note of a definition, and says how it stands.
    pub(super) fn see(
        &mut self,
        shown: Shown,
        clients: Option<&str>,
        rule: Rule,
        now: Timestamp,
    ) -> Standing {
        let Shown { kind, name, digest, text, hides } = shown;
        let key = (kind, name);
        let versions = self.items.entry(key.clone()).or_default();
        let before = versions.clone();
        let is_mine = |version: &Version| version.clients.as_deref() == clients;
        let same = |version: &&Version| version.digest == digest;
        let counts = versions.iter().filter(same).any(|it| it.standing == Standing::Approved);
        let waits = versions.iter().any(|it| same(&it));
        if counts {
            // What it showed meanwhile is not shown any more. What was rejected stays so.
            versions.retain(|it| !(is_mine(it) && it.standing == Standing::Pending));
        } else if rule == Rule::Hold && waits {
            return Standing::Pending;
        } else {
            let counts_now = rule == Rule::Take;
            let goes = |it: &Version| {
                let is_decided = it.standing == Standing::Approved;
                (is_mine(it) && (counts_now || !is_decided)) || it.digest == digest
            };
            versions.retain(|it| !goes(it));
            let standing = if counts_now { Standing::Approved } else { Standing::Pending };
            let text = text.canonical();
            let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
            let clients = clients.map(Into::into);
            versions.push(Version { digest, clients, standing, since: now, bytes });
            let definition = Definition { server: self.pins.id, digest, text, hides };
            self.fresh.insert(digest, definition);
        }
        if *versions != before {
            self.news.entry(key).or_insert(before);
        }
        if counts || rule == Rule::Take { Standing::Approved } else { Standing::Pending }
    }

    /// Lets go of what vanished, the oldest first, while there is more than there may be.
    pub(super) fn trim(&mut self, settings: &Settings, is_here: impl Fn(&Key) -> bool) {
        let mut bytes: usize = self.items.values().flatten().map(|it| it.bytes as usize).sum();
        let is_over = |count: usize, bytes: usize| {
            count > settings.pins_per_server || bytes > settings.bytes_per_server
        };
        if !is_over(self.items.len(), bytes) {
            return;
        }
        let age = |versions: &[Version]| versions.iter().map(|it| it.since).max();
        let mut vanished: Vec<(Option<Timestamp>, Key)> = self
            .items
            .iter()
            .filter(|(key, _)| !is_here(key))
            .map(|(key, versions)| (age(versions), key.clone()))
            .collect();
        vanished.sort();
        for (_, key) in vanished {
            if !is_over(self.items.len(), bytes) {
                return;
            }
            if let Some(before) = self.items.remove(&key) {
                bytes -= before.iter().map(|it| it.bytes as usize).sum::<usize>();
                self.news.entry(key).or_insert(before);
            }
        }
    }

    /// Every definition that is still spoken of.
    pub(super) fn digests(&self) -> HashSet<Digest> {
        self.items.values().flatten().map(|version| version.digest).collect()
    }

    /// What the store must forget of a server that is not any more.
    pub(super) fn depart(self, server: ServerId) -> Departed {
        let noted = self.news.values().flatten().map(|version| version.digest);
        let digests = self.digests().into_iter().chain(noted).collect();
        let items = self.items.into_keys().chain(self.news.into_keys()).collect();
        Departed { server, items, digests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let (id, since) = (ServerId::fixed(1), Timestamp::from_ms(0));
        Known::noted(Pins { id, server: "time".parse().expect("a slug"), since })
    }

    fn see(known: &mut Known, name: &str, text: &str, clients: Option<&str>, rule: Rule) -> bool {
        let json = serde_json::json!({ "description": text }).to_string();
        let shown = Shown::read(PinKind::Tool, name, &json, Vec::new()).expect("an object");
        let now = Timestamp::from_ms(known.items.len().try_into().expect("few"));
        known.see(shown, clients, rule, now) == Standing::Approved
    }

    fn standings(known: &Known, name: &str) -> Vec<(Option<String>, Standing)> {
        let versions = &known.items[&(PinKind::Tool, name.into())];
        versions.iter().map(|it| (it.clients.as_deref().map(str::to_owned), it.standing)).collect()
    }

    #[test]
    fn a_change_counts_or_waits_as_the_rule_says() {
        let mut known = known();
        assert!(see(&mut known, "now", "a", None, Rule::Take));

        assert!(!see(&mut known, "now", "b", None, Rule::Hold));
        assert!(!see(&mut known, "now", "b", None, Rule::Hold));
        assert_eq!(
            standings(&known, "now"),
            [(None, Standing::Approved), (None, Standing::Pending)]
        );
        assert!(see(&mut known, "now", "b", None, Rule::Take));
        assert_eq!(standings(&known, "now"), [(None, Standing::Approved)]);
    }

    #[test]
    fn what_is_as_it_was_again_waits_no_longer() {
        let mut known = known();
        see(&mut known, "now", "a", None, Rule::Take);
        see(&mut known, "now", "b", None, Rule::Hold);

        assert!(see(&mut known, "now", "a", None, Rule::Hold));

        assert_eq!(standings(&known, "now"), [(None, Standing::Approved)]);
    }

    #[test]
    fn kinds_of_clients_do_not_push_each_other_out() {
        let mut known = known();
        let apart = Some(r#"{"roots":{}}"#);
        see(&mut known, "now", "a", None, Rule::Take);
        see(&mut known, "now", "b", apart, Rule::Take);
        let settled = known.items.clone();
        known.news.clear();

        for _ in 0..3 {
            assert!(see(&mut known, "now", "a", None, Rule::Hold));
            assert!(see(&mut known, "now", "b", apart, Rule::Hold));
        }

        assert!(known.items == settled && known.news.is_empty());
        assert!(!see(&mut known, "now", "c", apart, Rule::Hold));
        assert!(see(&mut known, "now", "b", None, Rule::Hold));
    }

    #[test]
    fn what_vanished_goes_first_when_there_is_too_much() {
        let settings = Settings { pins_per_server: 2, bytes_per_server: 41, ..Settings::default() };
        let mut known = known();
        for (name, text) in [("old", "a"), ("older", "b"), ("here", "c")] {
            see(&mut known, name, text, None, Rule::Take);
        }

        known.trim(&settings, |(_, name)| **name == *"here");
        let names = |known: &Known| -> Vec<String> {
            known.items.keys().map(|(_, name)| name.to_string()).collect()
        };
        assert_eq!(names(&known), ["here", "older"]);

        see(&mut known, "here", "long", None, Rule::Take);
        known.trim(&settings, |(_, name)| **name == *"here");
        assert_eq!(names(&known), ["here", "older"], "22 and 19 bytes are allowed");
        see(&mut known, "here", "longer", None, Rule::Take);
        known.trim(&settings, |(_, name)| **name == *"here");
        assert_eq!(names(&known), ["here"], "what is here stays, however long");
    }
}
