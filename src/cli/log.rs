//! `tollhouse log`: what was called, by whom, and how it ended.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Context, Failure,
    out::{Color, Format},
    reach::reach,
    table::{minute, or_dash},
    when::moment,
};
use crate::{
    app::Folder,
    client::{Client, RequestNews, RequestView},
};

/// Lines that are asked for at once.
const PAGE: usize = 1_000;

/// The book of calls.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Log {
    /// Find calls, the newest first
    #[command(
        aliases = ["list", "ls"],
        after_help = "\
Examples:
  tollhouse log search --failed --since 1h
  tollhouse log search --server github --slower 500
  tollhouse log search 'rate limit' --caller 'user:*'"
    )]
    Search {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Watch calls as they end
    #[command(after_help = "\
Examples:
  tollhouse log tail
  tollhouse log tail --failed -o json | jq .problem")]
    Tail {
        #[command(flatten)]
        which: Which,
    },
    /// Show all that is kept of a call
    #[command(after_help = "\
Examples:
  tollhouse log show 4711
  tollhouse log show 019ad2c8-7a11-7c07-8a11-0d8b5d2b3a3e")]
    Show {
        /// Its number, or the id of its request
        id: String,
    },
    /// Write calls down, the newest first: JSON, one a line, or CSV
    #[command(after_help = "Example:\n  tollhouse log export --since 1d --csv > calls.csv")]
    Export {
        #[command(flatten)]
        which: Which,
        /// As CSV
        #[arg(long)]
        csv: bool,
    },
}

/// Which calls.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// With this text somewhere in the line
    text: Option<String>,
    /// To these servers; names divided by commas, each may end with *
    #[arg(long, value_name = "NAMES")]
    server: Option<String>,
    /// To these tools, prompts or resources
    #[arg(long, visible_alias = "tool", value_name = "NAMES")]
    item: Option<String>,
    /// By these callers, as they stand in lines, such as user:ID or key:*
    #[arg(long, value_name = "CALLERS")]
    caller: Option<String>,
    /// From clients of these names
    #[arg(long, value_name = "NAMES")]
    client: Option<String>,
    /// Of these methods, such as tools/call
    #[arg(long, value_name = "METHODS")]
    method: Option<String>,
    /// That ended so, such as TIMEOUT
    #[arg(long, value_name = "OUTCOMES")]
    outcome: Option<String>,
    /// That these policies decided
    #[arg(long, value_name = "NAMES")]
    policy: Option<String>,
    /// That failed
    #[arg(long)]
    failed: bool,
    /// That took so many milliseconds or more
    #[arg(long, value_name = "MS")]
    slower: Option<f64>,
    /// That ended since a time, or not longer ago, such as 30m, 12h or 7d
    #[arg(long, value_name = "AGE|TIME")]
    since: Option<String>,
    /// That ended before a time
    #[arg(long, value_name = "AGE|TIME")]
    until: Option<String>,
}

impl Which {
    fn pairs(self) -> Result<Vec<(&'static str, String)>, Failure> {
        let time = |option: &str, text: Option<String>| {
            text.map(|text| moment(option, &text).map(|at| at.to_string())).transpose()
        };
        let said = [
            ("text", self.text),
            ("server", self.server),
            ("item", self.item),
            ("caller", self.caller),
            ("client", self.client),
            ("method", self.method),
            ("outcome", self.outcome),
            ("policy", self.policy),
            ("error", self.failed.then(|| "true".to_owned())),
            ("min_ms", self.slower.map(|ms| ms.to_string())),
            ("since", time("--since", self.since)?),
            ("until", time("--until", self.until)?),
        ];
        Ok(said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

pub(super) async fn run(context: &Context, log: Log) -> Result<(), Failure> {
    match log {
        Log::Search { which, limit } => find(context, &which.pairs()?, limit).await,
        Log::Tail { which } => tail(context, &which.pairs()?).await,
        Log::Show { id } => show(context, &id).await,
        Log::Export { which, csv } => export(context, &which.pairs()?, csv).await,
    }
}

/// Goes through the lines that fit, a page at a time, as long as it is told to go on.
pub(super) async fn each(
    client: &Client,
    pairs: &[(&'static str, String)],
    most: usize,
    mut take: impl FnMut(RequestView) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut left, mut before) = (most, None);
    while left > 0 {
        let limit = left.min(PAGE);
        let mut asked = pairs.to_vec();
        asked.push(("limit", limit.to_string()));
        asked.extend(before.map(|id: u64| ("before", id.to_string())));
        let lines = client.requests(&asked).await?;
        let is_last = lines.len() < limit;
        before = lines.last().map(|line| line.id);
        left -= lines.len();
        lines.into_iter().try_for_each(&mut take)?;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// What was called.
fn what(line: &RequestView) -> String {
    let place = [line.server.as_deref(), line.item.as_deref()];
    or_dash(place.into_iter().flatten().collect::<Vec<_>>().join("."))
}

async fn find(
    context: &Context,
    pairs: &[(&'static str, String)],
    limit: usize,
) -> Result<(), Failure> {
    let lines = reach(context, Folder::MustBeThere, async |client| {
        let mut lines = Vec::new();
        each(client, pairs, limit, |line| {
            lines.push(line);
            Ok(())
        })
        .await?;
        Ok(lines)
    });
    let row = |line: &RequestView| {
        vec![
            line.id.to_string(),
            minute(&line.timestamp),
            line.rpc_method.clone(),
            what(line),
            format!("{:.1} ms", line.duration_ms),
            line.outcome.clone(),
            or_dash(line.user_id.clone()),
            or_dash(line.client_id.clone()),
        ]
    };
    let headings = ["NUMBER", "WHEN (UTC)", "METHOD", "WHAT", "TOOK", "OUTCOME", "WHO", "CLIENT"];
    context.out.many(&lines.await?, |line| &line.request_id, &headings, row)
}

async fn tail(context: &Context, pairs: &[(&'static str, String)]) -> Result<(), Failure> {
    let out = context.out;
    reach(context, Folder::MustBeThere, async |client| {
        out.note("listening; end with Ctrl-C");
        let mut failed = None;
        let heard = client.requests_live(pairs, |news| {
            let said = match (news, out.format) {
                (RequestNews::Missed, _) => {
                    out.note("some calls were passed over; `tollhouse log search` has them");
                    Ok(())
                }
                (RequestNews::Line(line), Format::Json) => {
                    out.line(&serde_json::to_string(&line).expect("a line is always JSON"))
                }
                (RequestNews::Line(line), Format::Name) => out.line(&out.tame(&line.request_id)),
                (RequestNews::Line(line), Format::Table) => out.line(&told(context, &line)),
            };
            failed = said.err();
            failed.is_none()
        });
        heard.await?;
        if failed.is_none() {
            out.note("the gateway says no more");
        }
        failed.map_or(Ok(()), Err)
    })
    .await
}

/// A line for whoever watches.
fn told(context: &Context, line: &RequestView) -> String {
    let out = context.out;
    let time = line.timestamp.get(11..19).unwrap_or(&line.timestamp);
    let color = if line.outcome == "ok" { Color::Green } else { Color::Red };
    let outcome = out.paint(color, &line.outcome);
    let (method, took) = (out.tame(&line.rpc_method), line.duration_ms);
    let mut text = format!("{time} {method} {} {took:.1}ms {outcome}", out.tame(&what(line)));
    for (name, value) in [("caller", &line.user_id), ("client", &line.client_id)] {
        if let Some(value) = value {
            let _ = write!(text, " {name}={}", out.tame(value));
        }
    }
    if let Some(problem) = &line.problem {
        let _ = write!(text, " ({})", out.tame(problem));
    }
    let _ = write!(text, " #{}", line.id);
    text
}

async fn show(context: &Context, id: &str) -> Result<(), Failure> {
    let line =
        reach(context, Folder::MustBeThere, async |client| Ok(client.request_line(id).await?));
    let line = line.await?;
    if context.out.format != Format::Table {
        return context.out.one(&line, &line.request_id);
    }
    let mut shown = serde_json::to_value(&line).expect("a view is plain data");
    // What is not there need not be told, and stages read better side by side.
    if let Some(members) = shown.as_object_mut() {
        members.retain(|_, value| !value.is_null());
        if let Some(stages) = members.get_mut("stages") {
            *stages = Value::String(waterfall(stages));
        }
    }
    context.out.one(&shown, &line.request_id)
}

/// How long each stage took, in the order of the path.
fn waterfall(stages: &Value) -> String {
    let one = |name: &str| {
        let us = stages.get(format!("{name}_us"))?.as_u64()?;
        Some(format!("{name} {us} µs"))
    };
    let names = ["authenticate", "find", "authorize", "admit", "answer"];
    names.into_iter().filter_map(one).collect::<Vec<_>>().join(" → ")
}

async fn export(
    context: &Context,
    pairs: &[(&'static str, String)],
    csv: bool,
) -> Result<(), Failure> {
    let mut pairs = pairs.to_vec();
    pairs.push(("format", if csv { "csv" } else { "jsonl" }.to_owned()));
    let out = context.out;
    reach(context, Folder::MustBeThere, async |client| {
        let mut failed = None;
        let taken = client.requests_export(&pairs, |piece| {
            failed = out.piece(piece).err();
            failed.is_none()
        });
        taken.await?;
        failed.map_or(Ok(()), Err)
    })
    .await
}
