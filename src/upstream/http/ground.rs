//! What all instances that are reached over HTTP share, and how a request is sent on it.

use std::{error::Error as _, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method as Verb, StatusCode, Uri, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::{Response, body::Incoming};
use tokio_util::task::TaskTracker;

use super::client::Client;
use crate::upstream::{
    Error, Settings,
    callers::Board,
    error::Oddity,
    oauth::{Bearer, is_short_of},
};

/// What all instances that are reached over HTTP share.
#[derive(Debug, Clone)]
pub(in crate::upstream) struct Ground {
    pub(in crate::upstream) client: Client,
    pub(in crate::upstream) settings: Arc<Settings>,
    pub(in crate::upstream) tasks: TaskTracker,
    pub(in crate::upstream) board: Board,
    /// The token that is shown with everything, where one that ends is.
    pub(in crate::upstream) bearer: Option<Arc<Bearer>>,
}

impl Ground {
    /// Sends a request, and nothing else where it is redirected.
    pub(in crate::upstream) async fn send(
        &self,
        verb: Verb,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        match &self.bearer {
            None => self.send_as_is(verb, uri, headers, body).await,
            Some(bearer) => Box::pin(self.send_with(bearer, (verb, uri), headers, body)).await,
        }
    }

    /// Shows a token with a request. One that is refused is replaced once: what was refused so
    /// was not done.
    async fn send_with(
        &self,
        bearer: &Bearer,
        (verb, uri): (Verb, &Uri),
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let no_token = |source| Error::NoToken { source };
        let shown = bearer.header().await.map_err(no_token)?;
        headers.insert(AUTHORIZATION, shown.clone());
        let answer = self.send_as_is(verb.clone(), uri, headers.clone(), body.clone()).await?;
        if answer.status() == StatusCode::FORBIDDEN
            && let Some(scope) = is_short_of(answer.headers())
        {
            bearer.wanted(&scope);
            return Err(Error::OutOfScope { scope });
        }
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let Some(another) = bearer.instead_of(&shown).await.map_err(no_token)? else {
            return Ok(answer);
        };
        headers.insert(AUTHORIZATION, another);
        self.send_as_is(verb, uri, headers, body).await
    }

    async fn send_as_is(
        &self,
        verb: Verb,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = verb;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        let sent = self.client.request(request).await;
        sent.map_err(|error| told(error, self.settings.header_bytes))
    }
}

/// What a failed request means.
fn told(error: hyper_util::client::legacy::Error, header_bytes: usize) -> Error {
    if error.is_connect() {
        return Error::unreachable(error);
    }
    let cause = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    match cause {
        Some(cause) if cause.is_parse_too_large() => Error::TooLarge { limit_bytes: header_bytes },
        Some(cause) if cause.is_parse() => Oddity::NotHttp(cause.to_string()).into(),
        _ => Error::broken(error),
    }
}
