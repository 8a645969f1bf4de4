//! Streamable HTTP: one POST a request.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports#streamable-http>

mod answer;
mod client;
mod head;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, Method as Verb, Uri};
use http_body_util::Full;
use hyper::{Response, body::Incoming};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::debug;

pub(super) use self::client::{Client, client};
pub(crate) use self::head::may_be_shown;
use self::{
    answer::{Form, Messages, whole},
    head::Heads,
};
use crate::{
    domain::{HttpUrl, Secret},
    upstream::{
        Error, Peer, Settings,
        dialogue::cancellation,
        error::{Limit, Oddity},
        handshake::{self, Greeting, Line, Patience, Reply, Terms},
        heard::{Heard, reply_to},
    },
    wire::{Address, Answer, Era, Onward, Outcome, Request, header::SESSION_ID},
};

/// The longest body read of an answer that says no.
const REFUSAL_BYTES: usize = 64 * 1_024;
/// How long a server may take to let go of a session.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all instances that are reached over HTTP share.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) client: Client,
    pub(super) settings: Arc<Settings>,
    pub(super) tasks: TaskTracker,
}

/// An instance reached over HTTP.
#[derive(Debug)]
pub(super) struct Http {
    ground: Ground,
    uri: Uri,
    heads: Heads,
    last_id: AtomicU64,
    agreed: ArcSwapOption<Agreed>,
    /// Held by whoever opens the conversation, so that only one does.
    opening: tokio::sync::Mutex<()>,
}

/// An opened conversation, with the headers that are the same in all of it.
#[derive(Debug)]
struct Agreed {
    greeting: Greeting,
    headers: HeaderMap,
}

/// A message to be posted.
struct Letter<'a> {
    /// The headers of every message of the conversation.
    constant: &'a HeaderMap,
    headers: HeaderMap,
    id: u64,
    body: Bytes,
}

impl Http {
    pub(super) fn new<'a>(
        ground: Ground,
        url: &HttpUrl,
        shown: impl IntoIterator<Item = (&'a String, &'a Secret)>,
    ) -> Self {
        Self {
            ground,
            uri: url.uri().clone(),
            heads: Heads::new(url.uri(), shown),
            last_id: AtomicU64::new(0),
            agreed: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// What the server said of itself, if it was asked.
    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        self.agreed.load().as_ref().map(|agreed| Arc::clone(&agreed.greeting.peer))
    }

    /// What the server says of itself.
    pub(super) async fn describe(&self, deadline: Instant) -> Result<Arc<Peer>, Error> {
        Ok(Arc::clone(&self.agreed(deadline).await?.greeting.peer))
    }

    /// Puts a question and waits for its answer.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: &Request,
        address: Address<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let agreed = self.agreed(deadline).await?;
        let reply = self.put_to(&agreed, request, address, deadline).await;
        let reply = reply.inspect_err(|error| {
            // Whoever comes back may have become another.
            if matches!(error, Error::Unreachable { .. }) {
                self.forget(&agreed);
            }
        })?;
        if !handshake::breaks_terms(&agreed.greeting.terms, &reply) {
            return reply.into_answer();
        }
        debug!("a server wants its conversation opened anew");
        self.forget(&agreed);
        let agreed = self.agreed(deadline).await?;
        self.put_to(&agreed, request, address, deadline).await?.into_answer()
    }

    async fn put_to(
        self: &Arc<Self>,
        agreed: &Arc<Agreed>,
        request: &Request,
        address: Address<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let era = agreed.greeting.terms.era();
        let id = self.fresh_id();
        let mut headers = agreed.headers.clone();
        if era == Era::Modern {
            head::add_routing(&mut headers, request, address);
        }
        let body = request.onward(Onward { id, subject: address.subject, era });
        // A server of the stateless revision takes a closed connection for a cancellation.
        let mut giving_up = (era == Era::Legacy).then(|| GivingUp::new(self, agreed, id));
        let letter = Letter { constant: &agreed.headers, headers, id, body };
        let reply = self.post_in_time(letter, deadline).await;
        // A call that ran out of time is given up like one that nobody waits for.
        if let Some(giving_up) = &mut giving_up
            && !matches!(reply, Err(Error::TooSlow { .. }))
        {
            giving_up.is_needless = true;
        }
        reply
    }

    async fn agreed(&self, deadline: Instant) -> Result<Arc<Agreed>, Error> {
        if let Some(agreed) = self.agreed.load_full() {
            return Ok(agreed);
        }
        let limit = Limit::until(deadline);
        let opening = timeout_at(deadline, self.opening.lock()).await;
        let _opening = opening.map_err(|_| Error::TooSlow { limit, was_delivered: false })?;
        if let Some(agreed) = self.agreed.load_full() {
            return Ok(agreed);
        }
        let patience = Patience { probe: self.ground.settings.probe(), deadline };
        let greeting =
            handshake::greet(self, None, patience).await.map_err(Error::before_asking)?;
        let headers = self.heads.on(&greeting.terms);
        let agreed = Arc::new(Agreed { greeting, headers });
        self.agreed.store(Some(Arc::clone(&agreed)));
        Ok(agreed)
    }

    fn forget(&self, agreed: &Arc<Agreed>) {
        // Another may have opened a new conversation already.
        self.agreed.compare_and_swap(agreed, None);
    }

    /// Lets go of the session, where there is one.
    pub(super) async fn close(&self) {
        let Some(agreed) = self.agreed.swap(None) else { return };
        if !agreed.headers.contains_key(SESSION_ID) {
            return;
        }
        let farewell = self.send(Verb::DELETE, agreed.headers.clone(), Bytes::new());
        // A server that does not hear it lets the session go in its own time.
        let _ = timeout(FAREWELL, farewell).await;
    }

    fn fresh_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn post_in_time(&self, letter: Letter<'_>, deadline: Instant) -> Result<Reply, Error> {
        let limit = Limit::until(deadline);
        let too_slow = |_| Error::TooSlow { limit, was_delivered: true };
        timeout_at(deadline, self.post(letter)).await.map_err(too_slow)?
    }

    async fn post(&self, letter: Letter<'_>) -> Result<Reply, Error> {
        let response = self.send(Verb::POST, letter.headers, letter.body).await?;
        let (head, body) = response.into_parts();
        let session = head.headers.get(SESSION_ID).cloned();
        if !head.status.is_success() {
            return Ok(Reply { answer: refusal(body).await, refusal: Some(head.status), session });
        }
        let limit = self.ground.settings.answer_bytes;
        let answer = match Form::of(&head.headers)? {
            Form::Json => checked(Answer::parse(&whole(body, limit).await?)?, letter.id)?,
            Form::Events => {
                let messages = Messages::new(body, limit);
                self.listen(messages, letter.id, letter.constant).await?
            }
        };
        Ok(Reply { answer: Some(answer), refusal: None, session })
    }

    /// Listens for the answer. What else comes is not for the gateway, which says so where it is
    /// asked.
    async fn listen(
        &self,
        mut messages: Messages,
        id: u64,
        constant: &HeaderMap,
    ) -> Result<Answer, Error> {
        while let Some(heard) = messages.next().await? {
            match heard {
                Heard::Answer(answer) => {
                    let answer = checked(answer, id)?;
                    messages.drain(&self.ground.tasks);
                    return Ok(answer);
                }
                Heard::Question(question) => {
                    let reply = self.send(Verb::POST, constant.clone(), reply_to(&question)).await;
                    let status = reply?.status();
                    debug!(%status, "refused what a server asked: {}", question.method());
                }
                Heard::Word => {}
                Heard::Noise(reason) => debug!(%reason, "an event of a server is no message"),
            }
        }
        Err(Oddity::NoAnswer.into())
    }

    async fn send(
        &self,
        verb: Verb,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = verb;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        let sent = self.ground.client.request(request).await;
        sent.map_err(|error| told(error, self.ground.settings.header_bytes))
    }

    async fn notify(&self, headers: HeaderMap, notification: Bytes) -> Result<(), Error> {
        let response = self.send(Verb::POST, headers, notification).await?;
        let status = response.status();
        // The body is read so that the connection can be used again.
        let _ = whole(response.into_body(), REFUSAL_BYTES).await;
        if status.is_success() { Ok(()) } else { Err(Error::Refused { status }) }
    }
}

impl Line for Http {
    // Over HTTP silence is only silence.
    const SILENCE_IS_AN_ANSWER: bool = false;

    async fn put(
        &self,
        terms: &Terms,
        request: &Request,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let constant = self.heads.on(terms);
        let id = self.fresh_id();
        let mut headers = constant.clone();
        if terms.era() == Era::Modern {
            head::add_routing(&mut headers, request, Address::default());
        }
        let body = request.onward(Onward { id, subject: None, era: terms.era() });
        self.post_in_time(Letter { constant: &constant, headers, id, body }, deadline).await
    }

    async fn tell(
        &self,
        terms: &Terms,
        notification: Bytes,
        deadline: Instant,
    ) -> Result<(), Error> {
        let limit = Limit::until(deadline);
        let telling = self.notify(self.heads.on(terms), notification);
        let too_slow = |_| Error::TooSlow { limit, was_delivered: false };
        timeout_at(deadline, telling).await.map_err(too_slow)?
    }
}

/// The answer, if it is the one to this request. An error may come without an id.
fn checked(answer: Answer, id: u64) -> Result<Answer, Error> {
    let is_error = matches!(answer.outcome(), Outcome::Error { .. });
    match answer.id() {
        Some(other) if other != id => Err(Oddity::WrongId.into()),
        None if !is_error => Err(Oddity::WrongId.into()),
        _ => Ok(answer),
    }
}

/// The JSON-RPC error in the body of an answer that says no. It is about this request, whatever
/// id it bears.
async fn refusal(body: Incoming) -> Option<Answer> {
    let body = whole(body, REFUSAL_BYTES).await.ok()?;
    let answer = Answer::parse(&body).ok()?;
    matches!(answer.outcome(), Outcome::Error { .. }).then_some(answer)
}

/// What a failed request means.
fn told(error: hyper_util::client::legacy::Error, header_bytes: usize) -> Error {
    if error.is_connect() {
        return Error::unreachable(error);
    }
    let cause = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    match cause {
        Some(cause) if cause.is_parse_too_large() => Error::TooLarge { limit_bytes: header_bytes },
        Some(cause) if cause.is_parse() => Oddity::NotHttp(cause.to_string()).into(),
        _ => Error::broken(error),
    }
}

/// Lets a server of an older revision know, when dropped, that nobody waits for an answer any
/// more: to it, a closed connection says nothing.
struct GivingUp {
    http: Arc<Http>,
    agreed: Arc<Agreed>,
    id: u64,
    is_needless: bool,
}

impl GivingUp {
    fn new(http: &Arc<Http>, agreed: &Arc<Agreed>, id: u64) -> Self {
        Self { http: Arc::clone(http), agreed: Arc::clone(agreed), id, is_needless: false }
    }
}

impl Drop for GivingUp {
    fn drop(&mut self) {
        if self.is_needless || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let http = Arc::clone(&self.http);
        let headers = self.agreed.headers.clone();
        let notice = cancellation(self.id);
        self.http.ground.tasks.spawn(async move {
            // A server that does not hear it works in vain.
            let _ = timeout(FAREWELL, http.notify(headers, notice)).await;
        });
    }
}
