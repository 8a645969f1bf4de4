//! Changes: what waits for somebody to look at it, and what they decide.

use std::{collections::HashMap, fmt::Write};

use openssl::sha::sha256;
use serde::Serialize;

use crate::{
    access::Caller,
    domain::{Definition, Digest, PinKind, Server, ServerId, Standing, Version},
    store,
    trust::{
        Error, Trust,
        book::{Key, Known},
        difference::{Difference, differences, shown},
        note::{self, counted_before, named},
    },
};

/// Changes that are shown at once.
const SHOWN_AT_ONCE: usize = 500;
/// Changes that are decided at once.
pub(super) const DECIDED_AT_ONCE: usize = 1_000;

/// A definition that does not count, and what it says otherwise than the one that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// Names exactly this definition: one that comes after it has another.
    pub(crate) id: String,
    /// What kind of item.
    pub(crate) kind: PinKind,
    /// The server's own name for it.
    pub(crate) name: String,
    /// Whether it waits, or was rejected.
    pub(crate) status: Standing,
    /// Whether there is nothing that it changes.
    pub(crate) is_new: bool,
    /// To which clients it is shown: what these can be asked, as JSON; none where that is all.
    pub(crate) clients: Option<String>,
    /// When it was seen first.
    pub(crate) seen_at: String,
    /// Which definition.
    pub(crate) digest: String,
    /// Where it has characters that nobody sees.
    pub(crate) hides: Vec<String>,
    /// What is another.
    pub(crate) fields: Vec<Difference>,
}

/// What somebody decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts.
    Approve,
    /// It does not, and waits no more.
    Reject,
}

impl Verdict {
    const fn standing(self) -> Standing {
        match self {
            Self::Approve => Standing::Approved,
            Self::Reject => Standing::Rejected,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
        }
    }
}

/// A version that does not count, and what would be compared with it.
struct Candidate {
    key: Key,
    version: Version,
    before: Option<Digest>,
}

impl Trust {
    /// The changes of a server, with what they change, and how many there are.
    pub(crate) fn changes(&self, server: &ServerId) -> Result<(Vec<Change>, usize), Error> {
        let (mut candidates, fresh) = {
            let book = self.0.book.lock();
            let Some(known) = book.get(server) else { return Ok((Vec::new(), 0)) };
            (known.candidates(), known.fresh.clone())
        };
        // What waits comes before what was rejected, however much of that there is.
        candidates.sort_by_key(|it| it.version.standing != Standing::Pending);
        let snapshot = self.0.store.read()?;
        let text = |digest: &Digest| -> Result<Option<Definition>, store::Error> {
            match fresh.get(digest) {
                Some(definition) => Ok(Some(definition.clone())),
                None => snapshot.definition(server, digest),
            }
        };
        let count = candidates.len();
        let mut changes = Vec::new();
        for candidate in candidates.into_iter().take(SHOWN_AT_ONCE) {
            let before = candidate.before.as_ref().map(text).transpose()?.flatten();
            changes.push(candidate.told(before.as_ref(), text(&candidate.version.digest)?));
        }
        Ok((changes, count))
    }

    /// Decides changes by their ids; names the items.
    pub(crate) async fn decide(
        &self,
        caller: &Caller,
        server: &Server,
        ids: &[String],
        verdict: Verdict,
    ) -> Result<Vec<String>, Error> {
        if ids.is_empty() || ids.len() > DECIDED_AT_ONCE {
            return Err(Error::HowMany);
        }
        let _turn = self.0.turn.lock().await;
        // What is decided is on the disk already, so that only the decision is written now.
        self.write_out(&[server.id]).await?;
        let (chosen, news) = {
            let book = self.0.book.lock();
            let unknown = |id: &String| Error::NoSuchChange(id.chars().take(80).collect());
            let known = book.get(&server.id).ok_or_else(|| unknown(&ids[0]))?;
            let named = known.candidates().into_iter().map(|it| (it.id(), it));
            let mut named: HashMap<String, Candidate> = named.collect();
            let mut decided = known.imagined();
            let mut chosen = Vec::new();
            for id in ids {
                let found = named.remove(id).ok_or_else(|| unknown(id))?;
                decided.decide(&found, verdict);
                chosen.push(found);
            }
            (chosen, decided.news())
        };
        let names: Vec<String> = chosen.iter().map(|candidate| named(&candidate.key)).collect();
        if let Some(news) = news {
            let (detail, actor) = (detail(&names, verdict), caller.actor());
            let write = self.0.store.write(&actor, move |change| {
                note::put(change, &news, Some(detail))?;
                Ok::<_, store::Error>(())
            });
            write.await?;
        }
        if let Some(known) = self.0.book.lock().get_mut(&server.id) {
            for candidate in &chosen {
                let is_behind = known.news.contains_key(&candidate.key);
                known.decide(candidate, verdict);
                if !is_behind {
                    // The store knows it already.
                    known.news.remove(&candidate.key);
                }
            }
        }
        Ok(names)
    }
}

fn detail(names: &[String], verdict: Verdict) -> String {
    const TOLD: usize = 20;
    let mut detail = format!("{}: {}", verdict.word(), names[..names.len().min(TOLD)].join(", "));
    if names.len() > TOLD {
        write!(detail, " and {} more", names.len() - TOLD).expect("a String takes everything");
    }
    detail
}

impl Known {
    fn candidates(&self) -> Vec<Candidate> {
        let mut found = Vec::new();
        for (key, versions) in &self.items {
            for version in versions.iter().filter(|it| it.standing != Standing::Approved) {
                let before = counted_before(versions, version);
                found.push(Candidate { key: key.clone(), version: version.clone(), before });
            }
        }
        found
    }

    /// The same, to try something out on.
    fn imagined(&self) -> Self {
        let mut imagined = Self::noted(self.pins.clone());
        imagined.items.clone_from(&self.items);
        imagined
    }

    /// Gives a definition its standing, also where it has gone meanwhile.
    fn decide(&mut self, candidate: &Candidate, verdict: Verdict) {
        let Candidate { key, version, .. } = candidate;
        let versions = self.items.entry(key.clone()).or_default();
        let before = versions.clone();
        let standing = verdict.standing();
        let is_it = |it: &Version| it.digest == version.digest && it.clients == version.clients;
        let is_replaced = |it: &Version| it.clients == version.clients && it.standing == standing;
        versions.retain(|it| !is_it(it) && !is_replaced(it));
        versions.push(Version { standing, ..version.clone() });
        self.news.entry(key.clone()).or_insert(before);
    }
}

impl Candidate {
    /// Names this definition of this item, and no other.
    fn id(&self) -> String {
        let (kind, name) = &self.key;
        let clients = self.version.clients.as_deref().unwrap_or_default();
        let whole = format!("{kind}\n{name}\n{clients}\n{}", self.version.digest);
        let digest = sha256(whole.as_bytes());
        digest[..8].iter().fold(String::new(), |mut id, byte| {
            write!(id, "{byte:02x}").expect("a String takes everything");
            id
        })
    }

    fn told(&self, before: Option<&Definition>, now: Option<Definition>) -> Change {
        let (kind, name) = &self.key;
        let fields = now.as_ref().map(|now| differences(before.map(|it| &*it.text), &now.text));
        Change {
            id: self.id(),
            kind: *kind,
            name: shown(name),
            status: self.version.standing,
            is_new: self.before.is_none(),
            clients: self.version.clients.as_deref().map(str::to_owned),
            seen_at: self.version.since.to_string(),
            digest: self.version.digest.to_string(),
            hides: now.map(|now| now.hides).unwrap_or_default(),
            fields: fields.unwrap_or_default(),
        }
    }
}
