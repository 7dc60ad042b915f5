//! The looks at a report: one function for each finding, which gives its outcome and the facts it was judged by.
//!
//! [`verify_report`](super::verify_report) runs them all and says what they mean together. What the report alone tells
//! (versions of firmware, bits of POLICY and PLATFORM_INFO) is in [`report_alone`], which needs no certificate. Facts
//! are text as it was judged; a chip id is in none. Bits without a meaning yet are reported and never refused: genuine
//! reports have them. So are weaknesses of the platform, which only a relying party's policy can weigh.
//! Rules: spec/amd-kds-and-thim.md, 3, 4 and 7.

use super::anchors::Anchors;
use super::endorsement::{Endorsement, EndorsementKind};
use super::findings::{Finding, FindingName, ReportCollateral};
use super::products::{ProductFacts, Products};
use super::report::{Firmware, SigningKey, SnpReport};
use super::tcb::TcbVersion;
use super::verified::{AmdChain, chain_signatures, crl_signer, revoked_in};
use crate::error::excerpt;
use crate::{Error, Fact, Outcome, UnixTime};

/// What is looked at, with what, and when.
pub(super) struct Look<'a> {
    pub report: &'a SnpReport,
    pub collateral: &'a ReportCollateral<'a>,
    /// Of the certificate's product.
    pub facts: &'a ProductFacts,
    pub products: &'a Products,
    pub anchors: &'a Anchors,
    pub now: UnixTime,
}

/// An outcome and what it was judged by.
type Judged = (Outcome, Vec<Fact>);

/// Judges `name` by the report alone, at `now`; none for what needs a certificate.
pub(super) fn report_alone(
    report: &SnpReport,
    name: FindingName,
    now: UnixTime,
) -> Option<Finding> {
    let (outcome, facts) = match name {
        FindingName::FirmwareOrder => firmware_order(report),
        FindingName::Platform => (Outcome::Passed, platform(report)),
        FindingName::Policy => (Outcome::Passed, policy(report)),
        FindingName::Chain
        | FindingName::ChipId
        | FindingName::Endorsement
        | FindingName::Product
        | FindingName::Revocation
        | FindingName::Signature
        | FindingName::SigningKey
        | FindingName::Tcb
        | FindingName::TcbOrder
        | FindingName::Validity => return None,
    };
    Some(Finding {
        name,
        outcome,
        facts,
        at: now,
    })
}

impl Look<'_> {
    /// Judges `name`; none only for the chip of a VLEK, which is of no chip.
    pub(super) fn at(&self, name: FindingName) -> Option<Finding> {
        let (outcome, facts) = match name {
            FindingName::Chain => self.chain(),
            FindingName::ChipId => self.chip_id()?,
            FindingName::Endorsement => self.endorsement(),
            FindingName::Product => self.product(),
            FindingName::Revocation => self.revocation(),
            FindingName::Signature => self.signature(),
            FindingName::SigningKey => self.signing_key(),
            FindingName::Tcb => self.tcb(),
            FindingName::TcbOrder => self.tcb_order(),
            FindingName::Validity => self.validity(),
            FindingName::FirmwareOrder | FindingName::Platform | FindingName::Policy => {
                return report_alone(self.report, name, self.now);
            }
        };
        Some(Finding {
            name,
            outcome,
            facts,
            at: self.now,
        })
    }

    fn product(&self) -> Judged {
        let mut facts = vec![Fact::new("endorsed", self.facts.product())];
        let Some([family, model, stepping]) = self.report.cpuid else {
            return (Outcome::Passed, facts);
        };
        facts.push(Fact::new("cpu-family", format_args!("{family:02x}")));
        facts.push(Fact::new("cpu-model", format_args!("{model:02x}")));
        facts.push(Fact::new("cpu-stepping", format_args!("{stepping:02x}")));
        let Some(stated) = self.report.product(self.products) else {
            let why = format!("no product has CPU family {family:02X}, model {model:02X}");
            return (Outcome::NotChecked(why), facts);
        };
        let (stated, endorsed) = (stated.product(), self.facts.product());
        facts.push(Fact::new("stated", stated));
        if stated == endorsed {
            return (Outcome::Passed, facts);
        }
        let why = format!("the report is of {stated}, the certificate of {endorsed}");
        (Outcome::Failed(why), facts)
    }

    fn chain(&self) -> Judged {
        let chain = self.collateral.chain;
        let facts = vec![
            Fact::new("issuing", excerpt(chain.issuing().subject_cn())),
            Fact::new("root", excerpt(chain.ark().subject_cn())),
            Fact::new("root-key", chain.ark().spki_digest()),
        ];
        let kind = self.collateral.endorsement.kind();
        let result = chain_signatures(chain, self.facts.product(), kind, self.anchors);
        (outcome(result), facts)
    }

    fn endorsement(&self) -> Judged {
        let mut facts = vec![Fact::new("kind", self.collateral.endorsement.kind())];
        match self.collateral.endorsement {
            Endorsement::Vcek(vcek) => {
                facts.push(Fact::new("product-name", excerpt(vcek.product_name())));
            }
            Endorsement::Vlek(vlek) => {
                facts.push(Fact::new("product-name", excerpt(vlek.product_name())));
                facts.push(Fact::new("csp-id", excerpt(vlek.csp_id())));
            }
        }
        let leaf = self.collateral.endorsement.leaf();
        let signed = leaf.signed_by(self.collateral.chain.issuing());
        (outcome(signed.and_then(|()| leaf.fits(self.facts))), facts)
    }

    /// The facts are the window in which all three certificates are valid.
    fn validity(&self) -> Judged {
        let leaf = self.collateral.endorsement.leaf();
        let (issuing, ark) = (self.collateral.chain.issuing(), self.collateral.chain.ark());
        let from = leaf.not_before().max(issuing.not_before());
        let until = leaf.not_after().min(issuing.not_after());
        let facts = vec![
            Fact::new("not-before", from.max(ark.not_before())),
            Fact::new("not-after", until.min(ark.not_after())),
        ];
        let valid = leaf.valid_at(self.now);
        let all = valid.and_then(|()| self.collateral.chain.holds_at(self.now));
        (outcome(all), facts)
    }

    fn revocation(&self) -> Judged {
        let Some(crl) = self.collateral.crl else {
            return (Outcome::NotChecked("no revocation list".to_owned()), vec![]);
        };
        let facts = vec![
            Fact::new("number", crl.number()),
            Fact::new("this-update", crl.this_update()),
            Fact::new("next-update", crl.next_update()),
        ];
        let ark = self.collateral.chain.ark();
        match crl_signer(crl, self.facts.product(), self.anchors) {
            Err(error) => return (Outcome::Failed(error.to_string()), facts),
            Ok(signer) if signer.spki_digest() != ark.spki_digest() => {
                let why = "the list is another root's".to_owned();
                return (Outcome::NotChecked(why), facts);
            }
            Ok(_) => {}
        }
        // Whatever its age: what was revoked stays revoked.
        if let Err(error) = revoked_in(&AmdChain::of(self.collateral.chain), crl) {
            return (Outcome::Failed(error.to_string()), facts);
        }
        if crl.in_window(self.now) {
            return (Outcome::Passed, facts);
        }
        let why = format!(
            "the list is for {} to {}; judged at {}",
            crl.this_update(),
            crl.next_update(),
            self.now
        );
        (Outcome::NotChecked(why), facts)
    }

    fn signing_key(&self) -> Judged {
        let kind = self.collateral.endorsement.kind();
        let mut facts = signing_key_facts(self.report);
        facts.push(Fact::new("endorsed", kind));
        let said = self.report.key_info;
        let failed = |why: &str| Outcome::Failed(why.to_owned());
        let outcome = match (said.signing_key, kind) {
            (SigningKey::Vcek, EndorsementKind::Vcek) if said.mask_chip_key => {
                failed("the report says that the chip's key is masked, and that it signed")
            }
            (SigningKey::Vcek, EndorsementKind::Vcek)
            | (SigningKey::Vlek, EndorsementKind::Vlek) => Outcome::Passed,
            (SigningKey::Vcek, EndorsementKind::Vlek) => {
                failed("signed by a VCEK, but the certificate is a VLEK's")
            }
            (SigningKey::Vlek, EndorsementKind::Vcek) => {
                failed("signed by a VLEK, but the certificate is a VCEK's")
            }
            (SigningKey::Unsigned, EndorsementKind::Vcek | EndorsementKind::Vlek) => {
                failed(UNSIGNED)
            }
        };
        (outcome, facts)
    }

    /// The facts say whether there is an id, never which.
    fn chip_id(&self) -> Option<Judged> {
        let Endorsement::Vcek(vcek) = self.collateral.endorsement else {
            return None;
        };
        let masked = self.report.chip_id_is_masked();
        let outcome = match self.report.chip_id(self.facts) {
            _ if masked => Outcome::NotChecked("the host masks the chip id".to_owned()),
            Ok(chip) if chip == *vcek.hw_id() => Outcome::Passed,
            Ok(_) => Outcome::Failed("the certificate is another chip's".to_owned()),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        let facts = vec![
            Fact::new("masked", masked),
            Fact::new("id-bytes", self.facts.hw_id_bytes()),
        ];
        Some((outcome, facts))
    }

    fn tcb(&self) -> Judged {
        let endorsed = self.collateral.endorsement.leaf().tcb();
        let facts = vec![
            self.tcb_fact("reported", self.report.reported_tcb),
            Fact::new("endorsed", endorsed),
        ];
        let outcome = match self.report.reported_tcb.decode(self.facts) {
            Err(error) => Outcome::Failed(error.to_string()),
            Ok(reported) if reported == endorsed => Outcome::Passed,
            Ok(reported) => Outcome::Failed(format!(
                "the report says {reported}; the certificate is for {endorsed}"
            )),
        };
        (outcome, facts)
    }

    /// Nothing is above what runs. Among themselves the other three have no order: a host may report less than it is
    /// committed to, and genuine ones do.
    fn tcb_order(&self) -> Judged {
        let report = self.report;
        let others = [
            ("REPORTED_TCB", "reported", report.reported_tcb),
            ("COMMITTED_TCB", "committed", report.committed_tcb),
            ("LAUNCH_TCB", "launch", report.launch_tcb),
        ];
        let mut facts = vec![self.tcb_fact("current", report.current_tcb)];
        facts.extend(others.map(|(_, fact, tcb)| self.tcb_fact(fact, tcb)));
        let current = match report.current_tcb.decode(self.facts) {
            Ok(current) => current,
            Err(error) => return (Outcome::Failed(format!("CURRENT_TCB: {error}")), facts),
        };
        for (name, _, tcb) in others {
            let why = match tcb.decode(self.facts) {
                Err(error) => format!("{name}: {error}"),
                Ok(tcb) if !current.covers(&tcb) => {
                    format!("{name} is {tcb}, which CURRENT_TCB does not reach: {current}")
                }
                Ok(_) => continue,
            };
            return (Outcome::Failed(why), facts);
        }
        (Outcome::Passed, facts)
    }

    fn signature(&self) -> Judged {
        let leaf = self.collateral.endorsement.leaf();
        let kind = self.collateral.endorsement.kind();
        let facts = vec![
            Fact::new("algorithm", "ECDSA P-384 with SHA-384"),
            Fact::new("key", kind),
        ];
        if leaf.verifies(self.report.signed(), &self.report.signature()) {
            return (Outcome::Passed, facts);
        }
        let why = format!("the key of the {kind} did not sign this report");
        (Outcome::Failed(why), facts)
    }

    /// By components where the product's layout fits, else the number.
    fn tcb_fact(&self, name: &'static str, tcb: TcbVersion) -> Fact {
        match tcb.decode(self.facts) {
            Ok(tcb) => Fact::new(name, tcb),
            Err(_) => Fact::new(name, tcb.to_tcbm_hex()),
        }
    }
}

/// What the report says about the key that signed it.
pub(super) fn signing_key_facts(report: &SnpReport) -> Vec<Fact> {
    let said = match report.key_info.signing_key {
        SigningKey::Unsigned => "none",
        SigningKey::Vcek => EndorsementKind::Vcek.name(),
        SigningKey::Vlek => EndorsementKind::Vlek.name(),
    };
    vec![
        Fact::new("stated", said),
        Fact::new("chip-key-masked", report.key_info.mask_chip_key),
    ]
}

/// Firmware that runs below what is committed cannot be: the commitment forbids it. Above it is provisional, which is a
/// fact for policy.
fn firmware_order(report: &SnpReport) -> Judged {
    let (current, committed) = (report.current_firmware, report.committed_firmware);
    let text = |firmware: Firmware| {
        let Firmware {
            major,
            minor,
            build,
        } = firmware;
        format!("{major}.{minor}.{build}")
    };
    let facts = vec![
        Fact::new("current", text(current)),
        Fact::new("committed", text(committed)),
        Fact::new("provisional", committed < current),
    ];
    if committed <= current {
        return (Outcome::Passed, facts);
    }
    let why = format!(
        "firmware {} is committed, and the older {} runs",
        text(committed),
        text(current)
    );
    (Outcome::Failed(why), facts)
}

fn policy(report: &SnpReport) -> Vec<Fact> {
    let policy = report.policy;
    let (major, minor) = policy.abi();
    vec![
        Fact::new("policy", format_args!("{:#018x}", policy.0)),
        Fact::new("abi", format_args!("{major}.{minor}")),
        Fact::new("unknown-bits", bits(policy.unknown())),
    ]
}

fn platform(report: &SnpReport) -> Vec<Fact> {
    let platform = report.platform_info;
    vec![
        Fact::new("platform-info", format_args!("{:#018x}", platform.0)),
        Fact::new("smt", platform.smt()),
        Fact::new("tsme", platform.tsme()),
        Fact::new("ecc", platform.ecc()),
        Fact::new("rapl-disabled", platform.rapl_disabled()),
        Fact::new("ciphertext-hiding", platform.ciphertext_hiding()),
        Fact::new("alias-check-complete", platform.alias_check_complete()),
        Fact::new("tio", platform.tio()),
        Fact::new("unknown-bits", bits(platform.unknown())),
    ]
}

/// The numbers of the bits that are set, `26, 63`; `none` where none is.
fn bits(word: u64) -> String {
    let set = (0..u64::BITS).filter(|at| word >> at & 1 == 1);
    let set: Vec<String> = set.map(|at| at.to_string()).collect();
    if set.is_empty() {
        return "none".to_owned();
    }
    set.join(", ")
}

fn outcome(result: Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Why a report that says so fails on its signing key, whatever else there is.
pub(super) const UNSIGNED: &str = "the report says that it is not signed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_by_number() {
        assert_eq!(bits(0), "none");
        assert_eq!(bits(1 << 6), "6");
        assert_eq!(bits(1 << 26 | 1 << 63), "26, 63");
    }
}
