//! The listening: accepts connections, speaks HTTP/1.1 on them, and drains.

mod places;
mod settings;
mod stop;
mod upgrade;

use std::{
    convert::Infallible,
    future::{Future, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONNECTION},
};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::{JoinError, JoinSet},
    time::sleep,
};

use crate::{
    edge::strict::{Answer, Busy, Strict},
    problem::chain,
};

use self::places::{Place, Places};

pub(crate) use self::{
    settings::Settings,
    stop::Stop,
    upgrade::{Rest, Socket, Upgrade},
};

/// The pause after a failed accept: without a free file descriptor the next one fails too.
const PAUSE_MS: u64 = 50;

/// The most hyper buffers of a connection, either way; a head must fit in.
const BUFFER_BYTES: usize = 64 * 1024;

/// The limit hyper has a fast path for.
const USUAL_HEADERS: usize = 100;

/// The shortest line of a head, in bytes: a name, a colon and the line end.
const SHORTEST_LINE: usize = 4;

/// Said to a client for whom there is no place.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";

/// Methods that may mean something somewhere. TRACE echoes secrets, CONNECT makes a tunnel.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Who is on the other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address, over TCP.
    pub(crate) address: Option<SocketAddr>,
    /// The user, over a unix socket.
    pub(crate) uid: Option<u32>,
}

/// What clients come in by.
#[derive(Debug)]
pub(crate) enum Door {
    /// Over the network.
    Tcp(TcpListener),
    /// On this machine, known by their user.
    Unix(UnixListener),
}

enum Guest {
    Tcp(TcpStream, Peer),
    Unix(UnixStream, Peer),
}

/// Serves connections until told to drain, then lets running requests finish until told to cut.
///
/// The handler answers each request. A panic in it ends its connection, nothing else. TRACE and
/// CONNECT (405), overlong targets (414) and everything malformed (400, 431) never reach it.
pub(crate) async fn serve<H, F, B>(door: Door, settings: &Settings, handler: H, stop: Stop)
where
    H: Fn(Peer, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Default + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let hall = Hall::new(settings, handler, stop);
    let mut connections = JoinSet::new();
    hall.accept_all(door, &mut connections).await;
    tokio::select! {
        () = hall.stop.is_cut() => {}
        () = all_end(&mut connections) => {}
    }
    connections.shutdown().await;
}

/// What the connections of a door share.
struct Hall<H> {
    settings: Arc<Settings>,
    places: Arc<Places>,
    protocol: http1::Builder,
    handler: H,
    stop: Stop,
}

impl<H, F, B> Hall<H>
where
    H: Fn(Peer, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Default + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(settings: &Settings, handler: H, stop: Stop) -> Arc<Self> {
        let mut protocol = http1::Builder::new();
        protocol
            .header_read_timeout(None)
            .max_header_size(settings.header_bytes)
            .max_buf_size(BUFFER_BYTES.max(settings.header_bytes));
        if settings.max_headers != USUAL_HEADERS {
            // More never fit, and hyper makes room for as many as it is told.
            protocol.max_headers(settings.max_headers.min(settings.header_bytes / SHORTEST_LINE));
        }
        Arc::new(Self {
            settings: Arc::new(settings.clone()),
            places: Places::new(settings),
            protocol,
            handler,
            stop,
        })
    }

    /// Until draining begins.
    async fn accept_all(self: &Arc<Self>, door: Door, connections: &mut JoinSet<()>) {
        let mut is_failing = false;
        loop {
            let guest = tokio::select! {
                biased;
                () = self.stop.drained() => return,
                Some(ended) = connections.join_next() => {
                    note(&ended);
                    continue;
                }
                guest = door.accept() => guest,
            };
            match guest {
                Ok(Guest::Tcp(stream, peer)) => self.admit(stream, peer, connections).await,
                Ok(Guest::Unix(stream, peer)) => self.admit(stream, peer, connections).await,
                Err(error) => {
                    rest_after(&error, &mut is_failing).await;
                    continue;
                }
            }
            if std::mem::take(&mut is_failing) {
                tracing::info!("connections are accepted again");
            }
        }
    }

    async fn admit<S>(self: &Arc<Self>, mut stream: S, peer: Peer, connections: &mut JoinSet<()>)
    where
        S: Socket + 'static,
    {
        if let Some(place) = self.places.take(peer.address.map(|address| address.ip())) {
            connections.spawn(Arc::clone(self).converse(stream, peer, place));
        } else if let Err(error) = stream.write_all(FULL).await {
            // A new socket has room for these few bytes, so this does not wait.
            tracing::debug!(%error, "a client left before it was turned away");
        }
    }

    /// The life of one connection.
    async fn converse<S>(self: Arc<Self>, stream: S, peer: Peer, _place: Place)
    where
        S: Socket + 'static,
    {
        let busy = Busy::default();
        let upgrade = Mutex::new(None);
        let socket = Strict::new(stream, Arc::clone(&self.settings), busy.clone());
        let service = service_fn(|request| {
            let answering = busy.begin();
            let answer = self.answer(peer, request);
            let (busy, upgrade) = (&busy, &upgrade);
            async move {
                let mut answer = answer.await.map(|body| answering.until_end_of(body));
                if busy.is_in_body() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                *upgrade.lock() = answer.extensions_mut().remove::<Upgrade>();
                Ok::<Response<Answer<B>>, Infallible>(answer)
            }
        });
        let connection = self.protocol.serve_connection(TokioIo::new(socket), service);
        // Boxed, so that it takes no room any more once a connection goes on without HTTP.
        let mut connection = Box::pin(connection);
        let draining = self.stop.for_connection();
        let outcome = tokio::select! {
            biased;
            outcome = connection.as_mut() => outcome,
            () = draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(error = chain(&error), "connection ended");
            return;
        }
        let Some(onward) = upgrade.lock().take().and_then(Upgrade::onward) else { return };
        let parts = Pin::into_inner(connection).into_parts();
        if let Some(socket) = parts.io.into_inner().into_socket() {
            onward(Rest { socket: Box::new(socket), read: parts.read_buf }).await;
        }
    }

    fn answer(
        &self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<B>> + use<H, F, B> {
        match turned_away(&request, self.settings.uri_bytes) {
            Some(refusal) => Either::Left(ready(refusal)),
            None => Either::Right((self.handler)(peer, request)),
        }
    }
}

/// The answer to a request that no handler shall see.
fn turned_away<B: Default>(
    request: &Request<Incoming>,
    target_limit: usize,
) -> Option<Response<B>> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let status = if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        StatusCode::METHOD_NOT_ALLOWED
    } else if target > target_limit {
        StatusCode::URI_TOO_LONG
    } else {
        return None;
    };
    let mut response = Response::new(B::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, METHODS);
    }
    Some(response)
}

async fn all_end(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        note(&ended);
    }
}

fn note(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}

/// A failure that is not the guest's is said once, not twenty times a second until it is over.
async fn rest_after(error: &io::Error, is_failing: &mut bool) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};

    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    if !std::mem::replace(is_failing, true) {
        tracing::warn!(%error, "cannot accept connections");
    }
    sleep(Duration::from_millis(PAUSE_MS)).await;
}

impl Door {
    async fn accept(&self) -> io::Result<Guest> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Small writes must not wait for the acknowledgement of earlier ones. This fails
                // only for a client that has gone again.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                Ok(Guest::Tcp(stream, Peer { address: Some(address), uid: None }))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok(Guest::Unix(stream, Peer { address: None, uid: Some(uid) }))
            }
        }
    }
}

#[cfg(test)]
mod malformed;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial;
