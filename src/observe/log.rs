//! The way out for lines: into a bounded buffer at once, and from there to standard error by one
//! thread. Nobody but that thread ever waits for whoever reads the log, or for nobody reading it.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines may wait for company before they are written.
const GATHER: Duration = Duration::from_millis(20);

/// Where lines wait to be written.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    text: String,
    dropped: u64,
    is_closing: bool,
}

impl Log {
    /// A log in which so many bytes of calls may wait, and as much again of everything else: what
    /// went wrong must not be lost among what went well.
    pub(crate) fn new(limit: usize) -> Self {
        let (pending, wake) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { limit, pending, wake }))
    }

    /// Adds the line of a call; says whether there was room.
    pub(super) fn call(&self, write: impl FnOnce(&mut String)) -> bool {
        self.add(self.0.limit, write)
    }

    fn add(&self, limit: usize, write: impl FnOnce(&mut String)) -> bool {
        let mut pending = self.0.pending.lock();
        if pending.text.len() >= limit {
            pending.dropped += 1;
            return false;
        }
        let is_first = pending.text.is_empty();
        write(&mut pending.text);
        drop(pending);
        if is_first {
            self.0.wake.notify_one();
        }
        true
    }

    /// Writes lines to standard error until [`Log::close`]; runs on a thread of its own.
    pub(crate) fn write_out(&self) {
        // A handle of our own: a writer that is stuck must not hold the lock of the shared one.
        let mut stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
        loop {
            let (text, dropped, is_closing) = self.gather();
            if let Ok(stderr) = &mut stderr {
                // Nobody is left to tell when standard error is gone.
                drop(stderr.write_all(text.as_bytes()));
            }
            if dropped > 0 {
                tracing::warn!(dropped, "lines were dropped: the log is read too slowly");
            }
            if is_closing {
                return;
            }
        }
    }

    pub(super) fn gather(&self) -> (String, u64, bool) {
        let mut pending = self.0.pending.lock();
        while pending.text.is_empty() && !pending.is_closing {
            self.0.wake.wait(&mut pending);
        }
        if !pending.is_closing {
            self.0.wake.wait_for(&mut pending, GATHER);
        }
        let spare = String::with_capacity(pending.text.len().min(64 << 10));
        let text = std::mem::replace(&mut pending.text, spare);
        (text, std::mem::take(&mut pending.dropped), pending.is_closing)
    }

    /// Lets the writer write what is left and end.
    pub(crate) fn close(&self) {
        self.0.pending.lock().is_closing = true;
        self.0.wake.notify_all();
    }
}

/// One event of the house, which comes in one piece.
impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.add(self.0.limit.saturating_mul(2), |pending| pending.push_str(&text));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_find_room_where_calls_find_none() {
        let mut log = Log::new(4);

        let calls = [log.call(|text| text.push_str("call\n")), log.call(|_| {})];
        log.write_all(b"event\n").expect("it takes everything");
        log.write_all(b"too much\n").expect("it takes everything");

        log.close();
        assert_eq!(calls, [true, false]);
        assert_eq!(log.gather(), ("call\nevent\n".to_owned(), 2, true));
    }
}
