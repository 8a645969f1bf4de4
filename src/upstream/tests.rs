use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::{
    domain::{FixedClock, Secret, SystemClock},
    wire::{Address, Era, Method, Request},
};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/stdio_server.py");

struct House {
    upstream: Upstream,
    folder: tempfile::TempDir,
}

impl House {
    fn with(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let environment =
            Environment { path: env!("PATH").into(), home: None, lang: Some("C.UTF-8".into()) };
        let made = Upstream::new(settings, None, folder.path().into(), environment, clock);
        Self { upstream: made.expect("an upstream"), folder }
    }

    fn new() -> Self {
        Self::with(quick(), Arc::new(SystemClock))
    }

    async fn call(&self, instance: &Instance, tool: &str) -> Result<Value, Error> {
        self.call_with(instance, tool, &json!({}), 10_000).await
    }

    async fn call_with(
        &self,
        instance: &Instance,
        tool: &str,
        arguments: &Value,
        ms: u64,
    ) -> Result<Value, Error> {
        let params = json!({"name": format!("x__{tool}"), "arguments": arguments}).to_string();
        let request = Request::make(&Method::ToolsCall, &params);
        let address = Address { subject: Some(tool), params: &[] };
        let answer = self.upstream.ask(instance, Ask::plain(&request, address, within(ms))).await?;
        let result: Value =
            serde_json::from_str(answer.result().expect("a result").get()).expect("parsed before");
        let text = result["content"][0]["text"].as_str().expect("text");
        Ok(serde_json::from_str(text).expect("JSON in text"))
    }

    /// Asks until the child has taken note of everything said before.
    async fn cancelled_after(&self, instance: &Instance, count: usize) -> Value {
        loop {
            let seen = self.call(instance, "cancelled").await.expect("an answer");
            if seen.as_array().expect("a list").len() >= count {
                return seen;
            }
        }
    }
}

fn quick() -> Settings {
    Settings { stop_ms: 300, probe_ms: 5_000, ..Settings::default() }
}

fn within(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn program(command: &str, args: &[&str]) -> Instance {
    let endpoint = Endpoint::Stdio {
        command: command.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: BTreeMap::from([("OWN".to_owned(), Secret::new("yes"))]),
        cwd: None,
    };
    Instance::new(endpoint)
}

fn server(flags: &[&str]) -> Instance {
    let mut args = vec![FIXTURE];
    args.extend(flags);
    program("python3", &args)
}

fn is_alive(pid: &Value) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn speaks_to_both_eras_and_tells_them_apart() {
    let house = House::new();
    let old = server(&["--legacy"]);
    let new = server(&["--modern"]);

    let answers = (
        house.call_with(&old, "echo", &json!({"n": 1}), 10_000).await,
        house.call_with(&new, "echo", &json!({"n": 2}), 10_000).await,
    );

    assert_eq!(answers.0.expect("an answer"), json!({"n": 1}));
    assert_eq!(answers.1.expect("an answer"), json!({"n": 2}));
    let old = house.upstream.peer(&old.id).expect("greeted");
    let new = house.upstream.peer(&new.id).expect("greeted");
    assert_eq!((old.era, old.revision.as_str()), (Era::Legacy, "2025-11-25"));
    assert_eq!((new.era, new.revision.as_str()), (Era::Modern, "2026-07-28"));
    assert!(old.capabilities.prompts && !new.capabilities.prompts);
    house.upstream.close().await;
}

#[tokio::test]
async fn silence_and_death_at_the_first_question_mean_an_older_revision() {
    let house = House::with(Settings { probe_ms: 700, ..quick() }, Arc::new(SystemClock));

    for flag in ["--silent", "--dies-of-discover"] {
        let instance = server(&[flag]);
        let peer = house.upstream.describe(&instance, None, within(20_000)).await;
        assert_eq!(peer.expect(flag).era, Era::Legacy);
    }

    house.upstream.close().await;
}

#[tokio::test]
async fn a_child_sees_only_the_environment_it_is_given() {
    let house = House::new();
    let instance = server(&["--modern"]);

    let seen = house.call(&instance, "environment").await.expect("an answer");

    let mut names: Vec<&String> = seen["env"].as_object().expect("an object").keys().collect();
    // The interpreter adds this one by itself.
    names.retain(|name| !["LC_CTYPE", "PYENV_VERSION"].contains(&name.as_str()));
    let folder = house.folder.path().canonicalize().expect("a folder");
    assert_eq!(seen["cwd"], json!(folder));
    assert!(["LANG", "OWN", "PATH"].iter().all(|name| names.iter().any(|found| found == name)));
    assert!(!names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
    house.upstream.close().await;
}

#[tokio::test]
async fn many_callers_share_one_child() {
    let house = House::new();
    let instance = server(&["--modern"]);

    let calls = (0..50).map(|n| {
        let (house, instance) = (&house, &instance);
        async move { house.call_with(instance, "echo", &json!(n), 10_000).await }
    });
    let answers = futures_util::future::join_all(calls).await;

    let answers: Vec<Value> = answers.into_iter().map(|answer| answer.expect("one")).collect();
    assert_eq!(answers, (0..50).map(|n| json!(n)).collect::<Vec<_>>());
    assert_eq!(house.upstream.child(&instance.id).expect("a child").restarts, 0);
    house.upstream.close().await;
}

#[tokio::test]
async fn noise_and_answers_nobody_waits_for_are_passed_over() {
    let house = House::new();
    let instance = server(&["--legacy"]);

    assert_eq!(house.call(&instance, "garbage").await.expect("an answer"), "after garbage");
    assert_eq!(house.call(&instance, "late").await.expect("an answer"), "in time");

    house.upstream.close().await;
}

#[tokio::test]
async fn answers_what_the_server_asks() {
    let house = House::new();
    let instance = server(&["--legacy"]);

    let replies = house.call(&instance, "ask").await.expect("an answer");

    assert_eq!(replies[0]["result"], json!({}));
    assert_eq!(replies[1]["id"], "r");
    assert_eq!(replies[1]["error"]["code"], -32601);
    house.upstream.close().await;
}

#[tokio::test]
async fn who_waits_in_vain_cancels() {
    let house = House::new();
    let instance = server(&["--modern"]);
    house.call(&instance, "echo").await.expect("an answer");

    let slow = house.call_with(&instance, "hang", &json!({}), 200).await.expect_err("too slow");
    let hung_up = house.call(&instance, "hang");
    let hung_up = tokio::time::timeout(Duration::from_millis(200), hung_up).await;

    assert!(matches!(slow, Error::TooSlow { was_delivered: true, .. }), "{slow:?}");
    assert_eq!(slow.to_string(), "it did not answer within 200 ms");
    assert!(hung_up.is_err());
    // The first two questions were the discovery and the echo.
    assert_eq!(house.cancelled_after(&instance, 2).await, json!([3, 4]));
    house.upstream.close().await;
}

#[tokio::test]
async fn a_crash_is_told_to_all_who_wait_and_followed_by_a_rest() {
    let clock = Arc::new(FixedClock::default());
    let house = House::with(quick(), clock.clone());
    let instance = server(&["--modern"]);
    house.call(&instance, "echo").await.expect("an answer");

    let (waiting, crashing) =
        tokio::join!(house.call(&instance, "hang"), house.call(&instance, "crash"));

    for error in [waiting.expect_err("ended"), crashing.expect_err("ended")] {
        assert_eq!(error.to_string(), "its process ended with exit code 3");
        assert!(error.was_delivered());
    }
    let resting = house.call(&instance, "echo").await.expect_err("resting");
    assert!(matches!(resting, Error::BackingOff { retry_after_seconds: 1 }), "{resting:?}");
    assert!(house.upstream.is_asleep(&instance));
    let child = house.upstream.child(&instance.id).expect("a child");
    assert_eq!(child.stderr, ["\\u{1b}[31mout of luck"]);

    clock.advance(Duration::from_secs(1));
    house.call(&instance, "echo").await.expect("started again");
    assert_eq!(house.upstream.child(&instance.id).expect("a child").restarts, 1);
    house.upstream.close().await;
}

#[tokio::test]
async fn what_crashes_at_once_rests_and_says_why() {
    let house = House::with(quick(), Arc::new(FixedClock::default()));
    let instance = server(&["--crashes"]);

    let error = house.call(&instance, "echo").await.expect_err("crashed");
    let next = house.call(&instance, "echo").await.expect_err("resting");

    assert_eq!(error.to_string(), "its process ended with exit code 1");
    assert!(!error.was_delivered());
    assert!(matches!(next, Error::BackingOff { .. }), "{next:?}");
    let child = house.upstream.child(&instance.id).expect("a child");
    assert_eq!(child.stderr.last().map(String::as_str), Some("no configuration"));
}

#[tokio::test]
async fn an_endless_line_ends_the_child() {
    let house = House::with(Settings { line_bytes: 100_000, ..quick() }, Arc::new(SystemClock));
    let instance = server(&["--modern"]);

    let fits = house.call_with(&instance, "big", &json!({"bytes": 90_000}), 10_000).await;
    let bytes = json!({"bytes": 1_000_000});
    let error = house.call_with(&instance, "huge", &bytes, 10_000).await.expect_err("too long");

    assert_eq!(fits.expect("fits").as_str().map(str::len), Some(90_000));
    assert!(error.to_string().contains("a line of more than 100000 bytes"), "{error}");
    house.upstream.close().await;
}

#[tokio::test]
async fn a_flood_on_standard_error_stops_nobody() {
    let house = House::new();
    let instance = server(&["--modern"]);

    let answer = house.call_with(&instance, "flood", &json!({}), 30_000).await;

    assert_eq!(answer.expect("an answer"), "after the flood");
    let child = house.upstream.child(&instance.id).expect("a child");
    assert!(child.stderr.len() <= Settings::default().stderr_lines);
    house.upstream.close().await;
}

#[tokio::test]
async fn a_child_that_reads_no_more_blocks_nobody() {
    let house = House::new();
    let instance = server(&["--modern"]);
    house.call(&instance, "echo").await.expect("an answer");

    let deaf = house.call_with(&instance, "deaf", &json!({}), 200).await.expect_err("slow");
    let full = json!("x".repeat(1_000_000));
    let stuck = house.call_with(&instance, "echo", &full, 200).await.expect_err("stuck");
    let behind = house.call_with(&instance, "echo", &full, 200).await.expect_err("behind it");

    assert!(deaf.was_delivered());
    assert!(stuck.was_delivered());
    assert!(!behind.was_delivered(), "it was never written");
    house.upstream.close().await;
}

#[tokio::test]
async fn sleeps_when_nobody_calls_and_wakes_when_somebody_does() {
    let clock = Arc::new(FixedClock::default());
    let house = House::with(quick(), clock.clone());
    let instance = server(&["--modern"]);
    assert!(house.upstream.is_asleep(&instance));
    let first = house.call(&instance, "environment").await.expect("an answer")["pid"].clone();

    house.upstream.0.sleep_if_idle();
    assert!(!house.upstream.is_asleep(&instance));
    clock.advance(Duration::from_mins(10));
    house.upstream.0.sleep_if_idle();
    assert!(house.upstream.is_asleep(&instance));
    assert!(house.upstream.peer(&instance.id).is_some());

    let second = house.call(&instance, "environment").await.expect("awake")["pid"].clone();
    assert_ne!(first, second);
    house.upstream.close().await;
    assert!(!is_alive(&first) && !is_alive(&second));
}

#[tokio::test]
async fn even_who_ignores_being_asked_is_gone_when_closed() {
    let house = House::new();
    let instance = server(&["--modern", "--stubborn"]);
    let pid = house.call(&instance, "environment").await.expect("an answer")["pid"].clone();
    assert!(is_alive(&pid));

    house.upstream.close().await;

    assert!(!is_alive(&pid));
    let after = house.call(&instance, "echo").await.expect_err("closed");
    assert!(matches!(after, Error::Closed), "{after:?}");
}

#[tokio::test]
async fn a_changed_definition_is_another_child() {
    let house = House::new();
    let before = server(&["--modern"]);
    let pid = house.call(&before, "environment").await.expect("an answer")["pid"].clone();

    let after = Instance { id: before.id, ..server(&["--legacy"]) };
    house.call(&after, "echo").await.expect("an answer");

    assert_eq!(house.upstream.peer(&before.id).expect("greeted").era, Era::Legacy);
    house.upstream.retire(&before.id).await;
    assert_eq!(house.upstream.peer(&before.id), None);
    house.upstream.close().await;
    assert!(!is_alive(&pid));
}

#[tokio::test]
async fn a_missing_program_is_told_before_it_is_started() {
    let house = House::new();

    let missing = house.call(&program("npxx", &[]), "echo").await.expect_err("missing");
    let no_file = house.call(&program("/no/such", &[]), "echo").await.expect_err("missing");
    let no_mcp = house.call(&program("true", &[]), "echo").await.expect_err("no server");

    assert_eq!(missing.to_string(), "its program was not found");
    assert!(crate::problem::chain(&missing).contains("npxx"), "the log has its name");
    assert_eq!(no_file.to_string(), "its program was not found");
    assert_eq!(no_mcp.to_string(), "its process ended with exit code 0");
}

#[tokio::test]
async fn no_more_children_than_allowed() {
    let house = House::with(Settings { children: 1, ..quick() }, Arc::new(SystemClock));
    let (one, other) = (server(&["--modern"]), server(&["--modern"]));
    house.call(&one, "echo").await.expect("an answer");

    let crowded = house.call(&other, "echo").await.expect_err("crowded");
    house.upstream.retire(&one.id).await;

    assert!(matches!(crowded, Error::Crowded { limit: 1 }), "{crowded:?}");
    house.call(&other, "echo").await.expect("a free place");
    house.upstream.close().await;
}

#[tokio::test]
async fn who_is_retired_is_not_started_again() {
    let house = House::new();
    let retired = server(&["--modern"]);
    let pid = house.call(&retired, "environment").await.expect("an answer")["pid"].clone();

    house.upstream.retire(&retired.id).await;
    let late = house.call(&retired, "environment").await;

    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    assert!(!is_alive(&pid) && house.upstream.child(&retired.id).is_none());
    house.upstream.close().await;
}
