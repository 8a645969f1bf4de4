//! `tollhouse org`: organizations, for gateways that serve several.

use clap::{Args, Subcommand};

use super::{Context, Failure, reach::reach, table::yes_or_no};
use crate::{
    app::Folder,
    client::{self, OrganizationForm, OrganizationView},
    domain::Plan,
};

/// What `--help` says after the commands.
pub(super) const HELP: &str = "\
Every command takes --org SLUG: whoever stands above organizations works in that one then.

Examples:
  tollhouse org create acme --plan pro --max-servers 50
  tollhouse user create ana --role admin --org acme
  tollhouse key create laptop --role admin --user ana --org acme";

/// Organizations.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Organizations {
    /// List the organizations
    #[command(alias = "ls", after_help = "Example:\n  tollhouse org list -o json")]
    List,
    /// Show an organization
    #[command(after_help = "Example:\n  tollhouse org show acme")]
    Show {
        /// Slug or id
        organization: String,
    },
    /// Make an organization
    #[command(after_help = "Example:\n  tollhouse org create acme --plan pro --max-servers 50")]
    Create(Create),
    /// Change an organization
    #[command(after_help = "Example:\n  tollhouse org update acme --max-sessions 500")]
    Update(Update),
    /// Delete an organization, with its people, keys, servers, namespaces and sessions
    #[command(
        aliases = ["rm", "remove"],
        after_help = "Example:\n  tollhouse org delete acme --yes"
    )]
    Delete {
        /// Slug or id
        organization: String,
        /// That this is meant
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// An organization to be made.
#[derive(Debug, Clone, Args)]
pub(super) struct Create {
    /// Its name in paths
    slug: String,
    #[command(flatten)]
    facts: Facts,
}

/// An organization, and what is to be different about it.
#[derive(Debug, Clone, Args)]
pub(super) struct Update {
    /// Slug or id
    organization: String,
    /// Whether anybody of it is let in
    #[arg(long, value_name = "BOOL")]
    active: Option<bool>,
    #[command(flatten)]
    facts: Facts,
}

/// What may be said of an organization.
#[derive(Debug, Clone, Args)]
pub(super) struct Facts {
    /// What people call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it pays for
    #[arg(long, value_parser = Plan::ALL.map(Plan::as_str))]
    plan: Option<String>,
    /// Servers it may have; 10 where nothing is said
    #[arg(long, value_name = "COUNT")]
    max_servers: Option<u32>,
    /// Sessions it may have open; 100 where nothing is said
    #[arg(long, value_name = "COUNT")]
    max_sessions: Option<u32>,
    /// Days for which whoever keeps its logs is to keep them; 7 where nothing is said
    #[arg(long, value_name = "DAYS")]
    log_retention_days: Option<u32>,
}

impl Facts {
    fn form(self, slug: Option<String>, is_active: Option<bool>) -> OrganizationForm {
        OrganizationForm {
            slug,
            name: self.name,
            plan: self.plan,
            max_servers: self.max_servers,
            max_sessions: self.max_sessions,
            log_retention_days: self.log_retention_days,
            is_active,
        }
    }
}

pub(super) async fn run(context: &Context, organizations: Organizations) -> Result<(), Failure> {
    let there = Folder::MustBeThere;
    match organizations {
        Organizations::List => list(context).await,
        Organizations::Show { organization } => {
            let shown = reach(context, there, async |client| {
                client.organization(&organization).await.map_err(unknown)
            });
            show(context, &shown.await?)
        }
        Organizations::Create(Create { slug, facts }) => {
            let form = facts.form(Some(slug), None);
            let made =
                reach(context, there, async |client| Ok(client.organization_create(&form).await?));
            show(context, &made.await?)
        }
        Organizations::Update(Update { organization, active, facts }) => {
            let form = facts.form(None, active);
            let changed = reach(context, there, async |client| {
                client.organization_change(&organization, &form).await.map_err(unknown)
            });
            show(context, &changed.await?)
        }
        Organizations::Delete { organization, .. } => delete(context, &organization).await,
    }
}

fn show(context: &Context, organization: &OrganizationView) -> Result<(), Failure> {
    context.out.one(organization, &organization.slug)
}

fn unknown(error: client::Error) -> Failure {
    Failure::unless_there("'tollhouse org list' shows which there are")(error)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let all =
        reach(context, Folder::MustBeThere, async |client| Ok(client.organizations().await?));
    let headings = ["SLUG", "PLAN", "SERVERS AT MOST", "SESSIONS AT MOST", "ACTIVE"];
    context.out.many(
        &all.await?,
        |it| &it.slug,
        &headings,
        |it| {
            let (servers, sessions) = (it.max_servers.to_string(), it.max_sessions.to_string());
            vec![it.slug.clone(), it.plan.clone(), servers, sessions, yes_or_no(it.is_active)]
        },
    )
}

async fn delete(context: &Context, organization: &str) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        client.organization_delete(organization).await.map_err(unknown)
    })
    .await?;
    let note = format!("deleted {organization} with everything in it");
    context.out.done("deleted", organization, &note)
}
