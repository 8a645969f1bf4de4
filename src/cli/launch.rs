//! Where a server runs, as it is told on the command line.

use std::{collections::BTreeMap, path::Path};

use clap::Args;

use super::{
    Context, Failure,
    outward::{AuthFlags, TlsFlags},
};
use crate::client::Launch;

/// A URL, or a program.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// URL of the server's MCP endpoint
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "command_line", "env", "cwd"])]
    pub(super) endpoint: Option<String>,
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
        value_parser = ["auto", "streamable_http", "http", "sse", "websocket", "stdio", "plain"]
    )]
    pub(super) transport: Option<String>,
    /// Variable for the command; without a value, this shell's own
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Folder the command starts in
    #[arg(long, alias = "working-dir", value_name = "DIR")]
    cwd: Option<String>,
    /// Command in one text; `-- CMD ARGS` needs no quotes
    #[arg(long = "command", value_name = "TEXT", conflicts_with = "command")]
    command_line: Option<String>,
    /// Program and arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Place {
    /// How the server of this name is reached.
    pub(super) fn launch(&self, context: &Context, name: &str) -> Result<Launch, Failure> {
        if let Some(url) = &self.endpoint {
            let headers = self.headers.iter().map(|header| split_header(header));
            return Ok(Launch::Http {
                url: url.clone(),
                headers: headers.collect::<Result<_, _>>()?,
                auth: self.auth.read(context)?,
                tls: self.tls.read()?,
            });
        }
        if self.auth.is_given() || self.tls.is_given() {
            let why = "a command is given what it needs with --env";
            return Err(Failure::misuse("--auth and --tls belong to an --endpoint", why));
        }
        let mut words = match &self.command_line {
            Some(text) => shell_words::split(text).map_err(|error| {
                Failure::misuse("the command cannot be split", error.to_string())
            })?,
            None => self.command.clone(),
        };
        if words.is_empty() {
            let why = "neither --endpoint URL nor -- CMD ARGS was given";
            return Err(Failure::misuse(format!("where is {name}?"), why)
                .with_fix(format!("for example: tollhouse register {name} -- uvx CMD")));
        }
        let args = words.split_off(1);
        let command = words.remove(0);
        let is_here = context.url().is_none();
        let env = self.env.iter().map(|pair| split_variable(context, pair));
        Ok(Launch::Stdio {
            // A path is meant from where it was typed; the gateway starts things elsewhere.
            command: if is_here && command.contains('/') { absolute(&command) } else { command },
            args,
            env: env.collect::<Result<BTreeMap<_, _>, _>>()?,
            cwd: self.cwd.as_ref().map(|cwd| if is_here { absolute(cwd) } else { cwd.clone() }),
        })
    }
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
pub(super) fn split_variable(context: &Context, pair: &str) -> Result<(String, String), Failure> {
    if let Some((name, value)) = pair.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    let value = context.environment.get(pair).ok_or_else(|| {
        Failure::misuse(format!("the variable {pair} is not set here"), "--env gave it no value")
            .with_fix(format!("write --env {pair}=VALUE, or set it in this shell"))
    })?;
    Ok((pair.to_owned(), value.to_owned()))
}
