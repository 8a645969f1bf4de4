//! `tollhouse policy`: who may use what, beyond what roles say.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    Context, Failure,
    definition::read,
    out::Format,
    reach::reach,
    table::table,
    whatif::{self, WhatIf},
};
use crate::{
    app::Folder,
    client::{PolicyAnswer, PolicyStep, PolicyView},
    domain::Role,
    problem::{Classify, Kind},
};

/// Policies.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Policies {
    /// List the policies, those that are asked first at the top
    #[command(alias = "ls", after_help = "Example:\n  tollhouse policy list")]
    List,
    /// Show a policy
    #[command(after_help = "Example:\n  tollhouse policy show no-writes-at-night")]
    Show {
        /// Id or name, as listed
        policy: String,
    },
    /// Make a policy
    #[command(
        alias = "add",
        after_help = "\
Examples:
  tollhouse policy create no-writes.yaml
  echo '{\"name\":\"no-fetch\",\"conditions\":{\"tool.name\":\"fetch\"},\"actions\":{\"effect\":\"deny\"}}' \\
    | tollhouse policy create -"
    )]
    Create {
        /// File with its definition, in JSON or YAML; - reads standard input
        file: String,
    },
    /// Change a policy; what the file does not say stays as it is
    #[command(after_help = "Example:\n  tollhouse policy update no-writes no-writes.yaml")]
    Update {
        /// Id or name, as listed
        policy: String,
        /// File with what changes, in JSON or YAML; - reads standard input
        file: String,
    },
    /// Remove a policy
    #[command(
        aliases = ["rm", "remove"],
        after_help = "Example:\n  tollhouse policy delete no-writes"
    )]
    Delete {
        /// Id or name, as listed
        policy: String,
    },
    /// Say how a call would be decided, without making it
    #[command(after_help = "\
Examples:
  tollhouse policy test --role user --server files --tool write_file
  tollhouse policy test --server files --tool write_file --args '{\"path\":\"/etc/passwd\"}'
  tollhouse policy test --server files --tool write_file --at 2027-01-31T22:00:00Z --try new.yaml")]
    Test(Box<Test>),
    /// The same, with every check of every policy
    #[command(after_help = "Example:\n  tollhouse policy explain --server files --tool write_file")]
    Explain(Box<Test>),
    /// Say what a policy would have made of calls that were made, by who called what
    #[command(
        name = "whatif",
        after_help = "\
Examples:
  tollhouse policy whatif no-writes.yaml --since 7d
  tollhouse policy whatif no-writes.yaml --log tollhouse.log -o json"
    )]
    WhatIf(WhatIf),
}

/// A call that is only thought of.
#[derive(Debug, Clone, Args)]
pub(super) struct Test {
    /// Role of who would call; your own where nothing is said
    #[arg(long, value_parser = Role::ALL.map(Role::as_str))]
    role: Option<String>,
    /// API key of who would call, by its id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Person who would call, by name or id
    #[arg(long, value_name = "USER", conflicts_with = "key")]
    user: Option<String>,
    /// Server it would go to
    #[arg(long)]
    server: String,
    /// Tool it would call, by the server's own name for it
    #[arg(long, required_unless_present_any = ["prompt", "resource"])]
    tool: Option<String>,
    /// Prompt it would get
    #[arg(long, conflicts_with = "tool")]
    prompt: Option<String>,
    /// Resource it would read
    #[arg(long, value_name = "URI", conflicts_with_all = ["tool", "prompt"])]
    resource: Option<String>,
    /// Its arguments
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// When; now, where nothing is said
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Ask this policy too, which is not there yet, or is another there
    #[arg(long = "try", value_name = "FILE")]
    candidate: Option<String>,
}

pub(super) async fn run(context: &Context, policies: Policies) -> Result<(), Failure> {
    match policies {
        Policies::List => list(context).await,
        Policies::Show { policy } => {
            let shown = reach(context, Folder::MustBeThere, async |client| {
                client.policy(&policy).await.map_err(unknown)
            });
            show(context, &shown.await?)
        }
        Policies::Create { file } => {
            let definition = read(&file)?;
            let made = reach(context, Folder::MustBeThere, async |client| {
                Ok(client.policy_create(&definition).await?)
            });
            written(context, &made.await?, "made")
        }
        Policies::Update { policy, file } => {
            let definition = read(&file)?;
            let changed = reach(context, Folder::MustBeThere, async |client| {
                client.policy_update(&policy, &definition).await.map_err(unknown)
            });
            written(context, &changed.await?, "changed")
        }
        Policies::Delete { policy } => delete(context, &policy).await,
        Policies::Test(test) => ask(context, *test, Detail::Verdict).await,
        Policies::Explain(test) => ask(context, *test, Detail::Checks).await,
        Policies::WhatIf(asked) => whatif::run(context, &asked).await,
    }
}

fn unknown(error: crate::client::Error) -> Failure {
    match error.kind() {
        Kind::NotFound => Failure::from(error).with_fix("'tollhouse policy list' shows them"),
        _ => error.into(),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let found = reach(context, Folder::MustBeThere, async |client| Ok(client.policies().await?));
    let found = found.await?;
    let row = |policy: &PolicyView| {
        let effect = policy.actions.get("effect").and_then(Value::as_str).unwrap_or("-");
        let state = match (&policy.error, policy.is_active) {
            (Some(_), true) => "broken: denies everything",
            (_, true) => "yes",
            (_, false) => "no",
        };
        vec![
            policy.priority.to_string(),
            policy.name.clone(),
            effect.to_owned(),
            state.to_owned(),
            policy.origin.clone(),
        ]
    };
    let headings = ["PRIORITY", "NAME", "EFFECT", "ACTIVE", "FROM"];
    context.out.many(&found, |it| &it.name, &headings, row)
}

fn show(context: &Context, policy: &PolicyView) -> Result<(), Failure> {
    match context.out.format {
        Format::Name => context.out.line(&policy.name),
        // A policy is JSON for people too: it is written as it is shown.
        Format::Json | Format::Table => context.out.json(policy),
    }
}

fn written(context: &Context, policy: &PolicyView, done: &str) -> Result<(), Failure> {
    match context.out.format {
        Format::Json => context.out.json(policy)?,
        Format::Name => context.out.line(&policy.name)?,
        Format::Table => {}
    }
    context.out.note(&format!("{done} {}", policy.name));
    Ok(())
}

async fn delete(context: &Context, policy: &str) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        client.policy_delete(policy).await.map_err(unknown)
    })
    .await?;
    context.out.done("deleted", policy, &format!("deleted {policy}"))
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    Verdict,
    Checks,
}

async fn ask(context: &Context, test: Test, detail: Detail) -> Result<(), Failure> {
    let question = question(test)?;
    let answer = reach(context, Folder::MustBeThere, async |client| {
        Ok(client.policy_test(&question).await?)
    });
    let answer = answer.await?;
    match context.out.format {
        Format::Json => context.out.json(&answer),
        Format::Name => context.out.line(&answer.decision),
        Format::Table if detail == Detail::Verdict => tell(context, &answer),
        Format::Table => {
            tell(context, &answer)?;
            answer.policies.iter().try_for_each(|step| tell_checks(context, step))
        }
    }
}

/// The question as the gateway takes it.
fn question(test: Test) -> Result<Value, Failure> {
    let mut question = Map::new();
    let mut caller = Map::new();
    let kind = match (&test.key, &test.user) {
        (Some(_), _) => Some("key".to_owned()),
        (None, Some(_)) => Some("user".to_owned()),
        (None, None) => None,
    };
    for (name, said) in [("role", test.role), ("kind", kind), ("id", test.key.or(test.user))] {
        caller.extend(said.map(|said| (name.to_owned(), Value::from(said))));
    }
    if !caller.is_empty() {
        question.insert("caller".to_owned(), caller.into());
    }
    question.insert("server".to_owned(), test.server.into());
    let texts = [
        ("tool", test.tool),
        ("prompt", test.prompt),
        ("resource", test.resource),
        ("at", test.at),
    ];
    for (name, said) in texts {
        question.extend(said.map(|said| (name.to_owned(), Value::from(said))));
    }
    if let Some(text) = test.args {
        let arguments = serde_json::from_str::<Map<String, Value>>(&text).map_err(|error| {
            Failure::misuse("the arguments are no JSON object", error.to_string())
        })?;
        question.insert("arguments".to_owned(), arguments.into());
    }
    if let Some(file) = test.candidate {
        question.insert("policy".to_owned(), read(&file)?);
    }
    Ok(question.into())
}

fn tell(context: &Context, answer: &PolicyAnswer) -> Result<(), Failure> {
    let verdict = if answer.allowed { "allowed" } else { "denied" };
    let by = match &answer.policy {
        Some(policy) if answer.allowed == (answer.decision == "allow") => {
            format!("by the policy {policy}")
        }
        Some(policy) => format!("though the policy {policy} allows it: the key may do less"),
        None => "by the role: no policy decides".to_owned(),
    };
    let listed = if answer.listed { "" } else { "; lists do not show it" };
    context.out.line(&context.out.tame(&format!("{verdict} {by}{listed}")))?;
    if let Some(message) = &answer.message {
        context.out.line(&context.out.tame(&format!("  why: {message}")))?;
    }
    if answer.policies.is_empty() {
        return Ok(());
    }
    let rows = answer.policies.iter().map(|step| {
        vec![
            step.priority.to_string(),
            step.policy.clone(),
            step.effect.clone(),
            step.holds.clone(),
        ]
    });
    let headings = ["PRIORITY", "POLICY", "EFFECT", "HOLDS"];
    context.out.line(&format!("\n{}", table(context.out, &headings, rows.collect())))
}

fn tell_checks(context: &Context, step: &PolicyStep) -> Result<(), Failure> {
    if step.checks.is_empty() {
        return Ok(());
    }
    let rows = step.checks.iter().map(|check| {
        let (at, found) = (check.at.clone(), check.found.to_string());
        vec![at, check.field.clone(), check.operator.clone(), found, check.holds.clone()]
    });
    context.out.line(&context.out.tame(&format!("\n{}", step.policy)))?;
    let headings = ["CHECK", "FIELD", "OPERATOR", "FOUND", "HOLDS"];
    context.out.line(&table(context.out, &headings, rows.collect()))
}
