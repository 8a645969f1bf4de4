//! How a conversation with a server is opened: the only file that knows servers of older
//! revisions.
//!
//! Everybody is first asked in today's revision, `server/discover`. Whoever answers in a way that
//! only today's servers do is one. All others are opened with `initialize`, as of old.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/lifecycle>

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use crate::{
    upstream::{Error, Peer, error::Oddity},
    wire::{
        Answer, Era, Method, Outcome, Request, Revision,
        header::{MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION},
        meta::IMPLEMENTATION,
    },
};

/// The code of a method nobody knows.
const UNKNOWN_METHOD: i64 = -32_601;
/// The codes with which servers that want a handshake refuse what comes before it.
const REFUSED_BEFORE_HANDSHAKE: [i64; 2] = [-32_000, -32_600];

/// On what terms messages are exchanged with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Terms {
    /// Every request stands alone.
    Stateless,
    /// No handshake was made yet; this is the first message of one.
    Opening,
    /// After a handshake.
    Session {
        /// The revision that was agreed on.
        revision: Revision,
        /// The id of the session, where the transport has sessions and the server one.
        id: Option<HeaderValue>,
    },
}

impl Terms {
    pub(super) const fn era(&self) -> Era {
        match self {
            Self::Stateless => Era::Modern,
            Self::Opening | Self::Session { .. } => Era::Legacy,
        }
    }
}

/// What came back for a request.
#[derive(Debug)]
pub(super) struct Reply {
    /// The answer, where there is one.
    pub(super) answer: Option<Answer>,
    /// The HTTP status, where it says no.
    pub(super) refusal: Option<StatusCode>,
    /// The session that was opened with it.
    pub(super) session: Option<HeaderValue>,
}

impl Reply {
    /// The answer, or the status that came in its place.
    pub(super) fn into_answer(self) -> Result<Answer, Error> {
        let status = self.refusal.unwrap_or(StatusCode::NO_CONTENT);
        self.answer.ok_or(Error::Refused { status })
    }

    fn error_code(&self) -> Option<i64> {
        match self.answer.as_ref()?.outcome() {
            Outcome::Error { code } => Some(*code),
            Outcome::Result { .. } => None,
        }
    }
}

/// A way to put messages to a server.
pub(super) trait Line {
    /// Whether a server that does not answer at all may be one of an older revision.
    const SILENCE_IS_AN_ANSWER: bool;

    /// What the clients behind the line can be asked, as JSON.
    fn capabilities(&self) -> &str;

    /// Puts a request and waits for what comes back.
    async fn put(
        &self,
        terms: &Terms,
        request: &Request,
        deadline: Instant,
    ) -> Result<Reply, Error>;

    /// Sends a notification.
    async fn tell(
        &self,
        terms: &Terms,
        notification: Bytes,
        deadline: Instant,
    ) -> Result<(), Error>;
}

/// An opened conversation.
#[derive(Debug)]
pub(super) struct Greeting {
    /// What the server says of itself.
    pub(super) peer: Arc<Peer>,
    /// How it is spoken to.
    pub(super) terms: Terms,
}

impl Greeting {
    fn new(peer: Peer, terms: Terms) -> Self {
        Self { peer: Arc::new(peer), terms }
    }
}

/// How the opening of a conversation went that many wait for.
#[derive(Debug, Clone)]
pub(super) enum Greeted {
    Well(Arc<Greeting>),
    /// The first question of today's revision ended the connection. It is to be opened again and
    /// spoken to as of old.
    Fatally,
    Failed(Error),
}

/// How much time there is for a handshake.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long the server may think about the first question.
    pub(super) probe: Duration,
    /// When it must be done.
    pub(super) deadline: Instant,
}

/// What became of the first question.
enum Found {
    Modern(Peer),
    Older,
    Silence,
}

/// Opens a conversation. A server that was of an older revision last time is taken for one again,
/// and asked anew when it does not act like one.
pub(super) async fn greet<L: Line>(
    line: &L,
    last_time: Option<Era>,
    patience: Patience,
) -> Result<Greeting, Error> {
    if last_time == Some(Era::Legacy) {
        match initialize(line, patience.deadline).await {
            Err(Error::HandshakeRefused { .. } | Error::Refused { .. }) => {}
            greeting => return greeting,
        }
    }
    match discover(line, patience).await? {
        Found::Modern(peer) => Ok(Greeting::new(peer, Terms::Stateless)),
        Found::Older => initialize(line, patience.deadline).await,
        Found::Silence => match initialize(line, patience.deadline).await {
            // It was only slow to start.
            Err(error @ Error::HandshakeRefused { .. }) => match discover(line, patience).await? {
                Found::Modern(peer) => Ok(Greeting::new(peer, Terms::Stateless)),
                Found::Older | Found::Silence => Err(error),
            },
            greeting => greeting,
        },
    }
}

async fn discover<L: Line>(line: &L, patience: Patience) -> Result<Found, Error> {
    let request = Request::make(&Method::Discover, "{}");
    let limit = patience.deadline.min(Instant::now() + patience.probe);
    let mut reply = line.put(&Terms::Stateless, &request, limit).await;
    if reply.as_ref().is_ok_and(wants_our_version) {
        // It refuses the version it asks for: once is a misunderstanding.
        reply = line.put(&Terms::Stateless, &request, limit).await;
    }
    match reply {
        Ok(reply) => judge(&reply),
        Err(Error::TooSlow { .. }) if L::SILENCE_IS_AN_ANSWER => Ok(Found::Silence),
        Err(error) => Err(error),
    }
}

/// Whether a server refuses the version it is asked in, and names the very same.
fn wants_our_version(reply: &Reply) -> bool {
    #[derive(serde::Deserialize)]
    struct Refusal {
        data: Supported,
    }
    #[derive(serde::Deserialize)]
    struct Supported {
        supported: Vec<String>,
    }
    if reply.error_code() != Some(i64::from(UNSUPPORTED_VERSION)) {
        return false;
    }
    let error = reply.answer.as_ref().and_then(Answer::error);
    let refusal = error.and_then(|raw| serde_json::from_str::<Refusal>(raw.get()).ok());
    refusal.is_some_and(|refusal| {
        refusal.data.supported.iter().any(|version| version == Revision::NEWEST.as_str())
    })
}

/// Tells the era from what came back for the first question. It must not depend on one code:
/// servers of older revisions refuse what they do not know in many ways.
fn judge(reply: &Reply) -> Result<Found, Error> {
    let refuses = |known: i32, code: i64| code == i64::from(known);
    let Some(code) = reply.error_code() else {
        let result = reply.answer.as_ref().and_then(Answer::result);
        return Ok(result.and_then(Peer::discovered).map_or(Found::Older, Found::Modern));
    };
    if refuses(MISMATCH, code) || refuses(MISSING_CAPABILITY, code) {
        return Err(Error::HandshakeRefused { code });
    }
    if code == UNKNOWN_METHOD && reply.refusal == Some(StatusCode::NOT_FOUND) {
        // Only today's servers say it with this status.
        return Ok(Found::Modern(Peer::untold()));
    }
    Ok(Found::Older)
}

async fn initialize<L: Line>(line: &L, deadline: Instant) -> Result<Greeting, Error> {
    let version = Revision::NEWEST_LEGACY;
    let params = format!(
        r#"{{"protocolVersion":"{version}","capabilities":{},"clientInfo":{IMPLEMENTATION}}}"#,
        line.capabilities()
    );
    let request = Request::make(&Method::Initialize, &params);
    let reply = line.put(&Terms::Opening, &request, deadline).await?;
    if let Some(code) = reply.error_code() {
        return Err(Error::HandshakeRefused { code });
    }
    let id = reply.session.clone();
    let answer = reply.into_answer()?;
    let result = answer.result().ok_or_else(|| Oddity::Handshake("it is empty".to_owned()))?;
    let peer = Peer::initialized(result)?;
    let terms = Terms::Session { revision: peer.revision, id };
    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    line.tell(&terms, Bytes::from_static(initialized), deadline).await?;
    Ok(Greeting::new(peer, terms))
}

/// Whether a reply says that the terms it was asked on hold no more. The request was refused for
/// that alone and did not run.
pub(super) fn breaks_terms(terms: &Terms, reply: &Reply) -> bool {
    let code = reply.error_code();
    if code == Some(i64::from(UNSUPPORTED_VERSION)) {
        return true;
    }
    let Some(status) = reply.refusal else { return false };
    let is_before_handshake = code.is_none_or(|code| REFUSED_BEFORE_HANDSHAKE.contains(&code));
    match (terms, status) {
        (Terms::Stateless, StatusCode::BAD_REQUEST) => is_before_handshake,
        (Terms::Stateless, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
            code.is_none()
        }
        (Terms::Session { id, .. }, StatusCode::NOT_FOUND) => id.is_some() || code.is_none(),
        // Whoever is there now speaks another transport.
        (Terms::Session { .. }, StatusCode::METHOD_NOT_ALLOWED) => code.is_none(),
        (Terms::Session { .. }, StatusCode::BAD_REQUEST) => {
            code == Some(i64::from(MISMATCH)) || (is_before_handshake && speaks_of_session(reply))
        }
        _ => false,
    }
}

/// Some servers tell the loss of a session with status 400 and words.
fn speaks_of_session(reply: &Reply) -> bool {
    let message = reply.answer.as_ref().and_then(Answer::error_message);
    message.is_some_and(|message| {
        let message = message.to_ascii_lowercase();
        message.contains("session") || message.contains("not initialized")
    })
}
