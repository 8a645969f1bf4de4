//! `tollhouse policy whatif`: what a policy would have made of calls that were made.
//!
//! The calls are read from the book that a gateway keeps, or from a log in which it wrote them, and
//! decided anew by a gateway: once without and once with the policy.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read as _},
};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Context, Failure, definition::read, log, out::Format, reach::reach, table::table, when::moment,
};
use crate::{
    app::Folder,
    client::{Client, ReplayedCall, RequestView},
    domain::{Scope, Timestamp},
};

/// The longest line of a log that is read, in bytes; what is longer is no call.
const LINE_BYTES: u64 = 64 << 10;

/// Different calls in one replay.
const MOST_CALLS: usize = 100_000;

/// Calls sent to the gateway at once: the most it takes.
const AT_ONCE: usize = 1_000;

/// At this length, in characters, the journal cuts names.
const ITEM_LIMIT: usize = 200;

/// Time zones differ by multiples of this, so within it no field of time changes.
const QUARTER_MS: i64 = 15 * 60 * 1_000;

/// What is asked.
#[derive(Debug, Clone, Args)]
pub(super) struct WhatIf {
    /// File with the policy, in JSON or YAML; - reads standard input
    file: String,
    /// Log of a gateway, in JSON, in place of the book it keeps; - reads standard input
    #[arg(long, value_name = "FILE")]
    log: Option<String>,
    /// Only calls that are not older, such as 7d, 12h or 30m, or made since a time
    #[arg(long, value_name = "AGE|TIME")]
    since: Option<String>,
}

/// A line of the journal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    timestamp: String,
    message: String,
    method: String,
    endpoint: Option<String>,
    server: Option<String>,
    item: Option<String>,
    client: Option<String>,
    revision: Option<String>,
    via: Option<String>,
    caller: Option<String>,
    role: Option<String>,
    inputs: Map<String, Value>,
}

/// Calls that are decided alike.
#[derive(Debug)]
struct Calls {
    caller: String,
    server: String,
    item: String,
    count: u64,
    last: Timestamp,
}

/// What was read.
#[derive(Debug, Default)]
struct Past {
    /// By the question that is asked of them.
    alike: BTreeMap<String, Calls>,
    lines: u64,
    /// Calls that cannot be asked about, by the reason.
    skipped: BTreeMap<String, u64>,
}

/// What changes for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    NewlyDenied,
    NewlyAllowed,
    /// That depends on arguments that the journal does not keep.
    PerhapsDenied,
    PerhapsAllowed,
}

impl Change {
    fn of(call: &ReplayedCall) -> Option<Self> {
        Some(match (&*call.before, &*call.after) {
            ("allowed", "denied") => Self::NewlyDenied,
            ("denied", "allowed") => Self::NewlyAllowed,
            ("allowed", "depends") | ("depends", "denied") => Self::PerhapsDenied,
            ("denied", "depends") | ("depends", "allowed") => Self::PerhapsAllowed,
            _ => return None,
        })
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NewlyDenied => "newly denied",
            Self::NewlyAllowed => "newly allowed",
            Self::PerhapsDenied => "perhaps denied",
            Self::PerhapsAllowed => "perhaps allowed",
        }
    }
}

/// What changes for the calls of somebody to something.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Row {
    change: Change,
    caller: String,
    server: String,
    item: String,
    /// The policy that decides afterwards.
    policy: Option<String>,
}

/// A row, and how many calls are in it.
#[derive(Debug, Serialize)]
struct Counted {
    #[serde(flatten)]
    row: Row,
    calls: u64,
    last: String,
}

/// What is told in the end.
#[derive(Debug, Serialize)]
struct Told {
    /// Calls that were decided anew.
    replayed: u64,
    changes: Vec<Counted>,
    /// Calls that were not, by the reason.
    skipped: BTreeMap<String, u64>,
}

pub(super) async fn run(context: &Context, asked: &WhatIf) -> Result<(), Failure> {
    if asked.log.as_deref() == Some("-") && (asked.file == "-" || io::stdin().is_terminal()) {
        let why = "calls are read from the log of a gateway, and nothing is piped in";
        return Err(Failure::misuse("the log is missing", why).with_fix("name it with --log FILE"));
    }
    let policy = read(&asked.file)?;
    let since = asked.since.as_deref().map(|it| moment("--since", it)).transpose()?;
    let past = asked.log.as_deref().map(|log| past(log, since)).transpose()?;
    let told = reach(context, Folder::MustBeThere, async |client| {
        let past = match past {
            Some(past) => past,
            None => of_book(client, since).await?,
        };
        replay(client, &policy, past).await
    });
    tell(context, &told.await?)
}

/// The calls in the book of a gateway.
async fn of_book(client: &Client, since: Option<Timestamp>) -> Result<Past, Failure> {
    let mut asked = vec![("method", "tools/call,prompts/get,resources/read".to_owned())];
    asked.extend(since.map(|since| ("since", since.to_string())));
    let mut past = Past::default();
    let taken = log::each(client, &asked, usize::MAX, |line| {
        past.lines += 1;
        past.take(line.into(), since);
        past.is_not_too_much("the book")
    });
    taken.await?;
    if past.alike.is_empty() && past.skipped.is_empty() {
        let why = "none was to a tool, prompt or resource";
        let failure = Failure::new("there are no such calls in the book", why);
        return Err(failure.with_fix("look at it with: tollhouse log search"));
    }
    Ok(past)
}

impl From<RequestView> for Line {
    fn from(line: RequestView) -> Self {
        let text = |name: &str| line.more.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            endpoint: text("endpoint"),
            revision: text("revision"),
            via: text("transport"),
            role: text("role"),
            inputs: line.more.get("inputs").and_then(Value::as_object).cloned().unwrap_or_default(),
            timestamp: line.timestamp,
            message: "call".to_owned(),
            method: line.rpc_method,
            server: line.server,
            item: line.item,
            client: line.client_id,
            caller: line.user_id,
        }
    }
}

/// The calls in a log.
fn past(log: &str, since: Option<Timestamp>) -> Result<Past, Failure> {
    let read = if log == "-" {
        gather(io::stdin().lock(), since)
    } else {
        File::open(log).and_then(|file| gather(BufReader::new(file), since))
    };
    let past = read.map_err(|error| {
        Failure::new(format!("the log {log} cannot be read"), error.to_string())
            .with_fix("name the file that holds what the gateway wrote to standard error")
    })?;
    past.is_not_too_much("the log")?;
    if past.alike.is_empty() && past.skipped.is_empty() {
        let why = format!("none of its {} lines is one to a tool, prompt or resource", past.lines);
        let failure = Failure::new("there are no such calls in the log", why);
        return Err(failure.with_fix(
            "calls are logged where observe.calls is true and \
                                     observe.format is json; --since may be too short",
        ));
    }
    Ok(past)
}

fn gather(mut log: impl BufRead, since: Option<Timestamp>) -> io::Result<Past> {
    let mut past = Past::default();
    let mut bytes = Vec::new();
    while past.alike.len() <= MOST_CALLS {
        bytes.clear();
        if log.by_ref().take(LINE_BYTES).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        past.lines += 1;
        // What collects logs may put something before each line.
        let begin = bytes.iter().position(|byte| *byte == b'{').unwrap_or_default();
        let line = serde_json::from_slice::<Line>(&bytes[begin..]).unwrap_or_default();
        if line.message == "call" {
            past.take(line, since);
        }
    }
    Ok(past)
}

impl Past {
    fn is_not_too_much(&self, place: &str) -> Result<(), Failure> {
        if self.alike.len() <= MOST_CALLS {
            return Ok(());
        }
        let why = format!("it has more than {MOST_CALLS} different ones");
        let failure = Failure::new(format!("there are too many calls in {place}"), why);
        Err(failure.with_fix("shorten the time with --since"))
    }

    fn take(&mut self, line: Line, since: Option<Timestamp>) {
        let kind = match &*line.method {
            "tools/call" => "tool",
            "prompts/get" => "prompt",
            "resources/read" => "resource",
            // Policies have nothing to say of others.
            _ => return,
        };
        let Some(at) = Timestamp::parse(&line.timestamp) else {
            return self.skip("the line does not say when", 1);
        };
        if since.is_some_and(|since| at < since) {
            return;
        }
        let (Some(caller), Some(server), Some(item)) = (line.caller, line.server, line.item) else {
            return self.skip("nobody was let in, or nothing was found", 1);
        };
        if item.chars().count() >= ITEM_LIMIT {
            return self.skip("the name of what was called is too long for the log", 1);
        }
        let (who, id) = match caller.split_once(':') {
            Some((kind, id)) => (kind, Some(id)),
            None => (&*caller, None),
        };
        let quarter = Timestamp::from_ms(at.as_ms().div_euclid(QUARTER_MS) * QUARTER_MS);
        let question = json!({
            "caller": {"kind": who, "id": id, "role": line.role},
            "server": server,
            kind: item,
            "inputs": line.inputs,
            "client": {"name": line.client, "revision": line.revision},
            "transport": line.via,
            "endpoint": line.endpoint.filter(|path| Scope::at(path).is_some()),
            "at": quarter.to_string(),
        });
        let fresh = || Calls { caller, server, item, count: 0, last: at };
        let calls = self.alike.entry(question.to_string()).or_insert_with(fresh);
        calls.count += 1;
        calls.last = calls.last.max(at);
    }

    fn skip(&mut self, reason: &str, calls: u64) {
        *self.skipped.entry(reason.to_owned()).or_default() += calls;
    }
}

async fn replay(client: &Client, policy: &Value, past: Past) -> Result<Told, Failure> {
    let Past { alike, mut skipped, .. } = past;
    let names = names(client).await;
    let mut changes: BTreeMap<Row, (u64, Timestamp)> = BTreeMap::new();
    let mut replayed = 0;
    let alike: Vec<(Value, Calls)> = alike
        .into_iter()
        .map(|(question, calls)| (question.parse().expect("it was JSON before"), calls))
        .collect();
    for some in alike.chunks(AT_ONCE) {
        let questions: Vec<&Value> = some.iter().map(|(question, _)| question).collect();
        let answers = client.policy_replay(policy, &questions).await?;
        for (answer, (_, calls)) in answers.into_iter().zip(some) {
            if let Some(reason) = answer.reason {
                *skipped.entry(reason).or_default() += calls.count;
                continue;
            }
            replayed += calls.count;
            let Some(change) = Change::of(&answer) else { continue };
            let caller = names.get(&calls.caller).unwrap_or(&calls.caller).clone();
            let (server, item) = (calls.server.clone(), calls.item.clone());
            let row = Row { change, caller, server, item, policy: answer.policy };
            let (count, last) = changes.entry(row).or_insert((0, calls.last));
            *count += calls.count;
            *last = calls.last.max(*last);
        }
    }
    let counted = |(row, (calls, last)): (Row, (u64, Timestamp))| Counted {
        row,
        calls,
        last: last.to_string(),
    };
    Ok(Told { replayed, changes: changes.into_iter().map(counted).collect(), skipped })
}

/// What people call those who call, as far as whoever asks may know it.
async fn names(client: &Client) -> HashMap<String, String> {
    let users = client.users().await.unwrap_or_default().into_iter();
    let users = users.map(|user| (format!("user:{}", user.id), user.username));
    let keys = client.key_list().await.unwrap_or_default().into_iter();
    let keys = keys.map(|key| (format!("key:{}", key.id), format!("key {}", key.name)));
    users.chain(keys).collect()
}

fn tell(context: &Context, told: &Told) -> Result<(), Failure> {
    let out = context.out;
    match out.format {
        Format::Json => return out.json(told),
        Format::Name => {
            let name = |it: &Counted| out.tame(&format!("{}/{}", it.row.server, it.row.item));
            return told.changes.iter().try_for_each(|it| out.line(&name(it)));
        }
        Format::Table if told.changes.is_empty() => {}
        Format::Table => {
            let rows = told.changes.iter().map(|Counted { row, calls, last }| {
                let (calls, policy) = (calls.to_string(), row.policy.as_deref().unwrap_or("-"));
                let texts = [row.change.words(), &row.caller, &row.server, &row.item];
                let texts = texts.into_iter().chain([&*calls, last, policy]);
                texts.map(str::to_owned).collect()
            });
            let headings = ["CHANGE", "CALLER", "SERVER", "ITEM", "CALLS", "LAST", "POLICY"];
            out.line(&table(out, &headings, rows.collect()))?;
        }
    }
    let sum = |changes: &[Change]| {
        let those = told.changes.iter().filter(|it| changes.contains(&it.row.change));
        those.map(|it| it.calls).sum::<u64>()
    };
    out.note(&format!(
        "{} calls replayed: {} newly denied, {} newly allowed, {} depend on what was not kept",
        told.replayed,
        sum(&[Change::NewlyDenied]),
        sum(&[Change::NewlyAllowed]),
        sum(&[Change::PerhapsDenied, Change::PerhapsAllowed]),
    ));
    for (reason, calls) in &told.skipped {
        out.note(&out.tame(&format!("{calls} not replayed: {reason}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: &str, more: &str) -> String {
        format!(
            r#"<6>{{"timestamp":"{at}","message":"call","method":"tools/call","caller":"user:u","server":"s","item":"t"{more}}}"#
        )
    }

    #[test]
    fn calls_that_are_decided_alike_are_one_question() {
        let log = [
            "not JSON",
            r#"{"message":"something else"}"#,
            &line("2026-11-25T10:01:00.000Z", ""),
            &line("2026-11-25T10:14:59.999Z", ""),
            &line("2026-11-25T10:15:00.000Z", ""),
            &line("2026-11-25T10:16:00.000Z", r#","inputs":{"arguments.path":"/etc"}"#),
            &line("2026-11-24T10:16:00.000Z", ""),
            &line("yesterday", ""),
            &line("2026-11-25T10:01:00.000Z", "")
                .replace("\"t\"", &format!("\"{}\"", "t".repeat(200))),
        ]
        .join("\n");
        let since = Timestamp::parse("2026-11-25T00:00:00Z");

        let past = gather(log.as_bytes(), since).expect("readable");

        let counts: Vec<u64> = past.alike.values().map(|calls| calls.count).collect();
        assert_eq!((counts.iter().sum::<u64>(), counts.len(), past.lines), (4, 3, 9));
        assert_eq!(past.skipped.values().sum::<u64>(), 2);
    }

    #[test]
    fn a_line_that_is_too_long_is_no_call_and_ends_nothing() {
        let noise = "x".repeat(usize::try_from(LINE_BYTES).expect("small") + 1);
        let log = [&*noise, &*line("2026-11-25T10:01:00Z", "")].join("\n");

        let past = gather(log.as_bytes(), None).expect("readable");

        assert_eq!(past.alike.len(), 1);
    }
}
