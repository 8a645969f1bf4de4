//! HTTP+SSE of 2024-11-05: one event stream brings everything a server says; what is said to it is
//! posted to an address that the stream's first event names.
//!
//! <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{
    HeaderMap, HeaderValue, Method as Verb, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE},
};
use tokio::{select, sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    domain::HttpUrl,
    upstream::{
        Error,
        dialogue::{Dialogue, Outgoing},
        error::{End, Loss, Oddity},
        handshake::Terms,
        http::{Form, Ground, Messages, REFUSAL_BYTES, Site, whole},
    },
    wire::Event,
};

/// How long a server may take to take a reply or a notification. The next message waits for it:
/// that a conversation is open must be heard before what is asked in it.
const WORD: Duration = Duration::from_secs(5);

/// An open event stream, and where messages are posted.
pub(super) struct EventStream {
    messages: Messages,
    postbox: Postbox,
}

/// Where messages are posted.
struct Postbox {
    uri: Uri,
    headers: HeaderMap,
    ground: Ground,
}

impl EventStream {
    /// Opens the stream and reads where messages go.
    pub(super) async fn open(site: &Site, ground: &Ground) -> Result<Self, Error> {
        let posted = site.heads.on(&Terms::Opening);
        let mut headers = posted.clone();
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = ground.send(Verb::GET, &site.uri, headers, Bytes::new()).await?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(Error::Refused { status: head.status });
        }
        if Form::of(&head.headers)? != Form::Events {
            return Err(Oddity::ContentType("application/json".to_owned()).into());
        }
        let mut messages = Messages::new(body, ground.settings.answer_bytes);
        let first = messages.next_event().await?.ok_or(Oddity::NoAnswer)?;
        let uri = endpoint(&site.uri, &first)?;
        let postbox = Postbox { uri, headers: posted, ground: ground.clone() };
        Ok(Self { messages, postbox })
    }

    /// Carries messages until something ends the stream.
    pub(super) async fn carry(
        self,
        dialogue: &Dialogue,
        outgoing: mpsc::Receiver<Outgoing>,
        stop: &CancellationToken,
    ) -> Loss {
        select! {
            loss = read(self.messages, dialogue) => loss,
            loss = self.postbox.write(dialogue, outgoing) => loss,
            () = stop.cancelled() => Loss::Stopped,
        }
    }
}

async fn read(mut messages: Messages, dialogue: &Dialogue) -> Loss {
    loop {
        match messages.next().await {
            Ok(Some(heard)) => {
                if let Err(reason) = dialogue.hear(heard) {
                    debug!(%reason, "an event of a server is no message");
                }
            }
            Ok(None) => return Loss::Closed,
            Err(Error::TooLarge { limit_bytes }) => return Loss::LongMessage { limit_bytes },
            Err(_) => return Loss::Broken,
        }
    }
}

/// Where messages go, as the first event says. Nobody may send the gateway, and what it shows a
/// server, somewhere else.
fn endpoint(stream: &Uri, first: &Event) -> Result<Uri, Oddity> {
    let unsaid = Oddity::Endpoint("does not say where messages go");
    if first.kind != "endpoint" {
        return Err(unsaid);
    }
    let text = std::str::from_utf8(&first.data).map_err(|_| unsaid.clone())?;
    let base = url::Url::parse(&stream.to_string()).map_err(|_| unsaid.clone())?;
    let named = base.join(text.trim()).map_err(|_| unsaid.clone())?;
    if named.origin() != base.origin() {
        return Err(Oddity::Endpoint("sends messages elsewhere"));
    }
    let named: HttpUrl = named.as_str().parse().map_err(|_| unsaid)?;
    Ok(named.uri())
}

impl Postbox {
    /// Posts what is to be said, until the server knows the stream no more.
    async fn write(&self, dialogue: &Dialogue, mut outgoing: mpsc::Receiver<Outgoing>) -> Loss {
        let limit = self.ground.settings.in_flight_per_instance.max(1);
        let mut posts = FuturesUnordered::new();
        let mut is_word_underway = false;
        loop {
            select! {
                next = outgoing.recv(), if !is_word_underway && posts.len() < limit => {
                    let Some(next) = next else { return Loss::Stopped };
                    let Some((body, question)) = dialogue.take(next) else { continue };
                    is_word_underway = question.is_none();
                    posts.push(self.post(body, question));
                }
                Some((question, outcome)) = posts.next(), if !posts.is_empty() => {
                    is_word_underway &= question.is_some();
                    if let Err(error) = outcome && let Some(loss) = settle(dialogue, question, error) {
                        return loss;
                    }
                }
            }
        }
    }

    async fn post(&self, body: Bytes, question: Option<u64>) -> (Option<u64>, Result<(), Error>) {
        // Some servers take a question only when they have answered it.
        let limit = if question.is_some() { self.ground.settings.start() } else { WORD };
        let posting = async {
            let sent = self.ground.send(Verb::POST, &self.uri, self.headers.clone(), body).await?;
            let status = sent.status();
            // The body is read so that the connection can be used again.
            let _ = whole(sent.into_body(), REFUSAL_BYTES).await;
            if status.is_success() { Ok(()) } else { Err(Error::Refused { status }) }
        };
        // It may have been taken all the same; its answer comes on the stream.
        (question, timeout(limit, posting).await.unwrap_or(Ok(())))
    }
}

/// Takes note of a message that was not taken; says whether the stream is over with it.
fn settle(dialogue: &Dialogue, question: Option<u64>, error: Error) -> Option<Loss> {
    let is_unknown = |status| [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status);
    let is_over = matches!(error, Error::Refused { status } if is_unknown(status));
    match question {
        Some(id) if is_over => dialogue.refuse(id, End::Connection(Loss::Forgotten)),
        Some(id) => dialogue.fail(id, error),
        None => debug!(%error, "a server did not take a message"),
    }
    is_over.then_some(Loss::Forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: &str, text: &'static str) -> Result<String, Oddity> {
        let stream = Uri::from_static("https://example.com:8443/a/sse?x=1");
        let first = Event { kind: kind.to_owned(), data: text.into(), id: None };
        endpoint(&stream, &first).map(|uri| uri.to_string())
    }

    #[test]
    fn messages_go_where_the_first_event_says_at_the_same_origin() {
        let good = |text| named("endpoint", text).expect(text);

        assert_eq!(good("/messages/?s=1"), "https://example.com:8443/messages/?s=1");
        assert_eq!(good("messages"), "https://example.com:8443/a/messages");
        assert_eq!(good("?s=1"), "https://example.com:8443/a/sse?s=1");
        assert_eq!(good("https://example.com:8443/m"), "https://example.com:8443/m");
    }

    #[test]
    fn messages_go_nowhere_else() {
        for elsewhere in [
            "http://example.com:8443/m",
            "https://example.com/m",
            "https://127.0.0.1:8443/m",
            "//127.0.0.1:8443/m",
            "\\\\127.0.0.1:8443\\m",
            "file:///etc/passwd",
        ] {
            let refused = named("endpoint", elsewhere);
            assert_eq!(refused, Err(Oddity::Endpoint("sends messages elsewhere")), "{elsewhere}");
        }
        for unsaid in [named("message", "/m"), named("endpoint", "https://a:b@example.com:8443/m")]
        {
            assert_eq!(unsaid, Err(Oddity::Endpoint("does not say where messages go")));
        }
    }
}
