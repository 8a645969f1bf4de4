//! Services of Kubernetes whose labels say that they are servers.
//!
//! `tollhouse.enable: "true"` is a label, because services are sought by it; what else is said may
//! stand in labels or in annotations, under the names that containers of Docker have.
//!
//! One list is all that is asked, so that no client of the whole API is needed for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Source;
use crate::registry::file::Found;

/// The longest list that is read, in bytes.
const LIST_BYTES: usize = 8 << 20;
/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Services of Kubernetes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether they are looked at. Whoever may label services may then name servers.
    pub(crate) enabled: bool,
    /// Where the API is; none is where a pod finds it.
    pub(crate) url: Option<String>,
    /// The file that holds the token, which is read anew each time.
    pub(crate) token_file: PathBuf,
    /// The file that holds the certificates of who signed the API's.
    pub(crate) ca_file: PathBuf,
    /// The one namespace that is looked at; none looks at all.
    pub(crate) namespace: Option<String>,
    /// What stands before the names of labels, with a dot.
    pub(crate) prefix: String,
    /// The domain of the cluster.
    pub(crate) domain: String,
    /// How long it may take to answer, in seconds.
    pub(crate) timeout_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            url: None,
            token_file: format!("{ACCOUNT}/token").into(),
            ca_file: format!("{ACCOUNT}/ca.crt").into(),
            namespace: None,
            prefix: "tollhouse".into(),
            domain: "cluster.local".into(),
            timeout_seconds: 10,
        }
    }
}

/// A cluster of Kubernetes.
pub(super) struct Kubernetes(pub(super) Settings);

#[derive(Deserialize)]
struct List {
    items: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Spec {
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Deserialize)]
struct Port {
    #[serde(default)]
    name: String,
    #[serde(rename = "port")]
    number: u16,
    #[serde(default)]
    protocol: String,
}

impl Source for Kubernetes {
    fn name(&self) -> String {
        format!("kubernetes:{}", self.url())
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<Found>, String>> {
        Box::pin(async {
            let list = self.list().await.map_err(|wrong| format!("{}: {wrong}", self.url()))?;
            Ok(list.items.iter().map(|service| self.server(service)).collect())
        })
    }
}

impl Kubernetes {
    fn url(&self) -> &str {
        self.0.url.as_deref().unwrap_or("https://kubernetes.default.svc").trim_end_matches('/')
    }

    async fn list(&self) -> Result<List, String> {
        let timeout = Duration::from_secs(self.0.timeout_seconds.max(1).into());
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout);
        let url = self.url();
        if url.starts_with("https://") {
            let read = tokio::fs::read(&self.0.ca_file).await;
            let pem = read.map_err(|error| format!("{}: {error}", self.0.ca_file.display()))?;
            let signers = reqwest::Certificate::from_pem_bundle(&pem);
            let signers = signers.map_err(|error| error.to_string())?;
            client = client.tls_certs_only(signers);
        } else if !is_of_this_machine(url) {
            return Err("its token would travel unencrypted: write https://".to_owned());
        }
        let client = client.build().map_err(|error| error.to_string())?;
        let read = tokio::fs::read_to_string(&self.0.token_file).await;
        let token = read.map_err(|error| format!("{}: {error}", self.0.token_file.display()))?;
        let within = match &self.0.namespace {
            Some(namespace) => format!("/namespaces/{namespace}"),
            None => String::new(),
        };
        let wanted = format!("{}.enable%3Dtrue", self.0.prefix);
        let path = format!("{url}/api/v1{within}/services?labelSelector={wanted}");
        let asked = client.get(path).bearer_auth(token.trim()).send().await;
        let mut answer = asked.map_err(|error| error.without_url().to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| error.to_string())? {
            body.extend_from_slice(&part);
            if body.len() > LIST_BYTES {
                return Err(format!("its list is larger than {LIST_BYTES} bytes"));
            }
        }
        serde_json::from_slice(&body)
            .map_err(|error| format!("it answered something else: {error}"))
    }

    fn server(&self, service: &Service) -> Found {
        let name = self.said(service, "name").unwrap_or(&service.metadata.name).to_owned();
        let form = self.url_of(service).map(|url| {
            let metadata = json!({
                "backend": "kubernetes",
                "namespace": service.metadata.namespace,
                "service": service.metadata.name,
            });
            let mut form =
                json!({ "name": name, "instances": [{"url": url, "metadata": metadata}] });
            if let Some(text) = self.said(service, "description") {
                form["description"] = text.into();
            }
            form
        });
        Found { name, form, needs: BTreeSet::new() }
    }

    fn said<'a>(&self, service: &'a Service, name: &str) -> Option<&'a str> {
        let name = format!("{}.{name}", self.0.prefix);
        let Metadata { labels, annotations, .. } = &service.metadata;
        annotations.get(&name).or_else(|| labels.get(&name)).map(|text| text.trim())
    }

    fn url_of(&self, service: &Service) -> Result<String, String> {
        let ports = || service.spec.ports.iter().filter(|it| it.protocol != "UDP");
        let wanted = self.said(service, "port");
        let is_wanted =
            |it: &&Port| wanted.is_none_or(|text| it.name == text || it.number.to_string() == text);
        let mut fitting = ports().filter(is_wanted);
        let port = match (fitting.next(), fitting.next()) {
            (Some(only), None) => only.number,
            (None, _) => return Err("it has no such port".to_owned()),
            (Some(_), Some(_)) => {
                return Err("say which of its ports, by name or number, under port".to_owned());
            }
        };
        let Metadata { name, namespace, .. } = &service.metadata;
        let path = self.said(service, "path").unwrap_or("/mcp");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let scheme = if port == 443 { "https" } else { "http" };
        Ok(format!("{scheme}://{name}.{namespace}.svc.{}:{port}{slash}{path}", self.0.domain))
    }
}

fn is_of_this_machine(url: &str) -> bool {
    let host = url::Url::parse(url).ok();
    host.as_ref().and_then(url::Url::host).is_some_and(|host| match host {
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
        url::Host::Domain(name) => name == "localhost",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_travels_encrypted_or_not_at_all() {
        let url = Some("http://10.96.0.1:443".to_owned());
        let settings = Settings { enabled: true, url, ..Settings::default() };
        let wrong = Kubernetes(settings).find().await.expect_err("nothing is sent");
        assert!(wrong.contains("unencrypted"), "{wrong}");
        for (url, is_of_it) in [
            ("http://127.0.0.1:8001", true),
            ("http://[::1]:8001", true),
            ("http://localhost", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(is_of_this_machine(url), is_of_it, "{url}");
        }
    }
}
