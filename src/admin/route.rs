//! Routes: what is at which path, and what one needs to get there.
//!
//! A route is made together with its need, and there is no other way to make one. Whoever lacks it
//! is sent away before anything is read of what they bring.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::{Query, Request, State},
    handler::Handler,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Caller, Credential},
    admin::{Office, desk::Failure},
    domain::Permission,
    edge::Peer,
    problem::{Kind, Problem},
};

/// What somebody needs to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: what is said there says nothing of what is inside.
    Nothing,
    /// To be known. What else they need depends on what they name, and is asked there.
    Known,
    /// This permission.
    May(Permission),
}

/// A route of the office.
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    need: Need,
    answers: MethodRouter<Office>,
}

/// A route as people see it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Declared {
    method: &'static str,
    path: &'static str,
    /// `public`, `known`, or the permission.
    needs: &'static str,
}

macro_rules! methods {
    ($($name:ident $filter:ident $word:literal;)*) => {$(
        /// A route of this method.
        pub(super) fn $name<H: Handler<T, Office>, T: 'static>(
            path: &'static str,
            need: Need,
            handler: H,
        ) -> Route {
            let answers = on(MethodFilter::$filter, handler);
            Route { method: $word, path, need, answers }
        }
    )*};
}

methods! {
    get GET "GET";
    post POST "POST";
    put PUT "PUT";
    patch PATCH "PATCH";
    delete DELETE "DELETE";
}

/// The routes, each behind its need.
pub(super) fn hang(routes: Vec<Route>, office: &Office) -> Router<Office> {
    let mut all = Router::new();
    for route in routes {
        let declared = route.declared();
        let Route { path, need, answers, .. } = route;
        let door = (office.access.clone(), need, declared);
        let guard = middleware::from_fn_with_state(door, admit);
        all = all.route(path, answers.route_layer(guard));
    }
    all
}

/// Every route with what it needs.
pub(super) fn declared() -> &'static [Declared] {
    static ALL: LazyLock<Vec<Declared>> =
        LazyLock::new(|| super::routes().iter().map(Route::declared).collect());
    &ALL
}

impl Route {
    fn declared(&self) -> Declared {
        let needs = match self.need {
            Need::Nothing => "public",
            Need::Known => "known",
            Need::May(permission) => permission.as_str(),
        };
        Declared { method: self.method, path: self.path, needs }
    }
}

/// Where somebody who stands above organizations wants to work.
#[derive(Debug, Deserialize)]
struct Place {
    #[serde(default)]
    organization: Option<String>,
}

async fn admit(
    State((access, need, route)): State<(Access, Need, Declared)>,
    mut request: Request,
    next: Next,
) -> Response {
    if need != Need::Nothing {
        match caller(&access, (need, route), &request) {
            Ok(caller) => drop(request.extensions_mut().insert(caller)),
            Err(failure) => return failure.into_response(),
        }
    }
    next.run(request).await
}

fn caller(
    access: &Access,
    (need, route): (Need, Declared),
    request: &Request,
) -> Result<Caller, Failure> {
    let credential = request.extensions().get::<Credential>().unwrap_or(&Credential::None);
    let address = request.extensions().get::<Peer>().and_then(|peer| peer.address);
    let caller = access.authenticate(credential)?.at(address.map(|address| address.ip()));
    if let Need::May(permission) = need
        && let Err(denied) = caller.may(permission)
    {
        access.note_refusal(&caller, &format!("{} {}", route.method, route.path), permission);
        return Err(denied.into());
    }
    let Query(place) = Query::<Place>::try_from_uri(request.uri())
        .map_err(|error| Problem::new(Kind::Invalid, error.body_text()))?;
    match place.organization {
        Some(name) => Ok(access.standing_in(caller, &name)?),
        None => Ok(caller),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::HttpRoute;

    #[test]
    fn no_route_of_others_can_stand_in_the_way_of_the_office() {
        for route in declared() {
            assert!(HttpRoute::is_taken(route.path), "{}", route.path);
        }
        for path in ["/mcp", "/mcp/team", "/sse", "/ws", "/rpc", "/messages", "/proxy/x"] {
            assert!(HttpRoute::is_taken(path), "{path}");
        }
        assert!(!HttpRoute::is_taken("/shop/mcp"));
    }
}
