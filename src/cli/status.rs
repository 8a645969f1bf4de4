//! `tollhouse status`: how a running gateway and its servers are.

use std::time::Duration;

use clap::Args;

use super::{
    Context, Failure,
    out::{Color, Format, Out, tamed},
    reach,
    table::{or_dash, span, table, transport},
};
use crate::client::{ServerStatus, Status};

/// Characters of a reason in the table.
const REASON_LENGTH: usize = 80;

/// Moves the cursor to the top of a terminal, and clears what is there.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows how the gateway and its servers are.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse status -o json
  tollhouse status --watch
  tollhouse status --watch 10")]
pub(super) struct Watch {
    /// Show it again and again, after so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3_600))]
    watch: Option<u32>,
}

pub(super) async fn run(context: &Context, wanted: &Watch) -> Result<(), Failure> {
    let Some(seconds) = wanted.watch else { return show(context).await };
    loop {
        if context.out.is_terminal {
            context.out.piece(CLEAR.as_bytes())?;
        }
        // Whoever watches wants to see it come back.
        if let Err(failure) = show(context).await {
            context.out.note(&tamed(&failure.to_string()));
        }
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    }
}

async fn show(context: &Context) -> Result<(), Failure> {
    let status = reach::gateway(context).await?.status().await?;
    if context.out.is_quiet {
        return Ok(());
    }
    match context.out.format {
        Format::Json => context.out.json(&status),
        Format::Name => status.servers.iter().try_for_each(|it| context.out.line(&it.name)),
        Format::Table => {
            context.out.line(&headline(context.out, &status))?;
            if status.servers.is_empty() {
                return Ok(());
            }
            let headings = ["SERVER", "HEALTH", "TRANSPORT", "REVISION", "TOOLS", "BUSY", "REASON"];
            let rows = status.servers.iter().map(row).collect();
            context.out.line(&format!("\n{}", table(context.out, &headings, rows)))
        }
    }
}

fn headline(out: Out, status: &Status) -> String {
    let store = match &status.store.reason {
        Some(reason) => out.paint(Color::Red, &format!("store {}: {reason}", status.store.state)),
        None => format!("store {}", status.store.state),
    };
    let claim =
        if status.claimed { "claimed".to_owned() } else { out.paint(Color::Yellow, "not claimed") };
    let listen = or_dash(status.listen.clone());
    let up = span(status.uptime_seconds);
    format!("tollhouse {} on {listen}, up {up}, {claim}, {store}", status.version)
}

fn row(server: &ServerStatus) -> Vec<String> {
    let number = |number: Option<u64>| or_dash(number.map(|number| number.to_string()));
    let health = if server.state.is_empty() || server.state == "active" {
        server.health.clone()
    } else {
        server.state.clone()
    };
    let reason = server.last_error.as_deref().unwrap_or_default();
    vec![
        server.name.clone(),
        or_dash(health),
        transport(&server.transport),
        or_dash(server.revision.clone()),
        number(server.tools),
        number(server.in_flight),
        super::table::brief(reason, REASON_LENGTH),
    ]
}
