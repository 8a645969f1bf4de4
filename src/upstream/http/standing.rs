//! Streams that stand open beside the calls: what a server of an older revision says and asks on
//! its own, and streams that are taken up again where they broke.
//!
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server>

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method as Verb,
    header::{ACCEPT, CONTENT_TYPE},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Form, Http, Messages};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How long is waited for a stream to be open before calls are made.
const OPENING: Duration = Duration::from_millis(500);
/// The pause before a stream is opened again, where its server does not say.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often in a row a stream is taken up again that brings nothing.
const VAIN_TRIES: u32 = 5;

impl Http {
    /// Listens to what the server says on its own until the conversation is over. A server that
    /// has no such stream is left alone. Waits for the stream to be open, for a while: some servers
    /// lose what they would say before.
    pub(super) async fn stand(self: &Arc<Self>, headers: &HeaderMap, over: &CancellationToken) {
        let (open, mut is_open) = oneshot::channel();
        let (http, headers, over) = (Arc::clone(self), headers.clone(), over.clone());
        self.ground.tasks.spawn(async move {
            over.run_until_cancelled(http.listen_on(&headers, open)).await;
        });
        // Who has no stream drops the sender, which is an answer too.
        drop(timeout(OPENING, &mut is_open).await);
    }

    async fn listen_on(self: &Arc<Self>, headers: &HeaderMap, open: oneshot::Sender<()>) {
        let mut open = Some(open);
        let mut last_id = None;
        let mut vain = 0;
        while vain < VAIN_TRIES {
            let Some(mut messages) = self.open_stream(headers, last_id.as_deref()).await else {
                return;
            };
            open.take();
            vain += 1;
            loop {
                match messages.next().await {
                    Ok(Some(heard)) => {
                        vain = 0;
                        self.hear(heard, None, headers);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        debug!(%error, "a server's own stream broke");
                        break;
                    }
                }
            }
            last_id = messages.last_id().map(str::to_owned).or(last_id);
            sleep(pause(&messages)).await;
        }
    }

    /// The stream that goes on where another broke; none where its server has no such thing.
    pub(super) async fn resume(
        self: &Arc<Self>,
        broken: &Messages,
        constant: &HeaderMap,
    ) -> Option<Messages> {
        let last_id = broken.last_id()?;
        for _ in 0..VAIN_TRIES {
            sleep(pause(broken)).await;
            if let Some(messages) = self.open_stream(constant, Some(last_id)).await {
                return Some(messages.after(last_id));
            }
        }
        None
    }

    async fn open_stream(&self, headers: &HeaderMap, last_id: Option<&str>) -> Option<Messages> {
        let mut headers = headers.clone();
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_id {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_str(id).ok()?);
        }
        let response = self.send(Verb::GET, headers, Bytes::new()).await.ok()?;
        let (head, body) = response.into_parts();
        let is_stream =
            head.status.is_success() && matches!(Form::of(&head.headers), Ok(Form::Events));
        is_stream.then(|| Messages::new(body, self.ground.settings.answer_bytes))
    }
}

fn pause(stream: &Messages) -> Duration {
    stream.retry_ms().map_or(PAUSE, Duration::from_millis).min(LONGEST_PAUSE)
}
