//! Where frames begin and end in the bytes of a client, so that a socket can be made anew between
//! two of them.
//!
//! What reads the frames keeps the room of the largest one it met. Thousands of clients that were
//! talkative once would hold that for ever; so a socket that is quiet again begins anew.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::edge::listen::Socket as Raw;

/// The longest head of a frame, in bytes.
const LONGEST_HEAD: usize = 14;

/// A frame that leaves more room behind than a quiet socket should have.
const LARGE: u64 = 16 << 10;

/// A socket whose frames are followed as they are read.
pub(super) struct Followed {
    socket: Box<dyn Raw>,
    frames: Frames,
}

/// Follows frames.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; LONGEST_HEAD],
    /// Bytes of a head that have come.
    begun: usize,
    /// Bytes of a payload that are still to come.
    left: u64,
    /// Whether more frames of the same message follow.
    is_unfinished: bool,
    had_large: bool,
}

impl Followed {
    pub(super) fn new(socket: Box<dyn Raw>, read: &[u8]) -> Self {
        let mut frames = Frames::default();
        frames.follow(read);
        Self { socket, frames }
    }

    /// Whether there was a large frame, and everything that came is whole.
    pub(super) const fn may_begin_anew(&self) -> bool {
        self.frames.had_large && self.frames.is_between()
    }

    /// The same socket, as if it were new.
    pub(super) fn anew(self) -> Self {
        Self::new(self.socket, &[])
    }
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head[self.begun] = bytes[0];
            self.begun += 1;
            bytes = &bytes[1..];
            if self.begun == self.head_length() {
                self.begin();
            }
        }
    }

    /// How long the head is that has begun, as far as it is known.
    const fn head_length(&self) -> usize {
        if self.begun < 2 {
            return 2;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        match self.head[1] & 0x7F {
            127 => 10 + mask,
            126 => 4 + mask,
            _ => 2 + mask,
        }
    }

    fn begin(&mut self) {
        let [first, second, rest @ ..] = &self.head;
        self.left = match second & 0x7F {
            127 => rest[..8].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            126 => u64::from(rest[0]) << 8 | u64::from(rest[1]),
            length => length.into(),
        };
        let (is_last, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        if !is_control {
            self.is_unfinished = !is_last;
        }
        self.had_large |= self.left > LARGE;
        self.begun = 0;
    }

    const fn is_between(&self) -> bool {
        self.begun == 0 && self.left == 0 && !self.is_unfinished
    }
}

impl AsyncRead for Followed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.frames.follow(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Followed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(0x80 | u8::try_from(length).expect("short")),
            126..65_536 => {
                frame.push(0xFE);
                frame.extend(u16::try_from(length).expect("short").to_be_bytes());
            }
            _ => {
                frame.push(0xFF);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0xAA; 4 + length]);
        frame
    }

    #[test]
    fn knows_where_messages_end_however_their_bytes_come() {
        let messages = [
            frame(0x81, 0),
            frame(0x82, 125),
            [frame(0x01, 126), frame(0x89, 3), frame(0x80, 70_000)].concat(),
            frame(0x81, 20_000),
        ];
        for step in [1, 2, 13, 4_096] {
            let mut frames = Frames::default();
            for message in &messages {
                let (last, rest) = message.split_last().expect("not empty");
                for piece in rest.chunks(step) {
                    frames.follow(piece);
                }
                assert!(!frames.is_between());
                frames.follow(&[*last]);
                assert!(frames.is_between());
            }
            assert!(frames.had_large);
        }
    }

    #[test]
    fn a_message_is_not_over_before_its_last_frame() {
        let mut frames = Frames::default();

        frames.follow(&[frame(0x01, 20_000), frame(0x89, 0)].concat());

        assert!(frames.had_large && !frames.is_between());
    }
}
