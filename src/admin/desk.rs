//! The desk: who asks, what they bring, and how they are answered.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    access::Caller,
    admin::Office,
    domain::RequestId,
    edge,
    problem::{Kind, Problem},
};

/// Somebody who is known, and may do what the route needs.
pub(super) struct Visitor(pub(super) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let nobody = || Problem::new(Kind::Internal, "a route that needs nobody asks who it is");
        Ok(Self(parts.extensions.get::<Caller>().cloned().ok_or_else(nobody)?))
    }
}

/// A body read as `T`: 400 where it is no JSON, 422 where it is other JSON.
pub(super) struct Checked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Checked<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let kind = request.headers().get(http::header::CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if !is_json {
            let problem = Problem::new(Kind::Invalid, "send the body as application/json");
            return Err(Failure(problem, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)));
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let kind = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
                _ => Kind::Invalid,
            };
            Failure::from(Problem::new(kind, rejection.body_text()))
        })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let status = error.is_data().then_some(StatusCode::UNPROCESSABLE_ENTITY);
            Failure(Problem::new(Kind::Invalid, error.to_string()), status)
        })
    }
}

/// A failure on its way out, with another status than its kind's where that is more exact.
#[derive(Debug)]
pub(super) struct Failure(Problem, Option<StatusCode>);

impl Failure {
    /// A failure that has a more exact status than its kind's.
    pub(super) const fn with_status(problem: Problem, status: StatusCode) -> Self {
        Self(problem, Some(status))
    }

    /// JSON that does not describe what it should.
    pub(super) fn unprocessable(problem: impl Into<Problem>) -> Self {
        let problem = problem.into();
        let status = (problem.kind() == Kind::Invalid).then_some(StatusCode::UNPROCESSABLE_ENTITY);
        Self(problem, status)
    }
}

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into(), None)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Writes the envelope of every failure, with the id of its request.
pub(super) async fn tell_problems(
    State(office): State<Office>,
    request: Request,
    next: Next,
) -> Response {
    let request_id = request.extensions().get::<RequestId>().cloned();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let Some(failure) = response.extensions().get::<Arc<Failure>>().cloned() else {
        return response;
    };
    let Failure(problem, status) = &*failure;
    let request_id = request_id.unwrap_or_else(RequestId::fresh);
    if problem.kind() == Kind::Internal {
        tracing::error!(%request_id, path, cause = problem.cause(), "a request failed");
    } else {
        tracing::debug!(%request_id, path, %problem, cause = problem.cause(), "refused");
    }
    let mut told = edge::http_problem(problem, &request_id, office.clock.now());
    if let Some(status) = status {
        *told.status_mut() = *status;
    }
    told
}

/// One thing, in the envelope of success.
pub(super) fn one(data: impl Serialize) -> Response {
    Json(json!({ "success": true, "data": data })).into_response()
}

/// A thing that was made just now.
pub(super) fn created(data: impl Serialize) -> Response {
    (StatusCode::CREATED, one(data)).into_response()
}

/// Several things, in the envelope of success.
pub(super) fn many<T: Serialize>(data: &[T]) -> Response {
    Json(json!({ "success": true, "data": data, "count": data.len() })).into_response()
}

/// Done, and nothing to show.
pub(super) fn done(message: &str) -> Response {
    Json(json!({ "success": true, "message": message })).into_response()
}

/// A path nobody answers.
pub(super) async fn no_such_path() -> Failure {
    Problem::new(Kind::NotFound, "there is nothing at this path").into()
}

/// A path that does not take this method.
pub(super) async fn no_such_method() -> Failure {
    let problem = Problem::new(Kind::Invalid, "this path does not take this method");
    Failure(problem, Some(StatusCode::METHOD_NOT_ALLOWED))
}
