//! The process around each child: nothing outlives it, and it outlives nobody.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

const TOLLHOUSE: &str = env!("CARGO_BIN_EXE_tollhouse");

/// Two processes that say their numbers: the command, and one that hides in a session of its own
/// and ignores being asked to end.
const HIDING: &str = r#"
    setsid sh -c '(trap "" TERM; sh -c "echo \$PPID"; exec sleep 1000) &' &
    echo $$
    wait
    exec sleep 1000
"#;

/// How often a process is looked for before it counts as still there: for five seconds.
const LOOKS: u32 = 500;

fn warden(script: &str) -> Command {
    let mut command = Command::new(TOLLHOUSE);
    command.args(["--warden", "--stop-ms", "300", "--", "sh", "-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(command: &mut Command) -> Child {
    command.spawn().expect("a warden")
}

/// The numbers that processes say first, one a line.
fn numbers(child: &mut Child, count: usize) -> Vec<i32> {
    let said = BufReader::new(child.stdout.take().expect("a pipe"));
    let numbers = said.lines().take(count).map(|line| line.expect("a line"));
    numbers.map(|line| line.trim().parse().expect("a number")).collect()
}

/// Whether a process runs. One that has ended and waits to be reaped does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z')
}

fn all_end(pids: &[i32]) -> bool {
    for _ in 0..LOOKS {
        if !pids.iter().any(|pid| runs(*pid)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

fn ended(command: &mut Command) -> (ExitStatus, String) {
    let output = command.output().expect("a warden");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn passes_input_and_output_and_the_exit_code() {
    let mut child = start(&mut warden("cat; exit 7"));

    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"hello").expect("written");
    drop(stdin);
    let mut said = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");

    assert_eq!(said, "hello");
    assert_eq!(child.wait().expect("ended").code(), Some(7));
}

#[test]
fn tells_signals_as_shells_do() {
    let (status, _) = ended(&mut warden("kill -9 $$"));

    assert_eq!(status.code(), Some(137));
}

#[test]
fn says_when_there_is_nothing_to_start() {
    let mut missing = Command::new(TOLLHOUSE);
    missing.args(["--warden", "--", "/no/such/program"]);

    let (status, said) = ended(&mut missing);

    assert_eq!(status.code(), Some(126));
    assert!(said.starts_with("tollhouse: the program cannot be started"), "{said}");
}

#[test]
fn starts_nothing_for_a_gateway_that_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let mut late = Command::new(TOLLHOUSE);
    late.args(["--warden", "--parent", "1", "--", "touch"]).arg(&trace);

    let (status, _) = ended(&mut late);

    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(&trace).exists());
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() {
    let script = HIDING.replace("exec sleep 1000\n", "exit 0\n");
    let mut child = start(&mut warden(&script));

    let pids = numbers(&mut child, 2);
    let status = child.wait().expect("ended");

    assert_eq!(status.code(), Some(0));
    assert!(all_end(&pids), "{pids:?}");
}

#[test]
fn asked_to_end_it_ends_everything() {
    let mut child = start(&mut warden(HIDING));
    let pids = numbers(&mut child, 2);
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");

    signal("-TERM", child.id());
    child.wait().expect("ended");

    assert!(!pids.iter().any(|pid| runs(*pid)), "{pids:?}");
}

#[test]
fn a_killed_gateway_leaves_nobody() {
    // A shell stands in for the gateway: it starts the warden and is killed.
    let mut gateway = Command::new("sh");
    gateway.args(["-c", r#""$@" & wait"#, "sh", TOLLHOUSE, "--warden", "--stop-ms", "300", "--"]);
    gateway.args(["sh", "-c", HIDING]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut gateway = start(&mut gateway);
    let pids = numbers(&mut gateway, 2);
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");

    gateway.kill().expect("killed");
    gateway.wait().expect("ended");

    assert!(all_end(&pids), "{pids:?}");
}

#[test]
fn a_killed_warden_takes_its_command_along() {
    let mut child = start(&mut warden("echo $$; exec sleep 1000"));
    let pids = numbers(&mut child, 1);

    child.kill().expect("killed");
    child.wait().expect("ended");

    assert!(all_end(&pids), "{pids:?}");
}

#[test]
fn a_terminal_does_not_reach_the_command() {
    let mut child = start(&mut warden("echo $$; exec sleep 1000"));
    let pids = numbers(&mut child, 1);

    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pids[0])).expect("it runs");
    let (_, behind_name) = stat.rsplit_once(')').expect("a name");
    let group: i32 = behind_name.split_whitespace().nth(2).expect("a group").parse().expect("one");
    signal("-TERM", child.id());
    child.wait().expect("ended");

    assert_eq!(group, pids[0], "it has a group of its own");
}

#[test]
fn a_thread_of_the_gateway_that_ends_is_not_its_end() {
    let starter = std::thread::spawn(|| {
        let mut child = start(&mut warden("echo $$; read line; exit 5"));
        numbers(&mut child, 1);
        child
    });
    let mut child = starter.join().expect("started");

    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"go on\n").expect("written");

    assert_eq!(child.wait().expect("ended").code(), Some(5));
}
