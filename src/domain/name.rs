//! Names: slugs of servers and namespaces, and item names qualified by their server.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Stands between a server's name and an item's.
pub const SEPARATOR: &str = "__";

/// The longest qualified name, in bytes. Model vendors refuse longer tool names.
pub const NAME_LIMIT: usize = 64;

/// Names that paths of the gateway use itself.
const RESERVED: &[&str] = &["rpc", "capabilities", "status", "health"];

/// Text that cannot name a server or a namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not of the allowed form.
    #[error(
        "{0:?} is no name: use 1 to 32 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit, without '__'"
    )]
    Form(String),
    /// A word the gateway's own paths use.
    #[error("{0:?} is reserved for the gateway's own paths")]
    Reserved(String),
}

/// The name of a server or namespace, as it stands in paths and before tool names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(Box<str>);

impl Slug {
    /// The longest slug, in bytes.
    pub const LIMIT: usize = 32;

    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = text.as_bytes();
        let formed = (1..=Self::LIMIT).contains(&bytes.len())
            && bytes.iter().all(|c| word(*c) || b"-_.".contains(c))
            && bytes.first().is_some_and(|c| word(*c))
            && bytes.last().is_some_and(|c| word(*c))
            && !text.contains(SEPARATOR)
            && !text.contains("..");
        if !formed {
            return Err(InvalidName::Form(text.chars().take(80).collect()));
        }
        if RESERVED.contains(&text) {
            return Err(InvalidName::Reserved(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Slug {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0.into()
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When an item's name carries its server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefixing {
    /// On every name: names never change when servers come and go.
    #[default]
    Always,
    /// Only where two servers offer the same name.
    #[serde(alias = "on_conflict")]
    Conflict,
    /// On no name; of two equal ones the first server's stays.
    Never,
}

impl FromStr for Prefixing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "conflict" | "on_conflict" => Ok(Self::Conflict),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is none of always, conflict, never")),
        }
    }
}

/// The name of an item with its server's before it, at most [`NAME_LIMIT`] bytes.
///
/// A name that would be longer is cut and ends in a digest of the whole, so that it stays the
/// same from start to start and differs from its neighbours'.
#[must_use]
pub fn qualify(server: &Slug, item: &str) -> String {
    let whole = format!("{server}{SEPARATOR}{item}");
    if whole.len() <= NAME_LIMIT {
        return whole;
    }
    let digest = openssl::sha::sha256(whole.as_bytes());
    let tail = format!("_{:08x}", u32::from_be_bytes(digest[..4].try_into().expect("4 of 32")));
    let mut end = NAME_LIMIT - tail.len();
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &whole[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_names_only() {
        for good in ["time", "git-hub", "a.b", "x1", &"n".repeat(32)] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a__b", "a..b", "ä", "а", &"n".repeat(33)] {
            assert!(matches!(bad.parse::<Slug>(), Err(InvalidName::Form(_))), "{bad}");
        }
        assert!(matches!("rpc".parse::<Slug>(), Err(InvalidName::Reserved(_))));
    }

    #[test]
    fn a_qualified_name_fits_and_stays_the_same() {
        let server: Slug = "files".parse().expect("a slug");
        let long = "read_".repeat(20);

        assert_eq!(qualify(&server, "read"), "files__read");
        assert_eq!(qualify(&server, &long).len(), NAME_LIMIT);
        assert_eq!(qualify(&server, &long), qualify(&server, &long));
        assert_ne!(qualify(&server, &long), qualify(&server, &format!("{long}x")));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let server: Slug = "s".parse().expect("a slug");

        assert!(qualify(&server, &"ü".repeat(60)).len() <= NAME_LIMIT);
    }
}
