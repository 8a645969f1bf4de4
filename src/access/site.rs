//! The site: the URLs by which clients know this gateway and its endpoints.
//!
//! They begin with the public URL of the settings. Where none is set, they begin with what the
//! request was addressed to; that name was checked to be one of ours at the door.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::{
    access::{Settings, page::is_plain_host},
    domain::{Scope, TokenScopes},
};

/// Where it is told who gives tokens for an endpoint (RFC 9728).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// What clients call this gateway.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    public_url: Option<Arc<str>>,
    is_issuer: bool,
    /// Others whose tokens open something here.
    issuers: Arc<[String]>,
}

/// An endpoint of MCP as clients know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Its URL: the audience of the tokens that open it.
    pub(crate) url: String,
    /// Where it is told who gives them.
    metadata: String,
}

impl Resource {
    /// The endpoint at a path of this gateway, if an endpoint can be there. Whether one is, is not
    /// told to strangers.
    pub(crate) fn at(base: &str, path: &str) -> Option<Self> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"/-._~".contains(&c);
        if !path.bytes().all(is_plain) || Scope::at(path).is_none() {
            return None;
        }
        let (origin, prefix) = split(base);
        let metadata = format!("{origin}{RESOURCE_METADATA}{prefix}{path}");
        Some(Self { url: format!("{base}{path}"), metadata })
    }

    /// The endpoint with this URL.
    pub(crate) fn with_url(base: &str, url: &str) -> Option<Self> {
        Self::at(base, url.strip_prefix(base)?)
    }
}

impl Site {
    /// The site with this public URL, if it has one.
    pub(crate) fn new(public_url: Option<&str>, access: &Settings) -> Self {
        let public_url = public_url.map(|url| url.trim_end_matches('/').into());
        let issuers = access.issuers.iter().map(|one| one.issuer.clone()).collect();
        Self { public_url, is_issuer: access.oauth.enabled, issuers }
    }

    /// The URL that all others begin with, which is also the name of the issuer of tokens. It ends
    /// in no slash. None where a request was addressed to nobody, as on a unix socket.
    pub(crate) fn base(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        self.base_at(uri, headers.get(header::HOST))
    }

    /// The same for what was addressed to this URI and host.
    pub(crate) fn base_at(&self, uri: &Uri, host: Option<&HeaderValue>) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.to_string());
        }
        let named = || host.and_then(|host| host.to_str().ok());
        let host = uri.authority().map(http::uri::Authority::as_str).or_else(named)?;
        let host = host.to_ascii_lowercase();
        // Other addresses are reached through something that speaks TLS, or not at all.
        let scheme = if is_plain_host(&host) { "http" } else { "https" };
        Some(format!("{scheme}://{host}"))
    }

    /// The path that a metadata document is about, from what follows its well-known name: the path
    /// of the public URL stands before it.
    pub(crate) fn path_behind<'a>(base: &str, rest: &'a str) -> Option<&'a str> {
        rest.strip_prefix(split(base).1)
    }

    /// Whether tokens are given here.
    pub(crate) const fn is_issuer(&self) -> bool {
        self.is_issuer
    }

    /// Who gives tokens that open something here: this gateway itself first, where it does.
    pub(crate) fn issuers<'a>(&'a self, base: &'a str) -> Vec<&'a str> {
        let own = self.is_issuer.then_some(base);
        own.into_iter().chain(self.issuers.iter().map(String::as_str)).collect()
    }

    /// What whoever is turned away from an endpoint is told, so that they know where to get a token
    /// that is good for it. `said` is what is told already.
    pub(crate) fn challenge(
        &self,
        resource: &Resource,
        said: Option<&HeaderValue>,
        is_shown: bool,
    ) -> Option<HeaderValue> {
        let metadata = &resource.metadata;
        let all = TokenScopes::all();
        let text = match said.and_then(|said| said.to_str().ok()) {
            _ if !self.is_issuer && self.issuers.is_empty() => return None,
            Some(said) if said.contains("scope=") => {
                format!("{said}, resource_metadata=\"{metadata}\"")
            }
            said => {
                let said = said.unwrap_or("Bearer realm=\"tollhouse\"");
                let error = if is_shown { ", error=\"invalid_token\"" } else { "" };
                // Others may not know our scopes, and refuse who asks for them.
                let scope =
                    if self.is_issuer { format!(", scope=\"{all}\"") } else { String::new() };
                format!("{said}{error}, resource_metadata=\"{metadata}\"{scope}")
            }
        };
        HeaderValue::from_str(&text).ok()
    }
}

/// The origin of a URL, and the path behind it.
fn split(base: &str) -> (&str, &str) {
    let host = base.find("://").map_or(0, |at| at + 3);
    let end = base[host..].find('/').map_or(base.len(), |at| host + at);
    base.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(public_url: Option<&str>) -> Site {
        Site::new(public_url, &Settings::default())
    }

    fn base(site: &Site, target: &str, host: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header value"));
        site.base(&target.parse().expect("a target"), &headers)
    }

    #[test]
    fn urls_begin_with_the_public_one_or_with_what_was_asked() {
        let (local, public) = (site(None), site(Some("https://tools.example.com/")));
        let told = |host: &str| base(&local, "/mcp", host).expect("a URL");

        assert_eq!(told("LocalHost:8080"), "http://localhost:8080");
        assert_eq!(told("[::1]:8080"), "http://[::1]:8080");
        assert_eq!(told("tools.test"), "https://tools.test");
        let target = base(&local, "http://127.0.0.1:1/mcp", "evil.test");
        assert_eq!(target.as_deref(), Some("http://127.0.0.1:1"));
        let public = base(&public, "/mcp", "localhost:8080");
        assert_eq!(public.as_deref(), Some("https://tools.example.com"));
    }

    #[test]
    fn an_endpoint_has_a_url_and_a_place_that_tells_of_it() {
        let told = |base: &str, path: &str| {
            Resource::at(base, path).map(|it| format!("{} {}", it.url, it.metadata))
        };

        let well_known = "https://a.test/.well-known/oauth-protected-resource";
        for path in ["/mcp", "/mcp/team", "/servers/time/mcp"] {
            let expected = format!("https://a.test{path} {well_known}{path}");
            assert_eq!(told("https://a.test", path), Some(expected));
        }
        let below = format!("https://a.test/gate/mcp {well_known}/gate/mcp");
        assert_eq!(told("https://a.test/gate", "/mcp"), Some(below));
        assert_eq!(Site::path_behind("https://a.test/gate", "/gate/mcp"), Some("/mcp"));
        assert_eq!(Site::path_behind("https://a.test/gate", "/mcp"), None);
        for none in ["", "/", "/mcp/", "/rpc", "/mcp/a/b", "/servers/a\"b/mcp", "/servers/a%22/mcp"]
        {
            assert_eq!(told("https://a.test", none), None, "{none}");
        }
        for other in ["https://a.test.evil/mcp", "https://b.test/mcp", "https://a.testmcp", ""] {
            assert_eq!(Resource::with_url("https://a.test", other), None, "{other}");
        }
    }

    #[test]
    fn whoever_is_turned_away_is_told_where_to_get_a_token() {
        let site = site(None);
        let resource = Resource::at("https://a.test", "/mcp").expect("an endpoint");
        let told = |said: Option<&'static str>, is_shown| {
            let said = said.map(HeaderValue::from_static);
            let told = site.challenge(&resource, said.as_ref(), is_shown).expect("a challenge");
            told.to_str().expect("text").to_owned()
        };
        let metadata =
            "resource_metadata=\"https://a.test/.well-known/oauth-protected-resource/mcp\"";

        let nobody = format!("Bearer realm=\"tollhouse\", {metadata}, scope=\"mcp:read mcp:call\"");
        assert_eq!(told(None, false), nobody);
        assert!(told(None, true).contains("error=\"invalid_token\""));
        let narrow = "Bearer error=\"insufficient_scope\", scope=\"mcp:call\"";
        assert_eq!(told(Some(narrow), true), format!("{narrow}, {metadata}"));
    }
}
