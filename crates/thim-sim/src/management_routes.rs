//! The management port: [`Management`] over HTTP, JSON in and out. Each handler parses, calls one method, renders.
//!
//! It is for tests and demonstrations, binds where its owner says, and has no authentication: never expose it.

use crate::SimError;
use crate::faults::FaultRule;
use crate::management::{Ca, Management, Recovery, Revocation};
use crate::platform_routes;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, http::header::CONTENT_TYPE};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) fn router(management: Management) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/root.pem", get(root_pem))
        .route("/calls", get(calls).delete(reset_calls))
        .route("/numbers/keep", put(keep_numbers))
        .route("/recovery", post(recovery))
        .route("/resign", post(resign))
        .route("/resign-after", put(resign_after))
        .route("/revoke", post(revoke))
        .route("/shrink", post(shrink))
        .route("/rotate-signer", post(rotate_signer))
        .route("/faults", get(faults).put(set_fault).delete(clear_faults))
        .merge(platform_routes::router())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(management)
}

async fn status(State(management): State<Management>) -> Response {
    Json(management.status()).into_response()
}

async fn root_pem(State(management): State<Management>) -> Response {
    (
        [(CONTENT_TYPE, "application/x-pem-file")],
        management.root_pem(),
    )
        .into_response()
}

async fn calls(State(management): State<Management>) -> Response {
    Json(management.calls()).into_response()
}

async fn reset_calls(State(management): State<Management>) -> Response {
    management.reset_calls();
    done()
}

async fn recovery(State(management): State<Management>, body: Bytes) -> Result<Response, SimError> {
    let recovery: Recovery = parse(&body)?;
    let number = management.recover(&recovery)?;
    Ok(Json(json!({ "early": number })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeepNumbers {
    from: Option<u32>,
}

async fn keep_numbers(
    State(management): State<Management>,
    body: Bytes,
) -> Result<Response, SimError> {
    let KeepNumbers { from } = parse(&body)?;
    management.keep_numbers_from(from);
    Ok(done())
}

async fn resign(State(management): State<Management>) -> Result<Response, SimError> {
    let editions = management.resign()?;
    Ok(Json(json!({ "editions": editions })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResignAfter {
    seconds: u32,
}

async fn resign_after(
    State(management): State<Management>,
    body: Bytes,
) -> Result<Response, SimError> {
    let ResignAfter { seconds } = parse(&body)?;
    management.set_resign_after(seconds);
    Ok(done())
}

async fn revoke(State(management): State<Management>, body: Bytes) -> Result<Response, SimError> {
    let revocation: Revocation = parse(&body)?;
    Ok(Json(management.revoke(&revocation)?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shrink {
    ca: Ca,
    remove: u32,
}

async fn shrink(State(management): State<Management>, body: Bytes) -> Result<Response, SimError> {
    let Shrink { ca, remove } = parse(&body)?;
    Ok(Json(management.shrink(ca, remove)?).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RotateSigner {
    reissue: bool,
}

async fn rotate_signer(
    State(management): State<Management>,
    body: Bytes,
) -> Result<Response, SimError> {
    let RotateSigner { reissue } = parse(&body)?;
    management.rotate_signer(reissue)?;
    Ok(done())
}

async fn faults(State(management): State<Management>) -> Response {
    Json(management.faults()).into_response()
}

async fn set_fault(
    State(management): State<Management>,
    body: Bytes,
) -> Result<Response, SimError> {
    let value: Value = parse(&body)?;
    management.set_fault(FaultRule::from_json(&value)?)?;
    Ok(Json(management.faults()).into_response())
}

async fn clear_faults(State(management): State<Management>) -> Response {
    management.clear_faults();
    done()
}

/// Any content type is taken, so that a plain `curl -d` works; an empty body is `{}`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SimError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| SimError::InvalidRequest(error.to_string()))
}

pub(crate) fn done() -> Response {
    Json(json!({})).into_response()
}

impl IntoResponse for SimError {
    fn into_response(self) -> Response {
        let status = match self {
            SimError::ClockNotAdvanced { .. } => StatusCode::CONFLICT,
            SimError::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            SimError::UnknownChip(_) | SimError::UnknownPlatform(_) => StatusCode::NOT_FOUND,
            SimError::Bind { .. }
            | SimError::Certificate(_)
            | SimError::Randomness
            | SimError::Signature => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// Room for a revocation of some ten thousand serials.
const MAX_BODY_BYTES: usize = 1024 * 1024;
