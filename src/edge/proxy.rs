//! Routes: requests of HTTP that are no messages of MCP, and MCP at other paths.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Response, header};

use crate::{
    access::Credential,
    domain::{Clock, HttpRoute, Scope, Sought, plain_path},
    edge::{
        arrival::{Arrival, Inside},
        body::Reader,
        reply,
    },
    pipeline::{Body as Said, Reply},
    problem::{Kind, Problem},
    registry::Lane,
    wire::{
        Call, Client, Exchange, Revision,
        header::{REQUEST_ID, named_by_connection},
    },
};

/// What a gateway calls itself to those behind it.
const SELF: HeaderValue = HeaderValue::from_static("1.1 tollhouse");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Gateways that a request may have come through.
const HOPS: usize = 8;

/// Where a request on a route goes.
pub(super) enum Lead {
    /// To a server that speaks MCP: to its endpoint.
    Endpoint(Scope),
    /// To one that does not: by a rule, asked for this path.
    Lane(Box<(Lane, String)>),
}

/// The door for requests that come by a route.
#[derive(Clone)]
pub(super) struct Proxy {
    inside: Inside,
    reader: Arc<Reader>,
    clock: Arc<dyn Clock>,
}

impl Proxy {
    pub(super) const fn new(inside: Inside, reader: Arc<Reader>, clock: Arc<dyn Clock>) -> Self {
        Self { inside, reader, clock }
    }

    /// Where a request goes for whoever asks, where a route may begin at its path. What is not
    /// there, and what is not theirs, is told alike.
    pub(super) fn lead<B>(
        &self,
        credential: &Credential,
        request: &Request<B>,
    ) -> Result<Option<Lead>, Problem> {
        let directory = self.inside.pipeline.directory();
        let nothing = || Problem::new(Kind::NotFound, "there is nothing at this path");
        let Some(path) = plain_path(request.uri().path()) else {
            // It leads nowhere else either.
            let begins = directory.is_routed(request.uri().path());
            return if begins { Err(nothing()) } else { Ok(None) };
        };
        if !directory.is_routed(&path) {
            return Ok(None);
        }
        let sight = self.inside.pipeline.sight(credential)?;
        let (route, rest) = directory.route_at(&sight, &path).ok_or_else(nothing)?;
        let rest = if rest.is_empty() { "/" } else { rest };
        let (method, headers) = (request.method(), request.headers());
        let sought = Sought { host: host(request), path: rest, method, headers };
        let lane = directory.lane(&sight, route, &sought).ok_or_else(nothing)?;
        if lane.server.is_plain() {
            return Ok(Some(Lead::Lane(Box::new((lane, rest.to_owned())))));
        }
        // MCP has one path, wherever it is mounted.
        if rest != "/" {
            return Err(nothing());
        }
        Ok(Some(Lead::Endpoint(Scope::Server(lane.server.name.as_str().into()))))
    }

    /// Carries a request and gives what comes back.
    pub(super) async fn answer<B>(
        &self,
        arrival: Arrival,
        lane: (Lane, String),
        request: Request<B>,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let request_id = arrival.request_id.clone();
        let refuse =
            |problem: &Problem| reply::http_problem(problem, &request_id, self.clock.now());
        let (parts, body) = request.into_parts();
        // It is held until the request is answered, and its bytes count so long.
        let body = match self.reader.read(body).await {
            Ok(body) => body,
            Err((problem, status)) => {
                let mut response = refuse(&problem);
                *response.status_mut() = status;
                return response;
            }
        };
        let asked = (parts.method, parts.uri.query().map(str::to_owned));
        let (call, credential) = match call_of(arrival, lane, asked, body.bytes.clone()) {
            Ok(call) => call,
            Err(problem) => return refuse(&problem),
        };
        match self.inside.pipeline.handle(&call, &credential, None).await {
            Ok(Reply { body: Said::Exchanged(response), standings, .. }) => {
                let (head, body) = response.into_parts();
                let mut response = Response::from_parts(head, Body::new(body));
                reply::tell_limits(&standings, response.headers_mut());
                reply::wall_off(response)
            }
            Ok(_) => refuse(&Problem::new(Kind::Internal, "a request was answered like a call")),
            Err(problem) => refuse(&problem),
        }
    }
}

/// The host that a request names, without a port.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let said = request.uri().authority().map(http::uri::Authority::as_str);
    let said = said.or_else(|| request.headers().get(header::HOST)?.to_str().ok())?;
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match said.rsplit_once(':') {
        Some((host, port)) if is_port(port) => Some(host),
        _ => Some(said),
    }
}

/// The call that carries a request, once it is known where it goes.
fn call_of(
    arrival: Arrival,
    (lane, path): (Lane, String),
    (verb, query): (Verb, Option<String>),
    body: Bytes,
) -> Result<(Call, Credential), Problem> {
    let hops = arrival.headers.get_all(header::VIA).iter().filter_map(|it| it.to_str().ok());
    let hops = hops.flat_map(|via| via.split(',')).filter(|hop| hop.contains("tollhouse")).count();
    if hops >= HOPS {
        let message = format!("it came through {hops} gateways; a route leads in a circle");
        return Err(Problem::new(Kind::Invalid, message));
    }
    let mut headers = onward(&arrival.headers);
    headers.append(header::VIA, SELF);
    let said = [
        (FORWARDED_FOR, arrival.from.and_then(|from| from.to_string().parse().ok())),
        (FORWARDED_HOST, arrival.headers.get(header::HOST).cloned()),
        (REQUEST_ID, arrival.request_id.as_str().parse().ok()),
    ];
    headers.extend(said.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let Lane { route, rule, .. } = lane;
    let exchange = Exchange { route, rule, verb, path, query, headers, body };
    let client = Client {
        revision: Revision::NEWEST,
        name: None,
        via: arrival.via,
        capabilities: None,
        level: None,
    };
    let Arrival { request_id, scope, credential, from, began, .. } = arrival;
    let call = Call::new(request_id, scope, exchange.request(), client, began);
    let call = Call { exchange: Some(Arc::new(exchange)), from, ..call };
    Ok((call, credential))
}

/// The headers of a request that go on: not those of the connection, and not those by which its
/// sender is known here.
fn onward(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        let is_kept = *name == header::VIA
            || !(HttpRoute::is_framing(name)
                || HttpRoute::is_about_the_caller(name)
                || named.contains(name));
        if is_kept {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_here_is_nobody_elses_to_know() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer thk_live_x"),
            ("cookie", "__Host-x=1"),
            ("x-api-key", "k"),
            ("x-forwarded-for", "1.2.3.4"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("host", "gateway"),
            ("accept", "text/plain"),
            ("content-type", "text/csv"),
            ("via", "1.1 edge"),
        ] {
            headers.append(name, value.parse().expect("a value"));
        }

        let mut kept: Vec<_> = onward(&headers).keys().map(ToString::to_string).collect();
        kept.sort();

        assert_eq!(kept, ["accept", "content-type", "via"]);
    }

    #[test]
    fn a_host_is_read_without_its_port() {
        let host = |said: &str| {
            let request = Request::get("/x").header("host", said).body(()).expect("a request");
            super::host(&request).map(str::to_owned)
        };
        for (said, found) in [
            ("a.example:81", "a.example"),
            ("a.example", "a.example"),
            ("[::1]:81", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host(said).as_deref(), Some(found));
        }
    }
}
