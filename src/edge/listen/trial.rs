//! A door on a free port, to try in tests.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use super::{Door, Peer, Settings, Stop, serve};

/// Longer than anything that ends takes, shorter than anyone waits for a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// The size of the answer to `/big`: more than the kernel buffers.
pub(crate) const BIG: usize = 32 * 1024 * 1024;

/// A good request, with the answer `hello`.
pub(crate) const GOOD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// The door.
pub(crate) struct Trial {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    pub(crate) rooms: Rooms,
    serving: JoinSet<()>,
}

/// What stands behind the door: `/held` answers when told, `/panic` panics, `/big` answers much,
/// `/unread` answers without reading, and anything else echoes.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    /// Requests that came in.
    pub(crate) asked: Arc<AtomicUsize>,
    /// One permit for each held request to answer.
    pub(crate) held: Arc<Semaphore>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { asked: Arc::default(), held: Arc::new(Semaphore::new(0)) }
    }
}

impl Rooms {
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match request.uri().path() {
            "/panic" => panic!("as asked"),
            "/held" => self.held.acquire().await.expect("never closed").forget(),
            "/unread" => return Response::default(),
            "/big" => return Response::new(Bytes::from(vec![0; BIG]).into()),
            _ => {}
        }
        if let Ok(body) = request.into_body().collect().await {
            return Response::new(body.to_bytes().into());
        }
        let mut response = Response::default();
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    }
}

impl Trial {
    pub(crate) async fn open(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("just bound");
        Self::open_at(Door::Tcp(listener), address, settings)
    }

    pub(crate) fn open_at(door: Door, address: SocketAddr, settings: Settings) -> Self {
        let rooms = Rooms::default();
        let stop = Stop::default();
        let mut serving = JoinSet::new();
        let (behind, word) = (rooms.clone(), stop.clone());
        serving.spawn(async move {
            let handler = move |_: Peer, request| behind.clone().answer(request);
            serve(door, &settings, handler, word).await;
        });
        Self { address, stop, rooms, serving }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("the door is open"))
    }

    /// Sends all the bytes at once, and reads until the door closes.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.write(bytes).await;
        client.rest().await
    }

    /// Waits until the door is closed and everyone has left.
    pub(crate) async fn closed(mut self) {
        let served = timeout(PATIENCE, self.serving.join_next()).await.expect("still open");
        served.expect("one task").expect("no panic");
    }
}

/// Someone at the door.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the door reads");
    }

    /// Reads until the text comes.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        timeout(PATIENCE, async {
            while !String::from_utf8_lossy(&text).contains(end) {
                let read = self.0.read_buf(&mut text).await.expect("no reset");
                assert!(read > 0, "closed before {end}");
            }
        })
        .await
        .expect("nothing comes");
        String::from_utf8(text).expect("text")
    }

    /// Reads until the door closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut text)).await.expect("still open");
        read.expect("no reset");
        String::from_utf8(text).expect("text")
    }
}
