//! `tollhouse route`: which HTTP requests are carried to which server.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Context, Failure, definition::definition, out::Format, reach::reach};
use crate::{
    app::Folder,
    client::RouteView,
    problem::{Classify, Kind},
};

/// Routes of HTTP requests.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Routes {
    /// List the routes
    #[command(alias = "ls", after_help = "Example:\n  tollhouse route list")]
    List,
    /// Show a route
    #[command(after_help = "Example:\n  tollhouse route show weather")]
    Show {
        /// Id or name, as listed
        route: String,
    },
    /// Make a route: /proxy/NAME leads to a server from then on
    #[command(
        alias = "create",
        after_help = "\
Examples:
  tollhouse register weather-api --transport plain --endpoint https://api.example.com/v2
  tollhouse route add weather --to weather-api
  tollhouse route add weather --to weather-api --mount /weather
  tollhouse route add shop --file shop.yaml"
    )]
    Add {
        /// What to call it in paths
        #[arg(required_unless_present = "file")]
        name: Option<String>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Change a route; what is not said stays as it is
    #[command(after_help = "\
Examples:
  tollhouse route update weather --to weather-api-2
  tollhouse route update weather --off")]
    Update {
        /// Id or name, as listed
        route: String,
        /// Call it this from now on
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Remove a route
    #[command(
        aliases = ["rm", "delete"],
        after_help = "Example:\n  tollhouse route remove weather"
    )]
    Remove {
        /// Id or name, as listed
        route: String,
    },
    /// Say where a request would go, and send none
    #[command(after_help = "\
Examples:
  tollhouse route test /proxy/weather/cities?limit=3
  tollhouse route test /proxy/shop/orders --method POST --header x-canary=1")]
    Test {
        /// Path, as it is asked for at the gateway
        path: String,
        /// Method
        #[arg(long, default_value = "GET")]
        method: String,
        /// Host that the request names
        #[arg(long)]
        host: Option<String>,
        /// Header of the request
        #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
        headers: Vec<(String, String)>,
    },
}

/// What a route says.
#[derive(Debug, Clone, Args)]
pub(super) struct Terms {
    /// Server to which all requests go; --file tells rules
    #[arg(long = "to", value_name = "SERVER")]
    server: Option<String>,
    /// Path where it begins besides /proxy/NAME; '' for nowhere else
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// Let requests pass
    #[arg(long, conflicts_with = "off")]
    on: bool,
    /// Keep it, and let nothing pass
    #[arg(long)]
    off: bool,
    /// File with its definition, in JSON or YAML; - reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("write NAME=VALUE, such as x-canary=1")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Terms {
    fn definition(self, name: Option<String>) -> Result<Value, Failure> {
        let is_active = (self.on || self.off).then_some(self.on);
        let members = [
            ("name", name.map(Value::from)),
            ("server", self.server.map(Value::from)),
            ("mount", self.mount.map(Value::from)),
            ("description", self.description.map(Value::from)),
            ("is_active", is_active.map(Value::from)),
        ];
        definition(self.file.as_deref(), members, "say what changes, such as --to SERVER")
    }
}

pub(super) async fn run(context: &Context, routes: Routes) -> Result<(), Failure> {
    match routes {
        Routes::List => list(context).await,
        Routes::Show { route } => {
            let shown = reach(context, Folder::MustBeThere, async |client| {
                client.route(&route).await.map_err(unknown)
            });
            show(context, &shown.await?)
        }
        Routes::Add { name, terms } => {
            let definition = terms.definition(name)?;
            let made = reach(context, Folder::MustBeThere, async |client| {
                Ok(client.route_create(&definition).await?)
            });
            written(context, &made.await?, "made")
        }
        Routes::Update { route, name, terms } => {
            let definition = terms.definition(name)?;
            let changed = reach(context, Folder::MustBeThere, async |client| {
                client.route_update(&route, &definition).await.map_err(unknown)
            });
            written(context, &changed.await?, "changed")
        }
        Routes::Remove { route } => {
            reach(context, Folder::MustBeThere, async |client| {
                client.route_delete(&route).await.map_err(unknown)
            })
            .await?;
            context.out.done("deleted", &route, &format!("removed {route}"))
        }
        Routes::Test { path, method, host, headers } => {
            let headers: Map<String, Value> =
                headers.into_iter().map(|(name, value)| (name, value.into())).collect();
            let mut request = json!({ "path": path, "method": method, "headers": headers });
            request["host"] = host.into();
            test(context, &request).await
        }
    }
}

fn unknown(error: crate::client::Error) -> Failure {
    match error.kind() {
        Kind::NotFound => Failure::from(error).with_fix("'tollhouse route list' shows them"),
        _ => error.into(),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let found = reach(context, Folder::MustBeThere, async |client| Ok(client.routes().await?));
    let found = found.await?;
    if found.is_empty() && context.out.format == Format::Table {
        context.out.note("there are none; 'tollhouse route add --help' shows how to make one");
        return Ok(());
    }
    let row = |route: &RouteView| {
        let mut servers: Vec<&str> = route.rules.iter().map(|rule| &*rule.server).collect();
        servers.dedup();
        vec![
            route.name.clone(),
            route.mount.clone().unwrap_or_else(|| route.path.clone()),
            servers.join(" "),
            route.rules.len().to_string(),
            if route.is_active { "yes" } else { "no" }.to_owned(),
            route.origin.clone(),
        ]
    };
    context.out.many(&found, |it| &it.name, &["NAME", "PATH", "TO", "RULES", "ACTIVE", "FROM"], row)
}

fn show(context: &Context, route: &RouteView) -> Result<(), Failure> {
    match context.out.format {
        Format::Name => context.out.line(&route.name),
        Format::Json | Format::Table => context.out.json(route),
    }
}

fn written(context: &Context, route: &RouteView, done: &str) -> Result<(), Failure> {
    match context.out.format {
        Format::Json => context.out.json(route)?,
        Format::Name => context.out.line(&route.name)?,
        Format::Table => {}
    }
    context.out.note(&format!("{done} {}, at {}", route.name, route.path));
    Ok(())
}

async fn test(context: &Context, request: &Value) -> Result<(), Failure> {
    let found = reach(context, Folder::MustBeThere, async |client| {
        client.route_test(request).await.map_err(unknown)
    });
    let found = found.await?;
    if context.out.format == Format::Json {
        return context.out.json(&found);
    }
    let asked = match &found.path {
        Some(path) => format!("asked for {path}"),
        None => "as MCP".to_owned(),
    };
    let by = format!("rule {} of {}", found.rule, found.route);
    context.out.line(&format!("{}, {asked} ({by})", found.server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_are_sent() {
        assert_eq!(header("x-a=b=c"), Ok(("x-a".to_owned(), "b=c".to_owned())));
        assert_eq!(header("x-a="), Ok(("x-a".to_owned(), String::new())));
        assert!(header("x-a").is_err() && header("=b").is_err());
    }
}
