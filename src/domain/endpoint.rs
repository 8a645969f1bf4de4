//! Endpoints: how an instance of a server is reached.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{EndpointTls, Secret, ServerAuth, exposed_map};

/// How an instance is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// At a URL.
    Http {
        /// Where.
        url: HttpUrl,
        /// What is shown there with every request.
        #[serde(with = "exposed_map", default)]
        headers: BTreeMap<String, Secret>,
        /// How messages travel there.
        #[serde(default)]
        transport: Transport,
        /// How the gateway says there who it is.
        #[serde(default)]
        auth: ServerAuth,
        /// What is shown there in the TLS handshake.
        #[serde(default)]
        tls: EndpointTls,
    },
    /// As a child process that speaks MCP on its standard input and output.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// What is added to its cleared environment.
        #[serde(with = "exposed_map", default)]
        env: BTreeMap<String, Secret>,
        /// Where it starts; none is the gateway's data folder.
        #[serde(default)]
        cwd: Option<PathBuf>,
    },
}

impl Endpoint {
    /// Whether it is a program that is started for it.
    #[must_use]
    pub const fn is_program(&self) -> bool {
        matches!(self, Self::Stdio { .. })
    }

    /// Whether no MCP is spoken there, but plain HTTP.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Http { transport: Transport::Plain, .. })
    }

    /// The transport's name, as in requests and lists: as it was declared, not as it was found.
    #[must_use]
    pub const fn transport(&self) -> &'static str {
        match self {
            Self::Http { transport, .. } => transport.as_str(),
            Self::Stdio { .. } => "stdio",
        }
    }

    /// Where it is, without secrets: the URL, or the command line.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Http { url, .. } => url.to_string(),
            Self::Stdio { command, args, .. } => {
                let mut words = vec![command.clone()];
                words.extend(args.iter().cloned());
                words.join(" ")
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport(), self.location())
    }
}

/// How messages travel to a URL and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Whichever of those over HTTP is found there.
    #[default]
    Auto,
    /// One POST a message.
    StreamableHttp,
    /// One event stream for all answers, and a POST for each question: HTTP+SSE of 2024-11-05.
    Sse,
    /// One WebSocket.
    Websocket,
    /// None of MCP: requests of HTTP, which come by a route.
    Plain,
}

impl Transport {
    /// Its name, as in requests and lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::StreamableHttp => "streamable_http",
            Self::Sse => "sse",
            Self::Websocket => "websocket",
            Self::Plain => "plain",
        }
    }
}

/// Text that is no address of an MCP endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Not a URL at all.
    #[error("it is not an absolute URL such as http://127.0.0.1:3000/mcp")]
    Form,
    /// Another scheme.
    #[error("its scheme is {0:?}; only http, https, ws and wss are spoken")]
    Scheme(String),
    /// A user name or password in it.
    #[error("it carries a user name or password; give credentials as a header instead")]
    UserInfo,
    /// An address nobody serves MCP on, or one that must not be asked.
    #[error("{0} is an address the gateway never asks")]
    Address(IpAddr),
    /// Too long.
    #[error("it is longer than {} bytes", HttpUrl::LIMIT)]
    Length,
}

/// The address of an MCP endpoint: `http` or `https`, or `ws` or `wss` for a WebSocket, without
/// credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(Box<str>);

impl HttpUrl {
    /// The longest URL, in bytes.
    pub const LIMIT: usize = 2_048;

    /// The address, for an HTTP client to dial: a WebSocket begins as a request over HTTP.
    #[must_use]
    pub fn uri(&self) -> http::Uri {
        let dialled = match self.0.strip_prefix("ws") {
            Some(rest) if self.is_websocket() => format!("http{rest}").parse(),
            _ => self.0.parse(),
        };
        dialled.expect("it was one when it was read")
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https:") || self.0.starts_with("wss:")
    }

    /// Whether it is the address of a WebSocket.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.0.starts_with("ws:") || self.0.starts_with("wss:")
    }
}

impl FromStr for HttpUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > Self::LIMIT {
            return Err(InvalidUrl::Length);
        }
        // Numbers written in other bases, stray backslashes and the like come out plain here.
        let url = url::Url::parse(text).map_err(|_| InvalidUrl::Form)?;
        if !["http", "https", "ws", "wss"].contains(&url.scheme()) {
            return Err(InvalidUrl::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl::UserInfo);
        }
        let address = match url.host().ok_or(InvalidUrl::Form)? {
            url::Host::Ipv4(address) => Some(address.into()),
            url::Host::Ipv6(address) => Some(address.into()),
            url::Host::Domain(_) => None,
        };
        if let Some(address) = address.filter(is_never_asked) {
            return Err(InvalidUrl::Address(address));
        }
        let mut url = url;
        url.set_fragment(None);
        // Whoever dials it reads it again, once.
        url.as_str().parse::<http::Uri>().map_err(|_| InvalidUrl::Form)?;
        Ok(Self(url.as_str().into()))
    }
}

/// Whether the gateway never dials an address. Link-local addresses hold the metadata services of
/// clouds, and two of these have addresses of their own; the others name no single machine.
#[must_use]
pub fn is_never_asked(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4 == METADATA_V4
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6 == METADATA_V6
                || embedded(v6).is_some_and(|v4| is_never_asked(&v4.into()))
        }
    }
}

/// Whether an address is one that everybody can reach: of no private network, no machine alone, and
/// of none that the address registries keep for something else.
#[must_use]
pub fn is_public(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, third, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || first == 0
                || first >= 224
                || (first == 100 && second & 0xC0 == 64)
                || (first, second, third) == (192, 0, 0)
                || (first == 198 && second & 0xFE == 18))
        }
        // What is given out for the whole net begins so; the rest, and what leads into the older
        // family, leads elsewhere.
        IpAddr::V6(v6) => {
            let first = v6.segments();
            first[0] & 0xE000 == 0x2000
                && first[..2] != [0x2001, 0]
                && first[..2] != [0x2001, 0xDB8]
                && embedded(v6).is_none()
        }
    }
}

/// Where Alibaba's metadata service is.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// Where Amazon's is, besides its link-local address.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The address of the older family that a translator or tunnel makes of this one: NAT64, 6to4 and
/// the compatible addresses of old. Those of one machine alone, such as `::1`, are none.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    let four = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => Some(four(12)),
        [0x2002, ..] => Some(four(2)),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(four(12)),
        _ => None,
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = InvalidUrl;

    fn try_from(text: String) -> Result<Self, InvalidUrl> {
        text.parse()
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_of_mcp_endpoints() {
        for good in ["http://127.0.0.1:3000/mcp", "https://example.com/mcp?x=1", "http://[::1]/"] {
            let url = good.parse::<HttpUrl>().expect(good);
            assert_eq!((url.uri().to_string().as_str(), url.is_websocket()), (good, false));
        }
    }

    #[test]
    fn a_websocket_is_dialled_over_http() {
        for (text, dialled) in [
            ("ws://127.0.0.1:3000/ws", "http://127.0.0.1:3000/ws"),
            ("wss://example.com/ws?x=1", "https://example.com/ws?x=1"),
        ] {
            let url = text.parse::<HttpUrl>().expect(text);
            assert_eq!((url.uri().to_string().as_str(), url.is_websocket()), (dialled, true));
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn an_endpoint_stored_without_a_transport_is_probed() {
        let stored = serde_json::json!({"Http": {"url": "http://127.0.0.1/mcp", "headers": {}}});

        let endpoint: Endpoint = serde_json::from_value(stored).expect("an endpoint");

        assert_eq!(endpoint.transport(), "auto");
    }

    #[test]
    fn refuses_what_must_not_be_asked() {
        let refused = |text: &str| text.parse::<HttpUrl>().expect_err(text);

        assert_eq!(refused("nonsense"), InvalidUrl::Form);
        assert_eq!(refused("file:///etc/passwd"), InvalidUrl::Scheme("file".into()));
        assert_eq!(refused("http://a:b@example.com/"), InvalidUrl::UserInfo);
        for never in [
            "http://169.254.169.254/",
            "http://0xa9fea9fe/",
            "http://[fe80::1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[64:ff9b:1::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[::a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://100.100.100.200/",
            "ws://169.254.169.254/",
        ] {
            assert!(matches!(refused(never), InvalidUrl::Address(_)), "{never}");
        }
    }

    #[test]
    fn an_address_is_public_or_only_for_some() {
        let is_public = |text: &str| is_public(&text.parse().expect("an address"));

        for public in ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(public), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "64:ff9b::7f00:1",
            "::ffff:127.0.0.1",
            "ff02::1",
        ] {
            assert!(!is_public(other), "{other}");
        }
    }

    #[test]
    fn shows_no_secrets() {
        let headers = BTreeMap::from([("Authorization".to_owned(), Secret::new("hunter2"))]);
        let url = "http://127.0.0.1/mcp".parse().expect("a URL");

        let auth = ServerAuth::Bearer { token: Secret::new("hunter2") };
        let (transport, tls) = (Transport::Auto, EndpointTls::default());
        let endpoint = Endpoint::Http { url, headers, transport, auth, tls };
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }
}
