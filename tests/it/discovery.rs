//! Servers that are found where they are written down or run.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixListener,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::support::{Act, FakeServer, Gateway, eventually};

const TOOLS: &str = r#"{"name":"look","inputSchema":{"type":"object"}}"#;

/// A Docker that has these containers, as the API of Docker 27 lists them.
struct FakeDocker {
    folder: tempfile::TempDir,
    containers: Arc<Mutex<Value>>,
}

impl FakeDocker {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket");
        let containers = Arc::new(Mutex::new(json!([])));
        let held = containers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(&stream).lines();
                let asked = lines.next().and_then(Result::ok).unwrap_or_default();
                for line in lines {
                    if line.is_ok_and(|line| line.is_empty()) {
                        break;
                    }
                }
                let is_list = asked.starts_with("GET ") && asked.contains("/containers/json?");
                let wants = asked.contains("tollhouse.enable%3Dtrue") && asked.contains("running");
                let (status, body) = if is_list && wants {
                    ("200 OK", held.lock().expect("no panic").to_string())
                } else {
                    ("400 Bad Request", json!({"message": asked}).to_string())
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nApi-Version: 1.47\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { folder, containers }
    }

    fn run(&self, containers: &Value) {
        *self.containers.lock().expect("no panic") = containers.clone();
    }

    fn settings(&self) -> String {
        let socket = self.folder.path().join("docker.sock");
        format!("docker: {{ enabled: true, socket: {} }}", socket.display())
    }
}

/// A container with these labels, whose port 8000 is this one of the machine.
fn container(id: &str, port: u16, labels: &Value) -> Value {
    let mut all = json!({"tollhouse.enable": "true", "org.opencontainers.image.title": "x"});
    for (name, value) in labels.as_object().expect("labels") {
        all[format!("tollhouse.{name}")] = value.clone();
    }
    json!({
        "Id": format!("{id:0<64}"), "Names": [format!("/{id}")], "Image": "example/mcp:1",
        "ImageID": "sha256:0123456789abcdef", "Command": "/server", "Created": 1_764_500_000,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": port, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 8000, "PublicPort": port, "Type": "tcp"},
        ],
        "Labels": all, "State": "running", "Status": "Up 5 minutes",
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "02:42:ac:11:00:02",
            "NetworkID": "7ea29fc1412292a2d7bba362f9253545", "EndpointID": "88eaed7b37b38c2a3f0c4bc7",
            "Gateway": "172.17.0.1", "IPAddress": "172.17.0.2", "IPPrefixLen": 16,
        }}},
        "Mounts": [],
    })
}

fn port(server: &FakeServer) -> u16 {
    let url = server.url.strip_prefix("http://127.0.0.1:").expect("a URL");
    url.trim_end_matches("/mcp").parse().expect("a port")
}

fn house(discovery: &str) -> Gateway {
    let wait = "grace_seconds: 1000, interval_seconds: 1000";
    Gateway::start_with(&[], &format!("registry: {{ discovery: {{ {wait}, {discovery} }} }}\n"))
}

/// What became of what the sources name: name and outcome.
fn sync(gateway: &Gateway, is_dry_run: bool) -> Vec<(String, String)> {
    let form = json!({"dry_run": is_dry_run}).to_string();
    let said = gateway.ask("POST", "/gateway/registry/sync", Some(&form));
    assert_eq!(said.status, 200, "{}", said.text());
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let told = said.json()["data"].as_array().expect("a list").clone();
    told.iter().map(|it| (text(&it["name"]), text(&it["outcome"]))).collect()
}

fn told(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect()
}

fn shown(gateway: &Gateway, name: &str) -> Value {
    gateway.ask("GET", &format!("/gateway/servers/{name}"), None).json()["data"].clone()
}

#[test]
fn containers_of_one_name_are_instances_of_one_server() {
    let (docker, server) = (FakeDocker::new(), FakeServer::modern(TOOLS, "{}"));
    let other = FakeServer::modern(TOOLS, "{}");
    let gateway = house(&docker.settings());
    let named = json!({"name": "wiki", "port": "8000", "description": "What is known"});
    docker.run(&json!([
        container("b2", port(&server), &named),
        container("a1", port(&other), &json!({"name": "wiki", "weight": "3"})),
        container("lost", 1, &json!({"port": "x"})),
    ]));

    let expected = [("lost", "refused"), ("wiki", "registered")];
    assert_eq!(sync(&gateway, true), told(&expected));
    assert_eq!(shown(&gateway, "wiki"), Value::Null, "a dry run changes nothing");
    assert_eq!(sync(&gateway, false), told(&expected));
    let wiki = shown(&gateway, "wiki");
    assert!(wiki["origin"].as_str().expect("an origin").starts_with("docker:"), "{wiki}");
    let list = gateway.ask("GET", "/gateway/servers/wiki/instances", None).json()["data"].clone();
    let url = |server: &FakeServer| json!(server.url);
    assert_eq!((&list[0]["location"], &list[1]["location"]), (&url(&other), &url(&server)));
    assert_eq!((&list[0]["weight"], &list[1]["weight"]), (&json!(3), &json!(1)));
    eventually("its tools", || (shown(&gateway, "wiki")["tools"] == 1).then_some(()));
    assert_eq!(sync(&gateway, false), told(&[("lost", "refused"), ("wiki", "unchanged")]));

    // One of them is gone; the other stays who it was.
    let stays = list[1]["id"].clone();
    docker.run(&json!([container("b2", port(&server), &named)]));
    assert_eq!(sync(&gateway, false), told(&[("wiki", "updated")]));
    let list = gateway.ask("GET", "/gateway/servers/wiki/instances", None).json()["data"].clone();
    assert_eq!((list.as_array().map(Vec::len), &list[0]["id"]), (Some(1), &stays));
}

/// A service as the API of Kubernetes 1.31 lists it.
fn service(name: &str, labels: &Value, ports: &Value) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "tools", "uid": "6d1f7d7e-3a27-4a86-8b0f-2c9cf0f9a2b7",
            "resourceVersion": "81230", "creationTimestamp": "2026-11-02T09:12:44Z",
            "labels": labels, "annotations": {"tollhouse.path": "/v1/mcp"},
        },
        "spec": {
            "ports": ports, "selector": {"app": name}, "clusterIP": "10.96.113.7",
            "clusterIPs": ["10.96.113.7"], "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    })
}

#[test]
fn services_of_a_cluster_are_servers() {
    let labels = json!({"tollhouse.enable": "true", "app": "x"});
    let http = json!([{"name": "http", "protocol": "TCP", "port": 8080, "targetPort": 8080}]);
    let both = json!([
        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"},
        {"name": "metrics", "protocol": "TCP", "port": 9090, "targetPort": 9090},
    ]);
    let listed = json!({
        "kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": "81344"},
        "items": [service("wiki", &labels, &http), service("two", &labels, &both)],
    });
    let api = FakeServer::play(move |seen| {
        let is_known = seen.header("authorization") == "Bearer sesame";
        let sought = "/api/v1/namespaces/tools/services?labelSelector=tollhouse.enable%3Dtrue";
        let path = seen.head.split(' ').nth(1).unwrap_or_default().to_owned();
        match (is_known, path == sought) {
            (false, _) => Act::Status(401, r#"{"kind":"Status","code":401}"#.to_owned()),
            (true, false) => Act::Status(404, path),
            (true, true) => Act::Json(listed.to_string()),
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "expired\n").expect("writable");
    let url = api.url.trim_end_matches("/mcp");
    let token_file = token.display();
    let gateway = house(&format!(
        "kubernetes: {{ enabled: true, url: '{url}', token_file: '{token_file}', namespace: tools }}"
    ));
    assert_eq!(sync(&gateway, false), told(&[("", "unreadable")]));

    // Tokens of pods are written anew now and then.
    std::fs::write(&token, "sesame\n").expect("writable");
    assert_eq!(sync(&gateway, false), told(&[("wiki", "registered"), ("two", "refused")]));
    let list = gateway.ask("GET", "/gateway/servers/wiki/instances", None).json()["data"].clone();
    assert_eq!(list[0]["location"], "http://wiki.tools.svc.cluster.local:8080/v1/mcp");
    assert_eq!(list[0]["metadata"]["namespace"], "tools");
}

#[test]
fn what_is_gone_is_retired_after_a_while_and_only_what_came_from_there() {
    let (docker, server) = (FakeDocker::new(), FakeServer::modern(TOOLS, "{}"));
    let settings = docker.settings();
    let config = format!("registry: {{ discovery: {{ grace_seconds: 1, {settings} }} }}\n");
    let gateway = Gateway::start_with(&[], &config);
    let mine = json!({"name": "mine", "url": server.url}).to_string();
    assert_eq!(gateway.ask("POST", "/gateway/servers", Some(&mine)).status, 201);
    docker.run(&json!([
        container("mine", port(&server), &json!({})),
        container("theirs", port(&server), &json!({})),
    ]));
    assert_eq!(sync(&gateway, false), told(&[("mine", "refused"), ("theirs", "registered")]));

    // While it cannot be asked, nothing is known to be gone.
    let all = docker.containers.lock().expect("no panic").clone();
    docker.run(&json!({"message": "the daemon is restarting"}));
    assert_eq!(sync(&gateway, false), told(&[("", "unreadable")]));
    docker.run(&all);
    assert_eq!(sync(&gateway, false)[1].1, "unchanged");

    docker.run(&json!([]));
    assert_eq!(sync(&gateway, false), told(&[("theirs", "gone")]));
    eventually("it is retired", || {
        (sync(&gateway, false) == told(&[("theirs", "removed")])).then_some(())
    });
    assert_eq!(shown(&gateway, "theirs"), Value::Null);
    assert_eq!(shown(&gateway, "mine")["name"], "mine");
    assert_eq!(sync(&gateway, false), told(&[]));
}

#[test]
fn a_folder_and_files_of_clients_are_read_by_themselves_where_that_is_wished() {
    let (folder, server) =
        (tempfile::tempdir().expect("a folder"), FakeServer::modern(TOOLS, "{}"));
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("writable");
    };
    std::fs::create_dir(folder.path().join("servers.d")).expect("a folder");
    write("servers.d/wiki.yaml", &format!("mcpServers: {{ wiki: {{ url: '{}' }} }}\n", server.url));
    let client = json!({"mcpServers": {
        "notes": {"url": server.url, "headers": {"X-Key": "${NOTES_KEY}"}},
        "other": {"url": server.url, "headers": {"X-Key": "${OTHER_KEY}"}},
    }});
    write("mcp.json", &client.to_string());
    let config = format!(
        "registry: {{ discovery: {{ folder: {0}/servers.d, files: [{0}/mcp.json], env: [NOTES_KEY], sync: true }} }}\n",
        folder.path().display()
    );
    let environment = [("NOTES_KEY", "canary-1"), ("OTHER_KEY", "canary-2")];
    let gateway = Gateway::start_with(&environment, &config);

    eventually("both are there", || {
        let there = |name| shown(&gateway, name)["name"] == name;
        (there("wiki") && there("notes")).then_some(())
    });
    // What was not allowed is not read from the environment.
    assert_eq!(shown(&gateway, "other"), Value::Null);
    let said = gateway.cli(&["sync"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(!said.status.success() && text.contains("it needs OTHER_KEY"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
