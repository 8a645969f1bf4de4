//! What a server is shown of the gateway, as it is said in a shell. Secrets come from variables,
//! standard input or files: what stands in the command line is read by everybody on the machine.

use std::{
    fs,
    io::{self, Read},
};

use clap::Args;
use zeroize::Zeroizing;

use super::{Context, Failure, out::Format, reach::reach};
use crate::{
    app::Folder,
    client::ServerView,
    domain::{ClientAuth, ExchangeAuth, Secret, ServerAuth, ServerTls, UserAuth},
};

/// The longest secret read, in bytes; the gateway takes no longer ones.
const SECRET_BYTES: u64 = 16 * 1_024;

/// What --auth takes: secrets that stay the same, a token in the gateway's own name, one for a token
/// that whoever calls brought, and one of whoever calls.
const KINDS: [&str; 7] =
    ["none", "header", "bearer", "basic", "client-credentials", "token-exchange", "oauth"];

/// How the gateway says to a server who it is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct AuthFlags {
    /// How the gateway says there who it is; the secret is asked for in one of the ways below
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    auth: Option<String>,
    /// Name of the header, for --auth header
    #[arg(long, value_name = "NAME", requires = "auth")]
    auth_header: Option<String>,
    /// User name, for --auth basic
    #[arg(long, value_name = "NAME", requires = "auth")]
    auth_user: Option<String>,
    /// What the gateway is called there, for --auth client-credentials and token-exchange, and for
    /// oauth where it cannot introduce itself
    #[arg(long, value_name = "ID", requires = "auth")]
    auth_client: Option<String>,
    /// Where tokens are had, for --auth token-exchange, and client-credentials, which find it out
    /// where it is not given
    #[arg(long, value_name = "URL", requires = "auth")]
    auth_token_url: Option<String>,
    /// Whom tokens are to be meant for, for --auth token-exchange
    #[arg(long, value_name = "NAME", requires = "auth")]
    auth_audience: Option<String>,
    /// A scope to ask for; may be given several times
    #[arg(long, value_name = "SCOPE", requires = "auth")]
    auth_scope: Vec<String>,
    /// Variable of this shell that holds the value, token or password
    #[arg(long, value_name = "VARIABLE", requires = "auth")]
    auth_secret_env: Option<String>,
    /// Read the value, token or password from standard input
    #[arg(long, requires = "auth", conflicts_with = "auth_secret_env")]
    auth_secret_stdin: bool,
}

/// What a server is shown in the TLS handshake.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TlsFlags {
    /// Certificate shown in the TLS handshake, as a PEM file
    #[arg(id = "tls_cert", long = "tls-cert", value_name = "FILE", requires = "tls_key")]
    cert: Option<String>,
    /// Its key, as a PEM file
    #[arg(id = "tls_key", long = "tls-key", value_name = "FILE", requires = "tls_cert")]
    key: Option<String>,
    /// Authorities of the server's certificate in place of the system's, as a PEM file
    #[arg(id = "tls_ca", long = "tls-ca", value_name = "FILE")]
    ca: Option<String>,
}

/// A server, and how the gateway is to say there who it is.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse server auth docs --auth bearer --auth-secret-env DOCS_TOKEN
  printf '%s' \"$PASS\" | tollhouse server auth docs --auth basic --auth-user me --auth-secret-stdin
  tollhouse server auth docs --auth client-credentials --auth-client gate --auth-secret-env SECRET
  tollhouse server auth docs --auth oauth
  tollhouse server auth docs --auth none")]
pub(super) struct ChangeAuth {
    /// Name or id
    server: String,
    #[command(flatten)]
    flags: AuthFlags,
}

/// A server, and what it is to be shown in the TLS handshake.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse server tls docs --tls-cert gateway.pem --tls-key gateway.key --tls-ca ca.pem
  tollhouse server tls docs --off")]
pub(super) struct ChangeTls {
    /// Name or id
    server: String,
    #[command(flatten)]
    flags: TlsFlags,
    /// Show nothing, and trust the system's authorities
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key", "tls_ca"])]
    off: bool,
}

impl AuthFlags {
    /// Whether anything is to be shown.
    pub(super) fn is_given(&self) -> bool {
        self.auth.is_some()
    }

    /// What they say, with the secret read.
    pub(super) fn read(&self, context: &Context) -> Result<ServerAuth, Failure> {
        let kind = self.auth.as_deref().unwrap_or("none");
        let has_secret = self.auth_secret_env.is_some() || self.auth_secret_stdin;
        // What each kind takes: must it, may it, or must it not?
        let (must, may, not) = (Some(true), None, Some(false));
        let (secret, client, token_url, more) = match kind {
            "client-credentials" => (must, must, may, may),
            "token-exchange" => (must, must, must, may),
            "oauth" => (if self.auth_client.is_some() { may } else { not }, may, not, may),
            "none" => (not, not, not, not),
            _ => (must, not, not, not),
        };
        let is_odd = (kind == "header") != self.auth_header.is_some()
            || (kind == "basic") != self.auth_user.is_some()
            || (self.auth_audience.is_some() && kind != "token-exchange")
            || secret.is_some_and(|must| must != has_secret)
            || client.is_some_and(|must| must != self.auth_client.is_some())
            || token_url.is_some_and(|must| must != self.auth_token_url.is_some())
            || more.is_some_and(|must| must == self.auth_scope.is_empty());
        if is_odd {
            let why = "header takes --auth-header, basic --auth-user, client-credentials and \
                       token-exchange --auth-client, the latter --auth-token-url too; all of these \
                       and bearer take --auth-secret-env or --auth-secret-stdin, and oauth takes \
                       neither, or --auth-client with or without a secret";
            return Err(Failure::misuse(format!("--auth {kind} is not said in full"), why));
        }
        let secret = || self.secret(context);
        Ok(match (kind, &self.auth_header, &self.auth_user) {
            ("header", Some(name), _) => {
                ServerAuth::Header { name: name.clone(), value: secret()? }
            }
            ("basic", _, Some(username)) => {
                ServerAuth::Basic { username: username.clone(), password: secret()? }
            }
            ("bearer", ..) => ServerAuth::Bearer { token: secret()? },
            ("client-credentials", ..) => ServerAuth::ClientCredentials(Box::new(ClientAuth {
                client_id: self.auth_client.clone().unwrap_or_default(),
                client_secret: secret()?,
                token_url: self.auth_token_url.clone(),
                scopes: self.auth_scope.clone(),
                resource: None,
            })),
            ("token-exchange", ..) => ServerAuth::TokenExchange(Box::new(ExchangeAuth {
                token_url: self.auth_token_url.clone().unwrap_or_default(),
                client_id: self.auth_client.clone().unwrap_or_default(),
                client_secret: secret()?,
                audience: self.auth_audience.clone(),
                scopes: self.auth_scope.clone(),
            })),
            ("oauth", ..) => ServerAuth::OAuth(Box::new(UserAuth {
                client_id: self.auth_client.clone(),
                client_secret: has_secret.then(secret).transpose()?,
                scopes: self.auth_scope.clone(),
            })),
            _ => ServerAuth::None,
        })
    }

    fn secret(&self, context: &Context) -> Result<Secret, Failure> {
        if let Some(name) = &self.auth_secret_env {
            let value = context.environment.get(name).map(Secret::new);
            return value.ok_or_else(|| {
                let why = "--auth-secret-env names it";
                Failure::misuse(format!("the variable {name} is not set here"), why)
            });
        }
        let mut text = Zeroizing::new(String::new());
        let read = io::stdin().lock().take(SECRET_BYTES).read_to_string(&mut text);
        read.map_err(|error| Failure::new("the secret cannot be read", error.to_string()))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
    }
}

impl TlsFlags {
    /// Whether any of them is there.
    pub(super) fn is_given(&self) -> bool {
        self.cert.is_some() || self.ca.is_some()
    }

    /// What is in the files they name.
    pub(super) fn read(&self) -> Result<ServerTls, Failure> {
        let file = |path: &Option<String>| path.as_deref().map(read_file).transpose();
        Ok(ServerTls {
            certificate: file(&self.cert)?,
            key: file(&self.key)?.map(Secret::new),
            ca: file(&self.ca)?,
        })
    }
}

fn read_file(path: &str) -> Result<String, Failure> {
    let what = || format!("{path} cannot be read");
    fs::read_to_string(path).map_err(|error| Failure::new(what(), error.to_string()))
}

/// Changes how the gateway says to a server who it is.
pub(super) async fn change_auth(context: &Context, change: ChangeAuth) -> Result<(), Failure> {
    if change.flags.auth.is_none() {
        return Err(Failure::misuse("what is it to be?", "--auth was not given"));
    }
    let auth = change.flags.read(context)?;
    let server = reach(context, Folder::MustBeThere, async |client| {
        Ok(client.server_auth(&change.server, &auth).await?)
    })
    .await?;
    let note = format!("{} is shown {} from its next call on", server.name, auth.as_str());
    told(context, &server, &note)
}

/// Changes what a server is shown in the TLS handshake.
pub(super) async fn change_tls(context: &Context, change: ChangeTls) -> Result<(), Failure> {
    let tls = change.flags.read()?;
    if tls.is_plain() != change.off {
        return Err(Failure::misuse("what is it to be?", "neither a file nor --off was given"));
    }
    let server = reach(context, Folder::MustBeThere, async |client| {
        Ok(client.server_tls(&change.server, &tls).await?)
    })
    .await?;
    let note = format!("{} is shown it from its next connection on", server.name);
    told(context, &server, &note)
}

fn told(context: &Context, server: &ServerView, note: &str) -> Result<(), Failure> {
    match context.out.format {
        Format::Json => context.out.json(server)?,
        Format::Name => context.out.line(&server.name)?,
        Format::Table => {}
    }
    context.out.note(note);
    Ok(())
}
