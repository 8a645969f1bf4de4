//! A server for tests that speaks over an event stream or a WebSocket, says what it is told to, and
//! remembers what it heard.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{Request as Upgrade, Response as Upgraded},
};

type Body = BoxBody<Bytes, Infallible>;
/// What the server does about a message: it says things, and answers a POST with a status.
pub(super) type Script = Arc<dyn Fn(&Value, &Voice) -> u16 + Send + Sync>;

/// Where the server says things: one connection. Silent for ever once it was cut.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    pub(super) connection: usize,
    said: mpsc::UnboundedSender<Option<String>>,
}

impl Voice {
    pub(super) fn say(&self, message: &Value) {
        let _ = self.said.send(Some(message.to_string()));
    }

    /// Says the result of a request.
    pub(super) fn answer(&self, asked: &Value, result: &Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}));
    }

    /// Ends the connection without a farewell.
    pub(super) fn cut(&self) {
        let _ = self.said.send(None);
    }
}

/// What the server heard.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) headers: HeaderMap,
    pub(super) message: Value,
}

#[derive(Clone)]
struct House {
    script: Script,
    endpoint: Arc<dyn Fn(usize) -> String + Send + Sync>,
    heard: Arc<Mutex<Vec<Heard>>>,
    voices: Arc<Mutex<HashMap<usize, Voice>>>,
    is_streamable: Arc<AtomicBool>,
}

/// A running scripted server. It stops when dropped.
pub(super) struct Scripted {
    pub(super) url: String,
    house: House,
    _running: JoinSet<()>,
}

impl Scripted {
    pub(super) async fn sse(script: Script) -> Self {
        Self::sse_at(script, |connection| format!("/messages?s={connection}")).await
    }

    /// An event stream that says that messages go there.
    pub(super) async fn sse_at(
        script: Script,
        endpoint: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start(script, Arc::new(endpoint), "http").await
    }

    pub(super) async fn websocket(script: Script) -> Self {
        Self::start(script, Arc::new(|_| String::new()), "ws").await
    }

    async fn start(
        script: Script,
        endpoint: Arc<dyn Fn(usize) -> String + Send + Sync>,
        scheme: &'static str,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("{scheme}://{}/sse", listener.local_addr().expect("an address"));
        let house = House {
            script,
            endpoint,
            heard: Arc::default(),
            voices: Arc::default(),
            is_streamable: Arc::default(),
        };
        let open = house.clone();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let house = open.clone();
                connections.spawn(async move {
                    match scheme {
                        "ws" => house.serve_websocket(stream).await,
                        _ => house.serve_http(stream).await,
                    }
                });
            }
        });
        Self { url, house, _running: running }
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.house.heard.lock().clone()
    }

    /// The methods it was asked for, or nothing for what had none.
    pub(super) fn methods(&self) -> Vec<String> {
        let method = |heard: Heard| heard.message["method"].as_str().unwrap_or_default().to_owned();
        self.heard().into_iter().map(method).collect()
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.house.voices.lock().len()
    }

    /// From now on, Streamable HTTP of today's revision is spoken here, or no more.
    pub(super) fn be_streamable(&self, is_streamable: bool) {
        self.house.is_streamable.store(is_streamable, Relaxed);
        for voice in self.house.voices.lock().values() {
            voice.cut();
        }
    }

    /// The server forgets all connections, but leaves them open.
    pub(super) fn forget(&self) {
        let mut voices = self.house.voices.lock();
        for (_, voice) in voices.iter_mut() {
            voice.connection = usize::MAX;
        }
    }
}

impl House {
    fn voice(&self) -> (Voice, mpsc::UnboundedReceiver<Option<String>>) {
        let (said, saying) = mpsc::unbounded_channel();
        let mut voices = self.voices.lock();
        let voice = Voice { connection: voices.len(), said };
        voices.insert(voice.connection, voice.clone());
        (voice, saying)
    }

    fn hear(&self, headers: HeaderMap, message: &Value, voice: &Voice) -> u16 {
        self.heard.lock().push(Heard { headers, message: message.clone() });
        (self.script)(message, voice)
    }

    async fn serve_http(self, stream: TcpStream) {
        let answer = hyper::service::service_fn(move |request| {
            let house = self.clone();
            async move { Ok::<_, Infallible>(house.reply(request).await) }
        });
        let builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
    }

    async fn reply(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let is_streamable = self.is_streamable.load(Relaxed);
        if head.method == Verb::GET && !is_streamable {
            return self.open_stream();
        }
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        let message: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
        if is_streamable {
            return streamable(&message);
        }
        let session = head.uri.query().and_then(|query| query.strip_prefix("s=")?.parse().ok());
        let voice = session.and_then(|session| self.voices.lock().get(&session).cloned());
        let status = match (head.uri.path(), voice) {
            ("/messages", Some(voice)) if voice.connection != usize::MAX => {
                self.hear(head.headers, &message, &voice)
            }
            ("/messages", _) => 404,
            _ => 405,
        };
        let made = Response::builder().status(status).body(Full::new(Bytes::new()).boxed());
        made.expect("a response")
    }

    fn open_stream(&self) -> Response<Body> {
        let (voice, mut saying) = self.voice();
        let first = format!("event: endpoint\ndata: {}\n\n", (self.endpoint)(voice.connection));
        let first = stream::iter([Ok(Frame::data(Bytes::from(first)))]);
        let rest = stream::poll_fn(move |context| saying.poll_recv(context));
        let rest = rest.take_while(|said| std::future::ready(said.is_some())).map(|said| {
            let said = said.expect("not cut");
            Ok(Frame::data(Bytes::from(format!(": word\nevent: message\ndata: {said}\n\n"))))
        });
        let body = BoxBody::new(StreamBody::new(first.chain(rest)));
        let made = Response::builder().header("content-type", "text/event-stream").body(body);
        made.expect("a response")
    }

    async fn serve_websocket(self, stream: TcpStream) {
        let mut headers = HeaderMap::new();
        #[expect(clippy::result_large_err, reason = "the signature is the library's")]
        let agree = |request: &Upgrade, mut response: Upgraded| {
            headers = request.headers().clone();
            let protocol = HeaderValue::from_static("mcp");
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, agree).await else { return };
        let (mut sink, mut stream) = socket.split();
        let (voice, mut saying) = self.voice();
        let hearing = async {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message {
                    let message: Value = serde_json::from_str(&text).unwrap_or_default();
                    self.hear(headers.clone(), &message, &voice);
                }
            }
        };
        let speaking = async {
            while let Some(Some(said)) = saying.recv().await {
                let _ = sink.send(Message::text(said)).await;
            }
        };
        tokio::select! { () = hearing => {}, () = speaking => {} }
    }
}

/// What a server answers that speaks Streamable HTTP.
fn streamable(asked: &Value) -> Response<Body> {
    let Some(id) = asked.get("id") else {
        let refused = Response::builder().status(405).body(Full::new(Bytes::new()).boxed());
        return refused.expect("a response");
    };
    let result =
        json!({"supportedVersions": ["2026-07-28"], "capabilities": {}, "at": "streamable"});
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    let body = Full::new(Bytes::from(answer)).boxed();
    let made = Response::builder().header("content-type", "application/json").body(body);
    made.expect("a response")
}
