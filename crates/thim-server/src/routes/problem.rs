//! Problem documents (RFC 9457): every error of the own API.

use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use thim_client::Problem;

use crate::store::StoreError;

/// An error of the own API.
#[derive(Clone, Debug)]
pub struct ProblemResponse(pub Problem);

/// A problem of `status`, with what is particular to this occurrence.
pub fn problem(status: StatusCode, title: &str, detail: impl Into<String>) -> ProblemResponse {
    ProblemResponse(Problem {
        kind: "about:blank".to_owned(),
        title: title.to_owned(),
        status: status.as_u16(),
        detail: Some(detail.into()),
    })
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
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
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
