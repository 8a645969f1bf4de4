//! How calls are shared among the instances of a server.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Instance;

/// How calls are shared among the instances of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Balance {
    /// Which instance is next; none leaves it to the settings.
    pub strategy: Option<Strategy>,
    /// Which instances are taken before the others, as long as one of them can be; the first
    /// preference is the strongest.
    pub prefer: Vec<Preference>,
    /// Whether instances that are programs are called only while no other can be.
    pub stdio_fallback: bool,
}

/// Which instance is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest calls in flight.
    LeastConnections,
    /// One after the other, each as often as its weight says.
    Weighted,
    /// The one that failed least of late, then the quickest.
    HealthBased,
    /// Any.
    Random,
    /// The one that is likely to answer first: by its latency, its failures and its calls in
    /// flight.
    Ewma,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::LeastConnections,
        Self::Weighted,
        Self::HealthBased,
        Self::Random,
        Self::Ewma,
    ];

    /// Its name, as in requests and lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::Weighted => "weighted",
            Self::HealthBased => "health_based",
            Self::Random => "random",
            Self::Ewma => "ewma",
        }
    }
}

/// Text that is no preference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no preference; write a member of the instances' metadata and the value it shall have, such as region=eu, or cost for the cheapest"
)]
pub struct InvalidPreference(String);

/// Which instances are taken before the others, by their metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Preference {
    /// Those of which a member has a value: `region=eu`.
    Is {
        /// Which member.
        member: String,
        /// Which value.
        value: String,
    },
    /// Those of which a member is the smallest number: `cost`. One that has no such number comes
    /// last.
    Least {
        /// Which member.
        member: String,
    },
}

impl Preference {
    /// Whether an instance has what is wanted. What is only compared with others, each has.
    #[must_use]
    pub fn is_met_by(&self, instance: &Instance) -> bool {
        match self {
            Self::Is { member, value } => instance.metadata.get(member) == Some(value),
            Self::Least { .. } => true,
        }
    }
}

impl FromStr for Preference {
    type Err = InvalidPreference;

    fn from_str(text: &str) -> Result<Self, InvalidPreference> {
        let is_name = |name: &str| {
            let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
            !name.is_empty() && name.len() <= 64 && name.bytes().all(is_plain)
        };
        let invalid = || InvalidPreference(text.chars().take(80).collect());
        let (member, value) = match text.split_once('=') {
            Some((member, value)) => (member.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        match value {
            _ if !is_name(member) => Err(invalid()),
            Some(value) if value.is_empty() || value.len() > 256 => Err(invalid()),
            Some(value) => Ok(Self::Is { member: member.to_owned(), value: value.to_owned() }),
            None => Ok(Self::Least { member: member.to_owned() }),
        }
    }
}

impl TryFrom<String> for Preference {
    type Error = InvalidPreference;

    fn try_from(text: String) -> Result<Self, InvalidPreference> {
        text.parse()
    }
}

impl From<Preference> for String {
    fn from(preference: Preference) -> Self {
        preference.to_string()
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is { member, value } => write!(f, "{member}={value}"),
            Self::Least { member } => f.write_str(member),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_as_they_are_written() {
        for text in ["region=eu", "tier=gold", "cost"] {
            assert_eq!(text.parse::<Preference>().expect(text).to_string(), text);
        }
        for odd in ["", "=", "region=", "a b=c", "=eu"] {
            assert!(odd.parse::<Preference>().is_err(), "{odd}");
        }
    }

    #[test]
    fn every_strategy_goes_by_its_name() {
        for strategy in Strategy::ALL {
            let named = serde_json::json!(strategy.as_str());
            assert_eq!(serde_json::from_value::<Strategy>(named).expect("a name"), strategy);
        }
    }
}
