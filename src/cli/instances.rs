//! `tollhouse instance`: where servers run.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    launch::Place,
    reach::reach,
    servers::STATES,
    table::{or_dash, transport},
};
use crate::{
    app::Folder,
    client::{InstanceChange, InstanceForm, InstanceView},
};

/// Where servers run.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Instances {
    /// List where a server runs, and how it is there
    #[command(alias = "ls", after_help = "Example:\n  tollhouse instance list wiki")]
    List {
        /// Name or id of the server
        server: String,
    },
    /// Have a server run in another place, too
    #[command(
        alias = "join",
        after_help = "\
Examples:
  tollhouse instance add wiki --endpoint https://wiki2.example/mcp --weight 3
  tollhouse instance add time -- uvx mcp-server-time"
    )]
    Add(Box<Add>),
    /// Change one
    #[command(after_help = "Example:\n  tollhouse instance update wiki ID --state maintenance")]
    Update {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        traits: Traits,
    },
    /// Take one away
    #[command(aliases = ["rm", "leave"], after_help = "Example:\n  tollhouse instance remove wiki ID")]
    Remove(Which),
    /// Look at one now, and show how it is
    #[command(after_help = "Example:\n  tollhouse instance check wiki ID")]
    Check(Which),
}

/// One instance.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// Name or id of the server
    server: String,
    /// Id of the instance, as listed
    instance: String,
}

/// Another place.
#[derive(Debug, Clone, Args)]
pub(super) struct Add {
    /// Name or id of the server
    server: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    traits: Traits,
}

/// What is said of an instance.
#[derive(Debug, Clone, Args)]
pub(super) struct Traits {
    /// How many calls it takes where another of weight 1 takes one: 1 to 100
    #[arg(long)]
    weight: Option<u16>,
    /// Whether it takes calls
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// What it is like: region, tier, cost, or anything else; may be given again
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    metadata: Vec<String>,
}

impl Traits {
    fn read(self) -> Result<InstanceChange, Failure> {
        let split = |pair: &String| match pair.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err(Failure::misuse("--metadata is not of the right form", "it has no '='")
                .with_fix("write for example --metadata region=eu")),
        };
        let pairs: Result<BTreeMap<_, _>, _> = self.metadata.iter().map(split).collect();
        let metadata = Some(pairs?).filter(|pairs| !pairs.is_empty());
        Ok(InstanceChange { weight: self.weight, state: self.state, metadata })
    }
}

pub(super) async fn run(context: &Context, instances: Instances) -> Result<(), Failure> {
    let there = Folder::MustBeThere;
    let missing = || Failure::unless_there("'tollhouse instance list SERVER' shows them");
    match instances {
        Instances::List { server } => {
            let unknown = Failure::unless_there("'tollhouse list' shows which servers there are");
            let listed = reach(context, there, async |client| {
                client.instances(&server).await.map_err(unknown)
            });
            show(context, &listed.await?)
        }
        Instances::Add(add) => {
            let launch = add.place.launch(context, &add.server)?;
            let (transport, traits) = (add.place.transport.clone(), add.traits.read()?);
            let form = InstanceForm { launch, transport, traits };
            let unknown = Failure::unless_there("'tollhouse list' shows which servers there are");
            let added = reach(context, there, async |client| {
                client.instance_add(&add.server, &form).await.map_err(unknown)
            });
            let added = added.await?;
            context.out.one(&added, &added.id)
        }
        Instances::Update { which, traits } => {
            let change = traits.read()?;
            let changed = reach(context, there, async |client| {
                let changed = client.instance_change(&which.server, &which.instance, &change);
                changed.await.map_err(missing())
            });
            let changed = changed.await?;
            context.out.one(&changed, &changed.id)
        }
        Instances::Remove(which) => {
            reach(context, there, async |client| {
                let removed = client.instance_remove(&which.server, &which.instance);
                removed.await.map_err(missing())
            })
            .await?;
            let note = format!("removed {}", which.instance);
            context.out.done("removed", which.instance, &note)
        }
        Instances::Check(which) => {
            let checked = reach(context, there, async |client| {
                let checked = client.instance_check(&which.server, &which.instance);
                checked.await.map_err(missing())
            });
            show(context, &[checked.await?])
        }
    }
}

fn show(context: &Context, instances: &[InstanceView]) -> Result<(), Failure> {
    let headings = [
        "ID",
        "STATE",
        "HEALTH",
        "CIRCUIT",
        "WEIGHT",
        "CALLS",
        "FAILED",
        "MEAN",
        "TRANSPORT",
        "LOCATION",
    ];
    context.out.many(
        instances,
        |it| &it.id,
        &headings,
        |it| {
            vec![
                it.id.clone(),
                or_dash(it.state.clone()),
                or_dash(it.health.clone()),
                or_dash(it.circuit.clone()),
                it.weight.to_string(),
                it.calls.to_string(),
                it.failed_calls.to_string(),
                format!("{:.1} ms", it.latency_ms),
                transport(&it.transport),
                or_dash(it.location.clone()),
            ]
        },
    )
}
