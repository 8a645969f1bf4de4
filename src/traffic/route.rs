//! Routes: from a target to the instances that may serve it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    access::Permit,
    domain::{Instance, Item, Server, Strategy, Target},
    registry::{InFlight, Outcome},
    traffic::{
        Error, Traffic,
        table::{NoSeat, Table, Tables, Tried},
    },
};

/// Where a call goes.
pub(crate) enum Route<'a> {
    /// The gateway answers it.
    Here(Option<&'a Item>),
    /// One of these instances does.
    There(Candidates<'a>),
}

/// The instances that may serve a call. Only [`Traffic::route`] names them.
pub(crate) struct Candidates<'a> {
    traffic: &'a Traffic,
    server: &'a Arc<Server>,
    item: &'a Item,
    table: Option<Arc<Table>>,
    /// The instances to which policies do not let it go.
    barred: Tried,
}

/// Which instances a call was at already.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// With those it must not be at.
    tried: Tried,
    count: u32,
}

impl Attempts {
    /// How many attempts there were.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }
}

/// An instance that was chosen for an attempt. The call is in flight to it until all that hold
/// this have let go of it, or its outcome is known.
#[derive(Clone)]
pub(crate) struct Pick(Arc<Picked>);

struct Picked {
    traffic: Traffic,
    table: Arc<Table>,
    at: usize,
    began: Instant,
    call: Mutex<Option<InFlight>>,
}

impl Pick {
    /// The instance.
    pub(crate) fn instance(&self) -> &Instance {
        &self.0.table.server.instances[self.0.at]
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        let now = self.0.traffic.0.clock.tick();
        self.settle(Outcome::Answered(now.saturating_duration_since(self.0.began)));
    }

    /// It did not, and why.
    pub(crate) fn failed(&self, reason: &str) {
        self.settle(Outcome::Failed(reason));
    }

    fn settle(&self, outcome: Outcome<'_>) {
        let Some(call) = self.0.call.lock().take() else { return };
        let whose = (&*self.0.table.server, self.instance());
        self.0.traffic.0.registry.settle_call(whose, call, outcome);
    }
}

impl<'a> Candidates<'a> {
    /// Whose instances they are.
    pub(crate) const fn server(&self) -> &'a Arc<Server> {
        self.server
    }

    /// The item, under the server's own name.
    pub(crate) const fn item(&self) -> &'a Item {
        self.item
    }

    /// Begins with no attempt.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts { tried: self.barred.clone(), count: 0 }
    }

    /// How many instances the call was not at yet.
    pub(crate) fn untried(&self, attempts: &Attempts) -> usize {
        let all = self.table.as_ref().map_or(0, |table| table.len());
        all.saturating_sub(attempts.tried.len())
    }

    /// The instance for the next attempt: one that was not tried yet, as long as there is one.
    /// Whoever must stay with one instance says who they are.
    pub(crate) fn next(&self, attempts: &mut Attempts, owner: Option<&str>) -> Result<Pick, Error> {
        let none = || {
            let server = self.server.name.clone();
            let is_free = self.barred.is_empty();
            if is_free { Error::NoInstance(server) } else { Error::NoneAllowed(server) }
        };
        let table = self.table.as_ref().ok_or_else(none)?;
        let settings = &self.traffic.0.settings;
        if attempts.count == 0 {
            table.budget.add(settings.retry_percent);
        }
        let now = self.traffic.0.clock.tick();
        let chosen = match table.choose(&attempts.tried, owner, now) {
            Err(NoSeat::Left) if attempts.tried.len() > self.barred.len() => {
                attempts.tried.clone_from(&self.barred);
                table.choose(&attempts.tried, owner, now)
            }
            chosen => chosen,
        };
        let (at, call) = chosen.map_err(|why| match why {
            NoSeat::Left => none(),
            NoSeat::Resting(at, wait) => Error::Resting {
                server: self.server.name.clone(),
                reason: table.reason(at).unwrap_or_else(|| "it does not answer".to_owned()),
                wait_seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
            },
        })?;
        attempts.tried.push(u16::try_from(at).unwrap_or(u16::MAX));
        attempts.count += 1;
        Ok(Pick(Arc::new(Picked {
            traffic: self.traffic.clone(),
            table: table.clone(),
            at,
            began: now,
            call: Mutex::new(Some(call)),
        })))
    }

    /// Whether a call that failed may be made again, as far as the server can bear it.
    pub(crate) fn may_retry(&self) -> bool {
        self.table.as_ref().is_some_and(|table| table.budget.take())
    }
}

impl Traffic {
    /// Where a call goes.
    pub(crate) fn route<'a>(&'a self, permit: &Permit, target: &'a Target) -> Route<'a> {
        match target {
            Target::House { item, .. } => Route::Here(item.as_ref()),
            Target::Item { server, item, .. } => {
                let table = self.table(server);
                let barred = match &table {
                    Some(table) if permit.is_bound() => table.where_not(|it| permit.reaches(it)),
                    _ => Tried::new(),
                };
                Route::There(Candidates { traffic: self, server, item, table, barred })
            }
        }
    }

    /// How calls are shared among the instances of a server.
    pub(crate) fn strategy_of(&self, server: &Server) -> Strategy {
        server.balance.strategy.unwrap_or_else(|| self.strategy())
    }

    /// How calls are shared among the instances of servers that say nothing of it.
    pub(crate) fn strategy(&self) -> Strategy {
        self.0.settings.strategy
    }

    fn table(&self, server: &Server) -> Option<Arc<Table>> {
        let version = Some(self.0.registry.version());
        let tables = self.0.tables.load();
        if tables.version == version {
            return tables.find(&server.id).cloned();
        }
        let _making = self.0.making.lock();
        let before = self.0.tables.load();
        if before.version != version {
            let made = Tables::of(&self.0.registry, self.0.settings.strategy, &before);
            self.0.tables.store(Arc::new(made));
        }
        self.0.tables.load().find(&server.id).cloned()
    }
}

/// The shortest time that an attempt gets where others can follow.
pub(crate) const SHORTEST_ATTEMPT: Duration = Duration::from_millis(100);
