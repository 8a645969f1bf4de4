//! Asking a client of an older revision: a request to it, and its answer.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{sync::oneshot, time::timeout};

use super::{Out, Session};
use crate::wire::{Answer, InputRequest, Notice, input::REFUSAL};

/// The most a client is asked at the same time.
const ASKED: usize = 64;

impl Session {
    /// Asks the client, and gives its answer as today's revision has it: a result, or that it
    /// refused.
    pub(in crate::edge) async fn ask(
        &self,
        out: &Out,
        asked: &InputRequest,
        patience: Duration,
    ) -> String {
        let (answer, coming) = oneshot::channel();
        let id = self.known.last_asked.fetch_add(1, Ordering::Relaxed) + 1;
        {
            let mut waiting = self.known.asked.lock();
            if waiting.len() >= ASKED {
                return refusal("the client is asked too much at once");
            }
            waiting.insert(id, answer);
        }
        let _waiting = Waiting { session: self, id };
        let method = &asked.method;
        let params = in_older_words(asked);
        let question =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        out.say(question.into()).await;
        match timeout(patience, coming).await {
            Ok(Ok(answer)) => match (answer.result(), answer.error()) {
                (Some(result), _) => result.get().to_owned(),
                (None, Some(error)) => format!(r#"{{"{REFUSAL}":{}}}"#, error.get()),
                (None, None) => refusal("the client's answer cannot be read"),
            },
            Ok(Err(_)) => refusal("the client has gone"),
            Err(_) => {
                let notice = Notice::cancelled(&id.to_string(), "it took too long to answer");
                out.say(notice.bytes().clone()).await;
                refusal("the client did not answer in time")
            }
        }
    }

    /// Takes the client's answer to something it was asked; says whether it was.
    pub(in crate::edge) fn answered(&self, answer: Answer) -> bool {
        let waiter = answer.id().and_then(|id| self.known.asked.lock().remove(&id));
        waiter.is_some_and(|waiter| waiter.send(answer).is_ok())
    }
}

/// A question that somebody waits for. Given up on drop.
struct Waiting<'a> {
    session: &'a Session,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.session.known.asked.lock().remove(&self.id);
    }
}

fn refusal(message: &str) -> String {
    json!({ REFUSAL: { "code": -32_000, "message": message } }).to_string()
}

/// What is asked, as older revisions ask it: an address to open has an id there.
fn in_older_words(asked: &InputRequest) -> String {
    if asked.method != "elicitation/create" {
        return asked.params.clone();
    }
    let Ok(mut params) = serde_json::from_str::<Map<String, Value>>(&asked.params) else {
        return asked.params.clone();
    };
    if params.get("mode").is_none_or(|mode| mode != "url") || params.contains_key("elicitationId") {
        return asked.params.clone();
    }
    params.insert("elicitationId".into(), uuid::Uuid::new_v4().to_string().into());
    Value::from(params).to_string()
}
