//! Listening for older clients: what today's revision tells those who ask to listen, they are
//! told on the stream that stands open.

use tokio_util::sync::CancellationToken;

use crate::{
    access::{Leash, Reach},
    edge::{
        arrival::{Arrival, Inside},
        converse::call_of,
        session::{Session, translate},
        tasks,
    },
    pipeline::{Body, Filter, Listening},
    problem::{Kind, Problem},
    wire::{AsTask, Tells},
};

impl Inside {
    /// Checks that a session is its sender's, where nothing else is asked of the path.
    pub(super) async fn known(&self, arrival: &Arrival, session: &Session) -> Result<(), Problem> {
        let call = call_of(arrival, session, (translate::ping(), AsTask::No), false);
        self.pipeline.handle(&call, &arrival.credential, None).await.map(drop)
    }

    /// Listens for a session, if nobody does yet.
    pub(super) async fn listen(&self, arrival: &Arrival, session: &Session) -> Result<(), Problem> {
        if session.is_listening() {
            return Ok(());
        }
        let subscribed = session.subscribed().lock().await;
        let resources = subscribed.iter().cloned().collect();
        self.listen_to(arrival, session, resources).await.map(drop)
    }

    /// Begins, or ends, to tell a session of changes of a resource.
    pub(super) async fn subscribe(
        &self,
        arrival: &Arrival,
        session: &Session,
        uri: &str,
        is_wanted: bool,
    ) -> Result<(), Problem> {
        let mut subscribed = session.subscribed().lock().await;
        let mut wanted = subscribed.clone();
        let is_new = if is_wanted { wanted.insert(uri.to_owned()) } else { wanted.remove(uri) };
        if !is_new {
            return self.known(arrival, session).await;
        }
        let agreed = self.listen_to(arrival, session, wanted.iter().cloned().collect()).await?;
        if is_wanted && !agreed.resource_subscriptions.iter().any(|agreed| agreed == uri) {
            let message = format!("{uri} is no resource whose changes can be heard of");
            return Err(Problem::new(Kind::NotFound, message));
        }
        *subscribed = wanted;
        session.has_changed();
        Ok(())
    }

    /// Listens anew for a session: to its lists, and to these resources.
    async fn listen_to(
        &self,
        arrival: &Arrival,
        session: &Session,
        resources: Vec<String>,
    ) -> Result<Filter, Problem> {
        let request = translate::listen(resources);
        let call = call_of(arrival, session, (request, AsTask::No), false);
        let reply = self.pipeline.handle(&call, &arrival.credential, None).await?;
        let Body::Listening(listening) = reply.body else {
            unreachable!("whoever asks to listen listens, or is refused")
        };
        let agreed = listening.agreed().clone();
        let over = session.listen_anew();
        let leash = self.pipeline.leash(&arrival.credential, Reach::Owner);
        let (inside, session) = (self.clone(), session.clone());
        self.sessions.tasks().spawn(tell(inside, session, leash, over, listening));
        Ok(agreed)
    }
}

/// Tells a session what is heard for it, until that is over.
#[expect(clippy::manual_async_fn, reason = "thousands wait here, and would hold all this twice")]
fn tell(
    inside: Inside,
    session: Session,
    leash: Leash,
    over: CancellationToken,
    mut listening: Listening,
) -> impl Future<Output = ()> + Send {
    async move {
        loop {
            let notice = tokio::select! {
                biased;
                () = over.cancelled() => return,
                () = leash.over() => return inside.sessions.turn_out(session.id()),
                notice = listening.next() => notice,
            };
            let Some(notice) = notice else { return };
            let is_wanted = match (notice.tells(), session.level()) {
                (Tells::Message { level }, Some(wanted)) => *level >= wanted,
                _ => true,
            };
            let message = match notice.tells() {
                Tells::Task => tasks::notice(&notice),
                _ => Some(notice.bytes().clone()),
            };
            if let Some(message) = message.filter(|_| is_wanted) {
                let _place = session.tell(message);
            }
        }
    }
}
