//! `tollhouse audit`: who changed what.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    Context, Failure,
    out::Format,
    reach::reach,
    table::{minute, or_dash, table},
    when::moment,
};
use crate::{
    app::Folder,
    client::{AuditView, Client},
    wire::{csv_field, csv_text},
};

/// Lines that are asked for at once.
const PAGE: usize = 1_000;

/// The audit.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Audit {
    /// List who changed what, the newest first
    #[command(
        alias = "ls",
        after_help = "\
Examples:
  tollhouse audit list
  tollhouse audit list --of server --since 2026-11-30T00:00:00Z
  tollhouse audit list --action key.deleted --limit 20"
    )]
    List {
        #[command(flatten)]
        search: Search,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Check that every line is there and as it was written
    #[command(after_help = "Example:\n  tollhouse audit verify")]
    Verify,
    /// Report who could do what and when, and who changed what
    #[command(after_help = "\
Examples:
  tollhouse audit report --since 90d -o json > report.json
  tollhouse audit report --csv > access.csv
  tollhouse audit report --csv --changes > changes.csv")]
    Report {
        /// About the time since then, such as 90d or 2026-01-01T00:00:00Z
        #[arg(long, value_name = "AGE|TIME")]
        since: Option<String>,
        /// And before then
        #[arg(long, value_name = "AGE|TIME")]
        until: Option<String>,
        /// As CSV
        #[arg(long)]
        csv: bool,
        /// Who changed what, instead of who could do what
        #[arg(long)]
        changes: bool,
    },
    /// Write all lines down, the oldest first: JSON, one a line, or CSV
    #[command(after_help = "\
Examples:
  tollhouse audit export > audit.jsonl
  tollhouse audit export --csv --of user > users.csv")]
    Export {
        #[command(flatten)]
        search: Search,
        /// As CSV
        #[arg(long)]
        csv: bool,
    },
}

/// Which lines.
#[derive(Debug, Clone, Args)]
pub(super) struct Search {
    /// Of one kind of thing, such as server, user or key
    #[arg(long = "of", value_name = "KIND")]
    kind: Option<String>,
    /// About one thing, by its id or name
    #[arg(long, value_name = "THING")]
    about: Option<String>,
    /// Of one action, such as server.created or deleted
    #[arg(long)]
    action: Option<String>,
    /// Of one actor, as it stands in the list
    #[arg(long)]
    actor: Option<String>,
    /// From this moment on, such as 2026-11-30T20:00:00Z
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
}

impl Search {
    fn pairs(self, limit: usize, offset: usize) -> Vec<(&'static str, String)> {
        let said = [
            ("resource_type", self.kind),
            ("resource_id", self.about),
            ("action", self.action),
            ("actor_id", self.actor),
            ("since", self.since),
            ("until", self.until),
        ];
        let said = said.into_iter().filter_map(|(name, value)| Some((name, value?)));
        said.chain([("limit", limit.to_string()), ("offset", offset.to_string())]).collect()
    }
}

pub(super) async fn run(context: &Context, audit: Audit) -> Result<u8, Failure> {
    match audit {
        Audit::List { search, limit } => list(context, search, limit).await?,
        Audit::Verify => return verify(context).await,
        Audit::Report { since, until, csv, changes } => {
            report(context, (since, until), (csv, changes)).await?;
        }
        Audit::Export { search, csv } => export(context, search, csv).await?,
    }
    Ok(0)
}

async fn list(context: &Context, search: Search, limit: usize) -> Result<(), Failure> {
    let lines = reach(context, Folder::MustBeThere, async |client| {
        Ok(client.audit(&search.clone().pairs(limit, 0)).await?)
    });
    let row = |line: &AuditView| {
        vec![
            line.id.to_string(),
            minute(&line.created_at),
            line.actor_id.clone(),
            line.action.clone(),
            line.resource_name.clone(),
            or_dash(line.detail.clone()),
        ]
    };
    let headings = ["NUMBER", "WHEN (UTC)", "WHO", "WHAT", "WHICH", "MORE"];
    context.out.many(&lines.await?, |it| &it.resource_id, &headings, row)
}

async fn verify(context: &Context) -> Result<u8, Failure> {
    let checked =
        reach(context, Folder::MustBeThere, async |client| Ok(client.audit_verify().await?));
    let checked = checked.await?;
    if context.out.format == Format::Json {
        context.out.json(&checked)?;
    } else {
        for fault in &checked.faults {
            context.out.line(&format!("line {}: {}", fault.sequence, fault.reason))?;
        }
        if checked.faults.is_empty() {
            let head = checked.head.as_deref().unwrap_or("none yet");
            context.out.line(&format!("all {} lines are as they were written", checked.lines))?;
            context.out.note(&format!("the head is {head}; keep it elsewhere to compare later"));
        }
    }
    Ok(u8::from(!checked.faults.is_empty()))
}

/// What a report has of accounts and keys, and of changes.
const ACCESS: [&str; 13] = [
    "kind",
    "id",
    "name",
    "organization_id",
    "from",
    "until",
    "role",
    "grants",
    "is_superuser",
    "is_active",
    "expires_at",
    "granted_by",
    "is_certain",
];
const CHANGES: [&str; 5] = ["actor_id", "action", "count", "first", "last"];

async fn report(
    context: &Context,
    (since, until): (Option<String>, Option<String>),
    (csv, changes): (bool, bool),
) -> Result<(), Failure> {
    let mut about = Vec::new();
    for (name, option, text) in [("since", "--since", since), ("until", "--until", until)] {
        if let Some(text) = text {
            about.push((name, moment(option, &text)?.to_string()));
        }
    }
    let report =
        reach(context, Folder::MustBeThere, async |client| Ok(client.audit_report(&about).await?));
    let (report, out) = (report.await?, context.out);
    if out.format == Format::Json {
        return out.json(&report);
    }
    let (rows, columns) =
        if changes { (&report.changes, &CHANGES[..]) } else { (&report.access, &ACCESS[..]) };
    if csv {
        out.line(&columns.join(","))?;
        return rows.iter().try_for_each(|row| {
            let fields =
                columns.iter().map(|column| csv_field(&csv_text(row.get(*column))).into_owned());
            out.line(&fields.collect::<Vec<_>>().join(","))
        });
    }
    let shown = |row: &Map<String, Value>| {
        columns
            .iter()
            .map(|column| or_dash(csv_text(row.get(*column)).into_owned()))
            .collect::<Vec<_>>()
    };
    let headings: Vec<String> = columns.iter().map(|it| it.to_uppercase()).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    out.line(&table(out, &headings, rows.iter().map(shown).collect()))
}

/// Every line that fits, the newest first, a page at a time.
async fn all(client: &Client, search: &Search) -> Result<Vec<AuditView>, Failure> {
    let mut all = Vec::new();
    loop {
        let page = client.audit(&search.clone().pairs(PAGE, all.len())).await?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

async fn export(context: &Context, search: Search, csv: bool) -> Result<(), Failure> {
    let lines =
        reach(context, Folder::MustBeThere, async |client| all(client, &search).await).await?;
    if csv {
        context.out.line("number,at,actor,action,id,name,detail,address,old,new")?;
    }
    for line in lines.iter().rev() {
        let text = if csv {
            let number = line.id.to_string();
            let detail = line.detail.as_deref().unwrap_or_default();
            let [address, old, new] =
                ["actor_ip", "old_values", "new_values"].map(|name| csv_text(line.more.get(name)));
            let fields = [
                &*number,
                &line.created_at,
                &line.actor_id,
                &line.action,
                &line.resource_id,
                &line.resource_name,
                detail,
                &address,
                &old,
                &new,
            ];
            fields.map(csv_field).join(",")
        } else {
            serde_json::to_string(line).expect("a line is always JSON")
        };
        context.out.line(&text)?;
    }
    Ok(())
}
