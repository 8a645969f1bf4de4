//! What changed since it was last looked.

use super::{Error, Snapshot};
use crate::domain::{FeedEntry, Noun};

/// So many changes are read one by one; after more, everything is read again.
const FEW: usize = 256;

/// What changed after a change.
pub(crate) struct Changes(Option<Vec<FeedEntry>>);

impl Changes {
    /// What changed after the change `seen`. All is new to whoever saw none.
    pub(crate) fn since(snapshot: &Snapshot, seen: Option<u64>) -> Result<Self, Error> {
        let Some(seen) = seen else { return Ok(Self(None)) };
        let changes = snapshot.feed(seen, FEW + 1)?;
        let follows = changes.first().is_none_or(|first| first.sequence == seen + 1);
        Ok(Self((follows && changes.len() <= FEW).then_some(changes)))
    }

    /// Whether something of these kinds may have changed.
    pub(crate) fn concern(&self, nouns: &[Noun]) -> bool {
        let changes = self.0.as_deref();
        changes.is_none_or(|changes| changes.iter().any(|change| nouns.contains(&change.noun)))
    }

    /// The ids of what changed of a kind; none where all is to be read again, because that was so
    /// much, or so long ago.
    pub(crate) fn of(&self, noun: Noun) -> Option<impl Iterator<Item = &str>> {
        let changes = self.0.as_deref()?.iter();
        Some(changes.filter(move |change| change.noun == noun).map(|change| change.id.as_str()))
    }
}
