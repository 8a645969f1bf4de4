//! Spans: where in a message's bytes a part lies, and how parts are replaced.

use std::fmt;

use bytes::Bytes;
use serde_json::value::RawValue;

/// A part of a message, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Span {
    /// Where a value that was parsed out of `whole` lies in it.
    pub(super) fn of(whole: &[u8], part: &RawValue) -> Self {
        let start = part.get().as_ptr().addr() - whole.as_ptr().addr();
        Self { start, end: start + part.get().len() }
    }

    /// The place after this part, of no length.
    #[must_use]
    pub const fn after(self) -> Self {
        Self { start: self.end, end: self.end }
    }

    /// The bytes of the part.
    #[must_use]
    pub fn of_bytes(self, whole: &[u8]) -> &[u8] {
        &whole[self.start..self.end]
    }

    /// The part as text. Messages are checked to be UTF-8 when they are parsed.
    #[must_use]
    pub fn text(self, whole: &[u8]) -> &str {
        std::str::from_utf8(self.of_bytes(whole)).expect("parsed messages are UTF-8")
    }
}

/// The bytes with parts replaced. Edits must not overlap and come in order.
#[must_use]
pub fn splice(whole: &Bytes, edits: &[(Span, &[u8])]) -> Bytes {
    if edits.is_empty() {
        return whole.clone();
    }
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut spliced = Vec::with_capacity(whole.len() + grown);
    let mut copied = 0;
    for (span, new) in edits {
        spliced.extend_from_slice(&whole[copied..span.start]);
        spliced.extend_from_slice(new);
        copied = span.end;
    }
    spliced.extend_from_slice(&whole[copied..]);
    spliced.into()
}

/// The id of a request exactly as it was written: a string, or a number of any size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawId(Bytes);

impl RawId {
    /// The id that answers a message whose own could not be read.
    #[must_use]
    pub const fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// An id as it stands in JSON.
    #[must_use]
    pub fn read(json: &str) -> Self {
        Self(Bytes::copy_from_slice(json.as_bytes()))
    }

    pub(super) fn at(whole: &Bytes, span: Span) -> Self {
        Self(whole.slice(span.start..span.end))
    }

    /// The id as it stands in JSON.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RawId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_parts_and_leaves_the_rest() {
        let whole = Bytes::from_static(b"{\"id\":1,\"x\" : 2}");
        let id = Span { start: 6, end: 7 };
        let end = Span { start: 15, end: 15 };

        let spliced = splice(&whole, &[(id, b"\"a\""), (end, b",\"y\":3")]);

        assert_eq!(&spliced[..], b"{\"id\":\"a\",\"x\" : 2,\"y\":3}");
    }

    #[test]
    fn nothing_to_replace_copies_nothing() {
        let whole = Bytes::from_static(b"{}");

        assert_eq!(splice(&whole, &[]).as_ptr(), whole.as_ptr());
    }
}
