//! The connections: one to each instance, made when it is first spoken to, made anew when its
//! definition changes.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use futures_util::future::join_all;
use parking_lot::RwLock;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    ChildView, Environment, Error, Peer, Settings,
    child::{Nursery, Program},
    error::Limit,
    http::{self, Http, client},
    stdio::{self, Stdio},
};
use crate::{
    domain::{Clock, Endpoint, Instance, InstanceId},
    wire::{Address, Answer, Request},
};

/// How many retired instances are remembered; an id is never used again.
const RETIRED: usize = 1_024;

/// All connections.
#[derive(Debug)]
pub(super) struct Pool {
    connections: RwLock<Connections>,
    http: http::Ground,
    stdio: stdio::Ground,
}

#[derive(Debug, Default)]
struct Connections {
    by_instance: HashMap<InstanceId, Arc<Connection>>,
    /// Those retired last. A call that was on its way to one must not start it again.
    retired: VecDeque<InstanceId>,
    is_closed: bool,
}

impl Connections {
    fn is_over(&self, instance: &InstanceId) -> bool {
        self.is_closed || self.retired.contains(instance)
    }

    fn take_out(&mut self, instance: &InstanceId) -> Option<Arc<Connection>> {
        self.retired.push_back(*instance);
        if self.retired.len() > RETIRED {
            self.retired.pop_front();
        }
        self.by_instance.remove(instance)
    }
}

/// The connection to one instance.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    places: Semaphore,
    limit: usize,
    way: Way,
}

/// How an instance is reached.
#[derive(Debug)]
enum Way {
    Http(Arc<Http>),
    Stdio(Arc<Stdio>),
}

impl Pool {
    pub(super) fn new(
        settings: Settings,
        warden: Option<PathBuf>,
        folder: PathBuf,
        environment: Environment,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let tasks = TaskTracker::new();
        let nursery = Arc::new(Nursery::new(&settings, warden, folder, environment));
        let client = client(&settings)?;
        let settings = Arc::new(settings);
        Ok(Self {
            connections: RwLock::default(),
            http: http::Ground { client, settings: Arc::clone(&settings), tasks: tasks.clone() },
            stdio: stdio::Ground { nursery, settings, clock, tasks },
        })
    }

    /// The connection to an instance.
    pub(super) fn connection(&self, instance: &Instance) -> Result<Arc<Connection>, Error> {
        let is_same = |found: &&Arc<Connection>| found.endpoint == instance.endpoint;
        if let Some(found) = self.connections.read().by_instance.get(&instance.id).filter(is_same) {
            return Ok(Arc::clone(found));
        }
        let mut connections = self.connections.write();
        if connections.is_over(&instance.id) {
            return Err(Error::Closed);
        }
        if let Some(found) = connections.by_instance.get(&instance.id).filter(is_same) {
            return Ok(Arc::clone(found));
        }
        let new = Arc::new(self.connect(instance));
        let old = connections.by_instance.insert(instance.id, Arc::clone(&new));
        drop(connections);
        if let Some(old) = old {
            self.http.tasks.spawn(async move { old.close().await });
        }
        Ok(new)
    }

    fn connect(&self, instance: &Instance) -> Connection {
        let way = match &instance.endpoint {
            Endpoint::Http { url, headers } => {
                Way::Http(Arc::new(Http::new(self.http.clone(), url, headers)))
            }
            Endpoint::Stdio { command, args, env, cwd } => {
                let program = Program {
                    command: command.clone(),
                    args: args.clone(),
                    env: env.clone(),
                    cwd: cwd.clone(),
                };
                Way::Stdio(Arc::new(Stdio::new(instance.id, program, self.stdio.clone())))
            }
        };
        let limit = self.http.settings.in_flight_per_instance.min(Semaphore::MAX_PERMITS);
        let endpoint = instance.endpoint.clone();
        Connection { endpoint, places: Semaphore::new(limit), limit, way }
    }

    /// The connection to an instance, if there is one.
    pub(super) fn known(&self, instance: &InstanceId) -> Option<Arc<Connection>> {
        self.connections.read().by_instance.get(instance).cloned()
    }

    pub(super) fn sleep_if_idle(&self) {
        for connection in self.connections.read().by_instance.values() {
            if let Way::Stdio(stdio) = &connection.way {
                stdio.sleep_if_idle();
            }
        }
    }

    /// Ends the connection to an instance.
    pub(super) async fn retire(&self, instance: &InstanceId) {
        let connection = self.connections.write().take_out(instance);
        if let Some(connection) = connection {
            connection.close().await;
        }
    }

    /// Ends all connections and everything they began.
    pub(super) async fn close(&self) {
        let connections: Vec<_> = {
            let mut connections = self.connections.write();
            connections.is_closed = true;
            connections.by_instance.drain().map(|(_, connection)| connection).collect()
        };
        join_all(connections.iter().map(|connection| connection.close())).await;
        self.http.tasks.close();
        self.http.tasks.wait().await;
    }
}

impl Connection {
    pub(super) async fn ask(
        &self,
        request: &Request,
        address: Address<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let busy = |_| Error::Busy { limit: self.limit };
        let _place = self.places.try_acquire().map_err(busy)?;
        let limit = Limit::until(deadline);
        let outcome = match &self.way {
            Way::Http(http) => http.ask(request, address, deadline).await,
            Way::Stdio(stdio) => stdio.ask(request, address.subject, deadline).await,
        };
        outcome.map_err(|error| error.by(deadline, limit))
    }

    pub(super) async fn describe(&self, deadline: Instant) -> Result<Arc<Peer>, Error> {
        let limit = Limit::until(deadline);
        let outcome = match &self.way {
            Way::Http(http) => http.describe(deadline).await,
            Way::Stdio(stdio) => stdio.describe(deadline).await,
        };
        outcome.map_err(|error| error.by(deadline, limit))
    }

    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        match &self.way {
            Way::Http(http) => http.peer(),
            Way::Stdio(stdio) => stdio.peer(),
        }
    }

    pub(super) fn child(&self) -> Option<ChildView> {
        match &self.way {
            Way::Http(_) => None,
            Way::Stdio(stdio) => Some(stdio.view()),
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        match &self.way {
            Way::Http(_) => false,
            Way::Stdio(stdio) => stdio.is_asleep(),
        }
    }

    async fn close(&self) {
        match &self.way {
            Way::Http(http) => http.close().await,
            Way::Stdio(stdio) => stdio.close().await,
        }
    }
}
