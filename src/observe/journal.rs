//! The journal: one line per call, closed by drop.
//!
//! A call never waits for its line to be written. Lines are put together where the call ends and
//! handed to the log; what does not fit there is dropped and counted.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    domain::{
        Clock, InstanceId, Principal, PrincipalKind, RequestId, Role, Scope, Server, Target,
        Timestamp, Verdict, is_hidden,
    },
    observe::{Log, Metrics, Settings},
    problem::Problem,
    wire::{Call, Exchange, Method, Revision},
};

/// Where every call leaves its line.
#[derive(Debug, Clone)]
pub(crate) struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_written: bool,
    is_json: bool,
    log: Log,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome<'a> {
    /// With a result.
    Ok,
    /// With a result in which a tool says that it failed.
    ToolError,
    /// With an error that the server gave.
    ServerError(i64),
    /// With a failure of the gateway or its caller.
    Problem(&'a Problem),
    /// Not at all: the client went away.
    Abandoned,
}

impl Outcome<'_> {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::ServerError(_) => "server_error",
            Self::Problem(problem) => problem.kind().telling().code,
            Self::Abandoned => "abandoned",
        }
    }
}

impl Journal {
    /// A journal whose lines go into the log.
    pub(crate) fn new(
        settings: &Settings,
        log: Log,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Shared {
            is_written: settings.calls,
            is_json: settings.format.is_json(),
            log,
            clock,
            metrics,
        }))
    }

    /// What time it is for those who write in it.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Begins the line of a call.
    pub(crate) fn open(&self, call: &Call) -> Line {
        Line {
            journal: self.clone(),
            entry: Some(Entry {
                request_id: call.request_id.clone(),
                scope: call.scope.clone(),
                exchange: call.exchange.clone(),
                method: call.method().clone(),
                revision: call.client.revision,
                client: call.client.name.clone(),
                via: call.client.via,
                began: call.began,
                caller: None,
                server: None,
                item: call.request.subject().map(Into::into),
                attempts: 0,
                instance: None,
                is_recalled: false,
                verdict: None,
            }),
        }
    }

    fn write(&self, entry: &Entry, outcome: Outcome<'_>) {
        let took = self.0.clock.tick().saturating_duration_since(entry.began);
        let server = entry.server.as_ref().map(|server| &server.name);
        self.0.metrics.call(server, &entry.method, outcome.word(), took);
        if !self.0.is_written {
            return;
        }
        let had_room = self.0.log.call(|text| {
            let now = self.0.clock.now();
            if self.0.is_json {
                entry.as_json(text, now, took, outcome);
            } else {
                entry.as_text(text, now, took, outcome);
            }
        });
        if !had_room {
            self.0.metrics.journal_dropped();
        }
    }
}

/// The line of one call. Dropped unclosed, it says that the client went away.
#[derive(Debug)]
pub(crate) struct Line {
    journal: Journal,
    entry: Option<Entry>,
}

impl Line {
    /// Notes who calls.
    pub(crate) fn caller(&mut self, principal: &Principal) {
        if let Some(entry) = &mut self.entry {
            entry.caller = Some((principal.kind.clone(), principal.role));
        }
    }

    /// Notes where the call goes.
    pub(crate) fn target(&mut self, target: &Target) {
        if let Some(entry) = &mut self.entry {
            entry.server = target.server().cloned();
            if let Some(item) = target.item() {
                entry.item = Some(item.name.clone());
            }
        }
    }

    /// Notes what policies said of it, where there are any.
    pub(crate) fn verdict(&mut self, verdict: Option<&Arc<Verdict>>) {
        if let Some(entry) = &mut self.entry {
            entry.verdict = verdict.cloned();
        }
    }

    /// The instance that was asked last.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        self.entry.as_ref()?.instance
    }

    /// Notes that the answer is one that was kept.
    pub(crate) fn recalled(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.is_recalled = true;
        }
    }

    /// Notes another attempt at a server, and at which of its instances.
    pub(crate) fn attempt(&mut self, instance: InstanceId) {
        if let Some(entry) = &mut self.entry {
            entry.attempts += 1;
            entry.instance = Some(instance);
        }
    }

    /// Ends the line.
    pub(crate) fn close(mut self, outcome: Outcome<'_>) {
        if let Some(entry) = self.entry.take() {
            self.journal.write(&entry, outcome);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.journal.write(&entry, Outcome::Abandoned);
        }
    }
}

#[derive(Debug)]
struct Entry {
    request_id: RequestId,
    scope: Scope,
    /// The request it carries, where it is one of HTTP.
    exchange: Option<Arc<Exchange>>,
    method: Method,
    revision: Revision,
    client: Option<Arc<str>>,
    via: &'static str,
    began: Instant,
    caller: Option<(PrincipalKind, Role)>,
    server: Option<Arc<Server>>,
    item: Option<Box<str>>,
    attempts: u32,
    /// Where it was made last.
    instance: Option<InstanceId>,
    /// Whether the answer is one that was kept.
    is_recalled: bool,
    verdict: Option<Arc<Verdict>>,
}

/// The longest piece of a client's own text in a line, in characters.
const TEXT_LIMIT: usize = 200;

impl Entry {
    fn as_json(&self, line: &mut String, now: Timestamp, took: Duration, outcome: Outcome<'_>) {
        let _ = write!(
            line,
            r#"{{"timestamp":"{now}","level":"INFO","message":"call","outcome":"{}","duration_us":{},"revision":"{}","via":"{}""#,
            outcome.word(),
            took.as_micros(),
            self.revision,
            self.via,
        );
        add(line, "request_id", self.request_id.as_str());
        add(line, "method", self.method.as_str());
        if let Some(exchange) = &self.exchange {
            add(line, "endpoint", &format!("/proxy/{}", exchange.route.name));
            add(line, "http_method", exchange.verb.as_str());
            add(line, "path", &exchange.path);
        } else {
            add(line, "endpoint", &self.scope.to_string());
        }
        if let Some(server) = &self.server {
            add(line, "server", server.name.as_str());
            if let Some(instance) = self.instance.filter(|_| server.instances.len() > 1) {
                let _ = write!(line, r#","instance":"{instance}""#);
            }
        }
        for (name, text) in [("item", self.item.as_deref()), ("client", self.client.as_deref())] {
            if let Some(text) = text {
                add(line, name, text);
            }
        }
        if let Some((caller, role)) = &self.caller {
            let _ = write!(line, r#","caller":"{caller}","role":"{role}""#);
        }
        match outcome {
            Outcome::Problem(problem) => {
                add(line, "problem", problem.message());
                if let Some(cause) = problem.cause() {
                    add(line, "cause", cause);
                }
            }
            Outcome::ServerError(code) => {
                let _ = write!(line, r#","code":{code}"#);
            }
            _ => {}
        }
        if self.attempts > 1 {
            let _ = write!(line, r#","attempts":{}"#, self.attempts);
        }
        if self.is_recalled {
            line.push_str(r#","cached":true"#);
        }
        if let Some(verdict) = &self.verdict {
            add_verdict(line, verdict);
        }
        line.push_str("}\n");
    }

    fn as_text(&self, line: &mut String, now: Timestamp, took: Duration, outcome: Outcome<'_>) {
        let server = self.server.as_ref().map_or("tollhouse", |server| server.name.as_str());
        let _ = write!(line, "{now}  INFO {} {server}", plain(self.method.as_str()));
        if let Some(item) = &self.item {
            let _ = write!(line, ".{}", plain(item));
        }
        if let Some(exchange) = &self.exchange {
            let _ = write!(line, " {} {}", plain(exchange.verb.as_str()), plain(&exchange.path));
        }
        let ms = took.as_secs_f64() * 1_000.0;
        let _ = write!(line, " {ms:.1}ms {}", outcome.word());
        if let Some(client) = &self.client {
            let _ = write!(line, " client={}", plain(client));
        }
        if let Some((caller, _)) = &self.caller {
            let _ = write!(line, " caller={caller}");
        }
        if let Some(verdict) = &self.verdict
            && let Some(policy) = &verdict.policy
        {
            let _ = write!(line, " {}={}", verdict.decision.as_str(), plain(policy));
        }
        if let Outcome::Problem(problem) = outcome {
            let _ = write!(line, " ({})", plain(problem.message()));
            if let Some(cause) = problem.cause() {
                let _ = write!(line, " because {}", plain(cause));
            }
        }
        let _ = writeln!(line, " id={}", self.request_id);
    }
}

/// Adds a member to a line of JSON, its text cut to a readable length.
fn add(line: &mut String, name: &str, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
    if text.len() <= TEXT_LIMIT && text.bytes().all(is_plain) {
        // Not by `write!`, which costs more than all else here.
        for piece in [",\"", name, "\":\"", text, "\""] {
            line.push_str(piece);
        }
    } else {
        let short: String = text.chars().take(TEXT_LIMIT).collect();
        let quoted = serde_json::to_string(&short).expect("text is always JSON");
        let _ = write!(line, r#","{name}":"#);
        push(line, &quoted);
    }
}

/// Adds JSON to a line, with nothing hidden in it.
fn push(line: &mut String, json: &str) {
    for c in json.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(c);
        }
    }
}

/// Adds what policies said: who decided, how, and what was looked at for it.
fn add_verdict(line: &mut String, verdict: &Verdict) {
    add(line, "decision", verdict.decision.as_str());
    if let Some(policy) = &verdict.policy {
        add(line, "policy", policy);
    }
    if !verdict.redacted_by.is_empty() {
        add(line, "redacted_by", &verdict.redacted_by.join(", "));
    }
    line.push_str(r#","inputs":{"#);
    for (at, (name, value)) in verdict.inputs.iter().enumerate() {
        line.push_str(if at > 0 { "," } else { "" });
        push(line, &serde_json::to_string(name).expect("text is always JSON"));
        line.push(':');
        push(line, value);
    }
    line.push('}');
}

/// Text for a terminal: one line, nothing hidden, cut to a readable length.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if is_hidden(c) { '\u{FFFD}' } else { c };
    text.chars().take(TEXT_LIMIT).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{FixedClock, RequestId},
        observe::Format,
        problem::Kind,
        wire::{AsTask, Client, Request},
    };

    fn journal(format: Format, queue_bytes: usize) -> (Journal, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::default());
        let settings = Settings { format, queue_bytes, ..Settings::default() };
        let log = Log::new(queue_bytes);
        (Journal::new(&settings, log, Metrics::new(), clock.clone()), clock)
    }

    fn call(clock: &FixedClock) -> Call {
        Call {
            request_id: RequestId::brought("r1"),
            scope: Scope::Everything,
            request: Request::make(
                &Method::ToolsCall,
                "{\"name\":\"a\\u001b[31m\\n\\u2028\\u009b\\udb40\\udc41b\"}",
            ),
            client: Client {
                revision: Revision::NEWEST,
                name: Some("c".into()),
                via: "http",
                capabilities: None,
                level: None,
            },
            session: None,
            repeated: None,
            as_task: AsTask::No,
            exchange: None,
            from: None,
            began: clock.tick(),
        }
    }

    fn written(journal: &Journal) -> String {
        journal.0.log.close();
        journal.0.log.gather().0
    }

    #[test]
    fn a_closed_line_says_how_the_call_ended() {
        let (journal, clock) = journal(Format::Json, 1_000);
        let line = journal.open(&call(&clock));
        clock.advance(Duration::from_millis(3));

        line.close(Outcome::Problem(&Problem::new(Kind::Timeout, "too slow")));

        let text = written(&journal);
        let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
        assert_eq!(line["outcome"], "TIMEOUT");
        assert_eq!(line["duration_us"], 3_000);
        assert_eq!(line["item"], "a\u{1b}[31m\n\u{2028}\u{9b}\u{E0041}b");
        assert!(text.trim_end().is_ascii(), "{text}");
    }

    #[test]
    fn a_client_that_goes_away_leaves_exactly_one_line() {
        let (journal, clock) = journal(Format::Text, 1_000);

        drop(journal.open(&call(&clock)));

        let text = written(&journal);
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("abandoned") && !text.trim_end().contains(is_hidden), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (journal, clock) = journal(Format::Text, 1);

        for _ in 0..3 {
            journal.open(&call(&clock)).close(Outcome::Ok);
        }

        assert_eq!(written(&journal).lines().count(), 1);
        assert!(journal.0.metrics.text().contains("journal_dropped_total 2"));
    }
}
