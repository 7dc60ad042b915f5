//! `GET /tcbbaselines/{type}?api-version=2025-06-01`: baselines in the shape of Azure's attestation service (MAA), for whoever
//! asks there today. Shape and errors are those of Azure's REST specification (azure-rest-api-specs, Microsoft.Attestation
//! data plane, stable 2025-06-01: `TcbBaselineResult`, `Get_TcbBaselines.json`; `Azure.Core.Foundations.ErrorResponse` with
//! the header `x-ms-error-code`). The codes for a missing and an unknown `api-version` are those of Azure's REST guidelines.
//!
//! One entry for each evaluation number that the signed lists know, highest first, and one more for the selected number where
//! no list has it. `tcbReleaseDate` is the TCB date, as there, without an offset. What is not known is absent, never a guess:
//! the specification makes every field optional. AMD numbers nothing, so of SEV-SNP the one entry is the version in force,
//! `tcbIdentifier` its scope and version, and `tcbEvaluationDataNumber` is absent.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use serde::Serialize;
use thim_verify::UnixTime;

use super::front::Body;
use super::own::Service;
use super::query::{Name, Query};
use crate::baseline::{BaselineTee, NotSelected, Rule, Scope, Tenant, recoveries};
use crate::baselines::Applied;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbBaselines {
    tcb_baselines: Vec<TcbBaseline>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbBaseline {
    tcb_identifier: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb_evaluation_data_number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb_release_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_psw_linux_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_psw_windows_version: Option<&'static str>,
    is_selected_tcb: bool,
}

/// An error in MAA's shape.
struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// The type in a path of ours.
pub fn target(path: &str) -> Option<&str> {
    path.strip_prefix("/tcbbaselines/")
}

/// Answers for a tenant, or for everybody.
pub fn answer(
    service: &Service,
    attestation_type: &str,
    query: &Query<'_>,
    tenant: Option<&Tenant>,
    now: UnixTime,
) -> Response<Body> {
    match baselines(service, attestation_type, query, tenant, now) {
        Ok(found) => response(StatusCode::OK, &found, None),
        Err(Failure {
            status,
            code,
            message,
        }) => {
            let body = serde_json::json!({ "error": { "code": code, "message": message } });
            response(status, &body, Some(code))
        }
    }
}

fn baselines(
    service: &Service,
    attestation_type: &str,
    query: &Query<'_>,
    tenant: Option<&Tenant>,
    now: UnixTime,
) -> Result<TcbBaselines, Failure> {
    let failure = |status, code, message: &str| Failure {
        status,
        code,
        message: message.to_owned(),
    };
    let bad = |code, message: &str| failure(StatusCode::BAD_REQUEST, code, message);
    let version = query.get(Name::ApiVersion).map_err(|invalid| {
        bad(
            "InvalidParameter",
            &format!("{}: {}", invalid.name, invalid.why),
        )
    })?;
    match version {
        Some(API_VERSION) => {}
        Some(_) => {
            return Err(bad(
                "UnsupportedApiVersionValue",
                "api-version: the one that is supported is 2025-06-01",
            ));
        }
        None => {
            return Err(bad(
                "MissingApiVersionParameter",
                "api-version is missing; the one that is supported is 2025-06-01",
            ));
        }
    }
    let tee = match attestation_type {
        "OpenEnclave" | "SgxEnclave" => BaselineTee::Sgx,
        "SevSnpVm" => BaselineTee::SevSnp,
        "TdxVm" => BaselineTee::Tdx,
        _ => {
            return Err(failure(
                StatusCode::NOT_FOUND,
                "NotFound",
                "attestationType: wanted SgxEnclave, OpenEnclave, TdxVm or SevSnpVm",
            ));
        }
    };
    let scope = match tenant {
        Some(tenant) if !service.baselines.knows(tenant) => {
            return Err(failure(
                StatusCode::NOT_FOUND,
                "NotFound",
                "there is no such tenant",
            ));
        }
        Some(tenant) => Scope::Tenant(tenant.clone()),
        None => Scope::Default,
    };
    let applied = service.baselines.applied(&scope, tee, now);
    let tcb_baselines = match &applied.rule {
        Rule::Amd(_) => vec![of_version(&applied)],
        Rule::Intel(_) => {
            let view = service.collateral.view();
            let selected = service.baselines.selection(&applied, tee, &view, now);
            let number = match selected {
                Some(Ok(selection)) => selection.number,
                // What is selected is the same, though nothing is served of it.
                Some(Err(NotSelected::Retired { number })) => number,
                None | Some(Err(NotSelected::NoList | NotSelected::NoneOldEnough { .. })) => {
                    return Err(failure(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "ServiceUnavailable",
                        "no list of evaluation numbers tells which one is selected",
                    ));
                }
            };
            // Below the operator's floor nothing is served: the floor is the least that is asked of anybody.
            let floor = service.baselines.floor_number(tee, now).unwrap_or(0);
            let number = number.max(floor);
            let entries = view.lists.entries().into_iter();
            let mut all: Vec<TcbBaseline> = entries
                .map(|entry| of_number(entry.number, Some(entry.tcb_date), number))
                .collect();
            if !all.iter().any(|one| one.is_selected_tcb) {
                let recovery = recoveries::of(number);
                let date = recovery.map(|known| known.event.plus_secs(DAY_SECS));
                all.push(of_number(number, date, number));
                all.sort_by_key(|one| one.tcb_evaluation_data_number);
            }
            all.reverse();
            all
        }
    };
    Ok(TcbBaselines { tcb_baselines })
}

fn of_number(number: u32, date: Option<UnixTime>, selected: u32) -> TcbBaseline {
    let recovery = recoveries::of(number);
    TcbBaseline {
        tcb_identifier: number.to_string(),
        tcb_evaluation_data_number: Some(number),
        tcb_release_date: date.map(without_offset),
        minimum_psw_linux_version: recovery.and_then(|known| known.psw_linux.as_deref()),
        minimum_psw_windows_version: recovery.and_then(|known| known.psw_windows.as_deref()),
        is_selected_tcb: number == selected,
    }
}

fn of_version(applied: &Applied) -> TcbBaseline {
    TcbBaseline {
        tcb_identifier: format!("{}/v{}", applied.scope, applied.version),
        tcb_evaluation_data_number: None,
        tcb_release_date: applied.since.map(without_offset),
        minimum_psw_linux_version: None,
        minimum_psw_windows_version: None,
        is_selected_tcb: true,
    }
}

/// `2020-11-11T00:00:00`, as MAA writes dates.
fn without_offset(date: UnixTime) -> String {
    date.to_string().trim_end_matches('Z').to_owned()
}

fn response(
    status: StatusCode,
    body: &impl Serialize,
    code: Option<&'static str>,
) -> Response<Body> {
    let text = serde_json::to_vec(body).expect("no maps with other keys than text");
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(CONTENT_TYPE, kind);
    // A promotion is to be seen at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(code) = code {
        headers.insert(ERROR_CODE, HeaderValue::from_static(code));
    }
    response
}

const API_VERSION: &str = "2025-06-01";
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const DAY_SECS: i64 = 86_400;
