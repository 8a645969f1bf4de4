//! API keys: their text, and what is kept of them.
//!
//! The text is `thk_{environment}_{id}_{secret}_{checksum}`: a prefix that scanners know, an id to
//! look up, 256 random bits, and a checksum that tells a typo without asking the store. The
//! checksum is no security; the secret is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Grant, Limits, OrganizationId, Permission, Permissions, Role, Secret, Timestamp, UserId,
    organization::yes,
};

const PREFIX: &str = "thk_live_";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 43;
const CHECKSUM_LENGTH: usize = 6;
const LENGTH: usize = PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH + 1 + CHECKSUM_LENGTH;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Text that cannot be an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the text of an API key")]
pub struct InvalidKey;

/// Which key. It stands in the key's text and in lists; it is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_LENGTH]);

impl KeyId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only base62 is taken in")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyId {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes: [u8; ID_LENGTH] = text.as_bytes().try_into().map_err(|_| InvalidKey)?;
        if !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(InvalidKey);
        }
        Ok(Self(bytes))
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text of a key, formed as one: not yet known to anybody.
#[derive(Debug)]
pub struct KeyText<'a> {
    /// Which key it claims to be.
    pub id: KeyId,
    text: &'a str,
}

impl<'a> KeyText<'a> {
    /// Makes a new key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> (KeyId, Secret) {
        let id = KeyId(random_base62());
        let secret: Zeroizing<[u8; SECRET_LENGTH]> = Zeroizing::new(random_base62());
        let secret = std::str::from_utf8(&*secret).expect("base62 is ASCII");
        let stem = Zeroizing::new(format!("{PREFIX}{id}_{secret}"));
        (id, Secret::new(format!("{}_{}", *stem, checksum(&stem))))
    }

    /// Reads the text of a key and checks its form and checksum.
    pub fn parse(text: &'a str) -> Result<Self, InvalidKey> {
        if text.len() != LENGTH || !text.is_ascii() {
            return Err(InvalidKey);
        }
        let (stem, sum) = text.split_at(LENGTH - CHECKSUM_LENGTH);
        let stem = stem.strip_suffix('_').ok_or(InvalidKey)?;
        let rest = stem.strip_prefix(PREFIX).ok_or(InvalidKey)?;
        let (id, secret) = rest.split_at(ID_LENGTH);
        if !secret.starts_with('_') || checksum(stem) != sum {
            return Err(InvalidKey);
        }
        Ok(Self { id: id.parse()?, text })
    }

    /// Whether text claims to be one of our keys at all.
    #[must_use]
    pub fn is_claimed_by(text: &str) -> bool {
        text.starts_with("thk_")
    }

    /// The whole text, to be hashed.
    #[must_use]
    pub fn expose(&self) -> &'a str {
        self.text
    }
}

/// What is kept of a key. The text is shown once and never kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Which key.
    pub id: KeyId,
    /// Where it belongs.
    pub organization: OrganizationId,
    /// Whose it is; none for a program's own.
    pub owner: Option<UserId>,
    /// What people call it.
    pub name: String,
    /// What it is for, in a person's words.
    #[serde(default)]
    pub description: String,
    /// Who holds it.
    #[serde(default)]
    pub key_type: KeyType,
    /// What it is; what it may do, where no permissions are named.
    pub role: Role,
    /// What it may do, where that is not what its role says.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// What it is limited to.
    #[serde(default)]
    pub limits: Limits,
    /// Whether it may reach beyond its organization, as far as its permissions do. Before this was
    /// written down there was one organization.
    #[serde(default = "yes")]
    pub is_superuser: bool,
    /// The end of its text, so that people can tell it from others.
    #[serde(default)]
    pub last_four: String,
    /// HMAC-SHA-256 of the text under the house's pepper.
    pub digest: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// Whether it opens anything now.
    pub is_active: bool,
    /// When it was changed last; none where it never was.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

impl ApiKey {
    /// What may be done within limits. Whatever concerns the organization as a whole may not.
    const WITHIN_LIMITS: [Permission; 9] = [
        Permission::ItemsList,
        Permission::ToolsCall,
        Permission::ResourcesRead,
        Permission::PromptsGet,
        Permission::ServersRead,
        Permission::ServersWrite,
        Permission::NamespacesRead,
        Permission::SessionsRead,
        Permission::SessionsWrite,
    ];

    /// All that may be done within limits.
    #[must_use]
    pub fn within_limits() -> Permissions {
        Self::WITHIN_LIMITS.into_iter().collect()
    }

    /// All that it may do by itself, whoever owns it.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        // A role given by somebody above organizations means all that its word promises.
        let all = match (self.role, self.is_superuser) {
            (Role::Admin, true) => Permissions::all(),
            (role, _) => role.permissions(),
        };
        let named = || self.grants.iter().flat_map(|grant| grant.permissions().iter()).collect();
        let wanted = if self.grants.is_empty() { all } else { named() };
        let ceiling =
            if self.is_superuser { Permissions::all() } else { Role::Admin.permissions() };
        let within = if self.limits.is_none() { Permissions::all() } else { Self::within_limits() };
        wanted.and(ceiling).and(within)
    }

    /// How its text begins.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }
}

/// Who holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// A person, or a program on a person's behalf.
    #[default]
    User,
    /// A program that speaks to others for itself.
    A2a,
}

impl KeyType {
    /// Its name, as stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::A2a => "a2a",
        }
    }
}

/// When a key was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// Which key.
    pub id: KeyId,
    /// When.
    pub last_used_at: Timestamp,
}

fn random_base62<const N: usize>() -> [u8; N] {
    let mut text = [0; N];
    let mut filled = 0;
    while filled < N {
        let mut bytes = [0; 64];
        openssl::rand::rand_bytes(&mut bytes).expect("the operating system has randomness");
        // Values from 248 on would make the first letters likelier than the rest.
        for byte in bytes.into_iter().filter(|byte| *byte < 248).take(N - filled) {
            text[filled] = BASE62[usize::from(byte % 62)];
            filled += 1;
        }
    }
    text
}

/// CRC-32 (IEEE) of the text, as six base62 digits.
fn checksum(text: &str) -> String {
    let mut rest = text
        .bytes()
        .fold(!0_u32, |sum, byte| CRC_TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8));
    rest = !rest;
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

static CRC_TABLE: [u32; 256] = crc_table();

#[expect(clippy::cast_possible_truncation, reason = "the index stays below 256")]
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::NamespaceId;

    fn stored() -> ApiKey {
        let stored = serde_json::json!({
            "id": "4fK2mP9sQ1xZ", "organization": OrganizationId::fixed(1), "owner": null,
            "name": "ci", "role": "admin", "digest": vec![0; 32], "created_at": 5,
            "expires_at": null, "is_active": true,
        });
        serde_json::from_value(stored).expect("readable")
    }

    #[test]
    fn a_key_stored_before_there_were_permissions_may_do_what_it_could() {
        assert_eq!(stored().permissions(), Permissions::all());
        assert_eq!(stored().key_type, KeyType::User);
    }

    #[test]
    fn a_star_ends_at_the_organization_and_at_the_limits() {
        let grants = Grant::read("*").expect("a grant");
        let limits = Limits { namespaces: vec![NamespaceId::fixed(2)], servers: Vec::new() };

        let within = ApiKey { grants, is_superuser: false, ..stored() };
        let limited = ApiKey { limits, ..within.clone() };

        assert_eq!(within.permissions(), Role::Admin.permissions());
        assert!(limited.permissions().has(Permission::ServersWrite));
        assert!(!limited.permissions().has(Permission::KeysWrite));
    }

    #[test]
    fn a_new_key_is_read_back() {
        let (id, secret) = KeyText::generate();

        let text = KeyText::parse(secret.expose()).expect("our own key");

        assert_eq!(text.id, id);
        assert!(KeyText::is_claimed_by(secret.expose()));
    }

    #[test]
    fn a_typo_is_told_by_the_checksum() {
        let (_, secret) = KeyText::generate();
        let mut text = secret.expose().to_owned();
        let last = text.pop().expect("not empty");
        text.push(if last == '0' { '1' } else { '0' });

        assert!(KeyText::parse(&text).is_err());
        assert!(KeyText::parse("thk_live_short").is_err());
        assert!(KeyText::parse("").is_err());
    }

    #[test]
    fn the_checksum_is_the_well_known_one() {
        // "123456789" has the CRC-32 0xCBF43926, which is 3 421 780 262.
        assert_eq!(checksum("123456789"), "3jZRME");
    }
}
