//! `tollhouse namespace`: groups of servers with an endpoint of their own.

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    reach::reach,
    table::{brief, or_dash, yes_or_no},
};
use crate::{
    app::Folder,
    client::{self, NamespaceForm, NamespaceView},
    problem::{Classify, Kind},
};

/// Characters of a description in the table.
const DESCRIPTION_LENGTH: usize = 60;

/// Namespaces.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Namespaces {
    /// List the namespaces
    #[command(alias = "ls", after_help = "Example:\n  tollhouse namespace list -o json")]
    List,
    /// Show a namespace
    #[command(after_help = "Example:\n  tollhouse namespace show research")]
    Show {
        /// Slug or id
        namespace: String,
    },
    /// Make a namespace; its endpoint is `/mcp/{slug}`
    #[command(after_help = "\
Examples:
  tollhouse namespace create research --description 'Papers and search'
  tollhouse register papers --namespace research -- uvx papers-server")]
    Create(Create),
    /// Change a namespace
    #[command(after_help = "Example:\n  tollhouse namespace update research --active false")]
    Update(Update),
    /// Delete a namespace
    #[command(
        aliases = ["rm", "remove"],
        after_help = "Example:\n  tollhouse namespace delete research --force"
    )]
    Delete {
        /// Slug or id
        namespace: String,
        /// Retire the servers in it too
        #[arg(long)]
        force: bool,
    },
}

/// A namespace to be made.
#[derive(Debug, Clone, Args)]
pub(super) struct Create {
    /// Its name in paths
    slug: String,
    #[command(flatten)]
    facts: Facts,
}

/// A namespace, and what is to be different about it.
#[derive(Debug, Clone, Args)]
pub(super) struct Update {
    /// Slug or id
    namespace: String,
    #[command(flatten)]
    facts: Facts,
}

/// What may be said of a namespace.
#[derive(Debug, Clone, Args)]
pub(super) struct Facts {
    /// What people call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// When names carry their server's
    #[arg(long, value_parser = ["always", "conflict", "never"])]
    prefix: Option<String>,
    /// Whether its servers are offered
    #[arg(long, value_name = "BOOL")]
    active: Option<bool>,
}

impl Facts {
    fn form(self, slug: Option<String>) -> NamespaceForm {
        NamespaceForm {
            slug,
            name: self.name,
            description: self.description,
            prefix: self.prefix,
            is_active: self.active,
            metadata: None,
        }
    }
}

pub(super) async fn run(context: &Context, namespaces: Namespaces) -> Result<(), Failure> {
    let there = Folder::MustBeThere;
    match namespaces {
        Namespaces::List => list(context).await,
        Namespaces::Show { namespace } => {
            let shown = reach(context, there, async |client| {
                client.namespace(&namespace).await.map_err(unknown)
            });
            show(context, &shown.await?)
        }
        Namespaces::Create(Create { slug, facts }) => {
            let form = facts.form(Some(slug));
            let made =
                reach(context, there, async |client| Ok(client.namespace_create(&form).await?));
            show(context, &made.await?)
        }
        Namespaces::Update(Update { namespace, facts }) => {
            let form = facts.form(None);
            let changed = reach(context, there, async |client| {
                client.namespace_change(&namespace, &form).await.map_err(unknown)
            });
            show(context, &changed.await?)
        }
        Namespaces::Delete { namespace, force } => delete(context, &namespace, force).await,
    }
}

fn show(context: &Context, namespace: &NamespaceView) -> Result<(), Failure> {
    context.out.one(namespace, &namespace.slug)
}

fn unknown(error: client::Error) -> Failure {
    Failure::unless_there("'tollhouse namespace list' shows which there are")(error)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let all = reach(context, Folder::MustBeThere, async |client| Ok(client.namespaces().await?));
    let headings = ["SLUG", "ENDPOINT", "ACTIVE", "DESCRIPTION"];
    context.out.many(
        &all.await?,
        |it| &it.slug,
        &headings,
        |it| {
            let endpoint = format!("/mcp/{}", it.slug);
            let description = or_dash(brief(&it.description, DESCRIPTION_LENGTH));
            vec![it.slug.clone(), endpoint, yes_or_no(it.is_active), description]
        },
    )
}

async fn delete(context: &Context, namespace: &str, force: bool) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        client.namespace_delete(namespace, force).await.map_err(|error| match error.kind() {
            Kind::Conflict => Failure::from(error).with_fix("--force retires its servers too"),
            _ => unknown(error),
        })
    })
    .await?;
    context.out.done("deleted", namespace, &format!("deleted {namespace}"))
}
