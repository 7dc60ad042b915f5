//! From findings to one word: whether a quote is accepted under a policy.
//!
//! Strict unless told otherwise: every check must pass and the status must be UpToDate. A policy lists the statuses it
//! accepts, and names each thing it forgives; one word forgives one thing, and one that was not needed changes nothing.
//! No word forgives a signature, a name, a revocation, or a platform that no TCB level covers.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::collateral::{CollateralPart, in_time};
use super::findings::{QuoteCheck, QuoteFindings};
use crate::error::excerpt;
use crate::{ConvergedStatus, Error, Outcome, UnixTime, Verdict};

/// What a relying party accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotePolicy {
    /// The statuses that are good enough.
    pub accepted: BTreeSet<ConvergedStatus>,
    /// What is forgiven.
    pub relaxations: BTreeSet<QuoteRelaxation>,
}

/// One thing that may be forgiven. Text: lower-case words joined by hyphens.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QuoteRelaxation {
    /// An enclave or domain that its host may debug.
    Debug,
    /// A certificate, list or document past its end.
    Expired,
    /// A domain that may be migrated.
    Migratable,
    /// TCB info and QE identity of two evaluation numbers.
    MixedNumbers,
    /// A certificate, list or document from after the instant of the judgement.
    NotYetValid,
    /// A domain with service domains bound to it.
    ServiceTd,
    /// A domain without SEPT_VE_DISABLE.
    SeptVeDisable,
    /// A domain with other attributes that open it.
    TdAttributes,
    /// Bytes behind the end of the quote.
    TrailingBytes,
    /// A missing revocation list, or one of another root. One that names a certificate is never forgiven.
    UncheckedRevocation,
}

/// What was weighed.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QuoteConcern {
    /// The bytes are a quote that can be read. Weighed alone: without it there is nothing else to look at.
    Format,
    /// The TCB status is one that is accepted.
    Status,
    /// A check.
    Verification(QuoteCheck),
}

/// One concern, how it turned out, and whether that was forgiven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteWeighed {
    /// What was weighed.
    pub concern: QuoteConcern,
    /// How it turned out.
    pub outcome: Outcome,
    /// The relaxations that forgive it when all of them are given; empty for what passed and what nothing forgives.
    pub relaxations: Vec<QuoteRelaxation>,
    /// Whether they were given.
    pub allowed: bool,
}

/// Everything that was weighed about one quote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteAppraisal(Vec<QuoteWeighed>);

/// Weighs what was found.
pub fn appraise_quote(findings: &QuoteFindings<'_>, policy: &QuotePolicy) -> QuoteAppraisal {
    let checks = findings.list().iter().map(|finding| {
        let relaxations = match &finding.outcome {
            Outcome::Passed => Vec::new(),
            outcome @ (Outcome::Failed(_) | Outcome::NotChecked(_)) => {
                forgiving(finding.check, outcome, findings)
            }
        };
        QuoteWeighed {
            concern: QuoteConcern::Verification(finding.check),
            outcome: finding.outcome.clone(),
            allowed: !relaxations.is_empty()
                && relaxations
                    .iter()
                    .all(|word| policy.relaxations.contains(word)),
            relaxations,
        }
    });
    let status = QuoteWeighed {
        concern: QuoteConcern::Status,
        outcome: policy.status(findings.status()),
        relaxations: Vec::new(),
        allowed: false,
    };
    QuoteAppraisal(checks.chain([status]).collect())
}

impl QuoteAppraisal {
    /// Of bytes that could not be read as a quote: not accepted, or unknown where it is of a version or kind that this
    /// reader does not know.
    pub fn unreadable(error: &Error) -> Self {
        let outcome = match error {
            Error::Unsupported { .. } => Outcome::NotChecked(error.to_string()),
            _ => Outcome::Failed(error.to_string()),
        };
        Self(vec![QuoteWeighed {
            concern: QuoteConcern::Format,
            outcome,
            relaxations: Vec::new(),
            allowed: false,
        }])
    }

    /// In the order of the look; the status last.
    pub fn list(&self) -> &[QuoteWeighed] {
        &self.0
    }

    /// The answer in one word.
    pub fn verdict(&self) -> Verdict {
        Verdict::worst(self.0.iter().map(QuoteWeighed::verdict))
    }

    /// What made the verdict what it is; empty when the quote is accepted.
    pub fn deciding(&self) -> impl Iterator<Item = &QuoteWeighed> {
        let verdict = self.verdict();
        let all = self.0.iter();
        all.filter(move |one| verdict != Verdict::Accepted && one.verdict() == verdict)
    }
}

impl QuoteWeighed {
    /// How this one counts.
    pub fn verdict(&self) -> Verdict {
        match &self.outcome {
            Outcome::Failed(_) if !self.allowed => Verdict::NotAccepted,
            Outcome::NotChecked(_) if !self.allowed => Verdict::Unknown,
            Outcome::Failed(_) | Outcome::NotChecked(_) | Outcome::Passed => Verdict::Accepted,
        }
    }
}

impl Default for QuotePolicy {
    /// UpToDate alone, nothing forgiven.
    fn default() -> Self {
        Self {
            accepted: BTreeSet::from([ConvergedStatus::UpToDate]),
            relaxations: BTreeSet::new(),
        }
    }
}

impl QuotePolicy {
    fn status(&self, status: Option<ConvergedStatus>) -> Outcome {
        match status {
            None => Outcome::NotChecked(
                "there is none without the signatures, documents and names it rests on".to_owned(),
            ),
            Some(status) if self.accepted.contains(&status) => Outcome::Passed,
            Some(status) => {
                let accepted: Vec<&str> = self.accepted.iter().map(|one| one.name()).collect();
                Outcome::Failed(format!(
                    "{status}; accepted: {}",
                    if accepted.is_empty() {
                        "none".to_owned()
                    } else {
                        accepted.join(", ")
                    }
                ))
            }
        }
    }
}

impl QuoteConcern {
    /// Lower-case words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Status => "status",
            Self::Verification(check) => check.name(),
        }
    }
}

impl QuoteRelaxation {
    /// All, by name.
    pub const ALL: [Self; 10] = [
        Self::Debug,
        Self::Expired,
        Self::Migratable,
        Self::MixedNumbers,
        Self::NotYetValid,
        Self::ServiceTd,
        Self::SeptVeDisable,
        Self::TdAttributes,
        Self::TrailingBytes,
        Self::UncheckedRevocation,
    ];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Expired => "expired",
            Self::Migratable => "migratable",
            Self::MixedNumbers => "mixed-numbers",
            Self::NotYetValid => "not-yet-valid",
            Self::ServiceTd => "service-td",
            Self::SeptVeDisable => "sept-ve-disable",
            Self::TdAttributes => "td-attributes",
            Self::TrailingBytes => "trailing-bytes",
            Self::UncheckedRevocation => "unchecked-revocation",
        }
    }
}

impl fmt::Display for QuoteRelaxation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for QuoteRelaxation {
    type Err = Error;

    /// [`Error::Format`] for another word; its text lists the words there are.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut all = Self::ALL.into_iter();
        all.find(|word| word.name() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::name).join(", ");
            // More words than an excerpt has room for; only the text in front of them is foreign.
            Error::Format {
                what: "relaxation".to_owned(),
                why: format!("{:?} is none of {words}", excerpt(text)),
            }
        })
    }
}

/// The relaxations that together forgive what a check turned out to be.
fn forgiving(
    check: QuoteCheck,
    outcome: &Outcome,
    findings: &QuoteFindings<'_>,
) -> Vec<QuoteRelaxation> {
    let failed = matches!(outcome, Outcome::Failed(_));
    let only = |when: bool, word| if when { vec![word] } else { Vec::new() };
    let list = |part| {
        if failed {
            untimely(in_part(part, findings))
        } else {
            vec![QuoteRelaxation::UncheckedRevocation]
        }
    };
    match check {
        QuoteCheck::Debug => only(failed, QuoteRelaxation::Debug),
        QuoteCheck::EvaluationNumbers => only(failed, QuoteRelaxation::MixedNumbers),
        QuoteCheck::Migratable => only(failed, QuoteRelaxation::Migratable),
        QuoteCheck::PckCaRevocation
        | QuoteCheck::PckRevocation
        | QuoteCheck::TcbSignerRevocation => only(!failed, QuoteRelaxation::UncheckedRevocation),
        QuoteCheck::PckChainValidity => untimely(in_chain(findings)),
        QuoteCheck::PckCrlValidity => list(CollateralPart::PckCrl),
        QuoteCheck::QeIdentityValidity => untimely(in_part(CollateralPart::QeIdentity, findings)),
        QuoteCheck::RootCrlValidity => list(CollateralPart::RootCrl),
        QuoteCheck::SeptVeDisable => only(failed, QuoteRelaxation::SeptVeDisable),
        QuoteCheck::ServiceTd => only(failed, QuoteRelaxation::ServiceTd),
        QuoteCheck::TcbInfoValidity => untimely(in_part(CollateralPart::TcbInfo, findings)),
        QuoteCheck::TcbSignerValidity => untimely(of_signers(findings)),
        QuoteCheck::TdAttributes => only(failed, QuoteRelaxation::TdAttributes),
        QuoteCheck::TrailingBytes => only(failed, QuoteRelaxation::TrailingBytes),
        QuoteCheck::PckChain
        | QuoteCheck::Platform
        | QuoteCheck::QeIdentity
        | QuoteCheck::QeIdentityMatch
        | QuoteCheck::QeReportData
        | QuoteCheck::QeReportSignature
        | QuoteCheck::QeTcbLevel
        | QuoteCheck::QeVendor
        | QuoteCheck::QuoteSignature
        | QuoteCheck::TcbInfo
        | QuoteCheck::TcbLevel
        | QuoteCheck::TdxModule => Vec::new(),
    }
}

/// Which of the two words about time the errors call for. None when there is an error of another kind, or none at all.
fn untimely(errors: Vec<Error>) -> Vec<QuoteRelaxation> {
    let words = errors.iter().map(|error| match error {
        Error::Expired { .. } => Some(QuoteRelaxation::Expired),
        Error::NotYetIssued { .. } | Error::NotYetValid { .. } => {
            Some(QuoteRelaxation::NotYetValid)
        }
        _ => None,
    });
    let words: Option<BTreeSet<QuoteRelaxation>> = words.collect();
    words.unwrap_or_default().into_iter().collect()
}

fn in_part(part: CollateralPart, findings: &QuoteFindings<'_>) -> Vec<Error> {
    let now: UnixTime = findings.judged_at();
    let artefact = findings.collateral().part(part);
    artefact
        .ok()
        .and_then(|artefact| in_time(artefact, part.name(), now).err())
        .into_iter()
        .collect()
}

fn in_chain(findings: &QuoteFindings<'_>) -> Vec<Error> {
    let now = findings.judged_at();
    let chain = findings.pck_chain();
    let certificates = chain.into_iter().flat_map(|chain| chain.certificates());
    certificates
        .filter_map(|certificate| certificate.valid_at(now).err())
        .collect()
}

fn of_signers(findings: &QuoteFindings<'_>) -> Vec<Error> {
    let now = findings.judged_at();
    [CollateralPart::TcbInfo, CollateralPart::QeIdentity]
        .into_iter()
        .filter_map(|part| findings.collateral().part(part).ok())
        .flat_map(|document| document.chain().certificates())
        .filter_map(|certificate| certificate.valid_at(now).err())
        .collect()
}
