//! The headers of what is sent: those of the instance, those of the conversation, those of the
//! request. None of them comes from a client.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE,
        TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    domain::{HttpUrl, Secret, ServerAuth},
    upstream::handshake::Terms,
    wire::{
        Address, Request, Revision,
        header::{METHOD, NAME, PARAM_PREFIX, PROTOCOL_VERSION, SESSION_ID, encode},
    },
};

/// Headers that frame a message. Those that MCP gives a meaning are known by their prefix.
const FRAMING: [HeaderName; 11] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a server's definition may have a header shown to it: not one that says how a message
/// is framed, or what it is.
pub(crate) fn may_be_shown(name: &HeaderName) -> bool {
    let begins = |prefix: &str| name.as_str().starts_with(prefix);
    let is_mcps_own = begins("mcp-") && !begins(PARAM_PREFIX);
    !is_mcps_own && !begins("proxy-") && !FRAMING.contains(name)
}

/// The headers that say to a server who the gateway is, where they are the same all the time.
pub(crate) fn credentials(auth: &ServerAuth) -> Option<(String, Secret)> {
    let authorization = |words: String| Some(("authorization".to_owned(), Secret::new(words)));
    match auth {
        // Tokens that end are shown by whoever has them.
        ServerAuth::None
        | ServerAuth::ClientCredentials(_)
        | ServerAuth::TokenExchange(_)
        | ServerAuth::OAuth(_) => None,
        ServerAuth::Header { name, value } => Some((name.clone(), value.clone())),
        ServerAuth::Bearer { token } => authorization(format!("Bearer {}", token.expose())),
        ServerAuth::Basic { username, password } => {
            let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
            authorization(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        }
    }
}

/// Where an instance is, and what is shown there.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Where.
    pub(crate) uri: Uri,
    /// The headers of what is sent there.
    pub(crate) heads: Heads,
}

impl Site {
    /// A URL, and what a definition shows there.
    pub(crate) fn new<'a>(
        url: &HttpUrl,
        shown: impl IntoIterator<Item = (&'a String, &'a Secret)>,
    ) -> Self {
        let uri = url.uri();
        let heads = Heads::new(&uri, shown);
        Self { uri, heads }
    }
}

/// The headers that every message to an instance bears. Most instances are called seldom, and there
/// may be many: all that speak to one share them, and they take no more than they need.
#[derive(Debug, Clone)]
pub(crate) struct Heads(Arc<HeaderMap>);

impl Heads {
    /// The headers of an instance, with what its definition shows there.
    fn new<'a>(uri: &Uri, shown: impl IntoIterator<Item = (&'a String, &'a Secret)>) -> Self {
        let mut headers = HeaderMap::new();
        let host = uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        headers.extend(host.map(|host| (HOST, host)));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, accept);
        for (name, value) in shown {
            if let Some((name, value)) = header(name, value) {
                headers.insert(name, value);
            } else {
                warn!("the header {name:?} of a server's definition cannot be sent");
            }
        }
        // What was made room for while they came together is left behind.
        Self(Arc::new(headers.clone()))
    }

    /// Adds what an instance is shown with every request that is no message. Nothing of it is a
    /// client's to say.
    pub(crate) fn show_on(&self, headers: &mut HeaderMap) {
        for (name, value) in
            self.0.iter().filter(|(name, _)| ![ACCEPT, CONTENT_TYPE].contains(*name))
        {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// The headers of every message on these terms.
    pub(crate) fn on(&self, terms: &Terms) -> HeaderMap {
        let mut headers = HeaderMap::clone(&self.0);
        let version = |revision: Revision| HeaderValue::from_static(revision.as_str());
        match terms {
            Terms::Opening => {}
            Terms::Stateless => {
                headers.insert(PROTOCOL_VERSION, version(Revision::NEWEST));
            }
            Terms::Session { revision, id } => {
                headers.insert(PROTOCOL_VERSION, version(*revision));
                headers.extend(id.clone().map(|id| (SESSION_ID, id)));
            }
        }
        headers
    }
}

fn header(name: &str, value: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let name: HeaderName = name.parse().ok()?;
    if !may_be_shown(&name) {
        return None;
    }
    let mut value = HeaderValue::from_str(value.expose()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// Adds what routes a request of the stateless revision: its method, the server's own name of the
/// item it is about, and the arguments that the item's definition wants to see there.
pub(super) fn add_routing(headers: &mut HeaderMap, request: &Request, address: Address<'_>) {
    headers.insert(METHOD, encode(request.method().as_str()));
    if request.method().has_name_header()
        && let Some(name) = address.subject.or(request.subject())
    {
        headers.insert(NAME, encode(name));
    }
    for (name, value) in address.params {
        // Some come from a client; what the instance's definition shows there stays.
        headers.entry(name).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::wire::Method;

    fn heads(shown: &[(&str, &str)]) -> Heads {
        let shown: BTreeMap<String, Secret> =
            shown.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        Heads::new(&Uri::from_static("http://example.com:81/mcp"), &shown)
    }

    #[test]
    fn a_definition_adds_headers_but_frames_no_messages() {
        let shown = [
            ("Authorization", "Bearer x"),
            ("content-length", "7"),
            ("Host", "other"),
            ("a b", "c"),
            ("x-split", "a\r\nb: c"),
        ];

        let headers = heads(&shown).on(&Terms::Stateless);

        assert_eq!(headers["authorization"], "Bearer x");
        assert_eq!(headers["host"], "example.com:81");
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn who_the_gateway_is_is_said_as_http_says_it() {
        let said = |auth| credentials(&auth).map(|(name, it)| (name, it.expose().to_owned()));
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));

        assert_eq!(said(ServerAuth::None), None);
        let token = Secret::new("a.b");
        assert_eq!(said(ServerAuth::Bearer { token }), pair("authorization", "Bearer a.b"));
        let (username, password) = ("Aladdin".to_owned(), Secret::new("open sesame"));
        let basic = pair("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(said(ServerAuth::Basic { username, password }), basic);
        let header = ServerAuth::Header { name: "X-Key".to_owned(), value: Secret::new("k") };
        assert_eq!(said(header), pair("X-Key", "k"));
    }

    #[test]
    fn what_a_definition_shows_is_not_a_clients_to_change() {
        let request = Request::make(&Method::ToolsCall, r#"{"name":"now"}"#);
        let mut headers = heads(&[("Mcp-Param-Tenant", "ours")]).on(&Terms::Stateless);

        let tenant = (HeaderName::from_static("mcp-param-tenant"), encode("theirs"));
        add_routing(&mut headers, &request, Address { subject: None, params: &[tenant] });

        assert_eq!(headers["mcp-param-tenant"], "ours");
    }

    #[test]
    fn nothing_shown_is_printed() {
        let printed = format!("{:?}", heads(&[("Authorization", "hunter2")]));

        assert!(!printed.contains("hunter2"));
    }

    #[test]
    fn routing_names_the_item_as_its_server_does() {
        let request = Request::make(&Method::ToolsCall, r#"{"name":"time__now"}"#);
        let mut headers = HeaderMap::new();

        let region = (HeaderName::from_static("mcp-param-region"), encode("eu"));
        let address = Address { subject: Some("näw"), params: &[region] };
        add_routing(&mut headers, &request, address);

        assert_eq!(headers["mcp-method"], "tools/call");
        assert_eq!(headers["mcp-name"], "=?base64?bsOkdw==?=");
    }
}
