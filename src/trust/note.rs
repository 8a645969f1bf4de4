//! Noting: what was found out goes into the store, many servers at a time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Actor, Definition, Digest, Pin, PinKind, Pins, ServerId, Standing, Version},
    problem::chain,
    store::{self, Draft},
    trust::{
        Trust,
        book::{Departed, Key, Known},
        difference::{changed, shown},
    },
};

/// How long the store is left alone after it refused.
const PAUSE: Duration = Duration::from_secs(10);
/// Changes that one line of the audit names; the others are counted.
const TOLD: usize = 20;

/// What the store is to learn of one server.
#[derive(Clone)]
pub(super) struct News {
    pub(super) pins: Pins,
    is_first: bool,
    items: Vec<Item>,
    fresh: Vec<Definition>,
    /// Definitions that nothing speaks of any more.
    stale: HashSet<Digest>,
}

/// One item: what the store knows of it, and what is so.
#[derive(Clone)]
struct Item {
    key: Key,
    before: Vec<Version>,
    now: Option<Vec<Version>>,
}

impl Trust {
    /// Notes what was found out, until `stop`, and then what is left.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut resting_until: Option<Instant> = None;
        while !stop.is_cancelled() {
            let now = self.0.clock.tick();
            let wait = if let Some(until) = resting_until.filter(|until| now < *until) {
                until - now
            } else {
                let (due, next) = self.due(now);
                resting_until = self.note(&due).await.err().map(|error| {
                    tracing::warn!(error = chain(&error), "pins are not noted yet");
                    now + PAUSE
                });
                next
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let all: Vec<ServerId> = self.0.book.lock().keys().copied().collect();
        if let Err(error) = self.note(&all).await {
            tracing::warn!(error = chain(&error), "pins are not noted; they are made anew");
        }
    }

    /// Servers of which something is to be noted now, and when the next ones are.
    fn due(&self, now: Instant) -> (Vec<ServerId>, Duration) {
        const LONG: Duration = Duration::from_hours(1);
        let pause = Duration::from_secs(self.0.settings.note_seconds);
        let (mut due, mut next) = (Vec::new(), LONG);
        for (server, known) in self.0.book.lock().iter().filter(|(_, known)| known.has_news()) {
            match known.noted_at.map(|at| (at + pause).saturating_duration_since(now)) {
                Some(wait) if !wait.is_zero() => next = next.min(wait),
                _ => due.push(*server),
            }
        }
        (due, next)
    }

    /// Notes what there is of these servers, and that others are gone.
    async fn note(&self, servers: &[ServerId]) -> Result<(), store::Error> {
        let _turn = self.0.turn.lock().await;
        self.write_out(servers).await
    }

    /// The same for whoever has the turn already.
    pub(super) async fn write_out(&self, servers: &[ServerId]) -> Result<(), store::Error> {
        let departed = std::mem::take(&mut *self.0.departed.lock());
        let news: Vec<News> = {
            let mut book = self.0.book.lock();
            servers.iter().filter_map(|server| book.get_mut(server)?.news()).collect()
        };
        if news.is_empty() && departed.is_empty() {
            return Ok(());
        }
        let (told, gone) = (news.clone(), departed.clone());
        let actor = Actor::system("trust");
        let written = self.0.store.write(&actor, move |change| {
            for departed in &gone {
                forget(change, departed)?;
            }
            for news in &told {
                let detail = detail(change, news)?;
                if let Some(detail) = detail.as_ref().filter(|_| !news.is_first) {
                    let server = &news.pins.server;
                    tracing::warn!(%server, detail, "{server} says something else than it did");
                }
                put(change, news, detail)?;
            }
            Ok::<_, store::Error>(())
        });
        let written = written.await;
        let now = self.0.clock.tick();
        if written.is_err() {
            self.0.departed.lock().extend(departed);
        }
        let mut book = self.0.book.lock();
        for news in news {
            if let Some(known) = book.get_mut(&news.pins.id) {
                match &written {
                    Ok(()) => known.has_learned(&news, now),
                    Err(_) => known.has_not_learned(news),
                }
            }
        }
        written
    }
}

impl Known {
    /// What the store is to learn; it is news no more unless it is taken back.
    pub(super) fn news(&mut self) -> Option<News> {
        if !self.has_news() {
            return None;
        }
        let spoken_of = self.digests();
        let items = std::mem::take(&mut self.news).into_iter();
        let items: Vec<Item> = items
            .map(|(key, before)| Item { now: self.items.get(&key).cloned(), before, key })
            .collect();
        let before = items.iter().flat_map(|item| &item.before).map(|version| version.digest);
        let stale = before.filter(|digest| !spoken_of.contains(digest)).collect();
        self.fresh.retain(|digest, _| spoken_of.contains(digest));
        let fresh = self.fresh.values().cloned().collect();
        let (pins, is_first) = (self.pins.clone(), !self.is_noted);
        Some(News { pins, is_first, items, fresh, stale })
    }

    /// The store has learned it.
    fn has_learned(&mut self, news: &News, at: Instant) {
        for definition in &news.fresh {
            self.fresh.remove(&definition.digest);
        }
        let spoken_of = self.digests();
        self.fresh.retain(|digest, _| spoken_of.contains(digest));
        self.is_noted = true;
        self.noted_at = Some(at);
    }

    /// The store has not learned it.
    fn has_not_learned(&mut self, news: News) {
        for item in news.items {
            // What the store knows is what it knew before this.
            self.news.insert(item.key, item.before);
        }
    }
}

fn forget(change: &mut Draft<'_>, departed: &Departed) -> Result<(), store::Error> {
    let Departed { server, items, digests } = departed;
    for (kind, name) in items {
        change.forget_pin(server, *kind, name);
    }
    for digest in digests {
        change.forget_definition(server, digest);
    }
    change.remove_pins(server).map(drop)
}

/// Writes what became of a server's pins, and tells the audit of it where that is worth a line.
pub(super) fn put(
    change: &mut Draft<'_>,
    news: &News,
    detail: Option<String>,
) -> Result<(), store::Error> {
    let server = news.pins.id;
    for Item { key: (kind, name), now, .. } in &news.items {
        let (kind, name) = (*kind, name.clone());
        match now.clone() {
            Some(versions) => change.note_pin(&Pin { server, kind, name, versions })?,
            None => change.forget_pin(&server, kind, &name),
        }
    }
    for definition in &news.fresh {
        change.note_definition(definition)?;
    }
    for digest in &news.stale {
        change.forget_definition(&server, digest);
    }
    match detail {
        Some(detail) => change.put_pins(&news.pins, detail),
        None => Ok(()),
    }
}

/// What the audit says of it; nothing where nothing worth saying happened.
fn detail(change: &Draft<'_>, news: &News) -> Result<Option<String>, store::Error> {
    let fresh: HashMap<Digest, &Definition> =
        news.fresh.iter().map(|definition| (definition.digest, definition)).collect();
    let mut said = Vec::new();
    if news.is_first {
        said.push(met(news));
    }
    let mut count = 0_usize;
    for item in &news.items {
        for version in item.now.iter().flatten() {
            let hides = fresh.get(&version.digest).filter(|it| !it.hides.is_empty());
            let is_told = !item.before.contains(version) && (!news.is_first || hides.is_some());
            if !is_told {
                continue;
            }
            count += 1;
            if count <= TOLD {
                let mut line = what_happened(change, news.pins.id, (item, version), &fresh)?;
                if let Some(definition) = hides {
                    line = format!("{line}; it hid: {}", definition.hides.join(", "));
                }
                said.push(line.chars().take(500).collect());
            }
        }
    }
    if count > TOLD {
        said.push(format!("and {} more", count - TOLD));
    }
    Ok((!said.is_empty()).then(|| said.join("\n")))
}

/// What was there at first sight, in numbers.
fn met(news: &News) -> String {
    let mut counts: BTreeMap<PinKind, usize> = BTreeMap::new();
    for item in &news.items {
        *counts.entry(item.key.0).or_default() += 1;
    }
    let counted = counts.iter().map(|(kind, count)| match kind {
        PinKind::Instructions => "its instructions".to_owned(),
        kind => format!("{count} {kind}{}", if *count == 1 { "" } else { "s" }),
    });
    let counted = counted.collect::<Vec<_>>().join(", ");
    if counted.is_empty() {
        return "first sight: nothing to pin".to_owned();
    }
    format!("first sight: pinned {counted}")
}

fn what_happened(
    change: &Draft<'_>,
    server: ServerId,
    (item, version): (&Item, &Version),
    fresh: &HashMap<Digest, &Definition>,
) -> Result<String, store::Error> {
    let what = named(&item.key);
    let held = if version.standing == Standing::Approved { "" } else { " and is held" };
    let Some(old) = counted_before(&item.before, version) else {
        return Ok(format!("{what} is new{held}"));
    };
    let old = change.definition(&server, &old)?;
    let fields =
        old.zip(fresh.get(&version.digest)).map(|(old, new)| changed(&old.text, &new.text));
    Ok(match fields.filter(|fields| !fields.is_empty()) {
        Some(fields) => format!("{what} changed{held}: {}", fields.join(", ")),
        None => format!("{what} changed{held}"),
    })
}

/// The definition that a version is compared with: what counts for its clients, or for others.
pub(super) fn counted_before(versions: &[Version], with: &Version) -> Option<Digest> {
    let counts = |it: &&Version| it.standing == Standing::Approved && it.digest != with.digest;
    let same = versions.iter().filter(counts).find(|it| it.clients == with.clients);
    same.or_else(|| versions.iter().find(counts)).map(|version| version.digest)
}

/// An item, as people name it.
pub(super) fn named((kind, name): &Key) -> String {
    match kind {
        PinKind::Instructions => "instructions".to_owned(),
        kind => format!("{kind} {}", shown(name).chars().take(128).collect::<String>()),
    }
}
