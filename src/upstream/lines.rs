//! Messages over a child's pipes: one line each.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports#stdio>

use std::io;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};
use tracing::debug;

use super::{
    Exit,
    dialogue::{Dialogue, Outgoing},
    heard::Heard,
    stderr::printable,
};

/// How much is read at once.
const CHUNK: usize = 64 * 1_024;
/// How many bytes must be free to read into.
const ROOM: usize = 8 * 1_024;
/// How many messages are written at once.
const BATCH: usize = 64;
/// How much of a line that is no message is logged.
const NOISE: usize = 200;

/// Writes what is to be written, until the child reads no more.
pub(super) async fn write(
    dialogue: &Dialogue,
    mut outgoing: mpsc::Receiver<Outgoing>,
    mut stdin: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut lines = Vec::new();
    while outgoing.recv_many(&mut batch, BATCH).await > 0 {
        for message in batch.drain(..) {
            if let Some((message, _)) = dialogue.take(message) {
                add_line(&mut lines, &message);
            }
            if lines.len() >= CHUNK {
                stdin.write_all(&lines).await?;
                lines = Vec::new();
            }
        }
        stdin.write_all(&lines).await?;
        lines.clear();
    }
    Ok(())
}

/// Reads until the child closes its output, or writes a longer line than is taken.
pub(super) async fn read(
    dialogue: &Dialogue,
    mut stdout: impl AsyncRead + Unpin,
    limit: usize,
) -> Option<Exit> {
    let too_long = Some(Exit::LongLine { limit_bytes: limit });
    let mut buffer = BytesMut::with_capacity(CHUNK);
    let mut searched = 0;
    loop {
        while let Some(at) = memchr(b'\n', &buffer[searched..]) {
            let line = buffer.split_to(searched + at + 1).freeze();
            searched = 0;
            if line.len() > limit {
                return too_long;
            }
            hear(dialogue, &line.slice(..line.len() - 1));
        }
        searched = buffer.len();
        if searched > limit {
            return too_long;
        }
        buffer.reserve(ROOM);
        match stdout.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

fn hear(dialogue: &Dialogue, line: &Bytes) {
    if line.trim_ascii().is_empty() {
        return;
    }
    if let Err(reason) = dialogue.hear(Heard::read(line)) {
        let start = &line[..line.len().min(NOISE)];
        debug!(%reason, "a line on standard output is no message: {}", printable(start));
    }
}

/// Adds a message as one line. A line break between the tokens of JSON is as good as a space.
fn add_line(lines: &mut Vec<u8>, message: &[u8]) {
    let mut rest = message;
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        lines.extend_from_slice(&rest[..at]);
        lines.push(b' ');
        rest = &rest[at + 1..];
    }
    lines.extend_from_slice(rest);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_however_it_was_written() {
        let mut lines = Vec::new();

        add_line(&mut lines, b"{\r\n \"id\":\n1}");
        add_line(&mut lines, b"{}");

        assert_eq!(lines, b"{   \"id\": 1}\n{}\n");
    }
}
