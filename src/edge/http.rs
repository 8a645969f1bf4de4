//! Streamable HTTP: both eras on one endpoint.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports>

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, Method as Verb, Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use tower::ServiceExt;

use crate::{
    access::Credential,
    domain::{Clock, RequestId, Scope},
    edge::{
        Guard, Peer, Settings,
        arrival::{Arrival, Inside},
        body::{Reader, Unread, Whole},
        legacy::Legacy,
        modern,
        reply::{self, Refusal},
        session::Sessions,
    },
    pipeline::Pipeline,
    problem::{Kind, Problem},
    wire::{Malformed, Message, RawId, header},
};

/// The front door: bytes of HTTP in, bytes of HTTP out.
#[derive(Clone)]
pub(crate) struct Front(Arc<Inner>);

struct Inner {
    reader: Reader,
    guard: Guard,
    inside: Inside,
    clock: Arc<dyn Clock>,
    office: axum::Router,
}

impl Front {
    /// A door to the path, and to the office for everything that is not MCP.
    pub(crate) fn new(
        settings: &Settings,
        guard: Guard,
        pipeline: Pipeline,
        office: axum::Router,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let sessions = Sessions::new(settings.sessions.clone(), clock.clone());
        let reader = Reader::new(settings.body_bytes, settings.bodies_bytes);
        let inside = Inside { pipeline, sessions };
        Self(Arc::new(Inner { reader, guard, inside, clock, office }))
    }

    /// The sessions of older clients.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.inside.sessions
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
        let answering = AssertUnwindSafe(self.answer(peer, request, &request_id));
        let response = answering.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(%request_id, "a request ended in a panic");
            let problem = Problem::new(Kind::Internal, "panic");
            reply::http_problem(&problem, &request_id, self.0.clock.now())
        });
        reply::dress(response, &request_id)
    }

    async fn answer<B>(
        &self,
        peer: &Peer,
        request: Request<B>,
        request_id: &RequestId,
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
        let credential = match credential(peer, request.headers()) {
            Ok(credential) => credential,
            Err(error) => return refuse(&error.into()),
        };
        let Some(scope) = scope(request.uri().path()) else {
            return self.office(request, credential, request_id).await;
        };
        let (parts, body) = request.into_parts();
        let via = if peer.address.is_some() { "http" } else { "unix" };
        let request_id = request_id.clone();
        let arrival = Arrival { request_id, scope, headers: parts.headers, credential, via, began };
        match parts.method {
            Verb::GET => return reply::status(&arrival.headers),
            Verb::POST | Verb::DELETE => {}
            _ => return reply::not_allowed(),
        }
        if let Err(refusal) = self.0.inside.recognise(&arrival).await {
            return *refusal;
        }
        if parts.method == Verb::DELETE {
            return Legacy(&self.0.inside).end(arrival).await;
        }
        match self.read(&arrival, body).await {
            Ok(body) => self.post(arrival, &body.bytes).await,
            Err(refusal) => *refusal,
        }
    }

    async fn office<B>(
        &self,
        mut request: Request<B>,
        credential: Credential,
        request_id: &RequestId,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        request.extensions_mut().insert(credential);
        request.extensions_mut().insert(request_id.clone());
        let request = request.map(Body::new);
        let Ok(response) = self.0.office.clone().oneshot(request).await;
        response
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
        let length = arrival.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if let Some(said) = length.and_then(|text| text.parse().ok()) {
            self.0.reader.check_length(said).map_err(refuse)?;
        }
        if !is_json(&arrival.headers) {
            let response = reply::unsupported_media(&arrival.request_id, self.0.clock.now());
            return Err(response.into());
        }
        self.0.reader.read(body).await.map_err(refuse)
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
            Message::Answer => arrival.names_modern(),
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

fn credential(peer: &Peer, headers: &HeaderMap) -> Result<Credential, crate::access::Error> {
    match (Credential::of(headers)?, peer.uid) {
        (Credential::None, Some(uid)) => Ok(Credential::Local { uid }),
        (credential, _) => Ok(credential),
    }
}

/// Which endpoint a path is, if it is one of MCP.
fn scope(path: &str) -> Option<Scope> {
    if path == "/mcp" {
        return Some(Scope::Everything);
    }
    if let Some(namespace) = path.strip_prefix("/mcp/") {
        return namespace.parse().ok().map(Scope::Namespace);
    }
    let server = path.strip_prefix("/servers/")?.strip_suffix("/mcp")?;
    (!server.is_empty() && !server.contains('/')).then(|| Scope::Server(server.into()))
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

#[cfg(test)]
mod tests {
    use std::{pin::Pin, task::Poll};

    use axum::routing::get;
    use http_body::Frame;
    use http_body_util::{BodyExt, Empty};

    use super::*;
    use crate::{
        access::{self, Access},
        catalog::{self, Catalog},
        domain::FixedClock,
        observe::{self, Journal, Metrics},
        pipeline::{self, Rooms},
        registry::{self, Registry},
        store::{self, Store},
        traffic::{self, Traffic},
        upstream::{self, Upstream},
    };

    struct House {
        front: Front,
        _folder: tempfile::TempDir,
    }

    /// A front door to an empty house with this office.
    fn house(office: axum::Router) -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::default());
        let data = folder.path().join("data");
        let store = Store::create(&data, &store::Settings::default(), clock.clone());
        let store = store.expect("a store");
        let (metrics, observe) = (Metrics::new(), observe::Settings::default());
        let log = observe::Log::new(observe.queue_bytes);
        let journal = Journal::new(&observe, log, metrics.clone(), clock.clone());
        let access = Access::new(access::Settings::default(), &store, clock.clone());
        let environment = upstream::Environment { path: "".into(), home: None, lang: None };
        let settings = upstream::Settings::default();
        let upstream = Upstream::new(settings, None, data, environment, clock.clone());
        let upstream = upstream.expect("an upstream");
        let settings = registry::Settings::default();
        let registry = Registry::new(settings, &store, &upstream, &metrics, clock.clone());
        let registry = registry.expect("a registry");
        let settings = catalog::Settings::default();
        let catalog = Catalog::new(settings, &registry, &upstream, &metrics, clock.clone());
        let access = access.expect("readable");
        let traffic = Traffic::new(traffic::Settings::default());
        let rooms = Rooms { access, catalog, traffic, registry, upstream, journal };
        let pipeline = Pipeline::new(pipeline::Settings::default(), rooms);
        let guard = Guard::new(&[], &["gateway".to_owned()], &[]);
        let front = Front::new(&Settings::default(), guard, pipeline, office, clock);
        House { front, _folder: folder }
    }

    /// Somebody on the network.
    fn stranger() -> Peer {
        Peer { address: Some(([192, 0, 2, 1], 50_000).into()), uid: None }
    }

    #[tokio::test]
    async fn a_panic_is_told_by_the_requests_id_and_nothing_else() {
        async fn panics() {
            panic!("canary-4711")
        }
        let house = house(axum::Router::new().route("/panics", get(panics)));
        let request =
            Request::get("/panics").header("host", "gateway").header("x-request-id", "r1");

        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = house.front.handle(&stranger(), request).await;

        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["x-request-id"], "r1");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.into()).expect("text");
        assert!(body.contains("r1") && !body.contains("canary"), "{body}");
    }

    /// A body that nobody may read.
    struct Untouchable;

    impl http_body::Body for Untouchable {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            panic!("it was read")
        }
    }

    #[tokio::test]
    async fn nothing_is_read_of_what_strangers_send() {
        let house = house(axum::Router::new());

        for credential in ["", "Bearer thk_live_nobody"] {
            for verb in [Verb::POST, Verb::DELETE] {
                let request = Request::builder().method(verb).uri("/mcp").header("host", "gateway");
                let mut request = request.body(Untouchable).expect("a request");
                let headers = request.headers_mut();
                headers.insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
                if !credential.is_empty() {
                    headers.insert("authorization", credential.parse().expect("a value"));
                }

                let response = house.front.handle(&stranger(), request).await;

                assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{credential}");
            }
        }
    }

    #[test]
    fn knows_the_paths_of_mcp() {
        assert_eq!(scope("/mcp"), Some(Scope::Everything));
        assert_eq!(scope("/mcp/team"), Some(Scope::Namespace("team".parse().expect("a slug"))));
        assert_eq!(scope("/servers/time/mcp"), Some(Scope::Server("time".into())));

        for other in ["/", "/mcp/", "/mcp/rpc", "/mcp/a/b", "/servers//mcp", "/servers/a/b/mcp"] {
            assert_eq!(scope(other), None, "{other}");
        }
    }
}
