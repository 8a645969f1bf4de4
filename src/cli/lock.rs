//! `tollhouse lock`: every definition that servers offer, in a file, and whether that still holds.

use std::{collections::BTreeMap, path::Path};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Context, Failure,
    out::{Format, tamed},
    reach::reach,
};
use crate::{
    app::Folder,
    client::{Lock as Locked, LockedServer, Locking},
};

/// The file, where nothing else is said.
const FILE: &str = "mcp.lock";
/// Bytes read as a lock.
const FILE_BYTES: u64 = 64 << 20;

/// Writes down which definitions servers offer.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Lock {
    /// File to write; - is standard output
    #[arg(long, value_name = "FILE", default_value = FILE)]
    file: String,
    #[command(subcommand)]
    verify: Option<Verify>,
}

/// Compares.
#[derive(Debug, Clone, Subcommand)]
enum Verify {
    /// Compare what servers offer now with a lock; ends with 1 where they differ
    #[command(after_help = "\
Examples:
  tollhouse lock verify
  tollhouse lock verify ci/mcp.lock -o json")]
    Verify {
        /// File to compare with
        #[arg(value_name = "FILE", default_value = FILE)]
        file: String,
    },
}

/// A difference between a lock and what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Difference {
    server: String,
    what: String,
    how: String,
}

pub(super) async fn run(context: &Context, lock: Lock) -> Result<u8, Failure> {
    let there = Folder::MustBeThere;
    let now = async || reach(context, there, async |client| Ok(client.lock().await?)).await;
    match lock.verify {
        None => write(context, &lock.file, &now().await?).map(|()| 0),
        Some(Verify::Verify { file }) => {
            let kept = read(&file)?;
            verify(context, &file, &kept, &now().await?)
        }
    }
}

fn write(context: &Context, file: &str, now: &Locking) -> Result<(), Failure> {
    if let Some((server, reason)) = now.silent.first_key_value() {
        let what = format!("{server} cannot be locked");
        return Err(Failure::new(what, tamed(reason))
            .with_fix(format!("put it right, or take it out: tollhouse deregister {server}")));
    }
    for (server, locked) in now.lock.servers.iter().filter(|(_, locked)| locked.held > 0) {
        let count = locked.held;
        context.out.note(&format!("! {server}: {count} held for review, and not locked"));
    }
    let text = serde_json::to_string_pretty(&now.lock).expect("a lock is plain data");
    if file == "-" || context.out.format == Format::Json {
        return context.out.line(&text);
    }
    std::fs::write(file, text + "\n").map_err(|error| {
        Failure::new(format!("{file} cannot be written"), error.to_string())
            .with_fix("name another with --file FILE")
    })?;
    let count = now.lock.servers.len();
    let plural = if count == 1 { "" } else { "s" };
    context.out.note(&format!("locked {count} server{plural} in {file}"));
    Ok(())
}

fn read(file: &str) -> Result<Locked, Failure> {
    let unreadable = |why: String| {
        Failure::new(format!("{file} is no lock that can be read"), why)
            .with_fix("make one with 'tollhouse lock'")
    };
    let size = std::fs::metadata(Path::new(file)).map_err(|error| unreadable(error.to_string()))?;
    if size.len() > FILE_BYTES {
        return Err(unreadable(format!("it is longer than {FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))
}

fn verify(context: &Context, file: &str, kept: &Locked, now: &Locking) -> Result<u8, Failure> {
    let found = differences(kept, now);
    if context.out.format == Format::Json {
        context.out.json(&serde_json::json!({
            "matches": found.is_empty(), "differences": found,
        }))?;
    } else {
        for Difference { server, what, how } in &found {
            context.out.line(&context.out.tame(&format!("{server}: {what} {how}")))?;
        }
    }
    if found.is_empty() {
        context.out.note(&format!("everything is as {file} says"));
        return Ok(0);
    }
    let count = found.len();
    let plural = if count == 1 { "" } else { "s" };
    context.out.note(&format!("{count} difference{plural} to {file}"));
    Ok(1)
}

fn differences(kept: &Locked, now: &Locking) -> Vec<Difference> {
    let mut found = Vec::new();
    if kept.version != now.lock.version {
        let how = format!("is {}, and this gateway writes {}", kept.version, now.lock.version);
        found.push(difference("", "the version of the lock", how));
        return found;
    }
    for (server, locked) in &kept.servers {
        match (now.lock.servers.get(server), now.silent.get(server)) {
            (Some(is), _) => compare(server, locked, is, &mut found),
            (None, Some(why)) => found.push(difference(server, "it", format!("is silent: {why}"))),
            (None, None) => found.push(difference(server, "it", "is not registered")),
        }
    }
    let all = now.lock.servers.keys().chain(now.silent.keys());
    for server in all.filter(|server| !kept.servers.contains_key(*server)) {
        found.push(difference(server, "it", "is not in the lock"));
    }
    found
}

fn difference(server: &str, what: impl Into<String>, how: impl Into<String>) -> Difference {
    Difference { server: server.to_owned(), what: what.into(), how: how.into() }
}

fn compare(server: &str, locked: &LockedServer, is: &LockedServer, found: &mut Vec<Difference>) {
    let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| words.join(" "));
    for (what, was, now) in [
        ("transport", Some(locked.transport.clone()), Some(is.transport.clone())),
        ("url", locked.url.clone(), is.url.clone()),
        ("command", words(&locked.command), words(&is.command)),
        ("headers", words(&locked.headers), words(&is.headers)),
        ("env", words(&locked.env), words(&is.env)),
    ] {
        if was != now {
            let said = |text: Option<String>| text.unwrap_or_else(|| "nothing".to_owned());
            found.push(difference(server, what, format!("was {}, is {}", said(was), said(now))));
        }
    }
    let alone = |digest: &Option<String>| -> BTreeMap<String, String> {
        digest.iter().map(|digest| (String::new(), digest.clone())).collect()
    };
    for (kind, was, now) in [
        ("instructions", &alone(&locked.instructions), &alone(&is.instructions)),
        ("tool", &locked.tools, &is.tools),
        ("prompt", &locked.prompts, &is.prompts),
        ("template", &locked.templates, &is.templates),
    ] {
        for name in was.keys().chain(now.keys().filter(|name| !was.contains_key(*name))) {
            let how = match (was.get(name), now.get(name)) {
                (Some(was), Some(now)) if was == now => continue,
                (Some(_), Some(_)) => "changed",
                (Some(_), None) => "is gone",
                (None, _) => "is new",
            };
            found.push(difference(server, format!("{kind} {name}").trim_end(), how));
        }
    }
    if is.held > 0 {
        found.push(difference(server, is.held.to_string(), "held for review"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lock(servers: &Value) -> Locked {
        serde_json::from_value(json!({"version": 1, "servers": servers})).expect("a lock")
    }

    #[test]
    fn says_what_differs() {
        let kept = lock(&json!({
            "gone": {},
            "time": {
                "command": ["mcp-time"], "instructions": "sha256:1",
                "tools": {"now": "sha256:2", "then": "sha256:3", "when": "sha256:4"},
            },
        }));
        let now = lock(&json!({
            "time": {
                "command": ["mcp-time", "-x"], "instructions": "sha256:9",
                "tools": {"now": "sha256:8", "soon": "sha256:5", "when": "sha256:4"}, "held": 2,
            },
            "new": {},
        }));
        let silent = BTreeMap::from([("sick".to_owned(), "it ended".to_owned())]);

        let found = differences(&kept, &Locking { lock: now, silent });

        let told: Vec<String> =
            found.iter().map(|it| format!("{}: {} {}", it.server, it.what, it.how)).collect();
        assert_eq!(
            told,
            [
                "gone: it is not registered",
                "time: command was mcp-time, is mcp-time -x",
                "time: instructions changed",
                "time: tool now changed",
                "time: tool then is gone",
                "time: tool soon is new",
                "time: 2 held for review",
                "new: it is not in the lock",
                "sick: it is not in the lock",
            ]
        );
    }

    #[test]
    fn a_lock_of_another_form_is_not_compared() {
        let kept = Locked { version: 2, ..lock(&json!({})) };
        let now = Locking { lock: lock(&json!({"time": {}})), silent: BTreeMap::new() };

        assert_eq!(differences(&kept, &now).len(), 1);
    }
}
