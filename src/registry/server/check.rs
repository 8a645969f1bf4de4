//! What may be said of a server.

use std::collections::BTreeMap;

use crate::{
    domain::{Balance, CachePolicy, CheckPolicy, Labels, is_hidden},
    registry::{
        Error,
        endpoint::{TEXT_LIMIT, wrong},
    },
};

/// The most calls in flight that a server may want.
const MOST_IN_FLIGHT: u32 = 100_000;
/// The most preferences of a server.
const PREFERENCES: usize = 8;

pub(super) fn in_flight(most: Option<u32>) -> Result<(), Error> {
    if most.is_some_and(|most| !(1..=MOST_IN_FLIGHT).contains(&most)) {
        return Err(wrong("max_in_flight", "it must lie between 1 and 100,000"));
    }
    Ok(())
}

pub(super) fn cache(cache: &CachePolicy) -> Result<(), Error> {
    let all = [cache.resources_seconds, cache.lists_seconds, cache.tools_seconds];
    if all.iter().flatten().any(|seconds| *seconds > CachePolicy::LONGEST) {
        return Err(wrong("cache", "nothing is kept for longer than 86,400 seconds"));
    }
    Ok(())
}

pub(super) fn checks(checks: &CheckPolicy) -> Result<(), Error> {
    if checks.interval_seconds.is_some_and(|it| it > CheckPolicy::LONGEST) {
        return Err(wrong("checks", "interval_seconds lies between 0 (never) and 86,400"));
    }
    if checks.timeout_seconds.is_some_and(|it| !(1..=CheckPolicy::SLOWEST).contains(&it)) {
        return Err(wrong("checks", "timeout_seconds lies between 1 and 300"));
    }
    let is_bad = |word: &String| word.len() > TEXT_LIMIT || word.contains('\0');
    if checks.command.len() > CheckPolicy::WORDS || checks.command.iter().any(is_bad) {
        return Err(wrong("checks", "command has more than 64 words, or one that cannot be"));
    }
    Ok(())
}

pub(super) type Said = (Option<String>, Option<Vec<String>>, Option<BTreeMap<String, String>>);

/// What is written on a server, with what is said in place of what it said; none where nothing is.
pub(super) fn labels(
    before: Option<Box<Labels>>,
    said: Said,
) -> Result<Option<Box<Labels>>, Error> {
    let (version, tags, metadata) = said;
    let mut labels = before.unwrap_or_default();
    labels.version = version.unwrap_or(labels.version);
    if labels.version.chars().count() > Labels::WORD || labels.version.contains(is_hidden) {
        return Err(wrong("version", "it has more than 64 letters, or some that nobody sees"));
    }
    if let Some(mut tags) = tags {
        tags.sort_unstable();
        tags.dedup();
        let is_word = |letter: char| letter.is_alphanumeric() || "-_.:/".contains(letter);
        let is_bad = |tag: &String| {
            tag.is_empty() || tag.chars().count() > Labels::WORD || !tag.chars().all(is_word)
        };
        if tags.len() > Labels::TAGS || tags.iter().any(is_bad) {
            let reason = "there are at most 32, of 1 to 64 letters, digits and - _ . : /";
            return Err(wrong("tags", reason));
        }
        labels.tags = tags;
    }
    if let Some(metadata) = metadata {
        let is_long = |text: &str| text.len() > Labels::MEMBER;
        let mut members = metadata.iter();
        let is_bad = members.any(|(name, it)| name.is_empty() || is_long(name) || is_long(it));
        if metadata.len() > Labels::MEMBERS || is_bad {
            return Err(wrong("metadata", "it has more than 32 members, or one over 256 bytes"));
        }
        labels.metadata = metadata;
    }
    Ok((*labels != Labels::default()).then_some(labels))
}

pub(super) fn balance(balance: &Balance) -> Result<(), Error> {
    if balance.prefer.len() > PREFERENCES {
        return Err(wrong("balance", "it has more than 8 preferences"));
    }
    Ok(())
}
