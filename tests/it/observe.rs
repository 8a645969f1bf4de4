//! What the house tells of itself.

use serde_json::{Value, json};

use crate::support::{Act, FakeServer, Gateway};

#[test]
fn the_names_of_the_metrics_are_pinned() {
    let gateway = Gateway::start();
    gateway.cli(&["register", "sick", "--endpoint", "http://127.0.0.1:9/mcp"]);
    assert_eq!(gateway.call("/mcp", "tools/list", "").status, 200);

    let shown = gateway.ask("GET", "/metrics", None);

    assert_eq!(shown.status, 200);
    let text = shown.text();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    insta::assert_snapshot!(families.collect::<Vec<_>>().join("\n"));
}

/// The lines of JSON in a file.
fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn lines_go_to_each_sink_and_the_last_ones_are_waited_for() {
    let loki = FakeServer::play(|_| Act::Status(204, String::new()));
    let folder = tempfile::tempdir().expect("a folder");
    let (path, token) = (folder.path().join("tollhouse.log"), folder.path().join("token"));
    std::fs::write(&token, "t0ken\n").expect("written");
    let base = loki.url.trim_end_matches("/mcp");
    let config = json!({"observe": {"sinks": [
        {"type": "file", "path": path},
        {"type": "loki", "url": base, "labels": {"site": "here"}, "token_file": token},
        {"type": "file", "path": "/nonexistent/tollhouse.log"},
    ]}});
    let mut gateway = Gateway::start_with(&[], &config.to_string());
    for _ in 0..5 {
        assert_eq!(gateway.call("/mcp", "tools/list", "").status, 200);
    }
    let metrics = gateway.ask("GET", "/metrics", None);
    gateway.signal("-TERM");
    gateway.wait();

    let calls = |lines: &[Value]| lines.iter().filter(|it| it["message"] == "call").count();
    let filed = lines(&path);
    assert_eq!(calls(&filed), 5, "{filed:?}");
    assert!(filed.iter().any(|it| it["message"].as_str().unwrap().starts_with("draining")));
    let mut pushed = Vec::new();
    for seen in loki.seen() {
        assert!(seen.head.starts_with("POST /loki/api/v1/push "), "{}", seen.head);
        assert_eq!(seen.header("authorization"), "Bearer t0ken");
        for stream in seen.json()["streams"].as_array().expect("streams") {
            assert_eq!(
                (&stream["stream"]["site"], &stream["stream"]["job"]),
                (&json!("here"), &json!("tollhouse"))
            );
            for value in stream["values"].as_array().expect("values") {
                assert_eq!(value[0].as_str().map(str::len), Some(19), "nanoseconds");
                pushed
                    .push(serde_json::from_str(value[1].as_str().expect("a line")).expect("JSON"));
            }
        }
    }
    assert_eq!(calls(&pushed), 5, "{pushed:?}");
    // One that cannot be written keeps nobody waiting, and is told of.
    assert_eq!(metrics.status, 200);
    assert!(gateway.log().contains("lines are not taken; trying again"), "{}", gateway.log());
}

#[test]
fn a_sink_that_is_none_is_refused_with_what_is_wrong() {
    let gateway = Gateway::start();
    let file = std::path::Path::new(&gateway.data()).join("../wrong.yaml");
    for (sink, wrong) in [
        (json!({"type": "syslog", "address": "h"}), "no address of a syslog"),
        (json!({"type": "loki", "url": "loki"}), "not the URL of a Loki"),
        (json!({"type": "pigeon"}), "pigeon"),
    ] {
        let config = json!({"observe": {"sinks": [sink]}}).to_string();
        std::fs::write(&file, config).expect("written");
        let said = gateway.cli(&["config", "validate", "--config", file.to_str().expect("a path")]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(
            !said.status.success() && text.contains("observe.sinks") && text.contains(wrong),
            "{text}"
        );
    }
}
