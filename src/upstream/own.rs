//! Conversations of single clients with a server of an older revision.
//!
//! Such a server asks things in the middle of calls, and cannot say of whom; so each client that
//! can be asked has a session, or a process, of its own. All others share one.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant as Tick,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{
    ConversationView, Error, Party, Settings,
    party::{Ask, Guest},
    stdio,
    watch::{self, Resources},
    way::Way,
};
use crate::{
    domain::{Clock, InstanceId},
    wire::{Address, Level, Method, Request},
};

/// The conversations of single clients with one instance.
#[derive(Debug)]
pub(super) struct Own {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    by_key: Mutex<HashMap<Key, Arc<Conversation>>>,
}

/// Whose conversation it is, and what they can be asked in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    owner: Arc<str>,
    capabilities: Arc<str>,
    /// Which of several, where no two calls may share one.
    slot: usize,
}

/// A client's conversation with an instance.
#[derive(Debug)]
struct Conversation {
    way: Way,
    principal: Arc<str>,
    calls: AtomicUsize,
    used: Mutex<Tick>,
    /// The log level that was asked for last.
    level: tokio::sync::Mutex<Option<Level>>,
    /// The resources whose changes it is to tell of.
    subscribed: tokio::sync::Mutex<Resources>,
}

/// A conversation while a call is made in it.
pub(super) struct InUse<'a> {
    own: &'a Own,
    conversation: Arc<Conversation>,
}

impl Own {
    pub(super) fn new(ground: &stdio::Ground) -> Self {
        Self {
            settings: Arc::clone(&ground.settings),
            clock: Arc::clone(&ground.clock),
            tasks: ground.tasks.clone(),
            by_key: Mutex::default(),
        }
    }

    /// Whether no client has a conversation of its own.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.lock().is_empty()
    }

    /// The conversation of a client, opened like the one that is shared where there is none yet.
    pub(super) fn with(&self, party: &Party, shared: &Way) -> Result<InUse<'_>, Error> {
        let capabilities = party.capabilities.clone().unwrap_or_else(|| "{}".into());
        let mut key = Key { owner: Arc::clone(&party.owner), capabilities, slot: 0 };
        let mut by_key = self.by_key.lock();
        let is_busy =
            |one: &Arc<Conversation>| party.is_many && one.calls.load(Ordering::Relaxed) > 0;
        while by_key.get(&key).is_some_and(is_busy) {
            key.slot += 1;
        }
        let conversation = if let Some(found) = by_key.get(&key) {
            Arc::clone(found)
        } else {
            self.make_room(&mut by_key, &party.principal)?;
            let new = Arc::new(Conversation {
                way: shared.for_one(Guest {
                    owner: Arc::clone(&key.owner),
                    capabilities: Arc::clone(&key.capabilities),
                }),
                principal: Arc::clone(&party.principal),
                calls: AtomicUsize::new(0),
                used: Mutex::new(self.clock.tick()),
                level: tokio::sync::Mutex::default(),
                subscribed: tokio::sync::Mutex::default(),
            });
            by_key.insert(key, Arc::clone(&new));
            new
        };
        conversation.calls.fetch_add(1, Ordering::Relaxed);
        Ok(InUse { own: self, conversation })
    }

    /// Ends the conversation that was not used for the longest time where there are too many.
    fn make_room(
        &self,
        by_key: &mut HashMap<Key, Arc<Conversation>>,
        principal: &Arc<str>,
    ) -> Result<(), Error> {
        let of_one = by_key.values().filter(|one| one.principal == *principal).count();
        let (limit, is_own) = if of_one >= self.settings.own_per_principal {
            (self.settings.own_per_principal, true)
        } else if by_key.len() >= self.settings.own_per_instance {
            (self.settings.own_per_instance, false)
        } else {
            return Ok(());
        };
        // Of another principal none is ended to make room.
        let idle = by_key
            .iter()
            .filter(|(_, one)| one.calls.load(Ordering::Relaxed) == 0)
            .filter(|(_, one)| !is_own || one.principal == *principal)
            .min_by_key(|(_, one)| *one.used.lock());
        let idle = idle.map(|(key, _)| key.clone()).ok_or(Error::TooManySessions { limit })?;
        if let Some(ended) = by_key.remove(&idle) {
            self.end(ended);
        }
        Ok(())
    }

    /// All of them, as people see them.
    pub(super) fn views(&self, instance: InstanceId) -> Vec<ConversationView> {
        let by_key = self.by_key.lock();
        let view = |(key, one): (&Key, &Arc<Conversation>)| ConversationView {
            instance,
            owner: Some((Arc::clone(&key.owner), Arc::clone(&one.principal))),
            in_flight: one.calls.load(Ordering::Relaxed),
            child: one.way.process(),
        };
        by_key.iter().map(view).collect()
    }

    /// Ends what a client had.
    pub(super) fn leave(&self, owner: &str) {
        self.end_where(|key, _| *key.owner == *owner);
    }

    /// Ends what nobody used for a while.
    pub(super) fn rest(&self) {
        let now = self.clock.tick();
        let idle = self.settings.idle();
        for conversation in self.by_key.lock().values() {
            conversation.way.rest();
        }
        self.end_where(|_, one| {
            one.calls.load(Ordering::Relaxed) == 0
                && now.saturating_duration_since(*one.used.lock()) >= idle
        });
    }

    fn end_where(&self, is_over: impl Fn(&Key, &Conversation) -> bool) {
        let mut by_key = self.by_key.lock();
        for (_, ended) in by_key.extract_if(|key, one| is_over(key, one)) {
            self.end(ended);
        }
    }

    fn end(&self, conversation: Arc<Conversation>) {
        self.tasks.spawn(async move { conversation.way.close().await });
    }

    pub(super) async fn close(&self) {
        let all: Vec<_> = self.by_key.lock().drain().map(|(_, one)| one).collect();
        join_all(all.iter().map(|conversation| conversation.way.close())).await;
    }
}

impl InUse<'_> {
    pub(super) fn way(&self) -> &Way {
        &self.conversation.way
    }

    /// Asks for log messages of a level, where they were not asked for yet.
    pub(super) async fn set_level(&self, level: Level, deadline: Instant) -> Result<(), Error> {
        let mut known = self.conversation.level.lock().await;
        if *known == Some(level) {
            return Ok(());
        }
        let request = Request::make(&Method::SetLevel, &format!(r#"{{"level":"{level}"}}"#));
        self.way().ask(Ask::plain(&request, Address::default(), deadline)).await?;
        *known = Some(level);
        Ok(())
    }
}

impl InUse<'_> {
    /// Has the server tell of changes of these resources, and of no others.
    pub(super) async fn subscribe_to(&self, wanted: Resources, deadline: Instant) {
        let mut known = self.conversation.subscribed.lock().await;
        if *known != wanted {
            watch::subscribe(self.way(), &known, &wanted, deadline).await;
            *known = wanted;
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        *self.conversation.used.lock() = self.own.clock.tick();
        self.conversation.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
