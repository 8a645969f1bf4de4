//! Starting, draining, ending.

use std::process::{Command, Stdio};

use crate::support::{
    Act, Connection, FakeServer, Gateway, answer, eventually, gateway_meta, modern_result, request,
};

const SLEEP: &str = r#"{"name":"sleep","inputSchema":{"type":"object"}}"#;

/// A call of the tool `sleep` that has reached its server, on a connection of its own.
fn sleep_call(gateway: &Gateway, server: &FakeServer) -> Connection {
    let params = format!(r#""name":"s__sleep","_meta":{}"#, gateway_meta());
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#);
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [
        ("Authorization", &*bearer),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "s__sleep"),
    ];
    let mut running = gateway.connect();
    running.send(&request("POST", "/mcp", &gateway.address, &headers, Some(&body)));
    eventually("the call is under way", || server.asked("tools/call").pop());
    running
}

#[test]
fn a_signal_lets_running_calls_finish_and_takes_no_new_ones() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = FakeServer::play(move |seen| {
        let asked = seen.json();
        if asked["method"] == "tools/call" {
            held.lock().expect("no panic").recv().expect("released");
        }
        let result = r#"{"resultType":"complete","content":[]}"#;
        Act::Json(answer(&asked, &modern_result(&asked, SLEEP, result)))
    });
    let mut gateway = Gateway::start();
    gateway.done(&["register", "s", "--endpoint", &server.url]);
    let mut running = sleep_call(&gateway, &server);

    gateway.signal("-TERM");
    eventually("the door is closed", || {
        std::net::TcpStream::connect(&gateway.address).is_err().then_some(())
    });
    release.send(()).expect("somebody waits");

    assert_eq!(running.read().expect("an answer").status, 200);
    assert!(gateway.wait().success());
    assert!(!std::path::Path::new(&format!("{}/tollhouse.sock", gateway.data())).exists());
}

#[test]
fn a_second_signal_ends_at_once() {
    let server = FakeServer::play(|seen| {
        let asked = seen.json();
        if asked["method"] == "tools/call" {
            return Act::Hang;
        }
        Act::Json(answer(&asked, &modern_result(&asked, SLEEP, "{}")))
    });
    let mut gateway = Gateway::start_with(&[], "drain_seconds: 600\n");
    gateway.done(&["register", "s", "--endpoint", &server.url]);
    let _running = sleep_call(&gateway, &server);

    gateway.signal("-TERM");
    eventually("it drains", || gateway.log().contains("draining").then_some(()));
    gateway.signal("-TERM");

    assert!(gateway.wait().success());
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let mut gateway = Gateway::start();
    gateway.signal("-TERM");
    gateway.wait();
    gateway.run_with_log(&[("TOLLHOUSE_OBSERVE__QUEUE_BYTES", "10000")], Stdio::piped());

    // More lines than a pipe and the queue behind it hold.
    for _ in 0..500 {
        assert_eq!(gateway.call("/mcp", "tools/list", "").status, 200);
    }
    assert!(gateway.ask("GET", "/metrics", None).text().contains("journal_dropped_total"));
    gateway.signal("-TERM");

    assert!(gateway.wait().success());
}

#[test]
fn a_second_gateway_on_one_folder_is_refused() {
    let gateway = Gateway::start();

    let second = gateway.cli(&["start", "--listen", "127.0.0.1:0"]);

    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains(&gateway.pid().to_string()), "{said}");
}

#[test]
fn a_busy_address_is_told_with_its_holder() {
    let gateway = Gateway::start();
    let folder = tempfile::tempdir().expect("a folder");

    let second = Command::new(env!("CARGO_BIN_EXE_tollhouse"))
        .args(["start", "--listen", &gateway.address, "--data"])
        .arg(folder.path().join("data"))
        .output()
        .expect("it runs");

    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains("tollhouse") && said.contains(&gateway.pid().to_string()), "{said}");
}

#[test]
fn an_emptied_store_does_not_reopen_the_set_up() {
    let mut gateway = Gateway::start();
    gateway.signal("-KILL");
    gateway.wait();
    let store = format!("{}/state.redb", gateway.data());
    std::fs::write(&store, b"").expect("writable");

    let start = gateway.cli(&["start", "--listen", "127.0.0.1:0"]);
    let setup = gateway.cli(&["setup", "--username", "x", "--password-stdin"]);

    for output in [start, setup] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("state.redb"), "{said}");
    }
    assert_eq!(std::fs::metadata(&store).expect("still there").len(), 0);
}
