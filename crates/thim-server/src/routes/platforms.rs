//! The own API of platforms: pages, records, the doctor, registrations, and what administrators do. Everything here
//! wants a token. Nothing of it shows a PPID, an encrypted PPID or a manifest, `collateral` apart, which hands a
//! platform on to another service with all that it was registered with.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thim_client::{
    Diagnosis, PlatformRecord, PlatformSummary, Problem, RegisterReport, RegisterRequest,
};
use utoipa::IntoParams;

use super::answer;
use super::caller;
use super::own::{Answer, Service, limit, parsed, refuse_in_the_past};
use super::problem::{ProblemResponse, problem};
use crate::access::Act;
use crate::platforms::registration::{Invalid, Registration};
use crate::platforms::{Cause, PlatformRefusal, Updates, Which, is_id};
use crate::store::{PlatformFilter, PlatformRow, StoreError};
use crate::upstream::Fill;

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/thim/v1/platforms", get(list).post(register))
        .route("/thim/v1/platforms/{id}", get(show).delete(forget))
        .route("/thim/v1/platforms/{id}/collateral", get(collateral))
        .route("/thim/v1/platforms/{id}/doctor", get(doctor))
        .route("/thim/v1/platforms/{id}/refetch", post(refetch))
}

#[derive(Deserialize, IntoParams)]
pub(super) struct PlatformsQuery {
    /// Only this state: needs-manifest, new, partial, ready, refused or waiting.
    state: Option<String>,
    /// Only this FMSPC.
    fmspc: Option<String>,
    /// Only ids after this one: the last of the page before.
    after: Option<String>,
    /// At most so many, 1 to 1000; 100 by default.
    limit: Option<u32>,
}

/// Platforms, by id.
#[utoipa::path(get, path = "/thim/v1/platforms", operation_id = "list_platforms", params(PlatformsQuery),
    responses((status = 200, body = [PlatformSummary]), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem)))]
async fn list(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Answer<Vec<PlatformSummary>> {
    caller::admit(&service, &request, Act::ReadPlatforms)?;
    let Query(query) = Query::<PlatformsQuery>::try_from_uri(request.uri()).map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            "A parameter is wrong",
            error.body_text(),
        )
    })?;
    let state = query
        .state
        .as_deref()
        .map(|text| parsed("state", text))
        .transpose()?;
    let fmspc = query
        .fmspc
        .as_deref()
        .map(|text| parsed("fmspc", text))
        .transpose()?;
    let after = query.after.unwrap_or_default();
    if !after.is_empty() && !is_id(&after) {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "A parameter is wrong",
            "after: wanted a platform's id",
        ));
    }
    let filter = PlatformFilter {
        state,
        fmspc,
        after: after.to_ascii_lowercase(),
        limit: limit(query.limit)?,
    };
    Ok(Json(service.platforms.page(&filter).await?))
}

/// Everything about a platform.
#[utoipa::path(get, path = "/thim/v1/platforms/{id}", operation_id = "show_platform",
    params(("id" = String, Path, description = "The platform's 16 hex digits, or QEID:PCEID")),
    responses((status = 200, body = PlatformRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
async fn show(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<PlatformRecord> {
    caller::admit(&service, &request, Act::ReadPlatforms)?;
    let row = found(&service, &id).await?;
    let now = service.clock.now();
    Ok(Json(service.platforms.record(row, now).await?))
}

/// What is wrong with a platform, and what to do. A name that nobody has heard of is a diagnosis too.
#[utoipa::path(get, path = "/thim/v1/platforms/{id}/doctor", operation_id = "diagnose_platform",
    params(("id" = String, Path, description = "The platform's 16 hex digits, or QEID:PCEID")),
    responses((status = 200, body = Diagnosis), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
async fn doctor(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Diagnosis> {
    caller::admit(&service, &request, Act::ReadPlatforms)?;
    let which: Which = parsed("id", &id)?;
    let now = service.clock.now();
    let diagnosis = service.platforms.diagnose(&which, now).await?;
    diagnosis.map(Json).ok_or_else(|| unknown(&which))
}

/// Registers a platform; its answer waits for the vendor's.
#[utoipa::path(post, path = "/thim/v1/platforms", operation_id = "register_platform", request_body = RegisterRequest,
    responses((status = 200, body = RegisterReport), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn register(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Json<RegisterReport>, Failure> {
    let caller = caller::admit(&service, &request, Act::RegisterPlatforms)?;
    refuse_in_the_past(&service)?;
    let body = caller::body(request, service.body_limit_bytes).await?;
    let Asked {
        registration,
        updates,
        direct,
        keep_names,
    } = read(&body).map_err(|invalid| {
        problem(
            StatusCode::BAD_REQUEST,
            "The registration is not what this takes",
            invalid.to_string(),
        )
    })?;
    if direct {
        refuse_offline(&service)?;
    }
    let now = service.clock.now();
    // A task of its own: whoever hangs up does not leave it half done.
    let done = tokio::spawn(async move {
        let mut authority = caller::authority(&caller);
        authority.may_move &= !keep_names;
        let platforms = &service.platforms;
        if direct {
            platforms
                .register_directly(registration, &authority, updates, now)
                .await
        } else {
            platforms
                .register(registration, &authority, updates, now)
                .await
        }
    });
    match done.await {
        Ok(Ok(registered)) => Ok(Json(RegisterReport {
            platform: registered.platform,
            state: registered.state.name().to_owned(),
            fetched: registered.fetched,
        })),
        Ok(Err(refusal)) => Err(Failure::refused("The platform is not ready", refusal)),
        Err(error) => {
            tracing::error!(error = %error, "a registration did not end");
            let why = problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The registration did not end",
                "see the log",
            );
            Err(Failure::Problem(why))
        }
    }
}

/// Forgets a platform: names, certificates, story and secrets. What it was is the answer.
#[utoipa::path(delete, path = "/thim/v1/platforms/{id}", operation_id = "forget_platform",
    params(("id" = String, Path, description = "The platform's 16 hex digits, or QEID:PCEID")),
    responses((status = 200, body = PlatformSummary), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn forget(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<PlatformSummary> {
    let caller = caller::admit(&service, &request, Act::ManagePlatforms)?;
    refuse_in_the_past(&service)?;
    let row = found(&service, &id).await?;
    let now = service.clock.now();
    if !service.platforms.forget(&row.id, &caller.name, now).await? {
        return Err(unknown(&Which::Id(row.id)));
    }
    Ok(Json(service.platforms.summary(&row)))
}

/// Asks the vendor again now. What came of it is in the record; a refusal of the vendor's is too.
#[utoipa::path(post, path = "/thim/v1/platforms/{id}/refetch", operation_id = "refetch_platform",
    params(("id" = String, Path, description = "The platform's 16 hex digits, or QEID:PCEID")),
    responses((status = 200, body = PlatformRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn refetch(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<PlatformRecord>, Failure> {
    caller::admit(&service, &request, Act::ManagePlatforms)?;
    refuse_in_the_past(&service)?;
    let row = found(&service, &id).await?;
    refuse_offline(&service)?;
    let now = service.clock.now();
    let platforms = &service.platforms;
    platforms
        .refetch(&row, now)
        .await
        .map_err(|refusal| Failure::refused("The vendor was not asked", refusal))?;
    // It may have turned out to be another that is known.
    let row = match platforms.find_row(&Which::Id(row.id.clone())).await? {
        Some(row) => row,
        None => found(&service, &id).await?,
    };
    Ok(Json(platforms.record(row, now).await?))
}

/// A platform as the body of `PUT /sgx/certification/v4/platformcollateral`, for another THIM or a PCCS. Holds the
/// secrets that it was registered with.
#[utoipa::path(get, path = "/thim/v1/platforms/{id}/collateral", operation_id = "export_platform",
    params(("id" = String, Path, description = "The platform's 16 hex digits, or QEID:PCEID")),
    responses((status = 200, body = String, content_type = "application/json"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn collateral(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let caller = caller::admit(&service, &request, Act::ManagePlatforms)?;
    let row = found(&service, &id).await?;
    let body = service
        .platforms
        .deliverable(&row, service.clock.now())
        .await
        .map_err(|refusal| Failure::Refused {
            status: StatusCode::CONFLICT,
            title: "The platform cannot be handed on",
            refusal: Box::new(refusal),
        })?;
    tracing::info!(
        platform = row.id,
        by = caller.name,
        "a platform is handed out, with its secrets"
    );
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

/// What a registration's body says.
struct Asked {
    registration: Registration,
    updates: Updates,
    direct: bool,
    keep_names: bool,
}

/// Reads a registration. Field by field, since what a parser says of a wrong value may quote it.
fn read(body: &[u8]) -> Result<Asked, Invalid> {
    #[derive(Deserialize)]
    struct How {
        update: Option<serde_json::Value>,
        direct: Option<serde_json::Value>,
        keep_names: Option<serde_json::Value>,
    }
    let registration = Registration::from_json(body)?;
    let unreadable = |_| Invalid::new("body", "wanted an object");
    let members: BTreeMap<String, IgnoredAny> = serde_json::from_slice(body).map_err(unreadable)?;
    if members.keys().any(|name| !FIELDS.contains(&name.as_str())) {
        let why = format!("there is a field beside {}", FIELDS.join(", "));
        return Err(Invalid::new("body", why));
    }
    let how: How = serde_json::from_slice(body).map_err(unreadable)?;
    let updates = match how.update.as_ref().map(|update| update.as_str()) {
        None | Some(Some("standard")) => Updates::Standard,
        Some(Some("early")) => Updates::Early,
        Some(Some("all")) => Updates::All,
        Some(_) => return Err(Invalid::new("update", "wanted standard, early or all")),
    };
    let flag = |name: &str, value: Option<serde_json::Value>| match value {
        None => Ok(false),
        Some(serde_json::Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(Invalid::new(name, "wanted true or false")),
    };
    let direct = flag("direct", how.direct)?;
    let keep_names = flag("keep_names", how.keep_names)?;
    if direct {
        for (name, missing) in [
            ("platform_manifest", registration.manifest.is_none()),
            ("enc_ppid", registration.encrypted_ppid.is_none()),
        ] {
            if missing {
                let why = "missing; a direct registration is made with the manifest, and certificates are then had by encrypted PPID";
                return Err(Invalid::new(name, why));
            }
        }
    }
    Ok(Asked {
        registration,
        updates,
        direct,
        keep_names,
    })
}

async fn found(service: &Service, id: &str) -> Result<PlatformRow, ProblemResponse> {
    let which: Which = parsed("id", id)?;
    let row = service.platforms.find_row(&which).await?;
    row.ok_or_else(|| unknown(&which))
}

fn unknown(which: &Which) -> ProblemResponse {
    let detail = match which {
        Which::Id(id) => format!("no platform has the id {id}"),
        Which::Name(qe_id, pce_id) => {
            format!("no platform is registered under QE id {qe_id} and PCE id {pce_id}")
        }
    };
    problem(StatusCode::NOT_FOUND, "No such platform", detail)
}

/// Where nobody is to be asked, nobody is.
fn refuse_offline(service: &Service) -> Result<(), ProblemResponse> {
    if service.collateral.fill() == Fill::Offline || service.collateral.intel().is_empty() {
        return Err(problem(
            StatusCode::CONFLICT,
            "The vendor is not asked",
            "the fill mode is offline, or no upstream is configured",
        ));
    }
    Ok(())
}

/// Why there is no answer.
enum Failure {
    Problem(ProblemResponse),
    Refused {
        status: StatusCode,
        title: &'static str,
        refusal: Box<PlatformRefusal>,
    },
}

impl Failure {
    fn refused(title: &'static str, refusal: PlatformRefusal) -> Self {
        Self::Refused {
            status: status(&refusal),
            title,
            refusal: Box::new(refusal),
        }
    }
}

impl From<ProblemResponse> for Failure {
    fn from(problem: ProblemResponse) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title, refusal) = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Refused {
                status,
                title,
                refusal,
            } => (status, title, refusal),
        };
        let mut response = problem(status, title, refusal.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            answer::THIM_CAUSE,
            answer::cause(refusal.cause.name(), &refusal.detail),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let secs = refusal.retry_after_secs.unwrap_or(answer::RETRY_SECS);
            headers.insert(RETRY_AFTER, HeaderValue::from(secs.max(1)));
        }
        response
    }
}

/// The status of a refusal: whose turn it is. 400, what came is of no use; 409, it is at odds with what is; 503, ask
/// again; 404, there is nothing to be had for it.
fn status(refusal: &PlatformRefusal) -> StatusCode {
    match refusal.cause {
        Cause::EncryptedPpidMissing
        | Cause::EncryptedPpidZero
        | Cause::ManifestMalformed
        | Cause::QeIdZero => StatusCode::BAD_REQUEST,
        Cause::CachedKeysPolicy | Cause::QeIdTaken => StatusCode::CONFLICT,
        Cause::ApiKeyRefused
        | Cause::Busy
        | Cause::Storage
        | Cause::Untrusted
        | Cause::VendorThrottled
        | Cause::VendorUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Cause::CollateralMissing if refusal.retry_after_secs.is_some() => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Cause::AllNotAvailable
        | Cause::CertificateRevoked
        | Cause::CollateralMissing
        | Cause::GuestNotHost
        | Cause::ManifestStale
        | Cause::NeedsManifest
        | Cause::None
        | Cause::PackageRefused
        | Cause::PreProduction
        | Cause::QeIdUnknown
        | Cause::Queued
        | Cause::TcbTooLow
        | Cause::VendorRefused => StatusCode::NOT_FOUND,
    }
}

/// Those of [`RegisterRequest`].
const FIELDS: [&str; 9] = [
    "qe_id",
    "pce_id",
    "cpu_svn",
    "pce_svn",
    "enc_ppid",
    "platform_manifest",
    "update",
    "direct",
    "keep_names",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn body(more: &str) -> String {
        let manifest = "ab".repeat(8_431);
        let encrypted = "cd".repeat(384);
        format!(
            r#"{{"qe_id":"A0","pce_id":"0000","enc_ppid":"{encrypted}","platform_manifest":"{manifest}"{more}}}"#
        )
    }

    #[test]
    fn a_registration_says_how_and_its_near_misses_are_named_and_not_quoted() {
        let asked = |more: &str| read(body(more).as_bytes()).map_err(|invalid| invalid.field);
        for (more, updates, direct) in [
            ("", Updates::Standard, false),
            (r#","update":"standard""#, Updates::Standard, false),
            (r#","update":"early","direct":false"#, Updates::Early, false),
            (r#","update":"all","direct":true"#, Updates::All, true),
        ] {
            let asked = asked(more).expect(more);
            assert_eq!((asked.updates, asked.direct), (updates, direct), "{more}");
        }
        for (more, field) in [
            (r#","update":"newest""#, "update"),
            (r#","update":"""#, "update"),
            (r#","update":1"#, "update"),
            (r#","direct":"true""#, "direct"),
            (r#","keep_names":1"#, "keep_names"),
            (r#","manifest":"5ec2e7""#, "body"),
            (r#","qe_id":7"#, "qe_id"),
        ] {
            let invalid = read(body(more).as_bytes()).err().expect(more);
            assert_eq!(invalid.field, field, "{more}");
            assert!(!invalid.to_string().contains("5ec2e7"));
        }
        let without = |name: &str| {
            let mut fields: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&body(r#","direct":true"#)).expect("JSON");
            fields.remove(name);
            read(&serde_json::to_vec(&fields).expect("JSON"))
        };
        for name in ["platform_manifest", "enc_ppid"] {
            assert!(without(name).is_err(), "{name}");
        }
        assert!(without("update").is_ok());
    }
}
