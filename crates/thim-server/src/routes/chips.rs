//! The own API of AMD's chips: registration, what is known of one, and certificates fetched ahead. Everything here
//! wants a token. Nothing of it shows a chip id.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use thim_client::{
    ChipRecord, ChipSummary, PrewarmReport, PrewarmRequest, Problem, RegisterChips, RegisteredChip,
};
use thim_verify::amd::{Product, SnpTcb, TcbVersion};
use utoipa::IntoParams;

use super::caller;
use super::own::{Answer, Service, limit, parsed, refuse_in_the_past};
use super::problem::{ProblemResponse, problem};
use crate::access::Act;
use crate::chips::{ChipRefused, Prewarmed};
use crate::platforms::is_id;
use crate::store::ChipFilter;

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/thim/v1/chips", get(list).post(register))
        .route("/thim/v1/chips/{id}", get(show).delete(forget))
        .route("/thim/v1/prewarm", get(progress).post(prewarm))
}

#[derive(Deserialize, IntoParams)]
pub(super) struct ChipsQuery {
    /// Only this product.
    product: Option<String>,
    /// Only ids after this one: the last of the page before.
    after: Option<String>,
    /// At most so many, 1 to 1000; 100 by default.
    limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
pub(super) struct PrewarmQuery {
    /// Which product.
    product: String,
    /// 1 to 16 hex digits, most significant byte first.
    tcb: String,
}

/// Chips, by id.
#[utoipa::path(get, path = "/thim/v1/chips", operation_id = "list_chips", params(ChipsQuery),
    responses((status = 200, body = [ChipSummary]), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem)))]
async fn list(State(service): State<Arc<Service>>, request: Request) -> Answer<Vec<ChipSummary>> {
    caller::admit(&service, &request, Act::ReadPlatforms)?;
    let Query(query) = Query::<ChipsQuery>::try_from_uri(request.uri())
        .map_err(|error| wrong(error.body_text()))?;
    let after = query.after.unwrap_or_default();
    if !after.is_empty() && !is_id(&after) {
        return Err(wrong("after: wanted a chip's id".to_owned()));
    }
    let product = query.product.as_deref();
    let filter = ChipFilter {
        product: product.map(|text| parsed("product", text)).transpose()?,
        after: after.to_ascii_lowercase(),
        limit: limit(query.limit)?,
    };
    Ok(Json(service.chips.page(&filter).await?))
}

/// Everything about a chip but its chip id.
#[utoipa::path(get, path = "/thim/v1/chips/{id}", operation_id = "show_chip",
    params(("id" = String, Path, description = "The chip's 16 hex digits; not its chip id")),
    responses((status = 200, body = ChipRecord), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
async fn show(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<ChipRecord> {
    caller::admit(&service, &request, Act::ReadPlatforms)?;
    let record = service.chips.record(&id.to_ascii_lowercase()).await?;
    record.map(Json).ok_or_else(unknown)
}

/// Registers chips: all of them or none. Certificates of those whose TCB is told are fetched as fast as AMD allows.
#[utoipa::path(post, path = "/thim/v1/chips", operation_id = "register_chips", request_body = RegisterChips,
    responses((status = 200, body = [RegisteredChip]), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 429, body = Problem)))]
async fn register(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Answer<Vec<RegisteredChip>> {
    let caller = caller::admit(&service, &request, Act::RegisterPlatforms)?;
    refuse_in_the_past(&service)?;
    let wanted: RegisterChips = caller::json(request, BODY_BYTES).await?;
    let now = service.clock.now();
    let registered = service
        .chips
        .register(&wanted.chips, &caller.name, now)
        .await
        .map_err(refused)?;
    Ok(Json(registered))
}

/// Forgets a chip. Its certificates are history, and stay.
#[utoipa::path(delete, path = "/thim/v1/chips/{id}", operation_id = "forget_chip",
    params(("id" = String, Path, description = "The chip's 16 hex digits; not its chip id")),
    responses((status = 200, body = ChipRecord), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn forget(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<ChipRecord> {
    let caller = caller::admit(&service, &request, Act::ManagePlatforms)?;
    refuse_in_the_past(&service)?;
    let id = id.to_ascii_lowercase();
    let record = service.chips.record(&id).await?.ok_or_else(unknown)?;
    let now = service.clock.now();
    if !service.chips.forget(&id, &caller.name, now).await? {
        return Err(unknown());
    }
    Ok(Json(record))
}

/// Wants the certificates of every registered chip of a product at a TCB that is to come.
#[utoipa::path(post, path = "/thim/v1/prewarm", operation_id = "prewarm", request_body = PrewarmRequest,
    responses((status = 200, body = PrewarmReport), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn prewarm(State(service): State<Arc<Service>>, request: Request) -> Answer<PrewarmReport> {
    caller::admit(&service, &request, Act::RegisterPlatforms)?;
    refuse_in_the_past(&service)?;
    let wanted: PrewarmRequest = caller::json(request, caller::SMALL_BODY_BYTES).await?;
    let (product, tcb) = level(&service, &wanted.product, &wanted.tcb)?;
    let now = service.clock.now();
    let far = service.chips.prewarm(product, tcb, now).await;
    report(product, &wanted.tcb, far.map_err(refused)?)
}

/// How far that is.
#[utoipa::path(get, path = "/thim/v1/prewarm", operation_id = "prewarm_progress", params(PrewarmQuery),
    responses((status = 200, body = PrewarmReport), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem)))]
async fn progress(State(service): State<Arc<Service>>, request: Request) -> Answer<PrewarmReport> {
    caller::admit(&service, &request, Act::ReadPlatforms)?;
    let Query(query) = Query::<PrewarmQuery>::try_from_uri(request.uri())
        .map_err(|error| wrong(error.body_text()))?;
    let (product, tcb) = level(&service, &query.product, &query.tcb)?;
    let now = service.clock.now();
    let far = service.chips.prewarmed(product, tcb, now).await;
    report(product, &query.tcb, far.map_err(refused)?)
}

fn level(
    service: &Service,
    product: &str,
    tcb: &str,
) -> Result<(Product, SnpTcb), ProblemResponse> {
    let product: Product = parsed("product", product)?;
    let version: TcbVersion =
        TcbVersion::from_hex_be(tcb).map_err(|error| wrong(format!("tcb: {error}")))?;
    let facts = service.chips.products().facts(product);
    let tcb = version
        .decode(facts)
        .map_err(|error| wrong(format!("tcb: {error}")))?;
    Ok((product, tcb))
}

fn report(product: Product, tcb: &str, far: Prewarmed) -> Answer<PrewarmReport> {
    let tcb = TcbVersion::from_hex_be(tcb).map_or_else(|_| String::new(), TcbVersion::to_tcbm_hex);
    Ok(Json(PrewarmReport {
        product: product.to_string(),
        tcb,
        chips: far.counts.chips,
        held: far.counts.held,
        wanted: far.counts.wanted,
        absent: far.counts.absent,
        seconds: far.seconds,
    }))
}

fn refused(refused: ChipRefused) -> ProblemResponse {
    match refused {
        ChipRefused::Invalid { field, why } => problem(
            StatusCode::BAD_REQUEST,
            "A value is wrong",
            format!("{field}: {why}"),
        ),
        ChipRefused::Store(error) => error.into(),
    }
}

fn wrong(detail: String) -> ProblemResponse {
    problem(StatusCode::BAD_REQUEST, "A parameter is wrong", detail)
}

fn unknown() -> ProblemResponse {
    problem(
        StatusCode::NOT_FOUND,
        "No such chip",
        "wanted the 16 hex digits that a chip is called by here",
    )
}

/// 10,000 chips of some 250 bytes, and room.
const BODY_BYTES: usize = 4 * 1024 * 1024;
