//! Registries as files: reading servers in, and writing them out.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Registers the servers that a file names, and tells of each what became of it.
pub(super) async fn read(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Checked(asked): Checked<File>,
) -> Result<Response, Failure> {
    let found = file::read(&asked.text);
    let unreadable = |error: Unreadable| Problem::new(Kind::Invalid, error.to_string());
    let found = found.map_err(|error| Failure::unprocessable(unreadable(error)))?;
    let mut told: Vec<Told> = Vec::new();
    let (mut forms, mut places) = (Vec::new(), Vec::new());
    for server in found {
        let needs = server.needs.iter().filter(|it| !asked.variables.contains_key(*it));
        let needs: Vec<String> = needs.cloned().collect();
        let looked_at = match needs.first() {
            Some(_) => Err(("needs", "it needs what is named".to_owned())),
            None => look_at(&office, &caller, &server, &asked),
        };
        let (outcome, reason) = match looked_at {
            Ok(form) => {
                forms.push((form, None));
                places.push(told.len());
                ("registered", String::new())
            }
            Err(told) => told,
        };
        told.push(Told { name: server.name, outcome, reason, needs });
    }
    if !forms.is_empty() {
        let registered = office.registry.register_all(&caller, forms).await?;
        for (place, registered) in places.into_iter().zip(registered) {
            match registered {
                Ok(server) => office.catalog.suspect(&server.id),
                Err(error) => {
                    (told[place].outcome, told[place].reason) = ("refused", error.to_string());
                }
            }
        }
    }
    Ok(many(&told))
}

/// What became of a server that a file names.
#[derive(Debug, Serialize)]
struct Told {
    name: String,
    outcome: &'static str,
    reason: String,
    /// What must be given first.
    needs: Vec<String>,
}

/// The form of a server that can be registered, or why it is not.
fn look_at(
    office: &Office,
    caller: &Caller,
    found: &Found,
    asked: &File,
) -> Result<Form, (&'static str, String)> {
    let form = found.form.as_ref().map_err(|reason| ("left_out", reason.clone()))?;
    let form = file::filled(form, &asked.variables);
    let sight = caller.principal().sight();
    if office.registry.directory().find(&sight, &found.name).is_some() {
        return Err(("there", "a server of that name is there already".to_owned()));
    }
    let refused = |error: String| ("refused", error);
    let read = |form| serde_json::from_value::<Form>(form).map_err(|it| refused(it.to_string()));
    if asked.dry_run {
        let would = office.registry.would_register(caller, read(form)?);
        return Err(match would {
            Ok(()) => ("ready", String::new()),
            Err(error) => refused(error.to_string()),
        });
    }
    read(form)
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
