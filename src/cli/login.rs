//! `tollhouse login`, `logout`, `whoami`: being somebody at a gateway over the network.

use clap::Args;
use serde_json::json;

use super::{
    Context, Failure,
    logins::{Login as Kept, Logins},
    out::Format,
    reach::reach,
    setup,
};
use crate::{
    app::Folder,
    client::{self, Client, SignInForm, Tokens},
    domain::Secret,
};

/// Signs in to a gateway. What is given for it is kept in a file of yours, and used by every command
/// that names the same gateway.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse login https://gate.example.com --username ana
  export TOLLHOUSE_URL=https://gate.example.com       # then commands go there
  printf '%s' \"$PASS\" | tollhouse login https://gate.example.com --username ana --password-stdin")]
pub(super) struct Login {
    /// Where the gateway is; `--url` and `TOLLHOUSE_URL` say it as well
    gateway: Option<String>,
    /// Your name or address
    #[arg(long, value_name = "NAME")]
    username: String,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Code of your authenticator app; asked for where it is needed
    #[arg(long, value_name = "CODE")]
    totp: Option<String>,
    /// Send the password also where others can read along
    #[arg(long)]
    allow_http: bool,
}

/// Signs out of a gateway, and forgets what was kept for it.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  tollhouse logout https://gate.example.com")]
pub(super) struct Logout {
    /// Where the gateway is; need not be said where you are signed in to one alone
    gateway: Option<String>,
}

pub(super) async fn run(context: &Context, login: Login) -> Result<(), Failure> {
    let named = login.gateway.as_deref().or_else(|| context.url());
    let url = named.ok_or_else(|| {
        let why = "on its own machine nobody has to sign in";
        Failure::misuse("no gateway is named", why)
            .with_fix("name it: tollhouse login https://gate.example.com --username ana")
    })?;
    let client = Client::tcp(url, None)?;
    if client.is_overheard() && !login.allow_http {
        let what = format!("whoever is on the way to {} could read the password", client.place());
        return Err(Failure::misuse(what, "the URL begins with http")
            .with_fix("use https, or say --allow-http where you trust the way"));
    }
    let prompt = format!("Password of {} at {}: ", login.username, client.place());
    let password = setup::known_password(login.password_stdin, &prompt)?;
    let tokens = sign_in(&client, &login, password).await?;
    Logins::open(context)?.put(client.place(), Kept::new(login.username.clone(), tokens))?;
    match context.out.format {
        Format::Json => context.out.json(&json!({
            "url": client.place(),
            "username": login.username,
        }))?,
        Format::Name => context.out.line(client.place())?,
        Format::Table => {}
    }
    context.out.note(&format!(
        "signed in to {place} as {}; use it with --url {place}, or export TOLLHOUSE_URL={place}",
        login.username,
        place = client.place(),
    ));
    Ok(())
}

async fn sign_in(client: &Client, login: &Login, password: Secret) -> Result<Tokens, Failure> {
    let form = |totp| SignInForm { username: &login.username, password: password.clone(), totp };
    let wants_code =
        |error: &client::Error| error.refusal().is_some_and(|it| it.wants_second_factor);
    let code = login.totp.as_deref().map(Secret::new);
    let signed_in = match client.sign_in(&form(code)).await {
        Err(error) if wants_code(&error) && !login.password_stdin => {
            let code = setup::ask("Code of your authenticator app: ")?;
            client.sign_in(&form(Some(code))).await
        }
        signed_in => signed_in,
    };
    signed_in.map_err(|error| {
        let fix = match (&error, wants_code(&error)) {
            (_, true) => "give the code with --totp",
            (client::Error::Refused(refusal), _) if refusal.status == 401 => {
                "check the name and the password"
            }
            _ => return error.into(),
        };
        Failure::from(error).with_fix(fix)
    })
}

pub(super) async fn out(context: &Context, logout: Logout) -> Result<(), Failure> {
    let mut logins = Logins::open(context)?;
    let known: Vec<String> = logins.places().map(str::to_owned).collect();
    let client = match (logout.gateway.as_deref().or_else(|| context.url()), &known[..]) {
        (Some(url), _) => Client::tcp(url, None)?,
        (None, [only]) => Client::tcp(only, None)?,
        (None, _) => return Err(which(&known)),
    };
    let place = client.place().to_owned();
    if !known.contains(&place) {
        let what = format!("you are not signed in at {place}");
        return Err(Failure::new(what, "nothing is kept for it").with_fix(list(&known)));
    }
    // What it was is forgotten in any case.
    let told = match logins.token(&client).await {
        Ok(Some(token)) => client.clone().with_key(token).sign_out().await.map_err(Failure::from),
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    logins.remove(&place)?;
    if let Err(failure) = told {
        let (what, _) = failure.in_two();
        context.out.note(&format!("{what}; there the sign-in ends when its time is over"));
    }
    context.out.done("signed_out", &place, &format!("signed out of {place}"))
}

fn which(known: &[String]) -> Failure {
    let what = if known.is_empty() {
        "you are signed in to no gateway"
    } else {
        "you are signed in to several gateways"
    };
    Failure::misuse(what, "none is named").with_fix(list(known))
}

fn list(known: &[String]) -> String {
    if known.is_empty() {
        return "sign in with 'tollhouse login URL --username NAME'".to_owned();
    }
    format!("name one of {}", known.join(", "))
}

pub(super) async fn whoami(context: &Context) -> Result<(), Failure> {
    let asked = async |client: &Client| Ok(client.profile().await?);
    let profile = reach(context, Folder::MustBeThere, asked).await?;
    context.out.one(&profile, profile.username.as_deref().unwrap_or(&profile.id))
}
