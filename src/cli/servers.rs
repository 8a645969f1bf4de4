//! `tollhouse register`, `deregister`, `list`: the servers behind the gateway.

use std::{collections::BTreeMap, path::Path};

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    out::{Format, tamed},
    outward::{self, AuthFlags, ChangeAuth, ChangeTls, TlsFlags},
    reach::reach,
    table::{or_dash, transport},
};
use crate::{
    app::Folder,
    client::{Client, Launch, Offered, ServerForm, ServerView},
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
    /// URL of the server's MCP endpoint
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "command_line", "env", "cwd"])]
    endpoint: Option<String>,
    /// Header shown to the server with every request
    #[arg(
        long = "header",
        value_name = "NAME: VALUE",
        requires = "endpoint",
        conflicts_with_all = ["command", "command_line", "env", "cwd"]
    )]
    headers: Vec<String>,
    #[command(flatten)]
    auth: AuthFlags,
    #[command(flatten)]
    tls: TlsFlags,
    /// How messages travel there; without it, that is found out
    #[arg(
        long,
        value_name = "TRANSPORT",
        value_parser = ["auto", "streamable_http", "http", "sse", "websocket", "stdio"]
    )]
    transport: Option<String>,
    /// Variable for the command; without a value, this shell's own
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Folder the command starts in
    #[arg(long, alias = "working-dir", value_name = "DIR")]
    cwd: Option<String>,
    /// Command in one text; `-- CMD ARGS` needs no quotes
    #[arg(long = "command", value_name = "TEXT", conflicts_with = "command")]
    command_line: Option<String>,
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
    /// What becomes of a definition that is not as at first sight
    #[arg(long, value_parser = ["accept", "review"])]
    on_change: Option<String>,
    /// Do not wait until it was asked what it offers
    #[arg(long)]
    no_wait: bool,
    /// Program and arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
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
    #[command(after_help = "Example:\n  tollhouse server update time --on-change review")]
    Update {
        /// Name or id
        server: String,
        /// What becomes of a definition that is not as it was
        #[arg(long, value_parser = ["accept", "review"])]
        on_change: String,
    },
}

pub(super) async fn run(context: &Context, servers: Servers) -> Result<(), Failure> {
    match servers {
        Servers::Add(register) => add(context, *register).await,
        Servers::Remove(deregister) => remove(context, deregister).await,
        Servers::Auth(change) => outward::change_auth(context, change).await,
        Servers::Tls(change) => outward::change_tls(context, change).await,
        Servers::List => list(context).await,
        Servers::Update { server, on_change } => update(context, &server, &on_change).await,
    }
}

async fn add(context: &Context, register: Register) -> Result<(), Failure> {
    let launch = launch(context, &register)?;
    let form = ServerForm {
        name: register.name,
        launch,
        transport: register.transport,
        prefix: register.prefix,
        namespace: register.namespace,
        description: register.description,
        timeout_seconds: register.timeout_seconds,
        on_change: register.on_change,
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

async fn update(context: &Context, server: &str, on_change: &str) -> Result<(), Failure> {
    let changed = reach(context, Folder::MustBeThere, async |client| {
        let changed = client.server_on_change(server, on_change).await;
        changed.map_err(Failure::unless_there("'tollhouse list' shows which servers there are"))
    });
    let server = changed.await?;
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

fn launch(context: &Context, register: &Register) -> Result<Launch, Failure> {
    if let Some(url) = &register.endpoint {
        let headers = register.headers.iter().map(|header| split_header(header));
        return Ok(Launch::Http {
            url: url.clone(),
            headers: headers.collect::<Result<_, _>>()?,
            auth: register.auth.read(context)?,
            tls: register.tls.read()?,
        });
    }
    if register.auth.is_given() || register.tls.is_given() {
        let why = "a command is given what it needs with --env";
        return Err(Failure::misuse("--auth and --tls belong to an --endpoint", why));
    }
    let mut words = match &register.command_line {
        Some(text) => shell_words::split(text)
            .map_err(|error| Failure::misuse("the command cannot be split", error.to_string()))?,
        None => register.command.clone(),
    };
    if words.is_empty() {
        let why = "neither --endpoint URL nor -- CMD ARGS was given";
        return Err(Failure::misuse(format!("where is {}?", register.name), why)
            .with_fix(format!("for example: tollhouse register {} -- uvx CMD", register.name)));
    }
    let args = words.split_off(1);
    let command = words.remove(0);
    let is_here = context.url().is_none();
    let env = register.env.iter().map(|pair| split_variable(context, pair));
    Ok(Launch::Stdio {
        // A path is meant from where it was typed; the gateway starts things elsewhere.
        command: if is_here && command.contains('/') { absolute(&command) } else { command },
        args,
        env: env.collect::<Result<BTreeMap<_, _>, _>>()?,
        cwd: register.cwd.as_ref().map(|cwd| if is_here { absolute(cwd) } else { cwd.clone() }),
    })
}

fn absolute(path: &str) -> String {
    let absolute = std::path::absolute(Path::new(path));
    absolute
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned))
        .unwrap_or_else(|| path.to_owned())
}

fn split_header(header: &str) -> Result<(String, String), Failure> {
    let split = header.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
    let (name, value) = split.filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        Failure::misuse("a header is not of the right form", "it has no name before a colon")
            .with_fix("write for example --header 'Authorization: Bearer KEY'")
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `NAME=VALUE`, or the name of a variable of this shell, which keeps its value out of sight.
fn split_variable(context: &Context, pair: &str) -> Result<(String, String), Failure> {
    if let Some((name, value)) = pair.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    let value = context.environment.get(pair).ok_or_else(|| {
        Failure::misuse(format!("the variable {pair} is not set here"), "--env gave it no value")
            .with_fix(format!("write --env {pair}=VALUE, or set it in this shell"))
    })?;
    Ok((pair.to_owned(), value.to_owned()))
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
