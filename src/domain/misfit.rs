//! What is wrong with a definition, and where.

/// Something of a definition that is no good, and where: a JSON pointer into it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct Misfit {
    at: String,
    reason: String,
}

impl Misfit {
    /// Wrong at this place, for this reason.
    pub fn new(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { at: at.into(), reason: reason.into() }
    }

    /// The same, seen from outside.
    #[must_use]
    pub fn within(self, at: &str) -> Self {
        Self { at: format!("{at}{}", self.at), reason: self.reason }
    }

    /// Where, and why.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        (&self.at, &self.reason)
    }
}
