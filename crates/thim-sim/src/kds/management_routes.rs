//! The management port of a simulated KDS: [`KdsManagement`] over HTTP, JSON in and out. Each handler parses, calls one
//! method, renders.
//!
//! It is for tests and demonstrations, binds where its owner says, and has no authentication: never expose it.

use crate::SimError;
use crate::faults::FaultRule;
use crate::kds::certificates::LeafForm;
use crate::kds::chip::{ChipSpec, SimChip};
use crate::kds::management::KdsManagement;
use crate::kds::product::{AmdCa, AmdProduct};
use crate::kds::rate::RateLimits;
use crate::kds::report::ReportSpec;
use crate::kds::tcb::SimTcb;
use crate::management_routes::{done, parse};
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) fn router(management: KdsManagement, roots_pem: String) -> Router {
    let roots = move || async { ([(CONTENT_TYPE, "application/x-pem-file")], roots_pem) };
    Router::new()
        .route("/status", get(status))
        .route("/roots.pem", get(roots))
        .route("/calls", get(calls).delete(reset_calls))
        .route("/violations", get(violations).delete(reset_violations))
        .route("/rate-limits", put(set_rate_limits))
        .route("/chips", get(chips).post(add_chips))
        .route("/chips/{name}", get(chip))
        .route("/chips/{name}/firmware", post(update_firmware))
        .route("/chips/{name}/reported", post(set_reported))
        .route("/chips/{name}/report", post(report))
        .route("/release", post(release))
        .route("/vlek/{product}/{csp_id}", get(vlek))
        .route("/leaf-form", put(set_leaf_form))
        .route("/revoke", post(revoke))
        .route("/restore", post(restore))
        .route("/resign-crl", post(resign_crl))
        .route("/resign-after", put(resign_after))
        .route("/reissue-ca", post(reissue_ca))
        .route("/faults", get(faults).put(set_fault).delete(clear_faults))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(management)
}

type Answer = Result<Response, SimError>;

async fn status(State(management): State<KdsManagement>) -> Response {
    Json(management.status()).into_response()
}

async fn calls(State(management): State<KdsManagement>) -> Response {
    Json(management.calls()).into_response()
}

async fn reset_calls(State(management): State<KdsManagement>) -> Response {
    management.reset_calls();
    done()
}

async fn violations(State(management): State<KdsManagement>) -> Response {
    let (total, recent) = (management.kds_violations(), management.recent_violations());
    Json(json!({ "total": total, "recent": recent })).into_response()
}

async fn reset_violations(State(management): State<KdsManagement>) -> Response {
    management.reset_violations();
    done()
}

async fn set_rate_limits(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let limits: RateLimits = parse(&body)?;
    management.set_rate_limits(limits);
    Ok(done())
}

/// A chip, and where KDS has its VCEK.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    chip: SimChip,
    target: String,
    tcbm: String,
}

impl Listed {
    fn new(chip: SimChip) -> Self {
        Self {
            target: chip.target(),
            tcbm: chip.reported.tcbm(chip.product),
            chip,
        }
    }
}

fn listed(chips: Vec<SimChip>) -> Response {
    Json(chips.into_iter().map(Listed::new).collect::<Vec<_>>()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    skip: usize,
    #[serde(default = "most_at_once")]
    count: usize,
}

async fn chips(
    State(management): State<KdsManagement>,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(Page { skip, count }) =
        page.map_err(|error| SimError::InvalidRequest(error.body_text()))?;
    Ok(listed(management.chips_from(skip, count.min(MAX_AT_ONCE))))
}

/// A [`ChipSpec`] and how many of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoreChips {
    product: AmdProduct,
    #[serde(default)]
    tcb: Option<SimTcb>,
    #[serde(default = "one")]
    count: usize,
}

async fn add_chips(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let MoreChips {
        product,
        tcb,
        count,
    } = parse(&body)?;
    if !(1..=MAX_AT_ONCE).contains(&count) {
        return Err(SimError::InvalidRequest(format!(
            "count: 1 to {MAX_AT_ONCE}"
        )));
    }
    let spec = ChipSpec { product, tcb };
    Ok(listed(management.add_chips(&spec, count)?))
}

async fn chip(State(management): State<KdsManagement>, Path(name): Path<String>) -> Answer {
    Ok(one_chip(find(&management, name)?))
}

async fn update_firmware(
    State(management): State<KdsManagement>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let tcb: SimTcb = parse(&body)?;
    Ok(one_chip(management.update_firmware(&name, tcb)?))
}

async fn set_reported(
    State(management): State<KdsManagement>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let tcb: SimTcb = parse(&body)?;
    Ok(one_chip(management.set_reported(&name, tcb)?))
}

async fn report(
    State(management): State<KdsManagement>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let spec: ReportSpec = parse(&body)?;
    let report = find(&management, name)?.report(&spec);
    Ok(octets(report.to_vec()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    product: AmdProduct,
    tcb: SimTcb,
}

async fn release(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let Release { product, tcb } = parse(&body)?;
    let released = management.release(product, tcb)?;
    Ok(Json(json!({ "released": released })).into_response())
}

async fn vlek(
    State(management): State<KdsManagement>,
    Path((product, csp_id)): Path<(String, String)>,
) -> Answer {
    let product = AmdProduct::find(&product)
        .ok_or_else(|| SimError::InvalidRequest("product: Genoa, Milan or Turin".to_owned()))?;
    let vlek = blocking(move || management.vlek(product, &csp_id)).await?;
    Ok(octets(vlek))
}

async fn set_leaf_form(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let form: LeafForm = parse(&body)?;
    management.set_leaf_form(form);
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authority {
    product: AmdProduct,
    ca: AmdCa,
}

async fn revoke(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let Authority { product, ca } = parse(&body)?;
    let serial = blocking(move || management.revoke(product, ca)).await?;
    Ok(Json(json!({ "revoked": format!("{serial:06x}") })).into_response())
}

async fn restore(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let Authority { product, ca } = parse(&body)?;
    let serial = management.restore(product, ca)?;
    Ok(Json(json!({ "restored": format!("{serial:06x}") })).into_response())
}

async fn resign_crl(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let Authority { product, ca } = parse(&body)?;
    management.resign_crl(product, ca)?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResignAfter {
    seconds: u32,
}

async fn resign_after(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let ResignAfter { seconds } = parse(&body)?;
    management.set_resign_after(seconds);
    Ok(done())
}

async fn reissue_ca(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let Authority { product, ca } = parse(&body)?;
    let serial = blocking(move || management.reissue_ca(product, ca)).await?;
    Ok(Json(json!({ "serial": format!("{serial:06x}") })).into_response())
}

async fn faults(State(management): State<KdsManagement>) -> Response {
    Json(management.faults()).into_response()
}

async fn set_fault(State(management): State<KdsManagement>, body: Bytes) -> Answer {
    let value: Value = parse(&body)?;
    management.set_fault(FaultRule::from_json(&value)?)?;
    Ok(Json(management.faults()).into_response())
}

async fn clear_faults(State(management): State<KdsManagement>) -> Response {
    management.clear_faults();
    done()
}

/// Off the runtime's threads: the call may wait for an RSA key.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, SimError> + Send + 'static,
) -> Result<T, SimError> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or(Err(SimError::Signature))
}

fn find(management: &KdsManagement, name: String) -> Result<SimChip, SimError> {
    management.chip(&name).ok_or(SimError::UnknownChip(name))
}

fn one_chip(chip: SimChip) -> Response {
    Json(Listed::new(chip)).into_response()
}

fn octets(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

fn one() -> usize {
    1
}

fn most_at_once() -> usize {
    MAX_AT_ONCE
}

/// A thousand chips are half a megabyte of JSON.
const MAX_AT_ONCE: usize = 1_000;
/// The largest body is a report's wishes, under a kilobyte.
const MAX_BODY_BYTES: usize = 16 * 1024;
