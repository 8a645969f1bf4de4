//! The one HTTP client: its pool, its TLS, and the addresses it never dials.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::{
    client::legacy::{
        self,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::{TokioExecutor, TokioTimer},
};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVersion};
use tower::Service;

use crate::{
    domain::{is_never_asked, is_public},
    upstream::{Error, Settings, http::Papers},
};

/// The client that all instances share.
pub(crate) type Client =
    legacy::Client<InTime<HttpsConnector<HttpConnector<Guarded>>>, Full<Bytes>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How often a quiet connection is checked by the system.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// The smallest limit on a head that hyper takes.
const SMALLEST_HEAD: usize = 8_192;

/// Which addresses a client dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dials {
    /// All but those that are never asked.
    Most,
    /// Those that everybody can reach.
    Public,
}

impl Dials {
    /// Whether an address is dialled.
    pub(crate) fn reach(self, address: &IpAddr) -> bool {
        !is_never_asked(address) && (self == Self::Most || is_public(address))
    }
}

/// Makes a client of instances, which shows in its handshakes what these papers hold.
pub(crate) fn client(settings: &Settings, papers: Option<&Papers>) -> Result<Client, Error> {
    client_that(Dials::Most, settings, papers)
}

/// Makes a client that dials these addresses.
pub(crate) fn client_that(
    dials: Dials,
    settings: &Settings,
    papers: Option<&Papers>,
) -> Result<Client, Error> {
    let mut tcp = HttpConnector::new_with_resolver(Guarded(GaiResolver::new(), dials));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_connect_timeout(Some(settings.connect()));
    let mut tls = tls()?;
    if let Some(papers) = papers {
        papers.show(&mut tls)?;
    }
    let tls = HttpsConnector::with_connector(tcp, tls)?;
    Ok(legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(settings.pool_idle_seconds))
        .pool_max_idle_per_host(settings.pool_idle_per_host)
        .http1_max_buf_size(settings.header_bytes.max(SMALLEST_HEAD))
        .build(InTime { inner: tls, limit: settings.connect() }))
}

/// An OpenSSL that is linked in does not know where this system keeps its certificates.
fn tls() -> Result<SslConnectorBuilder, openssl::error::ErrorStack> {
    let mut tls = SslConnector::builder(SslMethod::tls_client())?;
    tls.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    tls.set_alpn_protos(b"\x08http/1.1")?;
    let certificates = openssl_probe::probe();
    for folder in &certificates.cert_dir {
        tls.load_verify_locations(None, Some(folder))?;
    }
    if let Some(file) = &certificates.cert_file {
        tls.load_verify_locations(Some(file), None)?;
    }
    Ok(tls)
}

/// Finds addresses and leaves out those the gateway never dials: after the look-up, so that no
/// name can lead there.
#[derive(Clone)]
pub(crate) struct Guarded(GaiResolver, Dials);

impl Service<Name> for Guarded {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, dials) = (self.0.call(name), self.1);
        Box::pin(async move { allowed(dials, found.await?) })
    }
}

fn allowed(
    dials: Dials,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<vec::IntoIter<SocketAddr>, BoxError> {
    let allowed: Vec<_> = found.filter(|address| dials.reach(&address.ip())).collect();
    if allowed.is_empty() {
        return Err("its name leads to no address that may be dialled".into());
    }
    Ok(allowed.into_iter())
}

/// Opens connections within a time, TLS handshake included.
#[derive(Clone)]
pub(crate) struct InTime<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = self.limit;
        let connecting = self.inner.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed_of(dials: Dials, addresses: &[&str]) -> Option<Vec<String>> {
        let parsed = addresses.iter().map(|text| text.parse::<SocketAddr>().expect("an address"));
        allowed(dials, parsed).ok().map(|found| found.map(|address| address.to_string()).collect())
    }

    #[test]
    fn a_name_cannot_lead_to_an_address_that_is_never_dialled() {
        let mixed =
            allowed_of(Dials::Most, &["169.254.169.254:80", "93.184.215.14:80", "[fe80::1]:80"]);

        assert_eq!(mixed, Some(vec!["93.184.215.14:80".to_owned()]));
        assert_eq!(allowed_of(Dials::Most, &["0.0.0.0:80", "[::ffff:169.254.169.254]:80"]), None);
    }

    #[test]
    fn a_name_cannot_lead_to_an_address_that_only_some_reach() {
        let addresses = ["10.0.0.1:443", "93.184.215.14:443", "[::1]:443", "127.0.0.1:443"];

        let public = allowed_of(Dials::Public, &addresses);

        assert_eq!(public, Some(vec!["93.184.215.14:443".to_owned()]));
    }
}
