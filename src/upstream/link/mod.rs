//! An instance that is spoken to over one connection that stays open and carries messages both
//! ways: opened when it is needed, shared by all who call it, opened anew when it was lost.

#[cfg(test)]
mod scripted;
mod sse;
#[cfg(test)]
mod tests;
mod websocket;

use std::{pin::pin, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    select,
    sync::{SetOnce, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use self::{sse::EventStream, websocket::Socket};
use crate::{
    domain::{Clock, InstanceId},
    upstream::{
        Error, Peer,
        callers::Callers,
        dialogue::{Dialogue, GivingUp, Outgoing, Question},
        error::{End, Limit, Loss},
        handshake::{self, Greeted, Greeting, Patience},
        http::{self, Site},
        party::{Ask, Guest},
    },
    wire::{Answer, Era},
};

/// What all instances share that are spoken to over such a connection.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) http: http::Ground,
    pub(super) clock: Arc<dyn Clock>,
}

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// An event stream one way, and requests the other.
    Sse,
    /// One WebSocket.
    Websocket,
}

/// An instance that is spoken to over such a connection.
#[derive(Debug)]
pub(super) struct Link {
    id: InstanceId,
    carrier: Carrier,
    site: Site,
    ground: Ground,
    /// What its one client can be asked, as JSON; none where all share it.
    own: Option<Guest>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    life: Option<Arc<Life>>,
    /// How it was spoken to last time.
    era: Option<Era>,
    peer: Option<Arc<Peer>>,
    is_closed: bool,
}

/// One life of the connection.
#[derive(Debug)]
struct Life {
    dialogue: Dialogue,
    greeted: SetOnce<Greeted>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// An open connection.
enum Open {
    Sse(Box<EventStream>),
    Websocket(Box<Socket>),
}

impl Link {
    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.ground.http.tasks
    }

    pub(super) fn new(id: InstanceId, carrier: Carrier, site: Site, ground: Ground) -> Self {
        // Event streams are older than the stateless revision.
        let era = (carrier == Carrier::Sse).then_some(Era::Legacy);
        let state = Mutex::new(State { era, ..State::default() });
        Self { id, carrier, site, ground, own: None, state }
    }

    /// Another connection to the same server, for one client alone.
    pub(super) fn for_one(&self, guest: Guest) -> Self {
        let own = Self::new(self.id, self.carrier, self.site.clone(), self.ground.clone());
        let state = State { era: Some(Era::Legacy), ..State::default() };
        Self { own: Some(guest), state: Mutex::new(state), ..own }
    }

    /// Puts a question and waits for its answer.
    pub(super) async fn ask(self: &Arc<Self>, ask: Ask<'_>) -> Result<Answer, Error> {
        let mut has_tried = false;
        loop {
            let (life, greeting) = self.awake(ask.deadline).await?;
            let era = greeting.terms.era();
            let question = Question { ask, era, giving_up: GivingUp::Cancels };
            match life.dialogue.ask(question).await {
                // It was about to end, and the question never reached the server.
                Err(Error::Lost { was_delivered: false, .. }) if !has_tried => has_tried = true,
                outcome => return outcome,
            }
        }
    }

    /// What the server says of itself.
    pub(super) async fn describe(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Peer>, Error> {
        Ok(Arc::clone(&self.awake(deadline).await?.1.peer))
    }

    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        self.state.lock().peer.clone()
    }

    /// Returns when the connection, opened where it was not, has ended.
    pub(super) async fn stand(self: &Arc<Self>, deadline: Instant) {
        if let Ok((life, _)) = self.awake(deadline).await {
            life.ended.cancelled().await;
        }
    }

    /// Refuses what was asked when nobody called, and nobody called since.
    pub(super) fn purge(&self) {
        let life = self.state.lock().life.clone();
        if let Some(life) = life {
            life.dialogue.purge();
        }
    }

    /// Ends the connection, for good.
    pub(super) async fn close(&self) {
        let life = {
            let mut state = self.state.lock();
            state.is_closed = true;
            state.life.clone()
        };
        if let Some(life) = life {
            life.stop.cancel();
            life.ended.cancelled().await;
        }
    }

    /// The open connection and how the server is spoken to. Opens it where it is not.
    async fn awake(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<(Arc<Life>, Arc<Greeting>), Error> {
        loop {
            let life = self.life()?;
            let limit = Limit::until(deadline);
            let greeted = timeout_at(deadline, life.greeted.wait()).await;
            let greeted = greeted.map_err(|_| Error::TooSlow { limit, was_delivered: false })?;
            match greeted.clone() {
                Greeted::Well(greeting) => return Ok((life, greeting)),
                // This happens once, as from then on it is spoken to as of old.
                Greeted::Fatally => {}
                Greeted::Failed(error) => return Err(error.before_asking()),
            }
        }
    }

    fn life(self: &Arc<Self>) -> Result<Arc<Life>, Error> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Error::Closed);
        }
        if let Some(life) = state.life.as_ref().filter(|life| life.dialogue.is_open()) {
            return Ok(Arc::clone(life));
        }
        let http = &self.ground.http;
        let callers = Callers::new(self.id, self.own.as_ref(), http.board.clone());
        let capabilities =
            self.own.as_ref().map_or_else(|| "{}".into(), |own| own.capabilities.clone());
        let (limit, clock) = (http.settings.in_flight_per_instance, Arc::clone(&self.ground.clock));
        let (dialogue, outgoing) = Dialogue::new(limit, callers, capabilities, clock);
        let life = Arc::new(Life {
            dialogue,
            greeted: SetOnce::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        state.life = Some(Arc::clone(&life));
        let era = state.era;
        http.tasks.spawn(Arc::clone(self).live(Arc::clone(&life), outgoing, era));
        Ok(life)
    }

    /// The connection's task: opens it, carries its messages, and sees it to its end.
    async fn live(
        self: Arc<Self>,
        life: Arc<Life>,
        outgoing: mpsc::Receiver<Outgoing>,
        era: Option<Era>,
    ) {
        // Whatever happens here, nobody waits for an end that does not come.
        let _ended = life.ended.clone().drop_guard();
        let (loss, greeted) = match self.talk(&life, outgoing, era).await {
            Ok(loss) if era.is_none() && loss != Loss::Stopped => (loss, Greeted::Fatally),
            Ok(loss) => (loss, Greeted::Failed(Error::Lost { loss, was_delivered: false })),
            Err(error) => (Loss::Broken, Greeted::Failed(error)),
        };
        self.settle(&life, loss, greeted);
    }

    /// Carries messages until something ends it.
    async fn talk(
        &self,
        life: &Life,
        outgoing: mpsc::Receiver<Outgoing>,
        era: Option<Era>,
    ) -> Result<Loss, Error> {
        let Some(open) = life.stop.run_until_cancelled(self.open()).await else {
            return Ok(Loss::Stopped);
        };
        let open = open?;
        let carrying = async {
            match open {
                Open::Sse(stream) => stream.carry(&life.dialogue, outgoing, &life.stop).await,
                Open::Websocket(socket) => socket.carry(&life.dialogue, outgoing, &life.stop).await,
            }
        };
        let mut carrying = pin!(carrying);
        select! {
            loss = &mut carrying => return Ok(loss),
            () = self.greet(life, era) => {}
        }
        Ok(carrying.await)
    }

    async fn open(&self) -> Result<Open, Error> {
        let http = &self.ground.http;
        let deadline = Instant::now() + http.settings.connect() + http.settings.probe();
        let limit = Limit::until(deadline);
        let opening = async {
            Ok(match self.carrier {
                Carrier::Sse => Open::Sse(Box::new(EventStream::open(&self.site, http).await?)),
                Carrier::Websocket => {
                    Open::Websocket(Box::new(Socket::open(&self.site, http).await?))
                }
            })
        };
        let too_slow = |_| Error::TooSlow { limit, was_delivered: false };
        timeout_at(deadline, opening).await.map_err(too_slow)?
    }

    /// Opens the conversation and tells those who wait for it.
    async fn greet(&self, life: &Life, era: Option<Era>) {
        let settings = &self.ground.http.settings;
        let deadline = Instant::now() + settings.start();
        let patience = Patience { probe: settings.probe(), deadline };
        let greeted = match handshake::greet(&life.dialogue, era, patience).await {
            Ok(greeting) => {
                let mut state = self.state.lock();
                state.era = Some(greeting.terms.era());
                state.peer = Some(Arc::clone(&greeting.peer));
                Greeted::Well(Arc::new(greeting))
            }
            // Whoever ended the dialogue also says how it went.
            Err(Error::Lost { .. }) => return,
            Err(error) => {
                life.stop.cancel();
                Greeted::Failed(error)
            }
        };
        let _ = life.greeted.set(greeted);
    }

    /// Takes note of the end of a life, and tells everybody who waits.
    fn settle(&self, life: &Arc<Life>, loss: Loss, greeted: Greeted) {
        debug!(instance = %self.id, "its connection {loss}");
        let mut state = self.state.lock();
        if state.life.as_ref().is_some_and(|current| Arc::ptr_eq(current, life)) {
            state.life = None;
        }
        if matches!(greeted, Greeted::Fatally) && life.greeted.get().is_none() {
            state.era = Some(Era::Legacy);
        }
        drop(state);
        // Where it was greeted before, it stays so.
        let _ = life.greeted.set(greeted);
        life.dialogue.end(End::Connection(loss));
    }
}
