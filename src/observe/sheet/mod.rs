//! Sheets: the lines of some calls, in columns.
//!
//! A line is numbers and words. Each word stands in a sheet once, and lines name it by its place,
//! so that a search looks at every word once and then at numbers alone: whoever seeks a server
//! passes over each sheet that does not know its name.
//!
//! A sheet as it is kept: a version; the counts of lines, of words, and of columns of both kinds;
//! the number of the first line; where each word ends, and all words; then each column as the
//! width of its entries and the entries, little-endian. A column in which nothing stands has the
//! width 0. Columns that a release does not know are passed over, and those a sheet does not have
//! are empty.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::{domain::Timestamp, store::Mark};

const VERSION: u8 = 1;

/// Lines of a sheet.
pub(super) const LINES: usize = 2_000;

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident: $($(#[$column:meta])* $column_name:ident,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$column])* $column_name,)* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$column_name,)*];
            const COUNT: usize = Self::ALL.len();
        }
    };
}

columns! {
    /// What is a number in a line. New ones go to the end: that is how older sheets are read.
    Number:
    /// The line's own number, less the sheet's first.
    Offset,
    /// When the call ended, in milliseconds since 1970.
    At,
    /// How long it took, in microseconds.
    Took,
    /// After how many microseconds it was known who calls; 0 where that was never known.
    Known,
    /// After how many it was found what is called.
    Found,
    /// After how many it was permitted.
    Permitted,
    /// After how many there was a place for it.
    Admitted,
    /// The size of what was asked, in bytes.
    In,
    /// The size of what was answered, in bytes.
    Out,
    /// The HTTP status that says how it ended.
    Status,
    /// The code of a server's error, zigzag.
    Code,
    /// Attempts that were made at a server.
    Attempts,
    /// 1 where the answer is one that was kept.
    Recalled,
    /// Lines that were dropped just before this one.
    Dropped,
    /// Where what was said begins in its segment, in bytes.
    BodyAt,
    /// How long it is there, in bytes; 0 where it is not kept.
    BodyBytes,
}

columns! {
    /// What is a word in a line. New ones go to the end.
    Word:
    /// Whose call it is.
    Organization,
    /// Names the call.
    RequestId,
    /// What kind of call.
    Method,
    /// The endpoint it came by.
    Endpoint,
    /// The server it was for.
    Server,
    /// The tool, resource or prompt.
    Item,
    /// The instance that was asked last.
    Instance,
    /// What the client calls itself.
    Client,
    /// The transport it came by.
    Via,
    /// The revision that the client speaks.
    Revision,
    /// Who called.
    Caller,
    /// As what.
    Role,
    /// How it ended.
    Outcome,
    /// What the caller was told of a failure.
    Problem,
    /// What is behind it.
    Cause,
    /// What policies decided.
    Decision,
    /// Which of them did.
    Policy,
    /// Those whose redactions the answer passed.
    RedactedBy,
    /// What they looked at, as JSON.
    Inputs,
    /// Where the call stands with rate limits, as JSON.
    Limits,
    /// The address it came from.
    Address,
    /// The session it was made in.
    Session,
    /// The method of an HTTP request.
    Verb,
    /// The path of an HTTP request.
    Path,
    /// The segment in which what was said is kept.
    Segment,
}

/// A line before it has its number.
#[derive(Debug, Clone)]
struct Row {
    numbers: [u64; Number::COUNT],
    words: [u16; Word::COUNT],
}

/// A sheet that is being written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    rows: Vec<Row>,
    /// The places of words, from 1.
    places: HashMap<Box<str>, u16>,
    ends: Vec<u32>,
    text: String,
}

impl Draft {
    /// Lines in it.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing stands in it.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether no further line may be begun.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= LINES || self.ends.len() + Word::COUNT >= usize::from(u16::MAX)
    }

    /// Begins a line.
    pub(super) fn begin(&mut self) -> Entry<'_> {
        self.rows.push(Row { numbers: [0; Number::COUNT], words: [0; Word::COUNT] });
        Entry { draft: self }
    }

    /// Writes a number into the line that was begun last.
    pub(super) fn last(&mut self, column: Number, number: u64) {
        if let Some(row) = self.rows.last_mut() {
            row.numbers[column as usize] = number;
        }
    }

    /// Writes a word into the line that was begun last.
    pub(super) fn last_word(&mut self, column: Word, word: &str) {
        if !self.rows.is_empty() {
            Entry { draft: self }.word(column, word);
        }
    }

    /// Copies a line of another sheet, which keeps its number where this one's first is given.
    pub(super) fn copy(&mut self, sheet: &Sheet<'_>, row: usize, first: u64) {
        let offset = sheet.number(row).saturating_sub(first);
        let mut entry = self.begin();
        for column in Number::ALL {
            entry.number(*column, sheet.at(*column, row));
        }
        entry.number(Number::Offset, offset);
        for column in Word::ALL {
            entry.word(*column, sheet.word(*column, row));
        }
    }

    /// The place of a word. Those that hardly come twice are not looked for.
    fn place(&mut self, column: Word, word: &str) -> u16 {
        let is_own = matches!(column, Word::RequestId | Word::Limits);
        if !is_own && let Some(place) = self.places.get(word) {
            return *place;
        }
        self.text.push_str(word);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        let place = u16::try_from(self.ends.len()).expect("a full sheet takes no line");
        if !is_own {
            self.places.insert(word.into(), place);
        }
        place
    }

    /// The sheet, whose first line has this number; and what is to be known of it.
    pub(super) fn seal(&self, first: u64) -> (Mark, Vec<u8>) {
        let mut sheet = vec![VERSION];
        let count = |count: usize| u16::try_from(count).expect("a sheet is full before that");
        sheet.extend(count(self.rows.len()).to_le_bytes());
        sheet.extend(count(self.ends.len()).to_le_bytes());
        let columns = [Number::COUNT, Word::COUNT];
        sheet.extend(columns.map(|count| u8::try_from(count).expect("columns are few")));
        sheet.extend(first.to_le_bytes());
        for end in &self.ends {
            sheet.extend(end.to_le_bytes());
        }
        sheet.extend(self.text.as_bytes());
        for column in 0..Number::COUNT {
            put_column(&mut sheet, self.rows.iter().map(|row| row.numbers[column]));
        }
        for column in 0..Word::COUNT {
            put_column(&mut sheet, self.rows.iter().map(|row| row.words[column].into()));
        }
        let of = |row: &Row, column: Number| row.numbers[column as usize];
        let at = self.rows.iter().map(|row| moment(of(row, Number::At)));
        let last = self.rows.iter().map(|row| of(row, Number::Offset)).max().unwrap_or_default();
        let mark = Mark {
            first,
            numbers: u32::try_from(last).unwrap_or(u32::MAX).saturating_add(1),
            oldest: at.clone().min().unwrap_or(Timestamp::from_ms(0)),
            newest: at.max().unwrap_or(Timestamp::from_ms(0)),
            bytes: u32::try_from(sheet.len()).unwrap_or(u32::MAX),
        };
        (mark, sheet)
    }
}

/// The line that was begun last.
pub(super) struct Entry<'a> {
    draft: &'a mut Draft,
}

impl Entry<'_> {
    /// Writes a number.
    pub(super) fn number(&mut self, column: Number, number: u64) {
        self.row().numbers[column as usize] = number;
    }

    /// Writes a word; no word is an empty one.
    pub(super) fn word(&mut self, column: Word, word: &str) {
        if !word.is_empty() {
            let place = self.draft.place(column, word);
            self.row().words[column as usize] = place;
        }
    }

    fn row(&mut self) -> &mut Row {
        self.draft.rows.last_mut().expect("a line was begun")
    }
}

fn moment(ms: u64) -> Timestamp {
    Timestamp::from_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn put_column(sheet: &mut Vec<u8>, entries: impl Iterator<Item = u64> + Clone) {
    let width = match entries.clone().max().unwrap_or_default() {
        0 => 0,
        most if u8::try_from(most).is_ok() => 1,
        most if u16::try_from(most).is_ok() => 2,
        most if u32::try_from(most).is_ok() => 4,
        _ => 8,
    };
    sheet.push(u8::try_from(width).expect("it is 8 at most"));
    for entry in entries {
        sheet.extend(&entry.to_le_bytes()[..width]);
    }
}

/// A sheet that is read where it lies.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    first: u64,
    rows: usize,
    ends: &'a [[u8; 4]],
    text: &'a str,
    numbers: [Column<'a>; Number::COUNT],
    words: [Column<'a>; Word::COUNT],
}

#[derive(Debug, Clone, Copy, Default)]
struct Column<'a> {
    width: usize,
    entries: &'a [u8],
}

impl Column<'_> {
    fn at(&self, row: usize) -> u64 {
        let entry = self.entries.get(row * self.width..).unwrap_or_default();
        match self.width {
            0 => 0,
            1 => entry.first().copied().unwrap_or_default().into(),
            2 => entry.first_chunk().map_or(0, |it| u16::from_le_bytes(*it).into()),
            4 => entry.first_chunk().map_or(0, |it| u32::from_le_bytes(*it).into()),
            _ => entry.first_chunk().map_or(0, |it| u64::from_le_bytes(*it)),
        }
    }
}

impl<'a> Sheet<'a> {
    /// Reads a sheet; none where it is not one.
    pub(crate) fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let bytes = &mut bytes;
        if take(bytes, 1)? != [VERSION] {
            return None;
        }
        let rows = u16::from_le_bytes(*take(bytes, 2)?.first_chunk()?).into();
        let count = usize::from(u16::from_le_bytes(*take(bytes, 2)?.first_chunk()?));
        let [numbers, words] = *take(bytes, 2)?.first_chunk()?;
        let first = u64::from_le_bytes(*take(bytes, 8)?.first_chunk()?);
        let (ends, _) = take(bytes, count * 4)?.as_chunks::<4>();
        let length = ends.last().map_or(0, |end| u32::from_le_bytes(*end));
        let text = str::from_utf8(take(bytes, usize::try_from(length).ok()?)?).ok()?;
        let mut sheet = Self {
            first,
            rows,
            ends,
            text,
            numbers: [Column::default(); Number::COUNT],
            words: [Column::default(); Word::COUNT],
        };
        read_columns(bytes, (numbers, rows), &mut sheet.numbers)?;
        read_columns(bytes, (words, rows), &mut sheet.words)?;
        bytes.is_empty().then_some(sheet)
    }

    /// Its lines.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// The number of a line.
    pub(crate) fn number(&self, row: usize) -> u64 {
        self.first.saturating_add(self.at(Number::Offset, row))
    }

    /// When a call ended.
    pub(crate) fn moment(&self, row: usize) -> Timestamp {
        moment(self.at(Number::At, row))
    }

    /// A number of a line.
    pub(crate) fn at(&self, column: Number, row: usize) -> u64 {
        self.numbers[column as usize].at(row)
    }

    /// A word of a line; empty where there is none.
    pub(crate) fn word(&self, column: Word, row: usize) -> &'a str {
        self.text(self.place(column, row))
    }

    /// The word at a place; empty where there is none.
    fn text(&self, place: usize) -> &'a str {
        let end = |place: usize| match place {
            0 => Some(0),
            _ => usize::try_from(u32::from_le_bytes(*self.ends.get(place - 1)?)).ok(),
        };
        let range = place.checked_sub(1).and_then(end).zip(end(place));
        range.and_then(|(begin, end)| self.text.get(begin..end)).unwrap_or_default()
    }

    /// Which of its words fit, by their places; the first is no word.
    pub(super) fn which(&self, fits: impl Fn(&str) -> bool) -> Vec<bool> {
        let fit = (1..=self.ends.len()).map(|place| fits(self.text(place)));
        std::iter::once(false).chain(fit).collect()
    }

    /// The places of words in which something is found, given where the search found it in all of
    /// them together.
    pub(super) fn places_of(&self, found: impl Iterator<Item = (usize, usize)>) -> Vec<bool> {
        let mut places = vec![false; self.ends.len() + 1];
        let end = |it: &[u8; 4]| usize::try_from(u32::from_le_bytes(*it)).unwrap_or(usize::MAX);
        for (from, to) in found {
            let at = self.ends.partition_point(|it| end(it) <= from);
            // What reaches over the end of a word is in none.
            if self.ends.get(at).is_some_and(|it| to <= end(it)) {
                places[at + 1] = true;
            }
        }
        places
    }

    /// Whether one of the words of a line is among these places.
    pub(super) fn has_any(&self, row: usize, places: &[bool]) -> bool {
        let place = |column: &Column<'_>| usize::try_from(column.at(row)).unwrap_or_default();
        self.words.iter().any(|column| places.get(place(column)).copied().unwrap_or_default())
    }

    /// All words, one behind the other.
    pub(super) const fn all_words(&self) -> &'a str {
        self.text
    }

    /// Where a word of a line stands among the words; 0 where there is none.
    pub(super) fn place(&self, column: Word, row: usize) -> usize {
        usize::try_from(self.words[column as usize].at(row)).unwrap_or_default()
    }
}

/// Reads so many columns, as far as they are known.
fn read_columns<'a>(
    bytes: &mut &'a [u8],
    (count, rows): (u8, usize),
    columns: &mut [Column<'a>],
) -> Option<()> {
    for at in 0..usize::from(count) {
        let width = usize::from(*take(bytes, 1)?.first()?);
        let entries = take(bytes, rows * width)?;
        if let Some(column) = columns.get_mut(at) {
            *column = Column { width, entries };
        }
    }
    Some(())
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}
