//! The visitor: speaks to a running gateway.

mod answer;
mod audit;
mod call;
mod consents;
mod instances;
mod limits;
mod line;
mod links;
mod live;
mod manage;
mod people;
mod policies;
mod requests;
mod routes;
mod sign_in;
mod trust;

use std::{net::IpAddr, path::Path, time::Duration};

use reqwest::{Method, RequestBuilder, Response, redirect};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::Secret,
    problem::{Classify, Kind},
};

pub use self::{
    audit::{AuditCheck, AuditFault, AuditReport, AuditView},
    call::{CallResult, Missing, Tool, Tools},
    consents::ConsentView,
    instances::{
        Balance, CacheWish, ImportedView, InstanceChange, InstanceForm, InstanceView, ServerChange,
        SyncedView,
    },
    limits::{LimitUsage, LimitView, LimitWindow, RefusedView, StandingView},
    line::Line,
    links::{LinkBegun, LinkView},
    live::{ClientSession, ServerProcess},
    manage::{
        Claim, KeyForm, KeyUpdate, KeyView, Launch, NewKey, Offered, PermissionView, ServerForm,
        ServerStatus, ServerView, Status, StoreStatus,
    },
    people::{
        NamespaceForm, NamespaceView, OrganizationForm, OrganizationView, UserForm, UserView,
    },
    policies::{PolicyAnswer, PolicyCheck, PolicyStep, PolicyView, ReplayedCall},
    requests::{RequestNews, RequestView},
    routes::{RouteRuleView, RouteTest, RouteView},
    sign_in::{ProfileView, SignInForm, Tokens},
    trust::{ChangeView, Decision, FieldView, Lock, LockedServer, Locking},
};

/// How long making a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a request to the office may take, to the last byte of its answer.
const MANAGE_LIMIT: Duration = Duration::from_mins(1);
/// How long a call may take. The gateway has shorter limits of its own.
const CALL_LIMIT: Duration = Duration::from_hours(1);
/// Bytes of one answer.
const ANSWER_LIMIT: usize = 64 << 20;

/// Why there is no answer, or not the wished one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0:?} is not the URL of a gateway")]
    Address(String),
    /// The credential cannot stand in a header.
    #[error("the key holds characters that no key has")]
    Key,
    /// Nobody is there.
    #[error("no gateway answers at {place}")]
    Unreachable {
        /// Where it was looked for.
        place: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("the gateway at {place} did not answer in time")]
    TooSlow {
        /// Where it was asked.
        place: String,
    },
    /// The gateway said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// What came back is no answer of a gateway.
    #[error("what answers at {place} is not a gateway (HTTP {status}: {start})")]
    Unreadable {
        /// Where it was asked.
        place: String,
        /// The HTTP status.
        status: u16,
        /// How the answer begins.
        start: String,
    },
    /// A line was there, and is no more.
    #[error("the line to {place} ended: {reason}")]
    Closed {
        /// Where it led.
        place: String,
        /// What was said, or happened.
        reason: String,
    },
    /// The answer is longer than a client takes.
    #[error("the answer is longer than {} bytes", ANSWER_LIMIT)]
    TooLarge,
}

/// What a gateway says when it says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The word for programs, such as `NOT_FOUND`; empty when there was none.
    pub code: String,
    /// The number of a JSON-RPC error.
    pub rpc: Option<i64>,
    /// What was said.
    pub message: String,
    /// Names the request in the gateway's log.
    pub request_id: Option<String>,
    /// Whether a second factor is all that is missing.
    pub wants_second_factor: bool,
}

impl Error {
    /// The refusal, where the gateway answered and said no.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            // 422: understood as JSON, and still not to be carried out.
            Self::Address(_) | Self::Key | Self::Refused(Refusal { status: 422, .. }) => {
                Kind::Invalid
            }
            Self::Unreachable { .. } | Self::Closed { .. } => Kind::Unavailable,
            Self::TooSlow { .. } => Kind::Timeout,
            Self::Unreadable { .. } | Self::TooLarge => Kind::Upstream,
            Self::Refused(refusal) => Kind::ALL
                .into_iter()
                .find(|kind| kind.telling().http == refusal.status)
                .unwrap_or(Kind::Upstream),
        }
    }
}

/// A connection to one gateway. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<Secret>,
    place: String,
    organization: Option<String>,
}

impl Client {
    /// Speaks to the gateway at this URL; one that ends in `/mcp` is taken as well.
    pub fn tcp(url: &str, key: Option<Secret>) -> Result<Self, Error> {
        let wrong = || Error::Address(url.to_owned());
        let parsed = reqwest::Url::parse(url.trim()).map_err(|_| wrong())?;
        let is_plain = ["http", "https"].contains(&parsed.scheme())
            && parsed.username().is_empty()
            && parsed.query().is_none();
        let host = parsed.host_str().filter(|_| is_plain).ok_or_else(wrong)?;
        let mut builder = builder();
        // A proxy is for the world outside; this machine reaches itself.
        if is_here(host) {
            builder = builder.no_proxy();
        }
        let base = parsed.as_str().trim_end_matches('/');
        let base = base.strip_suffix("/mcp").unwrap_or(base).to_owned();
        let (place, organization) = (base.clone(), None);
        Ok(Self { http: built(builder), place, base, key, organization })
    }

    /// Speaks to the gateway behind this unix socket, as the user of this process.
    #[must_use]
    pub fn unix(socket: &Path) -> Self {
        let builder = builder().no_proxy().unix_socket(socket);
        Self {
            http: built(builder),
            base: "http://localhost".to_owned(),
            key: None,
            place: socket.display().to_string(),
            organization: None,
        }
    }

    /// Shows a key or a token from now on.
    #[must_use]
    pub fn with_key(mut self, key: Secret) -> Self {
        self.key = Some(key);
        self
    }

    /// Where the gateway is, as its URL or the path of its socket.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether others can read along on the way there.
    #[must_use]
    pub fn is_overheard(&self) -> bool {
        let url = reqwest::Url::parse(&self.base).ok();
        let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
        self.base.starts_with("http:") && !is_here(host)
    }

    /// Whether the gateway is up.
    pub async fn is_alive(&self) -> Result<bool, Error> {
        self.is_ok("/health").await
    }

    /// Whether the gateway serves calls.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        self.is_ok("/ready").await
    }

    async fn is_ok(&self, path: &str) -> Result<bool, Error> {
        let request = self.request(Method::GET, path)?;
        Ok(self.send(request).await?.status().is_success())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self.request(Method::GET, path)?;
        self.manage(request).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.request(Method::POST, path)?;
        self.manage(request.json(body)).await
    }

    async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.request(Method::PUT, path)?;
        self.manage(request.json(body)).await
    }

    async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.request(Method::PATCH, path)?;
        self.manage(request.json(body)).await
    }

    async fn delete(&self, path: &str) -> Result<(), Error> {
        self.do_without_answer(self.request(Method::DELETE, path)?).await
    }

    /// For requests whose answers say nothing but that it is done.
    async fn do_without_answer(&self, request: RequestBuilder) -> Result<(), Error> {
        let response = self.send(request).await?;
        let status = response.status();
        let body = self.whole(response).await?;
        if status.is_success() { Ok(()) } else { Err(answer::refused(&self.place, status, &body)) }
    }

    async fn manage<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = self.send(request).await?;
        let status = response.status();
        let body = self.whole(response).await?;
        answer::data(&self.place, status, &body)
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let place = self.organization.as_ref().map(|place| {
            let sign = if path.contains('?') { '&' } else { '?' };
            format!("{sign}organization={}", manage::segment(place))
        });
        let url = format!("{}{path}{}", self.base, place.unwrap_or_default());
        let request = self.http.request(method, url).timeout(MANAGE_LIMIT);
        let Some(key) = &self.key else { return Ok(request) };
        let value = format!("Bearer {}", key.expose());
        let mut value = http::HeaderValue::try_from(value).map_err(|_| Error::Key)?;
        value.set_sensitive(true);
        Ok(request.header(http::header::AUTHORIZATION, value))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        request.send().await.map_err(|error| self.lost(error))
    }

    /// Reads an answer to its end.
    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.lost(error))? {
            if body.len() + piece.len() > ANSWER_LIMIT {
                return Err(Error::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn lost(&self, error: reqwest::Error) -> Error {
        let place = self.place.clone();
        if error.is_timeout() && !error.is_connect() {
            return Error::TooSlow { place };
        }
        // The place is named already.
        Error::Unreachable { place, source: error.without_url() }
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        // A redirect would carry the key to where somebody else says.
        .redirect(redirect::Policy::none())
        .tcp_nodelay(true)
        .user_agent(concat!("tollhouse/", env!("CARGO_PKG_VERSION")))
}

fn built(builder: reqwest::ClientBuilder) -> reqwest::Client {
    builder.build().expect("OpenSSL starts and the parts of the user agent are plain text")
}

fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
