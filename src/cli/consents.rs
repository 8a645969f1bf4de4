//! `tollhouse consent`: clients that people gave leave to act for them.

use clap::Subcommand;

use super::{
    Context, Failure,
    reach::reach,
    table::{minute, or_dash},
};
use crate::app::Folder;

/// Leave that people gave to clients.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Consents {
    /// List the clients that a person gave leave to
    #[command(alias = "ls", after_help = "Example:\n  tollhouse consent list --user ana")]
    List {
        /// Whose, by name, address or id; your own where the key is a token of yours
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// Take leave back; the client's tokens open nothing any more
    #[command(
        aliases = ["rm", "delete"],
        after_help = "Example:\n  tollhouse consent revoke 019ab3c4-8a10-7c2e-9d7e-3a0f5b6c7d8e"
    )]
    Revoke {
        /// Id, as listed
        id: String,
    },
}

pub(super) async fn run(context: &Context, consents: Consents) -> Result<(), Failure> {
    let there = Folder::MustBeThere;
    match consents {
        Consents::List { user } => {
            let listed = reach(context, there, async |client| {
                let unknown = Failure::unless_there("'tollhouse user list' shows who there is");
                client.consents(user.as_deref()).await.map_err(unknown)
            });
            let headings = ["ID", "USER", "CLIENT", "ENDPOINT", "SCOPES", "RENEWED (UTC)"];
            context.out.many(
                &listed.await?,
                |it| &it.id,
                &headings,
                |it| {
                    vec![
                        it.id.clone(),
                        it.username.clone(),
                        or_dash(it.client_name.clone()),
                        it.resource.clone(),
                        it.scopes.join(" "),
                        minute(&it.renewed_at),
                    ]
                },
            )
        }
        Consents::Revoke { id } => {
            let revoked = reach(context, there, async |client| {
                let unknown = Failure::unless_there("'tollhouse consent list' shows the ids");
                client.consent_revoke(&id).await.map_err(unknown)
            });
            revoked.await?;
            context.out.done("revoked", &id, &format!("revoked {id}"))
        }
    }
}
