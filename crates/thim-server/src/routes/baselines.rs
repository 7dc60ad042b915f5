//! The own API's baselines: looking at them wants a reader's token, since tenants and reasons are named; acts want an
//! administrator's.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use thim_client::{
    ActLog, ActRecord, AppliedBaseline, BaselineDifference, BaselineRecord, BaselineSummary,
    DeclaredBaselines, Problem, PromotionRequest, WithdrawalRequest,
};
use thim_verify::{Digest, UnixTime};
use tokio::task::JoinHandle;
use utoipa::IntoParams;

use super::caller::{self, SMALL_BODY_BYTES};
use super::own::{Answer, Service, limit, parsed};
use super::problem::{Params, ProblemResponse, problem};
use crate::access::Act;
use crate::baseline::declared::{self, Declared};
use crate::baseline::{ActRow, BaselineTee, Scope};
use crate::baselines::acting::{NotDone, TakeBack, Unwish, Wish};
use crate::baselines::forecasting::ForecastError;
use crate::baselines::overview;

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/thim/v1/baselines", get(list))
        .route("/thim/v1/baselines/apply", post(apply))
        .route("/thim/v1/baselines/diff", post(diff))
        .route("/thim/v1/baselines/log", get(log))
        .route("/thim/v1/baselines/{tee}", get(show))
        .route("/thim/v1/baselines/{tee}/discard", post(discard))
        .route("/thim/v1/baselines/{tee}/promote", post(promote))
        .route("/thim/v1/baselines/{tee}/rollback", post(roll_back))
        .route("/thim/v1/baselines/{tee}/withdraw", post(withdraw))
}

#[derive(Deserialize, IntoParams)]
struct TeeQuery {
    /// Only this TEE: sgx, tdx or sev-snp.
    tee: Option<String>,
}

#[derive(Deserialize, IntoParams)]
struct TenantQuery {
    /// `default` where absent; or `floor`, or a tenant's name.
    tenant: Option<String>,
}

#[derive(Deserialize, IntoParams)]
struct LogQuery {
    /// Only acts after this number.
    after: Option<i64>,
    /// At most so many, 1 to 1000; 100 by default.
    limit: Option<u32>,
}

/// What holds for everybody, and what is to come.
#[utoipa::path(get, path = "/thim/v1/baselines", operation_id = "list_baselines", params(TeeQuery),
    responses((status = 200, body = [BaselineSummary]), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    State(service): State<Arc<Service>>,
    Params(query): Params<TeeQuery>,
    request: Request,
) -> Answer<Vec<BaselineSummary>> {
    caller::admit(&service, &request, Act::ReadBaselines)?;
    let tee = query.tee.as_deref();
    let tee = tee.map(|text| parsed("tee", text)).transpose()?;
    Ok(Json(service.baselines.list(tee, service.clock.now())))
}

/// A baseline with every version it ever had.
#[utoipa::path(get, path = "/thim/v1/baselines/{tee}", operation_id = "show_baseline", params(TenantQuery,
    ("tee" = String, Path, description = "sgx, tdx or sev-snp")),
    responses((status = 200, body = BaselineRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn show(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    Params(query): Params<TenantQuery>,
    request: Request,
) -> Answer<BaselineRecord> {
    caller::admit(&service, &request, Act::ReadBaselines)?;
    let tee = parsed("tee", &tee)?;
    let scope = scope(query.tenant.as_deref())?;
    let found = service.baselines.record(&scope, tee, service.clock.now());
    found.map(Json).ok_or_else(|| {
        problem(
            StatusCode::NOT_FOUND,
            "No such baseline",
            format!("no act named {scope} for {tee}"),
        )
    })
}

/// Drafts what a file declares, where it says something new.
#[utoipa::path(post, path = "/thim/v1/baselines/apply", operation_id = "apply_baselines", request_body = DeclaredBaselines,
    responses((status = 200, body = [AppliedBaseline]), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn apply(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Answer<Vec<AppliedBaseline>> {
    let caller = caller::admit(&service, &request, Act::ManageBaselines)?;
    let declared = file(request).await?;
    let names: Vec<_> = declared
        .iter()
        .map(|one| (one.scope.clone(), one.tee))
        .collect();
    let now = service.clock.now();
    // A task of its own, as every act: whoever hangs up stops nothing half-way.
    let drafted = tokio::spawn(async move {
        let done = service.baselines.draft(declared, &caller.name, now).await;
        done.map_err(ProblemResponse::from)
    });
    let drafted = ended(drafted).await?;
    Ok(Json(overview::outcomes(&names, &drafted)))
}

/// How a file differs from what is promoted.
#[utoipa::path(post, path = "/thim/v1/baselines/diff", operation_id = "diff_baselines", request_body = DeclaredBaselines,
    responses((status = 200, body = [BaselineDifference]), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn diff(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Answer<Vec<BaselineDifference>> {
    caller::admit(&service, &request, Act::ReadBaselines)?;
    let declared = file(request).await?;
    let now = service.clock.now();
    Ok(Json(service.baselines.differences(&declared, now)))
}

/// What was done to baselines, oldest first.
#[utoipa::path(get, path = "/thim/v1/baselines/log", operation_id = "baseline_log", params(LogQuery),
    responses((status = 200, body = ActLog), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn log(
    State(service): State<Arc<Service>>,
    Params(query): Params<LogQuery>,
    request: Request,
) -> Answer<ActLog> {
    caller::admit(&service, &request, Act::ReadBaselines)?;
    let limit = limit(query.limit)?;
    let after = query.after.unwrap_or(0);
    Ok(Json(service.baselines.log(after, limit).await?))
}

/// Puts a draft in force.
#[utoipa::path(post, path = "/thim/v1/baselines/{tee}/promote", operation_id = "promote_baseline", request_body = PromotionRequest,
    params(("tee" = String, Path, description = "sgx, tdx or sev-snp")),
    responses((status = 200, body = ActRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn promote(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    request: Request,
) -> Answer<ActRecord> {
    let caller = caller::admit(&service, &request, Act::ManageBaselines)?;
    let wish = wish(&tee, request).await?;
    // A task of its own: whoever hangs up does not stop it between the store and the readers.
    let now = service.clock.now();
    let promoted = tokio::spawn(async move {
        let done = service.baselines.promote(&wish, &caller.name, now).await;
        done.map_err(ProblemResponse::from)
    });
    told(promoted).await
}

/// Puts an older version's rule in force again, as a new version.
#[utoipa::path(post, path = "/thim/v1/baselines/{tee}/rollback", operation_id = "roll_back_baseline", request_body = PromotionRequest,
    params(("tee" = String, Path, description = "sgx, tdx or sev-snp")),
    responses((status = 200, body = ActRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn roll_back(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    request: Request,
) -> Answer<ActRecord> {
    let caller = caller::admit(&service, &request, Act::ManageBaselines)?;
    let wish = wish(&tee, request).await?;
    let now = service.clock.now();
    let done = tokio::spawn(async move {
        let done = service.baselines.roll_back(&wish, &caller.name, now).await;
        done.map_err(ProblemResponse::from)
    });
    told(done).await
}

/// Throws a draft away.
#[utoipa::path(post, path = "/thim/v1/baselines/{tee}/discard", operation_id = "discard_baseline", request_body = WithdrawalRequest,
    params(("tee" = String, Path, description = "sgx, tdx or sev-snp")),
    responses((status = 200, body = ActRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn discard(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    request: Request,
) -> Answer<ActRecord> {
    take_back(service, TakeBack::Draft, &tee, request).await
}

/// Takes a promotion back that has not taken effect; its version is a draft again.
#[utoipa::path(post, path = "/thim/v1/baselines/{tee}/withdraw", operation_id = "withdraw_baseline", request_body = WithdrawalRequest,
    params(("tee" = String, Path, description = "sgx, tdx or sev-snp")),
    responses((status = 200, body = ActRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn withdraw(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    request: Request,
) -> Answer<ActRecord> {
    take_back(service, TakeBack::Promotion, &tee, request).await
}

async fn take_back(
    service: Arc<Service>,
    kind: TakeBack,
    tee: &str,
    request: Request,
) -> Answer<ActRecord> {
    let caller = caller::admit(&service, &request, Act::ManageBaselines)?;
    let tee = parsed("tee", tee)?;
    let body: WithdrawalRequest = caller::json(request, SMALL_BODY_BYTES).await?;
    let wish = Unwish {
        scope: scope(body.tenant.as_deref())?,
        tee,
        version: body.version,
        reason: body.reason,
    };
    let now = service.clock.now();
    let done = tokio::spawn(async move {
        let done = service.baselines.take_back(kind, &wish, &caller.name, now);
        done.await.map_err(ProblemResponse::from)
    });
    told(done).await
}

async fn told(done: JoinHandle<Result<ActRow, ProblemResponse>>) -> Answer<ActRecord> {
    Ok(Json(overview::act(&ended(done).await?)))
}

async fn ended<T>(done: JoinHandle<Result<T, ProblemResponse>>) -> Result<T, ProblemResponse> {
    match done.await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(error = %error, "an act on a baseline did not end");
            Err(problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The act did not end",
                "see the log; look at the baseline before you try again",
            ))
        }
    }
}

async fn file(request: Request) -> Result<Vec<Declared>, ProblemResponse> {
    let body: DeclaredBaselines = caller::json(request, FILE_BODY_BYTES).await?;
    declared::read(&body.toml).map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            "The file is not what this takes",
            error.to_string(),
        )
    })
}

async fn wish(tee: &str, request: Request) -> Result<Wish, ProblemResponse> {
    let tee: BaselineTee = parsed("tee", tee)?;
    let body: PromotionRequest = caller::json(request, SMALL_BODY_BYTES).await?;
    let effective = body.effective.as_deref();
    Ok(Wish {
        scope: scope(body.tenant.as_deref())?,
        tee,
        version: body.version,
        forecast: parsed::<Digest>("forecast", &body.forecast)?,
        accept: body.accept,
        effective: effective
            .map(|text| parsed::<UnixTime>("effective", text))
            .transpose()?,
        reason: body.reason,
    })
}

/// Whose baseline: a tenant's name, `floor`, or `default`, which nothing given is too.
pub(super) fn scope(tenant: Option<&str>) -> Result<Scope, ProblemResponse> {
    tenant.map_or(Ok(Scope::Default), |text| parsed("tenant", text))
}

impl From<NotDone> for ProblemResponse {
    fn from(error: NotDone) -> Self {
        let detail = error.to_string();
        let (status, title) = match error {
            NotDone::BelowFloor(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "It is below the operator's floor",
            ),
            NotDone::Drops { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Platforms would drop out"),
            NotDone::Forecast(error) => return error.into(),
            NotDone::NoVersion(_) => (StatusCode::NOT_FOUND, "No such version"),
            NotDone::Overtaken => (StatusCode::CONFLICT, "Somebody else acted meanwhile"),
            NotDone::ReadOnly => (StatusCode::CONFLICT, "A read-only view of the past"),
            NotDone::Stale => (StatusCode::CONFLICT, "The forecast is stale"),
            NotDone::Store(error) => return error.into(),
            NotDone::Wrong(_) => (StatusCode::BAD_REQUEST, "A field is wrong"),
        };
        problem(status, title, detail)
    }
}

impl From<ForecastError> for ProblemResponse {
    fn from(error: ForecastError) -> Self {
        match error {
            ForecastError::NoCandidate(why) => {
                problem(StatusCode::NOT_FOUND, "There is nothing to foresee", why)
            }
            ForecastError::Store(error) => error.into(),
        }
    }
}

/// The file in JSON: quotes and line feeds are escaped.
const FILE_BODY_BYTES: usize = 2 * declared::FILE_BYTES;
