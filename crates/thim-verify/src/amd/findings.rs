//! A report looked at from every side: a list of findings, each passed, failed or not checked, with the facts it was
//! judged by and the instant it was judged at, and no verdict.
//!
//! Nothing stops at the first failure, so that one look tells everything that is wrong. What is weighed by policy (a
//! debug guest, a missing revocation list, a TCB that is too low) is for the caller: such facts are in the report, or
//! are findings that were not checked. Rules: spec/amd-kds-and-thim.md, 3 and 7.

use super::anchors::Anchors;
use super::chain::CertChain;
use super::crl::AmdCrl;
use super::endorsement::Endorsement;
use super::look::Look;
use super::product::Product;
use super::products::Products;
use super::report::SnpReport;
use crate::{Fact, Outcome, UnixTime};

/// What a report is looked at with; none of it needs to be verified before.
#[derive(Copy, Clone, Debug)]
pub struct ReportCollateral<'a> {
    /// The certificate of the key that is said to have signed the report.
    pub endorsement: &'a Endorsement,
    /// The chain above it.
    pub chain: &'a CertChain,
    /// The product's revocation list, where there is one.
    pub crl: Option<&'a AmdCrl>,
}

/// What was looked at. In the order of the look.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FindingName {
    /// The CPU that the report names is of the certificate's product. Version 2 names none: the certificate tells.
    Product,
    /// The chain is the product's, leads to a trusted root, and every signature in it verifies.
    Chain,
    /// The chain's issuing key signed the certificate, and it is laid out as the product's are.
    Endorsement,
    /// Certificate and chain are valid at the instant of the judgement.
    Validity,
    /// The product's list is the root's, within its window, and names no certificate of the chain.
    Revocation,
    /// The report says that it was signed by the kind of key whose certificate is at hand.
    SigningKey,
    /// The certificate's chip is the report's. A VLEK is of no chip and has no such finding.
    ChipId,
    /// The certificate's TCB is REPORTED_TCB in every component.
    Tcb,
    /// REPORTED_TCB, COMMITTED_TCB and LAUNCH_TCB do not exceed CURRENT_TCB in any component.
    TcbOrder,
    /// The firmware that runs is not older than the committed one.
    FirmwareOrder,
    /// The certificate's key signed the report.
    Signature,
    /// POLICY: always passes; its facts name the bits that have no meaning here.
    Policy,
    /// PLATFORM_INFO: always passes; its facts say how the host is set up and name the bits that have no meaning here.
    Platform,
}

impl FindingName {
    /// All, in the order of the look.
    pub const ALL: [Self; 13] = [
        Self::Product,
        Self::Chain,
        Self::Endorsement,
        Self::Validity,
        Self::Revocation,
        Self::SigningKey,
        Self::ChipId,
        Self::Tcb,
        Self::TcbOrder,
        Self::FirmwareOrder,
        Self::Signature,
        Self::Policy,
        Self::Platform,
    ];

    /// Lower-case words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Chain => "chain",
            Self::Endorsement => "endorsement",
            Self::Validity => "validity",
            Self::Revocation => "revocation",
            Self::SigningKey => "signing-key",
            Self::ChipId => "chip-id",
            Self::Tcb => "tcb",
            Self::TcbOrder => "tcb-order",
            Self::FirmwareOrder => "firmware-order",
            Self::Signature => "signature",
            Self::Policy => "policy",
            Self::Platform => "platform",
        }
    }
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was looked at.
    pub name: FindingName,
    /// How it turned out.
    pub outcome: Outcome,
    /// What it was judged by.
    pub facts: Vec<Fact>,
    /// The instant it was judged at.
    pub at: UnixTime,
}

/// All findings about one report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    product: Product,
    list: Vec<Finding>,
}

impl Findings {
    /// The product that the certificate is of; what the report says of it is a finding.
    pub fn product(&self) -> Product {
        self.product
    }

    /// In the order of the look.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// How `name` turned out; none only for the chip of a VLEK.
    pub fn outcome(&self, name: FindingName) -> Option<&Outcome> {
        let finding = self.list.iter().find(|finding| finding.name == name)?;
        Some(&finding.outcome)
    }

    /// What failed.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> {
        let all = self.list.iter();
        all.filter(|finding| matches!(finding.outcome, Outcome::Failed(_)))
    }

    /// What could not be checked.
    pub fn not_checked(&self) -> impl Iterator<Item = &Finding> {
        let all = self.list.iter();
        all.filter(|finding| matches!(finding.outcome, Outcome::NotChecked(_)))
    }

    /// Whether everything passed.
    pub fn all_passed(&self) -> bool {
        let mut all = self.list.iter();
        all.all(|finding| finding.outcome == Outcome::Passed)
    }
}

/// Looks at a report and at the collateral given, at `now`.
pub fn verify_report(
    report: &SnpReport,
    collateral: &ReportCollateral<'_>,
    products: &Products,
    anchors: &Anchors,
    now: UnixTime,
) -> Findings {
    let look = Look {
        report,
        collateral,
        facts: products.facts(collateral.endorsement.product()),
        products,
        anchors,
        now,
    };
    let names = FindingName::ALL.into_iter();
    Findings {
        product: look.facts.product(),
        list: names.filter_map(|name| look.at(name)).collect(),
    }
}
