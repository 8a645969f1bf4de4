//! `tollhouse limit`: how many calls may pass in how long.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Context, Failure, definition::definition, out::Format, reach::reach};
use crate::{
    app::Folder,
    client::{LimitUsage, LimitView},
    domain::Algorithm,
    problem::{Classify, Kind},
};

/// Rate limits.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Limits {
    /// List the rate limits
    #[command(alias = "ls", after_help = "Example:\n  tollhouse limit list")]
    List,
    /// Show a rate limit
    #[command(after_help = "Example:\n  tollhouse limit show per-user")]
    Show {
        /// Id or name, as listed
        limit: String,
    },
    /// Make a rate limit
    #[command(
        alias = "create",
        after_help = "\
Examples:
  tollhouse limit add per-user --per user --limit 100/1m --limit 1000/1h
  tollhouse limit add searches --per user+tool --limit 10/1m --match server=wiki
  tollhouse limit add bursts --per key --limit 600/1m --algorithm token_bucket --burst 20
  tollhouse limit add --file limit.yaml"
    )]
    Add {
        /// What to call it; it stands in headers
        #[arg(required_unless_present = "file")]
        name: Option<String>,
        #[command(flatten)]
        terms: Box<Terms>,
    },
    /// Change a rate limit; what is not said stays as it is
    #[command(after_help = "\
Examples:
  tollhouse limit update per-user --limit 200/1m
  tollhouse limit update per-user --off")]
    Update {
        /// Id or name, as listed
        limit: String,
        /// Call it this from now on
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        terms: Box<Terms>,
    },
    /// Remove a rate limit
    #[command(
        aliases = ["rm", "delete"],
        after_help = "Example:\n  tollhouse limit remove per-user"
    )]
    Remove {
        /// Id or name, as listed
        limit: String,
    },
    /// Show what became of the calls that rate limits were asked about
    #[command(after_help = "\
Examples:
  tollhouse limit usage
  tollhouse limit usage --of user=ana --of tool=wiki_search")]
    Usage {
        /// How this stands with each limit
        #[arg(long = "of", value_name = "WHAT=WHICH", value_parser = pair)]
        of: Vec<(String, String)>,
    },
}

/// What a rate limit says.
#[derive(Debug, Clone, Args)]
pub(super) struct Terms {
    /// By what calls are counted: user, key, role, ip, organization, namespace, server, tool,
    /// endpoint, method, several joined by +, or global
    #[arg(long = "per", value_name = "SCOPE")]
    scope: Option<String>,
    /// How many calls in how long, such as 100/1m; several hold at once
    #[arg(long = "limit", value_name = "COUNT/WINDOW", value_parser = window)]
    limits: Vec<(u32, String)>,
    /// How they are counted
    #[arg(long, value_parser = Algorithm::ALL.map(Algorithm::as_str))]
    algorithm: Option<String>,
    /// Tokens that a bucket holds
    #[arg(long)]
    burst: Option<u32>,
    /// Count only these calls, such as server=wiki
    #[arg(long = "match", value_name = "WHAT=WHICH", value_parser = pair)]
    only: Vec<(String, String)>,
    /// Why it is there
    #[arg(long)]
    description: Option<String>,
    /// Let it hold
    #[arg(long, conflicts_with = "off")]
    on: bool,
    /// Keep it, and do not let it hold
    #[arg(long)]
    off: bool,
    /// File with its definition, in JSON or YAML; - reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(what, which)| !what.is_empty() && !which.is_empty());
    let (what, which) = pair.ok_or("write WHAT=WHICH, such as user=ana")?;
    Ok((what.to_owned(), which.to_owned()))
}

fn window(text: &str) -> Result<(u32, String), String> {
    let wrong = || "write COUNT/WINDOW, such as 100/1m".to_owned();
    let (limit, window) = text.split_once('/').ok_or_else(wrong)?;
    Ok((limit.trim().parse().map_err(|_| wrong())?, window.trim().to_owned()))
}

impl Terms {
    fn definition(self, name: Option<String>) -> Result<Value, Failure> {
        let is_active = (self.on || self.off).then_some(self.on);
        let limits: Vec<Value> = self
            .limits
            .into_iter()
            .map(|(limit, window)| json!({ "limit": limit, "window": window }))
            .collect();
        let mut only: Map<String, Value> = Map::new();
        for (what, which) in self.only {
            let values = only.entry(what).or_insert_with(|| json!([]));
            values.as_array_mut().expect("it was made as one").push(which.into());
        }
        let members = [
            ("name", name.map(Value::from)),
            ("scope", self.scope.map(Value::from)),
            ("limits", (!limits.is_empty()).then(|| limits.into())),
            ("algorithm", self.algorithm.map(Value::from)),
            ("burst", self.burst.map(Value::from)),
            ("match", (!only.is_empty()).then(|| only.into())),
            ("description", self.description.map(Value::from)),
            ("is_active", is_active.map(Value::from)),
        ];
        definition(self.file.as_deref(), members, "say what changes, such as --limit 200/1m")
    }
}

pub(super) async fn run(context: &Context, limits: Limits) -> Result<(), Failure> {
    match limits {
        Limits::List => list(context).await,
        Limits::Show { limit } => {
            let shown = reach(context, Folder::MustBeThere, async |client| {
                client.limit(&limit).await.map_err(unknown)
            });
            show(context, &shown.await?)
        }
        Limits::Add { name, terms } => {
            let definition = terms.definition(name)?;
            let made = reach(context, Folder::MustBeThere, async |client| {
                Ok(client.limit_create(&definition).await?)
            });
            written(context, &made.await?, "made")
        }
        Limits::Update { limit, name, terms } => {
            let definition = terms.definition(name)?;
            let changed = reach(context, Folder::MustBeThere, async |client| {
                client.limit_update(&limit, &definition).await.map_err(unknown)
            });
            written(context, &changed.await?, "changed")
        }
        Limits::Remove { limit } => remove(context, &limit).await,
        Limits::Usage { of } => usage(context, &of).await,
    }
}

fn unknown(error: crate::client::Error) -> Failure {
    match error.kind() {
        Kind::NotFound => Failure::from(error).with_fix("'tollhouse limit list' shows them"),
        _ => error.into(),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let found = reach(context, Folder::MustBeThere, async |client| Ok(client.limits().await?));
    let found = found.await?;
    if found.is_empty() && context.out.format == Format::Table {
        context.out.note("there are none; 'tollhouse limit add --help' shows how to make one");
        return Ok(());
    }
    let row = |limit: &LimitView| {
        let windows = limit.limits.iter().map(|it| format!("{}/{}", it.limit, it.window));
        let only = limit.only.iter().map(|(what, which)| format!("{what}={which}"));
        vec![
            limit.name.clone(),
            limit.scope.clone(),
            windows.collect::<Vec<_>>().join(" "),
            limit.algorithm.clone(),
            only.collect::<Vec<_>>().join(" "),
            if limit.is_active { "yes" } else { "no" }.to_owned(),
            limit.origin.clone(),
        ]
    };
    let headings = ["NAME", "PER", "LIMITS", "ALGORITHM", "ONLY", "ACTIVE", "FROM"];
    context.out.many(&found, |it| &it.name, &headings, row)
}

fn show(context: &Context, limit: &LimitView) -> Result<(), Failure> {
    match context.out.format {
        Format::Name => context.out.line(&limit.name),
        Format::Json | Format::Table => context.out.json(limit),
    }
}

fn written(context: &Context, limit: &LimitView, done: &str) -> Result<(), Failure> {
    match context.out.format {
        Format::Json => context.out.json(limit)?,
        Format::Name => context.out.line(&limit.name)?,
        Format::Table => {}
    }
    context.out.note(&format!("{done} {}", limit.name));
    Ok(())
}

async fn remove(context: &Context, limit: &str) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        client.limit_delete(limit).await.map_err(unknown)
    })
    .await?;
    context.out.done("deleted", limit, &format!("removed {limit}"))
}

async fn usage(context: &Context, of: &[(String, String)]) -> Result<(), Failure> {
    let used =
        reach(context, Folder::MustBeThere, async |client| Ok(client.limit_usage(of).await?));
    let used = used.await?;
    let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let row = |usage: &LimitUsage| {
        let left = usage
            .standings
            .iter()
            .map(|it| format!("{} of {} in {} s", it.remaining, it.limit, it.window_seconds));
        let last = usage.refused_lately.first();
        vec![
            usage.name.clone(),
            usage.scope.clone(),
            count(usage.allowed),
            count(usage.refused),
            last.map_or_else(|| "-".to_owned(), |it| format!("{} at {}", it.key, it.at)),
            left.collect::<Vec<_>>().join(", "),
        ]
    };
    let headings = ["NAME", "PER", "ALLOWED", "REFUSED", "REFUSED LAST", "LEFT"];
    context.out.many(&used, |it| &it.name, &headings, row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_pairs_are_read_as_they_are_shown() {
        assert_eq!(window("100/1m"), Ok((100, "1m".to_owned())));
        assert_eq!(pair("ip=10.0.0.0/8"), Ok(("ip".to_owned(), "10.0.0.0/8".to_owned())));
        assert!(window("100").is_err() && window("x/1m").is_err());
        assert!(pair("ip").is_err() && pair("=x").is_err() && pair("ip=").is_err());
    }
}
