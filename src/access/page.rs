//! Pages: a cookie as a credential, and the proof that a request comes from our own page.
//!
//! A browser sends a cookie with whatever page makes it ask. So a request that changes something
//! brings a second thing, which another page cannot read: a token made of the cookie.

use http::{HeaderMap, HeaderName, Method, header};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    access::{Access, Error, jwt, logins::Standing, permit::Caller},
    domain::{LoginId, LoginKind, Secret},
};

const PREFIX: &str = "ths_";
const ID_LENGTH: usize = 36;
/// Where a page shows that it is ours.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
/// Cookies of one request that are looked at.
const COOKIES: usize = 50;

/// What a page shows.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    cookie: Secret,
    /// What it brings to change something with; none where it only asks.
    proof: Option<Proof>,
}

#[derive(Debug, Clone)]
struct Proof {
    /// Whether the browser says that the page is of this very origin.
    is_same_origin: bool,
    token: Option<Secret>,
}

impl Page {
    /// What the headers of a request show, if it has a cookie of ours.
    pub(crate) fn of(verb: &Method, headers: &HeaderMap) -> Option<Self> {
        let name = cookie_name(headers);
        let values = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
        let pairs = values.flat_map(|value| value.split(';')).take(COOKIES);
        let mut ours = pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, value)| *found == name && value.starts_with(PREFIX));
        let (_, value) = ours.next()?;
        // Somebody else put the second one there, or the first.
        if ours.next().is_some() {
            return None;
        }
        let changes = !matches!(*verb, Method::GET | Method::HEAD | Method::OPTIONS);
        let proof = changes.then(|| Proof {
            is_same_origin: is_same_origin(headers),
            token: headers.get(CSRF).and_then(|it| it.to_str().ok()).map(Secret::new),
        });
        Some(Self { cookie: Secret::new(value), proof })
    }

    /// The same, with what a form of ours carries in place of the header.
    pub(crate) fn proved_by(mut self, token: Secret) -> Self {
        if let Some(proof) = &mut self.proof {
            proof.token = Some(token);
        }
        self
    }

    fn login(&self) -> Option<LoginId> {
        let rest = self.cookie.expose().strip_prefix(PREFIX)?;
        rest.split_at_checked(ID_LENGTH)?.0.parse().ok()
    }
}

/// Whether a browser says that the page which makes it ask is of the origin that is asked.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    let host = text(header::HOST).unwrap_or_default();
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, origin)| !host.is_empty() && origin.eq_ignore_ascii_case(host))
}

/// Whether a request came to this machine itself, where there is no TLS.
fn is_plain(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    is_plain_host(host)
}

/// Whether a host, with its port, is this machine.
pub(super) fn is_plain_host(host: &str) -> bool {
    let name =
        if host.ends_with(']') { host } else { host.rsplit_once(':').map_or(host, |it| it.0) };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

/// The name of the cookie. Browsers take `__Host-` only over TLS, and on one machine share what
/// they have between its ports.
fn cookie_name(headers: &HeaderMap) -> String {
    if !is_plain(headers) {
        return "__Host-tollhouse".to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((_, port)) => format!("tollhouse-{port}"),
        None => "tollhouse".to_owned(),
    }
}

/// The header that puts a cookie into a browser, or takes it away again.
pub(crate) fn set_cookie(headers: &HeaderMap, cookie: Option<(&Secret, u64)>) -> Zeroizing<String> {
    let secure = if is_plain(headers) { "" } else { "; Secure" };
    let (value, age) = cookie.map_or(("", 0), |(cookie, age)| (cookie.expose(), age));
    let name = cookie_name(headers);
    Zeroizing::new(format!(
        "{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
    ))
}

/// A new cookie for a sign-in.
pub(super) fn cookie(login: LoginId) -> Secret {
    Secret::new(format!("{PREFIX}{login}.{}", *jwt::random_text()))
}

impl Access {
    /// What a page has to show with its cookie when it changes something.
    pub(super) fn csrf_token(&self, cookie: &Secret) -> Secret {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let text = Zeroizing::new(format!("csrf {}", cookie.expose()));
        Secret::new(URL_SAFE_NO_PAD.encode(self.0.ring.digest(&text)))
    }

    /// The same, for a page that shows its cookie.
    pub(crate) fn csrf_token_of(&self, page: &Page) -> Secret {
        self.csrf_token(&page.cookie)
    }

    /// The sign-in of a page.
    pub(super) fn page(&self, page: &Page) -> Result<(LoginId, std::sync::Arc<Standing>), Error> {
        let login = page.login().ok_or(Error::InvalidToken)?;
        let standing = self.standing(&login)?;
        let digest = self.0.ring.digest(page.cookie.expose());
        let is_same: bool = standing.digest.ct_eq(&digest).into();
        if standing.kind != LoginKind::Page || !is_same {
            return Err(Error::InvalidToken);
        }
        Ok((login, standing))
    }

    /// Who shows a cookie.
    pub(super) fn page_caller(&self, page: &Page) -> Result<Caller, Error> {
        let (_, standing) = self.page(page)?;
        let person = self.welcome(&standing.user)?;
        if let Some(proof) = &page.proof {
            let wanted = self.csrf_token(&page.cookie);
            let shown = proof.token.as_ref().map_or("", Secret::expose).as_bytes();
            let is_shown: bool = wanted.expose().as_bytes().ct_eq(shown).into();
            if !proof.is_same_origin || !is_shown {
                return Err(Error::ForeignPage);
            }
        }
        standing.see(self.0.clock.now());
        Ok(Caller::person(standing.user, &person))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn a_cookie_goes_by_the_strictest_name_that_browsers_take() {
        let secret = Secret::new("ths_x");
        let put =
            |host: &str| set_cookie(&headers(&[("host", host)]), Some((&secret, 60))).to_string();

        assert_eq!(
            put("tools.example.com"),
            "__Host-tollhouse=ths_x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            put("localhost:8080"),
            "tollhouse-8080=ths_x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
        );
        assert!(put("[::1]").starts_with("tollhouse="));
        assert!(put("[::1]:8080").starts_with("tollhouse-8080="));
        assert!(put("localhost.evil.test:8080").starts_with("__Host-"));
    }

    #[test]
    fn only_one_cookie_of_the_right_name_counts() {
        let shown = |host: &str, cookie: &str| {
            Page::of(&Method::GET, &headers(&[("host", host), ("cookie", cookie)])).is_some()
        };

        assert!(shown("a.test", "x=1; __Host-tollhouse=ths_x; y=2"));
        assert!(!shown("a.test", "__Host-tollhouse=ths_x; __Host-tollhouse=ths_y"));
        assert!(!shown("a.test", "tollhouse-443=ths_x"));
        assert!(!shown("localhost:1", "__Host-tollhouse=ths_x"));
        assert!(!shown("localhost:1", "tollhouse-2=ths_x"));
    }

    #[test]
    fn only_pages_of_the_same_origin_change_things() {
        let same = |pairs: &[(&'static str, &str)]| {
            is_same_origin(&headers(&[&[("host", "a.test")], pairs].concat()))
        };

        assert!(same(&[("sec-fetch-site", "same-origin")]));
        assert!(same(&[("origin", "https://a.test")]));
        for other in [
            &[("sec-fetch-site", "same-site")][..],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://a.test")],
            &[("origin", "https://b.test")],
            &[("origin", "null")],
            &[],
        ] {
            assert!(!same(other), "{other:?}");
        }
    }
}
