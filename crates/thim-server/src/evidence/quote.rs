//! From findings to what is told about a quote: one function, for the own API and the command line alike.

use std::collections::BTreeMap;

use thim_client::{
    CollateralUsed, FindingRecord, NeedRecord, QuoteExplanation, ShortComponent as ShortRecord,
    ShortfallPart, ShortfallRecord, ShortfallTarget,
};
use thim_verify::{
    CollateralPart, Error, Fact, LabelSource, PartShortfall, QuoteAppraisal, QuoteCollateral,
    QuoteConcern, QuoteFindings, QuotePolicy, QuoteWeighed, ShortComponent, Shortfall, Shortfalls,
    SupplementalData, TcbTarget, UnixTime, UpToDateTarget, appraise_quote,
};

use super::quote_facts::{facts, supplemental};

/// Where each part of the collateral came from.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<CollateralPart, String>);

/// How much is shown, and what goes into the answer beside the findings.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// Whether PPID and platform instance id are shown.
    pub platform_ids: bool,
    /// What was left aside, and why.
    pub notes: Vec<String>,
    /// Where the collateral came from.
    pub sources: Sources,
}

impl Sources {
    /// Notes where a part came from.
    pub fn note(&mut self, part: CollateralPart, source: impl Into<String>) {
        self.0.insert(part, source.into());
    }
}

/// What is told about a quote that could be read.
pub fn explain(
    findings: &QuoteFindings<'_>,
    policy: &QuotePolicy,
    telling: Telling,
) -> QuoteExplanation {
    let appraisal = appraise_quote(findings, policy);
    let at = findings.judged_at();
    let collateral = findings.collateral();
    let advisories = findings
        .status()
        .and(findings.evaluation())
        .map(|evaluation| evaluation.advisory_ids())
        .unwrap_or_default();
    QuoteExplanation {
        tee: findings.quote().tee().to_string(),
        at: at.to_string(),
        verdict: appraisal.verdict().to_string(),
        reasons: reasons(&appraisal),
        status: findings.status().map(|status| status.to_string()),
        number: collateral.tcb_info().map(|info| info.number),
        advisories: advisories.iter().map(ToString::to_string).collect(),
        findings: appraisal
            .list()
            .iter()
            .map(|weighed| record(weighed, Some(findings), at))
            .collect(),
        shortfall: findings.shortfalls().map(|short| shortfall(&short)),
        collateral: used(collateral, &telling.sources),
        supplemental: Some(supplemental(
            &SupplementalData::of(findings),
            telling.platform_ids,
        )),
        facts: Some(facts(findings)),
        recorded: false,
        notes: telling.notes,
    }
}

/// What is told about bytes that are no quote.
pub fn unreadable(error: &Error, at: UnixTime) -> QuoteExplanation {
    let appraisal = QuoteAppraisal::unreadable(error);
    QuoteExplanation {
        tee: "unknown".to_owned(),
        at: at.to_string(),
        verdict: appraisal.verdict().to_string(),
        reasons: reasons(&appraisal),
        status: None,
        number: None,
        advisories: Vec::new(),
        findings: appraisal
            .list()
            .iter()
            .map(|weighed| record(weighed, None, at))
            .collect(),
        shortfall: None,
        collateral: Vec::new(),
        supplemental: None,
        facts: None,
        recorded: false,
        notes: Vec::new(),
    }
}

/// What decided, in sentences; where several concerns say the same, once.
fn reasons(appraisal: &QuoteAppraisal) -> Vec<String> {
    let mut said: Vec<(String, String)> = Vec::new();
    for weighed in appraisal.deciding() {
        let why = weighed.outcome.reason().unwrap_or_default().to_owned();
        if !said.iter().any(|(_, earlier)| *earlier == why) {
            said.push((weighed.concern.name().to_owned(), why));
        }
    }
    said.into_iter()
        .map(|(name, why)| format!("{name}: {why}"))
        .collect()
}

fn record(
    weighed: &QuoteWeighed,
    findings: Option<&QuoteFindings<'_>>,
    at: UnixTime,
) -> FindingRecord {
    let facts = match (weighed.concern, findings) {
        (QuoteConcern::Verification(check), Some(findings)) => findings.facts(check),
        (QuoteConcern::Format | QuoteConcern::Status, _)
        | (QuoteConcern::Verification(_), None) => Vec::new(),
    };
    let words: Vec<&str> = weighed.relaxations.iter().map(|word| word.name()).collect();
    FindingRecord {
        name: weighed.concern.name().to_owned(),
        outcome: weighed.outcome.name().to_owned(),
        detail: weighed.outcome.reason().map(str::to_owned),
        facts: facts
            .into_iter()
            .map(|Fact { name, value }| (name.to_owned(), value))
            .collect(),
        at: at.to_string(),
        relaxation: (!words.is_empty()).then(|| words.join(",")),
        allowed: weighed.allowed,
    }
}

fn used(collateral: &QuoteCollateral, sources: &Sources) -> Vec<CollateralUsed> {
    let parts = CollateralPart::ALL.into_iter();
    parts
        .filter_map(|part| {
            let artefact = collateral.part(part).ok()?;
            Some(CollateralUsed {
                key: artefact.key().to_string(),
                id: artefact.id().to_string(),
                issued: artefact.issued().to_string(),
                next_update: artefact.next_update().to_string(),
                source: sources.0.get(&part).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

fn shortfall(shortfalls: &Shortfalls<'_>) -> ShortfallRecord {
    let needs = shortfalls.needs.iter();
    ShortfallRecord {
        platform: shortfalls.platform.as_ref().map(part),
        tdx_module: shortfalls.tdx_module.as_ref().map(part),
        qe: shortfalls.qe.as_ref().map(part),
        needs: needs
            .map(|need| NeedRecord {
                name: need.name().to_owned(),
                action: need.action().to_owned(),
            })
            .collect(),
    }
}

fn part(part: &PartShortfall<'_>) -> ShortfallPart {
    let (by, up_to_date) = match &part.up_to_date {
        UpToDateTarget::Already => ("already", None),
        UpToDateTarget::NoneAbove => ("none-above", None),
        UpToDateTarget::Reachable(reached) => ("by-updates", Some(target(reached))),
    };
    ShortfallPart {
        status: part.status.map(|status| status.to_string()),
        next_better: part.next_better.as_ref().map(target),
        up_to_date_by: by.to_owned(),
        up_to_date,
    }
}

fn target(target: &TcbTarget<'_>) -> ShortfallTarget {
    ShortfallTarget {
        status: target.status.to_string(),
        tcb_date: target.tcb_date.to_string(),
        components: target.short.iter().map(short).collect(),
    }
}

/// A component that is too old, as it is told.
pub fn short(short: &Shortfall<'_>) -> ShortRecord {
    let component = match short.component {
        ShortComponent::PceSvn => "pcesvn".to_owned(),
        ShortComponent::QeIsvSvn => "qe".to_owned(),
        ShortComponent::Sgx(at) => format!("sgx[{at}]"),
        ShortComponent::Tdx(at) => format!("tdx[{at}]"),
        ShortComponent::TdxModuleIsvSvn { major_version } => format!("tdx-module-{major_version}"),
    };
    ShortRecord {
        component,
        have: short.have.into(),
        need: short.need.into(),
        category: short.category.map(str::to_owned),
        kind: short.kind.map(str::to_owned),
        by_convention: match short.labels {
            LabelSource::Convention => true,
            LabelSource::Document => false,
        },
        who: short.actor().name().to_owned(),
        action: short.action().to_owned(),
        afterwards: short.afterwards().to_owned(),
    }
}
