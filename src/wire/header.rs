//! The headers of Streamable HTTP, and what they must agree with.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports> (SEP-2243).

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Request;

/// The revision a request is made in.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The session of an older revision.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The request's method.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The item the request names.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Names the request in logs and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// An API key, for clients that cannot set `Authorization`.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Stands before the name of a header that repeats an argument of a tool.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// How a request is addressed to the server it goes to, where that differs from what its client
/// wrote, or adds to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Address<'a> {
    /// The server's own name of the item.
    pub subject: Option<&'a str>,
    /// Headers that repeat arguments, as the server's definition of the tool asks.
    pub params: &'a [(HeaderName, HeaderValue)],
}

/// The headers in which a client repeats arguments of a tool.
#[derive(Debug, Clone, Default)]
pub struct Repeated(HeaderMap);

impl Repeated {
    /// Those among a request's headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let repeats = |name: &HeaderName| name.as_str().starts_with(PARAM_PREFIX);
        let repeated = headers.iter().filter(|(name, _)| repeats(name));
        let mut own = HeaderMap::new();
        for (name, value) in repeated {
            own.append(name, value.clone());
        }
        Self(own)
    }

    /// Checks that an argument is repeated, as `is_same` tells from the header's text.
    pub fn check(
        &self,
        name: &HeaderName,
        is_same: impl FnOnce(&str) -> bool,
    ) -> Result<(), Mismatch> {
        let value = single(&self.0, name).ok_or_else(|| Mismatch::Count(name.clone()))?;
        match decode(value) {
            Some(said) if is_same(&said) => Ok(()),
            _ => Err(Mismatch::Differs(name.clone())),
        }
    }

    /// The headers themselves.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

/// The code of a header that disagrees with the body.
pub const MISMATCH: i32 = -32020;
/// The code of a client that cannot do what a call needs.
pub const MISSING_CAPABILITY: i32 = -32021;
/// The code of a revision that is not spoken here.
pub const UNSUPPORTED_VERSION: i32 = -32022;

/// Headers that disagree with the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is not there, or there twice.
    #[error("the header {0} must be there once")]
    Count(HeaderName),
    /// It says something else.
    #[error("the header {0} differs from the body")]
    Differs(HeaderName),
}

/// Checks the headers of a stateless request against its body.
pub fn check(headers: &HeaderMap, request: &Request) -> Result<(), Mismatch> {
    agree(headers, &PROTOCOL_VERSION, request.meta().version.as_deref().unwrap_or_default())?;
    agree(headers, &METHOD, request.method().as_str())?;
    match request.subject() {
        // A client in the field leaves it out where a request is about a task.
        Some(_) if request.method().is_about_task() && !headers.contains_key(NAME) => Ok(()),
        Some(subject) if request.method().has_name_header() => agree(headers, &NAME, subject),
        _ => Ok(()),
    }
}

fn agree(headers: &HeaderMap, name: &HeaderName, body: &str) -> Result<(), Mismatch> {
    let value = single(headers, name).ok_or_else(|| Mismatch::Count(name.clone()))?;
    match decode(value) {
        Some(said) if said == body => Ok(()),
        _ => Err(Mismatch::Differs(name.clone())),
    }
}

/// The value of a header that stands there exactly once.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

const BEFORE: &str = "=?base64?";
const BEHIND: &str = "?=";

/// The text a header value stands for.
fn decode(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = value.to_str().ok()?.trim_matches([' ', '\t']);
    let coded = text.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(BEHIND));
    match coded {
        None => Some(Cow::Borrowed(text)),
        Some(coded) => String::from_utf8(STANDARD.decode(coded).ok()?).ok().map(Cow::Owned),
    }
}

/// Text as a header value: as it is where a header can carry it, in base64 otherwise.
#[must_use]
pub fn encode(text: &str) -> HeaderValue {
    let is_plain = text.bytes().all(|byte| (0x20..0x7F).contains(&byte))
        && text.trim() == text
        && !(text.starts_with(BEFORE) && text.ends_with(BEHIND));
    let value = if is_plain {
        HeaderValue::from_str(text)
    } else {
        HeaderValue::from_str(&format!("{BEFORE}{}{BEHIND}", STANDARD.encode(text)))
    };
    value.expect("visible ASCII is a header value")
}

/// The headers that a message names as those of one connection alone (RFC 9110, 7.6.1).
#[must_use]
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let said = headers.get_all(http::header::CONNECTION).iter();
    let said = said.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    said.filter_map(|name| name.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Method;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    fn request(tool: &str) -> Request {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        Request::make(&Method::ToolsCall, &format!(r#"{{"name":{tool:?},{meta}}}"#))
    }

    #[test]
    fn takes_headers_that_agree() {
        let plain = headers(&[
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "echo"),
        ]);
        let coded = headers(&[
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?w6Q=?="),
        ]);

        assert_eq!(check(&plain, &request("echo")), Ok(()));
        assert_eq!(check(&coded, &request("ä")), Ok(()));
    }

    #[test]
    fn refuses_headers_that_do_not() {
        let other = headers(&[
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "other"),
        ]);
        let twice = headers(&[
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-method", "tools/call"),
        ]);

        assert_eq!(check(&other, &request("echo")), Err(Mismatch::Differs(NAME)));
        assert_eq!(check(&twice, &request("echo")), Err(Mismatch::Count(METHOD)));
    }

    #[test]
    fn what_it_encodes_it_decodes() {
        for text in ["echo", "ä", " padded ", "a\r\nb", "=?base64?x?="] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
    }
}
