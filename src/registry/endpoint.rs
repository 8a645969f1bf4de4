//! Endpoints as people write them: a URL or a command, in the spellings of all predecessors.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use crate::{
    domain::{Endpoint, HttpUrl, Secret, ServerAuth, ServerTls, Transport},
    registry::{Error, outward},
    upstream,
};

/// The longest text of a form, in bytes.
pub(super) const TEXT_LIMIT: usize = 4_096;
const WORDS_LIMIT: usize = 256;

/// How an instance is reached, as somebody writes it.
#[derive(Debug, Default)]
pub(super) struct EndpointForm {
    pub(super) url: Option<String>,
    pub(super) headers: BTreeMap<String, Secret>,
    pub(super) auth: ServerAuth,
    pub(super) tls: ServerTls,
    pub(super) transport: Option<String>,
    pub(super) command: Option<Command>,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, Secret>,
    pub(super) cwd: Option<PathBuf>,
}

/// A command as predecessors write it: one text, or a list of words.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Command {
    Text(String),
    Words(Vec<String>),
}

impl EndpointForm {
    /// Whether nothing is said at all.
    pub(super) fn is_empty(&self) -> bool {
        self.url.is_none() && self.command.is_none()
    }

    /// The endpoint the form describes, or the first thing wrong with it.
    pub(super) fn check(self) -> Result<Endpoint, Error> {
        let wanted = self.transport.as_deref().map(Wanted::read).transpose()?;
        match (self.url, self.command) {
            (Some(url), None) => {
                if !self.args.is_empty() || !self.env.is_empty() || self.cwd.is_some() {
                    return Err(wrong(
                        "url",
                        "args, env and cwd belong to a command, not to a url",
                    ));
                }
                let url: HttpUrl = url.parse().map_err(|source| Error::Url { source })?;
                let transport = Wanted::at(wanted, &url)?;
                for (name, value) in &self.headers {
                    check_header(name, value)?;
                }
                outward::check_auth(&self.auth, &self.headers)?;
                outward::check_tls(&self.tls, &url)?;
                let (headers, auth, tls) = (self.headers, self.auth, self.tls.into());
                Ok(Endpoint::Http { url, headers, transport, auth, tls })
            }
            (None, Some(command)) => {
                if !self.headers.is_empty() {
                    return Err(wrong("headers", "headers belong to a url, not to a command"));
                }
                if self.auth != ServerAuth::None {
                    return Err(outward::of_no_command("auth"));
                }
                if !self.tls.is_plain() {
                    return Err(outward::of_no_command("tls"));
                }
                if !matches!(wanted, None | Some(Wanted::Stdio | Wanted::Remote(Transport::Auto))) {
                    return Err(wrong("transport", "a command is spoken to over stdio"));
                }
                let (command, args) = words(command, self.args)?;
                for name in self.env.keys() {
                    check_variable(name)?;
                }
                Ok(Endpoint::Stdio { command, args, env: self.env, cwd: self.cwd })
            }
            (None, None) => Err(wrong("url", "give either url or command")),
            (Some(_), Some(_)) => Err(wrong("url", "give either url or command, not both")),
        }
    }
}

/// A transport as people spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Remote(Transport),
    Stdio,
}

impl Wanted {
    fn read(text: &str) -> Result<Self, Error> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Self::Remote(Transport::Auto),
            "streamable_http" | "streamable-http" | "http" | "https" => {
                Self::Remote(Transport::StreamableHttp)
            }
            "sse" => Self::Remote(Transport::Sse),
            "websocket" | "ws" | "wss" => Self::Remote(Transport::Websocket),
            "plain" | "rest" => Self::Remote(Transport::Plain),
            "stdio" => Self::Stdio,
            _ => {
                let choices = "auto, streamable_http, sse, websocket, plain and stdio";
                return Err(wrong("transport", &format!("it is none of {choices}")));
            }
        })
    }

    /// The transport to a URL, whose scheme has a say in it.
    fn at(wanted: Option<Self>, url: &HttpUrl) -> Result<Transport, Error> {
        match (wanted.unwrap_or(Self::Remote(Transport::Auto)), url.is_websocket()) {
            (Self::Stdio, _) => Err(wrong("transport", "stdio belongs to a command, not to a url")),
            (Self::Remote(Transport::Auto | Transport::Websocket), true) => {
                Ok(Transport::Websocket)
            }
            (Self::Remote(_), true) => {
                Err(wrong("transport", "at a ws or wss url only websocket is spoken"))
            }
            (Self::Remote(Transport::Websocket), false) => {
                Err(wrong("transport", "a websocket has a ws or wss url"))
            }
            (Self::Remote(transport), false) => Ok(transport),
        }
    }
}

/// The program and its arguments. Text is split into words as a shell would, but no shell runs.
fn words(command: Command, args: Vec<String>) -> Result<(String, Vec<String>), Error> {
    let mut words = match command {
        Command::Words(words) => words,
        Command::Text(text) if args.is_empty() => {
            shell_words::split(&text).map_err(|error| wrong("command", &error.to_string()))?
        }
        Command::Text(text) => vec![text],
    };
    words.extend(args);
    if words.len() > WORDS_LIMIT || words.iter().any(|word| word.len() > TEXT_LIMIT) {
        return Err(wrong("command", "it has more than 256 words, or one over 4,096 bytes"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(wrong("command", "a word holds a NUL byte"));
    }
    let mut words = words.into_iter();
    match words.next().filter(|command| !command.is_empty()) {
        Some(command) => Ok((command, words.collect())),
        None => Err(wrong("command", "it is empty")),
    }
}

fn check_header(name: &str, value: &Secret) -> Result<(), Error> {
    let parsed = http::HeaderName::try_from(name);
    if !parsed.is_ok_and(|name| upstream::may_be_shown(&name)) {
        return Err(wrong("headers", &format!("{name:?} is not a header you can set")));
    }
    if http::HeaderValue::from_str(value.expose()).is_err() {
        return Err(wrong("headers", &format!("the value of {name:?} cannot be sent")));
    }
    Ok(())
}

fn check_variable(name: &str) -> Result<(), Error> {
    let is_good = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    // The loader acts on these before the program does; they would be a second command.
    let is_loaders = name.starts_with("LD_") || name.starts_with("DYLD_");
    if is_good && !is_loaders {
        return Ok(());
    }
    Err(wrong("env", &format!("{name:?} is not a variable you can set")))
}

pub(super) fn wrong(member: &'static str, reason: &str) -> Error {
    Error::Form { member, reason: reason.to_owned() }
}
