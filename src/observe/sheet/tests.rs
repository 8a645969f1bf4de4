use super::*;

fn draft(lines: &[(u64, &str, &str)]) -> Draft {
    let mut draft = Draft::default();
    for (offset, (at, server, cause)) in lines.iter().enumerate() {
        let mut line = draft.begin();
        line.number(Number::Offset, offset as u64);
        line.number(Number::At, *at);
        line.word(Word::Server, server);
        line.word(Word::Cause, cause);
    }
    draft
}

#[test]
fn a_sheet_reads_what_was_written() {
    let (mark, bytes) =
        draft(&[(300, "a", ""), (u64::MAX / 4, "b", "why ä"), (5, "a", "")]).seal(70);

    let sheet = Sheet::read(&bytes).expect("a sheet");

    assert_eq!((mark.first, mark.numbers, sheet.rows()), (70, 3, 3));
    assert_eq!(mark.oldest, Timestamp::from_ms(5));
    assert_eq!((sheet.number(2), sheet.moment(0)), (72, Timestamp::from_ms(300)));
    let words = |row| (sheet.word(Word::Server, row), sheet.word(Word::Cause, row));
    assert_eq!([words(0), words(1), words(2)], [("a", ""), ("b", "why ä"), ("a", "")]);
    assert_eq!(sheet.at(Number::At, 1), u64::MAX / 4);
}

#[test]
fn what_is_cut_or_changed_is_no_sheet_and_harms_nobody() {
    let (_, bytes) = draft(&[(300, "a", "x"), (2, "b", "")]).seal(1);
    for length in 0..bytes.len() {
        assert!(Sheet::read(&bytes[..length]).is_none(), "{length}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Some(sheet) = Sheet::read(&changed) {
                for row in 0..sheet.rows() {
                    for column in Word::ALL {
                        let _ = sheet.word(*column, row);
                    }
                }
            }
        }
    }
}

#[test]
fn lines_go_from_sheet_to_sheet_with_their_numbers() {
    let (_, first) = draft(&[(1, "a", "x")]).seal(10);
    let (_, second) = draft(&[(2, "b", ""), (3, "a", "y")]).seal(11);
    let mut merged = Draft::default();
    for bytes in [&first, &second] {
        let sheet = Sheet::read(bytes).expect("a sheet");
        for row in 0..sheet.rows() {
            merged.copy(&sheet, row, 10);
        }
    }

    let (mark, bytes) = merged.seal(10);

    let sheet = Sheet::read(&bytes).expect("a sheet");
    assert_eq!(mark.end(), 13);
    let lines = (0..3).map(|row| (sheet.number(row), sheet.word(Word::Cause, row)));
    assert_eq!(lines.collect::<Vec<_>>(), [(10, "x"), (11, ""), (12, "y")]);
}

#[test]
fn a_draft_is_full_before_words_have_no_place() {
    let mut draft = Draft::default();
    while !draft.is_full() {
        let number = draft.len();
        let mut line = draft.begin();
        for column in Word::ALL {
            line.word(*column, &format!("{number} {column:?}"));
        }
    }

    assert_eq!(draft.len(), LINES);
    let (_, bytes) = draft.seal(1);
    let sheet = Sheet::read(&bytes).expect("a sheet");
    assert_eq!(sheet.word(Word::Segment, LINES - 1), format!("{} Segment", LINES - 1));
}
