//! Several messages in one, as 2025-03-26 has it and no other revision.

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all, ready};
use serde_json::value::RawValue;

use super::{Channel, Done};
use crate::{
    domain::RequestId,
    edge::body::Whole,
    problem::{Kind, Problem},
    wire::{self, Malformed, Message, Method, RawId, Request, Revision},
};

impl Channel {
    /// Takes the messages of a batch. The answers come together when all of them are there.
    pub(super) fn ask_all(&mut self, batch: Whole) {
        let knows_batches = self.session().is_some_and(|session| {
            // Only this revision has batches: they came with it, and went with the next.
            session.opening().revision == Revision::V2025_03_26
        });
        let messages = match split(&batch.bytes) {
            _ if !knows_batches => Err(Malformed::Batch),
            Ok(messages) if messages.is_empty() => Err(Malformed::NotJsonRpc("an empty batch")),
            other => other,
        };
        let messages = match messages {
            Ok(messages) => messages,
            Err(malformed) => return self.outbox.tell(Self::malformed(&malformed)),
        };
        let mut answers: Vec<BoxFuture<'static, Option<Bytes>>> = Vec::new();
        for message in messages {
            let answer = match Message::parse(&message) {
                Ok(Message::Request(request)) => self.ask_among(request, answers.len()),
                Ok(Message::Notification(notification)) => {
                    self.heed(&notification);
                    continue;
                }
                Ok(Message::Answer(answer)) => {
                    self.session().map(|session| session.answered(answer));
                    continue;
                }
                Err(malformed) => Box::pin(ready(Some(Self::malformed(&malformed)))),
            };
            answers.push(answer);
        }
        let outbox = self.outbox.clone();
        self.running.push(Box::pin(async move {
            let answers: Vec<Bytes> = join_all(answers).await.into_iter().flatten().collect();
            if !answers.is_empty() {
                outbox.say(joined(&answers)).await;
            }
            drop(batch);
            Done::Else
        }));
    }

    /// Asks one of several. Handshakes and calls of the stateless revision stand alone.
    fn ask_among(&self, request: Request, before: usize) -> BoxFuture<'static, Option<Bytes>> {
        let stands_alone =
            request.meta().version.is_some() || *request.method() == Method::Initialize;
        let refused = if stands_alone {
            let message = "this request cannot be part of a batch";
            Err(Problem::new(Kind::Invalid, message).with_rpc(-32_600))
        } else {
            self.has_room(before)
        };
        match refused {
            Ok(()) => self.legacy(request),
            Err(problem) => Box::pin(ready(Some(refusal(&problem, &request.id())))),
        }
    }
}

fn refusal(problem: &Problem, id: &RawId) -> Bytes {
    wire::rpc_error(problem, id, &RequestId::fresh())
}

/// The messages of a batch, as parts of its bytes.
fn split(batch: &Bytes) -> Result<Vec<Bytes>, Malformed> {
    let parts: Vec<&RawValue> =
        serde_json::from_slice(batch).map_err(|error| Malformed::NotJson(error.to_string()))?;
    Ok(parts.into_iter().map(|part| batch.slice_ref(part.get().as_bytes())).collect())
}

fn joined(answers: &[Bytes]) -> Bytes {
    let mut whole = Vec::with_capacity(answers.iter().map(|answer| answer.len() + 1).sum());
    for answer in answers {
        whole.push(if whole.is_empty() { b'[' } else { b',' });
        whole.extend_from_slice(answer);
    }
    whole.push(b']');
    whole.into()
}
