//! `tollhouse import` and `export`: servers out of files, and into one.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
};

use clap::Args;
use serde_json::Value;

use super::{Context, Failure, launch::split_variable, out::Format, reach::reach, table::or_dash};
use crate::{app::Folder, client::ImportedView, registry::file::FILE_BYTES};

/// Registers the servers that a file names.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse import ~/.cursor/mcp.json --dry-run
  tollhouse import .vscode/mcp.json --env GITHUB_TOKEN
  tollhouse export | tollhouse import - --url https://other.example --key KEY
The settings of any client, server.json, registry.json and agentgateway's configuration are understood.
What stands in a file as ${NAME} is taken from this shell only where --env allows it.")]
pub(super) struct Import {
    /// File to read; - is standard input
    file: String,
    /// What ${NAME} stands for; without a value, this shell's own. Give it again for others
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Register nothing, only show what would be
    #[arg(long)]
    dry_run: bool,
}

/// Looks at the sources of servers that the settings name.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse sync --dry-run
  tollhouse sync
The sources stand in the settings, under registry.discovery: folder, files, docker.")]
pub(super) struct Sync {
    /// Change nothing, only show what would be
    #[arg(long)]
    dry_run: bool,
}

/// Writes down which servers are registered.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse export registry.json
  tollhouse export | jq '.templates | keys'
In place of secrets stands what they are called; import is told them with --env.")]
pub(super) struct Export {
    /// File to write; - is standard output
    #[arg(default_value = "-")]
    file: String,
}

pub(super) async fn import(context: &Context, import: Import) -> Result<(), Failure> {
    let text = read(&import.file)?;
    // A file of somebody else's shall not read what this shell happens to hold.
    let known = import.env.iter().map(|pair| split_variable(context, pair));
    let variables: BTreeMap<String, String> = known.collect::<Result<_, _>>()?;
    let told = reach(context, Folder::MustBeThere, async |client| {
        Ok(client.import(&text, &variables, import.dry_run).await?)
    });
    let told = told.await?;
    context.out.many(
        &told,
        |it| &it.name,
        &["NAME", "OUTCOME", "REASON"],
        |it| vec![it.name.clone(), it.outcome.replace('_', " "), or_dash(reason(it))],
    )?;
    let failed = told.iter().filter(|it| ["needs", "refused"].contains(&&*it.outcome)).count();
    if failed == 0 {
        return Ok(());
    }
    let why = format!("{failed} of {} servers of the file were not taken", told.len());
    Err(Failure::new("not everything was imported", why).with_fix(
        "give what is needed with --env NAME, or put the file right, and import it again",
    ))
}

pub(super) async fn sync(context: &Context, sync: &Sync) -> Result<(), Failure> {
    let told =
        reach(context, Folder::MustBeThere, async |client| Ok(client.sync(sync.dry_run).await?));
    let told = told.await?;
    if told.is_empty() && context.out.format == Format::Table {
        context.out.note("no source names a server; sources stand in registry.discovery");
        return Ok(());
    }
    context.out.many(
        &told,
        |it| &it.name,
        &["NAME", "OUTCOME", "SOURCE", "REASON"],
        |it| {
            let (name, reason) = (or_dash(it.name.clone()), or_dash(it.reason.clone()));
            vec![name, it.outcome.clone(), it.source.clone(), reason]
        },
    )?;
    let failed = told.iter().filter(|it| ["refused", "unreadable"].contains(&&*it.outcome)).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new("not everything was taken", format!("{failed} were refused or unreadable"))
        .with_fix("put the source right, and sync again"))
}

fn reason(told: &ImportedView) -> String {
    if told.needs.is_empty() { told.reason.clone() } else { told.needs.join(", ") }
}

pub(super) async fn export(context: &Context, export: Export) -> Result<(), Failure> {
    let written: Value =
        reach(context, Folder::MustBeThere, async |client| Ok(client.export().await?)).await?;
    if export.file == "-" {
        return context.out.json(&written);
    }
    let text = serde_json::to_string_pretty(&written).expect("a value is always JSON");
    let failed = |error: std::io::Error| {
        Failure::new(format!("{} cannot be written", export.file), error.to_string())
    };
    // Beside it first, so that nobody ever finds half of it.
    let beside = format!("{}.new", export.file);
    let mut new = fs::File::create(&beside).map_err(failed)?;
    writeln!(new, "{text}").and_then(|()| new.sync_all()).map_err(failed)?;
    fs::rename(&beside, &export.file).map_err(failed)?;
    let count = written["templates"].as_object().map_or(0, serde_json::Map::len);
    let note = format!("wrote {count} servers to {}", export.file);
    match context.out.format {
        Format::Json => {
            context.out.json(&serde_json::json!({ "written": export.file, "servers": count }))
        }
        Format::Name | Format::Table => {
            context.out.note(&note);
            Ok(())
        }
    }
}

fn read(file: &str) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("{file} cannot be read"), error.to_string());
    let limit = FILE_BYTES as u64 + 1;
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().lock().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        fs::File::open(file)
            .map_err(failed)?
            .take(limit)
            .read_to_string(&mut text)
            .map_err(failed)?;
    }
    Ok(text)
}
