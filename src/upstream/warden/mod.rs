//! The warden: a small process of our own around each child, so that nothing outlives its gateway.
//!
//! The gateway starts `tollhouse --warden -- COMMAND ARGS`. The warden starts the command in a
//! process group of its own and waits. When it is asked to end, when the gateway is gone, or when
//! the command has ended, it ends everything the command left behind, also what hid in another
//! session, and exits with the command's code.

mod family;
#[cfg_attr(not(target_os = "linux"), path = "kin_portable.rs")]
mod kin;

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    time::Duration,
};

use rustix::process::{Pid, getppid};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};

use self::family::Family;

/// What programs answer that cannot start another, as shells do.
const NOT_STARTED: u8 = 126;

/// How long the command may take to end when nobody said.
const STOP_MS: u64 = 2_000;

/// How often a warden looks for its gateway where the system does not tell of its end.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a warden with the arguments after `--warden`. To be called before any runtime is made.
pub fn warden(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Orders::read(args.into_iter()).and_then(|orders| watch(&orders)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nothing is left to do about a standard error that is gone.
            let _ = writeln!(io::stderr(), "tollhouse: the program cannot be started: {error}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

/// What a warden is told.
#[derive(Debug, PartialEq, Eq)]
struct Orders {
    parent: Option<Pid>,
    stop: Duration,
    program: OsString,
    args: Vec<OsString>,
}

impl Orders {
    fn read(mut given: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
        let number = |given: &mut dyn Iterator<Item = OsString>| {
            let text = given.next().and_then(|text| text.into_string().ok());
            text.and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| wrong("a number lacks"))
        };
        let mut parent = None;
        let mut stop_ms = STOP_MS;
        loop {
            match given.next() {
                Some(word) if word == "--parent" => parent = Some(number(&mut given)?),
                Some(word) if word == "--stop-ms" => stop_ms = number(&mut given)?,
                Some(word) if word == "--" => break,
                _ => return Err(wrong("usage: --warden [--parent PID] [--stop-ms MS] -- COMMAND")),
            }
        }
        let parent = parent.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let program = given.next().ok_or_else(|| wrong("no command"))?;
        let stop = Duration::from_millis(stop_ms);
        Ok(Self { parent, stop, program, args: given.collect() })
    }
}

/// The signals a warden acts on.
struct Signals {
    end: Signal,
    orphaned: Signal,
    child: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            end: signal(SignalKind::terminate())?,
            orphaned: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }
}

fn watch(orders: &Orders) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        kin::ask_for_word_of_parent()?;
        let parent = getppid();
        if orders.parent.is_some() && orders.parent != parent {
            // It died before it could be waited on: nothing was started, nothing is left.
            return Ok(0);
        }
        kin::adopt_orphans()?;
        let mut family = Family::new(start(orders)?);
        let_go_of_pipes()?;
        until_it_ends(&mut family, &mut signals, parent).await;
        family.end(&mut signals.child, orders.stop).await;
        Ok(family.code())
    })
}

fn start(orders: &Orders) -> io::Result<Pid> {
    let mut command = Command::new(&orders.program);
    command.args(&orders.args).process_group(0);
    kin::bind(&mut command);
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the process has no number"))
}

/// The pipes belong to the command alone: when it closes them, the gateway is to see it.
fn let_go_of_pipes() -> io::Result<()> {
    let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}

async fn until_it_ends(family: &mut Family, signals: &mut Signals, parent: Option<Pid>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        select! {
            _ = signals.child.recv() => {
                family.reap();
                if family.has_lost_its_head() {
                    return;
                }
            }
            _ = signals.end.recv() => return,
            // The word also comes when only the gateway's thread that started us ends.
            _ = signals.orphaned.recv() => if getppid() != parent { return },
            _ = look.tick(), if !kin::TELLS_OF_PARENT => if getppid() != parent { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> io::Result<Orders> {
        Orders::read(words.iter().map(OsString::from))
    }

    #[test]
    fn takes_the_command_as_it_is() {
        let orders = read(&["--parent", "7", "--stop-ms", "50", "--", "sh", "--", "-c"]);

        let expected = Orders {
            parent: Pid::from_raw(7),
            stop: Duration::from_millis(50),
            program: "sh".into(),
            args: vec!["--".into(), "-c".into()],
        };
        assert_eq!(orders.expect("orders"), expected);
    }

    #[test]
    fn refuses_orders_it_does_not_know() {
        for words in [&["sh"][..], &["--"], &["--stop-ms", "soon", "--", "sh"], &[]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
