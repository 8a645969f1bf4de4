use std::{pin::Pin, task::Poll};

use axum::routing::get;
use http_body::Frame;
use http_body_util::{BodyExt, Empty};

use super::*;
use crate::{domain::FixedClock, edge::furnished::furnished};

struct House {
    front: Front,
    _folder: tempfile::TempDir,
}

/// A front door to an empty house with this office.
fn house(office: axum::Router) -> House {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::default());
    let settings = Settings::default();
    let (sessions, folder) = furnished(settings.sessions.clone(), &clock);
    let guard = Guard::new(&[], &["gateway".to_owned()], &[]);
    let site = Site::new(None, &crate::access::Settings::default());
    let front = Front::new(&settings, (guard, site), sessions, office, clock);
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
    let request = Request::get("/panics").header("host", "gateway").header("x-request-id", "r1");

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
