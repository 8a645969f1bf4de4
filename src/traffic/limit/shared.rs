//! What several gateways count together, in Redis; and by themselves, while it does not answer.
//!
//! Redis is asked with every call that a limit counts, and answers within a deadline or is left
//! alone. Then each gateway counts by itself, and lets its share of each limit pass: the limit
//! divided by how many gateways there were. So at most twice a limit passes in the window in which
//! Redis fell silent, and in the one in which it came back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, Client, RedisResult, Script,
    aio::{ConnectionLike, MultiplexedConnection},
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    count::{Look, Quota, Tally},
    table::Taken,
};
use crate::domain::{Secret, exposed_option};

/// How often a gateway says that it is there, and looks whether Redis is.
pub(super) const ROUND: Duration = Duration::from_secs(1);
/// After how long a gateway that says nothing is none, in milliseconds.
const GONE_MS: u64 = 5_000;
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(2);

/// Where several gateways count together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The URL of a Redis, such as `redis://:password@10.0.0.5:6379/0`, or `rediss://…` over TLS;
    /// each gateway counts by itself where there is none.
    #[serde(with = "exposed_option")]
    pub(crate) url: Option<Secret>,
    /// How long a call waits for its answer, in milliseconds.
    pub(crate) timeout_ms: u32,
    /// Stands before its keys. Gateways with the same count together.
    pub(crate) prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: None, timeout_ms: 100, prefix: "tollhouse".into() }
    }
}

impl Settings {
    /// What is wrong with the URL.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.client().map(drop)
    }

    fn client(&self) -> Result<Option<Client>, String> {
        let client = self.url.as_ref().map(|url| Client::open(url.expose()));
        // What it says of it could hold the password.
        client.transpose().map_err(|error| match error.kind() {
            redis::ErrorKind::InvalidClientConfig => "it is no URL of a Redis".to_owned(),
            kind => format!("{kind:?}"),
        })
    }
}

/// A Redis in which several gateways count.
pub(super) struct Shared {
    client: Client,
    settings: Settings,
    /// Who says that it is there.
    name: String,
    /// The connection, while it answers.
    open: ArcSwapOption<MultiplexedConnection>,
    /// How many gateways there are, as far as was heard.
    nodes: AtomicU64,
    count: Script,
    attend: Script,
}

/// How the gateways count just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// Whether they count together.
    pub(crate) is_shared: bool,
    /// How many there are, as far as was heard.
    pub(crate) nodes: u64,
}

impl Shared {
    /// The Redis of the settings; none where they name none.
    pub(super) fn new(settings: &Settings, house: &str) -> Result<Option<Self>, String> {
        let Some(client) = settings.client()? else { return Ok(None) };
        Ok(Some(Self {
            client,
            settings: settings.clone(),
            name: format!("{house}:{}", std::process::id()),
            open: ArcSwapOption::empty(),
            nodes: AtomicU64::new(1),
            count: Script::new(include_str!("shared.lua")),
            attend: Script::new(ATTEND),
        }))
    }

    pub(super) fn sharing(&self) -> Sharing {
        Sharing { is_shared: self.open.load().is_some(), nodes: self.nodes.load(Relaxed) }
    }

    /// Counts a call where all count, if it may pass; none where that does not answer.
    pub(super) async fn take(&self, asked: &[(String, Quota)]) -> Option<Taken> {
        let held = self.open.load_full()?;
        let mut asking = self.count.prepare_invoke();
        for (key, quota) in asked {
            asking.key(format!("{{{}}}:limit:{key}", self.settings.prefix));
            let Quota { algorithm, limit, window_ms, burst } = quota;
            asking.arg(algorithm.as_str()).arg(*limit).arg(*window_ms).arg(*burst);
        }
        let mut connection = MultiplexedConnection::clone(&held);
        match asking.invoke_async::<Vec<u64>>(&mut connection).await {
            Ok(said) => read(&said, asked.len()),
            Err(error) => {
                self.falls_silent(&held, &error);
                None
            }
        }
    }

    /// The share of a limit that one gateway lets pass by itself.
    pub(super) fn share(&self, quota: Quota) -> Quota {
        let nodes = self.nodes.load(Relaxed).max(1);
        let of = |whole: u64| (whole / nodes).max(1);
        Quota { limit: of(quota.limit), burst: of(quota.burst), ..quota }
    }

    /// Says that this gateway is there, hears how many there are, and connects again.
    pub(super) async fn attend(&self) {
        let (held, is_new) = match self.open.load_full() {
            Some(held) => (held, false),
            None => match self.connect().await {
                Ok(connection) => (Arc::new(connection), true),
                Err(error) => {
                    tracing::debug!(%error, "Redis cannot be reached");
                    return;
                }
            },
        };
        let mut connection = MultiplexedConnection::clone(&held);
        match self.say(&mut connection, GONE_MS).await {
            Ok(nodes) => {
                self.nodes.store(nodes.max(1), Relaxed);
                if is_new {
                    self.open.store(Some(held));
                    tracing::info!(nodes, "calls are counted together with other gateways");
                }
            }
            Err(error) => self.falls_silent(&held, &error),
        }
    }

    /// Says that this gateway is there no more.
    pub(super) async fn leave(&self) {
        if let Some(held) = self.open.swap(None) {
            let mut connection = MultiplexedConnection::clone(&held);
            // Whoever does not hear it counts this one for a few seconds more.
            let _ = self.say(&mut connection, 0).await;
        }
    }

    async fn say(&self, connection: &mut impl ConnectionLike, stays_ms: u64) -> RedisResult<u64> {
        let mut asking = self.attend.prepare_invoke();
        asking.key(format!("{{{}}}:nodes", self.settings.prefix)).arg(&self.name).arg(stays_ms);
        asking.invoke_async(connection).await
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let timeout = Duration::from_millis(self.settings.timeout_ms.max(1).into());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(timeout));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Leaves Redis alone until the next round; others may have connected again meanwhile.
    fn falls_silent(&self, held: &Arc<MultiplexedConnection>, error: &redis::RedisError) {
        let before = self.open.compare_and_swap(held, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, held)) {
            let nodes = self.nodes.load(Relaxed);
            tracing::warn!(%error, nodes, "Redis does not answer: each gateway counts its share by itself");
        }
    }
}

/// Says that a gateway is there for so long, forgets those that said nothing, and counts the rest.
const ATTEND: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(ARGV[2]) > 0 then
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
else
    redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZCARD', KEYS[1])
";

fn read(said: &[u64], count: usize) -> Option<Taken> {
    let (passes, rest) = said.split_first()?;
    let looks: SmallVec<[Look; 4]> = rest
        .chunks_exact(3)
        .map(|look| Look {
            after: Tally::default(),
            wait_ms: look[0],
            remaining: look[1],
            reset_ms: look[2],
        })
        .collect();
    (looks.len() == count).then_some(Taken { passes: *passes == 1, looks })
}
