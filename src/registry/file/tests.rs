use super::*;

fn forms(text: &str) -> Vec<(String, Value)> {
    let found = read(text).expect("a file that is understood");
    found.into_iter().map(|one| (one.name, one.form.unwrap_or_else(Value::String))).collect()
}

fn the_one(text: &str) -> Value {
    let mut forms = forms(text);
    assert_eq!(forms.len(), 1, "{forms:?}");
    forms.remove(0).1
}

#[test]
fn settings_of_clients_are_understood_in_every_format() {
    let stdio =
        json!({"command": "npx", "args": ["-y", "x"], "env": {"A": "1"}, "name": "git-hub"});
    for text in [
        r#"{"mcpServers": {"Git Hub": {"command": "npx", "args": ["-y", "x"], "env": {"A": "1"}}}}"#,
        r#"{ // VS Code
            "servers": {"Git Hub": {"type": "stdio", "command": "npx", "args": ["-y", "x"], "env": {"A": "1"},},},
        }"#,
        r#"{"mcp": {"servers": {"Git Hub": {"command": "npx", "args": ["-y", "x"], "env": {"A": "1"}}}}}"#,
        r#"{"context_servers": {"Git Hub": {"command": {"path": "npx", "args": ["-y", "x"]}, "env": {"A": "1"}}}}"#,
        "[mcp_servers.\"Git Hub\"]\ncommand = \"npx\"\nargs = [\"-y\", \"x\"]\nenv = { A = \"1\" }\n",
        "extensions:\n  Git Hub:\n    type: stdio\n    cmd: npx\n    args: [-y, x]\n    envs: {A: '1'}\n",
        "mcpServers:\n  - name: Git Hub\n    command: npx\n    args: [-y, x]\n    env: {A: '1'}\n",
    ] {
        assert_eq!(the_one(text), stdio, "{text}");
    }
}

#[test]
fn addresses_go_by_many_names() {
    for (entry, url, transport) in [
        (json!({"url": "https://a.example/mcp", "type": "http"}), "https://a.example/mcp", "http"),
        (json!({"httpUrl": "https://a.example/mcp"}), "https://a.example/mcp", ""),
        (json!({"serverUrl": "https://a.example/mcp"}), "https://a.example/mcp", ""),
        (
            json!({"uri": "https://a.example/mcp", "type": "streamable_http"}),
            "https://a.example/mcp",
            "streamable_http",
        ),
        (json!({"url": "https://a.example/sse", "type": "sse"}), "https://a.example/sse", "sse"),
        (json!({"url": "https://a.example/mcp", "type": "remote"}), "https://a.example/mcp", ""),
        (json!({"url": "wss://a.example/ws", "type": "http"}), "wss://a.example/ws", ""),
    ] {
        let form = the_one(&json!({"mcpServers": {"a": entry}}).to_string());
        assert_eq!(form["url"], url);
        assert_eq!(form["transport"].as_str().unwrap_or_default(), transport, "{entry}");
    }
}

#[test]
fn what_stands_for_something_else_is_told_and_filled_in() {
    let text = r#"{"mcpServers": {"a": {"url": "https://${HOST:-a.example}/mcp",
        "headers": {"Authorization": "Bearer ${env:TOKEN}", "X": "${input:key} $${"}}}}"#;
    let found = read(text).expect("a file").remove(0);
    assert_eq!(found.needs.iter().collect::<Vec<_>>(), ["TOKEN", "key"]);

    let known = [("TOKEN", "t"), ("key", "k")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let form = filled(&found.form.expect("a form"), &known.into());
    assert_eq!(form["url"], "https://a.example/mcp");
    assert_eq!(form["headers"], json!({"Authorization": "Bearer t", "X": "k $${"}));

    let codex = "[mcp_servers.a]\nurl = \"https://a.example/mcp\"\nbearer_token_env_var = \"T\"\n";
    assert_eq!(the_one(codex)["headers"]["Authorization"], "Bearer ${T}");
}

#[test]
fn registries_of_the_predecessors_are_understood_in_both_variants() {
    let instances = r#"[{"id": "a-1", "template_name": "a", "endpoint": "http://127.0.0.1:7071/mcp",
        "transport": "http", "status": "healthy", "backend": "docker", "container_id": "c0ffee",
        "consecutive_failures": 0, "metadata": {"weight": 2, "region": "eu", "x": null}},
       {"command": ["uvx", "a"], "transport": "stdio", "env_vars": {"A": "1"}, "working_dir": "/tmp"}]"#;
    for text in [
        format!(
            r#"{{"templates": {{"a": {{"name": "a", "instances": {instances}, "load_balancer": {{"strategy": "WEIGHTED"}}}}}}, "metadata": {{"version": "1.0"}}}}"#
        ),
        format!(
            r#"{{"servers": {{"a": {{"instances": {instances}, "load_balancer": {{"strategy": "weighted"}}}}}}, "last_updated": "2025", "global_config": {{}}}}"#
        ),
    ] {
        let form = the_one(&text);
        assert_eq!(form["balance"]["strategy"], "weighted");
        let first = &form["instances"][0];
        assert_eq!(first["url"], "http://127.0.0.1:7071/mcp");
        let metadata =
            json!({"weight": "2", "region": "eu", "backend": "docker", "container_id": "c0ffee"});
        assert_eq!(first["metadata"], metadata);
        assert_eq!(form["instances"][1]["cwd"], "/tmp");
        let form: crate::registry::Form = serde_json::from_value(form).expect("a form");
        assert_eq!(form.name, "a");
    }
}

#[test]
fn what_others_publish_is_understood() {
    let npm = r#"{"name": "io.github.x/files", "description": "Files", "version": "1.2.0",
        "packages": [{"registryType": "npm", "identifier": "@x/files", "version": "1.2.0",
            "transport": {"type": "stdio"}, "environmentVariables": [{"name": "KEY", "isRequired": true, "isSecret": true}]}]}"#;
    let expected = json!({"command": "npx", "args": ["-y", "@x/files@1.2.0"], "env": {"KEY": "${KEY}"}, "description": "Files", "name": "files"});
    assert_eq!(the_one(npm), expected);

    let remote = r#"{"name": "com.x/y", "remotes": [{"type": "streamable-http", "url": "https://x/mcp",
        "headers": [{"name": "X-Key", "isRequired": true}]}]}"#;
    assert_eq!(the_one(remote)["headers"]["X-Key"], "${X-Key}");

    let agentgateway = "binds:\n- port: 3000\n  listeners:\n  - routes:\n    - backends:\n      - mcp:\n          targets:\n          - name: everything\n            stdio: {cmd: npx, args: ['@x/e']}\n          - name: far\n            mcp: {host: far.example, port: 443, path: /x}\n";
    let found = forms(agentgateway);
    assert_eq!(found[0].1["command"], "npx");
    assert_eq!(found[1].1["url"], "https://far.example:443/x");
}

#[test]
fn what_is_left_out_is_told_why() {
    let text = r#"{"mcpServers": {"off": {"url": "https://a/", "disabled": true}, "self": {"command": "/usr/bin/tollhouse"}, "odd": {"x": 1}}}"#;
    let why: Vec<String> =
        read(text).expect("a file").into_iter().map(|it| it.form.expect_err("left out")).collect();
    assert_eq!(
        why,
        [
            "it is switched off there",
            "it is a gateway of this kind itself",
            "it has neither a URL nor a command"
        ]
    );

    assert_eq!(read("}{"), Err(Unreadable::NoFormat));
    assert_eq!(read("{\"a\": 1}"), Err(Unreadable::NoServers));
    assert_eq!(read(&" ".repeat(FILE_BYTES + 1)), Err(Unreadable::TooLarge));
    let many: Map<String, Value> =
        (0..=SERVERS).map(|at| (format!("s{at}"), json!({"url": "http://x/"}))).collect();
    assert_eq!(read(&json!({"mcpServers": many}).to_string()), Err(Unreadable::TooMany));
}

#[test]
fn what_nests_without_end_is_refused() {
    for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
        let deep = open.repeat(50_000) + "1" + &close.repeat(50_000);
        let text = format!("{{\"mcpServers\":{deep}}}");
        assert_eq!(read(&text), Err(Unreadable::NoFormat));
    }
    let yaml = format!("mcpServers:\n  a: {}1{}\n", "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(read(&yaml), Err(Unreadable::NoFormat));
    let toml = format!("mcp_servers = {}1{}\n", "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(read(&toml), Err(Unreadable::NoFormat));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nmcpServers: {a: {url: 'http://x/', headers: *g}}\n";
    assert!(read(bomb).is_err());
}
