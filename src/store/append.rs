//! What only grows: audit and feed, and where they end.

use redb::WriteTransaction;

use crate::domain::{AuditHead, Digest};

use super::{codec, error::Error, seal::Seal, table::Record};

/// Where the audit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// The number of its last line; zero where nothing ever changed.
    pub(super) sequence: u64,
    /// What chains that line; none where it is of before there was a chain.
    pub(super) chain: Option<Digest>,
}

/// Adds a record that was not there.
pub(super) fn append<R: Record>(
    transaction: &WriteTransaction,
    seal: &Seal,
    record: &R,
) -> Result<(), Error> {
    let key = record.key();
    let sealed = codec::close(seal, R::TABLE, &key, &codec::encode(record)?);
    let mut table = transaction.open_table(R::TABLE.definition())?;
    table.insert(key.as_slice(), sealed.as_slice())?;
    Ok(())
}

/// Writes where the audit ends.
pub(super) fn put_head(transaction: &WriteTransaction, seal: &Seal, end: End) -> Result<(), Error> {
    let End { sequence, chain: Some(chain) } = end else { return Ok(()) };
    append(transaction, seal, &AuditHead { sequence, chain })
}
