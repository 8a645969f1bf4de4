//! `tollhouse setup`: claims a gateway.

use std::io::{self, IsTerminal, Read};

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Context, Failure, out::Format, reach::reach};
use crate::{
    app::Folder,
    client,
    domain::Secret,
    problem::{Classify, Kind},
};

/// Bytes read as a password. More is refused there; reading them all would serve nobody.
const PASSWORD_BYTES: u64 = 4_096;

/// Characters of the shortest password the gateway takes; it looks at more than the length.
const SHORTEST: usize = 15;
/// What to do with a gateway that has been claimed.
const WHEN_CLAIMED: &str =
    "use the key that was made then, or make another with 'tollhouse key create'";

/// Claims the gateway: makes its administrator and a first API key.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse setup --username admin
  printf '%s' \"$PASS\" | tollhouse setup --username admin --password-stdin -o json")]
pub(super) struct Setup {
    /// Name of the administrator
    #[arg(long, value_name = "NAME", default_value = "admin")]
    username: String,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

pub(super) async fn run(context: &Context, setup: Setup) -> Result<(), Failure> {
    if context.url().is_some() {
        let why = "whoever reaches a new gateway first would own it";
        return Err(Failure::misuse("a gateway is claimed on its own machine", why)
            .with_fix("run this there, with --data DIR in place of --url"));
    }
    if !setup.password_stdin {
        refuse_if_claimed(context).await?;
    }
    let password = password(setup.password_stdin)?;
    let claim = reach(context, Folder::MayBeMade, async |client| {
        client.setup(&setup.username, &password).await.map_err(refused)
    });
    let key = claim.await?.api_key;
    match context.out.format {
        Format::Json => context.out.json(&json!({"api_key": key.expose()}))?,
        Format::Table | Format::Name => context.out.line(key.expose())?,
    }
    context.out.note(&format!(
        "claimed by {}; above is the first API key. It is shown this once: keep it safe",
        setup.username
    ));
    Ok(())
}

/// Nobody should think of a password in vain.
async fn refuse_if_claimed(context: &Context) -> Result<(), Failure> {
    if !context.settings()?.settings.data.is_dir() {
        return Ok(());
    }
    let status = reach(context, Folder::MayBeMade, async |client| Ok(client.status().await?));
    if status.await?.claimed {
        let why = "it has an administrator and a first API key";
        return Err(Failure::new("this gateway is claimed already", why).with_fix(WHEN_CLAIMED));
    }
    Ok(())
}

fn refused(error: client::Error) -> Failure {
    let is_claimed = error.kind() == Kind::Conflict;
    let failure = Failure::from(error);
    if is_claimed {
        return failure.with_fix(WHEN_CLAIMED);
    }
    failure
}

/// A new password: from standard input, or from whoever sits at the terminal.
pub(super) fn password(is_piped: bool) -> Result<Secret, Failure> {
    if is_piped { from_stdin() } else { from_terminal() }
}

/// A password that somebody has already.
pub(super) fn known_password(is_piped: bool, prompt: &str) -> Result<Secret, Failure> {
    if is_piped { from_stdin() } else { ask(prompt) }
}

/// Something that is not shown while it is typed.
pub(super) fn ask(prompt: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        let why = "this is no terminal";
        return Err(Failure::misuse("there is nobody to ask for a password", why)
            .with_fix("give it on standard input, with --password-stdin"));
    }
    let read = rpassword::prompt_password(prompt);
    read.map(Secret::new)
        .map_err(|error| Failure::new("the password cannot be read", error.to_string()))
}

fn from_stdin() -> Result<Secret, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(PASSWORD_BYTES).read_to_string(&mut text);
    read.map_err(|error| Failure::new("the password cannot be read", error.to_string()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}

fn from_terminal() -> Result<Secret, Failure> {
    let password = ask(&format!("Password ({SHORTEST} characters or more; a sentence is good): "))?;
    if password.expose().chars().count() < SHORTEST {
        let why = format!("it has fewer than {SHORTEST} characters");
        return Err(Failure::new("the password is too short", why).with_fix("think of a sentence"));
    }
    if ask("Once more: ")? != password {
        return Err(
            Failure::new("the passwords differ", "they were typed in twice").with_fix("try again")
        );
    }
    Ok(password)
}
