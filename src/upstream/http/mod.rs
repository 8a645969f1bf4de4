//! Streamable HTTP: one POST a request.
//!
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports#streamable-http>

mod answer;
mod client;
mod ground;
mod head;
mod papers;
#[cfg(test)]
mod scripted;
mod standing;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, Method as Verb};
use hyper::{Response, body::Incoming};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::debug;

pub(super) use self::client::{Dials, client, client_that};
pub(super) use self::ground::Ground;
pub(super) use self::{
    answer::{Form, Messages, whole},
    head::{Site, credentials},
};
pub(crate) use self::{
    head::may_be_shown,
    papers::{Papers, UnusablePapers},
};
use crate::{
    domain::InstanceId,
    upstream::{
        Error, Peer,
        callers::Callers,
        dialogue::cancellation,
        error::{Limit, Oddity},
        handshake::{self, Greeting, Line, Patience, Reply, Terms},
        heard::Heard,
        party::{Ask, Guest},
    },
    wire::{Address, Answer, Asks, Era, Onward, Outcome, Request, header::SESSION_ID},
};

/// The longest body read of an answer that says no.
pub(super) const REFUSAL_BYTES: usize = 64 * 1_024;
/// How long a server may take to let go of a session.
const FAREWELL: Duration = Duration::from_secs(1);

/// An instance reached over HTTP.
#[derive(Debug)]
pub(super) struct Http {
    id: InstanceId,
    ground: Ground,
    callers: Callers,
    /// What those who share the conversation can be asked, as JSON.
    capabilities: Arc<str>,
    /// How it is known to be spoken to before the conversation is opened.
    era: Option<Era>,
    site: Site,
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
    /// Ends what belongs to the conversation when it is over.
    _over: DropGuard,
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
    pub(super) fn new(id: InstanceId, ground: Ground, site: Site) -> Self {
        Self::with(id, ground, site, None)
    }

    fn with(id: InstanceId, ground: Ground, site: Site, own: Option<Guest>) -> Self {
        Self {
            id,
            callers: Callers::new(id, own.as_ref(), ground.board.clone()),
            era: own.as_ref().map(|_| Era::Legacy),
            capabilities: own.map_or_else(|| "{}".into(), |own| own.capabilities),
            ground,
            site,
            last_id: AtomicU64::new(0),
            agreed: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// Another conversation with the same server, of an older revision, for one client alone.
    pub(super) fn for_one(&self, guest: Guest) -> Self {
        Self::with(self.id, self.ground.clone(), self.site.clone(), Some(guest))
    }

    pub(in crate::upstream) const fn tasks(&self) -> &TaskTracker {
        &self.ground.tasks
    }

    /// Refuses what was asked when nobody called, and nobody called since.
    pub(super) fn purge(&self) {
        self.callers.purge();
    }

    /// What the server said of itself, if it was asked.
    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        self.agreed.load().as_ref().map(|agreed| Arc::clone(&agreed.greeting.peer))
    }

    /// What the server says of itself.
    pub(super) async fn describe(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Peer>, Error> {
        Ok(Arc::clone(&self.agreed(deadline).await?.greeting.peer))
    }

    /// Puts a question and waits for its answer.
    pub(super) async fn ask(self: &Arc<Self>, ask: Ask<'_>) -> Result<Answer, Error> {
        let agreed = self.agreed(ask.deadline).await?;
        let reply = self.put_to(&agreed, ask).await;
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
        let agreed = self.agreed(ask.deadline).await?;
        Box::pin(self.put_to(&agreed, ask)).await?.into_answer()
    }

    async fn put_to(self: &Arc<Self>, agreed: &Arc<Agreed>, ask: Ask<'_>) -> Result<Reply, Error> {
        let Ask { request, address, asks, .. } = ask;
        let era = agreed.greeting.terms.era();
        let id = self.fresh_id();
        let mut headers = agreed.headers.clone();
        if era == Era::Modern {
            head::add_routing(&mut headers, request, address);
        }
        let body = request.onward(Onward { id, subject: address.subject, era, asks });
        let _entered = ask.ear.map(|ear| self.callers.enter(id, ear, &ask));
        // A server of the stateless revision takes a closed connection for a cancellation.
        let mut giving_up = (era == Era::Legacy).then(|| GivingUp::new(self, agreed, id));
        let letter = Letter { constant: &agreed.headers, headers, id, body };
        let reply = self.post_in_time(letter, ask.deadline).await;
        // A call that ran out of time is given up like one that nobody waits for.
        if let Some(giving_up) = &mut giving_up
            && !matches!(reply, Err(Error::TooSlow { .. }))
        {
            giving_up.is_needless = true;
        }
        reply
    }

    async fn agreed(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Agreed>, Error> {
        match self.agreed.load_full() {
            Some(agreed) => Ok(agreed),
            None => Box::pin(self.open(deadline)).await,
        }
    }

    async fn open(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Agreed>, Error> {
        let limit = Limit::until(deadline);
        let opening = timeout_at(deadline, self.opening.lock()).await;
        let _opening = opening.map_err(|_| Error::TooSlow { limit, was_delivered: false })?;
        if let Some(agreed) = self.agreed.load_full() {
            return Ok(agreed);
        }
        let patience = Patience { probe: self.ground.settings.probe(), deadline };
        let greeting =
            handshake::greet(self, self.era, patience).await.map_err(Error::before_asking)?;
        let headers = self.site.heads.on(&greeting.terms);
        let over = CancellationToken::new();
        if greeting.terms.era() == Era::Legacy {
            self.stand(&headers, &over).await;
        }
        let agreed = Arc::new(Agreed { greeting, headers, _over: over.drop_guard() });
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

    async fn post_in_time(
        self: &Arc<Self>,
        letter: Letter<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let limit = Limit::until(deadline);
        let too_slow = |_| Error::TooSlow { limit, was_delivered: true };
        timeout_at(deadline, self.post(letter)).await.map_err(too_slow)?
    }

    async fn post(self: &Arc<Self>, letter: Letter<'_>) -> Result<Reply, Error> {
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
                Box::pin(self.listen(messages, letter.id, letter.constant)).await?
            }
        };
        Ok(Reply { answer: Some(answer), refusal: None, session })
    }

    /// Listens for the answer. What comes before it is for whoever made the call. A stream that
    /// ends too early is taken up again where its server lets one.
    async fn listen(
        self: &Arc<Self>,
        mut messages: Messages,
        id: u64,
        constant: &HeaderMap,
    ) -> Result<Answer, Error> {
        let mut waiting = self.callers.wait(id);
        loop {
            let heard = tokio::select! {
                biased;
                answer = waiting.elsewhere() => return Ok(answer),
                heard = self.hear_next(&mut messages, constant) => heard?,
            };
            match heard {
                Heard::Answer(answer) => {
                    let answer = checked(answer, id)?;
                    messages.drain(&self.ground.tasks);
                    return Ok(answer);
                }
                heard => self.hear(heard, Some(id), constant),
            }
        }
    }

    /// The next message of a stream, also where it must be taken up again for that.
    async fn hear_next(
        self: &Arc<Self>,
        messages: &mut Messages,
        constant: &HeaderMap,
    ) -> Result<Heard, Error> {
        loop {
            let end = match messages.next().await {
                Ok(Some(heard)) => return Ok(heard),
                Ok(None) => Oddity::NoAnswer.into(),
                Err(error @ Error::Broken { .. }) => error,
                Err(error) => return Err(error),
            };
            *messages = self.resume(messages, constant).await.ok_or(end)?;
        }
    }

    /// Hears what is no answer.
    fn hear(self: &Arc<Self>, heard: Heard, about: Option<u64>, constant: &HeaderMap) {
        match heard {
            Heard::Answer(answer) => self.callers.answer(answer),
            Heard::Question(question) => {
                let (http, headers) = (Arc::clone(self), constant.clone());
                self.callers.question(question, about, move |reply| http.reply(headers, reply));
            }
            Heard::Word(word) => self.callers.word(&word, about),
            Heard::Noise(reason) => debug!(%reason, "an event of a server is no message"),
        }
    }

    /// Answers what a server asked.
    fn reply(self: Arc<Self>, headers: HeaderMap, reply: Bytes) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let tasks = self.ground.tasks.clone();
        tasks.spawn(async move {
            let limit = self.ground.settings.connect() + FAREWELL;
            match timeout(limit, self.notify(headers, reply)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a server did not take an answer"),
                Err(_) => debug!("a server did not take an answer in time"),
            }
        });
    }

    async fn send(
        &self,
        verb: Verb,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        self.ground.send(verb, &self.site.uri, headers, body).await
    }

    async fn notify(&self, headers: HeaderMap, notification: Bytes) -> Result<(), Error> {
        let response = self.send(Verb::POST, headers, notification).await?;
        let status = response.status();
        // The body is read so that the connection can be used again.
        let _ = whole(response.into_body(), REFUSAL_BYTES).await;
        if status.is_success() { Ok(()) } else { Err(Error::Refused { status }) }
    }
}

impl Line for Arc<Http> {
    // Over HTTP silence is only silence.
    const SILENCE_IS_AN_ANSWER: bool = false;

    fn capabilities(&self) -> &str {
        &self.capabilities
    }

    async fn put(
        &self,
        terms: &Terms,
        request: &Request,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let constant = self.site.heads.on(terms);
        let id = self.fresh_id();
        let mut headers = constant.clone();
        // A handshake bears them too: it may be for a server of today's revision alone, which wants
        // to see them before it says so.
        head::add_routing(&mut headers, request, Address::default());
        let asks = Asks::default();
        let body = request.onward(Onward { id, subject: None, era: terms.era(), asks });
        self.post_in_time(Letter { constant: &constant, headers, id, body }, deadline).await
    }

    async fn tell(
        &self,
        terms: &Terms,
        notification: Bytes,
        deadline: Instant,
    ) -> Result<(), Error> {
        let limit = Limit::until(deadline);
        let telling = self.notify(self.site.heads.on(terms), notification);
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
