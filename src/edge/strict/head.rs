//! What the head of a request must say, and what it says about the body.
//!
//! Checks only what hyper lets through and what decides where the request ends; every other
//! fault (control characters, folded lines, spaces before the colon) hyper refuses itself.

use memchr::memchr;

/// How much follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, until the empty one.
    Chunked,
}

/// The head breaks a rule of RFC 9112.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is known of a head, line after line.
#[derive(Debug, Default)]
pub(super) struct Head {
    version: Option<Version>,
    /// Whom the request line names; the `Host` line must agree.
    authority: Option<Box<[u8]>>,
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl Head {
    /// Whether the request line has come.
    pub(super) const fn has_begun(&self) -> bool {
        self.version.is_some()
    }

    /// Takes the next line, without its line end. After the last one it knows the body.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<Option<Body>, Malformed> {
        match (self.version, line) {
            // Old clients end a body with an empty line too many.
            (None, []) => Ok(None),
            (None, _) => self.begin(line).map(|()| None),
            (Some(version), []) => self.end(version).map(Some),
            (Some(_), _) => self.field(line).map(|()| None),
        }
    }

    fn begin(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let (line, version) = match line.strip_suffix(b" HTTP/1.1") {
            Some(line) => (line, Version::Http11),
            None => (line.strip_suffix(b" HTTP/1.0").ok_or(Malformed)?, Version::Http10),
        };
        let space = memchr(b' ', line).ok_or(Malformed)?;
        let (method, target) = (&line[..space], &line[space + 1..]);
        self.authority = match target {
            [b'/', ..] => None,
            b"*" if method == b"OPTIONS" => None,
            _ if method == b"CONNECT" => Some(target.into()),
            _ => Some(authority(target).ok_or(Malformed)?.into()),
        };
        // A fragment is dropped by some and kept by others.
        if memchr(b'#', target).is_some() {
            return Err(Malformed);
        }
        self.version = Some(version);
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let colon = memchr(b':', line).ok_or(Malformed)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // The length sorts out nearly all names.
        match colon {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value.trim_ascii()),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value.trim_ascii()),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.coding(value.trim_ascii())
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let agrees = self.authority.as_ref().is_none_or(|named| named.eq_ignore_ascii_case(value));
        if self.has_host || !agrees || !is_host(value) {
            return Err(Malformed);
        }
        self.has_host = true;
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.length.is_some() || self.is_chunked || value.is_empty() {
            return Err(Malformed);
        }
        let number = value.iter().try_fold(0_u64, |number, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        });
        self.length = Some(number.ok_or(Malformed)?);
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.length.is_some() || self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed);
        }
        self.is_chunked = true;
        Ok(())
    }

    fn end(&self, version: Version) -> Result<Body, Malformed> {
        match version {
            Version::Http11 if !self.has_host => Err(Malformed),
            Version::Http10 if self.is_chunked => Err(Malformed),
            _ if self.is_chunked => Ok(Body::Chunked),
            _ => Ok(Body::Length(self.length.unwrap_or(0))),
        }
    }
}

/// The host and port in `http://host:port/path`.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let colon = memchr(b':', target)?;
    let scheme = &target[..colon];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = target[colon + 1..].strip_prefix(b"//")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Whether it is a name or an address, perhaps with a port: no user, no path, no list.
fn is_host(value: &[u8]) -> bool {
    let (is_sound, rest) = if let Some(address) = value.strip_prefix(b"[") {
        let Some(end) = memchr(b']', address) else {
            return false;
        };
        let (address, rest) = (&address[..end], &address[end + 1..]);
        (address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)), rest)
    } else {
        let end = memchr(b':', value).unwrap_or(value.len());
        (end > 0 && value[..end].iter().all(|&byte| is_of_name(byte)), &value[end..])
    };
    let port = rest.strip_prefix(b":").unwrap_or(rest);
    is_sound && (port.len() < rest.len() || rest.is_empty()) && port.iter().all(u8::is_ascii_digit)
}

/// The bytes of a registered name in RFC 3986.
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=')
}
