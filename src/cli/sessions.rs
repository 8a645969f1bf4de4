//! `tollhouse sessions`, `ps`: who is connected, and what runs for them.

use clap::Subcommand;

use super::{
    Context, Failure, reach,
    table::{brief, minute, or_dash},
};
use crate::client::{ClientSession, ServerProcess};

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
    let sessions = reach::gateway(context).await?.sessions().await?;
    let headings = ["ID", "STATUS", "PROTOCOL", "ENDPOINT", "PRINCIPAL", "CLIENT", "SEEN (UTC)"];
    context.out.many(&sessions, |it| &it.id, &headings, row)
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
    let ended = reach::gateway(context).await?.session_end(id).await;
    ended.map_err(Failure::unless_there("'tollhouse sessions list' shows the ids"))?;
    context.out.done("ended", id, &format!("ended {id}"))
}

/// Shows what runs for whom.
pub(super) async fn ps(context: &Context) -> Result<(), Failure> {
    let processes = reach::gateway(context).await?.processes().await?;
    let headings =
        ["SERVER", "KIND", "STATUS", "PID", "OWNER", "BUSY", "RESTARTS", "STARTED", "LAST LINE"];
    context.out.many(&processes, |it| &it.server, &headings, process)
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
