//! Typed identifiers, so that a server's id is never taken for a key's.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that is no identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a UUID")]
pub struct InvalidId(pub String);

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, ordered by the time it was made (`UUIDv7`).
            #[must_use]
            pub fn fresh() -> Self {
                Self(Uuid::now_v7())
            }

            /// An identifier with a fixed value, for what exists in every house.
            #[must_use]
            pub const fn fixed(value: u128) -> Self {
                Self(Uuid::from_u128(value))
            }
        }

        impl $name {
            /// The identifier of what has this name and no other: the same each time.
            #[must_use]
            pub fn named(name: &str) -> Self {
                let digest = openssl::sha::sha256(name.as_bytes());
                let half = digest.first_chunk().expect("a digest has 32 bytes");
                Self(uuid::Builder::from_custom_bytes(*half).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let id = Uuid::parse_str(text).map(Self).ok();
                // Only as it is printed: what is kept by id must not be there under many spellings.
                id.filter(|id| id.to_string() == text).ok_or_else(|| InvalidId(text.to_owned()))
            }
        }
    )*};
}

identifiers! {
    /// Which organization.
    OrganizationId;
    /// Which namespace.
    NamespaceId;
    /// Which person.
    UserId;
    /// Which server.
    ServerId;
    /// Which instance of a server.
    InstanceId;
    /// Which sign-in.
    LoginId;
    /// Which policy.
    PolicyId;
    /// Which rate limit.
    RateLimitId;
    /// Which route of HTTP requests.
    RouteId;
    /// Which subject of another issuer.
    SubjectId;
    /// Which link between a person and a server.
    LinkId;
}

/// Names one request in every answer, log line and error: ours, or the one the client brought.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The longest id a client may bring, in bytes.
    pub const LIMIT: usize = 128;

    /// A new id.
    #[must_use]
    pub fn fresh() -> Self {
        let mut buffer = [0; uuid::fmt::Simple::LENGTH];
        Self(Arc::from(&*Uuid::now_v7().simple().encode_lower(&mut buffer)))
    }

    /// The id a client brought, where it is short and plain; a new one otherwise.
    #[must_use]
    pub fn brought(text: &str) -> Self {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
        if text.is_empty() || text.len() > Self::LIMIT || !text.bytes().all(plain) {
            return Self::fresh();
        }
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one session of an older client. Random, 128 bits from the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A new id nobody can guess.
    #[must_use]
    pub fn fresh() -> Self {
        let mut bytes = [0; 16];
        openssl::rand::rand_bytes(&mut bytes).expect("the operating system has randomness");
        let mut buffer = [0; uuid::fmt::Simple::LENGTH];
        Self(Arc::from(&*Uuid::from_bytes(bytes).simple().encode_lower(&mut buffer)))
    }

    /// The id a client shows. Whether it exists is asked elsewhere.
    #[must_use]
    pub fn shown(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as text that is held by many.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_over_only_when_it_is_plain() {
        assert_eq!(RequestId::brought("req-1").as_str(), "req-1");

        for odd in ["", "a b", "a\r\nb", "ä", &"x".repeat(129)] {
            assert_ne!(RequestId::brought(odd).as_str(), odd);
        }
    }

    #[test]
    fn session_ids_do_not_repeat() {
        let ids: std::collections::HashSet<_> = (0..1_000).map(|_| SessionId::fresh()).collect();

        assert_eq!(ids.len(), 1_000);
    }
}
