//! A report looked at from every side: a list of findings, each passed, failed or not checked, and no verdict.
//!
//! Nothing stops at the first failure, so that one look tells everything that is wrong. What is weighed by policy (a
//! debug guest, a missing revocation list, a TCB that is too low) is for the caller: such facts are in the report, or
//! are findings that were not checked. Rules: spec/amd-kds-and-thim.md, 3 and 7.

use super::anchors::Anchors;
use super::chain::CertChain;
use super::crl::AmdCrl;
use super::endorsement::{Endorsement, EndorsementKind};
use super::product::Product;
use super::products::{ProductFacts, Products};
use super::report::{SigningKey, SnpReport};
use super::tcb::TcbVersion;
use super::verified::{AmdChain, chain_signatures, crl_signer, revoked_in};
use crate::{Error, Outcome, UnixTime};

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
    /// REPORTED_TCB and COMMITTED_TCB do not exceed CURRENT_TCB in any component.
    TcbOrder,
    /// The certificate's key signed the report.
    Signature,
}

impl FindingName {
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
            Self::Signature => "signature",
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
    let kind = collateral.endorsement.kind();
    let mut list = vec![
        (FindingName::Product, look.product()),
        (FindingName::Chain, outcome(look.chain())),
        (FindingName::Endorsement, outcome(look.endorsement())),
        (FindingName::Validity, outcome(look.validity())),
        (FindingName::Revocation, look.revocation()),
        (FindingName::SigningKey, look.signing_key()),
    ];
    if let Endorsement::Vcek(vcek) = collateral.endorsement {
        let chip = report.chip_id(look.facts);
        let outcome = match chip {
            _ if report.chip_id_is_masked() => {
                Outcome::NotChecked("the host masks the chip id".to_owned())
            }
            Ok(chip) if chip == *vcek.hw_id() => Outcome::Passed,
            Ok(_) => Outcome::Failed("the certificate is another chip's".to_owned()),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        list.push((FindingName::ChipId, outcome));
    }
    list.push((FindingName::Tcb, look.tcb()));
    list.push((FindingName::TcbOrder, look.tcb_order()));
    list.push((FindingName::Signature, look.signature(kind)));
    let list = list.into_iter();
    Findings {
        product: look.facts.product(),
        list: list
            .map(|(name, outcome)| Finding { name, outcome })
            .collect(),
    }
}

struct Look<'a> {
    report: &'a SnpReport,
    collateral: &'a ReportCollateral<'a>,
    facts: &'a ProductFacts,
    products: &'a Products,
    anchors: &'a Anchors,
    now: UnixTime,
}

impl Look<'_> {
    fn product(&self) -> Outcome {
        let Some([family, model, _]) = self.report.cpuid else {
            return Outcome::Passed;
        };
        match self.report.product(self.products) {
            None => Outcome::NotChecked(format!(
                "no product has CPU family {family:02X}, model {model:02X}"
            )),
            Some(facts) if facts.product() == self.facts.product() => Outcome::Passed,
            Some(facts) => Outcome::Failed(format!(
                "the report is of {}, the certificate of {}",
                facts.product(),
                self.facts.product()
            )),
        }
    }

    fn chain(&self) -> Result<(), Error> {
        let kind = self.collateral.endorsement.kind();
        chain_signatures(
            self.collateral.chain,
            self.facts.product(),
            kind,
            self.anchors,
        )
    }

    fn endorsement(&self) -> Result<(), Error> {
        let leaf = self.collateral.endorsement.leaf();
        leaf.signed_by(self.collateral.chain.issuing())?;
        leaf.fits(self.facts)
    }

    fn validity(&self) -> Result<(), Error> {
        self.collateral.endorsement.leaf().valid_at(self.now)?;
        self.collateral.chain.holds_at(self.now)
    }

    fn revocation(&self) -> Outcome {
        let Some(crl) = self.collateral.crl else {
            return Outcome::NotChecked("no revocation list".to_owned());
        };
        let ark = self.collateral.chain.ark();
        match crl_signer(crl, self.facts.product(), self.anchors) {
            Err(error) => return Outcome::Failed(error.to_string()),
            Ok(signer) if signer.spki_digest() != ark.spki_digest() => {
                return Outcome::NotChecked("the list is another root's".to_owned());
            }
            Ok(_) => {}
        }
        // Whatever its age: what was revoked stays revoked.
        if let Err(error) = revoked_in(&AmdChain::of(self.collateral.chain), crl) {
            return Outcome::Failed(error.to_string());
        }
        if crl.in_window(self.now) {
            return Outcome::Passed;
        }
        Outcome::NotChecked(format!(
            "the list is for {} to {}; judged at {}",
            crl.this_update(),
            crl.next_update(),
            self.now
        ))
    }

    fn signing_key(&self) -> Outcome {
        let said = self.report.key_info;
        match (said.signing_key, self.collateral.endorsement.kind()) {
            (SigningKey::Vcek, EndorsementKind::Vcek) if said.mask_chip_key => Outcome::Failed(
                "the report says that the chip's key is masked, and that it signed".to_owned(),
            ),
            (SigningKey::Vcek, EndorsementKind::Vcek)
            | (SigningKey::Vlek, EndorsementKind::Vlek) => Outcome::Passed,
            (SigningKey::Vcek, EndorsementKind::Vlek) => {
                Outcome::Failed("signed by a VCEK, but the certificate is a VLEK's".to_owned())
            }
            (SigningKey::Vlek, EndorsementKind::Vcek) => {
                Outcome::Failed("signed by a VLEK, but the certificate is a VCEK's".to_owned())
            }
            (SigningKey::Unsigned, EndorsementKind::Vcek | EndorsementKind::Vlek) => {
                Outcome::Failed("the report says that it is not signed".to_owned())
            }
        }
    }

    fn tcb(&self) -> Outcome {
        let endorsed = self.collateral.endorsement.leaf().tcb();
        match self.report.reported_tcb.decode(self.facts) {
            Err(error) => Outcome::Failed(error.to_string()),
            Ok(reported) if reported == endorsed => Outcome::Passed,
            Ok(reported) => Outcome::Failed(format!(
                "the report says {reported}; the certificate is for {endorsed}"
            )),
        }
    }

    fn tcb_order(&self) -> Outcome {
        let decode = |tcb: TcbVersion| tcb.decode(self.facts);
        let current = match decode(self.report.current_tcb) {
            Ok(current) => current,
            Err(error) => return Outcome::Failed(format!("CURRENT_TCB: {error}")),
        };
        for (name, tcb) in [
            ("REPORTED_TCB", self.report.reported_tcb),
            ("COMMITTED_TCB", self.report.committed_tcb),
        ] {
            match decode(tcb) {
                Err(error) => return Outcome::Failed(format!("{name}: {error}")),
                Ok(tcb) if !current.covers(&tcb) => {
                    return Outcome::Failed(format!(
                        "{name} is {tcb}, which CURRENT_TCB does not reach: {current}"
                    ));
                }
                Ok(_) => {}
            }
        }
        Outcome::Passed
    }

    fn signature(&self, kind: EndorsementKind) -> Outcome {
        let leaf = self.collateral.endorsement.leaf();
        if leaf.verifies(self.report.signed(), &self.report.signature()) {
            return Outcome::Passed;
        }
        Outcome::Failed(format!("the key of the {kind} did not sign this report"))
    }
}

fn outcome(result: Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
