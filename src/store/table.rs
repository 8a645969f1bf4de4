//! Every table and its key, on one screen.

use redb::{ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::{
    ApiKey, AuditHead, AuditLine, FeedEntry, HttpRoute, KeyId, KeyUse, LimitTallies, Link, Login,
    Namespace, Noun, Organization, OrganizationId, Policy, RateLimit, SecondFactor, Server,
    SessionId, SessionRecord, SigningKey, User,
};
use crate::domain::{Definition, Digest, Pin, PinKind, Pins, ServerId};

use super::{error::Error, upgrade::House};

/// The house itself: one record, `house`.
const HOUSE: Table = Table { name: "house", kind: 0, version: 1 };
/// By id.
const ORGANIZATIONS: Table = Table { name: "organizations", kind: 1, version: 1 };
/// By id.
const NAMESPACES: Table = Table { name: "namespaces", kind: 2, version: 1 };
/// By id.
const USERS: Table = Table { name: "users", kind: 3, version: 1 };
/// By the id that stands in the key's text.
const KEYS: Table = Table { name: "keys", kind: 4, version: 1 };
/// By id.
const SERVERS: Table = Table { name: "servers", kind: 5, version: 1 };
/// By sequence number, big-endian.
pub(super) const AUDIT: Table = Table { name: "audit", kind: 6, version: 1 };
/// By sequence number, big-endian; the same numbers as in the audit.
pub(super) const FEED: Table = Table { name: "feed", kind: 7, version: 1 };

/// By the SHA-256 of the id, because keys are not sealed.
const SESSIONS: Table = Table { name: "sessions", kind: 8, version: 1 };
/// When API keys were used last, by the id of the key.
const KEY_USES: Table = Table { name: "key_uses", kind: 9, version: 1 };

/// By id.
const POLICIES: Table = Table { name: "policies", kind: 10, version: 1 };
/// By id.
const RATE_LIMITS: Table = Table { name: "rate_limits", kind: 11, version: 1 };
/// What was counted, by the part of the table.
const LIMIT_TALLIES: Table = Table { name: "limit_tallies", kind: 12, version: 1 };
/// By id.
const ROUTES: Table = Table { name: "routes", kind: 13, version: 1 };

/// The end of the audit: one record, `head`.
const AUDIT_HEADS: Table = Table { name: "audit_heads", kind: 14, version: 1 };

/// By id.
const LOGINS: Table = Table { name: "logins", kind: 20, version: 1 };
/// By the id that stands in the head of tokens.
const SIGNING_KEYS: Table = Table { name: "signing_keys", kind: 21, version: 1 };
/// By the id of the person.
const SECOND_FACTORS: Table = Table { name: "second_factors", kind: 22, version: 1 };

/// By id.
const LINKS: Table = Table { name: "links", kind: 23, version: 1 };

/// By the id of the server.
const PINS: Table = Table { name: "pins", kind: 30, version: 1 };
/// By the id of the server, the kind, and the SHA-256 of the name, because keys are not sealed.
const PINNED: Table = Table { name: "pinned", kind: 31, version: 1 };
/// By the id of the server, and the digest sealed with it.
const DEFINITIONS: Table = Table { name: "definitions", kind: 32, version: 1 };

/// All of them. They are made together with the database, and those a later release has more when
/// it opens it, so that readers find every one.
pub(super) const ALL: [Table; 22] = [
    HOUSE,
    ORGANIZATIONS,
    NAMESPACES,
    USERS,
    KEYS,
    SERVERS,
    AUDIT,
    FEED,
    SESSIONS,
    KEY_USES,
    LOGINS,
    SIGNING_KEYS,
    SECOND_FACTORS,
    LINKS,
    POLICIES,
    RATE_LIMITS,
    LIMIT_TALLIES,
    ROUTES,
    AUDIT_HEADS,
    PINS,
    PINNED,
    DEFINITIONS,
];

/// A table: bytes to bytes, always, so that one loop can copy any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Table {
    /// Its name in the file.
    pub(super) name: &'static str,
    /// First byte of its records; also the order in which one change's things are written.
    pub(super) kind: u8,
    /// Second byte of its records: the form of their body.
    pub(super) version: u8,
}

impl Table {
    /// The table as the database knows it.
    pub(super) const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name)
    }
}

/// The last number in a numbered table; zero where it is empty.
pub(super) fn last_number(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<u64, Error> {
    let key = table.last()?.and_then(|(key, _)| key.value().try_into().ok());
    Ok(key.map_or(0, u64::from_be_bytes))
}

/// A value with a table of its own.
pub(super) trait Record: Serialize + DeserializeOwned {
    const TABLE: Table;

    /// Its key in the table.
    fn key(&self) -> Vec<u8>;
}

/// A record that people change, so that audit and feed tell of it.
pub(super) trait Thing: Record {
    const NOUN: Noun;

    /// Its id as text. The bytes of this text are its key.
    fn id(&self) -> String;

    /// What people call it.
    fn name(&self) -> &str;

    /// Whose it is; none where it belongs to no organization.
    fn organization(&self) -> Option<OrganizationId>;
}

macro_rules! things {
    ($($kind:ident in $table:ident, called by $name:expr, of $organization:expr;)*) => {$(
        impl Record for $kind {
            const TABLE: Table = $table;

            fn key(&self) -> Vec<u8> {
                self.id.to_string().into_bytes()
            }
        }

        impl Thing for $kind {
            const NOUN: Noun = Noun::$kind;

            fn id(&self) -> String {
                self.id.to_string()
            }

            fn name(&self) -> &str {
                let name: fn(&Self) -> &str = $name;
                name(self)
            }

            fn organization(&self) -> Option<OrganizationId> {
                let organization: fn(&Self) -> Option<OrganizationId> = $organization;
                organization(self)
            }
        }
    )*};
}

type Key = ApiKey;

things! {
    Organization in ORGANIZATIONS, called by |it| it.slug.as_str(), of |it| Some(it.id);
    Namespace in NAMESPACES, called by |it| it.slug.as_str(), of |it| Some(it.organization);
    User in USERS, called by |it| &it.username, of |it| Some(it.organization);
    Key in KEYS, called by |it| &it.name, of |it| Some(it.organization);
    Server in SERVERS, called by |it| it.name.as_str(), of |it| Some(it.organization);
    Login in LOGINS, called by |it| &it.username, of |_| None;
    SigningKey in SIGNING_KEYS, called by |it| &it.id, of |_| None;
    SecondFactor in SECOND_FACTORS, called by |it| &it.username, of |_| None;
    Link in LINKS, called by |it| &it.label, of |_| None;
    Policy in POLICIES, called by |it| &it.name, of |it| Some(it.organization);
    RateLimit in RATE_LIMITS, called by |it| &it.name, of |it| Some(it.organization);
    HttpRoute in ROUTES, called by |it| it.name.as_str(), of |it| Some(it.organization);
    Pins in PINS, called by |it| it.server.as_str(), of |_| None;
}

impl Record for LimitTallies {
    const TABLE: Table = LIMIT_TALLIES;

    fn key(&self) -> Vec<u8> {
        vec![self.shard]
    }
}

impl Record for SessionRecord {
    const TABLE: Table = SESSIONS;

    fn key(&self) -> Vec<u8> {
        session_key(&self.id)
    }
}

/// Where the record of a session stands.
pub(super) fn session_key(id: &SessionId) -> Vec<u8> {
    openssl::sha::sha256(id.as_str().as_bytes()).to_vec()
}

impl Record for House {
    const TABLE: Table = HOUSE;

    fn key(&self) -> Vec<u8> {
        House::KEY.to_vec()
    }
}

impl Record for KeyUse {
    const TABLE: Table = KEY_USES;

    fn key(&self) -> Vec<u8> {
        key_use_key(&self.id)
    }
}

/// Where the record of a key's last use stands.
pub(super) fn key_use_key(id: &KeyId) -> Vec<u8> {
    id.as_str().as_bytes().to_vec()
}

impl Record for Pin {
    const TABLE: Table = PINNED;

    fn key(&self) -> Vec<u8> {
        pin_key(&self.server, self.kind, &self.name)
    }
}

/// Where a pin stands.
pub(super) fn pin_key(server: &ServerId, kind: PinKind, name: &str) -> Vec<u8> {
    let name = openssl::sha::sha256(name.as_bytes());
    [server.to_string().as_bytes(), b"/", kind.as_str().as_bytes(), b"/", &name].concat()
}

impl Record for Definition {
    const TABLE: Table = DEFINITIONS;

    fn key(&self) -> Vec<u8> {
        definition_key(&self.server, &self.digest)
    }
}

/// Where a definition stands.
pub(super) fn definition_key(server: &ServerId, digest: &Digest) -> Vec<u8> {
    [server.to_string().as_bytes(), b"/", &digest.0].concat()
}

impl Record for AuditLine {
    const TABLE: Table = AUDIT;

    fn key(&self) -> Vec<u8> {
        self.sequence.to_be_bytes().to_vec()
    }
}

impl Record for AuditHead {
    const TABLE: Table = AUDIT_HEADS;

    fn key(&self) -> Vec<u8> {
        AUDIT_HEAD.to_vec()
    }
}

/// Where the end of the audit stands in its table.
pub(super) const AUDIT_HEAD: &[u8] = b"head";

impl Record for FeedEntry {
    const TABLE: Table = FEED;

    fn key(&self) -> Vec<u8> {
        self.sequence.to_be_bytes().to_vec()
    }
}
