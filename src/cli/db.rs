//! `tollhouse db`: the database itself.

use clap::Subcommand;
use serde_json::json;

use super::{Context, Failure, out::Format, reach};
use crate::app;

/// The database.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum Db {
    /// Check that audit and feed agree; the gateway must not be running
    #[command(after_help = "Example:\n  tollhouse db check --data ./data")]
    Check,
}

pub(super) async fn run(context: &Context, db: Db) -> Result<(), Failure> {
    let Db::Check = db;
    let settings = context.settings()?.settings;
    if reach::running(&settings)?.is_some() {
        let why = format!("a gateway is running on {}", settings.data.display());
        return Err(Failure::new("the database is in use", why).with_fix("stop the gateway first"));
    }
    if !settings.data.is_dir() {
        return Err(reach::no_folder(&settings.data));
    }
    let checked = app::check_book(&settings)
        .await
        .map_err(|error| Failure::from(error).while_trying("the database cannot be checked"))?;
    let (audit, feed, agree) = (checked.audit, checked.feed, checked.agree);
    match context.out.format {
        Format::Json => context.out.json(&json!({"audit": audit, "feed": feed, "agree": agree}))?,
        Format::Table | Format::Name => {
            context.out.line(&format!("{audit} audit lines, {feed} feed entries"))?;
        }
    }
    if agree {
        return Ok(());
    }
    Err(Failure::new("audit and feed do not agree", format!("{audit} lines, {feed} entries"))
        .with_fix("keep the data folder as it is, and go back to a backup"))
}
