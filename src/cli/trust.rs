//! `tollhouse trust`: what servers changed, and whether it counts.

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    out::{Color, Format},
    reach::reach,
    table::{minute, or_dash},
};
use crate::{
    app::Folder,
    client::{self, ChangeView, Client, Decision},
};

/// Changes of servers.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Trust {
    /// List the changes that wait for review
    #[command(alias = "ls", after_help = "Example:\n  tollhouse trust list")]
    List {
        /// Of this server alone
        server: Option<String>,
    },
    /// Show what the changes of a server change
    #[command(after_help = "Example:\n  tollhouse trust show time")]
    Show {
        /// Name or id
        server: String,
        /// Names of items, or ids of changes; all without any
        #[arg(value_name = "CHANGE")]
        changes: Vec<String>,
    },
    /// Let changes count
    #[command(after_help = "\
Examples:
  tollhouse trust approve time now
  tollhouse trust approve time --all")]
    Approve(Chosen),
    /// Have changes wait no more, without counting
    #[command(after_help = "Example:\n  tollhouse trust reject time now")]
    Reject(Chosen),
}

/// Some changes of a server.
#[derive(Debug, Clone, Args)]
pub(super) struct Chosen {
    /// Name or id
    server: String,
    /// Names of items, or ids of changes
    #[arg(value_name = "CHANGE", required_unless_present = "all")]
    changes: Vec<String>,
    /// Every change that waits
    #[arg(long, conflicts_with = "changes")]
    all: bool,
}

pub(super) async fn run(context: &Context, trust: Trust) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| match trust {
        Trust::List { server } => list(context, client, server).await,
        Trust::Show { server, changes } => show(context, client, &server, &changes).await,
        Trust::Approve(chosen) => decide(context, client, chosen, Decision::Approve).await,
        Trust::Reject(chosen) => decide(context, client, chosen, Decision::Reject).await,
    })
    .await
}

async fn list(context: &Context, client: &Client, server: Option<String>) -> Result<(), Failure> {
    let servers = match server {
        Some(server) => vec![server],
        None => client.servers().await?.into_iter().map(|server| server.name).collect(),
    };
    let mut all: Vec<(String, ChangeView)> = Vec::new();
    for server in servers {
        let changes = client.changes(&server).await.map_err(unknown)?;
        all.extend(changes.into_iter().map(|change| (server.clone(), change)));
    }
    if all.is_empty() && context.out.format == Format::Table {
        context.out.note("nothing waits for review");
        return Ok(());
    }
    let headings = ["CHANGE", "SERVER", "KIND", "NAME", "STATUS", "SEEN", "WHAT"];
    context.out.many(
        &all,
        |(_, change)| &change.id,
        &headings,
        |(server, change)| {
            vec![
                change.id.clone(),
                server.clone(),
                change.kind.clone(),
                or_dash(change.name.clone()),
                change.status.clone(),
                minute(&change.seen_at),
                what(change),
            ]
        },
    )
}

/// What a change is about, in few words.
fn what(change: &ChangeView) -> String {
    if change.is_new {
        return "new".to_owned();
    }
    let fields: Vec<&str> = change.fields.iter().map(|it| it.field.as_str()).collect();
    fields.join(", ")
}

async fn show(
    context: &Context,
    client: &Client,
    server: &str,
    wanted: &[String],
) -> Result<(), Failure> {
    let changes = client.changes(server).await.map_err(unknown)?;
    let changes = if wanted.is_empty() { changes } else { chosen(changes, server, wanted)? };
    match context.out.format {
        Format::Json => return context.out.json(&changes),
        Format::Name => return changes.iter().try_for_each(|it| context.out.line(&it.id)),
        Format::Table => {}
    }
    if changes.is_empty() {
        context.out.note("nothing waits for review");
    }
    for change in &changes {
        for line in told(change) {
            let color = match line.chars().next() {
                Some('-') => Some(Color::Red),
                Some('+') => Some(Color::Green),
                _ => None,
            };
            let line = context.out.tame(&line);
            context.out.line(&color.map_or(line.clone(), |it| context.out.paint(it, &line)))?;
        }
    }
    Ok(())
}

/// A change line by line, as a difference between two texts is commonly written.
fn told(change: &ChangeView) -> Vec<String> {
    let ChangeView { id, kind, name, status, .. } = change;
    let new = if change.is_new { ", new" } else { "" };
    let mut lines = vec![format!("{kind} {name} ({id}, {status}{new})").replace("  ", " ")];
    if let Some(clients) = &change.clients {
        lines.push(format!("  shown only to clients that can be asked {clients}"));
    }
    lines.extend(change.hides.iter().map(|place| format!("  hides something: {place}")));
    for field in &change.fields {
        lines.push(format!("  {}", field.field));
        let marked = |mark: char, text: &Option<String>| -> Vec<String> {
            let text = text.iter().flat_map(|text| text.lines());
            text.map(|line| format!("{mark}   {line}")).collect()
        };
        lines.extend(marked('-', &field.before));
        lines.extend(marked('+', &field.now));
    }
    lines
}

async fn decide(
    context: &Context,
    client: &Client,
    wanted: Chosen,
    decision: Decision,
) -> Result<(), Failure> {
    let Chosen { server, changes: names, all } = wanted;
    let changes = client.changes(&server).await.map_err(unknown)?;
    let changes = if all {
        changes.into_iter().filter(|change| change.status == "pending").collect()
    } else {
        chosen(changes, &server, &names)?
    };
    if changes.is_empty() {
        context.out.note("nothing waits for review");
        return Ok(());
    }
    let ids: Vec<String> = changes.iter().map(|change| change.id.clone()).collect();
    client.decide(&server, &ids, decision).await?;
    let word = match decision {
        Decision::Approve => "approved",
        Decision::Reject => "rejected",
    };
    let names: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {}", change.kind, change.name).trim_end().to_owned())
        .collect();
    let note = context.out.tame(&format!("{word} of {server}: {}", names.join(", ")));
    context.out.done(word, &names, &note)
}

/// The changes that are meant by ids, or by names of items.
fn chosen(
    changes: Vec<ChangeView>,
    server: &str,
    wanted: &[String],
) -> Result<Vec<ChangeView>, Failure> {
    let is_meant = |change: &ChangeView, word: &String| {
        change.id == *word
            || change.name == *word
            || (change.name.is_empty() && change.kind == *word)
    };
    for word in wanted {
        if !changes.iter().any(|change| is_meant(change, word)) {
            let what = format!("there is no change {word} of {server}");
            return Err(Failure::new(what, "none that waits goes by that name or id")
                .with_fix(format!("'tollhouse trust list {server}' shows which there are")));
        }
    }
    let is_wanted = |change: &ChangeView| wanted.iter().any(|word| is_meant(change, word));
    Ok(changes.into_iter().filter(is_wanted).collect())
}

fn unknown(error: client::Error) -> Failure {
    Failure::unless_there("'tollhouse list' shows which servers there are")(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(more: &serde_json::Value) -> ChangeView {
        let mut view = json!({
            "id": "0f", "kind": "tool", "name": "now", "status": "pending", "is_new": false,
            "fields": [{"field": "description", "before": "the time", "now": "the time\nand keys"}],
        });
        for (name, value) in more.as_object().expect("members") {
            view[name] = value.clone();
        }
        serde_json::from_value(view).expect("a change")
    }

    #[test]
    fn a_change_is_shown_with_what_was_and_what_is() {
        assert_eq!(
            told(&change(&json!({"hides": ["description (1 hidden character: U+200B)"]}))),
            [
                "tool now (0f, pending)",
                "  hides something: description (1 hidden character: U+200B)",
                "  description",
                "-   the time",
                "+   the time",
                "+   and keys",
            ]
        );
    }

    #[test]
    fn changes_are_meant_by_name_or_id() {
        let all = || {
            let instructions = json!({"id": "1a", "kind": "instructions", "name": ""});
            vec![change(&json!({})), change(&instructions)]
        };
        let ids = |words: &[&str]| -> Option<Vec<String>> {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let found = chosen(all(), "time", &words).ok()?;
            Some(found.into_iter().map(|change| change.id).collect())
        };

        assert_eq!(ids(&["now"]), Some(vec!["0f".to_owned()]));
        assert_eq!(ids(&["1a"]), ids(&["instructions"]));
        assert_eq!(ids(&["now", "then"]), None);
    }
}
