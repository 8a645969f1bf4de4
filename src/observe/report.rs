//! The report for whoever has to show it: who could do what, and when; and who changed what.
//!
//! It is made of the audit alone, whose lines say what accounts and keys were and became. Lines of
//! releases that did not say that yet leave gaps, and the report says where.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    domain::{AuditLine, Change, Noun, OrganizationId, Timestamp},
    store::{self, Snapshot},
};

/// Lines that are read at once.
const PAGE: usize = 500;

/// Members that say what an account or a key is good for.
const ACCESS: [&str; 6] = ["role", "grants", "is_superuser", "is_active", "limits", "expires_at"];

/// What an account or a key could do for some time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Access {
    /// `user` or `key`.
    kind: &'static str,
    /// Which one.
    id: String,
    /// What people call it.
    name: String,
    /// Whose it is.
    organization_id: Option<String>,
    /// From when on.
    from: String,
    /// Until when; none where it is so still.
    until: Option<String>,
    /// Who made it so.
    granted_by: String,
    /// What it could do; nothing where that was not written down.
    #[serde(flatten)]
    good_for: Map<String, Value>,
    /// Whether lines of before say less, so that it may have been something else.
    is_certain: bool,
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Deeds {
    /// Who.
    actor_id: String,
    /// What, such as `server.created`.
    action: String,
    /// How often.
    count: u64,
    /// When first.
    first: String,
    /// When last.
    last: String,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Who could do what, and when; in the order of time.
    pub(crate) access: Vec<Access>,
    /// Who changed what.
    pub(crate) changes: Vec<Deeds>,
}

/// Makes the report about a time, for one organization or for all.
pub(crate) fn report(
    snapshot: &Snapshot,
    organization: Option<OrganizationId>,
    (since, until): (Timestamp, Timestamp),
) -> Result<Report, store::Error> {
    let mut writer = Writer::default();
    let mut seen = 0;
    loop {
        let lines = snapshot.audit(seen, PAGE)?;
        let Some(last) = lines.last() else { break };
        seen = last.sequence;
        let ours = |line: &&AuditLine| {
            line.at < until && organization.is_none_or(|it| line.organization == Some(it))
        };
        lines.iter().filter(ours).for_each(|line| writer.read(line, since));
    }
    Ok(writer.finish(since))
}

#[derive(Default)]
struct Writer {
    /// What accounts and keys are now.
    now: BTreeMap<(&'static str, String), Access>,
    past: Vec<Access>,
    deeds: BTreeMap<(String, String), Deeds>,
}

impl Writer {
    fn read(&mut self, line: &AuditLine, since: Timestamp) {
        if line.at >= since {
            let key = (line.actor.to_string(), super::audit::action(line));
            let deeds = self.deeds.entry(key.clone()).or_insert_with(|| Deeds {
                actor_id: key.0,
                action: key.1,
                count: 0,
                first: line.at.to_string(),
                last: String::new(),
            });
            deeds.count += 1;
            deeds.last = line.at.to_string();
        }
        let kind = match line.noun {
            Noun::User => "user",
            Noun::Key => "key",
            _ => return,
        };
        let place = (kind, line.id.clone());
        let before = self.now.remove(&place);
        let said = line.new.as_deref().and_then(|json| serde_json::from_str(json).ok());
        let said: Map<String, Value> = said.unwrap_or_default();
        let is_other = said.keys().any(|name| ACCESS.contains(&name.as_str()));
        match (line.change, before) {
            (Change::Updated, Some(before)) if !is_other => {
                let name = line.name.clone();
                self.now.insert(place, Access { name, ..before });
            }
            (change, before) => {
                let mut good_for = Map::new();
                let mut is_certain = change == Change::Created && line.new.is_some();
                if let Some(before) = before {
                    good_for.clone_from(&before.good_for);
                    is_certain = before.is_certain;
                    self.past.push(Access { until: Some(line.at.to_string()), ..before });
                }
                if change == Change::Deleted || change == Change::Refused {
                    return;
                }
                let kept = said.into_iter().filter(|(name, _)| ACCESS.contains(&name.as_str()));
                good_for.extend(kept);
                let now = Access {
                    kind,
                    id: line.id.clone(),
                    name: line.name.clone(),
                    organization_id: line.organization.map(|it| it.to_string()),
                    from: line.at.to_string(),
                    until: None,
                    granted_by: line.actor.to_string(),
                    good_for,
                    is_certain,
                };
                self.now.insert(place, now);
            }
        }
    }

    /// What was so at some moment since then.
    fn finish(self, since: Timestamp) -> Report {
        let since = since.to_string();
        let mut access = self.past;
        // Moments of RFC 3339 in one form are in the order of their text.
        access.retain(|it| it.until.as_ref().is_none_or(|until| *until >= since));
        access.extend(self.now.into_values());
        access.sort_by(|a, b| (&a.from, a.kind, &a.id).cmp(&(&b.from, b.kind, &b.id)));
        Report { access, changes: self.deeds.into_values().collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Actor;

    fn line(sequence: i64, change: Change, new: Option<Value>) -> AuditLine {
        AuditLine {
            sequence: sequence.unsigned_abs(),
            at: Timestamp::from_ms(1_000 * sequence),
            actor: Actor::system(&format!("boss {sequence}")),
            noun: Noun::User,
            id: "u".into(),
            change,
            name: "ana".into(),
            detail: None,
            organization: None,
            from: None,
            old: None,
            new: new.map(|new| new.to_string()),
            chain: None,
        }
    }

    #[test]
    fn who_could_do_what_is_told_for_each_time_in_which_it_was_so() {
        let lines = [
            line(
                1,
                Change::Created,
                Some(json!({"role": "user", "is_active": true, "email": "a"})),
            ),
            line(2, Change::Updated, Some(json!({"email": "b"}))),
            line(3, Change::Updated, Some(json!({"role": "admin"}))),
            line(5, Change::Deleted, None),
        ];
        let told = |since: i64| {
            let (mut writer, since) = (Writer::default(), Timestamp::from_ms(since * 1_000));
            for line in &lines {
                writer.read(line, since);
            }
            let report = writer.finish(since);
            let short = |it: &Access| {
                let second = |text: &str| text[17..19].to_owned();
                let until = it.until.as_deref().map(second);
                (
                    second(&it.from),
                    until,
                    it.good_for["role"].clone(),
                    it.good_for.len(),
                    it.is_certain,
                )
            };
            let access = report.access.iter().map(short).collect::<Vec<_>>();
            (access, report.changes.iter().map(|it| it.count).sum::<u64>())
        };
        let user = ("01".into(), Some("03".into()), json!("user"), 2, true);
        let admin = ("03".into(), Some("05".into()), json!("admin"), 2, true);

        assert_eq!(told(0), (vec![user, admin.clone()], 4));
        assert_eq!(told(4), (vec![admin], 1));
        assert_eq!(told(6), (vec![], 0));
    }

    #[test]
    fn lines_that_say_too_little_leave_it_uncertain() {
        let mut writer = Writer::default();
        writer.read(&line(1, Change::Created, None), Timestamp::from_ms(0));
        writer
            .read(&line(2, Change::Updated, Some(json!({"role": "admin"}))), Timestamp::from_ms(0));

        let report = writer.finish(Timestamp::from_ms(0));

        assert_eq!(report.access.len(), 2);
        assert!(report.access.iter().all(|it| !it.is_certain));
    }
}
