//! Documents of strangers: one fetched over https from where it is said to be, and from nowhere
//! else.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Response, body::Incoming};
use tokio::sync::Semaphore;

use super::{
    Settings, Upstream,
    http::{Dials, client_that},
};

/// Documents that are fetched at the same time; whoever wants one more waits.
const AT_ONCE: usize = 8;
static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Where a document is, and how much is read of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'a> {
    /// Its URL.
    pub(crate) url: &'a str,
    /// The longest one, in bytes.
    pub(crate) bytes: usize,
    /// How long it may take altogether.
    pub(crate) within: Duration,
    /// Whether it may be at an address that not everybody can reach, and without TLS on this
    /// machine.
    pub(crate) may_be_private: bool,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// Not https, or an address that is not asked.
    #[error("the address of the document is not asked")]
    Address,
    /// Nobody answered, or not in the way of HTTP.
    #[error("the document did not come")]
    Silent(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something else than a document was answered: a redirection, an error, or another kind.
    #[error("there is no JSON document at its address")]
    NoDocument,
    /// It took too long.
    #[error("the document did not come in time")]
    Late,
}

impl Upstream {
    /// Fetches a document of JSON. Nobody is followed elsewhere.
    pub(crate) async fn document(&self, document: Document<'_>) -> Result<Bytes, Unread> {
        fetch(document, self.0.settings()).await
    }
}

/// Fetches a document of JSON.
pub(super) async fn fetch(document: Document<'_>, settings: &Settings) -> Result<Bytes, Unread> {
    let request = Request::get(document.url)
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::new()))
        .map_err(|_| Unread::Address)?;
    let fetching = async {
        let _place = PLACES.acquire().await.map_err(|_| Unread::Late)?;
        let answer = send(document, request, settings).await?;
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let is_json = kind.eq_ignore_ascii_case("application/json")
            || (kind.starts_with("application/") && kind.ends_with("+json"));
        if answer.status() != StatusCode::OK || !is_json {
            return Err(Unread::NoDocument);
        }
        whole(answer, document.bytes).await
    };
    tokio::time::timeout(document.within, fetching).await.unwrap_or(Err(Unread::Late))
}

/// Posts something with these headers, and reads what is answered, whatever it is.
pub(super) async fn submit(
    document: Document<'_>,
    headers: HeaderMap,
    body: Bytes,
    settings: &Settings,
) -> Result<(StatusCode, Bytes), Unread> {
    let mut request = Request::post(document.url)
        .header(header::ACCEPT, "application/json")
        .body(Full::new(body))
        .map_err(|_| Unread::Address)?;
    request.headers_mut().extend(headers);
    let submitting = async {
        let answer = send(document, request, settings).await?;
        Ok((answer.status(), whole(answer, document.bytes).await?))
    };
    tokio::time::timeout(document.within, submitting).await.unwrap_or(Err(Unread::Late))
}

/// Asks a server of MCP without any credential, and gives the headers with which it answers.
pub(super) async fn knock(url: &str, settings: &Settings) -> Option<HeaderMap> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let request = Request::post(url)
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "tollhouse")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .ok()?;
    let client = client_that(Dials::Most, settings, None).ok()?;
    let answered = tokio::time::timeout(settings.connect(), client.request(request)).await;
    Some(answered.ok()?.ok()?.into_parts().0.headers)
}

async fn send(
    document: Document<'_>,
    mut request: Request<Full<Bytes>>,
    settings: &Settings,
) -> Result<Response<Incoming>, Unread> {
    let uri = request.uri();
    let dials = if document.may_be_private { Dials::Most } else { Dials::Public };
    let is_safe = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => document.may_be_private && is_here(uri),
        _ => false,
    };
    if !is_safe || !may_be_asked(uri, dials) {
        return Err(Unread::Address);
    }
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("tollhouse"));
    let client =
        client_that(dials, settings, None).map_err(|error| Unread::Silent(error.into()))?;
    client.request(request).await.map_err(|error| Unread::Silent(error.into()))
}

async fn whole(answer: Response<Incoming>, bytes: usize) -> Result<Bytes, Unread> {
    let body = Limited::new(answer.into_body(), bytes).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(Unread::Silent)
}

/// Whether nothing leaves this machine on the way.
fn is_here(uri: &Uri) -> bool {
    uri.host().is_some_and(|host| ["127.0.0.1", "[::1]", "localhost"].contains(&host))
}

/// Whether the host may be dialled, where it is an address: those are looked up nowhere.
fn may_be_asked(uri: &Uri, dials: Dials) -> bool {
    let Some(host) = uri.host() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().map_or(true, |address| dials.reach(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_public_addresses_are_asked_and_only_over_https() {
        let settings = Settings::default();
        for url in [
            "http://93.184.215.14/c.json",
            "https://127.0.0.1/c.json",
            "https://[::1]/c.json",
            "https://10.0.0.1/c.json",
            "https://169.254.169.254/latest",
            "file:///etc/passwd",
        ] {
            let within = Duration::from_secs(1);
            let document = Document { url, bytes: 100, within, may_be_private: false };

            let refused = fetch(document, &settings).await;

            assert!(matches!(refused, Err(Unread::Address)), "{url}");
        }
    }

    #[tokio::test]
    async fn a_private_address_is_asked_without_tls_on_this_machine_alone() {
        let settings = Settings::default();
        let asked = async |url| {
            let within = Duration::from_secs(1);
            let document = Document { url, bytes: 100, within, may_be_private: true };
            !matches!(fetch(document, &settings).await, Err(Unread::Address))
        };

        // Nobody listens there, which is found out by asking.
        assert!(asked("http://127.0.0.1:1/c.json").await);
        assert!(!asked("http://10.0.0.1/c.json").await);
        assert!(!asked("http://127.0.0.1.evil.test/c.json").await);
        assert!(!asked("http://169.254.169.254/latest").await);
    }
}
