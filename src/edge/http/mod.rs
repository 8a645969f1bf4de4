//! Streamable HTTP: both eras on one endpoint.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports>

#[cfg(test)]
mod tests;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderValue, Method as Verb, Request, Response, StatusCode, Uri,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, WWW_AUTHENTICATE,
    },
};
use tower::ServiceExt;

use crate::{
    access::{Credential, Resource, Site},
    domain::{Clock, RequestId, Scope},
    edge::{
        Guard, Peer, Settings,
        arrival::{Arrival, Inside},
        body::{Reader, Unread, Whole},
        channel::Way,
        channels::Channels,
        facade::Rest,
        legacy::Legacy,
        modern,
        plain::Plain,
        proxies::Proxies,
        proxy::{Lead, Proxy},
        reply::{self, Refusal},
        rpc::{self, Addressing, Rpc},
        session::Sessions,
    },
    problem::{Kind, Problem},
    wire::{Malformed, Message, RawId, header},
};

/// The front door: bytes of HTTP in, bytes of HTTP out.
#[derive(Clone)]
pub(crate) struct Front(Arc<Inner>);

struct Inner {
    reader: Arc<Reader>,
    guard: Guard,
    proxies: Proxies,
    site: Site,
    inside: Inside,
    channels: Channels,
    rpc: Rpc,
    proxy: Proxy,
    clock: Arc<dyn Clock>,
    office: axum::Router,
}

impl Front {
    /// A door to the path, and to the office for everything that is not MCP.
    pub(crate) fn new(
        settings: &Settings,
        (guard, site): (Guard, Site),
        sessions: Sessions,
        office: axum::Router,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let reader = Arc::new(Reader::new(settings.body_bytes, settings.bodies_bytes));
        let inside = Inside::new(sessions.pipeline().clone(), sessions);
        let channels = Channels::new(inside.clone(), reader.clone(), settings);
        let (rpc_settings, rpc_clock) = (settings.rpc.clone(), clock.clone());
        let rpc = Rpc { inside: inside.clone(), settings: rpc_settings, clock: rpc_clock };
        let proxies = Proxies::new(&settings.trusted_proxies);
        let proxy = Proxy::new(inside.clone(), reader.clone(), clock.clone());
        Self(Arc::new(Inner {
            reader,
            guard,
            proxies,
            site,
            inside,
            channels,
            rpc,
            proxy,
            clock,
            office,
        }))
    }

    /// The sessions of older clients.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.inside.sessions
    }

    /// Ends the streams that stand open, which would end by themselves only when their clients go.
    pub(crate) fn close_streams(&self) {
        self.0.inside.closing.cancel();
    }

    /// Answers one request. A panic on the way is told as a failure with the request's id.
    pub(crate) async fn handle<B>(&self, peer: &Peer, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let brought = header::single(request.headers(), &header::REQUEST_ID);
        let request_id = match brought.and_then(|value| value.to_str().ok()) {
            Some(text) => RequestId::brought(text),
            None => RequestId::fresh(),
        };
        let addressee = Addressee::of(&request);
        let answering = AssertUnwindSafe(self.answer(peer, request, &request_id, &addressee));
        let mut response = answering.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(%request_id, "a request ended in a panic");
            let problem = Problem::new(Kind::Internal, "panic");
            reply::http_problem(&problem, &request_id, self.0.clock.now())
        });
        self.tell_where(&mut response, &addressee);
        reply::dress(response, &request_id)
    }

    /// Tells whoever is turned away where to get a token.
    fn tell_where(&self, response: &mut Response<Body>, addressee: &Addressee) {
        let said = response.headers().get(WWW_AUTHENTICATE);
        // What is forbidden for other reasons is so with every token.
        let is_told = match response.status() {
            StatusCode::UNAUTHORIZED => true,
            StatusCode::FORBIDDEN => said.is_some(),
            _ => false,
        };
        if !is_told {
            return;
        }
        let Some(resource) = addressee.resource(&self.0.site) else { return };
        if let Some(told) = self.0.site.challenge(&resource, said, addressee.is_shown_something) {
            response.headers_mut().insert(WWW_AUTHENTICATE, told);
        }
    }

    async fn answer<B>(
        &self,
        peer: &Peer,
        mut request: Request<B>,
        request_id: &RequestId,
        addressee: &Addressee,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let began = self.0.clock.tick();
        let refuse =
            |problem: &Problem| reply::http_problem(problem, request_id, self.0.clock.now());
        if let Err(problem) = self.0.guard.check(peer, request.uri(), request.headers()) {
            return refuse(&problem);
        }
        let peer = &self.0.proxies.caller(peer, request.headers());
        let credential = match credential(peer, request.method(), request.headers()) {
            Ok(credential) => credential.at(|| Some(addressee.resource(&self.0.site)?.url)),
            Err(error) => return refuse(&error.into()),
        };
        let from = peer.address.map(|address| address.ip());
        if let Some(preparing) = self.0.inside.pipeline.prepare(&credential, from)
            && let Err(problem) = preparing.await
        {
            return refuse(&problem);
        }
        if let Some((way, scope)) = Way::of(request.uri().path()) {
            // Whoever opens a socket reads the headers of the request itself.
            let headers = request.headers().clone();
            let arrival = arrival(peer, headers, request_id, credential, began);
            let arrival = Arrival { scope, via: way.name(), ..arrival };
            return Box::pin(self.channel(way, arrival, request)).await;
        }
        // What the gateway has a use for itself is no route's, and is looked for first.
        let path = request.uri().path();
        let scope = if let Some(scope) = Scope::at(path) {
            scope
        } else if let Some(plain) = Plain::find(path) {
            let asked = (credential, request_id);
            return Box::pin(self.plain(plain, peer, request, asked)).await;
        } else {
            match self.0.proxy.lead(&credential, &request) {
                Ok(Some(Lead::Endpoint(scope))) => scope,
                Ok(Some(Lead::Lane(lane))) => {
                    let headers = std::mem::take(request.headers_mut());
                    let arrival = arrival(peer, headers, request_id, credential, began);
                    return Box::pin(self.0.proxy.answer(arrival, *lane, request)).await;
                }
                Ok(None) => {
                    return Box::pin(self.office(request, peer, credential, request_id)).await;
                }
                Err(problem) => return refuse(&problem),
            }
        };
        let headers = std::mem::take(request.headers_mut());
        let arrival = Arrival { scope, ..arrival(peer, headers, request_id, credential, began) };
        self.endpoint(arrival, request).await
    }

    /// Answers a request at an endpoint of MCP.
    async fn endpoint<B>(&self, arrival: Arrival, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (parts, body) = request.into_parts();
        match parts.method {
            Verb::GET if !arrival.reads_events() => return reply::status(&arrival.headers),
            Verb::GET | Verb::POST | Verb::DELETE => {}
            _ => return reply::not_allowed(),
        }
        if let Err(refusal) = self.0.inside.recognise(&arrival).await {
            return *refusal;
        }
        match parts.method {
            Verb::DELETE => return Legacy(&self.0.inside).end(arrival).await,
            Verb::GET => return Legacy(&self.0.inside).stream(arrival).await,
            _ => {}
        }
        match self.read(&arrival, body).await {
            Ok(body) => self.post(arrival, &body.bytes).await,
            Err(refusal) => *refusal,
        }
    }

    /// Answers a request on a way to a channel.
    async fn channel<B>(&self, way: Way, arrival: Arrival, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let channels = &self.0.channels;
        let guest = match channels.let_in(way, arrival, request.method()).await {
            Ok(guest) => guest,
            Err(refusal) => return *refusal,
        };
        let (parts, body) = request.into_parts();
        match way {
            Way::Socket => channels.open_socket(guest, parts),
            Way::Stream => channels.open_stream(guest),
            Way::Post => match self.read(&guest.arrival, body).await {
                Ok(message) => channels.post(&guest, parts.uri.query(), message),
                Err(refusal) => *refusal,
            },
        }
    }

    async fn office<B>(
        &self,
        mut request: Request<B>,
        peer: &Peer,
        credential: Credential,
        request_id: &RequestId,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        request.extensions_mut().insert(credential);
        request.extensions_mut().insert(*peer);
        request.extensions_mut().insert(request_id.clone());
        let request = request.map(Body::new);
        let Ok(response) = self.0.office.clone().oneshot(request).await;
        response
    }

    /// Answers where clients ask one thing and hear one answer.
    async fn plain<B>(
        &self,
        plain: Plain,
        peer: &Peer,
        request: Request<B>,
        (credential, request_id): (Credential, &RequestId),
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let Inner { inside, rpc, clock, .. } = &*self.0;
        let (parts, body) = request.into_parts();
        let made = arrival(peer, parts.headers, request_id, credential, clock.tick());
        let arrival = Arrival { scope: plain.scope(), ..made };
        if parts.method != plain.verb() {
            return reply::takes_only(&plain.verb());
        }
        if let Plain::Facade(facade) = &plain {
            let rest = Rest { inside, clock: &**clock, arrival: &arrival, facade };
            if let Err(problem) = inside.known_at_all(&arrival).await {
                return rest.refuse(&problem);
            }
            if parts.method == Verb::GET {
                return rest.answer(&Bytes::new()).await;
            }
            return match self.whole(&arrival, body).await {
                Ok(body) => rest.answer(&body.bytes).await,
                Err((problem, status)) => rest.refuse_with(&problem, status),
            };
        }
        if let Err(refusal) = inside.recognise(&arrival).await {
            return *refusal;
        }
        if plain == Plain::Introspection {
            return rpc::introspection();
        }
        let body = match self.read(&arrival, body).await {
            Ok(body) => body,
            Err(refusal) => return *refusal,
        };
        match plain {
            Plain::Batch(_) => rpc.many(&arrival, Addressing::Path, &body.bytes).await,
            Plain::RpcByParam => rpc.any(&arrival, Addressing::Param, &body.bytes).await,
            _ => rpc.any(&arrival, Addressing::Path, &body.bytes).await,
        }
    }

    /// The body of a message, within the limits.
    async fn read<B>(&self, arrival: &Arrival, body: B) -> Result<Whole, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let refuse = |(problem, status): Unread| -> Refusal {
            let id = &RawId::null();
            reply::rpc_problem(&problem, id, &arrival.request_id, Some(status)).into()
        };
        match self.whole(arrival, body).await {
            Err((_, StatusCode::UNSUPPORTED_MEDIA_TYPE)) => {
                let response = reply::unsupported_media(&arrival.request_id, self.0.clock.now());
                Err(response.into())
            }
            read => read.map_err(refuse),
        }
    }

    async fn whole<B>(&self, arrival: &Arrival, body: B) -> Result<Whole, Unread>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let length = arrival.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if let Some(said) = length.and_then(|text| text.parse().ok()) {
            self.0.reader.check_length(said)?;
        }
        if !is_json(&arrival.headers) {
            let problem = Problem::new(Kind::Invalid, reply::NOT_JSON);
            return Err((problem, StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        self.0.reader.read(body).await
    }

    async fn post(&self, arrival: Arrival, body: &Bytes) -> Response<Body> {
        let message = match Message::parse(body) {
            Ok(message) => message,
            Err(malformed) => return self.malformed(&arrival, &malformed).await,
        };
        let is_modern = match &message {
            Message::Request(request) | Message::Notification(request) => {
                modern::is_claimed(&arrival, request)
            }
            Message::Answer(_) => arrival.names_modern(),
        };
        if is_modern {
            modern::answer(&self.0.inside, arrival, message).await
        } else {
            Legacy(&self.0.inside).answer(arrival, message).await
        }
    }

    /// Bytes that are no message are answered to those who may call at all.
    async fn malformed(&self, arrival: &Arrival, malformed: &Malformed) -> Response<Body> {
        let id = malformed.id();
        if let Err(refusal) = self.0.inside.admit(arrival, &id, None).await {
            return *refusal;
        }
        let problem =
            Problem::new(Kind::Invalid, malformed.to_string()).with_rpc(malformed.rpc_code());
        let status = Some(StatusCode::BAD_REQUEST);
        reply::rpc_problem(&problem, &id, &arrival.request_id, status)
    }
}

/// What a request brings besides its body, at the endpoint of all servers.
fn arrival(
    peer: &Peer,
    headers: HeaderMap,
    request_id: &RequestId,
    credential: Credential,
    began: Instant,
) -> Arrival {
    Arrival {
        request_id: request_id.clone(),
        scope: Scope::Everything,
        headers,
        credential,
        via: if peer.address.is_some() { "http" } else { "unix" },
        from: peer.address.map(|address| address.ip()),
        began,
    }
}

/// What a request is addressed to. Few need to know its endpoint, so it is made out only then.
struct Addressee {
    uri: Uri,
    host: Option<HeaderValue>,
    /// Whether its sender shows something by which they could be known.
    is_shown_something: bool,
}

impl Addressee {
    fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        Self {
            uri: request.uri().clone(),
            host: headers.get(HOST).cloned(),
            is_shown_something: headers.contains_key(AUTHORIZATION)
                || headers.contains_key(header::API_KEY),
        }
    }

    /// The endpoint, as clients know it.
    fn resource(&self, site: &Site) -> Option<Resource> {
        let path = self.uri.path();
        Scope::at(path)?;
        Resource::at(&site.base_at(&self.uri, self.host.as_ref())?, path)
    }
}

fn credential(
    peer: &Peer,
    verb: &Verb,
    headers: &HeaderMap,
) -> Result<Credential, crate::access::Error> {
    match (Credential::of_request(verb, headers)?, peer.uid) {
        (Credential::None, Some(uid)) => Ok(Credential::Local { uid }),
        (credential, _) => Ok(credential),
    }
}

/// Whether the body says that it is JSON, and is not compressed: a small body could unfold to a
/// large one.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = header::single(headers, &CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|text| text.split(';').next()).map(str::trim);
    let is_plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) && is_plain
}
