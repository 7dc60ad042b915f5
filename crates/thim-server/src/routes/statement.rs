//! Statements of baselines, the keys that verify them, and baselines as other programs' policy. Open: attestation services
//! of tenants ask here, and nothing names a platform.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use thim_client::Problem;
use utoipa::IntoParams;

use super::baselines::scope;
use super::caller;
use super::own::{Answer, Service, parsed, refuse_in_the_past};
use super::problem::{Params, ProblemResponse, problem};
use crate::access::Act;
use crate::baseline::{BaselineTee, Scope};
use crate::baselines::exports::{self, NotExported};
use crate::baselines::statement::{Jwks, KeyError};

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route("/thim/v1/baselines/rotate-key", post(rotate))
        .route("/thim/v1/baselines/{tee}/statement", get(statement))
        .route(
            "/thim/v1/baselines/{tee}/exports/intel-policy",
            get(intel_policy),
        )
        .route("/thim/v1/baselines/{tee}/exports/corim", get(corim))
        .route("/thim/v1/baselines/{tee}/exports/trustee", get(trustee))
}

#[derive(Deserialize, IntoParams)]
struct TenantQuery {
    /// `default` where absent; or a tenant's name.
    tenant: Option<String>,
}

#[derive(Deserialize, IntoParams)]
struct TrusteeQuery {
    /// `default` where absent; or a tenant's name.
    tenant: Option<String>,
    /// For `sev-snp`: `Milan`, `Genoa`, `Turin` or `Venice`.
    product: Option<String>,
}

/// The keys that verify statements.
async fn jwks(State(service): State<Arc<Service>>) -> Response {
    let keys = service.signer.jwks(service.clock.now());
    let body = serde_json::to_vec(&keys).unwrap_or_default();
    let headers = [
        (CONTENT_TYPE, "application/jwk-set+json"),
        (CACHE_CONTROL, "max-age=300"),
    ];
    (headers, body).into_response()
}

/// What a baseline wants, signed: a compact JWS.
#[utoipa::path(get, path = "/thim/v1/baselines/{tee}/statement", operation_id = "baseline_statement", params(TenantQuery,
    ("tee" = String, Path, description = "sgx, tdx or sev-snp")),
    responses((status = 200, body = String, content_type = "application/jwt"), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn statement(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    Params(query): Params<TenantQuery>,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let (tee, scope) = whose(&service, &tee, query.tenant.as_deref())?;
    let now = service.clock.now();
    let signer = &service.signer;
    let (text, digest) = service.baselines.state(signer, &scope, tee, now).await?;
    let etag = format!("W/\"{}\"", digest.short());
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|value| value.to_str().ok());
    let more = [
        (ETAG, etag.clone()),
        (CACHE_CONTROL, "max-age=300".to_owned()),
    ];
    if known.any(|value| value.contains(&etag)) {
        return Ok((StatusCode::NOT_MODIFIED, more).into_response());
    }
    Ok((more, [(CONTENT_TYPE, "application/jwt")], text).into_response())
}

/// A baseline as reference values of Intel's appraisal policies.
#[utoipa::path(get, path = "/thim/v1/baselines/{tee}/exports/intel-policy", operation_id = "export_intel_policy", params(TenantQuery,
    ("tee" = String, Path, description = "sgx or tdx")),
    responses((status = 200, body = Vec<Object>), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn intel_policy(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    Params(query): Params<TenantQuery>,
) -> Answer<Vec<exports::intel_policy::ReferenceValues>> {
    let (tee, scope) = whose(&service, &tee, query.tenant.as_deref())?;
    let now = service.clock.now();
    exports::intel_policy::intel_policy(&service.baselines, &scope, tee, now)
        .map(Json)
        .map_err(|why| not_exported(&why))
}

/// A baseline as a CoRIM under Intel's profile, unsigned.
#[utoipa::path(get, path = "/thim/v1/baselines/{tee}/exports/corim", operation_id = "export_corim", params(TenantQuery,
    ("tee" = String, Path, description = "sgx or tdx")),
    responses((status = 200, body = Vec<u8>, content_type = "application/rim+cbor"), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn corim(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    Params(query): Params<TenantQuery>,
) -> Result<Response, ProblemResponse> {
    let (tee, scope) = whose(&service, &tee, query.tenant.as_deref())?;
    let by = service.signer.issuer_and_lifetime();
    let now = service.clock.now();
    let made = exports::corim::corim(&service.baselines, by, &scope, tee, now);
    let bytes = made.map_err(|why| not_exported(&why))?;
    Ok(([(CONTENT_TYPE, "application/rim+cbor")], bytes).into_response())
}

/// A baseline as a message for Trustee's reference value provider.
#[utoipa::path(get, path = "/thim/v1/baselines/{tee}/exports/trustee", operation_id = "export_trustee", params(TrusteeQuery,
    ("tee" = String, Path, description = "sgx, tdx or sev-snp")),
    responses((status = 200, body = Object), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn trustee(
    State(service): State<Arc<Service>>,
    Path(tee): Path<String>,
    Params(query): Params<TrusteeQuery>,
) -> Answer<exports::trustee::Message> {
    let (tee, scope) = whose(&service, &tee, query.tenant.as_deref())?;
    let product = query.product.as_deref();
    let product = product.map(|name| parsed("product", name)).transpose()?;
    let now = service.clock.now();
    exports::trustee::trustee(&service.baselines, &scope, tee, product, now)
        .map(Json)
        .map_err(|why| not_exported(&why))
}

fn not_exported(why: &NotExported) -> ProblemResponse {
    let status = match why {
        NotExported::NoProduct => StatusCode::BAD_REQUEST,
        NotExported::Unwritable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        NotExported::BelowFloor { .. }
        | NotExported::NoMinimum(_)
        | NotExported::NoNumber
        | NotExported::NotIntel
        | NotExported::NotUpToDate => StatusCode::NOT_FOUND,
    };
    problem(status, "There is no such policy", why.to_string())
}

/// Makes a new key for statements; the old one verifies until what it signed has ended.
#[utoipa::path(post, path = "/thim/v1/baselines/rotate-key", operation_id = "rotate_statement_key",
    responses((status = 200, body = Object), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn rotate(State(service): State<Arc<Service>>, request: Request) -> Answer<Jwks> {
    caller::admit(&service, &request, Act::RotateKeys)?;
    refuse_in_the_past(&service)?;
    let done = service.signer.rotate(service.clock.now());
    done.map(Json).map_err(|error| match error {
        KeyError::NotOurs => problem(
            StatusCode::CONFLICT,
            "The key is not made here",
            error.to_string(),
        ),
        KeyError::File { .. } => {
            tracing::error!(error = %error, "the key of statements was not replaced");
            problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "The key was not replaced",
                "see the log; the old one goes on",
            )
        }
    })
}

fn whose(
    service: &Service,
    tee: &str,
    tenant: Option<&str>,
) -> Result<(BaselineTee, Scope), ProblemResponse> {
    let tee = parsed("tee", tee)?;
    let scope = scope(tenant)?;
    let known = match &scope {
        Scope::Default => true,
        // A floor is no baseline to appraise by; it stands in every statement.
        Scope::Floor => false,
        Scope::Tenant(tenant) => service.baselines.knows(tenant),
    };
    if known {
        return Ok((tee, scope));
    }
    Err(problem(
        StatusCode::NOT_FOUND,
        "No such tenant",
        "no act on a baseline ever named it",
    ))
}
