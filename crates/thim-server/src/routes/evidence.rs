//! The own API of evidence: what is known about a quote or a report, as the command line tells it. Open, as all reading is;
//! it shows nothing that names one machine. To ask that the register records what a quote says wants the token that
//! registers platforms; where the configuration says it, nobody has to ask. What is not accepted is explained with 200 all
//! the same: the question was answered.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use thim_client::{Problem, QuoteComparison, QuoteExplanation};
use thim_verify::amd::{Product, Relaxation};
use thim_verify::{Error, EvaluationNumber, MAX_QUOTE_BYTES, QuotePolicy, UnixTime};
use utoipa::{IntoParams, ToSchema};

use super::caller;
use super::own::{Answer, Service, parsed, refuse_in_the_past};
use super::problem::{Params, ProblemResponse, problem};
use crate::access::Act;
use crate::baseline::Choice;
use crate::evidence::form::{self, Decoded, EvidenceKind};
use crate::evidence::quote::unreadable;
use crate::evidence::report::{self, ReportExplanation};
use crate::evidence::{QuoteAsk, ReportAsk};

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new().route("/thim/v1/evidence/explain", post(explain))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    /// Judge at this instant (RFC 3339), by the editions of then; now by default, where what is missing is fetched.
    at: Option<String>,
    /// Judge under this TCB evaluation data number. This, update, against and accept are for quotes alone.
    number: Option<EvaluationNumber>,
    /// `standard` (the default) or `early`.
    update: Option<String>,
    /// Judge under each of these numbers, joined by commas, at most 16: one column each.
    against: Option<String>,
    /// Statuses that are good enough, in Intel's words, joined by commas; UpToDate by default.
    accept: Option<String>,
    /// What is forgiven, joined by commas. Of a report: debug, expired, masked-chip, migration-agent,
    /// unchecked-revocation.
    allow: Option<String>,
    /// The product of a report's chip, where a report of version 2 does not say it.
    product: Option<String>,
    /// True, with a token that registers platforms: the register records what a genuine quote of a platform that it knows
    /// says. False: it does not. As configured by default.
    record: Option<bool>,
}

/// What is told.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Told {
    /// Under several numbers.
    Comparison(QuoteComparison),
    /// Under one.
    Quote(Box<QuoteExplanation>),
    /// About an SEV-SNP report.
    Report(Box<ReportExplanation>),
}

/// What is known about evidence, and why: an SGX or TDX quote or an SEV-SNP report as bytes, or as base64, base64url or
/// hex text; a report also in the 2600 bytes of an Azure vTPM.
#[utoipa::path(post, path = "/thim/v1/evidence/explain", operation_id = "explain_evidence", params(ExplainQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Told), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 429, body = Problem)))]
async fn explain(
    State(service): State<Arc<Service>>,
    Params(query): Params<ExplainQuery>,
    request: Request,
) -> Answer<Told> {
    if query.record == Some(true) {
        caller::admit(&service, &request, Act::RegisterPlatforms)?;
        refuse_in_the_past(&service)?;
        if query.at.is_some() {
            let why = "record excludes at: what a quote says now is recorded";
            return Err(wrong(why.to_owned()));
        }
    }
    let at = query.at.as_deref();
    let at = at.map(|text| parsed("at", text)).transpose()?;
    let body = caller::body(request, EVIDENCE_BYTES).await?;
    let decoded = form::decode("evidence", &body);
    match decoded.as_ref().map(Decoded::kind) {
        Ok(EvidenceKind::Report) => report(&service, decoded, &query, at).await,
        Ok(EvidenceKind::Quote | EvidenceKind::Unknown) | Err(_) => {
            quote(&service, decoded, &query, at).await
        }
    }
}

async fn quote(
    service: &Service,
    decoded: Result<Decoded, Error>,
    query: &ExplainQuery,
    at: Option<UnixTime>,
) -> Answer<Told> {
    if query.product.is_some() {
        return Err(wrong("product: only a report has one".to_owned()));
    }
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
    let now = service.clock.now();
    let ask = QuoteAsk {
        choice,
        at,
        fetch: true,
        policy,
        pck: None,
        platform_ids: false,
        record: query.record,
    };
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(error) => {
            let told = unreadable(&error, at.unwrap_or(now));
            return Ok(Json(Told::Quote(Box::new(told))));
        }
    };
    let (bytes, explainer) = (&decoded.bytes, &service.explainer);
    if numbers.is_empty() {
        let told = explainer.quote(bytes, &ask, now).await?;
        return Ok(Json(Told::Quote(Box::new(told))));
    }
    let told = explainer.compare(bytes, &numbers, &ask, now).await?;
    Ok(Json(Told::Comparison(told)))
}

async fn report(
    service: &Service,
    decoded: Result<Decoded, Error>,
    query: &ExplainQuery,
    at: Option<UnixTime>,
) -> Answer<Told> {
    for (name, given) in [
        ("accept", query.accept.is_some()),
        ("against", query.against.is_some()),
        ("number", query.number.is_some()),
        ("record", query.record == Some(true)),
        ("update", query.update.is_some()),
    ] {
        if given {
            let why = "the evidence is an SEV-SNP report; that is for quotes alone";
            return Err(wrong(format!("{name}: {why}")));
        }
    }
    let said: Option<Product> = match query.product.as_deref().map(str::parse).transpose() {
        Ok(said) => said,
        Err(_) => {
            let names = Product::ALL.map(Product::name).join(", ");
            return Err(wrong(format!("product: wanted one of {names}")));
        }
    };
    let relaxations: BTreeSet<Relaxation> =
        list("allow", query.allow.as_deref())?.into_iter().collect();
    let now = service.clock.now();
    let (form, report) = match decoded.and_then(|decoded| decoded.report()) {
        Ok(read) => read,
        Err(error) => {
            let told = report::unreadable(&error, at.unwrap_or(now));
            return Ok(Json(Told::Report(Box::new(told))));
        }
    };
    let reports = &service.reports;
    let product = report::product_of(&report, said, reports.products())
        .map_err(|stated| wrong(format!("product: the report is of {stated}")))?;
    let ask = ReportAsk {
        product,
        at,
        fetch: true,
        relaxations,
        // It names a machine for ever, and this API is open.
        show_chip_id: false,
    };
    let told = reports.report((form, &report), &ask, now).await?;
    Ok(Json(Told::Report(Box::new(told))))
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
