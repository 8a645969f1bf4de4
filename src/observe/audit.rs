//! The audit: who changed what, looked up and verified.

use serde::Serialize;

use crate::{
    domain::{AuditLine, Digest, OrganizationId, Timestamp},
    store::{self, Snapshot},
};

/// Lines that are read at once.
const PAGE: u64 = 500;
/// Faults that are told; more say nothing new.
const FAULTS: usize = 100;

/// Which lines are looked for: those that fit all that is said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Those about things of one organization; of all and none, where none is said.
    pub(crate) organization: Option<OrganizationId>,
    /// Those about one kind of thing, such as `server`.
    pub(crate) noun: Option<String>,
    /// Those of one action, such as `server.created`, or of one change, such as `created`.
    pub(crate) action: Option<String>,
    /// Those of one actor.
    pub(crate) actor: Option<String>,
    /// Those about one thing, by its id or name.
    pub(crate) thing: Option<String>,
    /// Those from this moment on.
    pub(crate) since: Option<Timestamp>,
    /// Those before this moment.
    pub(crate) until: Option<Timestamp>,
}

impl Search {
    fn fits(&self, line: &AuditLine) -> bool {
        let is = |wanted: &Option<String>, said: &[&str]| {
            wanted.as_ref().is_none_or(|wanted| said.contains(&wanted.as_str()))
        };
        let action = action(line);
        self.organization.is_none_or(|wanted| line.organization == Some(wanted))
            && is(&self.noun, &[line.noun.as_str()])
            && is(&self.action, &[&action, line.change.as_str()])
            && is(&self.actor, &[line.actor.as_str()])
            && is(&self.thing, &[&line.id, &line.name])
            && self.since.is_none_or(|since| line.at >= since)
            && self.until.is_none_or(|until| line.at < until)
    }
}

/// What was done, such as `server.created`.
pub(crate) fn action(line: &AuditLine) -> String {
    format!("{}.{}", line.noun.as_str(), line.change.as_str())
}

/// The lines that fit, the newest first: so many after the first ones; and how many fit at all.
pub(crate) fn search(
    snapshot: &Snapshot,
    search: &Search,
    (limit, offset): (usize, usize),
) -> Result<(Vec<AuditLine>, usize), store::Error> {
    let (mut found, mut count) = (Vec::new(), 0);
    let mut end = snapshot.last_sequence()?;
    while end > 0 {
        let begin = end.saturating_sub(PAGE);
        let size = usize::try_from(end - begin).unwrap_or(usize::MAX);
        for line in snapshot.audit(begin, size)?.into_iter().rev() {
            if search.fits(&line) {
                if count >= offset && found.len() < limit {
                    found.push(line);
                }
                count += 1;
            }
        }
        end = begin;
    }
    Ok((found, count))
}

/// Whether the audit is what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Lines that were looked at.
    pub(crate) lines: u64,
    /// Lines of before there was a chain.
    pub(crate) unchained: u64,
    /// What chains the last line.
    pub(crate) head: Option<String>,
    /// What is wrong, the first first.
    pub(crate) faults: Vec<Fault>,
}

/// What is wrong with a line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// Which line.
    pub(crate) sequence: u64,
    /// What is wrong.
    pub(crate) reason: String,
}

/// Reads the audit from its first line to its last, and checks that each is there, is as it was
/// written, and follows the one before it.
pub(crate) fn verify(snapshot: &Snapshot) -> Result<Verified, store::Error> {
    let head = snapshot.audit_head()?;
    let last = snapshot.last_sequence()?.max(head.map_or(0, |head| head.sequence));
    let (mut faults, mut unchained) = (Vec::new(), 0);
    let mut before = Before::Nothing;
    for sequence in 1..=last {
        let line = match snapshot.audit_line(sequence) {
            Ok(line) => line,
            Err(store::Error::Altered { .. }) => {
                let reason = "it is not what was written here: it was changed, or moved";
                fault(&mut faults, sequence, reason);
                before = Before::Unknown;
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(line) = line else {
            fault(&mut faults, sequence, "it is missing");
            before = Before::Unknown;
            continue;
        };
        unchained += u64::from(line.chain.is_none());
        if let Some(reason) = wrong(&line, sequence, before) {
            fault(&mut faults, sequence, reason);
        }
        before = match (line.chain, before) {
            (Some(chain), _) => Before::Chained(chain),
            (None, Before::Nothing) => Before::Nothing,
            (None, _) => Before::Unknown,
        };
    }
    let ends = head.is_none_or(|head| before == Before::Chained(head.chain));
    if !ends && before != Before::Unknown {
        fault(&mut faults, last, "it is not the one that the head of the audit knows");
    }
    let head = head.map(|head| head.chain.to_string());
    Ok(Verified { lines: last, unchained, head, faults })
}

/// Counts the lines of the audit and the entries of the feed, and says whether both have the same
/// numbers and tell of the same changes, with none missing.
pub(crate) fn compare_with_feed(snapshot: &Snapshot) -> Result<(u64, u64, bool), store::Error> {
    let (mut audit, mut feed, mut agree) = (0, 0, true);
    loop {
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let (lines, entries) = (snapshot.audit(audit, page)?, snapshot.feed(feed, page)?);
        agree &= lines.len() == entries.len();
        for (line, entry) in lines.iter().zip(&entries) {
            audit += 1;
            feed += 1;
            let is_next = line.sequence == audit && entry.sequence == feed;
            agree &= is_next && line.id == entry.id && line.change == entry.change;
        }
        if lines.len() != entries.len() || lines.is_empty() || !agree {
            break;
        }
    }
    agree &= audit == snapshot.last_sequence()?;
    Ok((audit, feed, agree))
}

/// What is known of the line before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// There is none that is chained.
    Nothing,
    /// What chains it.
    Chained(Digest),
    /// It cannot be read.
    Unknown,
}

fn wrong(line: &AuditLine, sequence: u64, before: Before) -> Option<&'static str> {
    if line.sequence != sequence {
        return Some("it bears another number");
    }
    let before = match (line.chain, before) {
        (None, Before::Nothing) | (Some(_), Before::Unknown) => return None,
        (None, _) => return Some("it is not chained, and the line before it is"),
        (Some(_), Before::Nothing) => None,
        (Some(_), Before::Chained(before)) => Some(before),
    };
    (line.chain != Some(line.link(before))).then_some("it does not follow the line before it")
}

fn fault(faults: &mut Vec<Fault>, sequence: u64, reason: &str) {
    if faults.len() < FAULTS {
        faults.push(Fault { sequence, reason: reason.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Actor, Change, Noun};

    fn line(sequence: u64, noun: Noun, change: Change) -> AuditLine {
        AuditLine {
            sequence,
            at: Timestamp::from_ms(1_000 * i64::try_from(sequence).expect("small")),
            actor: Actor::system("test"),
            noun,
            id: format!("id-{sequence}"),
            change,
            name: "a".into(),
            detail: None,
            organization: Some(OrganizationId::fixed(1)),
            from: None,
            old: None,
            new: None,
            chain: None,
        }
    }

    #[test]
    fn a_line_follows_one_line_and_no_other() {
        let first = line(1, Noun::Server, Change::Created).chained(None);
        let second = line(2, Noun::Server, Change::Updated).chained(first.chain);
        let chain = Before::Chained(first.chain.expect("a chain"));

        assert_eq!(wrong(&first, 1, Before::Nothing), None);
        assert_eq!(wrong(&second, 2, chain), None);
        let forged = AuditLine { name: "b".into(), ..second.clone() };
        assert!(wrong(&forged, 2, chain).is_some());
        assert!(wrong(&second, 2, Before::Nothing).is_some());
        assert!(wrong(&second, 3, chain).is_some());
        assert!(wrong(&line(2, Noun::Server, Change::Updated), 2, chain).is_some());
    }

    #[test]
    fn lines_are_looked_for_by_all_that_is_said() {
        let line = line(2, Noun::Key, Change::Deleted);
        let fits = |search: Search| search.fits(&line);
        let said = |text: &str| Some(text.to_owned());

        assert!(fits(Search::default()));
        for noun in ["key", "server"] {
            assert_eq!(fits(Search { noun: said(noun), ..Search::default() }), noun == "key");
        }
        for (action, fit) in [("key.deleted", true), ("deleted", true), ("key.created", false)] {
            assert_eq!(fits(Search { action: said(action), ..Search::default() }), fit, "{action}");
        }
        let from = |ms: i64| Search { since: Some(Timestamp::from_ms(ms)), ..Search::default() };
        assert!(fits(from(2_000)) && !fits(from(2_001)));
        let organization = Some(OrganizationId::fixed(2));
        assert!(!fits(Search { organization, ..Search::default() }));
    }
}
