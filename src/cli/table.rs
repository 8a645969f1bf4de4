//! How results look in a terminal.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};

use super::out::{Out, tamed};

/// A table without lines: headings, and a row for each thing.
pub(super) fn table(out: Out, headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Only a terminal has an edge that lines must not cross.
    let arrangement =
        if out.is_terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
    table.set_content_arrangement(arrangement);
    table.set_header(headings.iter().map(Cell::new));
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(tamed(text))));
    }
    // The first column holds names, which people copy.
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    let lines = table.to_string();
    lines.lines().map(|line| line.trim_end().trim_start_matches(' ')).collect::<Vec<_>>().join("\n")
}

/// Whether something is so, in a column.
pub(super) fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// The beginning of a text: its first line, up to so many characters.
pub(super) fn brief(text: &str, limit: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim_end();
    if line.chars().count() <= limit && line.len() == text.trim().len() {
        return line.to_owned();
    }
    line.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// A span of time in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let (size, unit) = units[largest];
    let whole = format!("{} {unit}", seconds / size);
    match units.get(largest + 1).map(|(smaller, name)| (seconds % size / smaller, name)) {
        Some((rest, name)) if rest > 0 => format!("{whole} {rest} {name}"),
        _ => whole,
    }
}

/// A moment of RFC 3339 in UTC, to the minute.
pub(super) fn minute(moment: &str) -> String {
    moment.get(..16).unwrap_or(moment).replacen('T', " ", 1)
}

/// The day of a moment of RFC 3339 in UTC.
pub(super) fn day(moment: &str) -> String {
    moment.get(..10).unwrap_or(moment).to_owned()
}

/// How a server is spoken to, in few letters.
pub(super) fn transport(name: &str) -> String {
    or_dash(name.strip_prefix("streamable_").unwrap_or(name).to_owned())
}

/// A dash for what is not known.
pub(super) fn or_dash(text: impl Into<Option<String>>) -> String {
    text.into().filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::Format;

    #[test]
    fn columns_stand_under_their_headings() {
        let out =
            Out { format: Format::Table, is_quiet: false, has_color: false, is_terminal: false };
        let rows = vec![vec!["time".into(), "healthy".into()], vec!["a\x1b[2J".into(), "-".into()]];

        let text = table(out, &["NAME", "HEALTH"], rows);

        assert_eq!(text, "NAME   HEALTH\ntime   healthy\na\u{FFFD}[2J  -");
    }

    #[test]
    fn long_texts_are_cut_with_a_sign() {
        assert_eq!(brief("Reads a file.", 20), "Reads a file.");
        assert_eq!(brief("Reads a file.\nSlowly.", 20), "Reads a file.…");
        assert_eq!(brief("Reads a file.", 6), "Reads…");
    }

    #[test]
    fn moments_are_shown_to_the_minute_or_the_day() {
        assert_eq!(day("2026-11-21T09:42:50.151Z"), "2026-11-21");
        assert_eq!(minute("2026-11-21T09:42:50.151Z"), "2026-11-21 09:42");
        assert_eq!(minute("soon"), "soon");
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [(0, "0 s"), (61, "1 min 1 s"), (7_200, "2 h"), (90_000, "1 d 1 h")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
