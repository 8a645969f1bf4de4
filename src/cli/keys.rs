//! `tollhouse key`: API keys.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Context, Failure,
    out::Format,
    reach::reach,
    table::{day, minute, or_dash, table},
};
use crate::{
    app::Folder,
    client::KeyForm,
    domain::{Clock, Role, SystemClock, Timestamp},
    problem::{Classify, Kind},
};

/// API keys.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Keys {
    /// Make an API key; it is shown this once
    #[command(after_help = "\
Examples:
  tollhouse key create cursor
  tollhouse key create ci --role viewer --expires 90d")]
    Create(Create),
    /// List the API keys, without their secrets
    #[command(alias = "ls", after_help = "Example:\n  tollhouse key list")]
    List,
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
    /// When it ends: a moment, or a span such as 12h or 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

pub(super) async fn run(context: &Context, keys: Keys) -> Result<(), Failure> {
    match keys {
        Keys::Create(create) => make(context, create).await,
        Keys::List => list(context).await,
        Keys::Revoke { id } => revoke(context, &id).await,
        Keys::RotateSigning => rotate(context).await,
    }
}

async fn revoke(context: &Context, id: &str) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| {
        client.key_revoke(id).await.map_err(|error| match error.kind() {
            Kind::NotFound => Failure::from(error).with_fix("'tollhouse key list' shows the ids"),
            _ => error.into(),
        })
    })
    .await?;
    if context.out.format == Format::Json {
        context.out.json(&json!({"revoked": id}))?;
    }
    context.out.note(&format!("revoked {id}"));
    Ok(())
}

async fn rotate(context: &Context) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| Ok(client.signing_key_rotate().await?))
        .await?;
    if context.out.format == Format::Json {
        context.out.json(&json!({"rotated": true}))?;
    }
    context.out.note("tokens are signed with a new key from now on");
    Ok(())
}

async fn make(context: &Context, create: Create) -> Result<(), Failure> {
    let expires_at = create.expires.map(|when| moment(&when, SystemClock.now())).transpose()?;
    let expires_at = expires_at.map(|moment| moment.to_string());
    let form = KeyForm { name: create.name, role: create.role, expires_at };
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
    let keys = keys.await?;
    match context.out.format {
        Format::Json => return context.out.json(&keys),
        Format::Name => return keys.iter().try_for_each(|key| context.out.line(&key.id)),
        Format::Table => {}
    }
    let rows = keys.into_iter().map(|key| {
        let is_active = if key.is_active { "yes" } else { "no" };
        let expires = or_dash(key.expires_at.as_deref().map(minute));
        vec![
            key.id,
            key.name,
            or_dash(key.role),
            is_active.into(),
            or_dash(key.created_at.as_deref().map(day)),
            expires,
        ]
    });
    let headings = ["ID", "NAME", "ROLE", "ACTIVE", "CREATED", "EXPIRES (UTC)"];
    context.out.line(&table(context.out, &headings, rows.collect()))
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
