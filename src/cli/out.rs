//! Where words go: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Failure, table::table};
use crate::config::Environment;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    // Comments that clap does not show keep `--help` short.
    // For people.
    #[default]
    Table,
    // For programs.
    Json,
    // Names alone, one a line.
    Name,
}

/// The way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    pub(super) format: Format,
    pub(super) is_quiet: bool,
    pub(super) has_color: bool,
    /// Whether a person reads the results.
    pub(super) is_terminal: bool,
}

impl Out {
    pub(super) fn new(format: Format, is_quiet: bool, environment: &Environment) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_forced = environment.get("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let is_plain =
            environment.get("NO_COLOR").is_some() || environment.get("TERM") == Some("dumb");
        Self { format, is_quiet, has_color: !is_plain && (is_terminal || is_forced), is_terminal }
    }

    /// Writes a line of results.
    pub(super) fn line(self, text: &str) -> Result<(), Failure> {
        self.piece(format!("{text}\n").as_bytes())
    }

    /// Writes a piece of results.
    #[expect(clippy::unused_self, reason = "all results leave by this door")]
    pub(super) fn piece(self, text: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        // Whoever reads the results may have seen enough of them.
        match stdout.write_all(text).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new("the results cannot be written", error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Writes a result for programs.
    pub(super) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value);
        self.line(&self.tame(&text.expect("results are plain values")))
    }

    /// Shows one thing: for people, what is known of it line by line.
    pub(super) fn one(self, thing: &impl Serialize, name: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(thing),
            Format::Name => self.line(name),
            Format::Table => {
                let thing = serde_json::to_value(thing).expect("a view is plain data");
                let known = thing.as_object().into_iter().flatten();
                let rows = known.map(|(member, value)| vec![member.clone(), plain(value)]);
                self.line(&table(self, &["WHAT", "VALUE"], rows.collect()))
            }
        }
    }

    /// Shows several things: for people, a row of a table for each.
    pub(super) fn many<T: Serialize>(
        self,
        things: &[T],
        name: impl Fn(&T) -> &str,
        headings: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&things),
            Format::Name => things.iter().try_for_each(|thing| self.line(&self.tame(name(thing)))),
            Format::Table => self.line(&table(self, headings, things.iter().map(row).collect())),
        }
    }

    /// Says that something was done, and nothing is to be shown: to programs, with what.
    pub(super) fn done(self, word: &str, what: impl Serialize, note: &str) -> Result<(), Failure> {
        if self.format == Format::Json {
            self.json(&json!({ word: what }))?;
        }
        self.note(note);
        Ok(())
    }

    /// Says something beside the results, unless silence is wished.
    pub(super) fn note(self, text: &str) {
        if !self.is_quiet {
            say(text);
        }
    }

    /// Text in a color, where there are colors.
    pub(super) fn paint(self, color: Color, text: &str) -> String {
        if self.has_color { format!("\x1b[{}m{text}\x1b[0m", color as u8) } else { text.to_owned() }
    }

    /// Text of strangers as this reader may see it: a terminal obeys control characters.
    pub(super) fn tame(self, text: &str) -> String {
        if self.is_terminal { tamed(text) } else { text.to_owned() }
    }
}

/// A value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Colors, by their number in a terminal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Color {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Writes a line to standard error. When nobody reads that either, there is nobody left to tell.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text without control characters but line ends and tabs.
pub(super) fn tamed(text: &str) -> String {
    let tame = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{FFFD}' } else { c };
    text.chars().map(tame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_cannot_move_the_cursor() {
        assert_eq!(tamed("a\x1b[2Jb\r\n\tc\u{9b}"), "a\u{FFFD}[2Jb\u{FFFD}\n\tc\u{FFFD}");
    }

    #[test]
    fn colors_are_off_when_unwanted() {
        let out = |pairs: [(&str, &str); 2]| Out::new(Format::Table, false, &pairs.into());

        assert!(out([("CLICOLOR_FORCE", "1"), ("TERM", "xterm")]).has_color);
        assert!(!out([("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).has_color);
    }
}
