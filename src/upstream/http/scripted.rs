//! A server for tests that answers as it is told to, and remembers what it was asked.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

type Body = BoxBody<Bytes, Infallible>;

/// What the server was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) verb: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Asked {
    pub(super) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A result under the request's own id.
    pub(super) fn result(&self, result: &Value) -> String {
        json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result}).to_string()
    }

    /// An error under the request's own id.
    pub(super) fn error(&self, code: i64, message: &str) -> String {
        let error = json!({"code": code, "message": message});
        json!({"jsonrpc": "2.0", "id": self.body["id"], "error": error}).to_string()
    }
}

/// What the server answers.
pub(super) struct Said(Response<Body>);

impl Said {
    fn with(status: u16, kind: &'static str, body: Body) -> Self {
        let made = Response::builder().status(status).header("content-type", kind).body(body);
        Self(made.expect("a response"))
    }

    pub(super) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::with(status, "application/json", whole(body))
    }

    pub(super) fn text(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self::with(status, kind, whole(body))
    }

    /// Events, and then the end of the stream.
    pub(super) fn events(events: &[String]) -> Self {
        let lines: Vec<String> = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        Self::with(200, "text/event-stream", whole(lines.concat()))
    }

    /// The same bytes again and again, without end.
    pub(super) fn endless(kind: &'static str, bytes: &'static [u8]) -> Self {
        let frame = move || Ok(Frame::data(Bytes::from_static(bytes)));
        Self::with(200, kind, BoxBody::new(StreamBody::new(stream::repeat_with(frame))))
    }

    /// These bytes, and then nothing, without end.
    pub(super) fn stuck(kind: &'static str, bytes: impl Into<Bytes>) -> Self {
        let first = stream::iter([Ok(Frame::data(bytes.into()))]);
        Self::with(200, kind, BoxBody::new(StreamBody::new(first.chain(stream::pending()))))
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers_mut().insert(name, value.parse().expect("a header value"));
        self
    }
}

fn whole(body: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(body.into()).boxed()
}

/// A running scripted server. It stops when dropped.
pub(super) struct Scripted {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _running: JoinSet<()>,
}

impl Scripted {
    pub(super) async fn start(
        script: impl Fn(&Asked) -> Said + Send + Sync + Clone + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let book = Arc::clone(&asked);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, book) = (script.clone(), Arc::clone(&book));
                let answer = hyper::service::service_fn(move |request| {
                    let (script, book) = (script.clone(), Arc::clone(&book));
                    async move { Ok::<_, Infallible>(serve(request, script, &book).await.0) }
                });
                connections.spawn(async move {
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { url, asked, _running: running }
    }

    /// Everything it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// The methods it was asked for, or the verbs of what had none.
    pub(super) fn methods(&self) -> Vec<String> {
        let name = |asked: &Asked| match asked.method() {
            "" => asked.verb.to_string(),
            method => method.to_owned(),
        };
        self.asked.lock().iter().map(name).collect()
    }
}

async fn serve(
    request: Request<Incoming>,
    script: impl Fn(&Asked) -> Said,
    book: &Mutex<Vec<Asked>>,
) -> Said {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let asked = Asked { verb: head.method, headers: head.headers, body };
    book.lock().push(asked.clone());
    script(&asked)
}
