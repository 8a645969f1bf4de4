//! The response cache: what servers said before is said again, for as long as they or the operator
//! say that it holds. Resources, and what tools answer that only read.
//!
//! Caching as MCP has it: <https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/caching>

use std::{
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, future::Cache as Kept};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    access::Permit,
    domain::{CacheScope, Clock, Instance, Item, Server, ServerId, Target},
    traffic::Traffic,
    wire::{Answer, AsTask, Call, Method, Outcome, ResultType, canonical, meta},
};

/// How much is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Bytes of all answers that are kept.
    pub(crate) max_bytes: u64,
    /// Bytes of the largest answer that is kept.
    pub(crate) max_answer_bytes: usize,
    /// The longest that anything is kept, in seconds, whatever its server says.
    pub(crate) longest_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_answer_bytes: 1 << 20, longest_seconds: 86_400 }
    }
}

/// What is kept: the digest of everything that makes a difference.
type Key = [u8; 32];

/// An answer, since when it is kept, and for how long.
#[derive(Clone)]
struct Entry {
    answer: Answer,
    since: Instant,
    lasts: Duration,
}

/// Answers that are kept.
pub(super) struct Cache {
    settings: Settings,
    kept: Kept<Key, Arc<Entry>>,
    /// How often all that was kept of a server was given up.
    generations: RwLock<HashMap<ServerId, u64>>,
    clock: Arc<dyn Clock>,
}

struct Lasting;

impl Expiry<Key, Arc<Entry>> for Lasting {
    fn expire_after_create(&self, _: &Key, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.lasts)
    }
}

/// Leave to keep the answer to a call, and to give one that was kept.
pub(crate) struct Keeping<'a> {
    cache: &'a Cache,
    /// For this caller alone, and for everybody.
    own: Key,
    of_all: Key,
    /// How long the operator wants it kept; none leaves it to the server.
    seconds: Option<u32>,
    scope: Option<CacheScope>,
}

impl Cache {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let weigh = |_: &Key, entry: &Arc<Entry>| {
            u32::try_from(entry.answer.bytes().len() + size_of::<Entry>()).unwrap_or(u32::MAX)
        };
        let kept = Kept::builder()
            .max_capacity(settings.max_bytes)
            .weigher(weigh)
            .expire_after(Lasting)
            .build();
        Self { settings, kept, generations: RwLock::default(), clock }
    }

    fn keys(&self, server: &Server, whose: &str, asked: &str) -> [Key; 2] {
        let generation = self.generations.read().get(&server.id).copied().unwrap_or_default();
        let changed = server.updated_at.as_ms();
        [format!("of:{whose}"), "all".to_owned()].map(|whose| {
            let all = format!("{}\0{generation}\0{changed}\0{whose}\0{asked}", server.id);
            openssl::sha::sha256(all.as_bytes())
        })
    }
}

impl Keeping<'_> {
    /// An answer that was kept and still holds, or what is asked for now. Whoever asks the same
    /// meanwhile waits for that, and for as long as it is theirs too, asks no more. None where
    /// nothing is kept; then whoever was not the one to ask has to.
    pub(crate) async fn recall<F>(&self, ask: F) -> Option<Answer>
    where
        F: Future<Output = Option<Answer>>,
    {
        if let Some(entry) = self.cache.kept.get(&self.of_all).await {
            return Some(self.aged(&entry));
        }
        let mut is_for_all = false;
        let asking = async {
            let (entry, scope) = self.entry(ask.await?)?;
            is_for_all = scope == CacheScope::Public;
            Some(Arc::new(entry))
        };
        let entry = self.cache.kept.optionally_get_with(self.own, asking).await?;
        if is_for_all {
            self.cache.kept.insert(self.of_all, entry.clone()).await;
        }
        Some(self.aged(&entry))
    }

    /// What is to be kept of an answer, if anything, and for whom.
    fn entry(&self, answer: Answer) -> Option<(Entry, CacheScope)> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Said {
            ttl_ms: Option<f64>,
            cache_scope: Option<CacheScope>,
        }
        let is_result = matches!(
            answer.outcome(),
            Outcome::Result { r#type: ResultType::Complete, is_error: false }
        );
        let settings = &self.cache.settings;
        if !is_result || answer.bytes().len() > settings.max_answer_bytes {
            return None;
        }
        let said = answer.result().and_then(|raw| serde_json::from_str(raw.get()).ok());
        let said: Said = said.unwrap_or_default();
        let longest = Duration::from_secs(settings.longest_seconds.into());
        let lasts = match self.seconds {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None => Duration::try_from_secs_f64(said.ttl_ms.unwrap_or_default() / 1_000.0).ok()?,
        };
        let lasts = lasts.min(longest);
        let scope = self.scope.or(said.cache_scope).unwrap_or_default();
        let since = self.cache.clock.tick();
        (!lasts.is_zero()).then_some((Entry { answer, since, lasts }, scope))
    }

    fn aged(&self, entry: &Entry) -> Answer {
        let age = self.cache.clock.tick().saturating_duration_since(entry.since);
        entry.answer.aged(age)
    }
}

impl Traffic {
    /// Leave to keep the answer to a call: where the same question has the same answer, as far as
    /// its server or the operator says.
    pub(crate) fn keeping(
        &self,
        permit: &Permit,
        target: &Target,
        call: &Call,
    ) -> Option<Keeping<'_>> {
        let Target::Item { server, item, .. } = target else { return None };
        let seconds = match call.method() {
            Method::ResourcesRead => server.cache.resources_seconds,
            Method::ToolsCall if item.annotations.is_read_only() => {
                Some(server.cache.tools_seconds?)
            }
            _ => return None,
        };
        if seconds == Some(0) || call.as_task == AsTask::Yes || call.request.state().is_some() {
            return None;
        }
        // Whoever may be told by some instances only shall not hear what another said.
        if permit.is_bound() {
            return None;
        }
        // Who takes their account there back shall not be shown what it opened.
        if server.instances.iter().any(Instance::is_personal) {
            return None;
        }
        let cache = &self.0.cache;
        let whose = permit.caller().principal().kind.to_string();
        let [own, of_all] = cache.keys(server, &whose, &asked(item, call)?);
        Some(Keeping { cache, own, of_all, seconds, scope: server.cache.scope })
    }

    /// Gives up all that was kept of a server, which says that it is another now.
    pub(crate) fn forget(&self, server: ServerId) {
        *self.0.cache.generations.write().entry(server).or_default() += 1;
    }

    /// Something is being changed at a server: what was kept of it is given up when this is over.
    pub(crate) fn changing(&self, server: ServerId) -> Changing {
        Changing { traffic: self.clone(), server }
    }
}

/// Something that is being changed at a server.
pub(crate) struct Changing {
    traffic: Traffic,
    server: ServerId,
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.traffic.forget(self.server);
    }
}

/// What is asked, in one form; none where something is said beside it that could make a difference.
fn asked(item: &Item, call: &Call) -> Option<String> {
    let said: HashMap<String, &RawValue> = call.request.param("_meta").unwrap_or_default();
    if !said.keys().all(|member| meta::is_of_the_envelope(member)) {
        return None;
    }
    let params = canonical(&call.request.params(), &["_meta", "name", "uri"])?;
    Some(format!("{}\0{}\0{params}", call.method(), item.name))
}
