//! Whom a command speaks to: a gateway by its URL, one that runs on a data folder, or the rooms on
//! that folder themselves.

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use super::{Context, Failure, logins};
use crate::{
    app::{self, Folder, Office},
    client::Client,
    config::Settings,
    domain::Secret,
};

/// Does some work with a gateway, whichever way it is reached.
pub(super) async fn reach<T>(
    context: &Context,
    folder: Folder,
    work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if let Some(client) = remote(context).await? {
        return work(&client).await;
    }
    let settings = context.settings()?.settings;
    if let Some(socket) = running(&settings)? {
        return work(&local(context, &socket)).await;
    }
    if folder == Folder::MustBeThere && !settings.data.is_dir() {
        return Err(no_folder(&settings.data));
    }
    let office = open(settings, folder).await?;
    let done = work(&local(context, office.socket())).await;
    let closed = office.close().await;
    let done = done?;
    closed.map_err(|error| Failure::from(error).while_trying("the data was not closed well"))?;
    Ok(done)
}

/// A gateway that runs: at the URL, or on the data folder.
pub(super) async fn gateway(context: &Context) -> Result<Client, Failure> {
    if let Some(client) = remote(context).await? {
        return Ok(client);
    }
    let settings = context.settings()?.settings;
    let socket = running(&settings)?.ok_or_else(|| {
        let data = settings.data.display();
        Failure::new(
            format!("no gateway runs on {data}"),
            format!("nobody answers on {}", settings.socket().display()),
        )
        .with_fix(format!("start it with 'tollhouse start{}'", context.data_flag(&settings)))
    })?;
    Ok(local(context, &socket))
}

/// The gateway that was named by its URL. Where no key is given, whoever signed in there is who
/// they are.
pub(super) async fn remote(context: &Context) -> Result<Option<Client>, Failure> {
    let Some(client) = named(context)? else { return Ok(None) };
    if context.key().is_some() {
        return Ok(Some(client));
    }
    let token = logins::token(context, &client).await?;
    Ok(Some(token.into_iter().fold(client, Client::with_key)))
}

/// The same, where only a key will do.
pub(super) fn named(context: &Context) -> Result<Option<Client>, Failure> {
    let Some(url) = context.url() else { return Ok(None) };
    let client = Client::tcp(url, context.key().map(Secret::new))?;
    Ok(Some(client.in_organization(context.common.org.as_deref())))
}

fn local(context: &Context, socket: &Path) -> Client {
    Client::unix(socket).in_organization(context.common.org.as_deref())
}

/// The socket of the gateway that runs on this data, where one does.
pub(super) fn running(settings: &Settings) -> Result<Option<PathBuf>, Failure> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let socket = settings.socket();
    match UnixStream::connect(&socket) {
        Ok(_) => Ok(Some(socket)),
        // A socket that a killed gateway left behind refuses.
        Err(error) if [NotFound, ConnectionRefused].contains(&error.kind()) => Ok(None),
        Err(error) => {
            let what = format!("the gateway's socket {} cannot be used", socket.display());
            let fix = match error.kind() {
                io::ErrorKind::PermissionDenied => "run this as the user who runs the gateway",
                io::ErrorKind::NotADirectory => "name a folder with --data DIR",
                io::ErrorKind::InvalidInput => "choose a data folder with a shorter path",
                _ => "use --url and --key instead",
            };
            Err(Failure::new(what, error.to_string()).with_fix(fix))
        }
    }
}

/// The rooms on the data folder itself, while no gateway runs there.
pub(super) async fn open(settings: Settings, folder: Folder) -> Result<Office, Failure> {
    let data = settings.data.clone();
    let opened = app::office(settings, folder).await;
    opened.map_err(|error| {
        Failure::from(error).while_trying(format!("the data in {} cannot be used", data.display()))
    })
}

pub(super) fn no_folder(data: &Path) -> Failure {
    Failure::new(format!("there is no data in {}", data.display()), "the folder does not exist")
        .with_fix("name the right folder with --data DIR; 'tollhouse start' makes a new one")
}
