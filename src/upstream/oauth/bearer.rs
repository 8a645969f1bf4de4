//! A bearer token that ends, and is replaced before it does.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Failure, Granted};
use crate::domain::Secret;

/// How long before its end a token is replaced, at most: a tenth of its life where that is less.
const EARLY: Duration = Duration::from_mins(1);
/// How long nobody asks again after a refusal.
const REST: Duration = Duration::from_secs(5);
/// The longest that a token is believed to be good.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// Where tokens come from.
pub(crate) trait Grants: Send + Sync + fmt::Debug {
    /// A new token.
    fn grant(&self) -> BoxFuture<'_, Result<Granted, Failure>>;

    /// Takes note that a server wants a token that is good for these scopes.
    fn wanted(&self, _scope: &str) {}
}

/// Where there are none.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Grants for Nobody {
    fn grant(&self) -> BoxFuture<'_, Result<Granted, Failure>> {
        Box::pin(async { Err(Failure::NobodySignedIn) })
    }
}

/// The token that is shown to a server now. Those who need one at the same time wait for the same.
#[derive(Debug)]
pub(crate) struct Bearer {
    grants: Arc<dyn Grants>,
    held: ArcSwapOption<Held>,
    turn: tokio::sync::Mutex<Option<Refusal>>,
}

#[derive(Debug)]
struct Held {
    header: HeaderValue,
    given_at: Instant,
    replaced_at: Instant,
}

#[derive(Debug)]
struct Refusal {
    at: Instant,
    why: Failure,
}

impl Bearer {
    /// A token from there.
    pub(crate) fn new(grants: Arc<dyn Grants>) -> Self {
        Self { grants, held: ArcSwapOption::empty(), turn: tokio::sync::Mutex::default() }
    }

    /// What is shown now.
    pub(crate) async fn header(&self) -> Result<HeaderValue, Failure> {
        match self.fresh() {
            Some(header) => Ok(header),
            None => self.renewed(None).await,
        }
    }

    /// What is shown in place of what a server refused; none where that was just given, so that
    /// another would be refused as well.
    pub(crate) async fn instead_of(
        &self,
        refused: &HeaderValue,
    ) -> Result<Option<HeaderValue>, Failure> {
        let is_new = |held: &Arc<Held>| held.header == refused && held.given_at.elapsed() < REST;
        if self.held.load().as_ref().is_some_and(is_new) {
            return Ok(None);
        }
        self.renewed(Some(refused)).await.map(Some)
    }

    /// Takes note that a server wants a token that is good for these scopes.
    pub(crate) fn wanted(&self, scope: &str) {
        self.grants.wanted(scope);
    }

    fn fresh(&self) -> Option<HeaderValue> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| held.replaced_at > Instant::now())?;
        Some(held.header.clone())
    }

    async fn renewed(&self, refused: Option<&HeaderValue>) -> Result<HeaderValue, Failure> {
        let mut last = self.turn.lock().await;
        // Whoever had the turn before may have brought one.
        if let Some(header) = self.fresh().filter(|header| Some(header) != refused) {
            return Ok(header);
        }
        if let Some(refusal) = last.as_ref().filter(|refusal| refusal.at.elapsed() < REST) {
            return Err(refusal.why.clone());
        }
        let granted = self.grants.grant().await.and_then(|granted| hold(&granted));
        match granted {
            Ok(held) => {
                let header = held.header.clone();
                self.held.store(Some(Arc::new(held)));
                *last = None;
                Ok(header)
            }
            Err(why) => {
                *last = Some(Refusal { at: Instant::now(), why: why.clone() });
                Err(why)
            }
        }
    }
}

fn hold(granted: &Granted) -> Result<Held, Failure> {
    let life = Duration::from_secs(granted.seconds).min(LONGEST);
    let now = Instant::now();
    let replaced_at = now + life.saturating_sub(EARLY.min(life / 10));
    Ok(Held { header: header(&granted.access)?, given_at: now, replaced_at })
}

fn header(token: &Secret) -> Result<HeaderValue, Failure> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut header = HeaderValue::from_str(&text).map_err(|_| Failure::Unreadable)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    /// Gives one token after the other, or none.
    #[derive(Debug, Default)]
    struct Counter {
        given: AtomicUsize,
        seconds: u64,
        refuses: bool,
    }

    impl Grants for Counter {
        fn grant(&self) -> BoxFuture<'_, Result<Granted, Failure>> {
            Box::pin(async {
                let number = self.given.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                if self.refuses {
                    return Err(Failure::Unread);
                }
                let access = Secret::new(format!("t{number}"));
                Ok(Granted { access, seconds: self.seconds, refresh: None, scope: None })
            })
        }
    }

    fn bearer(seconds: u64, refuses: bool) -> (Arc<Counter>, Bearer) {
        let counter = Arc::new(Counter { seconds, refuses, ..Counter::default() });
        (counter.clone(), Bearer::new(counter))
    }

    async fn shown(bearer: &Bearer) -> String {
        bearer.header().await.expect("a token").to_str().expect("text").to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_need_a_token_wait_for_one_and_it_is_replaced_before_its_end() {
        let (counter, bearer) = bearer(100, false);

        let all = join_all((0..50).map(|_| shown(&bearer))).await;
        assert!(all.iter().all(|shown| shown == "Bearer t0"));
        tokio::time::advance(Duration::from_secs(89)).await;
        assert_eq!(shown(&bearer).await, "Bearer t0");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(shown(&bearer).await, "Bearer t1");
        assert_eq!(counter.given.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_refuses_is_replaced_but_not_again_and_again() {
        let (counter, bearer) = bearer(3_600, false);
        let first = bearer.header().await.expect("a token");

        assert_eq!(bearer.instead_of(&first).await.expect("asked"), None);
        tokio::time::advance(Duration::from_secs(6)).await;
        let many = join_all((0..9).map(|_| bearer.instead_of(&first))).await;
        let second = HeaderValue::from_static("Bearer t1");
        assert!(many.into_iter().all(|it| it.expect("asked").is_some_and(|it| it == second)));
        assert_eq!(bearer.instead_of(&second).await.expect("asked"), None);
        assert_eq!(counter.given.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_refuses_is_left_alone_for_a_moment() {
        let (counter, bearer) = bearer(3_600, true);

        let all = join_all((0..9).map(|_| bearer.header())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(counter.given.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(bearer.header().await.is_err());
        assert_eq!(counter.given.load(Ordering::SeqCst), 2);
    }
}
