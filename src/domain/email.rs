//! Addresses of people.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address such as ana@example.com")]
pub struct InvalidEmail(pub String);

/// An email address, in lower case: two that differ in case alone are one. Plain ASCII, so that
/// none looks like another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(Box<str>);

impl Email {
    /// The longest address, in bytes.
    pub const LIMIT: usize = 254;

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let is_plain = |c: u8| c.is_ascii_graphic() && !b"\"(),:;<>@[\\]".contains(&c);
        let is_good = text.len() <= Self::LIMIT
            && text.split_once('@').is_some_and(|(name, place)| {
                (1..=64).contains(&name.len())
                    && !place.is_empty()
                    && name.bytes().chain(place.bytes()).all(is_plain)
                    && place.split('.').all(|label| !label.is_empty())
            });
        if is_good {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(InvalidEmail(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Email {
    type Error = InvalidEmail;

    fn try_from(text: String) -> Result<Self, InvalidEmail> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0.into()
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_differ_in_case_are_one() {
        assert_eq!("Ana.B+x@Example.COM".parse::<Email>(), "ana.b+x@example.com".parse());
        assert!("admin@localhost".parse::<Email>().is_ok());
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        for bad in ["", "ana", "@x", "ana@", "a b@x", "a@b@c", "а@x", "a@x..y", "a@x\n", "<a>@x"] {
            assert!(bad.parse::<Email>().is_err(), "{bad}");
        }
    }
}
