//! From findings to one word: whether a report is accepted, not accepted, or cannot be told.
//!
//! [`verify_report`] looks at signatures, names and dates and weighs nothing. Here is what weighs: what failed is not
//! accepted, what could not be checked leaves the answer unknown, and two demands of a guest's policy join the
//! findings (its memory must not be open to the host's debugger, and no migration agent may share its secrets). Strict
//! unless told otherwise: each [`Relaxation`] forgives one named thing and nothing beside it; a forged list is not an
//! unchecked one, a certificate from the future is not an expired one. A relaxation that was not needed changes
//! nothing. What a relying party demands beyond that (measurement, least TCB, VMPL) is for its own policy, which can
//! start from an [`Appraisal`].

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::anchors::Anchors;
use super::findings::{Finding, FindingName, ReportCollateral, verify_report};
use super::look::{UNSIGNED, report_alone, signing_key_facts};
use super::products::Products;
use super::report::{SigningKey, SnpReport};
use crate::error::excerpt;
use crate::{Error, Fact, Outcome, UnixTime};

/// What was weighed.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Concern {
    /// The guest's policy keeps the host's debugger out.
    Debug,
    /// The bytes are a report that can be read. Looked at alone: without it there is nothing else to look at.
    Format,
    /// The guest's policy lets no migration agent in.
    MigrationAgent,
    /// A finding about signatures, names or dates.
    Verification(FindingName),
}

impl Concern {
    /// Lower-case words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Format => "format",
            Self::MigrationAgent => "migration-agent",
            Self::Verification(finding) => finding.name(),
        }
    }
}

/// One thing that may be forgiven. Text: lower-case words joined by hyphens.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Relaxation {
    /// A guest whose policy lets the host debug it.
    Debug,
    /// A certificate past its end. One that is not valid yet is not forgiven.
    Expired,
    /// A chip id that the host masks, so that only the signature tells which chip it was.
    MaskedChip,
    /// A guest whose policy lets a migration agent in.
    MigrationAgent,
    /// No revocation list, one of another root, or one outside of its window. A list that names a certificate of the
    /// chain is never forgiven, whatever its age.
    UncheckedRevocation,
}

impl Relaxation {
    /// All, by name.
    pub const ALL: [Self; 5] = [
        Self::Debug,
        Self::Expired,
        Self::MaskedChip,
        Self::MigrationAgent,
        Self::UncheckedRevocation,
    ];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Expired => "expired",
            Self::MaskedChip => "masked-chip",
            Self::MigrationAgent => "migration-agent",
            Self::UncheckedRevocation => "unchecked-revocation",
        }
    }
}

impl fmt::Display for Relaxation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Relaxation {
    type Err = Error;

    /// [`Error::Format`] for another word; its text lists the words there are.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut all = Self::ALL.into_iter();
        all.find(|word| word.name() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::name).join(", ");
            Error::format(
                "relaxation",
                format_args!("{:?} is none of {words}", excerpt(text)),
            )
        })
    }
}

/// The answer in one word. Text: `ok`, `not-accepted`, `unknown`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Something failed that was not forgiven.
    NotAccepted,
    /// Everything passed or was forgiven.
    Ok,
    /// Nothing failed, but something could not be checked.
    Unknown,
}

impl Status {
    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAccepted => "not-accepted",
            Self::Ok => "ok",
            Self::Unknown => "unknown",
        }
    }
}

/// One concern, how it turned out, and whether that was forgiven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weighed {
    /// What was weighed.
    pub concern: Concern,
    /// How it turned out.
    pub outcome: Outcome,
    /// What it was judged by.
    pub facts: Vec<Fact>,
    /// The instant it was judged at.
    pub at: UnixTime,
    /// The relaxation that forgives this outcome, if one does; none for what passed.
    pub relaxation: Option<Relaxation>,
    /// Whether that relaxation was given.
    pub allowed: bool,
}

impl Weighed {
    /// How this one counts towards the status.
    fn status(&self) -> Status {
        match &self.outcome {
            Outcome::Failed(_) if !self.allowed => Status::NotAccepted,
            Outcome::NotChecked(_) if !self.allowed => Status::Unknown,
            Outcome::Failed(_) | Outcome::NotChecked(_) | Outcome::Passed => Status::Ok,
        }
    }
}

/// Everything that was weighed about one report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appraisal(Vec<Weighed>);

impl Appraisal {
    /// Of bytes that could not be read as a report, at `now`: not accepted, or unknown where the report is of a version
    /// or algorithm that this reader does not know.
    pub fn unreadable(error: &Error, now: UnixTime) -> Self {
        let outcome = match error {
            Error::Unsupported { .. } => Outcome::NotChecked(error.to_string()),
            _ => Outcome::Failed(error.to_string()),
        };
        let found = Found {
            concern: Concern::Format,
            outcome,
            facts: vec![],
            at: now,
        };
        Self(vec![weigh(found, None, &BTreeSet::new())])
    }

    /// In the order of the look: findings first, then the guest's policy.
    pub fn list(&self) -> &[Weighed] {
        &self.0
    }

    /// What failed outweighs what could not be checked.
    pub fn status(&self) -> Status {
        let all = || self.0.iter().map(Weighed::status);
        if all().any(|status| status == Status::NotAccepted) {
            Status::NotAccepted
        } else if all().any(|status| status == Status::Unknown) {
            Status::Unknown
        } else {
            Status::Ok
        }
    }

    /// What made the status what it is; empty when it is [`Status::Ok`].
    pub fn deciding(&self) -> impl Iterator<Item = &Weighed> {
        let status = self.status();
        let all = self.0.iter();
        all.filter(move |weighed| status != Status::Ok && weighed.status() == status)
    }
}

/// Why there is nothing to look at a report with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoCollateral {
    /// Something that was meant for it cannot be read: that finding failed, none of the others was checked.
    Broken(FindingName, String),
    /// There is none.
    Missing(String),
}

/// Looks at a report and weighs what was found, at `now`. Without collateral only what the report alone tells is
/// checked, and no relaxation forgives that.
pub fn appraise_report(
    report: &SnpReport,
    collateral: Result<&ReportCollateral<'_>, &NoCollateral>,
    products: &Products,
    anchors: &Anchors,
    relaxations: &BTreeSet<Relaxation>,
    now: UnixTime,
) -> Appraisal {
    let mut list: Vec<Weighed> = match collateral {
        Ok(collateral) => verify_report(report, collateral, products, anchors, now)
            .list()
            .iter()
            .cloned()
            .map(|finding| {
                let relaxation = forgiving(finding.name, &finding.outcome, report, collateral, now);
                weigh(Found::from(finding), relaxation, relaxations)
            })
            .collect(),
        Err(none) => FindingName::ALL
            .into_iter()
            .map(|name| {
                let finding = report_alone(report, name, now);
                let finding = finding.unwrap_or_else(|| unchecked(report, name, none, now));
                weigh(Found::from(finding), None, relaxations)
            })
            .collect(),
    };
    for (concern, wrong, why, relaxation) in [
        (
            Concern::Debug,
            report.policy.debug(),
            "the guest's policy lets the host debug it: its memory is open",
            Relaxation::Debug,
        ),
        (
            Concern::MigrationAgent,
            report.policy.migration_agent(),
            "the guest's policy lets a migration agent in, which then holds its secrets too",
            Relaxation::MigrationAgent,
        ),
    ] {
        let outcome = if wrong {
            Outcome::Failed(why.to_owned())
        } else {
            Outcome::Passed
        };
        let found = Found {
            concern,
            outcome,
            facts: vec![Fact::new("permitted", wrong)],
            at: now,
        };
        list.push(weigh(found, Some(relaxation), relaxations));
    }
    Appraisal(list)
}

/// A finding that needs the collateral there is not.
fn unchecked(report: &SnpReport, name: FindingName, none: &NoCollateral, now: UnixTime) -> Finding {
    let (broken, why) = match none {
        NoCollateral::Broken(broken, why) => (*broken == name, why),
        NoCollateral::Missing(why) => (false, why),
    };
    let signing_key = name == FindingName::SigningKey;
    let unsigned = signing_key && report.key_info.signing_key == SigningKey::Unsigned;
    let outcome = if broken {
        Outcome::Failed(why.clone())
    } else if unsigned {
        Outcome::Failed(UNSIGNED.to_owned())
    } else {
        Outcome::NotChecked(why.clone())
    };
    let facts = if signing_key {
        signing_key_facts(report)
    } else {
        vec![]
    };
    Finding {
        name,
        outcome,
        facts,
        at: now,
    }
}

/// What is about to be weighed.
struct Found {
    concern: Concern,
    outcome: Outcome,
    facts: Vec<Fact>,
    at: UnixTime,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let Finding {
            name,
            outcome,
            facts,
            at,
        } = finding;
        Self {
            concern: Concern::Verification(name),
            outcome,
            facts,
            at,
        }
    }
}

fn weigh(found: Found, relaxation: Option<Relaxation>, given: &BTreeSet<Relaxation>) -> Weighed {
    let Found {
        concern,
        outcome,
        facts,
        at,
    } = found;
    let relaxation = relaxation.filter(|_| outcome != Outcome::Passed);
    Weighed {
        concern,
        allowed: relaxation.is_some_and(|relaxation| given.contains(&relaxation)),
        outcome,
        facts,
        at,
        relaxation,
    }
}

/// The relaxation that forgives what `name` turned out to be.
fn forgiving(
    name: FindingName,
    outcome: &Outcome,
    report: &SnpReport,
    collateral: &ReportCollateral<'_>,
    now: UnixTime,
) -> Option<Relaxation> {
    match (name, outcome) {
        (FindingName::Validity, Outcome::Failed(_)) => {
            only_expired(collateral, now).then_some(Relaxation::Expired)
        }
        (FindingName::Revocation, Outcome::NotChecked(_)) => Some(Relaxation::UncheckedRevocation),
        (FindingName::ChipId, Outcome::NotChecked(_)) => {
            report.chip_id_is_masked().then_some(Relaxation::MaskedChip)
        }
        (
            FindingName::Chain
            | FindingName::ChipId
            | FindingName::Endorsement
            | FindingName::FirmwareOrder
            | FindingName::Platform
            | FindingName::Policy
            | FindingName::Product
            | FindingName::Revocation
            | FindingName::Signature
            | FindingName::SigningKey
            | FindingName::Tcb
            | FindingName::TcbOrder
            | FindingName::Validity,
            Outcome::Failed(_) | Outcome::NotChecked(_) | Outcome::Passed,
        ) => None,
    }
}

/// Whether every certificate is valid or past its end at `now`: none of them is yet to begin.
fn only_expired(collateral: &ReportCollateral<'_>, now: UnixTime) -> bool {
    [
        collateral.endorsement.leaf().valid_at(now),
        collateral.chain.issuing().valid_at(now),
        collateral.chain.ark().valid_at(now),
    ]
    .iter()
    .all(|valid| matches!(valid, Ok(()) | Err(Error::Expired { .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amd::parse_report;

    const NOW: UnixTime = UnixTime::from_secs(0);

    fn failed() -> Outcome {
        Outcome::Failed("no".to_owned())
    }

    fn unchecked() -> Outcome {
        Outcome::NotChecked("?".to_owned())
    }

    fn given(words: &[Relaxation]) -> BTreeSet<Relaxation> {
        words.iter().copied().collect()
    }

    #[test]
    fn the_status_is_the_worst_that_was_not_forgiven() {
        use Relaxation::{Debug, UncheckedRevocation};
        let debug = |outcome| (Concern::Debug, outcome, Some(Debug));
        let revocation = |outcome| {
            (
                Concern::Verification(FindingName::Revocation),
                outcome,
                Some(UncheckedRevocation),
            )
        };
        let signature = |outcome| {
            (
                Concern::Verification(FindingName::Signature),
                outcome,
                None::<Relaxation>,
            )
        };
        let passed = || Outcome::Passed;
        for (list, allow, status, deciding) in [
            (vec![], vec![], Status::Ok, vec![]),
            (vec![debug(passed())], vec![], Status::Ok, vec![]),
            // Not needed, harmless.
            (vec![debug(passed())], vec![Debug], Status::Ok, vec![]),
            (
                vec![debug(failed())],
                vec![],
                Status::NotAccepted,
                vec!["debug"],
            ),
            (vec![debug(failed())], vec![Debug], Status::Ok, vec![]),
            // One word forgives one thing.
            (
                vec![debug(failed())],
                vec![UncheckedRevocation],
                Status::NotAccepted,
                vec!["debug"],
            ),
            (
                vec![revocation(unchecked())],
                vec![Debug],
                Status::Unknown,
                vec!["revocation"],
            ),
            (
                vec![revocation(unchecked())],
                vec![UncheckedRevocation],
                Status::Ok,
                vec![],
            ),
            // What failed outweighs what could not be checked, in either order.
            (
                vec![revocation(unchecked()), debug(failed())],
                vec![],
                Status::NotAccepted,
                vec!["debug"],
            ),
            (
                vec![debug(failed()), revocation(unchecked())],
                vec![Debug],
                Status::Unknown,
                vec!["revocation"],
            ),
            // Nothing forgives a signature.
            (
                vec![signature(failed())],
                Relaxation::ALL.to_vec(),
                Status::NotAccepted,
                vec!["signature"],
            ),
            (
                vec![signature(unchecked())],
                Relaxation::ALL.to_vec(),
                Status::Unknown,
                vec!["signature"],
            ),
        ] {
            let list = list.into_iter().map(|(concern, outcome, relaxation)| {
                let found = Found {
                    concern,
                    outcome,
                    facts: vec![],
                    at: NOW,
                };
                weigh(found, relaxation, &given(&allow))
            });
            let appraisal = Appraisal(list.collect());
            assert_eq!(appraisal.status(), status, "{appraisal:?}");
            let names: Vec<&str> = appraisal.deciding().map(|w| w.concern.name()).collect();
            assert_eq!(names, deciding, "{appraisal:?}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written_and_others_are_told_the_words() {
        for word in Relaxation::ALL {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        let names = Relaxation::ALL.map(Relaxation::name);
        assert!(names.is_sorted());
        for text in ["", "Debug", "debug ", "revocation", "unchecked_revocation"] {
            let refused = text.parse::<Relaxation>().expect_err(text).to_string();
            assert!(names.iter().all(|name| refused.contains(name)), "{refused}");
        }
    }

    #[test]
    fn an_unreadable_report_is_refused_and_an_unknown_version_is_unknown() {
        let short = parse_report(&[0; 1183]).expect_err("short");
        assert_eq!(
            Appraisal::unreadable(&short, NOW).status(),
            Status::NotAccepted
        );
        let mut later = [0; 1184];
        later[0] = 6;
        let later = parse_report(&later).expect_err("a later version");
        let appraisal = Appraisal::unreadable(&later, NOW);
        assert_eq!(appraisal.status(), Status::Unknown);
        assert_eq!(appraisal.list()[0].concern.name(), "format");
    }

    #[test]
    fn without_collateral_nothing_is_told_and_nothing_forgiven() {
        let report = |key_info: u8, policy: [u8; 3]| {
            let mut bytes = [0; 1184];
            bytes[0] = 2;
            bytes[0x008..0x00b].copy_from_slice(&policy);
            bytes[0x034] = 1;
            bytes[0x048] = key_info;
            parse_report(&bytes).expect("a report")
        };
        let (products, anchors) = (Products::builtin(), Anchors::builtin());
        let look = |none: &NoCollateral, report: &SnpReport, allow: &[Relaxation]| {
            let appraisal =
                appraise_report(report, Err(none), &products, &anchors, &given(allow), NOW);
            assert_eq!(appraisal.list().len(), FindingName::ALL.len() + 2);
            appraisal.status()
        };
        let missing = NoCollateral::Missing("no certificate".to_owned());
        let status = |report: &SnpReport, allow: &[Relaxation]| look(&missing, report, allow);
        let plain = report(0, [0, 0, 0b0010]);
        let broken = NoCollateral::Broken(FindingName::Endorsement, "no form".to_owned());
        let everything = Relaxation::ALL;
        assert_eq!(look(&broken, &plain, &everything), Status::NotAccepted);
        assert_eq!(status(&plain, &[]), Status::Unknown);
        assert_eq!(status(&plain, &Relaxation::ALL), Status::Unknown);
        let debug = report(0, [0, 0, 0b1010]);
        assert_eq!(status(&debug, &[]), Status::NotAccepted);
        assert_eq!(status(&debug, &[Relaxation::Debug]), Status::Unknown);
        let migrating = report(0, [0, 0, 0b0110]);
        assert_eq!(
            status(&migrating, &[Relaxation::Debug]),
            Status::NotAccepted
        );
        assert_eq!(
            status(&migrating, &[Relaxation::MigrationAgent]),
            Status::Unknown
        );
        let unsigned = report(7 << 2, [0, 0, 0b0010]);
        assert_eq!(status(&unsigned, &Relaxation::ALL), Status::NotAccepted);
    }
}
