//! What becomes of old lines: they go when their time is over, or when there are too many.

use std::{collections::HashMap, time::Duration};

use crate::{
    domain::{OrganizationId, Timestamp},
    observe::{
        BookSettings,
        keeping::{Keeping, read},
        sheet::{Draft, Sheet, Word},
        sums::{Span, keys_before},
    },
    store::{self, Edit, Mark, View},
};

/// Sheets that are changed in one write.
const AT_ONCE: usize = 64;

const DAY: Duration = Duration::from_hours(24);

impl Keeping {
    /// Removes lines and sums that are older than they may get, and what is too much.
    pub(super) fn retain(
        &mut self,
        settings: &BookSettings,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        let before = |days: u32| {
            let span = i64::try_from((DAY * days).as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_ms(now.as_ms().saturating_sub(span))
        };
        let organizations = self.store.read()?.organizations()?;
        let limits: HashMap<OrganizationId, Timestamp> =
            organizations.iter().map(|it| (it.id, before(it.quotas.log_retention_days))).collect();
        let other = before(settings.days);
        let all = || limits.values().copied().chain([other]);
        let (first, last) = (all().min().unwrap_or(other), all().max().unwrap_or(other));
        let marks = self.records.read(View::marks)?;
        let mut too_much = marks.values().map(|mark| u64::from(mark.bytes)).sum::<u64>();
        let most = u64::from(settings.max_mib) << 20;
        let mut work = Vec::new();
        for mark in marks.values() {
            if mark.newest < first || too_much > most {
                too_much -= u64::from(mark.bytes);
                work.push((*mark, true));
            } else if mark.oldest < last {
                work.push((*mark, false));
            }
        }
        let is_old = |sheet: &Sheet<'_>, row: usize| {
            let organization = sheet.word(Word::Organization, row).parse().ok();
            let limit = organization.and_then(|it| limits.get(&it)).copied().unwrap_or(other);
            sheet.moment(row) < limit
        };
        for some in work.chunks(AT_ONCE) {
            self.records.write(|edit| {
                for (mark, is_whole) in some {
                    match is_whole {
                        true => edit.remove_sheet(mark.first)?,
                        false => thin(edit, mark, is_old)?,
                    }
                }
                Ok(())
            })?;
        }
        self.records.write(|edit| {
            for (span, days) in
                [(Span::Hourly, settings.hourly_days), (Span::Daily, settings.daily_days)]
            {
                let (from, to) = keys_before(span, before(days));
                edit.remove_sums((&from, &to))?;
            }
            Ok(())
        })?;
        self.retain_bodies(settings, |organization| {
            let organization = organization.parse().ok();
            organization.and_then(|it| limits.get(&it)).copied().unwrap_or(other)
        });
        match self.records.shrink()? {
            0 => {}
            bytes => tracing::info!(bytes, "old lines of calls gave space back"),
        }
        Ok(())
    }

    /// Removes what was said in calls, as their lines are, and what is too much.
    fn retain_bodies(&mut self, settings: &BookSettings, limit: impl Fn(&str) -> Timestamp) {
        self.segments.close();
        let most = u64::from(settings.max_bodies_mib) << 20;
        let removed = self.archive.retain(limit).and_then(|days| {
            let mut all: u64 = days.iter().map(|(_, bytes)| bytes).sum();
            for (day, bytes) in days {
                if all > most {
                    std::fs::remove_dir_all(day)?;
                    all -= bytes;
                }
            }
            Ok(())
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "what was said in old calls cannot be removed");
        }
    }
}

/// Removes some lines of a sheet.
fn thin(
    edit: &mut Edit,
    mark: &Mark,
    is_old: impl Fn(&Sheet<'_>, usize) -> bool,
) -> Result<(), store::Error> {
    let thinned = edit.sheet(mark.first, |bytes| {
        let Some(sheet) = read(bytes, mark) else { return Some(Draft::default()) };
        let mut kept = Draft::default();
        for row in (0..sheet.rows()).filter(|row| !is_old(&sheet, *row)) {
            kept.copy(&sheet, row, mark.first);
        }
        (kept.len() < sheet.rows()).then_some(kept)
    });
    match thinned?.flatten() {
        None => Ok(()),
        Some(kept) if kept.is_empty() => edit.remove_sheet(mark.first),
        Some(kept) => {
            let (mark, sheet) = kept.seal(mark.first);
            edit.put_sheet(&mark, &sheet)
        }
    }
}
