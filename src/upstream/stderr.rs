//! What a child process says on its standard error: its last lines are kept and logged, and when
//! it says too much, the rest is only counted.

use std::{collections::VecDeque, fmt::Write, time::Duration};

use memchr::memchr;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::Instant,
};
use tracing::debug;

use super::Settings;
use crate::domain::{InstanceId, is_hidden};

const CHUNK: usize = 16 * 1_024;
const SECOND: Duration = Duration::from_secs(1);

/// The last lines of a process's standard error. They stay when it ends, and say why.
#[derive(Debug, Default)]
pub(super) struct LastWords(Mutex<VecDeque<String>>);

impl LastWords {
    /// The lines, oldest first, without anything that could steer a terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }

    fn keep(&self, line: String, limit: usize) {
        let mut lines = self.0.lock();
        while lines.len() >= limit.max(1) {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Listens until the process closes its standard error.
    pub(super) async fn listen(
        &self,
        mut stderr: impl AsyncRead + Unpin,
        instance: InstanceId,
        settings: &Settings,
    ) {
        let mut chunk = vec![0; CHUNK];
        let mut line = Line::default();
        let mut second = Second { began: Instant::now(), lines: 0, skipped: 0 };
        while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
            if let Some(skipped) = second.turn() {
                debug!(%instance, "its process wrote {skipped} more lines than are logged");
            }
            let mut rest = &chunk[..count];
            while let Some(end) = memchr(b'\n', rest) {
                line.extend(&rest[..end], settings.stderr_line_bytes);
                rest = &rest[end + 1..];
                if second.takes_one_more(settings.stderr_lines_per_second) {
                    let text = printable(&line.0);
                    debug!(%instance, "its process wrote: {text}");
                    self.keep(text, settings.stderr_lines);
                }
                line.0.clear();
            }
            line.extend(rest, settings.stderr_line_bytes);
        }
        if !line.0.is_empty() {
            self.keep(printable(&line.0), settings.stderr_lines);
        }
    }
}

/// The line that is being read, cut where it grows too long.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    fn extend(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.0.len()).min(bytes.len());
        self.0.extend_from_slice(&bytes[..room]);
    }
}

/// How much was said within the current second.
struct Second {
    began: Instant,
    lines: u32,
    skipped: u64,
}

impl Second {
    /// Begins anew once the second is over; gives what the old one skipped, if anything.
    fn turn(&mut self) -> Option<u64> {
        if self.began.elapsed() < SECOND {
            return None;
        }
        let skipped = self.skipped;
        *self = Self { began: Instant::now(), lines: 0, skipped: 0 };
        (skipped > 0).then_some(skipped)
    }

    fn takes_one_more(&mut self, limit: u32) -> bool {
        let has_room = self.lines < limit;
        if has_room {
            self.lines += 1;
        } else {
            self.skipped += 1;
        }
        has_room
    }
}

/// Bytes as text on one line, with nothing in it that could steer a terminal or a log.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    for c in text.trim_end_matches('\r').chars() {
        if is_hidden(c) {
            let _ = write!(plain, "{}", c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(said: &[u8], settings: &Settings) -> Vec<String> {
        let words = LastWords::default();
        words.listen(said, InstanceId::fixed(1), settings).await;
        words.lines()
    }

    #[tokio::test]
    async fn keeps_the_last_lines_and_cuts_long_ones() {
        let settings = Settings { stderr_lines: 2, stderr_line_bytes: 4, ..Settings::default() };

        let lines = heard(b"one\ntwo\nthree hundred\nend", &settings).await;

        assert_eq!(lines, ["thre", "end"]);
    }

    #[tokio::test]
    async fn a_flood_is_counted_not_kept() {
        let settings = Settings { stderr_lines_per_second: 3, ..Settings::default() };

        let lines = heard(&b"flood\n".repeat(100_000), &settings).await;

        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable(b"\x1b[31mred\x07\r"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(printable(b"a\xffb"), "a\u{fffd}b");
    }
}
