//! `tollhouse register`, `deregister`, `list`: the servers behind the gateway.

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    launch::Place,
    out::{Format, tamed},
    outward::{self, ChangeAuth, ChangeTls},
    reach::reach,
    table::{or_dash, transport},
};
use crate::{
    app::Folder,
    client::{Balance, CacheWish, Client, Offered, ServerChange, ServerForm, ServerView},
    domain::CheckPolicy,
};

/// Lines of a silent server's standard error that are shown.
const LAST_WORDS: usize = 3;

/// Registers a server: at a URL, or as a command that speaks MCP on stdio.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse register time -- uvx mcp-server-time
  tollhouse register github --env GITHUB_TOKEN -- npx -y @modelcontextprotocol/server-github
  tollhouse register docs --endpoint https://docs.example.com/mcp --prefix never
  tollhouse register wiki --endpoint https://wiki.example/mcp --auth bearer --auth-secret-env WIKI")]
pub(super) struct Register {
    /// Name, as it will stand before its tools
    name: String,
    #[command(flatten)]
    place: Place,
    /// When tool names carry the server's name
    #[arg(long, value_parser = ["always", "conflict", "never"])]
    prefix: Option<String>,
    /// Where it is grouped
    #[arg(long)]
    namespace: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How long one of its calls may take, in seconds
    #[arg(long = "timeout", value_name = "SECONDS")]
    timeout_seconds: Option<u32>,
    /// How many calls may be in flight towards it; others wait a moment
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// What becomes of a definition that is not as at first sight
    #[arg(long, value_parser = ["accept", "review"])]
    on_change: Option<String>,
    #[command(flatten)]
    sharing: Sharing,
    #[command(flatten)]
    caching: Caching,
    #[command(flatten)]
    checking: Checking,
    /// Word that it goes by with others; several may be given, and '' takes all away
    #[arg(long = "tag", value_name = "TAG", id = "tags")]
    tags: Vec<String>,
    /// Keep what is said in its calls, without secrets, in the book of calls
    #[arg(long)]
    keep_bodies: bool,
    /// How many processes of the command run
    #[arg(long, value_name = "N", conflicts_with = "endpoint")]
    replicas: Option<usize>,
    /// Do not wait until it was asked what it offers
    #[arg(long)]
    no_wait: bool,
}

/// How calls are shared among the instances of a server.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Sharing {
    /// Which instance is next
    #[arg(long, value_parser = STRATEGIES)]
    strategy: Option<String>,
    /// Instances taken first, by their metadata: NAME=VALUE, or NAME for the smallest number
    #[arg(long, value_name = "PREFERENCE")]
    prefer: Vec<String>,
    /// Call instances that are programs only while no other can be
    #[arg(long)]
    stdio_fallback: bool,
}

/// How long what a server says is kept.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Caching {
    /// Keep its resources for so long, instead of as it says itself; 0 keeps none
    #[arg(long = "cache-resources", value_name = "SECONDS", id = "cache_resources")]
    resources: Option<u32>,
    /// Take its lists for fresh so long, instead of as it says itself; 0 asks for each
    #[arg(long = "cache-lists", value_name = "SECONDS", id = "cache_lists")]
    lists: Option<u32>,
    /// Keep what its tools answer that only read; 0 keeps none
    #[arg(long = "cache-tools", value_name = "SECONDS", id = "cache_tools")]
    tools: Option<u32>,
    /// For whom: whoever asked, or everybody who may ask
    #[arg(long = "cache-scope", value_parser = ["private", "public"], id = "cache_scope")]
    scope: Option<String>,
}

/// How a server is looked at when nobody calls it.
#[derive(Debug, Clone, Args)]
pub(super) struct Checking {
    /// Look at its instances so often, instead of as the settings say; 0 never does
    #[arg(long = "check-every", value_name = "SECONDS", id = "check_every")]
    every: Option<u32>,
    /// Let that take so long
    #[arg(long = "check-within", value_name = "SECONDS", id = "check_within")]
    within: Option<u32>,
    /// Have this program look, and take it for well where that ends with 0
    #[arg(long = "check-command", value_name = "TEXT", id = "check_command")]
    command: Option<String>,
}

impl Checking {
    fn policy(self) -> Result<Option<CheckPolicy>, Failure> {
        let command = self.command.as_deref().map(shell_words::split).transpose();
        let command = command.map_err(|error| {
            Failure::misuse(format!("--check-command: {error}"), "it is split as by a shell")
        })?;
        let policy = CheckPolicy {
            interval_seconds: self.every,
            timeout_seconds: self.within,
            command: command.unwrap_or_default(),
        };
        Ok((policy != CheckPolicy::default()).then_some(policy))
    }
}

impl Caching {
    fn wish(self) -> Option<CacheWish> {
        let wish = CacheWish {
            resources_seconds: self.resources,
            lists_seconds: self.lists,
            tools_seconds: self.tools,
            scope: self.scope,
        };
        (wish != CacheWish::default()).then_some(wish)
    }
}

const STRATEGIES: [&str; 6] =
    ["round_robin", "least_connections", "weighted", "health_based", "random", "ewma"];

impl Sharing {
    fn balance(self) -> Option<Balance> {
        let Self { strategy, prefer, stdio_fallback } = self;
        let is_given = strategy.is_some() || !prefer.is_empty() || stdio_fallback;
        is_given.then_some(Balance { strategy, prefer, stdio_fallback })
    }
}

/// Takes a server out.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  tollhouse deregister time")]
pub(super) struct Deregister {
    /// Name or id
    server: String,
}

/// The same, grouped.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Servers {
    /// Register a server: at a URL, or as a command
    #[command(alias = "register")]
    Add(Box<Register>),
    /// Take a server out
    #[command(aliases = ["rm", "deregister"])]
    Remove(Deregister),
    /// Change how the gateway says to a server who it is
    Auth(ChangeAuth),
    /// Change what a server is shown in the TLS handshake
    Tls(ChangeTls),
    /// List the servers
    #[command(alias = "ls", after_help = "Example:\n  tollhouse server list -o json")]
    List,
    /// Change a server
    #[command(after_help = "\
Examples:
  tollhouse server update time --on-change review
  tollhouse server update time --strategy weighted --prefer region=eu
  tollhouse server update time --state maintenance")]
    Update(Update),
    /// Have so many processes of a server run
    #[command(after_help = "Example:\n  tollhouse server scale time 3")]
    Scale(Scale),
}

/// What is to be different about a server.
#[derive(Debug, Clone, Args)]
#[group(id = "change", required = true, multiple = true, args = ["on_change", "state", "max_in_flight", "strategy", "prefer", "stdio_fallback", "cache_resources", "cache_lists", "cache_tools", "cache_scope", "check_every", "check_within", "check_command", "tags", "keep_bodies"])]
pub(super) struct Update {
    /// Name or id
    server: String,
    /// What becomes of a definition that is not as it was
    #[arg(long, value_parser = ["accept", "review"])]
    on_change: Option<String>,
    /// Whether it takes calls
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// How many calls may be in flight towards it; others wait a moment
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    #[command(flatten)]
    sharing: Sharing,
    #[command(flatten)]
    caching: Caching,
    #[command(flatten)]
    checking: Checking,
    /// Keep what is said in its calls, without secrets, in the book of calls
    #[arg(long, value_name = "BOOL")]
    keep_bodies: Option<bool>,
    /// Word that it goes by with others; several may be given, and '' takes all away
    #[arg(long = "tag", value_name = "TAG", id = "tags")]
    tags: Vec<String>,
}

/// Has so many processes of a server run.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  tollhouse scale time 3")]
pub(super) struct Scale {
    /// Name or id
    server: String,
    /// How many
    replicas: usize,
}

/// What people may want of servers and their instances.
pub(super) const STATES: [&str; 3] = ["active", "inactive", "maintenance"];

pub(super) async fn run(context: &Context, servers: Servers) -> Result<(), Failure> {
    match servers {
        Servers::Add(register) => add(context, *register).await,
        Servers::Remove(deregister) => remove(context, deregister).await,
        Servers::Auth(change) => outward::change_auth(context, change).await,
        Servers::Tls(change) => outward::change_tls(context, change).await,
        Servers::List => list(context).await,
        Servers::Update(wanted) => {
            let change = ServerChange {
                on_change: wanted.on_change,
                state: wanted.state,
                max_in_flight: wanted.max_in_flight,
                balance: wanted.sharing.balance(),
                cache: wanted.caching.wish(),
                checks: wanted.checking.policy()?,
                tags: tags(wanted.tags),
                keep_bodies: wanted.keep_bodies,
                replicas: None,
            };
            update(context, &wanted.server, &change).await
        }
        Servers::Scale(Scale { server, replicas }) => {
            let change = ServerChange { replicas: Some(replicas), ..ServerChange::default() };
            update(context, &server, &change).await
        }
    }
}

async fn add(context: &Context, register: Register) -> Result<(), Failure> {
    let launch = register.place.launch(context, &register.name)?;
    let form = ServerForm {
        name: register.name,
        launch,
        transport: register.place.transport,
        prefix: register.prefix,
        namespace: register.namespace,
        description: register.description,
        timeout_seconds: register.timeout_seconds,
        max_in_flight: register.max_in_flight,
        on_change: register.on_change,
        balance: register.sharing.balance(),
        cache: register.caching.wish(),
        checks: register.checking.policy()?,
        tags: tags(register.tags),
        keep_bodies: register.keep_bodies,
        replicas: register.replicas,
    };
    reach(context, Folder::MustBeThere, async |client| {
        let server = if register.no_wait {
            client.register(&form).await?
        } else {
            client.introduce(&form).await?
        };
        match context.out.format {
            Format::Json => context.out.json(&server)?,
            Format::Name => context.out.line(&server.name)?,
            Format::Table => {}
        }
        context.out.note(&tamed(&told(&server, &last_words(client, &server).await)));
        Ok(())
    })
    .await
}

fn tags(said: Vec<String>) -> Option<Vec<String>> {
    let is_said = !said.is_empty();
    is_said.then(|| said.into_iter().filter(|tag| !tag.is_empty()).collect())
}

/// What came of registering a server.
fn told(server: &ServerView, last_words: &[String]) -> String {
    let name = &server.name;
    let Some(reason) = &server.last_error else {
        return match counted(&server.offered) {
            Some(counted) => format!("registered {name}: {counted}"),
            None => format!("registered {name} ({})", server.location()),
        };
    };
    if server.more.get("auth").is_some_and(|auth| auth["type"] == "oauth") {
        return format!(
            "registered {name} ({})\n  everybody uses it with an account of their own: 'tollhouse \
             link add {name}' shows where to sign in",
            server.location()
        );
    }
    let mut lines = vec![
        format!("registered {name} ({}), but it does not answer", server.location()),
        format!("  why: {reason}"),
    ];
    lines.extend(last_words.iter().map(|line| format!("       {line}")));
    lines.push(format!(
        "  fix: put it right, it is asked again soon; or take it out: tollhouse deregister {name}"
    ));
    lines.join("\n")
}

/// What the process of a server that does not answer wrote last.
async fn last_words(client: &Client, server: &ServerView) -> Vec<String> {
    if server.last_error.is_none() || server.command.is_none() {
        return Vec::new();
    }
    // They only add to what is known already.
    let servers = client.status().await.map(|status| status.servers).unwrap_or_default();
    let found = servers.into_iter().find(|status| status.name == server.name);
    let mut lines = found.map(|status| status.stderr_tail).unwrap_or_default();
    lines.drain(..lines.len().saturating_sub(LAST_WORDS));
    lines
}

/// What a server offers, in words; nothing is known before it was asked.
fn counted(offered: &Offered) -> Option<String> {
    let tools = offered.tools?;
    let more = [
        (offered.prompts, "prompt"),
        (offered.resources, "resource"),
        (offered.templates, "template"),
    ];
    let more = more.into_iter().map(|(count, what)| (count.unwrap_or_default(), what));
    let counts = std::iter::once((tools, "tool")).chain(more.filter(|(count, _)| *count > 0));
    let plural = |(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    Some(counts.map(plural).collect::<Vec<_>>().join(", "))
}

async fn remove(context: &Context, deregister: Deregister) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        Ok(client.deregister(&deregister.server).await?)
    })
    .await?;
    let note = format!("removed {}", deregister.server);
    context.out.done("removed", deregister.server, &note)
}

async fn update(context: &Context, server: &str, change: &ServerChange) -> Result<(), Failure> {
    let changed = reach(context, Folder::MustBeThere, async |client| {
        let changed = client.server_change(server, change).await;
        changed.map_err(Failure::unless_there("'tollhouse list' shows which servers there are"))
    });
    let mut server = changed.await?;
    if context.out.format == Format::Table {
        // A list of their own shows them better.
        server.more.remove("instances");
    }
    context.out.one(&server, &server.name)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let servers = reach(context, Folder::MustBeThere, async |client| Ok(client.servers().await?));
    let servers = servers.await?;
    if servers.is_empty() && context.out.format == Format::Table {
        context.out.note("no servers yet; add one: tollhouse register time -- uvx mcp-server-time");
        return Ok(());
    }
    let headings = ["NAME", "STATE", "HEALTH", "TRANSPORT", "LOCATION"];
    context.out.many(
        &servers,
        |server| &server.name,
        &headings,
        |server| {
            vec![
                server.name.clone(),
                or_dash(server.state.clone()),
                or_dash(server.health.clone()),
                transport(&server.transport),
                or_dash(server.location()),
            ]
        },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use serde_json::json;

    use super::*;

    fn view(more: &Value) -> ServerView {
        let mut view = json!({"id": "1", "name": "time", "command": "mcp-time", "args": ["-x"]});
        for (name, value) in more.as_object().expect("members") {
            view[name] = value.clone();
        }
        serde_json::from_value(view).expect("a server")
    }

    #[test]
    fn a_server_that_answers_is_told_by_what_it_offers() {
        let asked = view(&json!({"tools": 1, "prompts": 0, "resources": 7, "templates": 0}));
        let unasked = view(&json!({}));

        assert_eq!(told(&asked, &[]), "registered time: 1 tool, 7 resources");
        assert_eq!(told(&unasked, &[]), "registered time (mcp-time -x)");
    }

    #[test]
    fn of_a_server_with_everybodys_own_account_it_is_told_where_to_sign_in() {
        let fresh = json!({"last_error": "nobody is signed in there", "auth": {"type": "oauth"}});

        let told = told(&view(&fresh), &[]);

        assert!(
            told.starts_with("registered time (mcp-time -x)\n") && told.contains("link add time")
        );
    }

    #[test]
    fn a_server_that_does_not_answer_is_told_with_the_reason_and_its_last_words() {
        let silent = view(&json!({"last_error": "its process ended with exit code 3"}));

        let told = told(&silent, &["no token".to_owned()]);

        assert_eq!(
            told,
            "registered time (mcp-time -x), but it does not answer\n  \
             why: its process ended with exit code 3\n       \
             no token\n  \
             fix: put it right, it is asked again soon; or take it out: tollhouse deregister time"
        );
    }
}
