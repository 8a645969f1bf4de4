//! Writing a draft: what it changes, and what audit and feed tell of it.

use redb::WriteTransaction;

use super::{
    append::{End, append},
    codec,
    draft::{Draft, Edit},
    error::Error,
    seal::Seal,
    told,
};
use crate::domain::{Actor, AuditLine, Change, FeedEntry, Refusal};

impl Draft<'_> {
    /// Writes the change with its audit lines and feed entries into the shared transaction.
    /// Numbers and chains them from after `end` on, and returns where the audit ends then.
    pub(super) fn accept(self, actor: &Actor, mut end: End) -> Result<End, Error> {
        let Self { transaction, seal, now, edits, notes, refusals } = self;
        for ((table, key), body) in notes {
            let mut open = transaction.open_table(table.definition())?;
            match body {
                Some(body) => {
                    let record = codec::close(seal, table, &key, &body);
                    open.insert(key.as_slice(), record.as_slice())?;
                }
                None => drop(open.remove(key.as_slice())?),
            }
        }
        let line = |noun, change, id, name, organization, detail| AuditLine {
            sequence: 0,
            at: now,
            actor: actor.clone(),
            noun,
            id,
            change,
            name,
            detail,
            organization,
            from: actor.address(),
            old: None,
            new: None,
            chain: None,
        };
        for ((_, id), edit) in edits {
            let Some(change) = write(transaction, seal, &id, &edit)? else {
                continue;
            };
            let (old, new) = told::difference(edit.told.0.as_ref(), edit.told.1.as_ref());
            let Edit { noun, name, organization, detail, .. } = edit;
            let line = line(noun, change, id, name, organization, detail);
            end = tell(transaction, seal, end, AuditLine { old, new, ..line })?;
        }
        for Refusal { noun, id, name, organization, detail } in refusals {
            let line = line(noun, Change::Refused, id, name, organization, detail);
            end = tell(transaction, seal, end, line)?;
        }
        Ok(end)
    }
}

/// Adds a line to the audit, with its entry in the feed, and says where the audit ends then.
fn tell(
    transaction: &WriteTransaction,
    seal: &Seal,
    end: End,
    line: AuditLine,
) -> Result<End, Error> {
    let sequence = end.sequence + 1;
    let line = AuditLine { sequence, ..line }.chained(end.chain);
    let (noun, id, change) = (line.noun, line.id.clone(), line.change);
    append(transaction, seal, &line)?;
    append(transaction, seal, &FeedEntry { sequence, noun, id, change })?;
    Ok(End { sequence, chain: line.chain })
}

/// Writes one thing, and says what that did to it; none when it came and went in one draft.
fn write(
    transaction: &WriteTransaction,
    seal: &Seal,
    id: &str,
    edit: &Edit,
) -> Result<Option<Change>, Error> {
    let key = id.as_bytes();
    let mut table = transaction.open_table(edit.table.definition())?;
    let Some(body) = &edit.body else {
        return Ok(table.remove(key)?.map(|_| Change::Deleted));
    };
    let record = codec::close(seal, edit.table, key, body);
    let was_there = table.insert(key, record.as_slice())?.is_some();
    Ok(Some(if was_there { Change::Updated } else { Change::Created }))
}
