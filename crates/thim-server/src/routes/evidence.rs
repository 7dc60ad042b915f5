//! The own API of evidence: what is known about a quote, as the command line tells it. Open, as all reading is; it
//! shows nothing that names one machine. What is not accepted is explained with 200 all the same: the question was
//! answered.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use thim_client::{Problem, QuoteComparison, QuoteExplanation};
use thim_verify::{EvaluationNumber, MAX_QUOTE_BYTES, QuotePolicy};
use utoipa::{IntoParams, ToSchema};

use super::caller;
use super::own::{Answer, Service, parsed};
use super::problem::{Params, ProblemResponse, problem};
use crate::baseline::Choice;
use crate::evidence::QuoteAsk;
use crate::evidence::form::{self, EvidenceKind};
use crate::evidence::quote::unreadable;

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new().route("/thim/v1/evidence/explain", post(explain))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    /// Judge at this instant (RFC 3339), by the editions of then; now by default, where what is missing is fetched.
    at: Option<String>,
    /// Judge under this TCB evaluation data number.
    number: Option<EvaluationNumber>,
    /// `standard` (the default) or `early`.
    update: Option<String>,
    /// Judge under each of these numbers, joined by commas, at most 16: one column each.
    against: Option<String>,
    /// Statuses that are good enough, in Intel's words, joined by commas; UpToDate by default.
    accept: Option<String>,
    /// What is forgiven, joined by commas.
    allow: Option<String>,
}

/// What is told.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Told {
    /// Under several numbers.
    Comparison(QuoteComparison),
    /// Under one.
    Quote(Box<QuoteExplanation>),
}

/// What is known about evidence, and why: a quote as bytes, or as base64, base64url or hex text.
#[utoipa::path(post, path = "/thim/v1/evidence/explain", operation_id = "explain_evidence", params(ExplainQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Told), (status = 400, body = Problem), (status = 413, body = Problem)))]
async fn explain(
    State(service): State<Arc<Service>>,
    Params(query): Params<ExplainQuery>,
    request: Request,
) -> Answer<Told> {
    let at = query.at.as_deref();
    let at = at.map(|text| parsed("at", text)).transpose()?;
    let numbers: Vec<EvaluationNumber> = list("against", query.against.as_deref())?;
    if numbers.len() > MAX_COLUMNS {
        let why = format!("against: {} numbers; at most {MAX_COLUMNS}", numbers.len());
        return Err(wrong(why));
    }
    let choice = match (query.number, query.update.as_deref()) {
        (Some(number), None) => Choice::Number(number),
        (None, None | Some("standard")) => Choice::Standard,
        (None, Some("early")) => Choice::Early,
        (Some(_), Some(_)) => return Err(wrong("number and update exclude each other".to_owned())),
        (None, Some(_)) => return Err(wrong("update: wanted standard or early".to_owned())),
    };
    if !numbers.is_empty() && (query.number.is_some() || query.update.is_some()) {
        let why = "against excludes number and update";
        return Err(wrong(why.to_owned()));
    }
    let mut policy = QuotePolicy {
        relaxations: list("allow", query.allow.as_deref())?.into_iter().collect(),
        ..QuotePolicy::default()
    };
    if query.accept.is_some() {
        policy.accepted = list("accept", query.accept.as_deref())?
            .into_iter()
            .collect();
    }
    let body = caller::body(request, EVIDENCE_BYTES).await?;
    let now = service.clock.now();
    let ask = QuoteAsk {
        choice,
        at,
        fetch: true,
        policy,
        pck: None,
        platform_ids: false,
    };
    let decoded = match form::decode("evidence", &body) {
        Ok(decoded) => decoded,
        Err(error) => {
            let told = unreadable(&error, at.unwrap_or(now));
            return Ok(Json(Told::Quote(Box::new(told))));
        }
    };
    match decoded.kind() {
        EvidenceKind::Quote | EvidenceKind::Report | EvidenceKind::Unknown
            if !numbers.is_empty() =>
        {
            let explainer = &service.explainer;
            let told = explainer
                .compare(&decoded.bytes, &numbers, &ask, now)
                .await?;
            Ok(Json(Told::Comparison(told)))
        }
        EvidenceKind::Quote | EvidenceKind::Report | EvidenceKind::Unknown => {
            let told = service.explainer.quote(&decoded.bytes, &ask, now).await?;
            Ok(Json(Told::Quote(Box::new(told))))
        }
    }
}

/// The items of a list joined by commas.
fn list<T: FromStr>(name: &str, text: Option<&str>) -> Result<Vec<T>, ProblemResponse>
where
    T::Err: std::fmt::Display,
{
    let items = text.into_iter().flat_map(|text| text.split(','));
    let items = items.map(|item| {
        item.parse::<T>()
            .map_err(|error| wrong(format!("{name}: {error}")))
    });
    items.collect()
}

fn wrong(why: String) -> ProblemResponse {
    problem(StatusCode::BAD_REQUEST, "A parameter is wrong", why)
}

/// A quote of the largest size as hex text, with room for the way it was pasted.
const EVIDENCE_BYTES: usize = 3 * MAX_QUOTE_BYTES;

/// More columns than Intel has numbers cost work and tell nothing.
const MAX_COLUMNS: usize = 16;
