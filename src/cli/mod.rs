//! The key: the command line. One file per family of commands.

mod arguments;
mod audit;
mod config;
mod consents;
mod db;
mod definition;
mod doctor;
mod failure;
mod holder;
mod instances;
mod keys;
mod launch;
mod limits;
mod links;
mod lock;
mod log;
mod login;
mod logins;
mod namespaces;
mod organizations;
mod out;
mod outward;
mod policies;
mod reach;
mod registry_file;
mod routes;
mod servers;
mod sessions;
mod setup;
mod shell;
mod start;
mod status;
mod stdio;
mod table;
mod tools;
mod trust;
mod users;
mod whatif;
mod when;

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use self::{
    failure::Failure,
    out::{Format, Out, say},
};
use crate::config::{Environment, Faults, Flags, Loaded, Settings};

/// The MCP gateway in one binary. Without a command it starts the gateway.
#[derive(Debug, Parser)]
#[command(
    name = "tollhouse",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  tollhouse start                                   serve on 127.0.0.1:8080
  tollhouse setup --username admin                  claim it; gives the first API key
  tollhouse register time -- uvx mcp-server-time    add a server
  tollhouse tools call time__get_current_time timezone=Europe/Vienna"
)]
pub struct Command {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
struct Common {
    /// Folder that holds all state
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// Settings file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// Speak to the gateway at this URL (or `TOLLHOUSE_URL`)
    #[arg(long, global = true, value_name = "URL", conflicts_with = "data")]
    url: Option<String>,
    /// API key to show there (or `TOLLHOUSE_KEY`)
    #[arg(long, global = true, value_name = "KEY")]
    key: Option<String>,
    /// Work in this organization, for those who stand above them
    // Whoever has one organization need not know the word: `tollhouse org --help` tells of it.
    #[arg(long, global = true, hide = true, value_name = "SLUG")]
    org: Option<String>,
    /// How results are written: for people, for programs, or names alone
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// Say nothing beside the results
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the gateway
    #[command(alias = "serve")]
    Start(start::Start),
    /// Claim the gateway: make its administrator and a first API key
    Setup(setup::Setup),
    /// Register a server: at a URL, or as a command
    Register(Box<servers::Register>),
    /// Take a server out
    Deregister(servers::Deregister),
    /// List the servers
    #[command(alias = "ls", after_help = "Example:\n  tollhouse list -o json")]
    List,
    /// Servers: add, remove, list
    #[command(subcommand, alias = "servers", after_help = "Example:\n  tollhouse server list")]
    Server(servers::Servers),
    /// Where servers run: list, add, update, remove, check
    #[command(
        subcommand,
        alias = "instances",
        after_help = "Example:\n  tollhouse instance list wiki"
    )]
    Instance(instances::Instances),
    /// Have so many processes of a server run
    Scale(servers::Scale),
    /// Register the servers that a file names
    Import(registry_file::Import),
    /// Write down which servers are registered
    Export(registry_file::Export),
    /// Look at the sources of servers that the settings name
    Sync(registry_file::Sync),
    /// Tools: list, show, call
    #[command(subcommand, alias = "tool", after_help = "Example:\n  tollhouse tools list")]
    Tools(tools::Tools),
    /// Show how the gateway and its servers are
    Status(status::Watch),
    /// Serve MCP on standard input and output
    Stdio(stdio::Stdio),
    /// Sessions of clients: list, end
    #[command(alias = "session", after_help = "Example:\n  tollhouse sessions -o json")]
    Sessions {
        #[command(subcommand)]
        sessions: Option<sessions::Sessions>,
    },
    /// Show the processes of servers, and for whom they run
    #[command(after_help = "Example:\n  tollhouse ps -o json")]
    Ps,
    /// Sign in to a gateway over the network
    Login(login::Login),
    /// Sign out again
    Logout(login::Logout),
    /// Show who you are to a gateway
    #[command(after_help = "Example:\n  tollhouse whoami --url https://gate.example.com")]
    Whoami,
    /// API keys: create, list, show, update, revoke
    #[command(subcommand, alias = "keys", after_help = "Example:\n  tollhouse key create cursor")]
    Key(keys::Keys),
    /// People: list, show, create, update, delete
    #[command(
        subcommand,
        alias = "users",
        after_help = "Example:\n  tollhouse user create ana --role user"
    )]
    User(users::Users),
    /// Clients that people gave leave to act for them: list, revoke
    #[command(
        subcommand,
        alias = "consents",
        after_help = "Example:\n  tollhouse consent list --user ana"
    )]
    Consent(consents::Consents),
    /// Your own accounts at servers: add, list, remove
    #[command(subcommand, alias = "links", after_help = "Example:\n  tollhouse link add wiki")]
    Link(links::Links),
    /// Namespaces: list, show, create, update, delete
    #[command(
        subcommand,
        alias = "namespaces",
        after_help = "Example:\n  tollhouse namespace create research"
    )]
    Namespace(namespaces::Namespaces),
    /// Organizations, for gateways that serve several: list, show, create, update, delete
    #[command(subcommand, alias = "orgs", after_help = organizations::HELP)]
    Org(organizations::Organizations),
    /// Policies: list, show, create, update, delete, test, explain, whatif
    #[command(
        subcommand,
        alias = "policies",
        after_help = "Example:\n  tollhouse policy create no-writes.yaml"
    )]
    Policy(policies::Policies),
    /// Rate limits: list, show, add, update, remove, usage
    #[command(
        subcommand,
        alias = "limits",
        after_help = "Example:\n  tollhouse limit add per-user --per user --limit 100/1m"
    )]
    Limit(limits::Limits),
    /// Routes of plain HTTP requests: list, show, add, update, remove, test
    #[command(
        subcommand,
        alias = "routes",
        after_help = "Example:\n  tollhouse route add weather --to weather-api"
    )]
    Route(routes::Routes),
    /// Changes of what servers say: list, show, approve, reject
    #[command(subcommand, after_help = "Example:\n  tollhouse trust list")]
    Trust(trust::Trust),
    /// Write down which definitions servers offer, or verify it
    #[command(after_help = "Example:\n  tollhouse lock && tollhouse lock verify")]
    Lock(lock::Lock),
    /// Who changed what: list, verify, export
    #[command(subcommand, after_help = "Example:\n  tollhouse audit list")]
    Audit(audit::Audit),
    /// What was called, by whom, and how it ended: search, tail, show, export
    #[command(
        subcommand,
        aliases = ["logs", "request", "requests"],
        after_help = "Example:\n  tollhouse log tail"
    )]
    Log(log::Log),
    /// Look at everything that is commonly wrong
    Doctor(doctor::Doctor),
    /// Settings: show, validate
    #[command(subcommand, after_help = "Example:\n  tollhouse config show --origin")]
    Config(config::Config),
    /// The database: check
    #[command(subcommand, after_help = "Example:\n  tollhouse db check")]
    Db(db::Db),
    /// Write what a shell completes
    Completions(shell::Completions),
    /// Write the manual pages
    Man(shell::Man),
    /// Show the version
    #[command(after_help = "Example:\n  tollhouse version -o json")]
    Version,
}

/// Reads the command line; prints help or what is wrong with it, and the code to end with.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    Command::try_parse_from(words).map_err(|error| {
        // Help that nobody reads to its end is no failure.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(1).into()
    })
}

/// Carries out a command and says how it went.
pub async fn run(command: Command) -> ExitCode {
    let environment = Environment::capture();
    let out = Out::new(command.common.output, command.common.quiet, &environment);
    let context = Context::new(&command, environment, out);
    match carry_out(&context, command.verb.unwrap_or_default()).await {
        Ok(code) => code.into(),
        Err(failure) => {
            say(&out::tamed(&failure.to_string()));
            failure.code().into()
        }
    }
}

impl Default for Verb {
    fn default() -> Self {
        Self::Start(start::Start::default())
    }
}

async fn carry_out(context: &Context, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Start(_) => start::run(context).await?,
        Verb::Setup(setup) => setup::run(context, setup).await?,
        Verb::Register(form) => servers::run(context, servers::Servers::Add(form)).await?,
        Verb::Deregister(name) => servers::run(context, servers::Servers::Remove(name)).await?,
        Verb::List => servers::run(context, servers::Servers::List).await?,
        Verb::Server(servers) => servers::run(context, servers).await?,
        Verb::Instance(instances) => instances::run(context, instances).await?,
        Verb::Scale(scale) => servers::run(context, servers::Servers::Scale(scale)).await?,
        Verb::Import(import) => registry_file::import(context, import).await?,
        Verb::Export(export) => registry_file::export(context, export).await?,
        Verb::Sync(sync) => registry_file::sync(context, &sync).await?,
        Verb::Tools(tools) => tools::run(context, tools).await?,
        Verb::Status(watch) => status::run(context, &watch).await?,
        Verb::Stdio(stdio) => stdio::run(context, stdio).await?,
        Verb::Sessions { sessions } => sessions::run(context, sessions).await?,
        Verb::Ps => sessions::ps(context).await?,
        Verb::Login(login) => login::run(context, login).await?,
        Verb::Logout(logout) => login::out(context, logout).await?,
        Verb::Whoami => login::whoami(context).await?,
        Verb::Key(keys) => keys::run(context, keys).await?,
        Verb::User(users) => users::run(context, users).await?,
        Verb::Consent(consents) => consents::run(context, consents).await?,
        Verb::Link(links) => links::run(context, links).await?,
        Verb::Namespace(namespaces) => namespaces::run(context, namespaces).await?,
        Verb::Org(organizations) => organizations::run(context, organizations).await?,
        Verb::Policy(policies) => policies::run(context, policies).await?,
        Verb::Limit(limits) => limits::run(context, limits).await?,
        Verb::Route(routes) => routes::run(context, routes).await?,
        Verb::Trust(trust) => trust::run(context, trust).await?,
        Verb::Lock(lock) => return lock::run(context, lock).await,
        Verb::Audit(audit) => return audit::run(context, audit).await,
        Verb::Log(log) => log::run(context, log).await?,
        Verb::Doctor(doctor) => return doctor::run(context, doctor).await,
        Verb::Config(config) => config::run(context, &config)?,
        Verb::Db(db) => db::run(context, db).await?,
        Verb::Completions(wanted) => shell::completions(&wanted)?,
        Verb::Man(wanted) => shell::man(context, &wanted)?,
        Verb::Version => version(context.out)?,
    }
    Ok(0)
}

fn version(out: Out) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match out.format {
        Format::Json => out.json(&json!({"name": "tollhouse", "version": version})),
        Format::Table | Format::Name => out.line(&format!("tollhouse {version}")),
    }
}

/// What a command works with.
struct Context {
    common: Common,
    flags: Flags,
    environment: Environment,
    out: Out,
}

impl Context {
    fn new(command: &Command, environment: Environment, out: Out) -> Self {
        let common = command.common.clone();
        // What is shown should hold from every folder.
        let absolute = |data: &String| {
            let path = std::path::absolute(data).ok()?;
            path.to_str().map(str::to_owned)
        };
        let data = common.data.as_ref().map(|data| absolute(data).unwrap_or_else(|| data.clone()));
        let config = common.config.clone();
        let mut flags = Flags { config, data, ..Flags::default() };
        if let Some(Verb::Start(start)) = &command.verb {
            flags.listen.clone_from(&start.listen);
            flags.sync = start.sync;
            flags.host.clone_from(&start.host);
            flags.port = start.port;
        }
        Self { common, flags, environment, out }
    }

    /// The gateway to speak to over the network. A named data folder means its own gateway.
    fn url(&self) -> Option<&str> {
        let named = || self.environment.get("TOLLHOUSE_URL").filter(|_| self.common.data.is_none());
        self.common.url.as_deref().or_else(named)
    }

    fn key(&self) -> Option<&str> {
        self.common.key.as_deref().or_else(|| self.environment.get("TOLLHOUSE_KEY"))
    }

    fn settings(&self) -> Result<Loaded, Failure> {
        Ok(self.read_settings()?)
    }

    fn read_settings(&self) -> Result<Loaded, Faults> {
        crate::config::load(&self.flags, &self.environment)
    }

    /// What another command needs to find the same data: nothing where that is the usual place.
    fn data_flag(&self, settings: &Settings) -> String {
        if self.flags.data.is_none() {
            return String::new();
        }
        format!(" --data {}", shell_words::quote(&settings.data.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests;
