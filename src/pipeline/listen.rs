//! Listening: clients that hear of changes, and what is heard of servers for them.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns> (subscriptions)

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast::error::RecvError, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Caller, Permit},
    catalog::{self, View},
    domain::{InstanceId, Item, ItemKind, Permission, Server, ServerId, SessionId, Target},
    pipeline::{Body, Pipeline, forward::owner_of, not_found, relay::NOTICES},
    problem::{Kind, Problem},
    upstream::{ByOwner, News, Wanted},
    wire::{Call, Era, Notice, Revision, Tells},
};

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(20);

/// Everybody who listens.
#[derive(Default)]
pub(super) struct Listeners {
    last: AtomicU64,
    by_id: Mutex<HashMap<u64, Listener>>,
    /// Wakes the relay when somebody comes or goes.
    changed: Notify,
}

/// Somebody who listens at an endpoint.
struct Listener {
    view: View,
    /// Who it is, as they were when they began, and how they asked: policies may come to say
    /// something else of them.
    caller: Caller,
    call: Box<Call>,
    /// Whose conversations with servers it belongs to.
    owner: Arc<str>,
    /// Whether it hears log messages that are about none of its calls.
    hears_logs: bool,
    kinds: Vec<ItemKind>,
    /// The lists as they were when they were told last.
    digests: [u64; 4],
    /// Resources, by server and its own URI, under the names they go by here.
    resources: HashMap<(ServerId, Box<str>), Box<str>>,
    /// Tasks, by id.
    tasks: HashSet<Box<str>>,
    /// The session all of whose tasks it hears of.
    session: Option<SessionId>,
    /// Boxed: room for many is there from the beginning, and hardly ever used.
    sender: mpsc::Sender<Box<Notice>>,
}

/// What a client wants to hear of.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) resources_list_changed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_subscriptions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) task_ids: Vec<String>,
}

impl Filter {
    fn kinds(&self) -> Vec<ItemKind> {
        let wanted = [
            (self.tools_list_changed, ItemKind::Tool),
            (self.prompts_list_changed, ItemKind::Prompt),
            (self.resources_list_changed, ItemKind::Resource),
        ];
        wanted.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, kind)| kind).collect()
    }
}

/// What a listener hears. Dropped, it listens no more.
pub(crate) struct Listening {
    id: u64,
    listeners: Arc<Listeners>,
    agreed: Filter,
    heard: mpsc::Receiver<Box<Notice>>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("agreed", &self.agreed).finish_non_exhaustive()
    }
}

impl Listening {
    /// What it will hear of: the part of what it asked for that can be had.
    pub(crate) const fn agreed(&self) -> &Filter {
        &self.agreed
    }

    /// The first thing a listener hears.
    pub(crate) fn acknowledgement(&self) -> Notice {
        Notice::acknowledged(&serde_json::to_string(&self.agreed).expect("plain data is JSON"))
    }

    /// The next change; none when there is nothing more to hear: it did not keep up, or the house
    /// closes.
    pub(crate) async fn next(&mut self) -> Option<Notice> {
        self.heard.recv().await.map(|notice| *notice)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.by_id.lock().remove(&self.id);
        self.listeners.changed.notify_one();
    }
}

impl Pipeline {
    /// Lets a client listen.
    pub(super) async fn listen(&self, permit: &Permit, call: &Call) -> Result<Body, Problem> {
        let mut filter: Filter = call.request.param("notifications").ok_or_else(|| {
            Problem::new(Kind::Invalid, "invalid params: \"notifications\" is missing")
        })?;
        let limit = self.settings.max_resources_per_listener;
        if filter.resource_subscriptions.len() > limit || filter.task_ids.len() > limit {
            let message =
                format!("more than {limit} resources or tasks cannot be listened to at once");
            return Err(Problem::new(Kind::Invalid, message));
        }
        let mut resources = HashMap::new();
        let mut agreed = Vec::new();
        for uri in std::mem::take(&mut filter.resource_subscriptions) {
            if let Some((server, own)) = self.subscribable(permit, call, &uri).await? {
                resources.insert((server, own), uri.clone().into_boxed_str());
                agreed.push(uri);
            }
        }
        filter.resource_subscriptions = agreed;
        filter.task_ids.retain(|id| self.tasks.is_callers(id, permit, call));
        let tasks = filter.task_ids.iter().map(|id| id.as_str().into()).collect();
        // Older clients say nothing of tasks: they hear of all of their session.
        let knows_tasks = call.client.revision == Revision::V2025_11_25;
        let session = call.session.as_ref().filter(|_| knows_tasks);
        let session = session.map(|session| session.id.clone());
        let view = View::of(permit.caller(), call);
        let digests = self.digests(&view).map_err(not_found)?;
        let (sender, heard) = mpsc::channel(NOTICES);
        let kinds = filter.kinds();
        let listener = Listener {
            view,
            caller: permit.caller().clone(),
            call: Box::new(call.clone()),
            owner: owner_of(permit, call),
            // In today's revision they belong to a call.
            hears_logs: call.client.revision.era() == Era::Legacy,
            kinds,
            digests,
            resources,
            tasks,
            session,
            sender,
        };
        let id = self.listeners.last.fetch_add(1, Ordering::Relaxed);
        let mut by_id = self.listeners.by_id.lock();
        if by_id.len() >= self.settings.max_listeners {
            let limit = self.settings.max_listeners;
            let message = format!(
                "{limit} clients listen already, which is the limit pipeline.max_listeners"
            );
            return Err(Problem::new(Kind::Limited, message).with_retry_after(60));
        }
        by_id.insert(id, listener);
        drop(by_id);
        self.listeners.changed.notify_one();
        let listeners = self.listeners.clone();
        Ok(Body::Listening(Listening { id, listeners, agreed: filter, heard }))
    }

    /// Whose a resource is, where its caller may read it and its server tells of changes.
    async fn subscribable(
        &self,
        permit: &Permit,
        call: &Call,
        uri: &str,
    ) -> Result<Option<(ServerId, Box<str>)>, Problem> {
        let caller = permit.caller();
        let (view, veil) = (View::of(caller, call), self.access.veil(caller, call));
        let Ok(target) = self.catalog.find_resource(&view, &veil, uri).await else {
            return Ok(None);
        };
        let is_allowed = self.access.authorize(caller.clone(), &target, call).is_ok();
        let Target::Item { server, item, .. } = target else { return Ok(None) };
        let instance = self.registry.spokesman(&server);
        // Older servers take subscriptions that they do not announce.
        let tells = self.upstream.peer(&instance.id).is_some_and(|peer| {
            peer.capabilities.subscribe || (peer.era == Era::Legacy && peer.capabilities.resources)
        });
        Ok((is_allowed && tells).then(|| (server.id, item.name)))
    }

    /// Carries word of servers, and of changed lists, to those who listen.
    pub(super) async fn relay_news(&self, stop: CancellationToken) {
        let mut news = self.upstream.news();
        let mut changes = self.catalog.changes();
        let mut policies = self.access.policy_changes();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                told = news.recv() => match told {
                    Ok(told) => self.pass_on(&told),
                    // What was missed may have been anything.
                    Err(RecvError::Lagged(_)) => self.suspect_all(),
                    Err(RecvError::Closed) => break,
                },
                Ok(()) = changes.changed() => {
                    tokio::time::sleep(GATHER).await;
                    changes.mark_unchanged();
                    self.tell_of_lists();
                    self.watch_servers();
                }
                Ok(()) = policies.changed() => {
                    self.forget_denied();
                    self.tell_of_lists();
                    self.watch_servers();
                }
                () = self.listeners.changed.notified() => self.watch_servers(),
            }
        }
        // Whoever still listens hears that it is over.
        self.listeners.by_id.lock().clear();
    }

    fn pass_on(&self, news: &News) {
        let directory = self.registry.directory();
        let is_its =
            |server: &&Arc<Server>| server.instances.iter().any(|it| it.id == news.instance);
        let Some(server) = directory.all().find(is_its) else { return };
        match news.notice.tells() {
            Tells::ListChanged(kind) => {
                self.traffic.forget(server.id);
                self.catalog.changed(&server.id, *kind, news.owner.as_deref());
            }
            Tells::Updated { uri } => {
                self.traffic.forget(server.id);
                let key = (server.id, uri.clone());
                self.tell(|listener| {
                    let shown = listener.resources.get(&key)?;
                    Some(vec![Notice::updated(shown)])
                });
            }
            Tells::Message { .. } => self.tell(|listener| {
                let is_its = listener.hears_logs && news.owner.as_ref() == Some(&listener.owner);
                is_its.then(|| vec![news.notice.clone()])
            }),
            _ => {}
        }
    }

    /// Tells of a task how far it has come: the task as JSON.
    pub(super) fn tell_of_task(&self, id: &str, session: Option<&SessionId>, task: &str) {
        self.tell(|listener| {
            let is_its = session.is_some() && listener.session.as_ref() == session;
            (is_its || listener.tasks.contains(id)).then(|| vec![Notice::task(task)])
        });
    }

    fn suspect_all(&self) {
        for server in self.registry.directory().all() {
            if !self.upstream.is_asleep(self.registry.spokesman(server)) {
                self.catalog.suspect(&server.id);
            }
        }
    }

    /// What tells one state of the lists that a client sees from another, by kind.
    fn digests(&self, view: &View) -> Result<[u64; 4], catalog::Error> {
        let policies = self.access.policies_digest(view.sight.organization);
        Ok(self.catalog.digests(view)?.map(|digest| digest.wrapping_add(policies)))
    }

    /// Lets nobody hear any more of resources that they may not read any more.
    fn forget_denied(&self) {
        let directory = self.registry.directory();
        for listener in self.listeners.by_id.lock().values_mut() {
            let Listener { resources, caller, call, .. } = listener;
            resources.retain(|(id, uri), _| {
                let Some(server) = directory.by_id(id) else {
                    return false;
                };
                let item = Item::named(ItemKind::Resource, uri.clone());
                let permission = Permission::ResourcesRead;
                let target = Target::Item { server: server.clone(), item, permission };
                self.access.authorize(caller.clone(), &target, call).is_ok()
            });
        }
    }

    /// Tells who listens which lists changed.
    fn tell_of_lists(&self) {
        self.tell(|listener| {
            let now = self.digests(&listener.view).ok()?;
            let before = std::mem::replace(&mut listener.digests, now);
            let differs = |kind: ItemKind| now[kind as usize] != before[kind as usize];
            let has_changed = |kind: &&ItemKind| match kind {
                // Templates are told with resources.
                ItemKind::Resource => differs(ItemKind::Resource) || differs(ItemKind::Template),
                kind => differs(**kind),
            };
            let changed = listener.kinds.iter().filter(has_changed);
            Some(changed.map(|kind| Notice::list_changed(*kind)).collect())
        });
    }

    /// Tells each listener what concerns it. Who does not keep up listens no more, nor who may not
    /// do any more what they could.
    fn tell(&self, mut concerns: impl FnMut(&mut Listener) -> Option<Vec<Notice>>) {
        self.listeners.by_id.lock().retain(|_, listener| {
            // What they may hear of was settled when they began to listen.
            if !self.access.is_still(listener.caller.principal()) {
                return false;
            }
            let notices = concerns(listener).unwrap_or_default();
            notices.into_iter().all(|notice| listener.sender.try_send(notice.into()).is_ok())
        });
    }

    /// Asks servers to tell what somebody wants to hear of, and no more.
    fn watch_servers(&self) {
        let directory = self.registry.directory();
        let mut wanted: HashMap<InstanceId, (Wanted, ByOwner)> = HashMap::new();
        let by_id = self.listeners.by_id.lock();
        for listener in by_id.values() {
            let servers = directory.in_scope(&listener.view.sight, &listener.view.scope);
            if !listener.kinds.is_empty() {
                for server in servers.unwrap_or_default() {
                    wanted.entry(self.registry.spokesman(&server).id).or_default().0.lists = true;
                }
            }
            for (server, uri) in listener.resources.keys() {
                let Some(server) = directory.by_id(server) else {
                    continue;
                };
                let (all, by_owner) = wanted.entry(self.registry.spokesman(server).id).or_default();
                all.resources.insert(uri.clone());
                by_owner.entry(listener.owner.clone()).or_default().insert(uri.clone());
            }
        }
        drop(by_id);
        for server in directory.all() {
            for instance in &server.instances {
                let (wanted, by_owner) = wanted.remove(&instance.id).unwrap_or_default();
                self.upstream.watch(instance, &wanted, by_owner);
            }
        }
    }
}
