//! Registering and retiring servers.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Deserialize;

use crate::{
    access::Caller,
    domain::{
        Endpoint, HttpUrl, Instance, InstanceId, Namespace, NamespaceId, OnChange, OrganizationId,
        Permission, Prefixing, Secret, Server, ServerAuth, ServerId, ServerTls, Sight, Slug, State,
        Timestamp, Transport,
    },
    registry::{Directory, Error, Registry, Settings, namespace, outward},
    store::Draft,
    upstream,
};

const TEXT_LIMIT: usize = 4_096;
const WORDS_LIMIT: usize = 256;

/// What somebody asks to be registered. Spellings of the predecessors are understood.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    /// The server's name.
    pub(crate) name: String,
    /// What it is for.
    #[serde(default)]
    description: String,
    /// Where it is served over HTTP.
    #[serde(default, alias = "endpoint")]
    url: Option<String>,
    /// What is shown there with every request.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// How the gateway says there who it is.
    #[serde(default)]
    auth: ServerAuth,
    /// What is shown there in the TLS handshake.
    #[serde(default)]
    tls: ServerTls,
    /// How messages travel there; where nothing is said, that is found out.
    #[serde(default, alias = "protocol")]
    transport: Option<String>,
    /// The program that is it, alone or with its arguments.
    #[serde(default)]
    command: Option<Command>,
    /// The program's arguments.
    #[serde(default)]
    args: Vec<String>,
    /// What is added to the program's cleared environment.
    #[serde(default, alias = "env_vars")]
    env: BTreeMap<String, Secret>,
    /// Where the program starts.
    #[serde(default, alias = "working_dir")]
    cwd: Option<PathBuf>,
    /// How its names are qualified.
    #[serde(default)]
    prefix: Option<Prefixing>,
    /// Where it is grouped.
    #[serde(default)]
    namespace: Option<String>,
    /// How long a call may take.
    #[serde(default)]
    timeout_seconds: Option<u32>,
    /// What happens when it says something else than it did.
    #[serde(default)]
    on_change: Option<OnChange>,
}

/// What is to be different about a server.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerChange {
    /// What happens when it says something else than it did.
    #[serde(default)]
    on_change: Option<OnChange>,
}

/// A command as predecessors write it: one text, or a list of words.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Command {
    Text(String),
    Words(Vec<String>),
}

impl Registry {
    /// Registers a server.
    pub(crate) async fn register(&self, caller: &Caller, form: Form) -> Result<Arc<Server>, Error> {
        let sight = caller.principal().sight();
        if sight.names_servers() {
            return Err(Error::Limited);
        }
        let wanted = form.namespace.as_deref().map(|name| slug("namespace", name)).transpose()?;
        let wanted = wanted.unwrap_or_else(Namespace::default_slug);
        let server = form.check(sight.organization, self.0.clock.now())?;
        let is_program = |it: &Instance| matches!(it.endpoint, Endpoint::Stdio { .. });
        if server.instances.iter().any(is_program) {
            caller.may(Permission::StdioExecute)?;
        }
        let name = server.name.clone();
        let (seen, settings) = (sight.clone(), self.0.settings.clone());
        let actor = caller.actor();
        let written = self
            .0
            .store
            .write(&actor, move |change| enter(change, server, wanted, &seen, &settings));
        written.await?;
        self.settle().await?;
        let directory = self.directory();
        let server = directory.find(&sight, name.as_str());
        server.cloned().ok_or_else(|| Error::NoSuchServer(name.to_string()))
    }

    /// Changes a server.
    pub(crate) async fn change_server(
        &self,
        caller: &Caller,
        name: &str,
        wanted: ServerChange,
    ) -> Result<Arc<Server>, Error> {
        let unknown = || Error::NoSuchServer(name.chars().take(80).collect());
        let sight = caller.principal().sight();
        let id = self.directory().find(&sight, name).ok_or_else(unknown)?.id;
        let (missing, now, actor) = (unknown(), self.0.clock.now(), caller.actor());
        let write = self.0.store.write(&actor, move |change| {
            let server = change.server(&id)?.ok_or(missing)?;
            let on_change = wanted.on_change.or(server.on_change);
            change.put_server(&Server { on_change, updated_at: now, ..server })?;
            Ok::<_, Error>(())
        });
        write.await?;
        self.settle().await?;
        self.directory().find(&sight, name).cloned().ok_or_else(unknown)
    }

    /// Retires a server: it is asked no more, and its children end.
    pub(crate) async fn retire(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        if name == Directory::BUILT_IN {
            return Err(Error::BuiltIn(name.to_owned()));
        }
        let unknown = || Error::NoSuchServer(name.chars().take(80).collect());
        let sight = caller.principal().sight();
        let id = self.directory().find(&sight, name).ok_or_else(unknown)?.id;
        let missing = unknown();
        self.0
            .store
            .write(&caller.actor(), move |change| {
                if change.remove_server(&id)?.is_none() {
                    return Err(missing);
                }
                Ok(())
            })
            .await?;
        self.settle().await
    }
}

/// Enters a server into its namespace, which is made where there is none of that name.
fn enter(
    change: &mut Draft<'_>,
    server: Server,
    wanted: Slug,
    sight: &Sight,
    settings: &Settings,
) -> Result<(), Error> {
    let servers = change.servers()?;
    if servers.len() >= settings.max_servers {
        return Err(Error::TooMany(settings.max_servers));
    }
    let mine = || servers.iter().filter(|other| other.organization == server.organization);
    if mine().any(|other| other.name == server.name) {
        return Err(Error::Taken(server.name.to_string()));
    }
    let quotas = change.organization(&server.organization)?.map(|found| found.quotas);
    let quota = quotas.map_or(0, |quotas| quotas.max_servers);
    if mine().count() >= quota as usize {
        return Err(Error::QuotaExceeded(quota));
    }
    let known = namespace::find(change, server.organization, wanted.as_str())?;
    let namespace = if let Some(known) = known {
        known.id
    } else {
        let id = NamespaceId::fresh();
        let made = Namespace::new(id, server.organization, wanted, server.created_at);
        namespace::enter(change, &made, settings.max_namespaces)?;
        id
    };
    if !sight.may_show(namespace) {
        return Err(Error::Limited);
    }
    change.put_server(&Server { namespace, ..server })?;
    Ok(())
}

impl Form {
    /// The server the form describes, or the first thing wrong with it.
    fn check(self, organization: OrganizationId, now: Timestamp) -> Result<Server, Error> {
        let name = slug("name", &self.name)?;
        if name.as_str() == Directory::BUILT_IN {
            return Err(Error::BuiltIn(name.to_string()));
        }
        if self.description.len() > TEXT_LIMIT {
            return Err(wrong("description", "it is longer than 4,096 bytes"));
        }
        if let Some(seconds) = self.timeout_seconds
            && !(1..=3_600).contains(&seconds)
        {
            return Err(wrong("timeout_seconds", "it must lie between 1 and 3,600"));
        }
        let (description, prefixing, timeout_seconds) =
            (self.description.clone(), self.prefix, self.timeout_seconds);
        let on_change = self.on_change;
        let endpoint = self.endpoint()?;
        Ok(Server {
            id: ServerId::fresh(),
            organization,
            // It is entered into one later.
            namespace: NamespaceId::fixed(0),
            name,
            description,
            state: State::Active,
            prefixing,
            timeout_seconds,
            instances: vec![Instance { id: InstanceId::fresh(), endpoint }],
            created_at: now,
            updated_at: now,
            on_change,
        })
    }

    fn endpoint(self) -> Result<Endpoint, Error> {
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
                let (headers, auth, tls) = (self.headers, self.auth, self.tls);
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
            "stdio" => Self::Stdio,
            _ => {
                let choices = "auto, streamable_http, sse, websocket and stdio";
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

fn slug(member: &'static str, text: &str) -> Result<Slug, Error> {
    text.parse().map_err(|source| Error::Name { member, source })
}

fn wrong(member: &'static str, reason: &str) -> Error {
    Error::Form { member, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(form: serde_json::Value) -> Result<Server, Error> {
        let form: Form = serde_json::from_value(form).expect("a form");
        form.check(OrganizationId::fixed(1), Timestamp::from_ms(0))
    }

    fn location(form: serde_json::Value) -> String {
        check(form).expect("a good form").instances[0].endpoint.location()
    }

    #[test]
    fn understands_every_spelling_of_a_command() {
        for form in [
            json!({"name": "a", "command": "npx -y 'a b'"}),
            json!({"name": "a", "command": ["npx", "-y", "a b"]}),
            json!({"name": "a", "command": "npx", "args": ["-y", "a b"]}),
        ] {
            assert_eq!(location(form), "npx -y a b");
        }
        let url = json!({"name": "a", "endpoint": "http://127.0.0.1:3000/mcp"});
        assert_eq!(location(url), "http://127.0.0.1:3000/mcp");
    }

    #[test]
    fn understands_every_spelling_of_a_transport() {
        for (form, transport) in [
            (json!({"url": "http://x/"}), "auto"),
            (json!({"url": "http://x/", "transport": "auto"}), "auto"),
            (json!({"url": "http://x/", "protocol": "https"}), "streamable_http"),
            (json!({"url": "http://x/", "transport": "streamable_http"}), "streamable_http"),
            (json!({"url": "http://x/", "protocol": "sse"}), "sse"),
            (json!({"url": "ws://x/"}), "websocket"),
            (json!({"url": "wss://x/", "transport": "websocket"}), "websocket"),
            (json!({"command": "x", "transport": "stdio"}), "stdio"),
        ] {
            let mut form = form;
            form["name"] = "a".into();
            let server = check(form.clone()).unwrap_or_else(|error| panic!("{form}: {error}"));
            assert_eq!(server.instances[0].endpoint.transport(), transport, "{form}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (member, form) in [
            ("name", json!({"name": "A b", "url": "http://x/"})),
            ("url", json!({"name": "a"})),
            ("url", json!({"name": "a", "url": "http://x/", "command": "x"})),
            ("url", json!({"name": "a", "url": "ftp://x/"})),
            ("url", json!({"name": "a", "url": "http://x/", "args": ["x"]})),
            ("transport", json!({"name": "a", "url": "http://x/", "transport": "smoke"})),
            ("transport", json!({"name": "a", "url": "http://x/", "transport": "stdio"})),
            ("transport", json!({"name": "a", "url": "http://x/", "transport": "websocket"})),
            ("transport", json!({"name": "a", "url": "ws://x/", "transport": "sse"})),
            ("transport", json!({"name": "a", "command": "x", "transport": "sse"})),
            ("command", json!({"name": "a", "command": ""})),
            ("command", json!({"name": "a", "command": "a 'b"})),
            ("headers", json!({"name": "a", "url": "http://x/", "headers": {"Host": "y"}})),
            ("headers", json!({"name": "a", "url": "http://x/", "headers": {"X": "a\r\nb"}})),
            (
                "auth",
                json!({"name": "a", "command": "x", "auth": {"type": "bearer", "token": "t"}}),
            ),
            ("tls", json!({"name": "a", "command": "x", "tls": {"ca": "y"}})),
            ("env", json!({"name": "a", "command": "x", "env": {"LD_PRELOAD": "y"}})),
            ("timeout_seconds", json!({"name": "a", "url": "http://x/", "timeout_seconds": 0})),
        ] {
            let error = check(form.clone()).expect_err(&form.to_string()).to_string();
            assert!(error.starts_with(&format!("{member}:")), "{error}");
        }
        assert!(matches!(
            check(json!({"name": "tollhouse", "url": "http://x/"})),
            Err(Error::BuiltIn(_))
        ));
    }
}
