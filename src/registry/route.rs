//! Routes: where HTTP requests go that are no calls of MCP.

use std::sync::Arc;

use crate::{
    access::Caller,
    domain::{
        HttpRoute, HttpRouteForm, Misfit, OrganizationId, RouteId, Server, Sight, Sought,
        Timestamp, behind,
    },
    registry::{Directory, Error, Registry, Settings},
    store::Draft,
};

/// Whose the routes of the settings file are: nobody's, and everybody's.
const NOBODY: OrganizationId = OrganizationId::fixed(0);

/// Under which routes lie beside where they are mounted.
const PROXY: &str = "/proxy/";

/// Every route, at one moment.
#[derive(Debug, Default)]
pub(super) struct Routes {
    all: Vec<Arc<HttpRoute>>,
    is_mounted: bool,
}

/// The rule for a request, and the server it goes to.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    /// Whose rule.
    pub(crate) route: Arc<HttpRoute>,
    /// Which of its rules.
    pub(crate) rule: usize,
    /// Where requests go.
    pub(crate) server: Arc<Server>,
}

impl Routes {
    pub(super) fn new(of_file: &[Arc<HttpRoute>], stored: Vec<HttpRoute>) -> Self {
        // Those of an organization before those of all.
        let mut all: Vec<Arc<HttpRoute>> = stored.into_iter().map(Arc::new).collect();
        all.extend(of_file.iter().cloned());
        let is_mounted = all.iter().any(|route| route.mount.is_some());
        Self { all, is_mounted }
    }

    fn of(&self, organization: OrganizationId) -> impl Iterator<Item = &Arc<HttpRoute>> {
        let is_its = move |of: OrganizationId| of == organization || of == NOBODY;
        self.all.iter().filter(move |route| is_its(route.organization))
    }
}

impl Directory {
    /// Whether somebody's route may begin at a path.
    pub(crate) fn is_routed(&self, path: &str) -> bool {
        let is_mount = |route: &Arc<HttpRoute>| {
            route.mount.as_deref().is_some_and(|mount| behind(mount, path).is_some())
        };
        path.starts_with(PROXY) || (self.routes.is_mounted && self.routes.all.iter().any(is_mount))
    }

    /// The route that begins at a path, and what stands behind its beginning: the one whose
    /// beginning is the longest.
    pub(crate) fn route_at<'a>(
        &'a self,
        sight: &Sight,
        path: &'a str,
    ) -> Option<(&'a Arc<HttpRoute>, &'a str)> {
        let of = || self.routes.of(sight.organization).filter(|route| route.is_active);
        if let Some(rest) = path.strip_prefix(PROXY) {
            let name = rest.split('/').next()?;
            let route = of().find(|route| route.name.as_str() == name)?;
            return Some((route, &rest[name.len()..]));
        }
        let mounted = |route: &'a Arc<HttpRoute>| {
            let mount = route.mount.as_deref()?;
            Some((mount.len(), (route, behind(mount, path)?)))
        };
        let found = of().filter_map(mounted).max_by_key(|(length, _)| *length);
        found.map(|(_, found)| found)
    }

    /// The rule for a request, where there is one whose server takes calls and lies in somebody's
    /// sight.
    pub(crate) fn lane(
        &self,
        sight: &Sight,
        route: &Arc<HttpRoute>,
        sought: &Sought<'_>,
    ) -> Option<Lane> {
        let rule = route.rule(sought)?;
        let server = self.find(sight, route.rules[rule].server.as_str())?;
        let server = self.takes_calls(server).then(|| server.clone())?;
        Some(Lane { route: route.clone(), rule, server })
    }
}

impl Settings {
    /// The routes of the settings file.
    pub(super) fn routes_of_file(&self) -> Result<Vec<Arc<HttpRoute>>, Misfit> {
        let mut all: Vec<Arc<HttpRoute>> = Vec::new();
        for (index, form) in self.routes.iter().enumerate() {
            let within = |wrong: Misfit| wrong.within(&format!("/{index}"));
            let id = RouteId::named(form.name.as_deref().unwrap_or_default());
            let route = form.of(NOBODY, id, Timestamp::from_ms(0)).map_err(within)?;
            let others = all.iter().map(|other| &**other);
            refuse_taken(&route, others)
                .map_err(|(at, _)| within(Misfit::new(at, "another route of the file has it")))?;
            all.push(Arc::new(route));
        }
        if all.len() > self.max_routes {
            let reason = format!("there are more than {}", self.max_routes);
            return Err(Misfit::new("/", reason));
        }
        Ok(all)
    }

    /// What is wrong with the routes of the settings file.
    pub(crate) fn check_routes(&self) -> Result<(), Misfit> {
        self.routes_of_file().map(drop)
    }
}

/// Whether a route stands in the store, where it can be changed, and not in the settings file.
pub(crate) fn is_stored(route: &HttpRoute) -> bool {
    route.organization != NOBODY
}

impl Registry {
    /// The routes of an organization, those of the settings file among them.
    pub(crate) fn routes(&self, caller: &Caller) -> Vec<Arc<HttpRoute>> {
        let directory = self.directory();
        let mut all: Vec<_> =
            directory.routes.of(caller.principal().organization).cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One of them, by id or name.
    pub(crate) fn route(&self, caller: &Caller, id: &str) -> Result<Arc<HttpRoute>, Error> {
        let named = id.strip_prefix(HttpRoute::FILE_PREFIX);
        let all = self.routes(caller);
        let is_meant = |route: &&Arc<HttpRoute>| match named {
            Some(name) => !is_stored(route) && route.name.as_str() == name,
            None => route.id.to_string() == id || route.name.as_str() == id,
        };
        let found = all.iter().find(is_meant).cloned();
        found.ok_or_else(|| Error::NoSuchRoute(id.chars().take(80).collect()))
    }

    /// Makes a route. Requests go its way once this returns.
    pub(crate) async fn create_route(
        &self,
        caller: &Caller,
        form: HttpRouteForm,
    ) -> Result<Arc<HttpRoute>, Error> {
        let organization = caller.principal().organization;
        let route = form.of(organization, RouteId::fresh(), self.0.clock.now())?;
        self.check_route(caller, &route)?;
        let (of_file, most) = (self.0.routes_of_file.clone(), self.0.settings.max_routes);
        let id = route.id;
        let actor = caller.actor();
        let write = self.0.store.write(&actor, move |change| {
            let all = routes_of(change, organization)?;
            if all.len() >= most {
                return Err(Error::TooManyRoutes(most));
            }
            let others = all.iter().chain(of_file.iter().map(|route| &**route));
            refuse_taken(&route, others).map_err(|(_, what)| Error::RouteTaken(what))?;
            Ok(change.put_route(&route)?)
        });
        write.await?;
        self.settle().await?;
        self.route(caller, &id.to_string())
    }

    /// Changes a route: what the form does not say stays as it is.
    pub(crate) async fn change_route(
        &self,
        caller: &Caller,
        id: &str,
        form: HttpRouteForm,
    ) -> Result<Arc<HttpRoute>, Error> {
        let known = self.stored_route(caller, id)?;
        self.check_route(caller, &form.over(HttpRoute::clone(&known))?)?;
        let (of_file, id) = (self.0.routes_of_file.clone(), known.id);
        let actor = caller.actor();
        let write = self.0.store.write(&actor, move |change| {
            let all = routes_of(change, known.organization)?;
            let before = all.iter().find(|other| other.id == id).cloned();
            let before = before.ok_or_else(|| Error::NoSuchRoute(id.to_string()))?;
            let route = HttpRoute { updated_at: change.now(), ..form.over(before)? };
            let others = all.iter().filter(|other| other.id != id);
            let others = others.chain(of_file.iter().map(|route| &**route));
            refuse_taken(&route, others).map_err(|(_, what)| Error::RouteTaken(what))?;
            Ok::<_, Error>(change.put_route(&route)?)
        });
        write.await?;
        self.settle().await?;
        self.route(caller, &id.to_string())
    }

    /// Removes a route.
    pub(crate) async fn remove_route(&self, caller: &Caller, id: &str) -> Result<RouteId, Error> {
        let id = self.stored_route(caller, id)?.id;
        let actor = caller.actor();
        let write = self.0.store.write(&actor, move |change| {
            let gone = change.remove_route(&id)?;
            gone.map(drop).ok_or_else(|| Error::NoSuchRoute(id.to_string()))
        });
        write.await?;
        self.settle().await?;
        Ok(id)
    }

    /// One that can be changed.
    fn stored_route(&self, caller: &Caller, id: &str) -> Result<Arc<HttpRoute>, Error> {
        let known = self.route(caller, id)?;
        if is_stored(&known) { Ok(known) } else { Err(Error::RouteOfFile(known.name.to_string())) }
    }

    /// Refuses rules that lead to no server, or change what goes to one that speaks MCP, whose
    /// messages are carried as they are.
    fn check_route(&self, caller: &Caller, route: &HttpRoute) -> Result<(), Misfit> {
        let (sight, directory) = (caller.principal().sight(), self.directory());
        for (index, rule) in route.rules.iter().enumerate() {
            let wrong =
                |at: &str, reason: String| Err(Misfit::new(format!("/rules/{index}/{at}"), reason));
            match directory.find(&sight, rule.server.as_str()) {
                None => {
                    return wrong(
                        "server",
                        format!("there is no server {:?}", rule.server.as_str()),
                    );
                }
                Some(server) if !server.is_plain() && !rule.changes_nothing() => {
                    let reason = format!(
                        "{} speaks MCP, which is carried as it is; only of servers with the \
                         transport plain anything is changed",
                        server.name
                    );
                    return wrong("request", reason);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn routes_of(change: &Draft<'_>, organization: OrganizationId) -> Result<Vec<HttpRoute>, Error> {
    let mut all = change.routes()?;
    all.retain(|route| route.organization == organization);
    Ok(all)
}

/// Refuses what another route has already: says where, and what.
fn refuse_taken<'a>(
    route: &HttpRoute,
    others: impl Iterator<Item = &'a HttpRoute>,
) -> Result<(), (&'static str, String)> {
    for other in others {
        if other.name == route.name {
            return Err(("/name", route.name.to_string()));
        }
        if let Some(mount) = route.mount.as_ref().filter(|_| other.mount == route.mount) {
            return Err(("/mount", mount.clone()));
        }
    }
    Ok(())
}
