//! Instances that speak no MCP: what they are asked and what they say is carried as it is.

use bytes::Bytes;
use http::{HeaderMap, Method as Verb, Uri};
use hyper::{Response, body::Incoming};
use tokio::time::{Instant, timeout_at};

use super::{
    Error, Upstream,
    error::Limit,
    http::{Ground, Site},
    oauth::Account,
    way::Way,
};
use crate::domain::Instance;

/// The status from which on an instance is unwell, as its answers say.
const UNWELL: u16 = 500;

/// An instance that is reached by plain HTTP.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) ground: Ground,
    pub(super) site: Site,
}

/// A request to be carried.
pub(crate) struct Parcel<'a> {
    /// Its method.
    pub(crate) verb: &'a Verb,
    /// Path and query below the instance's own URL; empty for that itself.
    pub(crate) target: &'a str,
    /// Its headers.
    pub(crate) headers: &'a HeaderMap,
    /// Its body.
    pub(crate) body: &'a Bytes,
}

impl Plain {
    async fn send(&self, parcel: &Parcel<'_>) -> Result<Response<Incoming>, Error> {
        let uri = below(&self.site.uri, parcel.target)?;
        let mut headers = parcel.headers.clone();
        self.site.heads.show_on(&mut headers);
        self.ground.send(parcel.verb.clone(), &uri, headers, parcel.body.clone()).await
    }
}

/// A path below a URL; the URL itself, where there is none.
fn below(base: &Uri, target: &str) -> Result<Uri, Error> {
    if target.is_empty() {
        return Ok(base.clone());
    }
    let mut parts = base.clone().into_parts();
    let path = format!("{}{target}", base.path().trim_end_matches('/'));
    parts.path_and_query = Some(path.parse().map_err(Error::unreachable)?);
    Uri::from_parts(parts).map_err(Error::unreachable)
}

impl Upstream {
    /// Carries a request of HTTP to an instance that speaks no MCP, and gives what it answers with
    /// its body still to come.
    pub(crate) async fn carry(
        &self,
        instance: &Instance,
        account: Option<&Account>,
        parcel: &Parcel<'_>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, Error> {
        let connection = self.0.connection(instance, account)?;
        let Way::Plain(plain) = connection.way() else { return Err(Error::Closed) };
        let _place = connection.place()?;
        let limit = Limit::until(deadline);
        let too_slow = |_| Error::TooSlow { limit, was_delivered: true };
        timeout_at(deadline, plain.send(parcel)).await.map_err(too_slow)?
    }

    /// Whether an instance that speaks no MCP answers at its URL.
    pub(crate) async fn knock(&self, instance: &Instance, deadline: Instant) -> Result<(), Error> {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        let parcel = Parcel { verb: &Verb::GET, target: "", headers: &headers, body: &body };
        let status = self.carry(instance, None, &parcel, deadline).await?.status();
        if status.as_u16() < UNWELL { Ok(()) } else { Err(Error::Refused { status }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_below_the_url_of_an_instance() {
        for (base, target, uri) in [
            ("http://x:1/", "/a?b=c", "http://x:1/a?b=c"),
            ("http://x:1/api/", "/a", "http://x:1/api/a"),
            ("http://x:1/api", "/", "http://x:1/api/"),
            ("http://x:1/api/health?deep=1", "", "http://x:1/api/health?deep=1"),
            ("http://x:1", "", "http://x:1/"),
        ] {
            let base: Uri = base.parse().expect("a URI");
            assert_eq!(below(&base, target).expect("a URI").to_string(), uri);
        }
    }
}
