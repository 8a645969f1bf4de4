//! Host and Origin: whether a request was meant for us, and whether the page behind it may ask.
//!
//! A web page anywhere can make its reader's browser call a gateway on the same machine. The
//! browser then tells the page's origin; and a name that the page's owner points here (DNS
//! rebinding) shows in Host. Both are compared with what is known to be ours.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header};

use crate::{
    edge::listen::Peer,
    problem::{Kind, Problem},
};

/// What this gateway is called, and from which pages it may be called.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<Box<str>>,
    origins: Vec<Box<str>>,
    /// Ports on which any address of the machine is ours. An address cannot be rebound.
    ports_of_every_address: Vec<u16>,
}

impl Guard {
    /// Knows the names that follow from the addresses listened on, `allowed_hosts` (a name, or a
    /// name and port) with the origins they imply, and `allowed_origins` (`https://name:port`).
    pub(crate) fn new(
        listen: &[SocketAddr],
        allowed_hosts: &[String],
        allowed_origins: &[String],
    ) -> Self {
        let mut guard = Self {
            hosts: Vec::new(),
            origins: allowed_origins.iter().map(|origin| origin.as_str().into()).collect(),
            ports_of_every_address: Vec::new(),
        };
        for address in listen {
            guard.add_address(*address);
        }
        for host in allowed_hosts {
            guard.add_host(host);
            if !has_port(host) {
                for address in listen {
                    guard.add_host(&format!("{host}:{}", address.port()));
                }
            }
        }
        guard
    }

    /// Whether the request of this client may pass. Clients on a unix socket are no browsers.
    pub(crate) fn check(&self, peer: &Peer, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if peer.address.is_none() {
            return Ok(());
        }
        let host = self.check_host(uri, headers)?;
        self.check_origin(headers, host)
    }

    fn check_host<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        let host = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
        };
        let host = host.ok_or_else(|| Problem::new(Kind::Invalid, "the Host header is missing"))?;
        if self.is_ours(host) {
            return Ok(host);
        }
        Err(Problem::new(
            Kind::Forbidden,
            "the gateway is not known by this Host; its settings name others in `allowed_hosts`",
        ))
    }

    fn check_origin(&self, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
        let mut named = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = named.next() else {
            return Ok(());
        };
        let is_known = |origin| is_among(&self.origins, origin) || is_page_of(host, origin);
        if origin.to_str().is_ok_and(is_known) && named.next().is_none() {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Forbidden,
            "pages of this Origin may not call the gateway; its settings name others in \
             `allowed_origins`",
        ))
    }

    fn is_ours(&self, host: &str) -> bool {
        is_among(&self.hosts, host)
            || (!self.ports_of_every_address.is_empty()
                && port_of_address(host)
                    .is_some_and(|port| self.ports_of_every_address.contains(&port)))
    }

    fn add_address(&mut self, address: SocketAddr) {
        let port = address.port();
        let name = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        if address.ip().is_unspecified() {
            self.ports_of_every_address.push(port);
        } else {
            self.add_name(&name(address.ip()), port);
        }
        if address.ip().is_unspecified() || address.ip().is_loopback() {
            for name in ["localhost", "127.0.0.1", "[::1]"] {
                self.add_name(name, port);
            }
        }
    }

    /// A name on a port; browsers leave out the usual ones.
    fn add_name(&mut self, name: &str, port: u16) {
        self.add_host(&format!("{name}:{port}"));
        let scheme = match port {
            80 => "http",
            443 => "https",
            _ => return,
        };
        add(&mut self.hosts, name.to_owned());
        add(&mut self.origins, format!("{scheme}://{name}"));
    }

    fn add_host(&mut self, host: &str) {
        add(&mut self.hosts, host.to_owned());
        add(&mut self.origins, format!("http://{host}"));
        add(&mut self.origins, format!("https://{host}"));
    }
}

/// There are a handful of names, each of another length: faster to walk than to hash.
fn is_among(names: &[Box<str>], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn add(names: &mut Vec<Box<str>>, name: String) {
    if !is_among(names, &name) {
        names.push(name.into());
    }
}

/// Whether the origin is that of the host itself, which is known to be ours.
fn is_page_of(host: &str, origin: &str) -> bool {
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    page.is_some_and(|page| page.eq_ignore_ascii_case(host))
}

/// The port, if the host is given by its address.
fn port_of_address(host: &str) -> Option<u16> {
    let with_port = host.parse::<SocketAddr>().map(|address| address.port());
    with_port.ok().or_else(|| host.parse::<IpAddr>().is_ok().then_some(80))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const OVER_TCP: Peer = Peer {
        address: Some(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50_000)),
        uid: None,
    };

    fn guard(listen: &str, hosts: &[&str], origins: &[&str]) -> Guard {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        Guard::new(&[listen.parse().expect("an address")], &owned(hosts), &owned(origins))
    }

    fn verdict(guard: &Guard, host: Option<&str>, origin: Option<&str>) -> Option<Kind> {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("a header value"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).expect("a header value"));
        }
        guard.check(&OVER_TCP, &Uri::from_static("/mcp"), &headers).err().map(|p| p.kind())
    }

    #[test]
    fn a_loopback_bind_is_known_by_its_loopback_names_and_port() {
        let guard = guard("127.0.0.1:8080", &[], &[]);

        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LocalHost:8080"] {
            assert_eq!(verdict(&guard, Some(host), None), None, "{host}");
        }
    }

    #[test]
    fn any_other_host_is_refused() {
        let guard = guard("127.0.0.1:8080", &[], &[]);

        for host in [
            "evil.test",
            "evil.test:8080",
            "127.0.0.1.nip.io:8080",
            "localhost.:8080",
            "localhost",
            "127.0.0.1",
            "localhost:8081",
            "localhost:80808",
            "user@localhost:8080",
            "127.1:8080",
            "2130706433:8080",
            "192.0.2.1:8080",
            "[::ffff:127.0.0.1]:8080",
            "",
        ] {
            assert_eq!(verdict(&guard, Some(host), None), Some(Kind::Forbidden), "{host}");
        }
    }

    #[test]
    fn a_request_must_say_whom_it_is_meant_for() {
        let guard = guard("127.0.0.1:8080", &[], &[]);

        assert_eq!(verdict(&guard, None, None), Some(Kind::Invalid));
    }

    #[test]
    fn a_host_in_the_target_counts_before_the_header() {
        let guard = guard("127.0.0.1:8080", &[], &[]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost:8080"));

        let problem = guard.check(&OVER_TCP, &Uri::from_static("http://evil.test/mcp"), &headers);

        assert_eq!(problem.map_err(|problem| problem.kind()), Err(Kind::Forbidden));
    }

    #[test]
    fn the_usual_port_may_be_left_out() {
        let guard = guard("127.0.0.1:80", &[], &[]);

        assert_eq!(verdict(&guard, Some("localhost"), Some("http://localhost")), None);
        assert_eq!(verdict(&guard, Some("localhost:80"), None), None);
    }

    #[test]
    fn our_own_pages_may_call() {
        let guard = guard("127.0.0.1:8080", &[], &["https://app.test"]);

        for origin in ["http://localhost:8080", "https://127.0.0.1:8080", "https://app.test"] {
            assert_eq!(verdict(&guard, Some("localhost:8080"), Some(origin)), None, "{origin}");
        }
    }

    #[test]
    fn any_other_origin_is_refused_whatever_the_host() {
        let guard = guard("127.0.0.1:8080", &[], &["https://app.test"]);

        for origin in [
            "null",
            "http://localhost.evil",
            "http://localhost.evil:8080",
            "http://localhost",
            "http://localhost:8081",
            "http://evil.test",
            "https://app.test.evil",
            "ws://localhost:8080",
            "localhost:8080",
            "http://localhost:8080/",
            "",
        ] {
            let verdict = verdict(&guard, Some("localhost:8080"), Some(origin));
            assert_eq!(verdict, Some(Kind::Forbidden), "{origin}");
        }
    }

    #[test]
    fn two_origins_are_none() {
        let guard = guard("127.0.0.1:8080", &[], &[]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost:8080"));
        headers.append(header::ORIGIN, HeaderValue::from_static("http://localhost:8080"));
        headers.append(header::ORIGIN, HeaderValue::from_static("http://evil.test"));

        let problem = guard.check(&OVER_TCP, &Uri::from_static("/mcp"), &headers);

        assert_eq!(problem.map_err(|problem| problem.kind()), Err(Kind::Forbidden));
    }

    #[test]
    fn a_named_host_is_ours_with_and_without_our_port() {
        let guard = guard("192.0.2.7:8080", &["gateway.test", "other.test:9000"], &[]);

        for host in ["192.0.2.7:8080", "gateway.test", "gateway.test:8080", "other.test:9000"] {
            assert_eq!(verdict(&guard, Some(host), None), None, "{host}");
        }
        for host in ["localhost:8080", "gateway.test:9000", "other.test", "other.test:8080"] {
            assert_eq!(verdict(&guard, Some(host), None), Some(Kind::Forbidden), "{host}");
        }
        assert_eq!(verdict(&guard, Some("gateway.test"), Some("https://gateway.test")), None);
    }

    #[test]
    fn a_bind_to_every_address_is_known_by_addresses_but_not_by_names() {
        let guard = guard("0.0.0.0:8080", &[], &[]);

        for host in ["192.0.2.7:8080", "[2001:db8::1]:8080", "localhost:8080"] {
            assert_eq!(verdict(&guard, Some(host), None), None, "{host}");
        }
        for host in ["evil.test:8080", "192.0.2.7:8081", "192.0.2.7"] {
            assert_eq!(verdict(&guard, Some(host), None), Some(Kind::Forbidden), "{host}");
        }
    }

    #[test]
    fn a_page_from_another_address_is_not_ours() {
        let guard = guard("0.0.0.0:8080", &[], &[]);

        let own = verdict(&guard, Some("192.0.2.7:8080"), Some("http://192.0.2.7:8080"));
        let foreign = verdict(&guard, Some("192.0.2.7:8080"), Some("http://192.0.2.8:8080"));

        assert_eq!((own, foreign), (None, Some(Kind::Forbidden)));
    }

    #[test]
    fn a_client_on_a_unix_socket_is_no_browser() {
        let guard = guard("127.0.0.1:8080", &[], &[]);
        let peer = Peer { address: None, uid: Some(1_000) };

        assert!(guard.check(&peer, &Uri::from_static("/mcp"), &HeaderMap::new()).is_ok());
    }
}
