//! Text that never prints itself.

use std::{cell::Cell, fmt};

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A password, token or key. It is wiped from memory when dropped and shows itself only to
/// [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes text into keeping.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Never put it where it could be printed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

thread_local! {
    /// Whether secrets that are written out on this thread show only that they are there.
    static IS_VEILED: Cell<bool> = const { Cell::new(false) };
}

/// What stands in place of a secret where it must not be shown.
const VEIL: &str = "[secret]";

/// Writes something out with its secrets veiled, whatever [`exposed`] says of them.
pub fn veiled<T>(write: impl FnOnce() -> T) -> T {
    struct Unveil(bool);
    impl Drop for Unveil {
        fn drop(&mut self) {
            IS_VEILED.set(self.0);
        }
    }
    let _unveil = Unveil(IS_VEILED.replace(true));
    write()
}

/// The text of a secret that is written out.
fn shown(secret: &Secret) -> &str {
    if IS_VEILED.get() { VEIL } else { secret.expose() }
}

/// Writes a secret out in full: for records that are sealed, `#[serde(with = "exposed")]`.
pub mod exposed {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Secret, shown};

    /// Writes the text itself.
    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(shown(secret))
    }

    /// Reads it back.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        Secret::deserialize(deserializer)
    }
}

/// As [`exposed`], for a secret that may not be there.
pub mod exposed_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Secret, shown};

    /// Writes the text itself.
    pub fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(shown).serialize(serializer)
    }

    /// Reads it back.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        Option::deserialize(deserializer)
    }
}

/// As [`exposed`], for named secrets such as headers and environment variables.
pub mod exposed_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Secret, shown};

    /// Writes names and texts.
    pub fn serialize<S: Serializer>(
        secrets: &BTreeMap<String, Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(secrets.iter().map(|(name, secret)| (name, shown(secret))))
    }

    /// Reads them back.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Secret>, D::Error> {
        BTreeMap::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }
}
