//! The command line, as people and scripts meet it.

use std::process::{Command, Stdio};

use crate::support::{Act, FakeServer, Gateway, answer, modern_result};

/// The help of a command, as wide as where there is no terminal.
fn help(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollhouse"));
    let output = command.args(words).arg("--help").env_remove("COLUMNS").output();
    let output = output.expect("the command runs");
    assert!(output.status.success(), "{words:?} has no help");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn help_is_pinned() {
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help_start", help(&["start"]));
    insta::assert_snapshot!("help_stdio", help(&["stdio"]));
    insta::assert_snapshot!("help_register", help(&["register"]));
    insta::assert_snapshot!("help_trust", help(&["trust"]));
    insta::assert_snapshot!("help_trust_approve", help(&["trust", "approve"]));
    insta::assert_snapshot!("help_lock", help(&["lock"]));
    insta::assert_snapshot!("help_lock_verify", help(&["lock", "verify"]));
    insta::assert_snapshot!("help_ps", help(&["ps"]));
    insta::assert_snapshot!("help_sessions", help(&["sessions"]));
    insta::assert_snapshot!("help_tools_call", help(&["tools", "call"]));
    insta::assert_snapshot!("help_key_create", help(&["key", "create"]));
    insta::assert_snapshot!("help_user", help(&["user"]));
    insta::assert_snapshot!("help_consent", help(&["consent"]));
    insta::assert_snapshot!("help_namespace", help(&["namespace"]));
    insta::assert_snapshot!("help_org", help(&["org"]));
    insta::assert_snapshot!("help_login", help(&["login"]));
    insta::assert_snapshot!("help_policy", help(&["policy"]));
}

#[test]
fn who_registers_a_server_hears_what_it_offers() {
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        let tool = r#"{"name":"now","inputSchema":{"type":"object"}}"#;
        Act::Json(answer(&asked, &modern_result(&asked, tool, "{}")))
    });
    let gateway = Gateway::start();

    let registered = gateway.cli(&["register", "time", "--endpoint", &server.url]);

    let said = String::from_utf8_lossy(&registered.stderr);
    assert_eq!((registered.status.code(), &*said), (Some(0), "registered time: 1 tool\n"));
}

#[test]
fn who_registers_a_server_that_fails_hears_why_and_so_does_who_asks_later() {
    let gateway = Gateway::start();
    let script = "echo no token >&2; exit 3";

    let registered = gateway.cli(&["register", "sick", "--", "sh", "-c", script]);
    let status = gateway.done(&["status"]);

    let said = String::from_utf8_lossy(&registered.stderr);
    assert_eq!(registered.status.code(), Some(0), "{said}");
    assert!(said.contains("but it does not answer\n  why: its process"), "{said}");
    assert!(said.contains("       no token\n"), "{said}");
    let row = status.lines().find(|line| line.starts_with("sick")).expect("a row");
    assert!(row.contains("unhealthy") && row.contains("its process"), "{row}");
}

#[test]
fn wrong_words_and_failed_work_end_with_different_codes() {
    let gateway = Gateway::start();
    let code = |words: &[&str]| gateway.cli(words).status.code();

    assert_eq!(code(&["list"]), Some(0));
    assert_eq!(code(&["deregister", "nobody"]), Some(1));
    assert_eq!(code(&["register", "x"]), Some(2));
    assert_eq!(code(&["tools", "call", "tollhouse__current_time", "--json", "[1]"]), Some(2));
    assert_eq!(code(&["key", "create", "x", "--expires", "yesterday"]), Some(2));
}

#[test]
fn the_settings_that_the_readme_shows_are_settings() {
    let readme = include_str!("../../README.md");
    let settings = readme.split("## Settings\n").nth(1).expect("a section");
    let shown = settings.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, shown.expect("the README shows settings")).expect("writable");

    let mut validate = Command::new(env!("CARGO_BIN_EXE_tollhouse"));
    let validated = validate.args(["config", "validate", "--config"]).arg(&file).output();

    let validated = validated.expect("the command runs");
    let said = String::from_utf8_lossy(&validated.stderr);
    assert!(validated.status.success(), "{said}");
}

#[test]
fn shells_complete_and_man_explains_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |words: &[&str]| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_tollhouse")).args(words).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let script = run(&["completions", "bash"]);
    let file = folder.path().join("tollhouse.bash");
    std::fs::write(&file, script).expect("writable");
    let words = format!(
        "source {}; COMP_WORDS=(tollhouse rou); COMP_CWORD=1; _tollhouse tollhouse rou tollhouse; echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    let completed = std::process::Command::new("bash").args(["-c", &words]).output().expect("bash");
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "route");

    let pages = folder.path().join("man1");
    run(&["man", pages.to_str().expect("a plain path")]);
    let page = std::fs::read_to_string(pages.join("tollhouse-route-add.1")).expect("a page");
    assert!(page.contains("\\-\\-mount"), "{page}");
    assert!(run(&["man"]).contains(".TH tollhouse 1"));
}

#[test]
fn status_is_shown_again_and_again_to_whoever_watches() {
    let gateway = Gateway::start();
    let mut watching = Command::new(env!("CARGO_BIN_EXE_tollhouse"))
        .args(["status", "--watch", "1", "-o", "json", "--data", &gateway.data()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let shown = watching.stdout.take().expect("piped");

    let shown = serde_json::Deserializer::from_reader(shown).into_iter::<serde_json::Value>();
    let twice: Vec<_> = shown.take(2).map(|status| status.expect("JSON")).collect();

    watching.kill().expect("it runs still");
    watching.wait().expect("it ends");
    assert!(twice.iter().all(|status| status["claimed"] == true), "{twice:?}");
}
