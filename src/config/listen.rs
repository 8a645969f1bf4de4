//! The address to listen on, as people write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Deserializer, de::Error};

/// Reads `ADDRESS:PORT`, where the address may be `localhost`.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom("expected an address and a port"))
}

fn parse(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)));
    }
    text.parse().ok()
}

/// The address that this text holds with another host.
pub(super) fn with_host(listen: &str, host: &str) -> String {
    let port = listen.rsplit_once(':').map_or("", |(_, port)| port);
    let is_bare_v6 = host.parse::<Ipv6Addr>().is_ok();
    if is_bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The address that this text holds with another port.
pub(super) fn with_port(listen: &str, port: &str) -> String {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    format!("{host}:{port}")
}

/// Where this machine reaches what listens there: an unspecified address is nobody's name.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_change_apart() {
        assert_eq!(with_host("127.0.0.1:8080", "::1"), "[::1]:8080");
        assert_eq!(with_port("[::1]:8080", "99"), "[::1]:99");
        assert_eq!(with_host("[::1]:8080", "localhost"), "localhost:8080");
    }

    #[test]
    fn localhost_is_the_loopback_address() {
        assert_eq!(parse("localhost:80"), parse("127.0.0.1:80"));
        assert_eq!(parse("example.com:80"), None);
    }
}
