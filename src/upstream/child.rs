//! Child processes: found, started with a cleared environment, ended together with all they
//! started.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Error, Exit, Settings};
use crate::domain::Secret;

/// How much longer than its command a warden may take.
const WARDENS_SLACK: Duration = Duration::from_secs(1);

/// What every child process finds in its environment, before what its definition adds.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// Where programs are found: `PATH`.
    pub(crate) path: OsString,
    /// The home folder: `HOME`.
    pub(crate) home: Option<OsString>,
    /// The language: `LANG`.
    pub(crate) lang: Option<OsString>,
}

/// What is started for an instance.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) command: String,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, Secret>,
    pub(super) cwd: Option<PathBuf>,
}

/// Where child processes are started.
#[derive(Debug)]
pub(super) struct Nursery {
    /// The gateway's own binary, run as a warden around each child. Without it a child is started
    /// directly, in a process group of its own.
    warden: Option<PathBuf>,
    /// Where children start that are told nothing else.
    folder: PathBuf,
    environment: Environment,
    places: Arc<Semaphore>,
    limit: usize,
    stop: Duration,
}

/// A running child process. It holds one of the places for children.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    has_warden: bool,
    stop: Duration,
    _place: OwnedSemaphorePermit,
}

/// The ends of a child's pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Nursery {
    pub(super) fn new(
        settings: &Settings,
        warden: Option<PathBuf>,
        folder: PathBuf,
        environment: Environment,
    ) -> Self {
        let places = Arc::new(Semaphore::new(settings.children.min(Semaphore::MAX_PERMITS)));
        Self {
            warden,
            folder,
            environment,
            places,
            limit: settings.children,
            stop: settings.stop(),
        }
    }

    /// Starts a program.
    pub(super) fn start(&self, program: &Program) -> Result<(Child, Pipes), Error> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Error::Crowded { limit: self.limit })?;
        let not_started = |error: io::Error| Error::NotStarted { source: Arc::new(error) };
        let mut process = self.command(program)?.spawn().map_err(not_started)?;
        let pid = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| not_started(io::Error::other("it has ended already")))?;
        let pipes = Pipes {
            stdin: process.stdin.take().expect("asked for as a pipe"),
            stdout: process.stdout.take().expect("asked for as a pipe"),
            stderr: process.stderr.take().expect("asked for as a pipe"),
        };
        let has_warden = self.warden.is_some();
        Ok((Child { process, pid, has_warden, stop: self.stop, _place: place }, pipes))
    }

    fn command(&self, program: &Program) -> Result<Command, Error> {
        let folder = self.folder.join(program.cwd.as_deref().unwrap_or(Path::new("")));
        let executable = self.find(program, &folder)?;
        let mut command = match &self.warden {
            None => Command::new(executable),
            Some(warden) => {
                let mut command = Command::new(warden);
                command.args(["--warden", "--parent", &std::process::id().to_string()]);
                command.args(["--stop-ms", &self.stop.as_millis().to_string(), "--"]);
                command.arg(executable);
                command
            }
        };
        command.args(&program.args).current_dir(folder).process_group(0);
        command.kill_on_drop(self.warden.is_none());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_clear().env("PATH", &self.environment.path);
        command.envs(self.environment.home.iter().map(|home| ("HOME", home)));
        command.envs(self.environment.lang.iter().map(|lang| ("LANG", lang)));
        command.envs(program.env.iter().map(|(name, value)| (name, value.expose())));
        Ok(command)
    }

    /// The file of a program: as the path it is, or found on `PATH`.
    fn find(&self, program: &Program, folder: &Path) -> Result<PathBuf, Error> {
        if program.command.contains('/') {
            let file = Some(folder.join(&program.command)).filter(|file| can_run(file));
            return file.ok_or_else(|| Error::no_command(&program.command));
        }
        let own = program.env.get("PATH").map(|path| OsString::from(path.expose()));
        let path = own.as_ref().unwrap_or(&self.environment.path);
        // An entry that is relative would find other programs in other folders.
        let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
        let found = folders.map(|folder| folder.join(&program.command)).find(|file| can_run(file));
        found.ok_or_else(|| Error::no_command(&program.command))
    }
}

fn can_run(file: &Path) -> bool {
    let is_program =
        |meta: std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    file.metadata().is_ok_and(is_program)
}

impl Child {
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended.
    pub(super) async fn wait(&mut self) -> Exit {
        self.process.wait().await.map_or(Exit::Silent, Exit::from)
    }

    /// Ends it: waits so long for it to end by itself now that nobody speaks to it, asks it to,
    /// kills it. Gives how it ended if that was by itself.
    pub(super) async fn end(&mut self, grace: Duration) -> Option<Exit> {
        if let Ok(exit) = timeout(grace, self.wait()).await {
            return Some(exit);
        }
        self.signal(Signal::TERM);
        let limit = if self.has_warden { self.stop + WARDENS_SLACK } else { self.stop };
        if timeout(limit, self.wait()).await.is_err() {
            self.signal(Signal::KILL);
            self.wait().await;
        }
        None
    }

    /// How long a child that ends by itself may take to be gone.
    pub(super) fn own_end(&self) -> Duration {
        self.stop + WARDENS_SLACK
    }

    fn signal(&self, signal: Signal) {
        // What is gone already needs no signal. A warden passes it on in its own way.
        let _ = if self.has_warden {
            kill_process(self.pid, signal)
        } else {
            kill_process_group(self.pid, signal)
        };
    }
}

/// A warden that was killed could not end what hides from it, so it is asked.
impl Drop for Child {
    fn drop(&mut self) {
        if self.has_warden && self.process.id().is_some() {
            self.signal(Signal::TERM);
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Silent,
        }
    }
}
