//! Values to records and back: two bytes that say what it is, and a sealed body.
//!
//! The body is `MessagePack` with named fields, so that a field may be added with a default.

use redb::ReadableTable;
use zeroize::Zeroizing;

use super::{
    error::Error,
    seal::Seal,
    table::{Record, Table},
};

/// A body before it is sealed. It may hold secrets.
pub(super) type Body = Zeroizing<Vec<u8>>;

/// A value as the body of a record.
pub(super) fn encode<R: Record>(record: &R) -> Result<Body, Error> {
    let body = rmp_serde::to_vec_named(record);
    body.map(Zeroizing::new).map_err(|source| Error::Unstorable { table: R::TABLE.name, source })
}

/// The value in a body.
pub(super) fn decode<R: Record>(body: &Body) -> Result<R, Error> {
    rmp_serde::from_slice(body).map_err(|_| Error::Altered { table: R::TABLE.name })
}

/// A body as it is stored under this key of this table, and nowhere else.
pub(super) fn close(seal: &Seal, table: Table, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut record = vec![table.kind, table.version];
    record.extend(seal.close(&context(table, key), body));
    record
}

/// The body of what is stored under this key of this table.
pub(super) fn open(seal: &Seal, table: Table, key: &[u8], record: &[u8]) -> Result<Body, Error> {
    let sealed = record.strip_prefix(&[table.kind, table.version]);
    let body = sealed.and_then(|sealed| seal.open(&context(table, key), sealed));
    body.ok_or(Error::Altered { table: table.name })
}

/// The value stored under this key, read from an open table.
pub(super) fn fetch<R: Record>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    seal: &Seal,
    key: &[u8],
) -> Result<Option<R>, Error> {
    let Some(record) = table.get(key)? else {
        return Ok(None);
    };
    decode(&open(seal, R::TABLE, key, record.value())?).map(Some)
}

/// What a record is bound to: a body moved to another key or table does not open there.
fn context(table: Table, key: &[u8]) -> Vec<u8> {
    // Names hold no zero byte, so no two contexts read the same.
    [&[table.kind, table.version], table.name.as_bytes(), &[0], key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Namespace, Organization, OrganizationId, Timestamp},
        store::table::Record,
    };

    #[test]
    fn a_record_opens_under_its_own_key_and_table_only() {
        let seal = Seal::new(&Zeroizing::new([1; 32]));
        let slug = "default".parse().expect("a slug");
        let value = Organization::new(OrganizationId::fixed(1), slug, Timestamp::from_ms(5));
        let (table, key) = (Organization::TABLE, value.key());
        let body = encode(&value).expect("storable");

        let record = close(&seal, table, &key, &body);

        let back = open(&seal, table, &key, &record).expect("its own place");
        assert_eq!(decode::<Organization>(&back).expect("the value"), value);
        assert!(open(&seal, table, b"other", &record).is_err());
        assert!(open(&seal, Namespace::TABLE, &key, &record).is_err());
    }
}
