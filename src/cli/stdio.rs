//! `tollhouse stdio`: the gateway as an MCP server for clients that launch theirs.

use std::{
    io::{self, BufRead, Read, Write},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, de::IgnoredAny};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{Context, Failure, logins, reach};
use crate::{
    app::{self, Office},
    client::Client,
    config::Settings,
    domain::Slug,
};

/// Bytes of one message. The gateway takes less, and says so.
const LINE_BYTES: u64 = 64 << 20;
/// Messages that wait for either side.
const WAITING: usize = 64;
/// How long calls have that still run when their client has gone: they wait for no more input.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often a gateway is looked for that somebody else starts at this moment.
const LOOKS: usize = 15;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Answers text that is no UTF-8, which cannot be carried on.
const NO_TEXT: &str = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the message is not JSON: it is no UTF-8"}}"#;

/// Serves MCP on standard input and output.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Speaks to the gateway that runs on the data folder, or at --url; where none runs, it is one itself.

Examples:
  claude mcp add tollhouse -- tollhouse stdio
  tollhouse stdio --server time
  tollhouse stdio --url https://gateway.example.com --key KEY")]
pub(super) struct Stdio {
    /// Offer one server alone, under its own names
    #[arg(long, value_name = "NAME", conflicts_with = "namespace")]
    server: Option<String>,
    /// Offer the servers of one namespace
    #[arg(long, value_name = "NS")]
    namespace: Option<Slug>,
}

impl Stdio {
    fn path(&self) -> Result<String, Failure> {
        let is_plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
        match (&self.server, &self.namespace) {
            (Some(server), _) if is_plain(server) => Ok(format!("/servers/{server}/ws")),
            (Some(server), _) => {
                let what = format!("{server:?} is no name of a server");
                Err(Failure::misuse(what, "names have no such characters")
                    .with_fix("'tollhouse list' shows the servers there are"))
            }
            (None, Some(namespace)) => Ok(format!("/mcp/{namespace}/ws")),
            (None, None) => Ok("/ws".to_owned()),
        }
    }
}

pub(super) async fn run(context: &Context, stdio: Stdio) -> Result<(), Failure> {
    let path = stdio.path()?;
    if let Some(client) = reach::named(context)? {
        if context.key().is_none() && logins::knows(context, &client)? {
            let why = "what you signed in with is good for minutes, and clients stay for days";
            return Err(Failure::misuse("a client that launches this needs a key of its own", why)
                .with_fix(
                    "make one with 'tollhouse key create NAME', and give it in TOLLHOUSE_KEY",
                ));
        }
        return bridge(&client, &path).await;
    }
    match there(context.settings()?.settings).await? {
        There::Running(client) => bridge(&client, &path).await,
        There::Embedded(office) => {
            let bridged = bridge(&Client::unix(office.socket()), &path).await;
            let closed = office.close().await;
            bridged?;
            closed
                .map_err(|error| Failure::from(error).while_trying("the gateway did not end well"))
        }
    }
}

/// Who answers on the data folder.
enum There {
    Running(Client),
    Embedded(Box<Office>),
}

/// The gateway that runs on this data, or one in this process.
async fn there(settings: Settings) -> Result<There, Failure> {
    let running = || reach::running(&settings).map(|socket| socket.map(|it| Client::unix(&it)));
    if let Some(client) = running()? {
        return Ok(There::Running(client));
    }
    let data = settings.data.display().to_string();
    let error = match app::embed(settings.clone()).await {
        Ok(office) => return Ok(There::Embedded(Box::new(office))),
        Err(error) => error,
    };
    // Clients launch all their servers at once: perhaps another of these was quicker.
    for _ in 0..LOOKS {
        if let Some(client) = running()? {
            return Ok(There::Running(client));
        }
        sleep(LOOK_EVERY).await;
    }
    Err(Failure::from(error).while_trying(format!("the data in {data} cannot be used")))
}

/// Carries messages between this process's client and a gateway, until one of them goes.
async fn bridge(client: &Client, path: &str) -> Result<(), Failure> {
    let mut line = client.open_line(path).await?;
    let (mut told, said) = (listen(), speak());
    let (mut terminate, mut interrupt) = signals()?;
    let mut open_calls = OpenCalls::default();
    let mut deadline: Option<Instant> = None;
    loop {
        let until = deadline.unwrap_or_else(Instant::now);
        tokio::select! {
            message = told.recv(), if deadline.is_none() => match message {
                Some(Ok(message)) => {
                    open_calls.note_sent(&message);
                    line.say(message).await?;
                }
                Some(Err(Unread::NoText)) => drop(said.messages.send(NO_TEXT.into()).await),
                Some(Err(Unread::TooLong)) => return Err(too_long()),
                None => deadline = Some(Instant::now() + LAST_ANSWERS),
            },
            message = line.next() => {
                let message = message?;
                open_calls.note_answered(&message);
                if said.messages.send(message).await.is_err() {
                    // Nobody reads any more.
                    break;
                }
            }
            () = sleep_until(until), if deadline.is_some() => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if deadline.is_some() && open_calls.is_none() {
            break;
        }
    }
    line.close().await;
    said.finish().await;
    Ok(())
}

fn signals() -> Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::new("signals cannot be heard", error.to_string()))
    };
    Ok((listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?))
}

fn too_long() -> Failure {
    Failure::new("a message is too long", format!("it has more than {LINE_BYTES} bytes"))
        .with_fix("send less at once")
}

/// Why a line is no message.
enum Unread {
    NoText,
    TooLong,
}

/// What the client says, line by line. Read on a thread of its own, which ends with the process:
/// a wait for standard input cannot be given up.
fn listen() -> mpsc::Receiver<Result<String, Unread>> {
    let (sender, told) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.len() as u64 == LINE_BYTES => {
                    drop(sender.blocking_send(Err(Unread::TooLong)));
                    return;
                }
                Ok(_) => {}
            }
            let message = match String::from_utf8(line) {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(mut line) => {
                    line.truncate(line.trim_end().len());
                    Ok(line)
                }
                Err(_) => Err(Unread::NoText),
            };
            if sender.blocking_send(message).is_err() {
                return;
            }
        }
    });
    told
}

/// The way to the client.
struct Said {
    messages: mpsc::Sender<Bytes>,
    written: tokio::sync::oneshot::Receiver<()>,
}

impl Said {
    /// Waits until everything is written, unless nobody reads it.
    async fn finish(self) {
        drop(self.messages);
        drop(tokio::time::timeout(LAST_ANSWERS, self.written).await);
    }
}

/// Writes messages for the client, one a line, on a thread of its own.
fn speak() -> Said {
    let (messages, mut waiting) = mpsc::channel::<Bytes>(WAITING);
    let (done, written) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut output = io::stdout().lock();
        while let Some(message) = waiting.blocking_recv() {
            let line = in_one_line(&message);
            if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                break;
            }
        }
        drop(done);
    });
    Said { messages, written }
}

/// JSON on a line of its own: a line break between its tokens is as good as a space.
fn in_one_line(message: &Bytes) -> Vec<u8> {
    let is_break = |byte: u8| matches!(byte, b'\n' | b'\r');
    let plain = message.iter().map(|byte| if is_break(*byte) { b' ' } else { *byte });
    plain.chain([b'\n']).collect()
}

/// How many calls have no answer yet.
#[derive(Debug, Default)]
struct OpenCalls(usize);

#[derive(Deserialize)]
struct Envelope {
    id: Option<IgnoredAny>,
    method: Option<IgnoredAny>,
}

impl OpenCalls {
    const fn is_none(&self) -> bool {
        self.0 == 0
    }

    fn note_sent(&mut self, message: &str) {
        if let Ok(Envelope { id: Some(_), method: Some(_) }) = serde_json::from_str(message) {
            self.0 += 1;
        }
    }

    fn note_answered(&mut self, message: &[u8]) {
        if let Ok(Envelope { id: Some(_), method: None }) = serde_json::from_slice(message) {
            self.0 = self.0.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_one_line_whatever_is_in_it() {
        let line = in_one_line(&Bytes::from_static(b"{\r\n \"a\": \"b\\n\"\n}"));

        assert_eq!(line, b"{   \"a\": \"b\\n\" }\n");
    }

    #[test]
    fn counts_the_calls_that_have_no_answer_yet() {
        let mut open = OpenCalls::default();

        open.note_sent(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        open.note_sent(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        open.note_sent("no JSON");
        open.note_answered(br#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#);
        assert!(!open.is_none());
        open.note_answered(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);

        assert!(open.is_none());
    }

    #[test]
    fn each_endpoint_has_a_path() {
        let stdio = |server: Option<&str>, namespace: Option<&str>| Stdio {
            server: server.map(str::to_owned),
            namespace: namespace.map(|name| name.parse().expect("a slug")),
        };

        let path = |server, namespace| stdio(server, namespace).path().ok();
        assert_eq!(path(None, None).as_deref(), Some("/ws"));
        assert_eq!(path(Some("time"), None).as_deref(), Some("/servers/time/ws"));
        assert_eq!(path(None, Some("team")).as_deref(), Some("/mcp/team/ws"));
        assert_eq!(path(Some("a/b?c"), None), None);
    }
}
