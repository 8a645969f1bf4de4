//! What a caller shows at the door.

use http::{HeaderMap, header::AUTHORIZATION};

use crate::{
    access::Error,
    domain::{KeyText, Secret},
    wire::header,
};

/// What a caller shows. Making one checks its form, nothing else.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// Nothing.
    None,
    /// The text of an API key.
    Key(Secret),
    /// The other end of the local socket belongs to this user of the machine.
    Local {
        /// Their user id.
        uid: u32,
    },
}

impl Credential {
    /// Reads the headers of a request. Query strings are never read.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let bearer = bearer(headers)?;
        let mut keys = headers.get_all(header::API_KEY).iter();
        let key = keys.next().map(|value| value.to_str().map_err(|_| Error::UnknownKey));
        if keys.next().is_some() {
            return Err(Error::Malformed("X-API-Key stands there twice"));
        }
        match (bearer, key.transpose()?) {
            (Some(bearer), Some(key)) if bearer != key => Err(Error::UnknownKey),
            (Some(text), _) | (None, Some(text)) => Ok(Self::Key(Secret::new(text))),
            (None, None) => Ok(Self::None),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::Malformed("Authorization stands there twice"));
    }
    let text = value.to_str().map_err(|_| Error::UnknownKey)?;
    let (scheme, token) = text.split_once(' ').ok_or(Error::UnknownKey)?;
    // Basic is off, and a token of another issuer is nobody's here.
    if !scheme.eq_ignore_ascii_case("bearer") || !KeyText::is_claimed_by(token) {
        return Err(Error::UnknownKey);
    }
    Ok(Some(token))
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
            &[("authorization", "thk_x")],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")],
            &[("x-api-key", "thk_y"), ("authorization", "bearer thk_x")],
        ] {
            assert!(matches!(of(pairs), Err(Error::UnknownKey)), "{pairs:?}");
        }
    }
}
