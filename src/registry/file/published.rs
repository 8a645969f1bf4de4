//! `server.json`: how servers are published in the official registry.
//!
//! <https://github.com/modelcontextprotocol/registry/blob/main/docs/reference/server-json/generic-server-json.md>

use serde_json::{Map, Value, json};

use super::text;

/// What a published server is called here: the last part of its name, or whose it is where that
/// says nothing.
pub(super) fn short_name(name: &str) -> &str {
    const EMPTY: [&str; 4] = ["mcp", "server", "mcp-server", "mcp_server"];
    // Where many publish, each under a label of their own.
    const HOSTS: [&str; 3] = ["github", "gitlab", "bitbucket"];
    let Some((space, last)) = name.rsplit_once('/') else { return name };
    if !EMPTY.contains(&last) {
        return last;
    }
    let mut labels = space.split('.').skip(1);
    let owner = labels.next().filter(|label| !HOSTS.contains(label)).or_else(|| labels.next());
    owner.unwrap_or(last)
}

/// How a published server is registered: where it runs already, if it does, else as the first of
/// its packages that can be started.
pub(super) fn published(file: &Value) -> Result<Value, String> {
    let all = |name: &str| file.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut form = if let Some(it) = all("remotes").next() {
        remote(it)?
    } else {
        let mut packages = all("packages").map(package);
        let first = packages.next().ok_or("it has neither remotes nor packages")?;
        first.or_else(|reason| packages.find_map(Result::ok).ok_or(reason))?
    };
    if let Some(description) = text(file, &["description"]) {
        form["description"] = description.into();
    }
    Ok(form)
}

fn remote(it: &Value) -> Result<Value, String> {
    let url = text(it, &["url"]).ok_or("its remote has no URL")?;
    let kind = text(it, &["type", "transport_type"]).unwrap_or_default();
    let kind = if kind == "sse" { "sse" } else { "auto" };
    Ok(json!({ "url": placed(&url, it), "transport": kind, "headers": named(it, "headers") }))
}

fn package(it: &Value) -> Result<Value, String> {
    let id = text(it, &["identifier", "name"]).ok_or("its package has no identifier")?;
    let transport = it.get("transport").and_then(|it| text(it, &["type"]));
    if let Some(other) = transport.filter(|it| it != "stdio") {
        return Err(format!("it is to be started first, and then reached by {other}"));
    }
    let version = text(it, &["version"]).filter(|version| version != "latest");
    let at = |joint: &str| {
        let version = version.as_ref().filter(|_| !id.contains(joint));
        version.map_or(id.clone(), |version| format!("{id}{joint}{version}"))
    };
    let env = named(it, "environmentVariables");
    let own = arguments(it, "runtimeArguments");
    let mut words: Vec<String> = Vec::new();
    let kind = text(it, &["registryType", "registry_type", "registry_name"]);
    let (command, package) = match kind.as_deref() {
        Some("npm") => {
            words.extend(["-y".to_owned()].into_iter().filter(|it| !own.contains(it)));
            // An id has an @ of its own, before its scope.
            let version = version.as_ref();
            ("npx", version.map_or(id.clone(), |version| format!("{id}@{version}")))
        }
        Some("pypi") => ("uvx", at("==")),
        Some("nuget") => ("dnx", at("@")),
        Some("oci") => {
            words.extend(["run", "-i", "--rm"].map(str::to_owned));
            words.extend(env.keys().flat_map(|name| ["-e".to_owned(), name.clone()]));
            let is_tagged = id.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
            ("docker", if is_tagged { id.clone() } else { at(":") })
        }
        other => {
            let kind = other.unwrap_or("unknown");
            return Err(format!("packages of kind {kind} cannot be started as they are"));
        }
    };
    words.extend(own);
    words.push(package);
    words.extend(arguments(it, "packageArguments"));
    Ok(json!({ "command": command, "args": words, "env": env }))
}

/// The values of a list by their names; those that need not be given are left out.
fn named(it: &Value, member: &str) -> Map<String, Value> {
    let all = it.get(member).and_then(Value::as_array).into_iter().flatten();
    let all = all.filter_map(|one| {
        let name = text(one, &["name"])?;
        let value = value(one, &name)?;
        Some((name, value.into()))
    });
    all.collect()
}

/// Words of a command line.
fn arguments(it: &Value, member: &str) -> Vec<String> {
    let all = it.get(member).and_then(Value::as_array).into_iter().flatten();
    let words = all.flat_map(|one| -> Vec<String> {
        let name = text(one, &["name"]);
        let hint = text(one, &["valueHint", "value_hint"]).or_else(|| name.clone());
        let value = value(one, hint.as_deref().unwrap_or("argument").trim_start_matches('-'));
        match (text(one, &["type"]).as_deref(), name) {
            (Some("named"), Some(name)) => {
                let is_flag = one.get("value").or(one.get("default")).is_none()
                    && one.get("valueHint").is_none()
                    && one.get("format").is_none();
                match value {
                    Some(value) if !is_flag => vec![name, value],
                    Some(_) => vec![name],
                    None => Vec::new(),
                }
            }
            _ => value.into_iter().collect(),
        }
    });
    words.collect()
}

/// A value as it stands, its default, or a placeholder for what must be given.
fn value(one: &Value, name: &str) -> Option<String> {
    if let Some(value) = text(one, &["value", "default"]) {
        return Some(placed(&value, one));
    }
    let flag = ["isRequired", "is_required"].into_iter().find_map(|it| one.get(it));
    flag.and_then(Value::as_bool).unwrap_or(false).then(|| format!("${{{name}}}"))
}

/// Text with placeholders as they are written here: `${name}` for `{name}`.
fn placed(text: &str, one: &Value) -> String {
    let names = one.get("variables").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    names.fold(text.to_owned(), |text, name| {
        text.replace(&format!("{{{name}}}"), &format!("${{{name}}}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_nothing_is_its_owners() {
        for (name, short) in [
            ("io.github.ana/files", "files"),
            ("io.0xarchive/mcp", "0xarchive"),
            ("com.1inch.business/mcp", "1inch"),
            ("io.github.ana/mcp-server", "ana"),
            ("io.github.ana/server", "ana"),
            ("files", "files"),
            ("/mcp", "mcp"),
        ] {
            assert_eq!(short_name(name), short, "{name}");
        }
    }

    #[test]
    fn packages_start_as_they_say() {
        let npm = json!({"packages": [
            {"registryType": "mcpb", "identifier": "https://x/y.mcpb"},
            {"registryType": "npm", "identifier": "@x/files", "version": "1.2.0",
             "transport": {"type": "stdio"},
             "environmentVariables": [
                {"name": "TOKEN", "isRequired": true, "isSecret": true},
                {"name": "LEVEL", "default": "info"},
                {"name": "OPTIONAL", "isRequired": false},
             ],
             "packageArguments": [
                {"type": "positional", "valueHint": "root", "isRequired": true},
                {"type": "named", "name": "--mode", "value": "fast"},
                {"type": "named", "name": "--port", "valueHint": "port"},
             ]},
        ]});
        assert_eq!(
            published(&npm),
            Ok(json!({
                "command": "npx", "args": ["-y", "@x/files@1.2.0", "${root}", "--mode", "fast"],
                "env": {"TOKEN": "${TOKEN}", "LEVEL": "info"},
            }))
        );
        let image = json!({"packages": [{
            "registryType": "oci", "identifier": "ghcr.io/x/opa", "version": "0.1.0",
            "environmentVariables": [{"name": "URL", "isRequired": true}],
            "runtimeArguments": [{"type": "named", "name": "--network", "value": "none"}],
        }]});
        assert_eq!(
            published(&image),
            Ok(json!({
                "command": "docker",
                "args": ["run", "-i", "--rm", "-e", "URL", "--network", "none", "ghcr.io/x/opa:0.1.0"],
                "env": {"URL": "${URL}"},
            }))
        );
        let remote = json!({"description": "d", "remotes": [{
            "type": "streamable-http", "url": "https://{region}.example/mcp",
            "variables": {"region": {}},
            "headers": [{"name": "Authorization", "value": "Bearer {key}", "variables": {"key": {}}}],
        }]});
        assert_eq!(
            published(&remote),
            Ok(json!({
                "url": "https://${region}.example/mcp", "transport": "auto", "description": "d",
                "headers": {"Authorization": "Bearer ${key}"},
            }))
        );
        let served = json!({"packages": [{
            "registryType": "npm", "identifier": "x", "transport": {"type": "streamable-http"},
        }]});
        let reason = published(&served).expect_err("nothing starts it");
        assert!(reason.contains("reached by streamable-http"), "{reason}");
    }
}
