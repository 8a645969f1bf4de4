//! Servers that announce themselves on the local network (RFC 6762 and 6763).
//!
//! Whoever is on that network may announce anything. What is announced here is looked at as every
//! definition is, and no program is ever started because of it.
//!
//! | TXT | says |
//! |---|---|
//! | `path` | the path of its endpoint, else `/mcp` |
//! | `tls` | `1`: it speaks TLS |
//! | `transport` | how messages travel, else it is found out |
//! | `description` | what it is for |

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use futures_util::future::BoxFuture;
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::Source;
use crate::registry::file::Found;

/// Servers that are listened to in one look; more are left out.
const MOST: usize = 200;

/// Servers that announce themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether they are listened to. Whoever is on the network may then name servers.
    pub(crate) enabled: bool,
    /// What they announce themselves as.
    pub(crate) service: String,
    /// How long one look takes, in seconds.
    pub(crate) listen_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: false, service: "_mcp._tcp.local.".to_owned(), listen_seconds: 3 }
    }
}

pub(super) struct Mdns(pub(super) Settings);

impl Source for Mdns {
    fn name(&self) -> String {
        format!("mdns:{}", self.0.service)
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<Found>, String>> {
        Box::pin(async {
            let daemon = ServiceDaemon::new().map_err(|error| error.to_string())?;
            let heard = self.listen(&daemon).await;
            // It has sockets on every interface, and none is left open between two looks.
            drop(daemon.shutdown());
            Ok(servers(&heard?))
        })
    }
}

impl Mdns {
    /// What is announced while it is listened to, by its full name.
    async fn listen(
        &self,
        daemon: &ServiceDaemon,
    ) -> Result<BTreeMap<String, ResolvedService>, String> {
        let events = daemon.browse(&self.0.service).map_err(|error| error.to_string())?;
        let end = Instant::now() + Duration::from_secs(self.0.listen_seconds.max(1).into());
        let mut heard = BTreeMap::new();
        while let Ok(Ok(event)) = timeout_at(end, events.recv_async()).await {
            match event {
                ServiceEvent::ServiceResolved(service) if heard.len() < MOST => {
                    heard.insert(service.fullname.clone(), *service);
                }
                ServiceEvent::ServiceRemoved(_, name) => {
                    heard.remove(&name);
                }
                _ => {}
            }
        }
        Ok(heard)
    }
}

fn servers(heard: &BTreeMap<String, ResolvedService>) -> Vec<Found> {
    let server = |service: &ResolvedService| {
        let name = service.fullname.strip_suffix(&format!(".{}", service.ty_domain));
        let name = crate::registry::file::slug(name.unwrap_or(&service.fullname));
        Found { form: form(&name, service), name, needs: std::collections::BTreeSet::new() }
    };
    heard.values().map(server).collect()
}

fn form(name: &str, service: &ResolvedService) -> Result<Value, String> {
    let says = |key: &str| service.get_property_val_str(key).map(str::trim);
    let mut addresses: Vec<IpAddr> =
        service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
    // In one order, the older family first, whose addresses need no interface beside them.
    addresses.retain(|address| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    addresses.sort_unstable();
    let host = match addresses.first().ok_or("it announces no address that can be dialled")? {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let scheme = if matches!(says("tls"), Some("1" | "true")) { "https" } else { "http" };
    let path = says("path").filter(|path| !path.is_empty()).unwrap_or("/mcp");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut form = json!({
        "name": name,
        "url": format!("{scheme}://{host}:{}{slash}{path}", service.port),
    });
    for member in ["transport", "description"] {
        if let Some(text) = says(member).filter(|text| !text.is_empty()) {
            form[member] = text.into();
        }
    }
    // It must not name a program, whatever it announces.
    if form["transport"] == "stdio" {
        return Err("it announces that it is a program".to_owned());
    }
    Ok(form)
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceInfo;

    use super::*;

    fn found(addresses: &str, txt: &[(&str, &str)]) -> Found {
        let (kind, host) = ("_mcp._tcp.local.", "box.local.");
        let info = ServiceInfo::new(kind, "Team Wiki", host, addresses, 7071, txt);
        let service = info.expect("a service").as_resolved_service();
        servers(&BTreeMap::from([(service.fullname.clone(), service)])).remove(0)
    }

    #[test]
    fn what_is_announced_becomes_a_definition() {
        let plain = found("192.168.1.7,fe80::1", &[]);
        assert_eq!(plain.name, "team-wiki");
        let form = plain.form.expect("a form");
        assert_eq!(form, json!({"name": "team-wiki", "url": "http://192.168.1.7:7071/mcp"}));

        let said = [("path", "sse"), ("tls", "1"), ("transport", "sse"), ("description", "x")];
        let form = found("fd00::7", &said).form.expect("a form");
        assert_eq!(form["url"], "https://[fd00::7]:7071/sse");
        assert_eq!((&form["transport"], &form["description"]), (&json!("sse"), &json!("x")));
    }

    #[test]
    fn what_cannot_be_dialled_or_is_a_program_is_told() {
        assert!(found("fe80::1", &[]).form.is_err());
        assert!(found("192.168.1.7", &[("transport", "stdio")]).form.is_err());
    }
}
