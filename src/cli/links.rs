//! `tollhouse link`: people's own accounts at servers.

use clap::Subcommand;

use super::{
    Context, Failure,
    out::Format,
    reach::reach,
    table::{minute, or_dash},
};
use crate::app::Folder;

/// Your own accounts at servers.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Links {
    /// Print the page where you sign in at a server
    #[command(after_help = "\
Example:
  tollhouse link add wiki
The page opens in any browser; you sign in at the gateway there first.")]
    Add {
        /// Name or id of the server
        server: String,
    },
    /// List your accounts at servers
    #[command(
        alias = "ls",
        after_help = "Example:\n  tollhouse link list --url https://gate.example"
    )]
    List,
    /// End one, and give its tokens back
    #[command(
        aliases = ["rm", "delete"],
        after_help = "Example:\n  tollhouse link remove 019ab3c4-8a10-7c2e-9d7e-3a0f5b6c7d8e"
    )]
    Remove {
        /// Id, as listed
        id: String,
    },
}

pub(super) async fn run(context: &Context, links: Links) -> Result<(), Failure> {
    let there = Folder::MustBeThere;
    match links {
        Links::Add { server } => {
            let begun = reach(context, there, async |client| {
                let unknown = Failure::unless_there("'tollhouse list' shows the servers");
                client.link(&server).await.map_err(unknown)
            });
            let begun = begun.await?;
            match context.out.format {
                Format::Json => context.out.json(&begun)?,
                Format::Name | Format::Table => context.out.line(&begun.page)?,
            }
            context.out.note("open it in a browser, and sign in");
            Ok(())
        }
        Links::List => {
            let listed = reach(context, there, async |client| Ok(client.links().await?));
            context.out.many(
                &listed.await?,
                |it| &it.id,
                &["ID", "SERVER", "ISSUER", "STATE", "SINCE (UTC)"],
                |it| {
                    vec![
                        it.id.clone(),
                        or_dash(it.server.clone().unwrap_or_default()),
                        it.issuer.clone(),
                        if it.is_over { "sign in again" } else { "signed in" }.to_owned(),
                        minute(&it.linked_at),
                    ]
                },
            )
        }
        Links::Remove { id } => {
            let removed = reach(context, there, async |client| {
                let unknown = Failure::unless_there("'tollhouse link list' shows the ids");
                client.unlink(&id).await.map_err(unknown)
            });
            removed.await?;
            context.out.done("removed", &id, &format!("removed {id}"))
        }
    }
}
