//! What a server says and asks before it answers, on its way to the client.

use std::fmt;

use futures_util::future::BoxFuture;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep_until},
};

use crate::{
    problem::{Kind, Problem},
    traffic::SHORTEST_ATTEMPT,
    upstream::{self, MidCall, Question},
    wire::{
        Answer, AsTask, Call, Era, InputRequest, Notice, Tells,
        input::{REFUSAL, responses},
    },
};

/// Where a client hears what comes before the answer to its call. Boxed, because a channel sets room
/// aside for many, and most calls hear none.
pub(crate) type Notices = mpsc::Sender<Box<Notice>>;

/// How many notices wait for a client at most.
pub(crate) const NOTICES: usize = 256;

/// How much a server may say and ask that was not taken note of yet.
pub(super) const HEARD: usize = 256;

/// The most a server may ask at the same time.
const QUESTIONS: usize = 16;

type Asking = BoxFuture<'static, Result<Answer, upstream::Error>>;

/// A call that is made, while its server may say and ask things.
pub(super) struct Conversing {
    asking: Asking,
    heard: mpsc::Receiver<MidCall>,
    /// What was asked and not answered, by the key the client knows it under.
    pending: Vec<(String, Question)>,
    asked: u64,
}

impl fmt::Debug for Conversing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversing").field("pending", &self.pending).finish_non_exhaustive()
    }
}

/// How far a call has come.
pub(super) enum Turn {
    /// To its end.
    Answered(Answer),
    /// The server did not answer, and why.
    Failed(upstream::Error),
    /// The server asks something first.
    Asks,
    /// The server made a task of it, and the client knows tasks.
    BecomesTask,
    /// Out of its time.
    OutOfTime,
}

/// Until when a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// When its time is over, unless it shows progress.
    pub(super) deadline: Instant,
    /// How much time progress gives it.
    pub(super) step: Duration,
    /// When its time is over in any case.
    pub(super) last: Instant,
}

impl Patience {
    /// For one attempt after which others shall have time.
    pub(super) fn shared_with(&self, others: u32) -> Self {
        if others == 0 {
            return *self;
        }
        let now = Instant::now();
        let part = self.deadline.saturating_duration_since(now) / others.saturating_add(1);
        let step = part.max(SHORTEST_ATTEMPT);
        Self { deadline: (now + step).min(self.deadline), step, last: self.last }
    }

    fn progressed(&mut self) {
        self.deadline = (Instant::now() + self.step).min(self.last);
    }
}

impl Conversing {
    pub(super) fn new(asking: Asking, heard: mpsc::Receiver<MidCall>) -> Self {
        Self { asking, heard, pending: Vec::new(), asked: 0 }
    }

    /// Goes on until something must be answered, or the call ends.
    pub(super) async fn turn(
        &mut self,
        call: &Call,
        notices: &Notices,
        patience: &mut Patience,
    ) -> Turn {
        if !self.pending.is_empty() {
            return Turn::Asks;
        }
        loop {
            tokio::select! {
                biased;
                Some(heard) = self.heard.recv() => match heard {
                    MidCall::Word(notice) => {
                        if matches!(notice.tells(), Tells::Progress { .. }) {
                            patience.progressed();
                        }
                        tell(call, notices, notice).await;
                    }
                    MidCall::BecomesTask => {
                        // Tasks take their time, whoever waits for them.
                        patience.deadline = patience.last;
                        if call.as_task == AsTask::IfSuitable {
                            return Turn::BecomesTask;
                        }
                    }
                    MidCall::Question(question) => {
                        self.take_in(question);
                        self.hear_out(call, notices).await;
                        if !self.pending.is_empty() {
                            return Turn::Asks;
                        }
                    }
                },
                outcome = &mut self.asking => {
                    // What was said before the answer comes before it.
                    self.hear_out(call, notices).await;
                    return match outcome {
                        Ok(answer) => Turn::Answered(answer),
                        Err(error) => Turn::Failed(error),
                    };
                }
                () = sleep_until(patience.deadline) => return Turn::OutOfTime,
            }
        }
    }

    /// Takes in what has been heard already.
    async fn hear_out(&mut self, call: &Call, notices: &Notices) {
        while let Ok(heard) = self.heard.try_recv() {
            match heard {
                MidCall::Word(notice) => tell(call, notices, notice).await,
                MidCall::Question(question) => self.take_in(question),
                // It is over by now, or parked.
                MidCall::BecomesTask => {}
            }
        }
    }

    fn take_in(&mut self, question: Question) {
        let params = question.request().params();
        if is_unsafe(question.request().method().as_str(), &params) {
            tracing::warn!("a server asked to open an unsafe address: refused");
            return question.refuse(UNSAFE);
        }
        if self.pending.len() >= QUESTIONS {
            return;
        }
        self.asked += 1;
        self.pending.push((format!("q{}", self.asked), question));
    }

    /// What is asked, as today's revision asks it.
    pub(super) fn asked(&self) -> Vec<InputRequest> {
        let request = |(key, question): &(String, Question)| InputRequest {
            key: key.clone(),
            method: question.request().method().to_string(),
            params: question.request().params(),
        };
        self.pending.iter().map(request).collect()
    }

    /// Hands the server what the client answered. What it left out is still asked.
    pub(super) fn answer(&mut self, call: &Call) -> Result<(), Problem> {
        for (key, response) in responses(&call.request) {
            let Some(at) = self.pending.iter().position(|(known, _)| *known == key) else {
                // Answers to what nobody asked are no reason to lose the call.
                continue;
            };
            let (_, question) = self.pending.swap_remove(at);
            match refusal(response.get()) {
                Some(error) => question.refuse(&error),
                None if response.get().starts_with('{') => question.answer(response.get()),
                None => {
                    let message = format!("invalid params: inputResponses.{key} is no object");
                    return Err(Problem::new(Kind::Invalid, message));
                }
            }
        }
        Ok(())
    }
}

/// The JSON-RPC error with which a client of an older revision refused to answer.
pub(super) fn refusal(response: &str) -> Option<String> {
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(response).ok()?;
    members.get(REFUSAL).map(ToString::to_string)
}

const UNSAFE: &str = r#"{"code":-32602,"message":"the address to open is not https"}"#;

/// Whether somebody is asked to open an address that is none of the web: only `https`, and `http`
/// on this machine, may be opened.
pub(super) fn is_unsafe(method: &str, params: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Elicitation {
        #[serde(default)]
        mode: Option<String>,
        #[serde(default)]
        url: Option<String>,
    }
    if method != "elicitation/create" {
        return false;
    }
    let Ok(asked) = serde_json::from_str::<Elicitation>(params) else { return true };
    if asked.mode.as_deref() != Some("url") && asked.url.is_none() {
        return false;
    }
    let url = asked.url.and_then(|url| url::Url::parse(&url).ok());
    url.is_none_or(|url| match url.scheme() {
        "https" => false,
        "http" => !matches!(
            url.host(),
            Some(url::Host::Domain("localhost") | url::Host::Ipv4(std::net::Ipv4Addr::LOCALHOST))
        ),
        _ => true,
    })
}

/// Tells a client what concerns it, under its own token.
async fn tell(call: &Call, notices: &Notices, notice: Box<Notice>) {
    let notice = match notice.tells() {
        Tells::Progress { .. } => match &call.request.meta().progress_token {
            Some(token) => Box::new(notice.under_token(token)),
            None => return,
        },
        Tells::Message { level } => match call.client.level {
            Some(wanted) if *level < wanted => return,
            // Older revisions leave it to the server what is said where nothing was asked for.
            None if call.client.revision.era() == Era::Modern => return,
            _ => notice,
        },
        _ => return,
    };
    // A client that has gone hears nothing more.
    let _ = notices.send(notice).await;
}

#[cfg(test)]
mod tests {
    use super::is_unsafe;

    #[test]
    fn only_addresses_of_the_web_may_be_opened() {
        let url = |url: &str| {
            is_unsafe("elicitation/create", &format!(r#"{{"mode":"url","url":"{url}"}}"#))
        };

        assert!(
            !url("https://example.com/x")
                && !url("http://127.0.0.1:9/")
                && !url("http://localhost")
        );
        for odd in
            ["javascript:alert(1)", "data:text/html,x", "http://example.com", "file:///x", ""]
        {
            assert!(url(odd), "{odd}");
        }
        assert!(is_unsafe("elicitation/create", r#"{"mode":"url"}"#));
        assert!(!is_unsafe("elicitation/create", r#"{"message":"?","requestedSchema":{}}"#));
        assert!(!is_unsafe("roots/list", "{}"));
    }
}
