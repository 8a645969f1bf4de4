//! Organizations and the namespaces in them.

use serde::{Deserialize, Serialize};

use super::{NamespaceId, OrganizationId, Prefixing, Slug, Timestamp};

/// A tenant. One exists from the start; a laptop never has to know the word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name in paths.
    pub slug: Slug,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A group of servers with an endpoint of its own, `/mcp/{slug}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its id.
    pub id: NamespaceId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name in paths, unique in the organization.
    pub slug: Slug,
    /// How names are qualified here, unless a server says otherwise.
    #[serde(default)]
    pub prefixing: Option<Prefixing>,
    /// When it was made.
    pub created_at: Timestamp,
}
