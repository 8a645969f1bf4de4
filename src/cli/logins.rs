//! What the user of this machine signed in to, and the tokens that were given for it: one file of
//! theirs, which nobody else may read.
//!
//! A token that is about to end is replaced by whichever command comes first. The others wait for
//! it: a refresh token that is shown twice ends the sign-in.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Context, Failure};
use crate::{
    client::{Client, Tokens},
    domain::{Clock, Secret, SystemClock, Timestamp, exposed},
    problem::{Classify, Kind},
};

/// How long a token must still be good to be shown.
const LEAST: Duration = Duration::from_secs(30);

/// The sign-ins, by the URL of their gateway. Held while it is changed.
pub(super) struct Logins {
    path: PathBuf,
    kept: BTreeMap<String, Login>,
    /// Ends with the file.
    _lock: File,
}

/// One sign-in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Login {
    /// Whose it is.
    pub(super) username: String,
    #[serde(with = "exposed")]
    access_token: Secret,
    #[serde(with = "exposed")]
    refresh_token: Secret,
    /// Until when the access token is good, in milliseconds since 1970.
    good_until_ms: i64,
}

impl Login {
    pub(super) fn new(username: String, tokens: Tokens) -> Self {
        let good_until = SystemClock.now().after(Duration::from_secs(tokens.expires_in));
        let good_until_ms = good_until.as_ms();
        let Tokens { access_token, refresh_token, .. } = tokens;
        Self { username, access_token, refresh_token, good_until_ms }
    }

    fn is_good(&self) -> bool {
        Timestamp::from_ms(self.good_until_ms) > SystemClock.now().after(LEAST)
    }
}

impl Logins {
    /// Opens the file, and keeps others from changing it until this is dropped.
    pub(super) fn open(context: &Context) -> Result<Self, Failure> {
        let path = context.environment.logins().ok_or_else(|| {
            Failure::new("there is nowhere to keep what you signed in to", "HOME is not set")
                .with_fix("set HOME, or use an API key with --key")
        })?;
        let opened = || {
            let folder = path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let lock = private().create(true).truncate(false).open(beside(&path, "lock"))?;
            lock.lock()?;
            Ok((lock, read(&path)?))
        };
        let (lock, kept) = opened().map_err(|error| unusable(&path, &error))?;
        Ok(Self { path, kept, _lock: lock })
    }

    /// The gateways there are sign-ins for.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(String::as_str)
    }

    pub(super) fn put(&mut self, place: &str, login: Login) -> Result<(), Failure> {
        self.kept.insert(place.to_owned(), login);
        self.write()
    }

    /// Forgets a sign-in, and says whose it was.
    pub(super) fn remove(&mut self, place: &str) -> Result<Option<String>, Failure> {
        let removed = self.kept.remove(place);
        self.write()?;
        Ok(removed.map(|login| login.username))
    }

    /// A token that is good for a while; none where nobody signed in there.
    pub(super) async fn token(&mut self, client: &Client) -> Result<Option<Secret>, Failure> {
        let Some(login) = self.kept.get(client.place()) else { return Ok(None) };
        if login.is_good() {
            return Ok(Some(login.access_token.clone()));
        }
        let username = login.username.clone();
        match client.renew(&login.refresh_token).await {
            Ok(tokens) => {
                let token = tokens.access_token.clone();
                self.put(client.place(), Login::new(username, tokens))?;
                Ok(Some(token))
            }
            Err(error) if error.kind() == Kind::Unauthenticated => {
                self.remove(client.place())?;
                let what = format!("you are not signed in at {} any more", client.place());
                let why = "it was too long ago, or somebody ended it";
                let fix = format!("run 'tollhouse login {}' again", client.place());
                Err(Failure::new(what, why).with_fix(fix))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self) -> Result<(), Failure> {
        let text =
            serde_json::to_string_pretty(&self.kept).expect("names and texts are plain data");
        let written = || {
            let new = beside(&self.path, "new");
            let mut file = private().create(true).truncate(true).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        written().map_err(|error| unusable(&self.path, &error))
    }
}

/// A token for a gateway that somebody signed in to; none where nobody did.
pub(super) async fn token(context: &Context, client: &Client) -> Result<Option<Secret>, Failure> {
    if !knows(context, client)? {
        return Ok(None);
    }
    Logins::open(context)?.token(client).await
}

/// Whether somebody signed in to a gateway. Nothing is made where nobody ever did.
pub(super) fn knows(context: &Context, client: &Client) -> Result<bool, Failure> {
    let Some(path) = context.environment.logins() else { return Ok(false) };
    let kept = read(&path).map_err(|error| unusable(&path, &error))?;
    Ok(kept.contains_key(client.place()))
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Login>> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Files that only their owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    path.with_extension(format!("json.{ending}"))
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    let what = format!("{} cannot be used", path.display());
    Failure::new(what, error.to_string())
        .with_fix("put it right, or remove it and run 'tollhouse login' again")
}
