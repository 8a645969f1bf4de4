//! Who gives tokens for a server: told by the server, and by whoever it names (RFC 9728, RFC 8414,
//! `OpenID` Connect Discovery).
//!
//! All of it comes from strangers. A document is believed about nobody but the one it was asked of:
//! that of a server only about that server, that of an issuer only about that issuer.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization>

use std::time::Duration;

use http::{HeaderMap, header::WWW_AUTHENTICATE};
use serde::Deserialize;
use url::Url;

use super::Failure;
use crate::{
    domain::{Grantor, HttpUrl, is_public},
    upstream::{
        Settings,
        document::{Document, fetch, knock},
    },
};

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
/// The longest document, in bytes.
const BYTES: usize = 64 * 1_024;
/// The longest text of scopes that is taken over.
const SCOPE_BYTES: usize = 2_048;

/// Who gives tokens, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that issuers say or not")]
pub(crate) struct Issuer {
    /// What is to be remembered of it with a token.
    pub(crate) grantor: Grantor,
    /// Where people are sent, if they are.
    pub(crate) authorization_endpoint: Option<String>,
    /// Where clients register by themselves.
    pub(crate) registration_endpoint: Option<String>,
    /// Whether a client may be known by a document at its id.
    pub(crate) takes_documents: bool,
    /// Whether it says who it is where it sends people back (RFC 9207).
    pub(crate) names_itself: bool,
    /// Whether it wants no secret of clients that register.
    pub(crate) wants_no_secret: bool,
    /// Whether a scope of its own says that more tokens are wanted later.
    pub(crate) offers_offline: bool,
}

/// What was found out about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// Who gives tokens for it.
    pub(crate) issuer: Issuer,
    /// What tokens are asked for it as (RFC 8707).
    pub(crate) resource: String,
    /// The scopes to ask for, where it says which.
    pub(crate) scope: Option<String>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "resource")]
    name: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    #[serde(default)]
    authorization_endpoint: Option<String>,
    token_endpoint: String,
    #[serde(default)]
    registration_endpoint: Option<String>,
    #[serde(default)]
    revocation_endpoint: Option<String>,
    #[serde(default)]
    client_id_metadata_document_supported: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
}

/// Where a client that is turned away is told to look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    metadata: Option<String>,
    scope: Option<String>,
}

/// How documents are read on the way.
struct Reader<'a> {
    settings: &'a Settings,
    may_be_private: bool,
}

/// Finds out who gives tokens for a server.
pub(crate) async fn discover(url: &HttpUrl, settings: &Settings) -> Result<Discovered, Failure> {
    let text = url.uri().to_string();
    let server = Url::parse(&text).map_err(|_| Failure::Discovery("its URL is none"))?;
    let reader = Reader { settings, may_be_private: is_private(&server) };
    let challenge = knock(&text, settings).await.map(|headers| challenge(&headers));
    let challenge = challenge.unwrap_or_default();
    let Some(resource) = reader.resource(&server, &challenge).await? else {
        // Before 2025-06-18 whoever serves gave tokens too, at paths that everybody knows.
        let origin = server.origin().ascii_serialization();
        let issuer = match reader.issuer(&origin).await {
            Err(Failure::Unread) => Issuer::of_old(&origin, reader.may_be_private),
            found => found?,
        };
        return Ok(Discovered { issuer, resource: text, scope: challenge.scope });
    };
    let issuer = resource.authorization_servers.first();
    let issuer = issuer.ok_or(Failure::Discovery("it names nobody who gives tokens"))?;
    let issuer = reader.issuer(issuer).await?;
    let supported = || resource.scopes_supported.map(|scopes| scopes.join(" "));
    let scope = challenge.scope.or_else(supported);
    let scope = scope.filter(|scope| !scope.is_empty() && scope.len() <= SCOPE_BYTES);
    Ok(Discovered { issuer, resource: resource.name, scope })
}

impl Reader<'_> {
    /// What a server says of itself; none where it says nothing at all.
    async fn resource(
        &self,
        server: &Url,
        challenge: &Challenge,
    ) -> Result<Option<Resource>, Failure> {
        let origin = server.origin().ascii_serialization();
        let path = server.path().trim_end_matches('/');
        let places = match &challenge.metadata {
            Some(place) => vec![place.clone()],
            None => vec![format!("{origin}{RESOURCE}{path}"), format!("{origin}{RESOURCE}")],
        };
        for place in places {
            let Some(document) = self.read(&place).await else { continue };
            let said: Resource = serde_json::from_slice(&document)
                .map_err(|_| Failure::Discovery("what it says of itself cannot be read"))?;
            if !is_about(&said.name, server) {
                return Err(Failure::Discovery("it says that it is another server"));
            }
            return Ok(Some(said));
        }
        match challenge.metadata {
            Some(_) => Err(Failure::Discovery("what it says of itself is not where it says")),
            None => Ok(None),
        }
    }

    /// What an issuer says of itself.
    async fn issuer(&self, name: &str) -> Result<Issuer, Failure> {
        let url = Url::parse(name).map_err(|_| Failure::Discovery("its issuer has no URL"))?;
        let origin = url.origin().ascii_serialization();
        let path = url.path().trim_end_matches('/');
        let mut places = vec![format!("{origin}{SERVER}{path}"), format!("{origin}{OPENID}{path}")];
        if !path.is_empty() {
            places.push(format!("{origin}{path}{OPENID}"));
        }
        for place in places {
            let Some(document) = self.read(&place).await else { continue };
            let said: Metadata = serde_json::from_slice(&document)
                .map_err(|_| Failure::Discovery("what its issuer says of itself cannot be read"))?;
            if said.issuer != name {
                return Err(Failure::Discovery("its issuer says that it is another"));
            }
            return self.checked(said);
        }
        Err(Failure::Unread)
    }

    fn checked(&self, said: Metadata) -> Result<Issuer, Failure> {
        let is_safe = |url: &String| is_safe(url, self.may_be_private);
        let endpoints = [
            Some(&said.token_endpoint),
            said.authorization_endpoint.as_ref(),
            said.registration_endpoint.as_ref(),
            said.revocation_endpoint.as_ref(),
        ];
        if !endpoints.into_iter().flatten().all(is_safe) {
            return Err(Failure::Discovery("its issuer names an address that is not asked"));
        }
        let has_s256 = |methods: &Vec<String>| methods.iter().any(|method| method == "S256");
        // MCP: without it, nobody knows whether a code can be stolen.
        if said.authorization_endpoint.is_some()
            && !said.code_challenge_methods_supported.as_ref().is_none_or(has_s256)
        {
            return Err(Failure::Discovery("its issuer does not know PKCE with S256"));
        }
        let methods = said.token_endpoint_auth_methods_supported.unwrap_or_default();
        let takes = |name: &str| methods.iter().any(|method| method == name);
        Ok(Issuer {
            grantor: Grantor {
                name: said.issuer,
                token_endpoint: said.token_endpoint,
                revocation_endpoint: said.revocation_endpoint,
                wants_secret_in_form: takes("client_secret_post") && !takes("client_secret_basic"),
                may_be_private: self.may_be_private,
            },
            authorization_endpoint: said.authorization_endpoint,
            registration_endpoint: said.registration_endpoint,
            takes_documents: said.client_id_metadata_document_supported,
            names_itself: said.authorization_response_iss_parameter_supported,
            wants_no_secret: takes("none"),
            offers_offline: said.scopes_supported.iter().any(|scope| scope == "offline_access"),
        })
    }

    async fn read(&self, url: &str) -> Option<bytes::Bytes> {
        let document = Document {
            url,
            bytes: BYTES,
            within: Duration::from_millis(self.settings.oauth_ms),
            may_be_private: self.may_be_private,
        };
        let read = fetch(document, self.settings).await;
        read.inspect_err(|error| tracing::debug!(url, %error, "a document is not to be had")).ok()
    }
}

impl Issuer {
    /// How a client that registers proves itself, in the words of RFC 7591.
    pub(crate) const fn method(&self) -> &'static str {
        match (self.wants_no_secret, self.grantor.wants_secret_in_form) {
            (true, _) => "none",
            (_, true) => "client_secret_post",
            _ => "client_secret_basic",
        }
    }

    /// One that says nothing of itself.
    fn of_old(origin: &str, may_be_private: bool) -> Self {
        Self {
            grantor: Grantor {
                name: origin.to_owned(),
                token_endpoint: format!("{origin}/token"),
                revocation_endpoint: None,
                wants_secret_in_form: false,
                may_be_private,
            },
            authorization_endpoint: Some(format!("{origin}/authorize")),
            registration_endpoint: Some(format!("{origin}/register")),
            takes_documents: false,
            names_itself: false,
            wants_no_secret: true,
            offers_offline: false,
        }
    }
}

/// Whether a server is at an address that not everybody can reach, as far as its URL says.
fn is_private(server: &Url) -> bool {
    match server.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => !is_public(&address.into()),
        Some(url::Host::Ipv6(address)) => !is_public(&address.into()),
        None => false,
    }
}

/// The same of any URL.
pub(super) fn is_private_url(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| is_private(&url))
}

/// Whether an endpoint that a stranger named is asked, or shown to people.
fn is_safe(url: &str, may_be_private: bool) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    is_plain
        && match url.scheme() {
            "https" => true,
            "http" => may_be_private && is_here,
            _ => false,
        }
}

/// Whether a document that says it is about `resource` is about this server: the same origin, and a
/// path that leads there.
fn is_about(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let (above, path) = (resource.path().trim_end_matches('/'), server.path());
    let is_above =
        path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resource.origin() == server.origin()
        && is_above
        && resource.query().is_none_or(|query| Some(query) == server.query())
}

/// What the challenges say of bearer tokens (RFC 9110, 11.6.1).
fn challenge(headers: &HeaderMap) -> Challenge {
    let mut challenge = Challenge::default();
    for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
        challenge.metadata = challenge.metadata.or_else(|| parameter(value, "resource_metadata"));
        challenge.scope = challenge.scope.or_else(|| parameter(value, "scope"));
    }
    challenge
}

/// The scopes that a token must be good for, where a server refuses one that is not (RFC 6750).
pub(crate) fn is_short_of(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|it| it.to_str().ok());
    let is_short =
        |value: &&str| parameter(value, "error").as_deref() == Some("insufficient_scope");
    let scope = parameter(values.find(is_short)?, "scope")?;
    Some(scope).filter(|scope| !scope.is_empty() && scope.len() <= SCOPE_BYTES)
}

/// One parameter of a challenge, quoted or not.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        rest = after;
        let begins = before.is_empty() || before.ends_with([' ', ',', '\t']);
        let Some(value) = after.trim_start().strip_prefix('=').filter(|_| begins) else { continue };
        let value = value.trim_start();
        return Some(match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
            None => value.split([',', ' ']).next().unwrap_or_default().to_owned(),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_challenge_says_where_to_look_and_what_to_ask_for() {
        let told = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, text.parse().expect("a header"));
            challenge(&headers)
        };
        let both =
            Challenge { metadata: Some("https://a.test/m".into()), scope: Some("a b".into()) };

        let quoted = r#"Bearer realm="x", resource_metadata="https://a.test/m", scope="a b""#;
        assert_eq!(told(quoted), both);
        assert_eq!(told("Bearer").metadata, None);
        assert_eq!(told(r#"Bearer error_scope="x""#).scope, None);
        assert_eq!(told("Bearer scope=a, realm=b").scope.as_deref(), Some("a"));

        let short = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, text.parse().expect("a header"));
            is_short_of(&headers)
        };
        let told = r#"Bearer error="insufficient_scope", scope="a b""#;
        assert_eq!(short(told).as_deref(), Some("a b"));
        assert_eq!(short(r#"Bearer error="invalid_token", scope="a b""#), None);
    }

    #[test]
    fn a_document_is_believed_about_the_server_it_was_asked_of() {
        let server = Url::parse("https://a.test/v1/mcp").expect("a URL");

        for good in
            ["https://a.test/v1/mcp", "https://a.test/v1", "https://a.test", "https://a.test/"]
        {
            assert!(is_about(good, &server), "{good}");
        }
        for bad in [
            "https://b.test/v1/mcp",
            "http://a.test/v1/mcp",
            "https://a.test/v1/mcp/more",
            "https://a.test/v",
            "https://a.test:8443/v1/mcp",
            "a.test",
        ] {
            assert!(!is_about(bad, &server), "{bad}");
        }
    }

    #[test]
    fn endpoints_of_strangers_are_public_and_encrypted() {
        for url in ["https://a.test/token", "https://a.test:8443/token?tenant=1"] {
            assert!(is_safe(url, false), "{url}");
        }
        for url in [
            "http://a.test/token",
            "http://127.0.0.1/token",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://u:p@a.test/token",
            "/token",
        ] {
            assert!(!is_safe(url, false), "{url}");
        }
        assert!(is_safe("http://127.0.0.1:9/token", true) && !is_safe("http://a.test/", true));
        let private = |url: &str| is_private(&Url::parse(url).expect("a URL"));
        assert!(private("http://10.0.0.7/mcp") && private("http://localhost:3/mcp"));
        assert!(!private("https://a.test/mcp") && !private("https://93.184.215.14/mcp"));
    }

    #[test]
    fn what_an_issuer_says_of_itself_is_looked_at() {
        let settings = Settings::default();
        let reader = Reader { settings: &settings, may_be_private: false };
        let told = |more: Value| {
            let mut all = json!({
                "issuer": "https://a.test", "token_endpoint": "https://a.test/token",
                "authorization_endpoint": "https://a.test/authorize",
                "code_challenge_methods_supported": ["S256"],
            });
            let more = more.as_object().cloned().expect("an object");
            all.as_object_mut().expect("an object").extend(more);
            reader.checked(serde_json::from_value(all).expect("metadata"))
        };

        assert!(told(json!({})).is_ok());
        assert!(told(json!({"code_challenge_methods_supported": ["plain"]})).is_err());
        assert!(told(json!({"token_endpoint": "http://127.0.0.1/token"})).is_err());
        assert!(told(json!({"authorization_endpoint": "javascript:alert(1)"})).is_err());
        let post = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
        assert!(told(post).is_ok_and(|issuer| issuer.grantor.wants_secret_in_form));
    }
}
