//! Channels: clients with one connection that carries messages both ways, whatever it is made of.
//!
//! A channel takes one message at a time and says what it has to say to its outbox. Nothing leads
//! back to a client whose connection is gone, so everything of a channel ends with it: its calls,
//! what it listens to, and its session.

mod batch;
mod outbox;
mod settings;
#[cfg(test)]
mod tests;
mod way;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

pub(crate) use self::settings::Settings;
pub(super) use self::{outbox::Outbox, way::Way};
use crate::{
    access::{Credential, Leash, Reach},
    domain::{RequestId, Scope},
    edge::{
        arrival::{Arrival, Inside},
        body::Whole,
        converse::{self, CANCELLED},
        legacy, modern,
        session::{InUse, Out, Session, translate},
    },
    problem::{Kind, Problem},
    wire::{self, Malformed, Message, Method, Notice, RawId, Request, Tells},
};

/// Who speaks on a channel, and what they see through it.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) scope: Scope,
    pub(super) credential: Credential,
    pub(super) via: &'static str,
    pub(super) from: Option<IpAddr>,
}

/// Why a channel ends from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its client's credential opens nothing any more.
    Stranger,
    /// Its session was ended.
    SessionOver,
    /// The doors close, and all its calls are answered.
    Closing,
}

/// What came of something that ran.
enum Done {
    /// A call of the stateless revision was answered, or was cancelled.
    Modern(RawId),
    /// A handshake was answered, and this session opened with it.
    Opened(Box<(Session, Bytes)>),
    /// A handshake came to nothing.
    NotOpened,
    /// The sender of a message is nobody.
    Stranger,
    /// Something else.
    Else,
}

/// How far its client is in the handshake of older revisions.
enum Handshake {
    None,
    Running,
    Done(
        Session,
        #[expect(dead_code, reason = "held: a session with a channel is not idle")] InUse,
    ),
}

/// One channel.
pub(super) struct Channel {
    inside: Inside,
    guest: Arc<Guest>,
    leash: Leash,
    outbox: Outbox,
    max_calls: usize,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    handshake: Handshake,
    /// What came while the handshake ran: clients that do not wait for its answer.
    held: VecDeque<Whole>,
    is_listening: bool,
    /// Calls of the stateless revision, so that their client can cancel them.
    cancels: HashMap<RawId, CancellationToken>,
    /// One of its own, so that thousands do not share a lock.
    closing: CancellationToken,
    is_closing: bool,
    is_stranger: bool,
}

impl Channel {
    /// A channel on which nothing was said yet.
    pub(super) fn new(inside: Inside, guest: Guest, outbox: Outbox, settings: &Settings) -> Self {
        Self {
            closing: inside.closing.child_token(),
            leash: inside.pipeline.leash(&guest.credential, Reach::Credential),
            inside,
            guest: Arc::new(guest),
            outbox,
            max_calls: settings.max_calls,
            running: FuturesUnordered::new(),
            handshake: Handshake::None,
            held: VecDeque::new(),
            is_listening: false,
            cancels: HashMap::new(),
            is_closing: false,
            is_stranger: false,
        }
    }

    /// Takes a message in. What comes of it is said to the outbox, now or while it runs.
    pub(super) fn take(&mut self, message: Whole) {
        if matches!(self.handshake, Handshake::Running) && self.held.len() < self.max_calls {
            return self.held.push_back(message);
        }
        if let Some(session) = self.session() {
            self.inside.sessions.hear_of(session);
        }
        // Read before it is judged, so that its sender learns which message was refused.
        let read = Message::parse(&message.bytes);
        if !self.inside.pipeline.knows(&self.guest.credential) {
            return self.refuse_stranger(&read);
        }
        match read {
            Ok(Message::Request(request)) => self.ask(request, message),
            Ok(Message::Notification(notification)) => self.heed(&notification),
            Ok(Message::Answer(answer)) => {
                let is_asked = self.session().is_some_and(|session| session.answered(answer));
                if !is_asked {
                    // It may have come too late; nobody waits for an answer to an answer.
                    tracing::debug!("a client answered what nobody asked");
                }
            }
            Err(Malformed::Batch) => self.ask_all(message),
            Err(malformed) => self.outbox.tell(Self::malformed(&malformed)),
        }
        self.listen_once();
    }

    /// Runs what runs. Comes back when the channel is to end; given up and asked again at will.
    pub(super) async fn run(&mut self) -> End {
        loop {
            if self.is_stranger {
                return End::Stranger;
            }
            if self.is_closing && self.running.is_empty() {
                return End::Closing;
            }
            let over = self.session().map(|session| session.over().clone());
            let over = async {
                match &over {
                    Some(over) => over.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(done) = self.running.next() => self.after(done),
                () = self.leash.over() => return End::Stranger,
                () = over => return End::SessionOver,
                () = self.closing.cancelled(), if !self.is_closing => self.is_closing = true,
            }
        }
    }

    fn after(&mut self, done: Done) {
        match done {
            Done::Modern(id) => drop(self.cancels.remove(&id)),
            Done::Opened(opened) => {
                let (session, answer) = *opened;
                let in_use = session.in_use();
                self.handshake = Handshake::Done(session, in_use);
                self.outbox.tell(answer);
                self.take_held();
            }
            Done::NotOpened => {
                self.handshake = Handshake::None;
                self.take_held();
            }
            Done::Stranger => self.is_stranger = true,
            Done::Else => {}
        }
    }

    fn take_held(&mut self) {
        for message in std::mem::take(&mut self.held) {
            self.take(message);
        }
    }

    fn session(&self) -> Option<&Session> {
        match &self.handshake {
            Handshake::Done(session, _) => Some(session),
            _ => None,
        }
    }

    fn arrival(&self) -> Arrival {
        Arrival {
            request_id: RequestId::fresh(),
            scope: self.guest.scope.clone(),
            headers: http::HeaderMap::new(),
            credential: self.guest.credential.clone(),
            via: self.guest.via,
            from: self.guest.from,
            began: self.inside.sessions.tick(),
        }
    }

    /// Lets a request run.
    fn ask(&mut self, request: Request, message: Whole) {
        let id = request.id();
        if let Err(problem) = self.has_room(0) {
            return self.refuse(&id, &problem);
        }
        if request.meta().version.is_some() {
            return self.ask_modern(request, message);
        }
        if *request.method() == Method::Initialize {
            return self.shake_hands(request);
        }
        let (asking, outbox) = (self.legacy(request), self.outbox.clone());
        self.running.push(Box::pin(async move {
            if let Some(answer) = asking.await {
                outbox.say(answer).await;
            }
            drop(message);
            Done::Else
        }));
    }

    /// Whether another call may run beside so many that are about to.
    fn has_room(&self, about_to: usize) -> Result<(), Problem> {
        if self.is_closing {
            return Err(Problem::new(Kind::Unavailable, "the gateway closes"));
        }
        let limit = self.max_calls;
        if self.running.len() + about_to < limit {
            return Ok(());
        }
        let message = format!(
            "{limit} calls run on this connection, which is the limit edge.channels.max_calls"
        );
        Err(Problem::new(Kind::Limited, message))
    }

    fn ask_modern(&mut self, request: Request, message: Whole) {
        let id = request.id();
        let cancelled = CancellationToken::new();
        if self.cancels.contains_key(&id) {
            let problem = Problem::new(Kind::Invalid, "another request of this id still runs");
            return self.refuse(&id, &problem.with_rpc(-32_600));
        }
        self.cancels.insert(id.clone(), cancelled.clone());
        let (inside, arrival, outbox) = (self.inside.clone(), self.arrival(), self.outbox.clone());
        self.running.push(Box::pin(async move {
            let asked = modern::ask_on_channel(&inside, arrival, request, &outbox, &cancelled);
            if let Some(answer) = Box::pin(asked).await {
                outbox.say(answer).await;
            }
            drop(message);
            Done::Modern(id)
        }));
    }

    fn shake_hands(&mut self, request: Request) {
        let id = request.id();
        if !matches!(self.handshake, Handshake::None) {
            let problem = Problem::new(Kind::Invalid, "initialize was said already");
            return self.refuse(&id, &problem.with_rpc(-32_600));
        }
        self.handshake = Handshake::Running;
        let (inside, arrival, outbox) = (self.inside.clone(), self.arrival(), self.outbox.clone());
        self.running.push(Box::pin(async move {
            match legacy::open(&inside, &arrival, &request, Some(outbox.clone())).await {
                Ok(opened) => Done::Opened(Box::new(opened)),
                Err((problem, _)) => {
                    outbox.tell(wire::rpc_error(&problem, &id, &arrival.request_id));
                    Done::NotOpened
                }
            }
        }));
    }

    /// What comes of a request of an older revision; nothing where it was cancelled.
    fn legacy(&self, request: Request) -> BoxFuture<'static, Option<Bytes>> {
        let (inside, arrival, id) = (self.inside.clone(), self.arrival(), request.id());
        let request_id = arrival.request_id.clone();
        let told = move |answer: Result<Bytes, Problem>| match answer {
            Ok(answer) => Some(answer),
            Err(problem) if problem.rpc_code() == CANCELLED => None,
            Err(problem) => Some(wire::rpc_error(&problem, &id, &request_id)),
        };
        let Some(session) = self.session().cloned() else {
            return Box::pin(async move { told(ask_nobody(&inside, &arrival, &request).await) });
        };
        let out = Some(Out::Line(self.outbox.clone()));
        Box::pin(async move { told(converse::call(inside, arrival, session, request, out).await) })
    }

    /// Does what a notification says.
    fn heed(&self, notification: &Request) {
        if let Tells::Cancelled { id } = Notice::read(notification).tells()
            && let Some(cancelled) = self.cancels.get(&RawId::read(id))
        {
            cancelled.cancel();
        }
        if let Some(session) = self.session() {
            translate::heed(session, notification);
        }
    }

    /// Begins to listen for an older client once it goes on after its handshake.
    fn listen_once(&mut self) {
        let Some(session) = self.session().cloned().filter(|_| !self.is_listening) else { return };
        self.is_listening = true;
        let (inside, arrival) = (self.inside.clone(), self.arrival());
        self.running.push(Box::pin(async move {
            if let Err(problem) = inside.listen(&arrival, &session).await {
                tracing::warn!(reason = problem.message(), "a channel hears of no changes");
            }
            Done::Else
        }));
    }

    fn refuse(&self, id: &RawId, problem: &Problem) {
        self.outbox.tell(wire::rpc_error(problem, id, &RequestId::fresh()));
    }

    fn malformed(malformed: &Malformed) -> Bytes {
        let problem =
            Problem::new(Kind::Invalid, malformed.to_string()).with_rpc(malformed.rpc_code());
        wire::rpc_error(&problem, &malformed.id(), &RequestId::fresh())
    }

    /// Says no to whoever is nobody any more, by way of the path, which writes it down.
    fn refuse_stranger(&mut self, read: &Result<Message, Malformed>) {
        self.running.clear();
        let id = match read {
            Ok(Message::Request(request)) => Some(request.id()),
            _ => None,
        };
        let (inside, arrival, outbox) = (self.inside.clone(), self.arrival(), self.outbox.clone());
        self.running.push(Box::pin(async move {
            let passed = inside.pass(&arrival, None).await;
            if let (Err(problem), Some(id)) = (passed, id) {
                outbox.tell(wire::rpc_error(&problem, &id, &arrival.request_id));
            }
            Done::Stranger
        }));
    }
}

/// What a request gets before there was a handshake.
async fn ask_nobody(
    inside: &Inside,
    arrival: &Arrival,
    request: &Request,
) -> Result<Bytes, Problem> {
    inside.pass(arrival, None).await?;
    if *request.method() == Method::Ping {
        return Ok(translate::nothing(&request.id()));
    }
    let message = "begin with initialize, or send the _meta of 2026-07-28";
    Err(Problem::new(Kind::Invalid, message).with_rpc(-32_600))
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(session) = self.session() {
            self.inside.sessions.end(session.id());
        }
    }
}
