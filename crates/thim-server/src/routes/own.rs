//! The own API, health and metrics. Everything the command line does goes through here; reading is open
//! (all of it is public vendor data and its history), changing wants a bearer token, judged before the body is read.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use thim_client::{
    EditionSummary, EventRecord, ImportReport, ImportRequest, Problem, RefreshReport, Status,
};
use thim_verify::{ArtefactKey, Digest, UnixTime};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::caller::{self, SMALL_BODY_BYTES};
use super::problem::{Params, ProblemResponse, problem};
use super::{baselines, chips, evidence, forecast, news, platforms, statement, tokens};
use crate::access::{Access, Act};
use crate::baselines::Baselines;
use crate::baselines::statement::Signer;
use crate::chips::Chips;
use crate::clock::Clock;
use crate::collateral::Collateral;
use crate::evidence::{Explainer, ReportExplainer};
use crate::intake;
use crate::news::News;
use crate::operations::{self, Released};
use crate::platforms::Platforms;
use crate::refresh;
use crate::sealing::Sealer;

/// What the routes answer from.
pub struct Service {
    /// The keeper of collateral.
    pub collateral: Arc<Collateral>,
    /// The service's clock: this is the edge where it is read.
    pub clock: Clock,
    /// Who may do what.
    pub access: Arc<Access>,
    /// What secrets are sealed with.
    pub sealer: Arc<Sealer>,
    /// The register of platforms.
    pub platforms: Arc<Platforms>,
    /// The keeper of certificates of AMD's chips.
    pub chips: Arc<Chips>,
    /// The keeper of baselines.
    pub baselines: Arc<Baselines>,
    /// Forecasts that may be asked for at once.
    pub forecasts: Arc<tokio::sync::Semaphore>,
    /// The keeper of news.
    pub news: Arc<News>,
    /// What signs statements of baselines.
    pub signer: Arc<Signer>,
    /// What explains quotes.
    pub explainer: Explainer,
    /// What explains reports.
    pub reports: ReportExplainer,
    /// Bytes of a request's body, imports apart.
    pub body_limit_bytes: usize,
}

/// The router of everything that is not a vendor's path.
pub fn router(service: &Arc<Service>, body_limit_bytes: usize) -> Router {
    Router::new()
        .route("/thim/v1/openapi.json", get(openapi_json))
        .route("/thim/v1/status", get(status))
        .route("/thim/v1/collateral", get(list))
        .route("/thim/v1/collateral/show", get(show))
        .route("/thim/v1/collateral/history", get(history))
        .route("/thim/v1/editions/{id}/document", get(document))
        .route("/thim/v1/editions/{id}/release", post(release))
        .route("/thim/v1/events", get(events))
        .route("/thim/v1/refresh", post(refresh_now))
        .route("/thim/v1/import", post(import))
        .merge(baselines::router())
        .merge(chips::router())
        .merge(evidence::router())
        .merge(forecast::router())
        .merge(news::router())
        .merge(platforms::router())
        .merge(statement::router())
        .merge(tokens::router())
        .route("/healthz/live", get(healthy))
        .route("/healthz/ready", get(healthy))
        .route("/healthz/startup", get(healthy))
        .route("/metrics", get(metrics))
        .fallback(async || {
            problem(
                StatusCode::NOT_FOUND,
                "No such resource",
                "see /thim/v1/openapi.json",
            )
        })
        .method_not_allowed_fallback(async || {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "No such method here",
                "see /thim/v1/openapi.json",
            )
        })
        .layer(DefaultBodyLimit::max(body_limit_bytes))
        .with_state(Arc::clone(service))
}

/// The OpenAPI description of the own API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "THIM",
        description = "The own API of Trusted Hardware Identity Management."
    ),
    paths(
        status,
        list,
        show,
        history,
        document,
        release,
        events,
        refresh_now,
        import,
        baselines::list,
        baselines::show,
        baselines::apply,
        baselines::diff,
        baselines::log,
        baselines::promote,
        baselines::roll_back,
        baselines::discard,
        baselines::withdraw,
        chips::list,
        chips::show,
        chips::register,
        chips::forget,
        chips::prewarm,
        chips::progress,
        evidence::explain,
        forecast::forecast,
        statement::statement,
        statement::corim,
        statement::intel_policy,
        statement::rotate,
        statement::trustee,
        news::atom,
        news::list,
        platforms::list,
        platforms::show,
        platforms::doctor,
        platforms::register,
        platforms::forget,
        platforms::refetch,
        platforms::collateral,
        tokens::list,
        tokens::create,
        tokens::revoke,
        tokens::rotate
    ),
    components(schemas(
        Problem,
        Status,
        EditionSummary,
        EventRecord,
        ImportRequest,
        ImportReport,
        RefreshReport,
        RefreshRequest
    ))
)]
struct Description;

pub(super) type Answer<T> = std::result::Result<Json<T>, ProblemResponse>;

#[derive(Deserialize, IntoParams)]
struct ListQuery {
    /// Only this key.
    key: Option<String>,
    /// Only this state: current, superseded, held, quarantined or archived.
    state: Option<String>,
    /// As THIM knew it at this instant (RFC 3339).
    known_at: Option<String>,
    /// At most so many, 1 to 1000; 100 by default.
    limit: Option<u32>,
    /// Leave out so many first.
    offset: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
struct KeyQuery {
    /// The key.
    key: String,
    /// As THIM knew it at this instant (RFC 3339).
    known_at: Option<String>,
}

#[derive(Deserialize, IntoParams)]
struct EventsQuery {
    /// Only events after this number.
    after: Option<i64>,
    /// Only events of this key.
    key: Option<String>,
    /// At most so many, 1 to 1000; 100 by default.
    limit: Option<u32>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct RefreshRequest {
    /// Plan only.
    dry_run: bool,
    /// Everything that is kept fresh, due or not.
    all: bool,
}

/// The service at a glance.
#[utoipa::path(get, path = "/thim/v1/status", responses((status = 200, body = Status)))]
async fn status(State(service): State<Arc<Service>>) -> Answer<Status> {
    Ok(Json(
        operations::status(
            &service.collateral,
            service.clock.is_simulated(),
            service.clock.now(),
        )
        .await?,
    ))
}

/// Editions, by key and issue date.
#[utoipa::path(get, path = "/thim/v1/collateral", params(ListQuery),
    responses((status = 200, body = [EditionSummary]), (status = 400, body = Problem)))]
async fn list(
    State(service): State<Arc<Service>>,
    Params(query): Params<ListQuery>,
) -> Answer<Vec<EditionSummary>> {
    let key = query
        .key
        .as_deref()
        .map(|text| parsed::<ArtefactKey>("key", text))
        .transpose()?;
    let state = query
        .state
        .as_deref()
        .map(|text| parsed("state", text))
        .transpose()?;
    let known_at = query
        .known_at
        .as_deref()
        .map(|text| parsed::<UnixTime>("known_at", text))
        .transpose()?;
    let limit = limit(query.limit)?;
    let now = service.clock.now();
    Ok(Json(
        operations::list(
            &service.collateral,
            key,
            state,
            now,
            known_at,
            limit,
            query.offset.unwrap_or(0),
        )
        .await?,
    ))
}

/// The edition served under a key, else its newest.
#[utoipa::path(get, path = "/thim/v1/collateral/show", params(KeyQuery),
    responses((status = 200, body = EditionSummary), (status = 404, body = Problem)))]
async fn show(
    State(service): State<Arc<Service>>,
    Params(query): Params<KeyQuery>,
) -> Answer<EditionSummary> {
    let key: ArtefactKey = parsed("key", &query.key)?;
    let found = operations::show(&service.collateral, key, service.clock.now()).await?;
    found.map(Json).ok_or_else(|| {
        problem(
            StatusCode::NOT_FOUND,
            "Nothing is held under this key",
            key.to_string(),
        )
    })
}

/// Every edition of a key with its changes of state.
#[utoipa::path(get, path = "/thim/v1/collateral/history", params(KeyQuery),
    responses((status = 200, body = [EditionSummary]), (status = 400, body = Problem)))]
async fn history(
    State(service): State<Arc<Service>>,
    Params(query): Params<KeyQuery>,
) -> Answer<Vec<EditionSummary>> {
    let key: ArtefactKey = parsed("key", &query.key)?;
    let known_at = query
        .known_at
        .as_deref()
        .map(|text| parsed::<UnixTime>("known_at", text))
        .transpose()?;
    Ok(Json(
        operations::history(&service.collateral, key, service.clock.now(), known_at).await?,
    ))
}

/// An edition's document, byte for byte.
#[utoipa::path(get, path = "/thim/v1/editions/{id}/document",
    params(("id" = String, Path, description = "SHA-256 of the signed bytes, lower hex")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Problem)))]
async fn document(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
) -> std::result::Result<Response, ProblemResponse> {
    let id: Digest = parsed("id", &id)?;
    match service.collateral.store().document(id).await? {
        Some(body) => Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response()),
        None => Err(problem(
            StatusCode::NOT_FOUND,
            "No such edition",
            id.to_string(),
        )),
    }
}

/// Events, oldest first. Of acts on baselines, and of webhooks, only that they were, but for a token that reads baselines.
#[utoipa::path(get, path = "/thim/v1/events", params(EventsQuery), responses((status = 200, body = [EventRecord]), (status = 401, body = Problem)))]
async fn events(
    State(service): State<Arc<Service>>,
    Params(query): Params<EventsQuery>,
    request: Request,
) -> Answer<Vec<EventRecord>> {
    let reads_baselines = caller::admit_in_part(&service, &request, Act::ReadBaselines)?.is_ok();
    let key = query
        .key
        .as_deref()
        .map(|text| parsed::<ArtefactKey>("key", text))
        .transpose()?;
    let mut events = operations::events(
        &service.collateral,
        query.after.unwrap_or(0),
        key,
        limit(query.limit)?,
    )
    .await?;
    if !reads_baselines {
        // Who acted for which tenant, how many drop out, where webhooks are.
        let guarded = events.iter_mut().filter(|event| {
            event.name.starts_with("baseline.") || event.name.starts_with("webhook.")
        });
        guarded.for_each(|event| event.text = "told to a token that reads baselines".to_owned());
    }
    Ok(Json(events))
}

/// Lets a held edition through.
#[utoipa::path(post, path = "/thim/v1/editions/{id}/release",
    params(("id" = String, Path, description = "SHA-256 of the signed bytes, or at least its first 8 digits")),
    responses((status = 200, body = EditionSummary), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn release(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<EditionSummary> {
    let caller = caller::admit(&service, &request, Act::ChangeCollateral)?;
    refuse_in_the_past(&service)?;
    let now = service.clock.now();
    match operations::release(&service.collateral, &id, &caller.name, now).await? {
        Released::Done { key, id } => {
            let found = operations::history(&service.collateral, key, now, None).await?;
            let id = id.to_string();
            found
                .into_iter()
                .find(|edition| edition.id == id)
                .map(Json)
                .ok_or_else(|| problem(StatusCode::NOT_FOUND, "No such edition", id))
        }
        Released::Ambiguous => Err(problem(
            StatusCode::CONFLICT,
            "More than one edition begins so",
            "give more digits",
        )),
        Released::NotFound => Err(problem(
            StatusCode::NOT_FOUND,
            "No such edition",
            "wanted at least 8 hex digits of an id",
        )),
        Released::NotHeld { state } => Err(problem(
            StatusCode::CONFLICT,
            "The edition is not held",
            format!("it is {state}"),
        )),
    }
}

/// Asks the upstreams now.
#[utoipa::path(post, path = "/thim/v1/refresh", request_body = RefreshRequest,
    responses((status = 200, body = RefreshReport), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem)))]
async fn refresh_now(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Answer<RefreshReport> {
    // A plan is open to everybody; whether one is wanted stands in the body.
    let judged = caller::admit_in_part(&service, &request, Act::ChangeCollateral)?;
    let body = caller::body(request, SMALL_BODY_BYTES).await?;
    let request: RefreshRequest = if body.is_empty() {
        RefreshRequest::default()
    } else {
        caller::parsed(&body)?
    };
    if !request.dry_run {
        judged?;
    }
    Ok(Json(
        refresh::run(
            &service.collateral,
            &service.clock,
            request.all,
            request.dry_run,
        )
        .await?,
    ))
}

/// Imports files.
#[utoipa::path(post, path = "/thim/v1/import", request_body = ImportRequest,
    responses((status = 200, body = ImportReport), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem)))]
async fn import(State(service): State<Arc<Service>>, request: Request) -> Answer<ImportReport> {
    caller::admit(&service, &request, Act::ChangeCollateral)?;
    refuse_in_the_past(&service)?;
    let request: ImportRequest = caller::json(request, IMPORT_LIMIT_BYTES).await?;
    let mut gathered = intake::Gathered::default();
    for file in request.files {
        let bytes = data_encoding::BASE64
            .decode(file.content.as_bytes())
            .map_err(|error| {
                problem(
                    StatusCode::BAD_REQUEST,
                    "A file's content is no base64",
                    format!("{}: {error}", file.path),
                )
            })?;
        gathered.add(&intake::File {
            path: file.path,
            bytes: bytes.into(),
        });
    }
    let now = service.clock.now();
    Ok(Json(
        intake::import(&service.chips, gathered, now, &mut |_, _| {}).await?,
    ))
}

async fn openapi_json() -> Response {
    Json(openapi()).into_response()
}

/// Live, started and ready are one here: the listeners open only when the store is open and known platforms
/// can be served, and no vendor's outage changes that.
async fn healthy() -> &'static str {
    "ok\n"
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    (
        [(CONTENT_TYPE, kind)],
        service.collateral.metrics().render(),
    )
        .into_response()
}

/// Nothing is changed in a view of the past.
pub(super) fn refuse_in_the_past(service: &Service) -> std::result::Result<(), ProblemResponse> {
    if service.collateral.is_read_only() {
        return Err(problem(
            StatusCode::CONFLICT,
            "A read-only view of the past",
            "nothing can be changed in it",
        ));
    }
    Ok(())
}

pub(super) fn parsed<T: std::str::FromStr>(
    name: &str,
    text: &str,
) -> std::result::Result<T, ProblemResponse>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            "A parameter is wrong",
            format!("{name}: {error}"),
        )
    })
}

pub(super) fn limit(limit: Option<u32>) -> std::result::Result<u32, ProblemResponse> {
    match limit.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        other => Err(problem(
            StatusCode::BAD_REQUEST,
            "A parameter is wrong",
            format!("limit: wanted 1 to 1000, found {other}"),
        )),
    }
}

/// 32 MiB of files in base64, and their names.
const IMPORT_LIMIT_BYTES: usize = 48 * 1024 * 1024;
