//! What is known of a call, and how its line reads in the log and stands in a sheet.

use std::{
    fmt::Write as _,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    domain::{
        InstanceId, LimitStanding, LimitStandings, OrganizationId, PrincipalKind, RequestId, Role,
        Scope, Server, SessionId, Timestamp, Verdict, is_hidden,
    },
    observe::{
        line::zigzag,
        redact,
        sheet::{Draft, Number, Word},
    },
    wire::{Exchange, Method, Revision},
};

/// What was found out of a call on its way.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) request_id: RequestId,
    pub(super) scope: Scope,
    /// The request it carries, where it is one of HTTP.
    pub(super) exchange: Option<Arc<Exchange>>,
    pub(super) method: Method,
    pub(super) revision: Revision,
    pub(super) client: Option<Arc<str>>,
    pub(super) via: &'static str,
    pub(super) from: Option<IpAddr>,
    pub(super) session: Option<SessionId>,
    pub(super) began: Instant,
    /// After how many microseconds each stage of the path was done; 0 where it never was.
    pub(super) done: [u32; 4],
    pub(super) caller: Option<(PrincipalKind, Role, OrganizationId)>,
    pub(super) server: Option<Arc<Server>>,
    pub(super) item: Option<Box<str>>,
    pub(super) attempts: u32,
    /// Where it was made last.
    pub(super) instance: Option<InstanceId>,
    /// Whether the answer is one that was kept.
    pub(super) is_recalled: bool,
    pub(super) verdict: Option<Arc<Verdict>>,
    pub(super) standings: LimitStandings,
    pub(super) request_bytes: usize,
    pub(super) response_bytes: usize,
    /// What was asked and answered, where that is kept.
    pub(super) bodies: Option<Box<[Body; 2]>>,
}

impl Entry {
    /// The endpoint it came by.
    fn endpoint(&self) -> String {
        match &self.exchange {
            Some(exchange) => format!("/proxy/{}", exchange.route.name),
            None => self.scope.to_string(),
        }
    }
}

/// What was said, or the beginning of it.
#[derive(Debug, Default)]
pub(super) struct Body {
    said: Box<[u8]>,
    is_cut: bool,
}

impl Body {
    /// What was said, as far as it is kept.
    pub(super) fn of(said: &[u8], most: usize) -> Self {
        let kept = &said[..said.len().min(most)];
        Self { said: kept.into(), is_cut: kept.len() < said.len() }
    }

    /// Its size as it is kept.
    pub(super) const fn len(&self) -> usize {
        self.said.len()
    }

    /// What was said without secrets: JSON where it is, else text.
    fn tame(&self) -> Value {
        let whole = (!self.is_cut).then(|| serde_json::from_slice(&self.said).ok()).flatten();
        if let Some(mut value) = whole {
            redact::json(&mut value);
            return value;
        }
        redact::start_of_json(&String::from_utf8_lossy(&self.said)).into()
    }
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    pub(super) outcome: &'static str,
    pub(super) status: u16,
    /// The code of a server's error.
    pub(super) code: Option<i64>,
    /// What the caller was told of a failure, and what is behind it.
    pub(super) problem: Option<Box<(String, Option<String>)>>,
}

/// A call that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) entry: Box<Entry>,
    pub(super) end: End,
}

/// The longest piece of a client's own text in a line, in characters.
const TEXT_LIMIT: usize = 200;

impl Finished {
    /// Adds the line as JSON.
    pub(super) fn as_json(&self, line: &mut String) {
        let Self { entry, end } = self;
        let _ = write!(
            line,
            r#"{{"timestamp":"{}","level":"INFO","message":"call","outcome":"{}","duration_us":{},"revision":"{}","via":"{}""#,
            end.at,
            end.outcome,
            end.took.as_micros(),
            entry.revision,
            entry.via,
        );
        add(line, "request_id", entry.request_id.as_str());
        add(line, "method", entry.method.as_str());
        add(line, "endpoint", &entry.endpoint());
        if let Some(exchange) = &entry.exchange {
            add(line, "http_method", exchange.verb.as_str());
            add(line, "path", &exchange.path);
        }
        if let Some(server) = &entry.server {
            add(line, "server", server.name.as_str());
            if let Some(instance) = entry.instance.filter(|_| server.instances.len() > 1) {
                let _ = write!(line, r#","instance":"{instance}""#);
            }
        }
        for (name, text) in [("item", entry.item.as_deref()), ("client", entry.client.as_deref())] {
            if let Some(text) = text {
                add(line, name, text);
            }
        }
        if let Some((caller, role, _)) = &entry.caller {
            let _ = write!(line, r#","caller":"{caller}","role":"{role}""#);
        }
        if let Some((problem, cause)) = end.problem.as_deref() {
            add(line, "problem", problem);
            if let Some(cause) = cause {
                add(line, "cause", cause);
            }
        }
        if let Some(code) = end.code {
            let _ = write!(line, r#","code":{code}"#);
        }
        if entry.attempts > 1 {
            let _ = write!(line, r#","attempts":{}"#, entry.attempts);
        }
        if entry.is_recalled {
            line.push_str(r#","cached":true"#);
        }
        if let Some(verdict) = &entry.verdict {
            add_verdict(line, verdict);
        }
        line.push_str("}\n");
    }

    /// Adds the line as text for people.
    pub(super) fn as_text(&self, line: &mut String) {
        let Self { entry, end } = self;
        let server = entry.server.as_ref().map_or("tollhouse", |server| server.name.as_str());
        let _ = write!(line, "{}  INFO {} {server}", end.at, plain(entry.method.as_str()));
        if let Some(item) = &entry.item {
            let _ = write!(line, ".{}", plain(item));
        }
        if let Some(exchange) = &entry.exchange {
            let _ = write!(line, " {} {}", plain(exchange.verb.as_str()), plain(&exchange.path));
        }
        let ms = end.took.as_secs_f64() * 1_000.0;
        let _ = write!(line, " {ms:.1}ms {}", end.outcome);
        if let Some(client) = &entry.client {
            let _ = write!(line, " client={}", plain(client));
        }
        if let Some((caller, ..)) = &entry.caller {
            let _ = write!(line, " caller={caller}");
        }
        if let Some(verdict) = &entry.verdict
            && let Some(policy) = &verdict.policy
        {
            let _ = write!(line, " {}={}", verdict.decision.as_str(), plain(policy));
        }
        if let Some((problem, cause)) = end.problem.as_deref() {
            let _ = write!(line, " ({})", plain(problem));
            if let Some(cause) = cause {
                let _ = write!(line, " because {}", plain(cause));
            }
        }
        let _ = writeln!(line, " id={}", entry.request_id);
    }

    /// What was said, as a line of JSON for a segment; none where it is not kept.
    pub(super) fn record(&self, number: u64) -> Option<Vec<u8>> {
        let [request, response] = &**self.entry.bodies.as_ref()?;
        let record = json!({
            "id": number,
            "timestamp": self.end.at.to_string(),
            "request_id": self.entry.request_id.as_str(),
            "request": request.tame(),
            "response": response.tame(),
            "cut": request.is_cut || response.is_cut,
        });
        Some(format!("{record}\n").into_bytes())
    }

    /// What is a number in its line.
    fn numbers(&self) -> [(Number, u64); 12] {
        let Self { entry, end } = self;
        let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        [
            (Number::At, end.at.as_ms().cast_unsigned()),
            (Number::Took, u64::try_from(end.took.as_micros()).unwrap_or(u64::MAX)),
            (Number::Known, entry.done[0].into()),
            (Number::Found, entry.done[1].into()),
            (Number::Permitted, entry.done[2].into()),
            (Number::Admitted, entry.done[3].into()),
            (Number::In, size(entry.request_bytes)),
            (Number::Out, size(entry.response_bytes)),
            (Number::Status, end.status.into()),
            (Number::Code, end.code.map_or(0, zigzag)),
            (Number::Attempts, entry.attempts.into()),
            (Number::Recalled, entry.is_recalled.into()),
        ]
    }

    /// Adds the line to a sheet, numbered after the one before.
    pub(super) fn put(&self, sheet: &mut Draft) {
        let Self { entry, end } = self;
        let offset = sheet.len() as u64;
        let mut line = sheet.begin();
        line.number(Number::Offset, offset);
        for (column, number) in self.numbers() {
            line.number(column, number);
        }
        line.word(Word::RequestId, entry.request_id.as_str());
        line.word(Word::Method, cut(entry.method.as_str()));
        line.word(Word::Via, entry.via);
        line.word(Word::Revision, entry.revision.as_str());
        line.word(Word::Outcome, end.outcome);
        line.word(Word::Endpoint, &entry.endpoint());
        if let Some(exchange) = &entry.exchange {
            line.word(Word::Verb, exchange.verb.as_str());
            line.word(Word::Path, cut(&exchange.path));
        }
        if let Some(server) = &entry.server {
            line.word(Word::Server, server.name.as_str());
        }
        if let Some((caller, role, organization)) = &entry.caller {
            line.word(Word::Caller, &caller.to_string());
            line.word(Word::Role, role.as_str());
            line.word(Word::Organization, &organization.to_string());
        }
        let said = end.problem.as_deref();
        let texts = [
            (Word::Item, entry.item.as_deref()),
            (Word::Client, entry.client.as_deref()),
            (Word::Session, entry.session.as_ref().map(SessionId::as_str)),
            (Word::Problem, said.map(|said| said.0.as_str())),
            (Word::Cause, said.and_then(|said| said.1.as_deref())),
        ];
        for (column, text) in texts {
            line.word(column, cut(text.unwrap_or_default()));
        }
        if let Some(instance) = entry.instance {
            line.word(Word::Instance, &instance.to_string());
        }
        if let Some(address) = entry.from {
            line.word(Word::Address, &address.to_string());
        }
        if !entry.standings.all().is_empty() {
            line.word(Word::Limits, &limits(&entry.standings));
        }
        if let Some(verdict) = &entry.verdict {
            line.word(Word::Decision, verdict.decision.as_str());
            line.word(Word::Policy, verdict.policy.as_deref().unwrap_or_default());
            line.word(Word::RedactedBy, &verdict.redacted_by.join(", "));
            line.word(Word::Inputs, &inputs(verdict));
        }
    }
}

/// A piece of somebody's own text, of a length that lines have room for.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(TEXT_LIMIT).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// What was looked at for a decision, as JSON.
fn inputs(verdict: &Verdict) -> String {
    let mut json = String::from("{");
    for (at, (name, value)) in verdict.inputs.iter().enumerate() {
        json.push_str(if at > 0 { "," } else { "" });
        json.push_str(&serde_json::to_string(name).expect("text is always JSON"));
        json.push(':');
        json.push_str(value);
    }
    json.push('}');
    json
}

/// Where a call stands with rate limits, as JSON.
fn limits(standings: &LimitStandings) -> String {
    let one = |it: &LimitStanding| json!({ "name": it.name, "remaining": it.remaining, "wait_ms": it.wait_ms });
    standings.all().iter().map(one).collect::<Value>().to_string()
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
        let quoted = serde_json::to_string(cut(text)).expect("text is always JSON");
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
    line.push_str(r#","inputs":"#);
    push(line, &inputs(verdict));
}

/// Text for a terminal: one line, nothing hidden, cut to a readable length.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if is_hidden(c) { '\u{FFFD}' } else { c };
    text.chars().take(TEXT_LIMIT).map(shown).collect()
}
