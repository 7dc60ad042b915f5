//! The facts that a check was judged by, as text, made when somebody wants to read them.
//!
//! What identifies a platform (PPID, instance id, QE id) is none of them.

use std::fmt;

use data_encoding::HEXLOWER;

use super::collateral::CollateralPart;
use super::findings::{QuoteCheck, QuoteFindings};
use super::pck_chain::PckChain;
use crate::{Certificate, Fact, QuoteBody, TdReport};

impl QuoteFindings<'_> {
    /// The facts behind a check; empty where nothing was at hand to look at.
    pub fn facts(&self, check: QuoteCheck) -> Vec<Fact> {
        match check {
            QuoteCheck::QeVendor => vec![fact(
                "vendor-id",
                HEXLOWER.encode(&self.quote.header().qe_vendor_id),
            )],
            QuoteCheck::PckChain => self.of_chain(chain_facts),
            QuoteCheck::PckChainValidity => self.of_chain(|chain| {
                let certificates = chain.certificates().into_iter();
                let facts = ["leaf", "authority", "root"].into_iter().zip(certificates);
                facts.map(|(name, one)| fact(name, valid(one))).collect()
            }),
            QuoteCheck::PckCaRevocation => self.revocation(CollateralPart::RootCrl, |chain| {
                HEXLOWER.encode(chain.authority().serial())
            }),
            QuoteCheck::PckRevocation => self.revocation(CollateralPart::PckCrl, |chain| {
                HEXLOWER.encode(chain.leaf().certificate().serial())
            }),
            QuoteCheck::RootCrlValidity => self.window(CollateralPart::RootCrl),
            QuoteCheck::PckCrlValidity => self.window(CollateralPart::PckCrl),
            QuoteCheck::TcbInfo => self.document(CollateralPart::TcbInfo),
            QuoteCheck::TcbInfoValidity => self.window(CollateralPart::TcbInfo),
            QuoteCheck::QeIdentity => self.document(CollateralPart::QeIdentity),
            QuoteCheck::QeIdentityValidity => self.window(CollateralPart::QeIdentity),
            QuoteCheck::TcbSignerValidity => self
                .signers()
                .map(|(name, signer)| fact(name, valid(signer)))
                .collect(),
            QuoteCheck::TcbSignerRevocation => self
                .signers()
                .map(|(name, signer)| fact(name, HEXLOWER.encode(signer.serial())))
                .collect(),
            QuoteCheck::EvaluationNumbers => self.numbers(),
            QuoteCheck::Platform => self.platform(),
            QuoteCheck::QeReportSignature | QuoteCheck::QuoteSignature => {
                vec![fact("algorithm", "ECDSA P-256 with SHA-256")]
            }
            QuoteCheck::QeReportData => vec![fact(
                "authentication-data-bytes",
                self.quote.qe_auth_data().len(),
            )],
            QuoteCheck::QeIdentityMatch => self.qe_identity(),
            QuoteCheck::QeTcbLevel => self.qe_level(),
            QuoteCheck::TdxModule => self.module(),
            QuoteCheck::TcbLevel => self.level(),
            QuoteCheck::Debug => match self.quote.body() {
                QuoteBody::Sgx(report) => {
                    vec![fact("attributes", HEXLOWER.encode(&report.attributes))]
                }
                QuoteBody::Td(report) => attributes(report),
            },
            QuoteCheck::TdAttributes => self.of_td(|report| {
                let mut facts = attributes(report);
                let unknown = report.td_attributes.unknown();
                if unknown != 0 {
                    facts.push(fact("unknown-bits", format!("{unknown:#018x}")));
                }
                facts
            }),
            QuoteCheck::SeptVeDisable | QuoteCheck::Migratable => self.of_td(attributes),
            QuoteCheck::ServiceTd => self.of_td(|report| {
                let measurement = report.mr_service_td.iter();
                let mut facts: Vec<Fact> = measurement
                    .map(|one| fact("mrservicetd", HEXLOWER.encode(one)))
                    .collect();
                if let Some(extension) = &report.extension {
                    let (initial, current) = (
                        &extension.initial_service_td_hash,
                        &extension.current_service_td_hash,
                    );
                    facts.push(fact("initial-service-td-hash", HEXLOWER.encode(initial)));
                    facts.push(fact("current-service-td-hash", HEXLOWER.encode(current)));
                }
                facts
            }),
            QuoteCheck::TrailingBytes => vec![fact("bytes", self.quote.trailing_bytes())],
        }
    }

    fn of_chain(&self, facts: impl FnOnce(&PckChain) -> Vec<Fact>) -> Vec<Fact> {
        self.pck_chain().map(facts).unwrap_or_default()
    }

    fn of_td(&self, facts: impl FnOnce(&TdReport) -> Vec<Fact>) -> Vec<Fact> {
        match self.quote.body() {
            QuoteBody::Sgx(_) => Vec::new(),
            QuoteBody::Td(report) => facts(report),
        }
    }

    fn revocation(
        &self,
        part: CollateralPart,
        serial: impl FnOnce(&PckChain) -> String,
    ) -> Vec<Fact> {
        let mut facts = self.of_chain(|chain| vec![fact("serial", serial(chain))]);
        if let (Ok(list), Some(crl)) = (self.collateral.part(part), self.collateral.crl(part)) {
            facts.push(fact("issuer", list.chain().signer().subject_cn()));
            facts.push(fact("this-update", crl.this_update));
            facts.push(fact("revoked", crl.revoked_len()));
        }
        facts
    }

    fn window(&self, part: CollateralPart) -> Vec<Fact> {
        let artefact = self.collateral.part(part).ok();
        artefact.map_or_else(Vec::new, |artefact| {
            vec![
                fact("issued", artefact.issued()),
                fact("next-update", artefact.next_update()),
            ]
        })
    }

    fn document(&self, part: CollateralPart) -> Vec<Fact> {
        let artefact = self.collateral.part(part).ok();
        artefact.map_or_else(Vec::new, |artefact| {
            vec![
                fact("key", artefact.key()),
                fact("sha256", artefact.id()),
                fact("signer-sha256", artefact.chain().signer().digest()),
            ]
        })
    }

    fn signers(&self) -> impl Iterator<Item = (&'static str, &Certificate)> {
        let parts = [
            ("tcb-info-signer", CollateralPart::TcbInfo),
            ("qe-identity-signer", CollateralPart::QeIdentity),
        ];
        parts.into_iter().filter_map(|(name, part)| {
            let document = self.collateral.part(part).ok()?;
            Some((name, document.chain().signer()))
        })
    }

    fn numbers(&self) -> Vec<Fact> {
        let info = self.collateral.tcb_info().map(|info| info.number);
        let identity = self.collateral.qe_identity().map(|one| one.number);
        let facts = [("tcb-info", info), ("qe-identity", identity)].into_iter();
        facts
            .filter_map(|(name, number)| Some(fact(name, number?)))
            .collect()
    }

    fn platform(&self) -> Vec<Fact> {
        let mut facts = self.of_chain(|chain| {
            vec![
                fact("fmspc", chain.leaf().fmspc()),
                fact("pce-id", chain.leaf().pce_id()),
            ]
        });
        if let Some(info) = self.collateral.tcb_info() {
            facts.push(fact("tcb-info-fmspc", info.fmspc));
            facts.push(fact("tcb-info-pce-id", info.pce_id));
        }
        facts
    }

    fn qe_identity(&self) -> Vec<Fact> {
        let report = self.quote.qe_report();
        let mut facts = vec![
            fact("mrsigner", HEXLOWER.encode(&report.mr_signer)),
            fact("isvprodid", report.isv_prod_id),
            fact("attributes", HEXLOWER.encode(&report.attributes)),
            fact("miscselect", HEXLOWER.encode(&report.miscselect)),
        ];
        if let Some(identity) = self.collateral.qe_identity() {
            facts.extend([
                fact("identity-mrsigner", HEXLOWER.encode(&identity.mrsigner)),
                fact("identity-isvprodid", identity.isvprodid),
                fact("identity-attributes", HEXLOWER.encode(&identity.attributes)),
                fact(
                    "identity-attributes-mask",
                    HEXLOWER.encode(&identity.attributes_mask),
                ),
                fact("identity-miscselect", HEXLOWER.encode(&identity.miscselect)),
                fact(
                    "identity-miscselect-mask",
                    HEXLOWER.encode(&identity.miscselect_mask),
                ),
            ]);
        }
        facts
    }

    fn qe_level(&self) -> Vec<Fact> {
        let mut facts = vec![fact("isvsvn", self.quote.qe_report().isv_svn)];
        let level = self.evaluation().and_then(|one| one.qe_level());
        if let Some(level) = level {
            facts.push(fact("level-isvsvn", level.isv_svn));
            facts.push(fact("level-status", level.status));
            facts.push(fact("level-tcb-date", level.tcb_date));
        }
        facts
    }

    fn level(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(subject) = self.subject() {
            facts.push(fact(
                "sgx-components",
                HEXLOWER.encode(&subject.platform.components),
            ));
            facts.push(fact("pcesvn", subject.platform.pce_svn.0));
            if let Some(svn) = subject.tee_tcb_svn {
                facts.push(fact("tee-tcb-svn", svn));
            }
            if let Some(svn) = subject.tee_tcb_svn2 {
                facts.push(fact("tee-tcb-svn-2", svn));
            }
        }
        let evaluation = self.evaluation();
        let level = evaluation.and_then(|one| one.tdx_level().or(one.sgx_level()));
        if let Some(level) = level {
            facts.push(fact("level-status", level.status));
            facts.push(fact("level-tcb-date", level.tcb_date));
        }
        facts
    }
}

fn chain_facts(chain: &PckChain) -> Vec<Fact> {
    let origin = chain.origin();
    let yes = |said: bool| if said { "yes" } else { "no" };
    vec![
        fact("authority", chain.authority().subject_cn()),
        fact("authority-sha256", chain.authority().digest()),
        fact("authority-embedded", yes(origin.authority_embedded)),
        fact("root-sha256", chain.root().digest()),
        fact("root-key-sha256", chain.root().spki_digest()),
        fact("root-embedded", yes(origin.root_embedded)),
        fact("in-order", yes(origin.in_order)),
        fact("certificate-given", yes(origin.leaf_given)),
    ]
}

fn attributes(report: &TdReport) -> Vec<Fact> {
    vec![fact(
        "td-attributes",
        format!("{:#018x}", report.td_attributes.0),
    )]
}

fn valid(certificate: &Certificate) -> String {
    format!(
        "{}: {} to {}",
        certificate.subject_cn(),
        certificate.not_before(),
        certificate.not_after()
    )
}

pub(super) fn fact(name: &'static str, value: impl fmt::Display) -> Fact {
    Fact::new(name, value)
}
