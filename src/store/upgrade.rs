//! The schema of the database: which one it has, and whether this release can use it.
//!
//! A later schema brings its step here: read the old records, write the new ones and the new
//! number in one transaction, before anybody else sees the database.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::Timestamp;

/// The schema this release writes.
pub(super) const SCHEMA: u16 = 1;

/// What the database knows about itself. Only the right key can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct House {
    /// The schema of all tables.
    pub(super) schema: u16,
    /// Which house it is; the key file names the same one.
    pub(super) instance: Uuid,
    /// When it was set up.
    pub(super) created_at: Timestamp,
}

impl House {
    /// Where it stands in its table.
    pub(super) const KEY: &[u8] = b"house";

    /// A house that begins now.
    pub(super) const fn new(instance: Uuid, created_at: Timestamp) -> Self {
        Self { schema: SCHEMA, instance, created_at }
    }

    /// Whether this release knows the schema.
    pub(super) const fn is_known(&self) -> bool {
        self.schema <= SCHEMA
    }
}
