//! What a caller shows at the door.

use std::{fmt, sync::OnceLock};

use http::{HeaderMap, Method, header::AUTHORIZATION};

use crate::{
    access::{Error, basic::Basic, jwt, page::Page},
    domain::{InvalidKey, KeyId, KeyText, Secret},
    wire::header,
};

/// What a caller shows. Making one checks its form, nothing else.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// Nothing.
    None,
    /// An API key. Boxed, as the next, because connections keep their credential.
    Key(Box<PresentedKey>),
    /// An access token.
    Token(Box<Token>),
    /// The cookie of a page.
    Page(Box<Page>),
    /// A name and a password.
    Basic(Box<Basic>),
    /// The other end of the local socket belongs to this user of the machine.
    Local {
        /// Their user id.
        uid: u32,
    },
}

/// The text of an API key.
#[derive(Debug, Clone)]
pub(crate) struct PresentedKey {
    text: Secret,
    /// What was made out of it when it was first asked for: a request is asked twice who it is from.
    read: OnceLock<Read>,
}

/// Which key a text is, and what is kept of it in place of the text. It never prints itself.
#[derive(Clone)]
pub(super) struct Read {
    pub(super) id: KeyId,
    pub(super) digest: [u8; 32],
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PresentedKey {
    pub(super) fn new(text: Secret) -> Self {
        Self { text, read: OnceLock::new() }
    }

    /// The text.
    pub(super) fn expose(&self) -> &str {
        self.text.expose()
    }

    /// The text, to be a password.
    pub(crate) fn into_text(self) -> Secret {
        self.text
    }

    /// Which key it is, if it is formed as one. `digest` makes what is kept of its text.
    pub(super) fn read(&self, digest: impl FnOnce(&str) -> [u8; 32]) -> Result<&Read, InvalidKey> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let text = KeyText::parse(self.text.expose())?;
        Ok(self.read.get_or_init(|| Read { id: text.id, digest: digest(text.expose()) }))
    }
}

/// An access token, and where it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(super) text: Secret,
    /// The endpoint's URL; none where it is shown to the house itself.
    pub(super) at: Option<Box<str>>,
}

impl Credential {
    /// An API key.
    pub(super) fn key(text: Secret) -> Self {
        Self::Key(Box::new(PresentedKey::new(text)))
    }

    /// An access token that is shown to the house itself.
    pub(super) fn token(text: Secret) -> Self {
        Self::Token(Box::new(Token { text, at: None }))
    }

    /// The same credential, shown at the endpoint with this URL. It is made for tokens only, which
    /// are good for one endpoint.
    pub(crate) fn at(mut self, url: impl FnOnce() -> Option<String>) -> Self {
        if let Self::Token(token) = &mut self {
            token.at = url().map(Box::from);
        }
        self
    }

    /// Reads the headers of a request. Query strings are never read.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let shown = authorization(headers)?;
        let mut keys = headers.get_all(header::API_KEY).iter();
        let key = keys.next().map(|value| value.to_str().map_err(|_| Error::UnknownKey));
        if keys.next().is_some() {
            return Err(Error::Malformed("X-API-Key stands there twice"));
        }
        match (shown, key.transpose()?) {
            (Some(Self::Key(bearer)), Some(key)) if bearer.expose() == key => Ok(Self::Key(bearer)),
            // Two that are not the same are nobody's.
            (Some(_), Some(_)) => Err(Error::UnknownKey),
            (Some(shown), None) => Ok(shown),
            (None, Some(text)) => Ok(Self::key(Secret::new(text))),
            (None, None) => Ok(Self::None),
        }
    }

    /// The same for a request that a page may have made, and its cookie where it shows no more.
    pub(crate) fn of_request(verb: &Method, headers: &HeaderMap) -> Result<Self, Error> {
        Ok(match Self::of(headers)? {
            Self::None => {
                Page::of(verb, headers).map_or(Self::None, |page| Self::Page(Box::new(page)))
            }
            shown => shown,
        })
    }
}

fn authorization(headers: &HeaderMap) -> Result<Option<Credential>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::Malformed("Authorization stands there twice"));
    }
    let text = value.to_str().map_err(|_| Error::UnknownKey)?;
    let (scheme, text) = text.split_once(' ').ok_or(Error::UnknownKey)?;
    if scheme.eq_ignore_ascii_case("basic") {
        let basic = Basic::parse(text).ok_or(Error::UnknownKey)?;
        return Ok(Some(Credential::Basic(Box::new(basic))));
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::UnknownKey);
    }
    bearer(text).map(Some).ok_or(Error::UnknownKey)
}

/// What a bearer shows, if it looks like anything of ours.
pub(crate) fn bearer(text: &str) -> Option<Credential> {
    if KeyText::is_claimed_by(text) {
        return Some(Credential::key(Secret::new(text)));
    }
    jwt::is_claimed_by(text).then(|| Credential::token(Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Result<Credential, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        Credential::of(&headers)
    }

    #[test]
    fn takes_a_key_by_either_header() {
        for pairs in [
            &[("authorization", "Bearer thk_x")][..],
            &[("authorization", "BEARER thk_x")],
            &[("x-api-key", "thk_x")],
            &[("x-api-key", "thk_x"), ("authorization", "bearer thk_x")],
        ] {
            let Ok(Credential::Key(key)) = of(pairs) else { panic!("{pairs:?}") };
            assert_eq!(key.expose(), "thk_x");
        }
        assert!(matches!(of(&[]), Ok(Credential::None)));
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for pairs in [
            &[("authorization", "Bearer thk_x"), ("authorization", "Bearer thk_x")][..],
            &[("x-api-key", "thk_x"), ("x-api-key", "thk_y")],
        ] {
            assert!(matches!(of(pairs), Err(Error::Malformed(_))), "{pairs:?}");
        }
        for pairs in [
            &[("authorization", "Bearer  thk_x")][..],
            &[("authorization", "Bearer a,b")],
            &[("authorization", "Basic !")],
            &[("x-api-key", "thk_x"), ("authorization", "Bearer eyJh.eyJp.c2ln")],
            &[("authorization", "thk_x")],
            &[("x-api-key", "thk_y"), ("authorization", "bearer thk_x")],
        ] {
            assert!(matches!(of(pairs), Err(Error::UnknownKey)), "{pairs:?}");
        }
    }
}
