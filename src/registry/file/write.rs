//! Registries as files: everything that is registered, and in place of each secret what it is
//! called. Read back where these are known, they give the same registry.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    domain::{CachePolicy, Endpoint, Instance, Secret, Server, ServerAuth, ServerTls, Timestamp},
    registry::Directory,
};

/// The registry of these servers, in the form of predecessors.
pub(crate) fn write<'a>(
    servers: impl Iterator<Item = &'a Server>,
    directory: &Directory,
    now: Timestamp,
) -> Value {
    let template = |server: &Server| (server.name.to_string(), template(server, directory));
    let templates: Map<String, Value> = servers.map(template).collect();
    let now = now.to_string();
    json!({
        "templates": templates,
        "metadata": { "version": "1.0", "created": now, "last_modified": now },
    })
}

fn template(server: &Server, directory: &Directory) -> Value {
    let instances: Vec<Value> =
        (0..server.instances.len()).map(|at| Place { server, at }.written()).collect();
    let mut written = json!({
        "name": server.name,
        "namespace": directory.namespace_name(server.namespace),
        "instances": instances,
    });
    if !server.description.is_empty() {
        written["description"] = server.description.as_str().into();
    }
    if let Some(prefix) = server.prefixing {
        written["prefix"] = json!(prefix);
    }
    if let Some(seconds) = server.timeout_seconds {
        written["timeout_seconds"] = seconds.into();
    }
    if let Some(most) = server.max_in_flight {
        written["max_in_flight"] = most.into();
    }
    if server.cache != CachePolicy::default() {
        written["cache"] = json!(server.cache);
    }
    if let Some(labels) = &server.labels {
        written["tags"] = json!(labels.tags);
        written["metadata"] = json!(labels.metadata);
        if !labels.version.is_empty() {
            written["version"] = labels.version.as_str().into();
        }
    }
    if server.keeps_bodies {
        written["keep_bodies"] = true.into();
    }
    if let Some(checks) = &server.checks {
        written["checks"] = json!(checks);
    }
    if let Some(on_change) = server.on_change {
        written["on_change"] = json!(on_change);
    }
    if let Some(strategy) = server.balance.strategy {
        written["load_balancer"] = json!({ "strategy": strategy });
    }
    if server.balance.stdio_fallback {
        written["load_balancer"]["stdio_fallback"] = true.into();
    }
    if !server.balance.prefer.is_empty() {
        written["load_balancer"]["prefer"] = json!(server.balance.prefer);
    }
    written
}

/// One instance of a server.
struct Place<'a> {
    server: &'a Server,
    at: usize,
}

impl Place<'_> {
    fn written(&self) -> Value {
        let instance = &self.server.instances[self.at];
        let mut written = match &instance.endpoint {
            Endpoint::Http { url, headers, transport, auth, tls } => {
                let mut written = json!({
                    "url": url.to_string(),
                    "transport": transport.as_str(),
                    "headers": self.named(headers, |it| match &it.endpoint {
                        Endpoint::Http { headers, .. } => Some(headers),
                        Endpoint::Stdio { .. } => None,
                    }),
                });
                if *auth != ServerAuth::None {
                    written["auth"] = json!(self.auth(auth));
                }
                if !tls.is_plain() {
                    written["tls"] = json!(self.tls(tls));
                }
                written
            }
            Endpoint::Stdio { command, args, env, cwd } => {
                let words: Vec<&String> = std::iter::once(command).chain(args).collect();
                let mut written = json!({
                    "command": words,
                    "transport": "stdio",
                    "env": self.named(env, |it| match &it.endpoint {
                        Endpoint::Stdio { env, .. } => Some(env),
                        Endpoint::Http { .. } => None,
                    }),
                });
                if let Some(cwd) = cwd {
                    written["cwd"] = cwd.display().to_string().into();
                }
                written
            }
        };
        written["weight"] = instance.weight.into();
        written["state"] = json!(instance.state);
        written["metadata"] = json!(instance.metadata);
        written
    }

    /// What each of these values is called. One that the first instance has too goes by one name.
    fn named(
        &self,
        values: &BTreeMap<String, Secret>,
        of: impl Fn(&Instance) -> Option<&BTreeMap<String, Secret>>,
    ) -> Map<String, Value> {
        let first = of(&self.server.instances[0]);
        let called = |(name, value): (&String, &Secret)| {
            let is_shared = self.at == 0 || first.and_then(|all| all.get(name)) == Some(value);
            (name.clone(), self.placeholder(name, is_shared).into())
        };
        values.iter().map(called).collect()
    }

    fn placeholder(&self, name: &str, is_shared: bool) -> String {
        let number = if is_shared { String::new() } else { format!("{}_", self.at + 1) };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let called: String =
            format!("{}_{number}{name}", self.server.name).chars().map(plain).collect();
        format!("${{{called}}}")
    }

    fn secret(&self, name: &str) -> Secret {
        Secret::new(self.placeholder(name, self.at == 0))
    }

    /// The same, with names in place of its secrets.
    fn auth(&self, auth: &ServerAuth) -> ServerAuth {
        let mut auth = auth.clone();
        match &mut auth {
            ServerAuth::None => {}
            ServerAuth::Header { value, .. } => *value = self.secret("header"),
            ServerAuth::Bearer { token } => *token = self.secret("token"),
            ServerAuth::Basic { password, .. } => *password = self.secret("password"),
            ServerAuth::ClientCredentials(client) => {
                client.client_secret = self.secret("client_secret");
            }
            ServerAuth::TokenExchange(exchange) => {
                exchange.client_secret = self.secret("client_secret");
            }
            ServerAuth::OAuth(user) => {
                if let Some(secret) = &mut user.client_secret {
                    *secret = self.secret("client_secret");
                }
            }
        }
        auth
    }

    fn tls(&self, tls: &ServerTls) -> ServerTls {
        let key = tls.key.as_ref().map(|_| self.secret("tls_key"));
        ServerTls { key, ..tls.clone() }
    }
}
