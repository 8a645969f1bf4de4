//! Running a program to its end: no server, only its output.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    join,
    time::timeout,
};

use super::{
    Error, Exit, Upstream,
    child::{Pipes, Program},
};
use crate::domain::Secret;

const CHUNK: usize = 16 * 1_024;

/// A program to be run, and how much of it is taken.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its file.
    pub(crate) command: String,
    /// Its arguments, which no shell reads.
    pub(crate) args: Vec<String>,
    /// What its environment holds besides the little that every child's does.
    pub(crate) env: BTreeMap<String, Secret>,
    /// How long it may take.
    pub(crate) patience: Duration,
    /// Bytes of its output that are kept, and of its standard error.
    pub(crate) output_bytes: usize,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The number of the process the gateway started.
    pub(crate) pid: i32,
    /// How it ended; none where it took too long and was ended.
    pub(crate) exit: Option<Exit>,
    /// What it wrote.
    pub(crate) output: Vec<u8>,
    /// What it wrote on its standard error.
    pub(crate) errors: Vec<u8>,
    /// Whether it wrote more than was kept.
    pub(crate) is_cut: bool,
}

impl Upstream {
    /// Runs a program: with a cleared environment, in a process group of its own, within a time.
    pub(crate) async fn execute(&self, run: Run) -> Result<Ran, Error> {
        let Run { command, args, env, patience, output_bytes } = run;
        let program = Program { command, args, env, cwd: None };
        let (mut child, Pipes { stdin, mut stdout, mut stderr }) = self.0.start(&program)?;
        // It is told nothing.
        drop(stdin);
        let pid = child.pid().as_raw_nonzero().get();
        let (mut output, mut errors) = (Kept::new(output_bytes), Kept::new(output_bytes));
        let reading = async { join!(output.read(&mut stdout), errors.read(&mut stderr)) };
        let ended = timeout(patience, async { join!(child.wait(), reading).0 }).await;
        if ended.is_err() {
            child.end(Duration::ZERO).await;
        }
        let exit = ended.ok();
        let is_cut = output.is_cut || errors.is_cut;
        Ok(Ran { pid, exit, output: output.bytes, errors: errors.bytes, is_cut })
    }
}

/// The beginning of what is read.
struct Kept {
    bytes: Vec<u8>,
    limit: usize,
    is_cut: bool,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, is_cut: false }
    }

    /// Reads to the end, also what is not kept: whoever writes is not to be held up.
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) {
        let mut chunk = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            let room = self.limit.saturating_sub(self.bytes.len()).min(count);
            self.bytes.extend_from_slice(&chunk[..room]);
            self.is_cut |= room < count;
        }
    }
}
