//! From a report and what it is judged by to what is told about it: one function, for the own API and the command line
//! alike.
//!
//! One object: the verdict, the findings, and facts of the report and of what it was verified with. Members that evidence
//! of another kind has too are of the same shape there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thim_verify::amd::{
    AmdCrl, Anchors, Appraisal, CertChain, Endorsement, NoCollateral, Product, Products,
    Relaxation, ReportCollateral, SnpReport, Status, Weighed, appraise_report,
};
use thim_verify::{Error, UnixTime};
use utoipa::ToSchema;

use super::form::ReportForm;
use super::report_facts::ReportFacts;

/// Something, and the file, service or store it came from.
#[derive(Clone)]
pub struct Sourced<T> {
    /// What it is.
    pub value: T,
    /// As it is told.
    pub source: String,
}

/// What a report is verified with.
pub struct ReportMaterial {
    /// The VCEK or VLEK.
    pub endorsement: Result<Sourced<Endorsement>, NoCollateral>,
    /// Its chain.
    pub chain: Result<Sourced<CertChain>, NoCollateral>,
    /// The revocation list.
    pub crl: Option<Sourced<AmdCrl>>,
    /// What was left aside and why, for people.
    pub notes: Vec<String>,
}

/// How a report is judged.
#[derive(Clone, Copy)]
pub struct ReportJudge<'a> {
    /// The facts about products.
    pub products: &'a Products,
    /// The trusted roots.
    pub anchors: &'a Anchors,
    /// What is forgiven.
    pub relaxations: &'a BTreeSet<Relaxation>,
    /// At which instant.
    pub at: UnixTime,
    /// Whether the chip id is shown.
    pub show_chip_id: bool,
}

/// What is told about a report.
// No `Debug`: there may be a chip id in its facts.
#[derive(Clone, Serialize, ToSchema)]
pub struct ReportExplanation {
    /// `sev-snp`.
    pub tee: &'static str,
    /// `accepted`, `not-accepted` or `unknown`.
    pub verdict: &'static str,
    /// `ok`, `not-accepted` or `unknown`.
    pub status: &'static str,
    /// The instant of the judgement.
    pub at: String,
    /// In the order of the look.
    pub findings: Vec<ReportFinding>,
    /// Always empty: AMD's certificates and reports name no advisories.
    pub advisories: Vec<String>,
    /// Null: no minimums are given.
    #[schema(value_type = Option<Object>)]
    pub shortfall: Option<()>,
    /// What the report says, and what it was verified with; not there when it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<ReportFacts>,
    /// What was left aside, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip)]
    told: Told,
}

/// The status, and what made it so.
#[derive(Clone)]
struct Told {
    status: Status,
    why: String,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct ReportFinding {
    /// Lower-case words joined by hyphens.
    pub name: &'static str,
    /// `passed`, `failed` or `not-checked`.
    pub outcome: &'static str,
    /// There and true when a relaxation forgave it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
    /// Why it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The word that forgives it, whether given or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relaxation: Option<&'static str>,
    /// What it was judged by, as text.
    pub facts: BTreeMap<&'static str, String>,
    /// The instant it was judged at.
    pub at: String,
}

/// The product that the report's CPU is of, else the one that the caller says.
///
/// # Errors
/// The report's, where the caller says another.
pub fn product_of(
    report: &SnpReport,
    said: Option<Product>,
    products: &Products,
) -> Result<Option<Product>, Product> {
    let stated = report.product(products).map(|facts| facts.product());
    match (said, stated) {
        (Some(said), Some(stated)) if said != stated => Err(stated),
        (said, stated) => Ok(stated.or(said)),
    }
}

/// What is told about a report that could be read, by what was gathered for it. `product` is the report's own or what the
/// caller says.
pub fn explain(
    (form, report): (ReportForm, &SnpReport),
    product: Option<Product>,
    material: ReportMaterial,
    judge: &ReportJudge<'_>,
) -> ReportExplanation {
    let collateral = match (&material.endorsement, &material.chain) {
        (Ok(endorsement), Ok(chain)) => Ok(ReportCollateral {
            endorsement: &endorsement.value,
            chain: &chain.value,
            crl: material.crl.as_ref().map(|list| &list.value),
        }),
        (_, Err(broken @ NoCollateral::Broken(..))) => Err(broken),
        (Err(none), _) | (Ok(_), Err(none)) => Err(none),
    };
    let ReportJudge {
        products,
        anchors,
        relaxations,
        at,
        show_chip_id,
    } = *judge;
    let collateral = collateral.as_ref().map_err(|none| *none);
    let appraisal = appraise_report(report, collateral, products, anchors, relaxations, at);
    let facts = ReportFacts::of(form, report, product, &material, products, show_chip_id);
    let said = |weighed: &Weighed| match weighed.outcome.reason() {
        None => weighed.concern.name().to_owned(),
        Some(why) => format!("{}: {why}", weighed.concern.name()),
    };
    let mut deciding: Vec<String> = appraisal.deciding().map(said).collect();
    // Without a certificate each finding says the same; once is enough.
    deciding.dedup_by(|a, b| a.split_once(": ").map(|a| a.1) == b.split_once(": ").map(|b| b.1));
    ReportExplanation {
        facts: Some(facts),
        notes: material.notes,
        ..told(&appraisal, at, deciding.join("; "))
    }
}

/// What is told about bytes that are no report.
pub fn unreadable(error: &Error, at: UnixTime) -> ReportExplanation {
    let appraisal = Appraisal::unreadable(error, at);
    let why = appraisal.list().iter();
    let why = why.filter_map(|weighed| weighed.outcome.reason()).collect();
    told(&appraisal, at, why)
}

fn told(appraisal: &Appraisal, at: UnixTime, why: String) -> ReportExplanation {
    let status = appraisal.status();
    ReportExplanation {
        tee: "sev-snp",
        verdict: match status {
            Status::NotAccepted => "not-accepted",
            Status::Ok => "accepted",
            Status::Unknown => "unknown",
        },
        status: status.name(),
        at: at.to_string(),
        findings: appraisal.list().iter().map(ReportFinding::of).collect(),
        advisories: Vec::new(),
        shortfall: None,
        facts: None,
        notes: Vec::new(),
        told: Told { status, why },
    }
}

impl ReportExplanation {
    /// The status, for exit codes.
    pub fn status(&self) -> Status {
        self.told.status
    }

    /// What made the status what it is.
    pub fn why(&self) -> &str {
        &self.told.why
    }
}

impl ReportFinding {
    fn of(weighed: &Weighed) -> Self {
        let facts = weighed.facts.iter();
        Self {
            name: weighed.concern.name(),
            outcome: weighed.outcome.name(),
            allowed: weighed.allowed,
            detail: weighed.outcome.reason().map(str::to_owned),
            relaxation: weighed.relaxation.map(|word| word.name()),
            facts: facts.map(|fact| (fact.name, fact.value.clone())).collect(),
            at: weighed.at.to_string(),
        }
    }
}
