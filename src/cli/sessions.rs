//! `tollhouse sessions`, `ps`: who is connected, and what runs for them.

use clap::Subcommand;
use serde_json::json;

use super::{
    Context, Failure,
    out::Format,
    reach,
    table::{brief, minute, or_dash, table},
};
use crate::{
    client::{ClientSession, ServerProcess},
    problem::{Classify, Kind},
};

/// Characters of a last line in the table.
const LINE_LENGTH: usize = 60;

/// Sessions.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Sessions {
    /// List the sessions that are open, and those that ended lately
    #[command(alias = "ls", after_help = "Example:\n  tollhouse sessions list -o json")]
    List,
    /// End a session; its client has to begin anew
    #[command(
        aliases = ["rm", "close"],
        after_help = "Example:\n  tollhouse sessions end 5f0c3cba90e84f0cb3f6b0f9ff1c5a2e"
    )]
    End {
        /// Id, as listed
        id: String,
    },
}

pub(super) async fn run(context: &Context, sessions: Option<Sessions>) -> Result<(), Failure> {
    match sessions.unwrap_or(Sessions::List) {
        Sessions::List => list(context).await,
        Sessions::End { id } => end(context, &id).await,
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let sessions = reach::gateway(context)?.sessions().await?;
    match context.out.format {
        Format::Json => return context.out.json(&sessions),
        Format::Name => return sessions.iter().try_for_each(|it| context.out.line(&it.id)),
        Format::Table => {}
    }
    let headings = ["ID", "STATUS", "PROTOCOL", "ENDPOINT", "PRINCIPAL", "CLIENT", "SEEN (UTC)"];
    let rows = sessions.iter().map(row).collect();
    context.out.line(&table(context.out, &headings, rows))
}

fn row(session: &ClientSession) -> Vec<String> {
    let endpoint = session.metadata.get("endpoint").and_then(|it| it.as_str());
    vec![
        session.id.clone(),
        session.status.clone(),
        session.protocol.clone(),
        or_dash(endpoint.map(str::to_owned)),
        session.principal.clone(),
        or_dash(session.client_id.clone()),
        minute(&session.last_activity),
    ]
}

async fn end(context: &Context, id: &str) -> Result<(), Failure> {
    let ended = reach::gateway(context)?.session_end(id).await;
    ended.map_err(|error| match error.kind() {
        Kind::NotFound => Failure::from(error).with_fix("'tollhouse sessions list' shows the ids"),
        _ => error.into(),
    })?;
    if context.out.format == Format::Json {
        context.out.json(&json!({"ended": id}))?;
    }
    context.out.note(&format!("ended {id}"));
    Ok(())
}

/// Shows what runs for whom.
pub(super) async fn ps(context: &Context) -> Result<(), Failure> {
    let processes = reach::gateway(context)?.processes().await?;
    match context.out.format {
        Format::Json => return context.out.json(&processes),
        Format::Name => return processes.iter().try_for_each(|it| context.out.line(&it.server)),
        Format::Table => {}
    }
    let headings =
        ["SERVER", "KIND", "STATUS", "PID", "OWNER", "BUSY", "RESTARTS", "STARTED", "LAST LINE"];
    let rows = processes.iter().map(process).collect();
    context.out.line(&table(context.out, &headings, rows))
}

fn process(process: &ServerProcess) -> Vec<String> {
    let last = process.last_line.as_deref().unwrap_or_default();
    vec![
        process.server.clone(),
        process.kind.clone(),
        process.status.clone(),
        or_dash(process.pid.map(|pid| pid.to_string())),
        process.owner.clone(),
        process.in_flight.to_string(),
        or_dash(process.restarts.map(|count| count.to_string())),
        or_dash(process.started_at.as_deref().map(minute)),
        or_dash(brief(last, LINE_LENGTH)),
    ]
}
