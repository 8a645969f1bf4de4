//! Proxies in front of the gateway, and who is behind them.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::edge::Peer;

/// The header in which each proxy adds the address that it was called from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies that are believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Box<[IpNet]>);

impl Proxies {
    /// Believes proxies in these networks, and no others.
    pub(crate) fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.into())
    }

    /// Who called: the peer, or whoever is behind it, where it is a proxy that is believed. What
    /// comes before the last one that is not is anybody's word, and is not read.
    pub(super) fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Peer {
        let Some(mut address) = peer.address.filter(|it| self.trusts(it.ip())) else {
            return *peer;
        };
        let said: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .collect();
        for entry in said.iter().rev() {
            // Who writes something else is the last that is known.
            let Some(ip) = read(entry) else { break };
            address = SocketAddr::new(ip, 0);
            if !self.trusts(ip) {
                break;
            }
        }
        Peer { address: Some(address), ..*peer }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn read(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(peer: &str, said: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append(FORWARDED_FOR, value.parse().expect("a value"));
        }
        let address = Some(SocketAddr::new(peer.parse().expect("an address"), 4_000));
        let peer = Peer { address, uid: None };
        let found = Proxies::new(&trusted).caller(&peer, &headers);
        found.address.expect("an address").ip().to_string()
    }

    #[test]
    fn only_proxies_that_are_trusted_say_who_is_behind_them() {
        for (peer, said, found) in [
            // Whoever comes by themselves says nothing that counts.
            ("192.0.2.7", &["203.0.113.9"][..], "192.0.2.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            // The left-most is the caller's own word.
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9:5000"], "203.0.113.9"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9, moon"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, moon, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            assert_eq!(caller(peer, said), found, "{peer} {said:?}");
        }
    }
}
