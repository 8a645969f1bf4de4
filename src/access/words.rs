//! Names and texts that people give.

use crate::access::Error;

const NAME_LIMIT: usize = 100;
/// Descriptions are at most so long, in characters.
const TEXT_LIMIT: usize = 1_000;

/// A name that people give, without what surrounds it.
pub(super) fn name(text: &str) -> Result<String, Error> {
    let text = text.trim();
    let is_good = !text.is_empty()
        && text.chars().count() <= NAME_LIMIT
        && !text.chars().any(char::is_control);
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(Error::InvalidName("a name has 1 to 100 characters and no control characters"))
    }
}

/// What people write about something.
pub(super) fn words(text: &str) -> Result<String, Error> {
    let is_good = |c: char| !c.is_control() || c == '\n';
    if text.chars().count() > TEXT_LIMIT || !text.chars().all(is_good) {
        return Err(Error::InvalidName(
            "a description has at most 1,000 characters and no control characters",
        ));
    }
    Ok(text.to_owned())
}

/// A name to sign in with: plain, so that none looks like another.
pub(super) fn username(text: &str) -> Result<String, Error> {
    let text = name(text)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    if text.chars().all(is_plain) {
        return Ok(text);
    }
    Err(Error::InvalidName("a username has letters from a to z, digits, and . _ - + @"))
}
