//! Sign-ins: what is kept of them, of the keys that sign their tokens, and of second factors.

use serde::{Deserialize, Serialize};

use super::{Consent, LoginId, Secret, Timestamp, UserId, exposed};

/// One sign-in of one person, which lasts from there to its end on whatever it is renewed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Its id, which stands in its tokens.
    pub id: LoginId,
    /// Whose it is.
    pub user: UserId,
    /// What they were called then.
    pub username: String,
    /// What it is renewed with.
    pub kind: LoginKind,
    /// HMAC-SHA-256 of what renews it now, under the house's pepper.
    pub digest: [u8; 32],
    /// What renewed it last.
    pub before: Option<Before>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was renewed last.
    pub renewed_at: Timestamp,
    /// What its person lets a client do with it; none where it is theirs to use.
    #[serde(default)]
    pub consent: Option<Consent>,
}

/// What a sign-in is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginKind {
    /// Access tokens, and a refresh token that is another after each use.
    Tokens,
    /// The cookie of a page.
    Page,
}

/// A refresh token that was used, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// HMAC-SHA-256 of its text.
    pub digest: [u8; 32],
    /// When it was used.
    pub at: Timestamp,
}

/// A key that signs tokens, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// The thumbprint of its public half (RFC 7638), which stands in the head of tokens.
    pub id: String,
    /// Its private half: an Ed25519 seed in base64. It never leaves the sealed store.
    #[serde(with = "exposed")]
    pub seed: Secret,
    /// When it was made.
    pub created_at: Timestamp,
    /// When another took its place; what it signed until then stays good for a while.
    pub retired_at: Option<Timestamp>,
}

/// Somebody's second factor: one-time passwords of RFC 6238.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondFactor {
    /// Whose it is.
    pub id: UserId,
    /// What they are called.
    pub username: String,
    /// What both sides know, in base32.
    #[serde(with = "exposed")]
    pub secret: Secret,
    /// Whether they proved that they have it. Until then nobody is asked for it.
    pub is_confirmed: bool,
    /// The step of time whose password was used last: none is taken twice.
    pub last_step: u64,
    /// HMAC-SHA-256 of the recovery codes that were not used yet.
    pub recovery: Vec<[u8; 32]>,
}
