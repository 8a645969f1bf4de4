//! Clients: who they say they are, and where their people may be sent back to.
//!
//! Nobody proves to be a client: what counts is where the answer goes. A client that registers
//! gets an id in which its registration stands, under a code that only this house can make; so
//! nothing is kept of it, and no crowd of registrations can fill anything. A client that is known
//! by a URL is described by the document there.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    access::{
        Access,
        oauth::{Error, Settings},
    },
    domain::{Timestamp, is_hidden},
};

const PREFIX: &str = "thc_";
/// Bytes of the code in an id.
const MARK: usize = 16;
/// The longest name, in characters.
const NAME_LENGTH: usize = 100;
/// The longest address, or URL of a document, in bytes.
const URL_LENGTH: usize = 1_000;
/// Schemes that name no program which a person installed.
const NO_PROGRAM: [&str; 12] = [
    "about",
    "blob",
    "data",
    "file",
    "filesystem",
    "ftp",
    "javascript",
    "mailto",
    "tel",
    "vbscript",
    "ws",
    "wss",
];

/// A program that wants to act for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) id: String,
    /// What it calls itself, without what cannot be seen.
    pub(crate) name: String,
    redirects: Vec<String>,
    /// Whether it is described by a document at its id, so that at least a site vouches for it.
    pub(crate) is_vouched: bool,
}

/// What a client says of itself: when it registers, or in its document. What else it says means
/// nothing here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Registration {
    #[serde(default)]
    client_id: Option<String>,
    redirect_uris: Vec<String>,
    #[serde(default)]
    client_name: Option<String>,
    #[serde(default)]
    grant_types: Option<Vec<String>>,
    #[serde(default)]
    response_types: Option<Vec<String>>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
}

/// What stands in the id of a client that registered.
#[derive(Debug, Serialize, Deserialize)]
struct Registered {
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "r")]
    redirects: Vec<String>,
    /// When it did, in seconds since 1970.
    #[serde(rename = "t")]
    at: i64,
}

impl Registration {
    /// Reads JSON.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(body).map_err(|_| {
            Error::Metadata("a client is described by a JSON object with redirect_uris at least")
        })
    }

    /// The addresses that it says.
    pub(crate) fn redirects(&self) -> &[String] {
        &self.redirect_uris
    }

    /// The name and the addresses, once all is as it must be.
    fn checked(self, settings: &Settings) -> Result<(String, Vec<String>), Error> {
        let lacks = |said: &Option<Vec<String>>, word: &str| {
            said.as_ref().is_some_and(|said| !said.iter().any(|it| it == word))
        };
        if lacks(&self.grant_types, "authorization_code") || lacks(&self.response_types, "code") {
            return Err(Error::Metadata("there are only authorization codes here"));
        }
        if self.redirect_uris.is_empty() || self.redirect_uris.len() > settings.max_redirects {
            return Err(Error::BadRedirect("there are no redirect_uris, or too many"));
        }
        for redirect in &self.redirect_uris {
            check_redirect(redirect)?;
        }
        Ok((seen(self.client_name.as_deref().unwrap_or_default()), self.redirect_uris))
    }
}

impl Client {
    /// The address of the client that is meant by `text`: the same, letter by letter. On this
    /// machine the port may be another, because programs listen where they can (RFC 8252).
    pub(super) fn redirects_to(&self, text: &str) -> bool {
        let port_aside = loopback(text);
        self.redirects
            .iter()
            .any(|known| known == text || (port_aside.is_some() && loopback(known) == port_aside))
            && check_redirect(text).is_ok()
    }

    /// Whether the document at `url` describes the client that has this URL for an id.
    pub(super) fn described(
        url: &str,
        document: &[u8],
        settings: &Settings,
    ) -> Result<Self, Error> {
        let said = Registration::parse(document)?;
        if said.client_id.as_deref() != Some(url) {
            return Err(Error::Metadata("the document of the client is another client's"));
        }
        if said.token_endpoint_auth_method.as_deref().is_some_and(|method| method != "none") {
            return Err(Error::Metadata("the client wants to prove itself, which it cannot here"));
        }
        let (name, redirects) = said.checked(settings)?;
        Ok(Self { id: url.to_owned(), name, redirects, is_vouched: true })
    }
}

/// Whether the answer at this address goes to a program on the person's own machine, which
/// anybody there can be.
pub(super) fn is_local(redirect: &str) -> bool {
    !redirect.starts_with("https://")
}

/// Host and rest of an address on this machine, without its port.
fn loopback(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let host = ["127.0.0.1", "[::1]", "localhost"].into_iter().find(|it| rest.starts_with(it))?;
    let (host, rest) = rest.split_at(host.len());
    let behind = rest.strip_prefix(':').map_or(rest, |rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        &rest[digits..]
    });
    (behind.is_empty() || behind.starts_with('/') || behind.starts_with('?'))
        .then_some((host, behind))
}

/// Whether people may be sent to this address with a code.
fn check_redirect(text: &str) -> Result<(), Error> {
    if text.len() > URL_LENGTH || !text.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(Error::BadRedirect("a redirect_uri is too long, or is not plain text"));
    }
    let url = url::Url::parse(text)
        .map_err(|_| Error::BadRedirect("a redirect_uri is no URL with a scheme"))?;
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(Error::BadRedirect("a redirect_uri has a fragment, or a name in it"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback(text).is_some() => Ok(()),
        "http" => Err(Error::BadRedirect("a redirect_uri would carry a code unencrypted")),
        scheme if NO_PROGRAM.contains(&scheme) => {
            Err(Error::BadRedirect("a redirect_uri has a scheme that leads to no program"))
        }
        _ => Ok(()),
    }
}

/// Whether a client's id is the URL of a document: https, with a path, and nothing that two
/// readers could read differently.
fn is_document(id: &str) -> bool {
    let Ok(url) = url::Url::parse(id) else { return false };
    id.len() <= URL_LENGTH
        && url.as_str() == id
        && url.scheme() == "https"
        && url.path() != "/"
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// What a person sees of a name.
fn seen(name: &str) -> String {
    let name = name.trim().chars().filter(|c| !is_hidden(*c)).take(NAME_LENGTH);
    name.collect()
}

impl Access {
    /// Registers a client.
    pub(crate) fn register_client(&self, said: Registration) -> Result<(Client, Timestamp), Error> {
        let settings = &self.0.settings.oauth;
        let now = self.0.clock.now();
        let (name, redirects) = said.checked(settings)?;
        let registered = Registered { name, redirects, at: now.as_ms().div_euclid(1_000) };
        let text = serde_json::to_vec(&registered).expect("a registration is plain data");
        let stem = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(text));
        let id = format!("{stem}.{}", self.client_mark(&stem));
        if id.len() > settings.client_id_bytes {
            return Err(Error::Metadata("there is too much to remember of the client"));
        }
        let Registered { name, redirects, .. } = registered;
        Ok((Client { id, name, redirects, is_vouched: false }, now))
    }

    /// A client that registered, or whose document was read a while ago; none where its document
    /// is to be read.
    pub(super) fn known_client(&self, id: &str) -> Result<Option<Client>, Error> {
        let settings = &self.0.settings.oauth;
        let unknown = Error::Client("nobody knows a client with this client_id");
        if settings.documents.enabled && is_document(id) {
            let documents = self.0.counter.documents.lock();
            let now = self.0.clock.now();
            let found = documents.get(id).filter(|(_, until)| *until > now);
            return Ok(found.map(|(client, _)| Client::clone(client)));
        }
        let read = || {
            let (stem, mark) = id.rsplit_once('.')?;
            let is_ours: bool = self.client_mark(stem).as_bytes().ct_eq(mark.as_bytes()).into();
            let text = stem.strip_prefix(PREFIX).filter(|_| is_ours)?;
            serde_json::from_slice::<Registered>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
        };
        let registered = read().filter(|_| settings.registration).ok_or(unknown)?;
        let Registered { name, redirects, .. } = registered;
        Ok(Some(Client { id: id.to_owned(), name, redirects, is_vouched: false }))
    }

    /// Remembers the client that a document describes.
    pub(super) fn remember_client(&self, url: &str, document: &[u8]) -> Result<Client, Error> {
        let settings = &self.0.settings.oauth;
        let client = Client::described(url, document, settings)?;
        let now = self.0.clock.now();
        let until = now.after(std::time::Duration::from_secs(settings.documents.seconds.into()));
        let mut documents = self.0.counter.documents.lock();
        documents.retain(|_, (_, until)| *until > now);
        if documents.len() >= settings.documents.max_remembered {
            let first = documents.iter().min_by_key(|(_, it)| it.1).map(|(url, _)| url.clone());
            first.map(|url| documents.remove(&url));
        }
        documents.insert(url.to_owned(), (std::sync::Arc::new(client.clone()), until));
        Ok(client)
    }

    fn client_mark(&self, stem: &str) -> String {
        let digest = self.0.ring.digest(&format!("oauth client {stem}"));
        URL_SAFE_NO_PAD.encode(&digest[..MARK])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(redirects: &[&str]) -> Client {
        let redirects = redirects.iter().map(|it| (*it).to_owned()).collect();
        Client { id: "c".into(), name: String::new(), redirects, is_vouched: false }
    }

    #[test]
    fn an_address_is_the_same_letter_by_letter_but_for_ports_of_this_machine() {
        let client = client(&["https://app.test/cb", "http://127.0.0.1:1/cb", "cursor://x/cb"]);

        for good in [
            "https://app.test/cb",
            "http://127.0.0.1:1/cb",
            "http://127.0.0.1:65000/cb",
            "http://127.0.0.1/cb",
            "cursor://x/cb",
        ] {
            assert!(client.redirects_to(good), "{good}");
        }
        for bad in [
            "https://app.test/cb/",
            "https://app.test/cb?x=1",
            "https://app.test:443/cb",
            "https://app.test:8443/cb",
            "https://APP.test/cb",
            "https://app.test.evil/cb",
            "https://app.test/CB",
            "http://app.test/cb",
            "http://localhost:1/cb",
            "http://127.0.0.1:1/cb2",
            "http://127.0.0.1:1@evil.test/cb",
            "http://127.0.0.1.evil.test/cb",
            "http://127.0.0.1:1.evil.test/cb",
            "http://127.0.0.1:99999/cb",
            "cursor://x/cb?x",
            "",
        ] {
            assert!(!client.redirects_to(bad), "{bad}");
        }
    }

    #[test]
    fn nobody_is_sent_where_a_code_is_not_safe() {
        for bad in [
            "http://app.test/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "JavaScript://x/%0aalert(1)",
            "https://a@app.test/cb",
            "https://app.test/cb#x",
            "https://app.test/c b",
            "https://app.test/cb\r\nSet-Cookie: x",
            "https://app.test/\u{430}",
            "/cb",
            "app.test",
            "http://localhost.evil.test/cb",
        ] {
            assert!(check_redirect(bad).is_err(), "{bad}");
        }
        for good in ["http://localhost/cb", "http://[::1]:5/cb", "com.example.app:/cb"] {
            assert!(check_redirect(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_document_is_one_clients_and_at_a_plain_url() {
        for good in ["https://app.test/client.json", "https://app.test:8443/a/b?v=1"] {
            assert!(is_document(good), "{good}");
        }
        for bad in [
            "http://app.test/client.json",
            "https://app.test/",
            "https://app.test",
            "https://app.test/x#y",
            "https://a@app.test/x",
            "https://app.test/a/../x",
            "https://APP.test/x",
            "https://app.test:443/x",
            "thc_x",
        ] {
            assert!(!is_document(bad), "{bad}");
        }

        let url = "https://app.test/c";
        let told = |members: &str| {
            let text = format!(r#"{{"redirect_uris":["https://app.test/cb"]{members}}}"#);
            Client::described(url, text.as_bytes(), &Settings::default()).is_ok()
        };
        assert!(told(r#","client_id":"https://app.test/c","client_name":"App","logo_uri":"x""#));
        assert!(!told("") && !told(r#","client_id":"https://app.test/d""#));
        let secret =
            r#","client_id":"https://app.test/c","token_endpoint_auth_method":"private_key_jwt""#;
        assert!(!told(secret));
    }

    #[test]
    fn a_name_shows_what_a_person_sees() {
        assert_eq!(seen(" Good\u{202E}\u{200B}App\n "), "GoodApp");
        assert_eq!(seen(&"x".repeat(500)).len(), NAME_LENGTH);
    }
}
