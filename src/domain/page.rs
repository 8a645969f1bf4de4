//! Cursors: where the next page of a merged list begins.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Text that is no cursor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one this gateway gave")]
pub struct InvalidCursor;

/// A place in a merged list: after so many items of the server of that name.
///
/// Lists are ordered by server and then as the server ordered them, so the place stays right
/// when servers before or after it come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The server whose item ended the last page.
    pub server: String,
    /// How many of its items have been sent.
    pub sent: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("1 {} {}", self.sent, self.server)))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| InvalidCursor)?;
        let (sent, server) =
            text.strip_prefix("1 ").and_then(|rest| rest.split_once(' ')).ok_or(InvalidCursor)?;
        let sent = sent.parse().map_err(|_| InvalidCursor)?;
        Ok(Self { server: server.to_owned(), sent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        let cursor = Cursor { server: "time".into(), sent: 12 };

        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for odd in ["", "x", "MQ", "eyJhIjoxfQ"] {
            assert_eq!(odd.parse::<Cursor>(), Err(InvalidCursor));
        }
    }
}
