//! The tokens of one link: renewed before they end, and kept.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::{
    domain::{Actor, Clock, Link, Secret, Timestamp},
    problem::chain,
    store::{self, Store},
    upstream::{
        self,
        oauth::{Client, Desk, Failure, Granted, Grants, ask, revoke},
    },
};

/// Renews the tokens of a link.
pub(super) struct Renewing {
    link: Mutex<Link>,
    /// Whether the token that was kept was given out already.
    is_given: AtomicBool,
    /// What its server wants beyond what the token is good for.
    wanted: Mutex<Option<String>>,
    store: Store,
    clock: Arc<dyn Clock>,
    speaking: Arc<upstream::Settings>,
}

impl std::fmt::Debug for Renewing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renewing({})", self.link.lock().id)
    }
}

impl Renewing {
    pub(super) fn new(
        link: Link,
        store: Store,
        clock: Arc<dyn Clock>,
        speaking: Arc<upstream::Settings>,
    ) -> Self {
        let (link, wanted) = (Mutex::new(link), Mutex::default());
        Self { link, is_given: AtomicBool::new(false), wanted, store, clock, speaking }
    }

    /// What is to be asked for when its person signs in again: what the token is good for, and
    /// what was found to be missing. Where nothing was, the same is asked for as the first time.
    pub(super) fn scopes(&self) -> Option<String> {
        let had = self.link.lock().scope.clone().unwrap_or_default();
        self.wanted.lock().as_ref().map(|wanted| format!("{had} {wanted}"))
    }

    /// Whether whoever gives the tokens gives none any more.
    pub(super) fn is_over(&self) -> bool {
        self.link.lock().is_over
    }

    /// The token that was kept, the first time, while it is good.
    fn kept(&self) -> Option<Granted> {
        let link = self.link.lock();
        let ms = link.ends_at.as_ms().saturating_sub(self.clock.now().as_ms());
        let seconds = u64::try_from(ms / 1_000).ok().filter(|seconds| *seconds > 0)?;
        let is_first = !self.is_given.swap(true, Ordering::Relaxed);
        let access = link.access.clone();
        is_first.then_some(Granted { access, seconds, refresh: None, scope: None })
    }

    async fn renew(&self) -> Result<Granted, Failure> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let link = self.link.lock().clone();
        let Some(refresh) = link.refresh.as_ref().filter(|_| !link.is_over) else {
            self.end(link).await;
            return Err(Failure::NobodySignedIn);
        };
        let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", refresh.expose())];
        fields.push(("resource", &link.resource));
        match ask(Desk::of(&link.issuer), &client(&link), fields, &self.speaking).await {
            Ok(granted) => {
                self.keep(granted_to(link.clone(), &granted, self.clock.now())).await;
                Ok(granted)
            }
            Err(Failure::Refused(code)) if code.is_over() => {
                tracing::info!(link = %link.id, "a sign-in at a server is over");
                self.end(link).await;
                Err(Failure::NobodySignedIn)
            }
            Err(error) => Err(error),
        }
    }

    async fn end(&self, link: Link) {
        if !link.is_over {
            self.keep(Link { is_over: true, refresh: None, ..link }).await;
        }
    }

    /// Keeps what is there now. A token that is used up may be the only one, so it is on disk
    /// before the next is shown.
    async fn keep(&self, link: Link) {
        *self.link.lock() = link.clone();
        let machine = Actor::system("tokens of servers");
        let written = self.store.write(&machine, move |change| {
            // One that was ended meanwhile is not brought back.
            if change.link(&link.id)?.is_some() {
                change.note_link(&link)?;
            }
            Ok::<_, store::Error>(())
        });
        if let Err(error) = written.await {
            tracing::warn!(error = chain(&error), "a new token of a server is kept in memory only");
        }
    }
}

impl Grants for Renewing {
    fn grant(&self) -> BoxFuture<'_, Result<Granted, Failure>> {
        Box::pin(self.renew())
    }

    fn wanted(&self, scope: &str) {
        *self.wanted.lock() = Some(scope.to_owned());
    }
}

/// A link with what was granted to it.
pub(super) fn granted_to(link: Link, granted: &Granted, now: Timestamp) -> Link {
    let life = std::time::Duration::from_secs(granted.seconds);
    Link {
        access: granted.access.clone(),
        // Where no other is given, the same is good again.
        refresh: granted.refresh.clone().or(link.refresh),
        scope: granted.scope.clone().or(link.scope),
        ends_at: now.after(life),
        ..link
    }
}

fn client(link: &Link) -> Client {
    Client { id: link.client_id.clone(), secret: link.client_secret.clone() }
}

/// Gives the tokens of a link back.
pub(super) async fn give_back(link: &Link, speaking: &upstream::Settings) {
    let Some(url) = &link.issuer.revocation_endpoint else { return };
    let token: &Secret = link.refresh.as_ref().unwrap_or(&link.access);
    revoke(Desk::at(&link.issuer, url), &client(link), token, speaking).await;
}
