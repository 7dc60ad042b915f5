//! Problem documents (RFC 9457): every error of the own API.

use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use thim_client::Problem;

use crate::access::Denied;
use crate::store::StoreError;

/// An error of the own API.
#[derive(Clone, Debug)]
pub struct ProblemResponse {
    problem: Problem,
    advice: Option<Advice>,
}

/// What a header says beside the problem.
#[derive(Clone, Copy, Debug)]
enum Advice {
    /// `WWW-Authenticate`: which kind of token is wanted.
    Authenticate,
    /// `Retry-After`, in seconds.
    RetryAfter(i64),
}

/// A problem of `status`, with what is particular to this occurrence.
pub fn problem(status: StatusCode, title: &str, detail: impl Into<String>) -> ProblemResponse {
    ProblemResponse {
        problem: Problem {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: Some(detail.into()),
        },
        advice: None,
    }
}

impl From<Denied> for ProblemResponse {
    fn from(denied: Denied) -> Self {
        let (status, title, advice) = match denied {
            Denied::Missing | Denied::Wrong => (
                StatusCode::UNAUTHORIZED,
                "This wants the bearer token",
                Some(Advice::Authenticate),
            ),
            Denied::NotAllowed { .. } => (
                StatusCode::FORBIDDEN,
                "The token is not good for this",
                None,
            ),
            Denied::TooManyFailures { retry_after_secs } => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong tokens",
                Some(Advice::RetryAfter(retry_after_secs)),
            ),
        };
        Self {
            advice,
            ..problem(status, title, denied.to_string())
        }
    }
}

impl From<StoreError> for ProblemResponse {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error, "the store failed");
        let detail = if error.is_out_of_space() {
            "the disk is full or cannot be written"
        } else {
            "see the log"
        };
        problem(StatusCode::SERVICE_UNAVAILABLE, "The store failed", detail)
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response =
            (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response();
        match self.advice {
            None => {}
            Some(Advice::Authenticate) => {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            Some(Advice::RetryAfter(secs)) => {
                response.headers_mut().insert(RETRY_AFTER, secs.into());
            }
        }
        response
    }
}

/// Query parameters whose faults are problem documents too.
pub struct Params<T>(pub T);

impl<S, T> FromRequestParts<S> for Params<T>
where
    S: Send + Sync,
    T: serde::de::DeserializeOwned,
{
    type Rejection = ProblemResponse;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        state: &S,
    ) -> Result<Self, ProblemResponse> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(problem(
                StatusCode::BAD_REQUEST,
                "A parameter is wrong",
                rejection.body_text(),
            )),
        }
    }
}
