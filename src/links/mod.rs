//! Links: people's own accounts at servers. Whoever uses such a server signs in there once, in a
//! browser, and its calls bear their token and nobody else's.
//!
//! The gateway is a client of whoever gives the tokens (OAuth 2.1 with PKCE): it knows itself
//! there by a document, a registration, or an id that the server's definition names.

mod account;
mod error;
mod exchange;
mod sign_in;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::{account::Renewing, exchange::Exchanges, sign_in::Pending};
pub(crate) use self::{
    error::Error,
    sign_in::{Returned, client_document},
};
use crate::{
    access::Caller,
    domain::{
        Clock, Endpoint, HttpUrl, Link, LinkId, Noun, PrincipalKind, Server, ServerAuth, ServerId,
        Timestamp, UserId,
    },
    problem::chain,
    store::{Changes, Store},
    upstream::{
        self, Upstream,
        oauth::{Account, Bearer, Client},
    },
};

/// How people sign in at servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Links there may be.
    pub(crate) max_links: usize,
    /// Seconds that somebody has to sign in once they began.
    pub(crate) sign_in_seconds: u32,
    /// People who do so at the same time.
    pub(crate) max_pending: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_links: 10_000, sign_in_seconds: 600, max_pending: 1_000 }
    }
}

/// People's accounts at servers.
#[derive(Clone)]
pub(crate) struct Links(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// The limits on asking whoever gives tokens.
    speaking: Arc<upstream::Settings>,
    store: Store,
    upstream: Upstream,
    clock: Arc<dyn Clock>,
    /// What the URLs begin with that people are sent to.
    home: String,
    book: ArcSwap<Book>,
    exchanges: Exchanges,
    /// Up to which change it was read; held while it is.
    seen: Mutex<Option<u64>>,
    pending: Mutex<HashMap<String, Pending>>,
    /// What the gateway is called at those it registered with, by server and what it said.
    known: Mutex<HashMap<(ServerId, String), Client>>,
}

/// Every link, at one moment.
#[derive(Default)]
struct Book(HashMap<(ServerId, UserId), Linked>);

/// A link, and what is shown at its server.
#[derive(Clone)]
struct Linked {
    id: LinkId,
    since: Timestamp,
    renewing: Arc<Renewing>,
    account: Account,
}

/// A link as people see it.
pub(crate) struct LinkView {
    pub(crate) link: Link,
    /// What its server is called now.
    pub(crate) server: Option<String>,
}

impl Links {
    /// Reads who signed in where. `home` is what people's URLs of this gateway begin with.
    pub(crate) fn new(
        settings: Settings,
        speaking: upstream::Settings,
        (store, upstream): (&Store, &Upstream),
        clock: Arc<dyn Clock>,
        home: String,
    ) -> Result<Self, Error> {
        let links = Self(Arc::new(Inner {
            settings,
            speaking: Arc::new(speaking),
            store: store.clone(),
            upstream: upstream.clone(),
            clock,
            home,
            book: ArcSwap::default(),
            exchanges: Exchanges::default(),
            seen: Mutex::default(),
            pending: Mutex::default(),
            known: Mutex::default(),
        }));
        links.reload()?;
        Ok(links)
    }

    /// Keeps up with the store until `stop`.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut changes = self.0.store.changes();
        while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
            if let Err(error) = self.reload() {
                tracing::warn!(error = chain(&error), "links cannot be read again");
            }
        }
    }

    /// Reads who signed in where. Who did before and still is keeps what they are shown with.
    fn reload(&self) -> Result<(), Error> {
        let mut seen = self.0.seen.lock();
        let snapshot = self.0.store.read()?;
        let last = Some(snapshot.last_sequence()?);
        if !Changes::since(&snapshot, *seen)?.concern(&[Noun::Link]) {
            *seen = last;
            return Ok(());
        }
        let before = self.0.book.load_full();
        let mut book = HashMap::new();
        for link in snapshot.links()? {
            let place = (link.server, link.user);
            let kept = before.0.get(&place).filter(|it| it.id == link.id).cloned();
            book.insert(place, kept.unwrap_or_else(|| self.linked(link)));
        }
        let gone = before
            .0
            .iter()
            .filter(|(place, it)| book.get(*place).is_none_or(|now: &Linked| now.id != it.id));
        let gone: Vec<Account> = gone.map(|(_, it)| it.account.clone()).collect();
        self.0.book.store(Arc::new(Book(book)));
        *seen = last;
        for account in gone {
            self.0.upstream.forget(&account);
        }
        Ok(())
    }

    fn linked(&self, link: Link) -> Linked {
        let (id, since) = (link.id, link.linked_at);
        let speaking = Arc::clone(&self.0.speaking);
        let (store, clock) = (self.0.store.clone(), Arc::clone(&self.0.clock));
        let renewing = Arc::new(Renewing::new(link, store, clock, speaking));
        let bearer = Arc::new(Bearer::new(renewing.clone()));
        let account = Account { key: format!("link:{id}").into(), bearer };
        Linked { id, since, renewing, account }
    }

    /// The account that a call to a server is made with; none where it needs none.
    pub(crate) fn account(
        &self,
        server: &Server,
        caller: &Caller,
    ) -> Result<Option<Account>, Error> {
        if let Some((url, ServerAuth::TokenExchange(auth))) = endpoint(server) {
            let PrincipalKind::Federated(subject) = caller.principal().kind else {
                return Err(Error::NotFederated);
            };
            let token = caller.subject_token().ok_or(Error::NotFederated)?;
            let whose = (server.id, subject);
            let account = self.0.exchanges.account(whose, (url, auth), token, &self.0.speaking);
            return Ok(Some(account));
        }
        if !is_linked(server) {
            return Ok(None);
        }
        let user = caller.principal().person.ok_or(Error::Nobody)?;
        let book = self.0.book.load();
        let linked = book.0.get(&(server.id, user)).filter(|linked| !linked.renewing.is_over());
        match linked {
            Some(linked) => Ok(Some(linked.account.clone())),
            None => Err(self.must_sign_in(server)),
        }
    }

    /// The account of whoever signed in last, to ask a server what it offers: all who may use it
    /// see the same list, and each calls with their own.
    pub(crate) fn any_account(&self, server: &Server) -> Option<Account> {
        if !is_linked(server) {
            return None;
        }
        let book = self.0.book.load();
        let of_server =
            book.0.iter().filter(|((id, _), it)| *id == server.id && !it.renewing.is_over());
        let last = of_server.max_by_key(|(_, linked)| linked.since);
        last.map(|(_, linked)| linked.account.clone())
    }

    /// That somebody must sign in at a server first, and where.
    pub(crate) fn must_sign_in(&self, server: &Server) -> Error {
        Error::MustSignIn { server: server.name.to_string(), url: self.page_of(server) }
    }

    /// Where people sign in at a server.
    pub(crate) fn page_of(&self, server: &Server) -> String {
        format!("{}/oauth/servers/{}", self.0.home, server.name)
    }

    /// The caller's links.
    pub(crate) fn list(&self, caller: &Caller) -> Result<Vec<LinkView>, Error> {
        let PrincipalKind::User(user) = caller.principal().kind else {
            return Ok(Vec::new());
        };
        let snapshot = self.0.store.read()?;
        let servers = snapshot.servers()?;
        let links = snapshot.links()?.into_iter().filter(|link| link.user == user);
        let view = |link: Link| {
            let server = servers.iter().find(|server| server.id == link.server);
            LinkView { server: server.map(|server| server.name.to_string()), link }
        };
        Ok(links.map(view).collect())
    }

    /// Ends a link of the caller's, and gives its tokens back.
    pub(crate) async fn unlink(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let none = || Error::NoSuchLink(id.chars().take(80).collect());
        let id = id.parse::<LinkId>().map_err(|_| none())?;
        let PrincipalKind::User(user) = caller.principal().kind else { return Err(none()) };
        let missing = none();
        let who = caller.actor();
        let removed = self.0.store.write(&who, move |change| {
            match change.links()?.into_iter().find(|link| link.id == id && link.user == user) {
                Some(link) => {
                    change.remove_link(&id)?;
                    Ok(link)
                }
                None => Err(missing),
            }
        });
        let link = removed.await?;
        self.reload()?;
        account::give_back(&link, &self.0.speaking).await;
        Ok(())
    }
}

/// Whether people use a server with accounts of their own.
pub(crate) fn is_linked(server: &Server) -> bool {
    matches!(endpoint(server), Some((_, ServerAuth::OAuth(_))))
}

/// Where a server is, and how the gateway says there who it is; none where it is a program.
fn endpoint(server: &Server) -> Option<(&HttpUrl, &ServerAuth)> {
    server.instances.iter().find_map(|instance| match &instance.endpoint {
        Endpoint::Http { url, auth, .. } => Some((url, auth)),
        Endpoint::Stdio { .. } => None,
    })
}
