//! Files that name servers: registries, the settings of clients, and what others publish.
//!
//! What a file is, is seen from its shape. Servers come out of it as they would be registered one by
//! one; what in them stands for something else (`${TOKEN}`) is told, and put in by whoever knows it.

mod published;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use self::published::{published, short_name};
pub(crate) use self::write::write;

/// The largest file, in bytes.
pub(crate) const FILE_BYTES: usize = 512 * 1_024;
/// Servers of one file at most.
pub(crate) const SERVERS: usize = 1_000;

/// A server out of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name, as it can be registered.
    pub(crate) name: String,
    /// How it would be registered; or why it is left out.
    pub(crate) form: Result<Value, String>,
    /// What stands in it for something else.
    pub(crate) needs: BTreeSet<String>,
}

/// Why nothing is read from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Too large.
    #[error("it is larger than {} KiB", FILE_BYTES / 1_024)]
    TooLarge,
    /// Neither JSON, nor YAML, nor TOML.
    #[error("it is neither JSON nor YAML nor TOML")]
    NoFormat,
    /// Of no known shape.
    #[error(
        "it names no servers: a registry (templates), the settings of a client (mcpServers, servers, \
         context_servers, mcp_servers, extensions), a server.json or a configuration of agentgateway \
         is understood"
    )]
    NoServers,
    /// More servers than are taken at once.
    #[error("it names more than {SERVERS} servers")]
    TooMany,
}

/// The servers that a file names.
pub(crate) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    if text.len() > FILE_BYTES {
        return Err(Unreadable::TooLarge);
    }
    let file = parse(text).ok_or(Unreadable::NoFormat)?;
    let entries = entries(&file).ok_or(Unreadable::NoServers)?;
    if entries.len() > SERVERS {
        return Err(Unreadable::TooMany);
    }
    Ok(entries.into_iter().map(|(name, form)| found(&name, form)).collect())
}

/// A form with what its placeholders stand for.
pub(crate) fn filled(form: &Value, variables: &BTreeMap<String, String>) -> Value {
    match form {
        Value::String(text) => Value::String(fill(text, variables)),
        Value::Array(all) => all.iter().map(|one| filled(one, variables)).collect(),
        Value::Object(all) => {
            let all = all.iter().map(|(name, value)| (name.clone(), filled(value, variables)));
            Value::Object(all.collect())
        }
        other => other.clone(),
    }
}

fn found(name: &str, form: Result<Value, String>) -> Found {
    let name = slug(name);
    let form = form.map(|mut form| {
        form["name"] = name.as_str().into();
        form
    });
    let mut needs = BTreeSet::new();
    if let Ok(form) = &form {
        gather(form, &mut needs);
    }
    Found { name, form, needs }
}

fn parse(text: &str) -> Option<Value> {
    let is_object = |value: &Value| value.is_object();
    let json = || {
        let options = jsonc_parser::ParseOptions::default();
        jsonc_parser::parse_to_serde_value::<Value>(text, &options).ok()
    };
    let yaml = || serde_saphyr::from_str::<Value>(text).ok();
    let toml = || toml::from_str::<Value>(text).ok();
    json()
        .filter(is_object)
        .or_else(|| toml().filter(is_object))
        .or_else(|| yaml().filter(is_object))
}

type Entries = Vec<(String, Result<Value, String>)>;

/// The servers of a file by its shape; none where it has none that is known.
fn entries(file: &Value) -> Option<Entries> {
    if let Some(templates) = file.get("templates").and_then(Value::as_object) {
        return Some(templates.iter().map(|(name, it)| (name.clone(), template(it))).collect());
    }
    if let Some(servers) = file.get("servers").and_then(Value::as_object) {
        let is_template = |it: &Value| it.get("instances").is_some();
        let read = |(name, it): (&String, &Value)| {
            (name.clone(), if is_template(it) { template(it) } else { entry(it) })
        };
        return Some(servers.iter().map(read).collect());
    }
    for name in
        ["mcpServers", "context_servers", "mcp_servers", "amp.mcpServers", "extensions", "mcp"]
    {
        match file.get(name) {
            Some(Value::Object(of_code)) if of_code.contains_key("servers") => {
                return entries(&file[name]);
            }
            Some(Value::Object(targets)) if targets.contains_key("targets") => break,
            Some(Value::Object(all)) => {
                return Some(all.iter().map(|(name, it)| (name.clone(), entry(it))).collect());
            }
            Some(Value::Array(all)) => {
                let name = |it: &Value| text(it, &["name"]).unwrap_or_default();
                return Some(all.iter().map(|it| (name(it), entry(it))).collect());
            }
            _ => {}
        }
    }
    if file.get("packages").or(file.get("remotes")).is_some_and(Value::is_array) {
        let name = text(file, &["name"])?;
        return Some(vec![(short_name(&name).to_owned(), published(file))]);
    }
    let mut targets = Vec::new();
    find_targets(file, 0, &mut targets);
    (!targets.is_empty()).then_some(targets)
}

/// A server with its instances, as the registries of predecessors have it.
fn template(it: &Value) -> Result<Value, String> {
    let instances = it.get("instances").and_then(Value::as_array).cloned().unwrap_or_default();
    if instances.is_empty() {
        return Err("it has no instances".to_owned());
    }
    let instances: Result<Vec<Value>, String> = instances.iter().map(instance).collect();
    let mut form = json!({ "instances": instances? });
    let balancer = it.get("load_balancer").or(it.get("balance"));
    if balancer.and_then(|it| it.get("stdio_fallback")?.as_bool()) == Some(true) {
        form["balance"] = json!({ "stdio_fallback": true });
    }
    if let Some(strategy) = balancer.and_then(|it| text(it, &["strategy"])) {
        form["balance"]["strategy"] = strategy.to_ascii_lowercase().into();
        if let Some(prefer) = balancer.and_then(|it| it.get("prefer")) {
            form["balance"]["prefer"] = prefer.clone();
        }
    }
    // As predecessors say it.
    let every = balancer.and_then(|it| it.get("health_check_interval")?.as_u64());
    if let Some(seconds) = every.filter(|_| it.get("checks").is_none()) {
        form["checks"] = json!({ "interval_seconds": seconds });
    }
    for name in [
        "description",
        "namespace",
        "prefix",
        "timeout_seconds",
        "max_in_flight",
        "cache",
        "checks",
        "version",
        "tags",
        "metadata",
        "on_change",
    ] {
        if let Some(value) = it.get(name).filter(|value| !value.is_null()) {
            form[name] = value.clone();
        }
    }
    Ok(form)
}

fn instance(it: &Value) -> Result<Value, String> {
    let mut form = entry(it)?;
    let metadata = it.get("metadata").or(it.get("instance_metadata")).and_then(Value::as_object);
    // Members of predecessors are of any kind.
    let mut metadata: Map<String, Value> = metadata
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), plain(value).into()))
        .collect();
    for name in ["backend", "container_id", "pod_name", "deployment_id"] {
        if let Some(value) = text(it, &[name]) {
            metadata.insert(name.to_owned(), value.into());
        }
    }
    form["metadata"] = metadata.into();
    for name in ["weight", "state", "auth", "tls"] {
        if let Some(value) = it.get(name).filter(|value| !value.is_null()) {
            form[name] = value.clone();
        }
    }
    Ok(form)
}

/// One server as the settings of clients have it.
fn entry(it: &Value) -> Result<Value, String> {
    let is = |name: &str, wanted: bool| it.get(name).and_then(Value::as_bool) == Some(wanted);
    if is("disabled", true) || is("enabled", false) || is("is_active", false) {
        return Err("it is switched off there".to_owned());
    }
    let kind = text(it, &["type", "transport", "protocol"]).map(|kind| match &*kind {
        "remote" | "builtin" => "auto".to_owned(),
        "local" => "stdio".to_owned(),
        "streamableHttp" | "streamable-http" => "streamable_http".to_owned(),
        other => other.to_owned(),
    });
    if let Some(command) = it.get("command").or(it.get("cmd")).filter(|it| !it.is_null()) {
        // Some write the program and its arguments as one object.
        let (command, args) = match command {
            Value::Object(inner) => (inner.get("path").cloned(), inner.get("args").cloned()),
            other => (Some(other.clone()), None),
        };
        let command = command.ok_or("its command has no path")?;
        let program = command.as_str().or(command[0].as_str()).unwrap_or_default();
        if program.rsplit('/').next() == Some("tollhouse") {
            return Err("it is a gateway of this kind itself".to_owned());
        }
        let mut form = json!({ "command": command });
        if let Some(args) = it.get("args").cloned().or(args).filter(|args| !args.is_null()) {
            form["args"] = args;
        }
        form["env"] = pairs(it, &["env", "env_vars", "environment", "envs"]).into();
        if let Some(cwd) = text(it, &["cwd", "working_dir"]) {
            form["cwd"] = cwd.into();
        }
        return Ok(form);
    }
    let url = text(it, &["url", "httpUrl", "serverUrl", "uri", "endpoint"]);
    let url = url.ok_or("it has neither a URL nor a command")?;
    let mut form = json!({ "url": url });
    let mut headers = pairs(it, &["headers", "http_headers"]);
    if let Some(variable) = text(it, &["bearer_token_env_var"]) {
        headers.insert("Authorization".to_owned(), format!("Bearer ${{{variable}}}").into());
    }
    if let Some(named) = it.get("env_http_headers").and_then(Value::as_object) {
        let named = named.iter().filter_map(|(name, it)| Some((name, it.as_str()?)));
        headers.extend(named.map(|(name, it)| (name.clone(), format!("${{{it}}}").into())));
    }
    form["headers"] = headers.into();
    // The scheme says more than what some write there.
    let is_websocket = form["url"].as_str().is_some_and(|url| url.starts_with("ws"));
    if let Some(kind) = kind.filter(|kind| kind != "auto" && !is_websocket) {
        form["transport"] = kind.into();
    }
    Ok(form)
}

/// How deep a configuration of agentgateway is looked through.
const DEPTH: usize = 12;

/// The targets of agentgateway, wherever in its configuration they stand.
fn find_targets(it: &Value, depth: usize, found: &mut Entries) {
    if depth > DEPTH {
        return;
    }
    match it {
        Value::Array(all) => all.iter().for_each(|one| find_targets(one, depth + 1, found)),
        Value::Object(all) => {
            if let Some(targets) = all.get("targets").and_then(Value::as_array) {
                found.extend(targets.iter().filter_map(target));
            }
            all.values().for_each(|one| find_targets(one, depth + 1, found));
        }
        _ => {}
    }
}

fn target(it: &Value) -> Option<(String, Result<Value, String>)> {
    let name = text(it, &["name"])?;
    if let Some(stdio) = it.get("stdio") {
        return Some((name, entry(stdio)));
    }
    let known = [("auto", "mcp"), ("sse", "sse")];
    let remote = known.iter().find_map(|(kind, member)| Some((*kind, it.get(*member)?)));
    let Some((kind, remote)) = remote else {
        let other = it.as_object()?.keys().find(|key| !["name", "policies"].contains(&&***key))?;
        return Some((name, Err(format!("targets of kind {other} are no servers of MCP"))));
    };
    let host = text(remote, &["host"]).unwrap_or_default();
    let form = if host.contains("://") {
        Ok(json!({ "url": host, "transport": kind }))
    } else if host.is_empty() {
        Err("it has no host".to_owned())
    } else {
        let port = remote.get("port").and_then(Value::as_u64).unwrap_or(80);
        let scheme = if port == 443 { "https" } else { "http" };
        let default = if kind == "sse" { "/sse" } else { "/mcp" };
        let path = text(remote, &["path"]).unwrap_or_else(|| default.to_owned());
        Ok(json!({ "url": format!("{scheme}://{host}:{port}{path}"), "transport": kind }))
    };
    Some((name, form))
}

/// The first of these members that is text.
fn text(it: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| it.get(*name)?.as_str().map(str::to_owned))
}

/// The first of these members that names values: an object, or a list of `NAME=VALUE`.
fn pairs(it: &Value, names: &[&str]) -> Map<String, Value> {
    match names.iter().find_map(|name| it.get(*name)) {
        Some(Value::Object(all)) => {
            all.iter().map(|(name, value)| (name.clone(), plain(value).into())).collect()
        }
        Some(Value::Array(all)) => {
            let split = |one: &Value| {
                let (name, value) = one.as_str()?.split_once('=')?;
                Some((name.to_owned(), value.into()))
            };
            all.iter().filter_map(split).collect()
        }
        _ => Map::new(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A name as it can be registered, as near to the one in the file as can be.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.trim().chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if slug.is_empty() || slug.ends_with(['-', '_', '.']) => {}
            '_' | '.' => slug.push(c),
            _ => slug.push('-'),
        }
    }
    let slug: String = slug.chars().take(crate::domain::Slug::LIMIT).collect();
    slug.trim_end_matches(['-', '_', '.']).to_owned()
}

/// The placeholders in a text: where each begins and ends, and what it stands for.
fn placeholders(text: &str) -> Vec<(std::ops::Range<usize>, &str, Option<&str>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find("${").map(|at| from + at) {
        let Some(end) = text[start..].find('}').map(|at| start + at + 1) else { break };
        let inner = &text[start + 2..end - 1];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let name =
            ["env:", "input:"].iter().find_map(|kind| name.strip_prefix(kind)).unwrap_or(name);
        if !name.is_empty() {
            found.push((start..end, name, default));
        }
        from = end;
    }
    found
}

fn gather(form: &Value, needs: &mut BTreeSet<String>) {
    match form {
        Value::String(text) => {
            let open = placeholders(text).into_iter().filter(|(_, _, default)| default.is_none());
            needs.extend(open.map(|(_, name, _)| name.to_owned()));
        }
        Value::Array(all) => all.iter().for_each(|one| gather(one, needs)),
        Value::Object(all) => all.values().for_each(|one| gather(one, needs)),
        _ => {}
    }
}

fn fill(text: &str, variables: &BTreeMap<String, String>) -> String {
    let (mut filled, mut from) = (String::new(), 0);
    for (range, name, default) in placeholders(text) {
        filled.push_str(&text[from..range.start]);
        match variables.get(name).map(String::as_str).or(default) {
            Some(value) => filled.push_str(value),
            None => filled.push_str(&text[range.clone()]),
        }
        from = range.end;
    }
    filled.push_str(&text[from..]);
    filled
}

#[cfg(test)]
mod tests;
