//! An instance that is a child process: started when it is needed, shared by all who call it, left
//! alone for a while when it crashes, stopped when nobody calls.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    join, select,
    sync::{SetOnce, mpsc},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    Error, Exit, Peer, Settings,
    backoff::Backoff,
    callers::{Board, Callers},
    child::{Child, Nursery, Pipes, Program},
    dialogue::{Dialogue, GivingUp, Outgoing, Question},
    error::{End, Limit},
    handshake::{self, Greeted, Greeting, Patience},
    lines,
    party::{Ask, Guest},
    stderr::LastWords,
};
use crate::{
    domain::{Clock, InstanceId, Timestamp},
    wire::{Answer, Era},
};

/// How long a process may take to end once nobody speaks to it, before it is asked to.
const GRACE: Duration = Duration::from_millis(500);
/// How long the pipes of an ended process are read to their end.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// What all instances that are child processes share.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) nursery: Arc<Nursery>,
    pub(super) settings: Arc<Settings>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: TaskTracker,
    pub(super) board: Board,
}

/// An instance that is a child process.
#[derive(Debug)]
pub(super) struct Stdio {
    id: InstanceId,
    program: Program,
    ground: Ground,
    /// What its one client can be asked, as JSON; none where all share it.
    own: Option<Guest>,
    state: Mutex<State>,
    last_words: LastWords,
}

#[derive(Debug, Default)]
struct State {
    life: Option<Arc<Life>>,
    /// How it was spoken to last time.
    era: Option<Era>,
    peer: Option<Arc<Peer>>,
    backoff: Backoff,
    is_closed: bool,
}

/// One life of the process, from its start to its end.
#[derive(Debug)]
struct Life {
    dialogue: Dialogue,
    greeted: SetOnce<Greeted>,
    stop: CancellationToken,
    ended: CancellationToken,
    pid: i32,
    began: Timestamp,
}

/// What is known of a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildView {
    /// The number of the process the gateway started, if it runs: the command's warden.
    pub(crate) pid: Option<i32>,
    /// When it was started, if it runs.
    pub(crate) started_at: Option<Timestamp>,
    /// How often it was started after its first start.
    pub(crate) restarts: u32,
    /// The last lines of its standard error, also of earlier lives.
    pub(crate) stderr: Vec<String>,
}

impl Stdio {
    pub(super) fn new(id: InstanceId, program: Program, ground: Ground) -> Self {
        let last_words = LastWords::default();
        Self { id, program, ground, own: None, state: Mutex::default(), last_words }
    }

    /// Another process of the same program, for one client alone.
    pub(super) fn for_one(&self, guest: Guest) -> Self {
        let own = Self::new(self.id, self.program.clone(), self.ground.clone());
        let state = State { era: Some(Era::Legacy), ..State::default() };
        Self { own: Some(guest), state: Mutex::new(state), ..own }
    }

    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.ground.tasks
    }

    /// Puts a question and waits for its answer.
    pub(super) async fn ask(self: &Arc<Self>, ask: Ask<'_>) -> Result<Answer, Error> {
        let mut has_tried = false;
        loop {
            let (life, greeting) = self.awake(ask.deadline).await?;
            let era = greeting.terms.era();
            let question = Question { ask, era, giving_up: GivingUp::Cancels };
            match life.dialogue.ask(question).await {
                // It was about to end, and the question never reached it.
                Err(Error::Crashed { was_delivered: false, .. }) if !has_tried => has_tried = true,
                outcome => return outcome,
            }
        }
    }

    /// Starts the process where it does not run.
    pub(super) async fn wake(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        self.awake(deadline).await.map(drop)
    }

    /// Ends the process that runs now. It is gone when this returns; the next call starts another.
    pub(super) async fn stop(&self) {
        let life = self.state.lock().life.clone();
        if let Some(life) = life {
            life.stop.cancel();
            life.ended.cancelled().await;
        }
    }

    /// What the server says of itself; a process that sleeps is not woken for what is known.
    pub(super) async fn describe(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Peer>, Error> {
        match self.peer() {
            Some(peer) => Ok(peer),
            None => Ok(Arc::clone(&self.awake(deadline).await?.1.peer)),
        }
    }

    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        self.state.lock().peer.clone()
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.state.lock().life.as_ref().is_none_or(|life| !life.is_open())
    }

    pub(super) fn view(&self) -> ChildView {
        let state = self.state.lock();
        ChildView {
            pid: state.life.as_ref().map(|life| life.pid),
            started_at: state.life.as_ref().map(|life| life.began),
            restarts: state.backoff.restarts(),
            stderr: self.last_words.lines(),
        }
    }

    /// Stops the process if nobody called it for a while.
    pub(super) fn sleep_if_idle(&self) {
        let life = self.state.lock().life.clone();
        let Some(life) = life else { return };
        life.dialogue.purge();
        if life.dialogue.close_if_idle(self.ground.settings.idle()) {
            info!(instance = %self.id, "its process is stopped: nobody called it for a while");
            life.stop.cancel();
        }
    }

    /// Ends the process, for good. It is gone when this returns.
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

    /// The running process and how it is spoken to. Starts it where it does not run.
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
        if let Some(life) = state.life.as_ref().filter(|life| life.is_open()) {
            return Ok(Arc::clone(life));
        }
        let ground = &self.ground;
        let now = ground.clock.tick();
        if let Some(rest) = state.backoff.rest(now, &ground.settings) {
            let retry_after_seconds = rest.as_millis().div_ceil(1_000);
            let retry_after_seconds = u64::try_from(retry_after_seconds).unwrap_or(u64::MAX);
            return Err(Error::BackingOff { retry_after_seconds });
        }
        let (child, pipes) = ground.nursery.start(&self.program)?;
        state.backoff.started(now);
        let limit = ground.settings.in_flight_per_instance;
        let callers = Callers::new(self.id, self.own.as_ref(), ground.board.clone());
        let capabilities =
            self.own.as_ref().map_or_else(|| "{}".into(), |own| own.capabilities.clone());
        let clock = Arc::clone(&ground.clock);
        let (dialogue, outgoing) = Dialogue::new(limit, callers, capabilities, clock);
        let life = Arc::new(Life {
            dialogue,
            greeted: SetOnce::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            pid: child.pid().as_raw_nonzero().get(),
            began: ground.clock.now(),
        });
        state.life = Some(Arc::clone(&life));
        let era = state.era;
        ground.tasks.spawn(Arc::clone(self).live(Arc::clone(&life), child, (pipes, outgoing), era));
        Ok(life)
    }

    /// The process's task: carries its messages, and sees it to its end.
    async fn live(
        self: Arc<Self>,
        life: Arc<Life>,
        mut child: Child,
        (pipes, outgoing): (Pipes, mpsc::Receiver<Outgoing>),
        era: Option<Era>,
    ) {
        // Whatever happens here, nobody waits for an end that does not come.
        let _ended = life.ended.clone().drop_guard();
        let Pipes { stdin, stdout, stderr } = pipes;
        let listener = Arc::clone(&self);
        let mut listening = self.ground.tasks.spawn(async move {
            let settings = &listener.ground.settings;
            listener.last_words.listen(stderr, listener.id, settings).await;
        });
        let ending = {
            let reading = lines::read(&life.dialogue, stdout, self.ground.settings.line_bytes);
            let writing = lines::write(&life.dialogue, outgoing, stdin);
            life.talk(&mut child, reading, writing, self.greet(&life, era)).await
        };
        let grace = match ending {
            Ending::Gone(_) => Duration::ZERO,
            Ending::Mute => child.own_end(),
            Ending::Stopped | Ending::LongLine(_) => GRACE,
        };
        let own = child.end(grace).await;
        // What it said last is why it ended.
        if timeout(AFTERWARDS, &mut listening).await.is_err() {
            listening.abort();
        }
        let exit = match ending {
            Ending::Gone(exit) | Ending::LongLine(exit) => exit,
            Ending::Mute => own.unwrap_or(Exit::Silent),
            Ending::Stopped => Exit::Stopped,
        };
        drop(child);
        self.settle(&life, exit, era);
    }

    /// Opens the conversation and tells those who wait for it.
    async fn greet(&self, life: &Life, era: Option<Era>) {
        let settings = &self.ground.settings;
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
            Err(Error::Crashed { .. }) => return,
            Err(error) => {
                life.stop.cancel();
                Greeted::Failed(error)
            }
        };
        let _ = life.greeted.set(greeted);
    }

    /// Takes note of the end of a life, and tells everybody who waits.
    fn settle(&self, life: &Arc<Life>, exit: Exit, era: Option<Era>) {
        let greeted = match life.greeted.get() {
            Some(greeted) => greeted.clone(),
            None if era.is_none() && exit != Exit::Stopped => Greeted::Fatally,
            None => Greeted::Failed(Error::Crashed { exit, was_delivered: false }),
        };
        self.remember(life, exit, &greeted);
        // Where it was greeted before, it stays so.
        let _ = life.greeted.set(greeted);
        life.dialogue.end(End::Process(exit));
    }

    fn remember(&self, life: &Arc<Life>, exit: Exit, greeted: &Greeted) {
        let instance = self.id;
        let mut state = self.state.lock();
        if state.life.as_ref().is_some_and(|current| Arc::ptr_eq(current, life)) {
            state.life = None;
        }
        match (greeted, exit) {
            (Greeted::Fatally, _) => {
                info!(%instance, "its process {exit} at the first question: it may be an older one");
                state.era = Some(Era::Legacy);
                return;
            }
            (Greeted::Well(_) | Greeted::Failed(Error::Crashed { .. }), Exit::Stopped) => return,
            (Greeted::Failed(error), _) => warn!(%instance, "it cannot be spoken to: {error}"),
            (Greeted::Well(_), _) => warn!(%instance, "its process {exit}"),
        }
        let chance = uuid::Uuid::new_v4().as_bytes()[0];
        state.backoff.crashed(self.ground.clock.tick(), chance, &self.ground.settings);
    }
}

/// Why the talking ended.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// The process is gone.
    Gone(Exit),
    /// It closed its input or its output.
    Mute,
    /// It wrote a longer line than is taken.
    LongLine(Exit),
    /// The gateway stops it.
    Stopped,
}

impl Life {
    fn is_open(&self) -> bool {
        self.dialogue.is_open() && !self.ended.is_cancelled()
    }

    /// Carries messages until something ends it.
    async fn talk(
        &self,
        child: &mut Child,
        reading: impl Future<Output = Option<Exit>>,
        writing: impl Future<Output = io::Result<()>>,
        greeting: impl Future<Output = ()>,
    ) -> Ending {
        let mut reading = pin!(reading);
        // The opening is done long before the writing.
        let writing = async { join!(writing, greeting).0 };
        select! {
            exit = &mut reading => exit.map_or(Ending::Mute, Ending::LongLine),
            _ = writing => Ending::Mute,
            () = self.stop.cancelled() => Ending::Stopped,
            exit = child.wait() => {
                // Its last answers may still be in the pipe.
                let _ = timeout(AFTERWARDS, reading).await;
                Ending::Gone(exit)
            }
        }
    }
}
