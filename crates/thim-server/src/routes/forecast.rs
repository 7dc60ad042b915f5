//! The own API's forecast. It names platforms, so it wants a token that may read them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use thim_client::{ForecastReport, ForecastRequest, ForecastTarget, Problem};
use thim_verify::UnixTime;

use super::baselines::scope;
use super::caller::{self, SMALL_BODY_BYTES};
use super::own::{Answer, Service, parsed};
use super::problem::{ProblemResponse, problem};
use crate::access::Act;
use crate::baseline::{BaselineTee, Rule, Selector};
use crate::baselines::forecasting::{Listed, Target};

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new().route("/thim/v1/baselines/forecast", post(forecast))
}

/// What a step would break: every platform under what is in force and under a candidate.
#[utoipa::path(post, path = "/thim/v1/baselines/forecast", operation_id = "forecast_baseline", request_body = ForecastRequest,
    responses((status = 200, body = ForecastReport), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn forecast(State(service): State<Arc<Service>>, request: Request) -> Answer<ForecastReport> {
    // It names platforms, and tells rules and tenants.
    caller::admit(&service, &request, Act::ReadPlatforms)?;
    caller::admit(&service, &request, Act::ReadBaselines)?;
    let Ok(turn) = Arc::clone(&service.forecasts).try_acquire_owned() else {
        return Err(problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many forecasts",
            format!("{FORECASTS} are being made or wait; try again"),
        ));
    };
    let body: ForecastRequest = caller::json(request, SMALL_BODY_BYTES).await?;
    let tee: BaselineTee = parsed("tee", &body.tee)?;
    let scope = scope(body.tenant.as_deref())?;
    let target = target(tee, body.to)?;
    let effective = body.effective.as_deref();
    let effective: Option<UnixTime> = effective
        .map(|text| parsed("effective", text))
        .transpose()?;
    let limit = body.limit.unwrap_or(10);
    if limit > LISTED {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "A field is wrong",
            format!("limit: {limit}; the limit is {LISTED}"),
        ));
    }
    let listed = Listed {
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        after: body.after.unwrap_or_default(),
    };
    let now = service.clock.now();
    // A task of its own: whoever hangs up does not spoil what the next one would find remembered.
    let done = tokio::spawn(async move {
        let _turn = turn;
        let baselines = &service.baselines;
        let mut candidate = baselines.candidate(&scope, tee, &target, now)?;
        candidate.effective = effective;
        let report = baselines.forecast(&candidate, &listed, now).await?;
        Ok::<_, ProblemResponse>(report)
    });
    match done.await {
        Ok(report) => Ok(Json(report?)),
        Err(error) => {
            tracing::error!(error = %error, "a forecast did not end");
            Err(problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The forecast did not end",
                "see the log",
            ))
        }
    }
}

fn target(tee: BaselineTee, wanted: ForecastTarget) -> Result<Target, ProblemResponse> {
    let wrong = |why: String| problem(StatusCode::BAD_REQUEST, "A field is wrong", why);
    Ok(match wanted {
        ForecastTarget::Number(0) => {
            return Err(wrong("to: wanted a number of 1 or more".to_owned()));
        }
        ForecastTarget::Number(number) => Target::Selector(Selector::Number(number)),
        ForecastTarget::Rule(rule) => {
            let text = serde_json::Value::Object(rule).to_string();
            let rule = Rule::from_json(tee, &text).map_err(|error| wrong(format!("to.{error}")))?;
            Target::Rule(rule)
        }
        ForecastTarget::Version(version) => Target::Version(version.version),
        ForecastTarget::Word(word) => match word.as_str() {
            "draft" => Target::Draft,
            "early" => Target::Selector(Selector::Early),
            "standard" => Target::Selector(Selector::Standard),
            _ => {
                return Err(wrong(
                    "to: wanted standard, early, draft, a number, a version or a rule".to_owned(),
                ));
            }
        },
    })
}

/// One is made at a time; so many more may wait for their turn.
pub const FORECASTS: usize = 8;
/// As many as a listing of platforms gives at once.
const LISTED: u32 = 1_000;
