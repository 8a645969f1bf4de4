//! Health: how instances were found to be, as the calls and probes that reach them tell it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::gauge::{Check, Gauge, InFlight, Outcome, Turn};
use crate::{
    domain::{Health, Instance, InstanceId, Secret, Server, State, is_hidden},
    registry::{Circuit, Directory, Registry, instance::is_program},
    upstream::{Ask, Exit, Run},
    wire::{Address, Era, Method, Request},
};

/// How often is looked whether something is to be looked at.
const TRY: Duration = Duration::from_millis(500);

/// Bytes that are kept of what a check writes.
const CHECK_BYTES: usize = 4_096;

/// How instances are looked at that nobody calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether they are looked at at all.
    pub(crate) enabled: bool,
    /// How often each is looked at, in seconds.
    pub(crate) interval_seconds: u32,
    /// How long it may take to answer, in seconds.
    pub(crate) timeout_seconds: u32,
    /// How many are looked at at the same time.
    pub(crate) at_once: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, interval_seconds: 30, timeout_seconds: 10, at_once: 10 }
    }
}

/// A gauge for each instance there is.
#[derive(Debug, Default)]
pub(super) struct Book(RwLock<HashMap<InstanceId, Arc<Gauge>>>);

/// Which instances are being looked at, and which wait for it.
#[derive(Default)]
struct Round<'a> {
    /// Of each its server and its place among that server's instances.
    waiting: VecDeque<(Arc<Server>, usize)>,
    looking: FuturesUnordered<BoxFuture<'a, InstanceId>>,
    /// All of these.
    known: HashSet<InstanceId>,
}

impl Registry {
    /// What an instance has been through; none where it is not registered any more.
    pub(crate) fn gauge(&self, instance: &InstanceId) -> Option<Arc<Gauge>> {
        self.0.health.0.read().get(instance).cloned()
    }

    /// How instances are looked at that nobody calls.
    pub(crate) fn checks(&self) -> &Settings {
        &self.0.settings.health
    }

    /// A gauge of something that is not registered.
    pub(crate) fn blank_gauge(&self) -> Arc<Gauge> {
        Arc::new(Gauge::new(self.0.clock.tick()))
    }

    /// How a server was found to be: as the best of its instances.
    pub(crate) fn health(&self, server: &Server) -> Health {
        let found = server.instances.iter().filter_map(|it| Some(self.gauge(&it.id)?.health()));
        let rank = |health: &Health| match health {
            Health::Healthy => 0,
            Health::Unknown => 1,
            Health::Unhealthy { .. } => 2,
        };
        found.min_by_key(rank).unwrap_or_default()
    }

    /// The instance that speaks for its server, where one is enough: the first that can be called.
    pub(crate) fn spokesman<'a>(&self, server: &'a Server) -> &'a Instance {
        self.spokesman_but(server, &[])
    }

    /// The same, but none of these, as long as there are others.
    pub(crate) fn spokesman_but<'a>(&self, server: &'a Server, but: &[InstanceId]) -> &'a Instance {
        let now = self.0.clock.tick();
        let can_be_called = |it: &&Instance| {
            let gauge = self.gauge(&it.id);
            it.state == State::Active
                && gauge.is_none_or(|gauge| gauge.circuit(now) == Circuit::Closed)
        };
        let others = || server.instances.iter().filter(|it| !but.contains(&it.id));
        others().find(can_be_called).or_else(|| others().next()).unwrap_or(&server.instances[0])
    }

    /// Takes note of what came of a call.
    pub(crate) fn settle_call(
        &self,
        (server, instance): (&Server, &Instance),
        call: InFlight,
        outcome: Outcome<'_>,
    ) {
        let gauge = call.gauge();
        let is_try = call.count(matches!(outcome, Outcome::Failed(_)));
        self.note((server, instance), &gauge, outcome, is_try);
    }

    /// Takes note of how an instance was when it was asked for something else than a call.
    pub(crate) fn found(&self, server: &Server, instance: &Instance, outcome: Outcome<'_>) {
        if let Some(gauge) = self.gauge(&instance.id) {
            self.note((server, instance), &gauge, outcome, false);
        }
    }

    fn note(
        &self,
        (server, instance): (&Server, &Instance),
        gauge: &Gauge,
        outcome: Outcome<'_>,
        is_try: bool,
    ) {
        let moment = (self.0.clock.tick(), self.0.clock.now());
        let is_outlier = matches!(outcome, Outcome::Failed(_)) && self.is_outlier(server, gauge);
        let breaker = (&self.0.settings.breaker, is_outlier);
        let turn = gauge.note(outcome, is_try, moment, breaker);
        let (name, place) = (&server.name, instance.id);
        match (turn, outcome) {
            (Turn::None, _) => return,
            (Turn::Up, _) => tracing::info!(server = %name, instance = %place, "{name} answers"),
            (Turn::Down, Outcome::Failed(reason)) => {
                tracing::warn!(server = %name, instance = %place, reason, "{name} does not answer");
            }
            (Turn::Out, Outcome::Failed(reason)) => {
                tracing::debug!(server = %name, instance = %place, reason, "left alone for a while");
            }
            (Turn::Down | Turn::Out, Outcome::Answered(_)) => {}
        }
        // It may have been retired meanwhile, and what is told of it would stay.
        if self.directory().has(&server.id) {
            let is_healthy = |it: &&Instance| {
                self.gauge(&it.id).is_some_and(|it| it.health() == Health::Healthy)
            };
            let healthy = server.instances.iter().filter(is_healthy).count();
            self.0.metrics.healthy(&server.name, healthy);
        }
    }

    /// Whether an instance fails much more often than the others of its server, of which at least
    /// half would be left without it.
    fn is_outlier(&self, server: &Server, gauge: &Gauge) -> bool {
        let settings = &self.0.settings.breaker;
        let share = f64::from(settings.outlier_percent) / 100.0;
        if share == 0.0
            || gauge.calls() < settings.outlier_calls.into()
            || gauge.error_rate() < share
        {
            return false;
        }
        let all = server.instances.iter().filter_map(|it| self.gauge(&it.id));
        let others: Vec<_> = all.filter(|it| !std::ptr::eq(&raw const **it, gauge)).collect();
        let open = others.iter().filter(|it| it.is_closed());
        let rates: Vec<f64> = open.map(|it| it.error_rate()).collect();
        let count = f64::from(u32::try_from(rates.len()).unwrap_or(u32::MAX));
        let is_half_left = !rates.is_empty() && 2 * rates.len() >= server.instances.len();
        is_half_left && rates.iter().sum::<f64>() / count <= gauge.error_rate() / 2.0
    }

    /// Makes a gauge for every instance there is, and gives up those of others.
    pub(super) fn keep_gauges(&self, directory: &Directory) {
        let began = self.0.clock.tick();
        let mut book = self.0.health.0.write();
        let mut before = std::mem::take(&mut *book);
        for instance in directory.all().flat_map(|server| &server.instances) {
            let known = before.remove(&instance.id);
            let gauge = known.unwrap_or_else(|| Arc::new(Gauge::new(began)));
            book.insert(instance.id, gauge);
        }
    }

    /// Looks at every instance now and then, and at those that are left alone as soon as they may
    /// be tried, until `stop`. One that is slow to answer keeps no other waiting.
    pub(crate) async fn watch_over(&self, stop: CancellationToken) {
        let settings = &self.0.settings.health;
        if !settings.enabled {
            return stop.cancelled().await;
        }
        let mut round = Round::default();
        let mut tries = tokio::time::interval(TRY);
        tries.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(looked_at) = round.looking.next() => {
                    round.known.remove(&looked_at);
                }
                _ = tries.tick() => self.line_up(&mut round),
            }
            while round.looking.len() < settings.at_once.max(1)
                && let Some((server, at)) = round.waiting.pop_front()
            {
                round.looking.push(Box::pin(self.look_at(server, at)));
            }
        }
    }

    /// Lines up those that are due, and those that are to be tried, but none twice.
    fn line_up(&self, round: &mut Round<'_>) {
        let (directory, now) = (self.directory(), self.0.clock.tick());
        for server in directory.all().filter(|server| server.state == State::Active) {
            let interval = self.interval(server);
            for (at, instance) in server.instances.iter().enumerate() {
                let Some(gauge) = self.gauge(&instance.id) else { continue };
                let is_wanted = match gauge.circuit(now) {
                    // Asking a process would keep it awake; whether it lives is known anyway.
                    Circuit::Closed if is_program(instance) && !server.checks().is_program() => {
                        false
                    }
                    Circuit::Closed => interval.is_some_and(|it| gauge.is_due(now, it)),
                    Circuit::HalfOpen => true,
                    Circuit::Open(_) => false,
                };
                if is_wanted && Self::is_looked_at(instance) && round.known.insert(instance.id) {
                    round.waiting.push_back((server.clone(), at));
                }
            }
        }
    }

    /// How often the instances of a server are looked at; none for never.
    fn interval(&self, server: &Server) -> Option<Duration> {
        let seconds = server.checks().interval_seconds;
        let seconds = seconds.unwrap_or(self.0.settings.health.interval_seconds.max(1));
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    async fn look_at(&self, server: Arc<Server>, at: usize) -> InstanceId {
        let instance = &server.instances[at];
        let is_left_alone = self
            .gauge(&instance.id)
            .is_none_or(|gauge| matches!(gauge.circuit(self.0.clock.tick()), Circuit::Open(_)));
        if !is_left_alone {
            self.check(&server, instance).await;
        }
        instance.id
    }

    /// Where everybody has an account of their own, there is nobody to ask as.
    fn is_looked_at(instance: &Instance) -> bool {
        instance.state == State::Active && !instance.is_personal()
    }

    /// Looks at one instance: whether it answers what costs nothing to answer.
    pub(crate) async fn check(&self, server: &Server, instance: &Instance) -> Option<Check> {
        let (began, at) = (self.0.clock.tick(), self.0.clock.now());
        let gauge = self.gauge(&instance.id)?;
        // Who is left alone is tried by this as by a call, by one at a time.
        let is_try = gauge.circuit(began) == Circuit::HalfOpen;
        let held = if is_try { Some(gauge.enter(true)?) } else { None };
        let seconds = server.checks().timeout_seconds;
        let seconds = seconds.unwrap_or(self.0.settings.health.timeout_seconds).max(1);
        let limit = Duration::from_secs(seconds.into());
        let failure = if server.checks().is_program() {
            Box::pin(self.have_it_looked_at(server, instance, limit)).await.err()
        } else {
            self.ask_how_it_is(instance, limit).await.err()
        };
        let took = self.0.clock.tick().saturating_duration_since(began);
        let check = Check { at, took, failure: failure.map(Into::into) };
        gauge.remember(&check);
        let outcome = match &check.failure {
            None => Outcome::Answered(took),
            Some(reason) => Outcome::Failed(reason),
        };
        self.note((server, instance), &gauge, outcome, is_try);
        if let Some(held) = held {
            held.let_go();
        }
        Some(check)
    }

    /// Has the program of somebody's choice look at an instance.
    async fn have_it_looked_at(
        &self,
        server: &Server,
        instance: &Instance,
        patience: Duration,
    ) -> Result<(), String> {
        let (command, args) = server.checks().command.split_first().ok_or("it has no command")?;
        let told = [
            ("TOLLHOUSE_SERVER", server.name.to_string()),
            ("TOLLHOUSE_INSTANCE", instance.id.to_string()),
            ("TOLLHOUSE_ENDPOINT", instance.endpoint.location()),
        ];
        let env = told.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
        let (command, args) = (command.clone(), args.to_vec());
        let run = Run { command, args, env, patience, output_bytes: CHECK_BYTES };
        let ran = self.0.upstream.execute(run).await;
        let ran = ran.map_err(|error| format!("its check cannot be run: {error}"))?;
        match ran.exit {
            Some(Exit::Code(0)) => Ok(()),
            None => Err(format!("its check took longer than {} s", patience.as_secs())),
            Some(exit) => {
                let said = String::from_utf8_lossy(&ran.errors);
                let said = said.lines().rev().find(|line| !line.trim().is_empty());
                let is_plain = |letter: &char| !letter.is_control() && !is_hidden(*letter);
                let said = said.unwrap_or_default().trim().chars().filter(is_plain);
                let said: String = said.take(200).collect();
                Err(format!("its check {exit}{}{said}", if said.is_empty() { "" } else { ": " }))
            }
        }
    }

    async fn ask_how_it_is(&self, instance: &Instance, limit: Duration) -> Result<(), String> {
        let (upstream, deadline) = (&self.0.upstream, tokio::time::Instant::now() + limit);
        let said = |error: crate::upstream::Error| error.to_string();
        if instance.endpoint.is_plain() {
            return upstream.knock(instance, deadline).await.map_err(said);
        }
        let peer = upstream.describe(instance, None, deadline).await.map_err(said)?;
        // Today's revision knows no ping.
        let method = if peer.era == Era::Modern { Method::Discover } else { Method::Ping };
        let request = Request::make(&method, "{}");
        let ask = Ask::plain(&request, Address::default(), deadline);
        match upstream.ask(instance, ask).await {
            Ok(_) => Ok(()),
            Err(error) if !error.is_about_the_server() => Ok(()),
            Err(error) => Err(said(error)),
        }
    }
}
