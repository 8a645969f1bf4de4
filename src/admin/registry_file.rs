//! Registries as files: reading servers in, and writing them out.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::{Caller, DEFAULT_ORGANIZATION},
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, many, one},
    },
    problem::{Kind, Problem},
    registry::{
        Form,
        file::{self, Found, Unreadable},
    },
};

/// A file to be read in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// What stands in it.
    text: String,
    /// What its placeholders stand for.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    /// Whether nothing is registered, only told what would be.
    #[serde(default)]
    dry_run: bool,
}

/// Registers the servers that a file names, one by one, and tells of each what became of it.
pub(super) async fn read(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Checked(asked): Checked<File>,
) -> Result<Response, Failure> {
    let found = file::read(&asked.text);
    let unreadable = |error: Unreadable| Problem::new(Kind::Invalid, error.to_string());
    let found = found.map_err(|error| Failure::unprocessable(unreadable(error)))?;
    let mut told = Vec::new();
    for server in found {
        let needs: Vec<&String> =
            server.needs.iter().filter(|it| !asked.variables.contains_key(*it)).collect();
        let (outcome, reason) = match needs.first() {
            Some(_) => ("needs", "it needs what is named".to_owned()),
            None => enter(&office, &caller, &server, &asked).await,
        };
        told.push(json!({
            "name": server.name,
            "outcome": outcome,
            "reason": reason,
            "needs": needs,
        }));
    }
    Ok(many(&told))
}

async fn enter(
    office: &Office,
    caller: &Caller,
    found: &Found,
    asked: &File,
) -> (&'static str, String) {
    let form = match &found.form {
        Ok(form) => file::filled(form, &asked.variables),
        Err(reason) => return ("left_out", reason.clone()),
    };
    let sight = caller.principal().sight();
    if office.registry.directory().find(&sight, &found.name).is_some() {
        return ("there", "a server of that name is there already".to_owned());
    }
    let form: Form = match serde_json::from_value(form) {
        Ok(form) => form,
        Err(error) => return ("refused", error.to_string()),
    };
    if asked.dry_run {
        return match office.registry.would_register(caller, form) {
            Ok(()) => ("ready", String::new()),
            Err(error) => ("refused", error.to_string()),
        };
    }
    match office.registry.register(caller, form).await {
        Ok(server) => {
            office.catalog.suspect(&server.id);
            ("registered", String::new())
        }
        Err(error) => ("refused", error.to_string()),
    }
}

/// How servers are to be discovered.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sync {
    /// Whether nothing is changed, only told what would be.
    dry_run: bool,
}

/// Looks at the sources of the settings, and tells of each server what became of it.
pub(super) async fn sync(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Checked(asked): Checked<Sync>,
) -> Result<Response, Failure> {
    // What the settings name is the house's own.
    let caller = office.access.standing_in(caller, &DEFAULT_ORGANIZATION.to_string())?;
    Ok(many(&office.registry.sync(&caller, asked.dry_run).await))
}

/// Everything that is registered, in the form of predecessors, and without secrets.
pub(super) async fn write(
    Visitor(caller): Visitor,
    State(office): State<Office>,
) -> Result<Response, Failure> {
    let (directory, sight) = (office.registry.directory(), caller.principal().sight());
    let servers = directory.servers(&sight).map(|server| &**server);
    let written: Value = file::write(servers, &directory, office.clock.now());
    Ok(one(written))
}
