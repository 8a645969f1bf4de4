//! `tollhouse key`: API keys.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Context, Failure,
    out::Format,
    reach::reach,
    table::{day, minute, or_dash, yes_or_no},
};
use crate::{
    app::Folder,
    client::{self, KeyForm, KeyUpdate},
    domain::{Clock, Role, SystemClock, Timestamp},
};

/// API keys.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Keys {
    /// Make an API key; it is shown this once
    #[command(after_help = "\
Examples:
  tollhouse key create cursor
  tollhouse key create ci --role viewer --expires 90d
  tollhouse key create bot --type a2a --permission 'tools:*' --namespace web")]
    Create(Box<Create>),
    /// List what can be permitted, in words
    #[command(after_help = "Example:\n  tollhouse key permissions")]
    Permissions,
    /// List the API keys, without their secrets
    #[command(alias = "ls", after_help = "Example:\n  tollhouse key list")]
    List,
    /// Show an API key, without its secret
    #[command(after_help = "Example:\n  tollhouse key show 4fK2mP9sQ1xZ -o json")]
    Show {
        /// Id, as listed
        id: String,
    },
    /// Change an API key: its rights, its limits, or whether it opens anything
    #[command(after_help = "\
Examples:
  tollhouse key update 4fK2mP9sQ1xZ --active false
  tollhouse key update 4fK2mP9sQ1xZ --permission tools:call --server time")]
    Update(Box<Update>),
    /// End an API key
    #[command(aliases = ["rm", "remove"], after_help = "Example:\n  tollhouse key revoke 4fK2mP9sQ1xZ")]
    Revoke {
        /// Id, as listed
        id: String,
    },
    /// Sign the tokens of people with a new key; what the one before signed stays good until its end
    #[command(after_help = "Example:\n  tollhouse key rotate-signing")]
    RotateSigning,
}

/// A key to be made.
#[derive(Debug, Clone, Args)]
pub(super) struct Create {
    /// What it is for
    name: String,
    /// What it may do
    #[arg(long, value_parser = Role::ALL.map(Role::as_str))]
    role: Option<String>,
    /// In place of a role: `thing:action`, with `*` for all; may be repeated
    #[arg(long = "permission", value_name = "PERMISSION", conflicts_with = "role")]
    permissions: Vec<String>,
    /// Limit it to this namespace; may be repeated
    #[arg(long = "namespace", value_name = "SLUG")]
    namespaces: Vec<String>,
    /// Limit it to this server; may be repeated
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// Who holds it: somebody, or a program that speaks for itself
    #[arg(long = "type", value_parser = ["user", "a2a"])]
    key_type: Option<String>,
    /// Whose it is; it may never do more than they may
    #[arg(long = "user", value_name = "NAME")]
    user_id: Option<String>,
    /// What it is for, at length
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// When it ends: a moment, or a span such as 12h or 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

/// What is to be different about a key.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Change {
    /// What it is for
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The same, at length
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What it may do
    #[arg(long, value_parser = Role::ALL.map(Role::as_str))]
    role: Option<String>,
    /// In place of a role; may be repeated
    #[arg(long = "permission", value_name = "PERMISSION", conflicts_with = "role")]
    permissions: Vec<String>,
    /// Limit it to this namespace and no other; may be repeated
    #[arg(long = "namespace", value_name = "SLUG")]
    namespaces: Vec<String>,
    /// Limit it to this server and no other; may be repeated
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// Lift its limits to namespaces and servers
    #[arg(long, conflicts_with_all = ["namespaces", "servers"])]
    unlimited: bool,
    /// When it ends: a moment, or a span such as 12h or 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Whether it opens anything
    #[arg(long, value_name = "BOOL")]
    active: Option<bool>,
}

/// A key, and what is to be different about it.
#[derive(Debug, Clone, Args)]
pub(super) struct Update {
    /// Id, as listed
    id: String,
    #[command(flatten)]
    change: Change,
}

pub(super) async fn run(context: &Context, keys: Keys) -> Result<(), Failure> {
    match keys {
        Keys::Create(create) => make(context, *create).await,
        Keys::Show { id } => show(context, &id).await,
        Keys::Update(update) => change(context, *update).await,
        Keys::Permissions => permissions(context).await,
        Keys::List => list(context).await,
        Keys::Revoke { id } => revoke(context, &id).await,
        Keys::RotateSigning => rotate(context).await,
    }
}

fn unknown(error: client::Error) -> Failure {
    Failure::unless_there("'tollhouse key list' shows the ids")(error)
}

async fn show(context: &Context, id: &str) -> Result<(), Failure> {
    let shown = reach(context, Folder::MustBeThere, async |client| {
        client.key_show(id).await.map_err(unknown)
    });
    context.out.one(&shown.await?, id)
}

async fn change(context: &Context, Update { id, change }: Update) -> Result<(), Failure> {
    let expires_at = change.expires.map(|when| moment(&when, SystemClock.now())).transpose()?;
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let limits = |list| if change.unlimited { Some(Vec::new()) } else { some(list) };
    let form = KeyUpdate {
        name: change.name,
        description: change.description,
        role: change.role,
        permissions: some(change.permissions),
        namespaces: limits(change.namespaces),
        servers: limits(change.servers),
        expires_at: expires_at.map(|moment| moment.to_string()),
        is_active: change.active,
    };
    let changed = reach(context, Folder::MustBeThere, async |client| {
        client.key_update(&id, &form).await.map_err(unknown)
    });
    context.out.one(&changed.await?, &id)
}

async fn revoke(context: &Context, id: &str) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        client.key_revoke(id).await.map_err(unknown)
    })
    .await?;
    context.out.done("revoked", id, &format!("revoked {id}"))
}

async fn rotate(context: &Context) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| Ok(client.signing_key_rotate().await?))
        .await?;
    context.out.done("rotated", true, "tokens are signed with a new key from now on")
}

async fn make(context: &Context, create: Create) -> Result<(), Failure> {
    let expires_at = create.expires.map(|when| moment(&when, SystemClock.now())).transpose()?;
    let expires_at = expires_at.map(|moment| moment.to_string());
    let form = KeyForm {
        name: create.name,
        role: create.role,
        expires_at,
        permissions: create.permissions,
        namespaces: create.namespaces,
        servers: create.servers,
        key_type: create.key_type,
        user_id: create.user_id,
        description: create.description,
    };
    let key =
        reach(context, Folder::MustBeThere, async |client| Ok(client.key_create(&form).await?));
    let key = key.await?;
    if context.out.format == Format::Json {
        let mut shown = serde_json::to_value(&key.view).expect("a view is plain data");
        shown["key"] = Value::from(key.key.expose());
        context.out.json(&shown)?;
    } else {
        context.out.line(key.key.expose())?;
    }
    context.out.note(&format!("key {} for {} is shown this once", key.view.id, key.view.name));
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let keys = reach(context, Folder::MustBeThere, async |client| Ok(client.key_list().await?));
    let headings = ["ID", "NAME", "RIGHTS", "ACTIVE", "CREATED", "EXPIRES (UTC)", "USED (UTC)"];
    context.out.many(
        &keys.await?,
        |key| &key.id,
        &headings,
        |key| {
            vec![
                key.id.clone(),
                key.name.clone(),
                // What is no role is a list of its own.
                or_dash(key.role.clone().unwrap_or_else(|| key.permissions.join(" "))),
                yes_or_no(key.is_active),
                or_dash(key.created_at.as_deref().map(day)),
                or_dash(key.expires_at.as_deref().map(minute)),
                or_dash(key.last_used_at.as_deref().map(minute)),
            ]
        },
    )
}

async fn permissions(context: &Context) -> Result<(), Failure> {
    let all = reach(context, Folder::MustBeThere, async |client| Ok(client.permissions().await?));
    let headings = ["PERMISSION", "LETS ONE", "ROLES"];
    context.out.many(
        &all.await?,
        |it| &it.name,
        &headings,
        |it| {
            // What no role has is for those who stand above organizations.
            let roles =
                if it.roles.is_empty() { "superuser".to_owned() } else { it.roles.join(" ") };
            vec![it.name.clone(), it.description.clone(), roles]
        },
    )
}

/// A moment in RFC 3339, a day (its beginning), or a span from now.
fn moment(when: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let day = || Timestamp::parse(&format!("{when}T00:00:00Z"));
    let found = Timestamp::parse(when).or_else(day).or_else(|| Some(now.after(span(when)?)));
    found.filter(|moment| *moment > now).ok_or_else(|| {
        Failure::misuse(format!("{when:?} is not a time to come"), "a key must end later than now")
            .with_fix("write for example 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z")
    })
}

fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    count.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_moment_a_day_or_a_span() {
        let now = Timestamp::parse("2026-11-21T12:00:00Z").expect("a moment");
        let end = |when: &str| moment(when, now).map(|moment| moment.to_string());

        assert_eq!(end("90d"), Ok("2027-02-19T12:00:00.000Z".into()));
        assert_eq!(end("2027-01-31"), Ok("2027-01-31T00:00:00.000Z".into()));
        assert_eq!(end("2027-01-31T12:00:00+01:00"), Ok("2027-01-31T11:00:00.000Z".into()));
        for bad in ["2026-01-01", "0d", "soon", "", "9é"] {
            assert!(end(bad).is_err(), "{bad}");
        }
    }
}
