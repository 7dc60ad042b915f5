//! The management port's part for virtual platforms. Each handler parses, calls one method, renders.
//!
//! Answers carry encrypted PPIDs and manifests: they are simulated, and a test has to have them from somewhere.

use crate::SimError;
use crate::management::Management;
use crate::management_routes::{done, parse};
use crate::platform::{PckCertsShape, PlatformSpec, SimPlatform};
use crate::quote::QuoteSpec;
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde_json::Value;

pub(crate) fn router() -> Router<Management> {
    Router::new()
        .route("/platforms", get(platforms).post(add_platforms))
        .route("/platforms/{name}", get(platform))
        .route("/platforms/{name}/add-request", get(add_request))
        .route("/platforms/{name}/manifest", get(manifest))
        .route("/platforms/{name}/quote", post(quote))
        .route("/platforms/{name}/retrieval-csv", get(retrieval_csv))
        .route(
            "/platforms/{name}/retrieval-request",
            get(retrieval_request),
        )
        .route("/platforms/{name}/revoke", post(revoke))
        .route("/platforms/{name}/{act}", post(act))
        .route("/pckcerts-shape", put(pckcerts_shape))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    skip: usize,
    #[serde(default = "most_at_once")]
    count: usize,
}

async fn platforms(
    State(management): State<Management>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, SimError> {
    let Query(Page { skip, count }) =
        page.map_err(|error| SimError::InvalidRequest(error.body_text()))?;
    let count = count.min(MAX_AT_ONCE);
    Ok(Json(management.platforms_from(skip, count)).into_response())
}

/// The body is a [`PlatformSpec`] with one member more, `count`.
async fn add_platforms(
    State(management): State<Management>,
    body: Bytes,
) -> Result<Response, SimError> {
    let mut body: Value = parse(&body)?;
    let count = match body.as_object_mut().and_then(|body| body.remove("count")) {
        None => 1,
        Some(count) => count
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| (1..=MAX_AT_ONCE).contains(count))
            .ok_or_else(|| SimError::InvalidRequest(format!("count: 1 to {MAX_AT_ONCE}")))?,
    };
    let spec: PlatformSpec = serde_json::from_value(body)
        .map_err(|error| SimError::InvalidRequest(error.to_string()))?;
    Ok(Json(management.add_platforms(spec, count)?).into_response())
}

async fn platform(
    State(management): State<Management>,
    Path(name): Path<String>,
) -> Result<Response, SimError> {
    Ok(Json(find(&management, name)?).into_response())
}

async fn add_request(
    State(management): State<Management>,
    Path(name): Path<String>,
) -> Result<Response, SimError> {
    Ok(octets(find(&management, name)?.add_request()))
}

async fn manifest(
    State(management): State<Management>,
    Path(name): Path<String>,
) -> Result<Response, SimError> {
    let manifest = find(&management, name)?.manifest;
    manifest.map(octets).ok_or_else(|| {
        SimError::InvalidRequest("a single-package platform has no manifest".to_owned())
    })
}

async fn quote(
    State(management): State<Management>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, SimError> {
    let spec: QuoteSpec = parse(&body)?;
    Ok(octets(management.quote(&name, &spec)?))
}

async fn retrieval_csv(
    State(management): State<Management>,
    Path(name): Path<String>,
) -> Result<Response, SimError> {
    let csv = find(&management, name)?.retrieval_csv();
    Ok(([(CONTENT_TYPE, "text/csv")], csv).into_response())
}

async fn retrieval_request(
    State(management): State<Management>,
    Path(name): Path<String>,
) -> Result<Response, SimError> {
    let request = find(&management, name)?.retrieval_request();
    Ok(([(CONTENT_TYPE, "application/json")], request).into_response())
}

async fn revoke(
    State(management): State<Management>,
    Path(name): Path<String>,
) -> Result<Response, SimError> {
    Ok(Json(management.revoke_platform(&name)?).into_response())
}

async fn act(
    State(management): State<Management>,
    Path((name, act)): Path<(String, String)>,
) -> Result<Response, SimError> {
    let platform = match act.as_str() {
        "consume-manifest" => management.consume_manifest(&name),
        "downgrade" => management.downgrade(&name),
        "encrypt-ppid" => management.encrypt_ppid(&name),
        "reissue" => management.reissue(&name),
        "upgrade" => management.upgrade(&name),
        _ => Err(SimError::InvalidRequest(format!("no act `{act}`"))),
    }?;
    Ok(Json(platform).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    shape: PckCertsShape,
}

async fn pckcerts_shape(
    State(management): State<Management>,
    body: Bytes,
) -> Result<Response, SimError> {
    let Shape { shape } = parse(&body)?;
    management.set_pckcerts_shape(shape);
    Ok(done())
}

fn find(management: &Management, name: String) -> Result<SimPlatform, SimError> {
    management
        .platform(&name)
        .ok_or(SimError::UnknownPlatform(name))
}

fn octets(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

fn most_at_once() -> usize {
    MAX_AT_ONCE
}

/// A thousand platforms of two packages are 40 MB of JSON.
const MAX_AT_ONCE: usize = 1_000;
