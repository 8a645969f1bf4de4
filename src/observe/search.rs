//! Looking for lines of calls.

use regex::{Regex, RegexBuilder};

use crate::{
    domain::{OrganizationId, Timestamp},
    observe::sheet::{Number, Sheet, Word},
    store::Mark,
};

/// Which lines are looked for: those that fit all that is said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Calls of one organization.
    pub(crate) organization: Option<OrganizationId>,
    /// What stands in a column: one of several words divided by commas, each of which may end
    /// with `*`.
    pub(crate) words: Vec<(Word, String)>,
    /// Calls that ended at this moment or later.
    pub(crate) since: Option<Timestamp>,
    /// Calls that ended before this moment.
    pub(crate) until: Option<Timestamp>,
    /// Calls that took so many microseconds or more.
    pub(crate) slow_us: Option<u64>,
    /// Calls that took less.
    pub(crate) quick_us: Option<u64>,
    /// Calls that failed, or that did not.
    pub(crate) failed: Option<bool>,
    /// Calls whose HTTP status is from here on.
    pub(crate) status_from: Option<u64>,
    /// Calls whose HTTP status is below this.
    pub(crate) status_below: Option<u64>,
    /// Text that stands somewhere in the line, whatever its case.
    pub(crate) text: Option<String>,
    /// Lines with smaller numbers.
    pub(crate) before: Option<u64>,
    /// Lines with greater numbers.
    pub(crate) after: Option<u64>,
}

/// A search that is made ready, for any number of sheets.
#[derive(Debug)]
pub(crate) struct Search {
    wanted: Wanted,
    text: Option<Regex>,
}

/// What a search is for the lines of one sheet.
pub(crate) struct Sieve<'a> {
    search: &'a Search,
    sheet: &'a Sheet<'a>,
    /// Which words fit in these columns.
    words: Vec<(Word, Vec<bool>)>,
    /// The words in which the text is found.
    text: Option<Vec<bool>>,
}

impl Search {
    /// Makes it ready.
    pub(crate) fn new(wanted: Wanted) -> Self {
        let text = wanted.text.as_ref().filter(|text| !text.is_empty()).map(|text| {
            let mut builder = RegexBuilder::new(&regex::escape(text));
            builder.case_insensitive(true).build().expect("escaped text is an expression")
        });
        Self { wanted, text }
    }

    /// Whether a sheet may have lines that fit, by what is known of it.
    pub(crate) fn may_fit(&self, mark: &Mark) -> bool {
        let Wanted { since, until, before, after, .. } = &self.wanted;
        since.is_none_or(|since| mark.newest >= since)
            && until.is_none_or(|until| mark.oldest < until)
            && before.is_none_or(|before| mark.first < before)
            && after.is_none_or(|after| mark.end() > after.saturating_add(1))
    }

    /// The search for the lines of this sheet; none where none can fit.
    pub(crate) fn sieve<'a>(&'a self, sheet: &'a Sheet<'a>) -> Option<Sieve<'a>> {
        let mut words = Vec::new();
        let mut ask = |column: Word, fits: &dyn Fn(&str) -> bool| {
            let fit = sheet.which(fits);
            let any = fit.contains(&true);
            words.push((column, fit));
            any
        };
        if let Some(organization) = self.wanted.organization {
            let organization = organization.to_string();
            if !ask(Word::Organization, &|word| word == organization) {
                return None;
            }
        }
        for (column, wanted) in &self.wanted.words {
            if !ask(*column, &|word| is_one_of(word, wanted)) {
                return None;
            }
        }
        if let Some(failed) = self.wanted.failed
            && !ask(Word::Outcome, &|word| (word != "ok") == failed)
        {
            return None;
        }
        let text = self.text.as_ref().map(|text| {
            let found = text.find_iter(sheet.all_words());
            sheet.places_of(found.map(|found| (found.start(), found.end())))
        });
        let is_hopeless = text.as_ref().is_some_and(|text| !text.contains(&true));
        (!is_hopeless).then_some(Sieve { search: self, sheet, words, text })
    }
}

/// Whether a word is one of these, divided by commas.
fn is_one_of(word: &str, wanted: &str) -> bool {
    wanted.split(',').any(|wanted| match wanted.strip_suffix('*') {
        Some(start) => word.starts_with(start),
        None => word == wanted,
    })
}

impl Sieve<'_> {
    /// Whether a line fits.
    pub(crate) fn fits(&self, row: usize) -> bool {
        let (wanted, sheet) = (&self.search.wanted, self.sheet);
        let has = |(column, fit): &(Word, Vec<bool>)| {
            fit.get(sheet.place(*column, row)).copied().unwrap_or_default()
        };
        self.words.iter().all(has)
            && wanted.slow_us.is_none_or(|slow| sheet.at(Number::Took, row) >= slow)
            && wanted.quick_us.is_none_or(|quick| sheet.at(Number::Took, row) < quick)
            && wanted.status_from.is_none_or(|from| sheet.at(Number::Status, row) >= from)
            && wanted.status_below.is_none_or(|below| sheet.at(Number::Status, row) < below)
            && wanted.since.is_none_or(|since| sheet.moment(row) >= since)
            && wanted.until.is_none_or(|until| sheet.moment(row) < until)
            && wanted.before.is_none_or(|before| sheet.number(row) < before)
            && wanted.after.is_none_or(|after| sheet.number(row) > after)
            && self.text.as_ref().is_none_or(|text| sheet.has_any(row, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sheet::Draft;

    /// Four calls: to `time` and `files`, one of them failed and one slow.
    fn sheet() -> Vec<u8> {
        let mut draft = Draft::default();
        let lines = [
            ("time", "now", "ok", 1_000, ""),
            ("files", "read", "TIMEOUT", 9_000, "the Disk was busy"),
            ("time", "now", "ok", 7_000, ""),
            ("files", "write", "ok", 10, ""),
        ];
        for (offset, (server, item, outcome, took, problem)) in lines.into_iter().enumerate() {
            let mut line = draft.begin();
            line.number(Number::Offset, offset as u64);
            line.number(Number::At, 100 * offset as u64);
            line.number(Number::Took, took);
            line.word(Word::Server, server);
            line.word(Word::Item, item);
            line.word(Word::Outcome, outcome);
            line.word(Word::Problem, problem);
        }
        draft.seal(1).1
    }

    fn found(wanted: Wanted) -> Vec<u64> {
        let bytes = sheet();
        let (sheet, search) = (Sheet::read(&bytes).expect("a sheet"), Search::new(wanted));
        let Some(sieve) = search.sieve(&sheet) else { return Vec::new() };
        let rows = (0..sheet.rows()).filter(|row| sieve.fits(*row));
        rows.map(|row| sheet.number(row)).collect()
    }

    fn word(column: Word, word: &str) -> Wanted {
        Wanted { words: vec![(column, word.to_owned())], ..Wanted::default() }
    }

    #[test]
    fn lines_are_found_by_all_that_is_said() {
        let all = Wanted::default;
        assert_eq!(found(all()), [1, 2, 3, 4]);
        assert_eq!(found(word(Word::Server, "time")), [1, 3]);
        assert_eq!(found(word(Word::Item, "re*,write")), [2, 4]);
        assert!(found(word(Word::Server, "now")).is_empty());
        assert_eq!(found(Wanted { failed: Some(true), ..all() }), [2]);
        assert_eq!(found(Wanted { failed: Some(false), ..word(Word::Server, "files") }), [4]);
        assert_eq!(found(Wanted { slow_us: Some(7_000), ..all() }), [2, 3]);
        assert_eq!(found(Wanted { quick_us: Some(7_000), ..all() }), [1, 4]);
        let (since, until) = (Timestamp::from_ms(100), Timestamp::from_ms(300));
        assert_eq!(found(Wanted { since: Some(since), until: Some(until), ..all() }), [2, 3]);
        assert_eq!(found(Wanted { before: Some(3), ..all() }), [1, 2]);
        assert_eq!(found(Wanted { after: Some(3), ..all() }), [4]);
    }

    #[test]
    fn text_is_found_within_one_word_whatever_its_case() {
        let text = |text: &str| found(Wanted { text: Some(text.into()), ..Wanted::default() });
        assert_eq!(text("the disk"), [2]);
        assert_eq!(text("OW"), [1, 3]);
        // `time` and `now` stand side by side, and are two words.
        assert!(text("timenow").is_empty());
        assert!(text("(").is_empty());
    }

    #[test]
    fn sheets_are_passed_over_by_what_is_known_of_them() {
        let (oldest, newest) = (Timestamp::from_ms(10), Timestamp::from_ms(20));
        let mark = Mark { first: 5, numbers: 3, oldest, newest, bytes: 0 };
        let may = |wanted: Wanted| Search::new(wanted).may_fit(&mark);
        let at = |ms: i64| Some(Timestamp::from_ms(ms));

        for (since, fits) in [(20, true), (21, false)] {
            assert_eq!(may(Wanted { since: at(since), ..Wanted::default() }), fits);
        }
        for (until, fits) in [(11, true), (10, false)] {
            assert_eq!(may(Wanted { until: at(until), ..Wanted::default() }), fits);
        }
        for (before, fits) in [(6, true), (5, false)] {
            assert_eq!(may(Wanted { before: Some(before), ..Wanted::default() }), fits);
        }
        for (after, fits) in [(6, true), (7, false)] {
            assert_eq!(may(Wanted { after: Some(after), ..Wanted::default() }), fits);
        }
    }
}
