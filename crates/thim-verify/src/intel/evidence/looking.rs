//! The checks, one by one. Rules: spec/intel-verification.md, section 3; what is not of QVL says so.

use super::collateral::{Absent, CollateralPart, QuoteCollateral, in_time};
use super::findings::{QuoteCheck, QuoteFinding, QuoteFindings};
use super::pck_chain::PckChain;
use super::td;
use super::verifier::Signatures;
use crate::{
    Artefact, Certificate, Crl, Digest, Enclave, EnclaveIdentity, Error, Issuers, NotSupported,
    Outcome, PlatformTcb, Quote, QuoteBody, SgxReport, TcbEngine, TcbEvaluation, TcbSubject, Tee,
    UnixTime, Verified,
};

/// What the checks look at.
pub(super) struct Look<'a, 'v> {
    pub(super) quote: &'a Quote,
    pub(super) collateral: &'a QuoteCollateral,
    pub(super) issuers: &'v Issuers,
    pub(super) now: UnixTime,
}

impl<'a> Look<'a, '_> {
    /// In the order of the checks.
    pub(super) fn findings(self, signatures: Signatures) -> QuoteFindings<'a> {
        let Signatures {
            chain,
            qe_report,
            qe_report_data,
            quote: quote_signature,
        } = signatures;
        let (chain, chain_outcome) = match chain {
            Ok(chain) => (Some(chain), Outcome::Passed),
            Err(outcome) => (None, outcome),
        };
        let leaf = chain.as_deref();
        let subject = leaf.map(|chain| self.subject(chain));
        let info = self.collateral.tcb_info();
        let info = info.filter(|info| info.tee == self.quote.tee());
        let identity = self.collateral.qe_identity();
        let evaluation = match (info, &subject) {
            (Some(info), Some(subject)) => Some(TcbEngine::new(info, identity).evaluate(subject)),
            (None, _) | (_, None) => None,
        };
        let mut list = Vec::with_capacity(QuoteCheck::ALL.len());
        let mut found = |check, outcome| list.push(QuoteFinding { check, outcome });
        found(QuoteCheck::QeVendor, self.qe_vendor());
        found(QuoteCheck::PckChain, chain_outcome);
        found(
            QuoteCheck::PckChainValidity,
            with(leaf, |chain| self.valid(&chain.certificates())),
        );
        found(
            QuoteCheck::PckCaRevocation,
            with(leaf, |chain| {
                self.by_root(chain.root().spki_digest(), &[chain.authority()])
            }),
        );
        found(
            QuoteCheck::RootCrlValidity,
            self.in_time(CollateralPart::RootCrl),
        );
        found(
            QuoteCheck::PckRevocation,
            with(leaf, |chain| self.pck_revocation(chain)),
        );
        found(
            QuoteCheck::PckCrlValidity,
            self.in_time(CollateralPart::PckCrl),
        );
        found(QuoteCheck::TcbInfo, self.tcb_info());
        found(
            QuoteCheck::TcbInfoValidity,
            self.in_time(CollateralPart::TcbInfo),
        );
        found(QuoteCheck::QeIdentity, self.qe_identity());
        found(
            QuoteCheck::QeIdentityValidity,
            self.in_time(CollateralPart::QeIdentity),
        );
        found(QuoteCheck::TcbSignerValidity, self.tcb_signer_validity());
        found(
            QuoteCheck::TcbSignerRevocation,
            self.tcb_signer_revocation(),
        );
        found(QuoteCheck::EvaluationNumbers, self.evaluation_numbers());
        found(
            QuoteCheck::Platform,
            with(leaf, |chain| self.platform(chain)),
        );
        found(QuoteCheck::QeReportSignature, qe_report);
        found(QuoteCheck::QeReportData, qe_report_data);
        found(QuoteCheck::QeIdentityMatch, self.qe_identity_match());
        found(
            QuoteCheck::QeTcbLevel,
            self.qe_tcb_level(evaluation.as_ref()),
        );
        found(QuoteCheck::QuoteSignature, quote_signature);
        if let QuoteBody::Td(report) = self.quote.body() {
            found(
                QuoteCheck::TdxModule,
                td::tdx_module(report, evaluation.as_ref()),
            );
        }
        found(QuoteCheck::TcbLevel, self.tcb_level(evaluation.as_ref()));
        match self.quote.body() {
            QuoteBody::Sgx(report) => found(
                QuoteCheck::Debug,
                unless(
                    report.debug(),
                    "the enclave's attributes let the host debug it: its memory is open",
                ),
            ),
            QuoteBody::Td(report) => {
                for (check, outcome) in td::policy(report) {
                    found(check, outcome);
                }
            }
        }
        found(QuoteCheck::TrailingBytes, self.trailing_bytes());
        QuoteFindings {
            quote: self.quote,
            collateral: self.collateral,
            chain,
            subject,
            evaluation,
            list,
            now: self.now,
        }
    }

    fn subject(&self, chain: &PckChain) -> TcbSubject {
        let (tee_tcb_svn, tee_tcb_svn2) = match self.quote.body() {
            QuoteBody::Sgx(_) => (None, None),
            QuoteBody::Td(report) => (Some(report.tee_tcb_svn), report.tee_tcb_svn2),
        };
        TcbSubject {
            platform: PlatformTcb::from(chain.leaf()),
            tee_tcb_svn,
            tee_tcb_svn2,
            qe_isv_svn: Some(self.quote.qe_report().isv_svn),
        }
    }

    fn qe_vendor(&self) -> Outcome {
        unless(
            !self.quote.header().is_of_intel(),
            "the quoting enclave's vendor id is not Intel's",
        )
    }

    fn valid(&self, certificates: &[&Certificate]) -> Outcome {
        let mut all = certificates.iter();
        outcome(all.try_for_each(|certificate| certificate.valid_at(self.now)))
    }

    fn in_time(&self, part: CollateralPart) -> Outcome {
        self.part(part, |artefact| {
            outcome(in_time(artefact, part.name(), self.now))
        })
    }

    /// Whether the root's list names one of the certificates, or another one with its key: a re-issue is no way
    /// around a revocation.
    fn by_root(&self, root_key: Digest, certificates: &[&Certificate]) -> Outcome {
        self.part(CollateralPart::RootCrl, |artefact| {
            let Some(list) = self.collateral.crl(CollateralPart::RootCrl) else {
                return not_checked("no root CRL");
            };
            if artefact.chain().signer_key() != root_key {
                return not_checked("the list is another root's");
            }
            for certificate in certificates {
                let key = certificate.spki_digest();
                let same_key = self.issuers.with_key(&key);
                for one in same_key.chain([*certificate]) {
                    if let Some(revoked) = revoked(list, one) {
                        return revoked;
                    }
                }
            }
            Outcome::Passed
        })
    }

    fn pck_revocation(&self, chain: &PckChain) -> Outcome {
        self.part(CollateralPart::PckCrl, |artefact| {
            let Some(list) = self.collateral.crl(CollateralPart::PckCrl) else {
                return not_checked("no PCK CRL");
            };
            let signer = artefact.chain().signer();
            if artefact.chain().root().spki_digest() != chain.root().spki_digest() {
                return not_checked("the list is below another root");
            }
            if !signer.has_subject_of(chain.authority()) {
                return Outcome::Failed(format!(
                    "the list is of {}; {} issued the PCK certificate",
                    signer.subject_cn(),
                    chain.authority().subject_cn()
                ));
            }
            revoked(list, chain.leaf().certificate()).unwrap_or(Outcome::Passed)
        })
    }

    fn tcb_info(&self) -> Outcome {
        let tee = self.quote.tee();
        self.part(CollateralPart::TcbInfo, |_| {
            match self.collateral.tcb_info() {
                Some(info) if info.tee != tee => {
                    Outcome::Failed(format!("it is of {}, the quote of {tee}", info.tee))
                }
                Some(_) => Outcome::Passed,
                None => not_checked("no TCB info"),
            }
        })
    }

    fn qe_identity(&self) -> Outcome {
        let wanted = self.quoting_enclave();
        self.part(CollateralPart::QeIdentity, |_| {
            match self.collateral.qe_identity() {
                Some(identity) if identity.enclave != wanted => Outcome::Failed(format!(
                    "it is of {}; {wanted} makes quotes of {}",
                    identity.enclave,
                    self.quote.tee()
                )),
                Some(_) => Outcome::Passed,
                None => not_checked("no QE identity"),
            }
        })
    }

    fn quoting_enclave(&self) -> Enclave {
        match self.quote.tee() {
            Tee::Sgx => Enclave::Qe,
            Tee::Tdx => Enclave::TdQe,
        }
    }

    /// TCB info and identity, as far as they are there.
    fn documents(&self) -> impl Iterator<Item = &'a Verified<Artefact>> {
        [CollateralPart::TcbInfo, CollateralPart::QeIdentity]
            .into_iter()
            .filter_map(|part| self.collateral.part(part).ok())
    }

    fn tcb_signer_validity(&self) -> Outcome {
        if self.documents().next().is_none() {
            return not_checked("neither TCB info nor QE identity");
        }
        let mut chains = self.documents().map(Verified::chain);
        outcome(chains.try_for_each(|chain| chain.holds_at(self.now)))
    }

    fn tcb_signer_revocation(&self) -> Outcome {
        let mut worst = None;
        for document in self.documents() {
            let chain = document.chain();
            match self.by_root(chain.root().spki_digest(), &[chain.signer()]) {
                Outcome::Passed => {
                    worst.get_or_insert(Outcome::Passed);
                }
                failed @ Outcome::Failed(_) => return failed,
                unknown @ Outcome::NotChecked(_) => worst = Some(unknown),
            }
        }
        worst.unwrap_or_else(|| not_checked("neither TCB info nor QE identity"))
    }

    fn evaluation_numbers(&self) -> Outcome {
        match (self.collateral.tcb_info(), self.collateral.qe_identity()) {
            (Some(info), Some(identity)) if info.number != identity.number => {
                Outcome::Failed(format!(
                    "the TCB info is of number {}, the QE identity of {}",
                    info.number, identity.number
                ))
            }
            (Some(_), Some(_)) => Outcome::Passed,
            (None, _) => not_checked("no TCB info"),
            (_, None) => not_checked("no QE identity"),
        }
    }

    fn platform(&self, chain: &PckChain) -> Outcome {
        let leaf = chain.leaf();
        match self.collateral.tcb_info() {
            None => not_checked("no TCB info"),
            Some(info) if info.fmspc != leaf.fmspc() => Outcome::Failed(format!(
                "the TCB info is of FMSPC {}, the platform of {}",
                info.fmspc,
                leaf.fmspc()
            )),
            Some(info) if info.pce_id != leaf.pce_id() => Outcome::Failed(format!(
                "the TCB info is of PCE id {}, the platform of {}",
                info.pce_id,
                leaf.pce_id()
            )),
            Some(_) => Outcome::Passed,
        }
    }

    fn qe_identity_match(&self) -> Outcome {
        let Some(identity) = self.collateral.qe_identity() else {
            return not_checked("no QE identity");
        };
        let differing = differing(self.quote.qe_report(), identity);
        unless_any(&differing, "the QE report and its identity differ in")
    }

    fn qe_tcb_level(&self, evaluation: Option<&TcbEvaluation<'_>>) -> Outcome {
        if self.collateral.qe_identity().is_none() {
            return not_checked("no QE identity");
        }
        match evaluation {
            None => not_checked("no TCB info of the platform"),
            Some(evaluation) if evaluation.qe_level().is_some() => Outcome::Passed,
            Some(_) => Outcome::Failed(NotSupported::NoQeLevel.sentence().to_owned()),
        }
    }

    fn tcb_level(&self, evaluation: Option<&TcbEvaluation<'_>>) -> Outcome {
        let Some(evaluation) = evaluation else {
            return not_checked("no TCB info of the platform");
        };
        let why = match (evaluation.platform_level(), evaluation.sgx_level()) {
            (Some(_), _) => return Outcome::Passed,
            (None, Some(_)) => NotSupported::NoTdxLevel,
            (None, None) => NotSupported::NoSgxLevel,
        };
        Outcome::Failed(why.sentence().to_owned())
    }

    fn trailing_bytes(&self) -> Outcome {
        match self.quote.trailing_bytes() {
            0 => Outcome::Passed,
            count => Outcome::Failed(format!(
                "{count} bytes behind the end of the quote; nothing vouches for them"
            )),
        }
    }

    /// What is said of a part that is there; that it is absent, otherwise.
    fn part(
        &self,
        part: CollateralPart,
        look: impl FnOnce(&Verified<Artefact>) -> Outcome,
    ) -> Outcome {
        match self.collateral.part(part) {
            Ok(artefact) => look(artefact),
            Err(Absent::Broken(error)) => {
                Outcome::Failed(format!("the {} is not genuine: {error}", part.name()))
            }
            Err(Absent::Missing(why)) => Outcome::NotChecked(why.clone()),
        }
    }
}

/// What of the enclave's report is not as its identity has it. The identity's own bits outside of the mask are
/// compared too, as QVL does: a document that demands them can be met by nothing.
fn differing(report: &SgxReport, identity: &EnclaveIdentity) -> Vec<&'static str> {
    let masked = |value: &[u8], mask: &[u8], expected: &[u8]| {
        let value = value.iter().zip(mask).map(|(byte, mask)| byte & mask);
        value.eq(expected.iter().copied())
    };
    [
        (
            "MISCSELECT",
            masked(
                &report.miscselect,
                &identity.miscselect_mask,
                &identity.miscselect,
            ),
        ),
        (
            "ATTRIBUTES",
            masked(
                &report.attributes,
                &identity.attributes_mask,
                &identity.attributes,
            ),
        ),
        ("MRSIGNER", report.mr_signer == identity.mrsigner),
        ("ISVPRODID", report.isv_prod_id == identity.isvprodid),
    ]
    .into_iter()
    .filter_map(|(name, same)| (!same).then_some(name))
    .collect()
}

fn revoked(list: &Crl, certificate: &Certificate) -> Option<Outcome> {
    list.revokes(certificate.serial()).then(|| {
        Outcome::Failed(format!(
            "{} is revoked by the list of {}",
            certificate.subject_cn(),
            list.this_update
        ))
    })
}

fn with(chain: Option<&PckChain>, look: impl FnOnce(&PckChain) -> Outcome) -> Outcome {
    chain.map_or_else(|| not_checked("no PCK certificate to look at"), look)
}

fn unless(wrong: bool, why: &str) -> Outcome {
    if wrong {
        return Outcome::Failed(why.to_owned());
    }
    Outcome::Passed
}

fn unless_any(names: &[&str], why: &str) -> Outcome {
    if names.is_empty() {
        return Outcome::Passed;
    }
    Outcome::Failed(format!("{why} {}", names.join(", ")))
}

fn not_checked(why: &str) -> Outcome {
    Outcome::NotChecked(why.to_owned())
}

fn outcome(result: Result<(), Error>) -> Outcome {
    result.map_or_else(
        |error| Outcome::Failed(error.to_string()),
        |()| Outcome::Passed,
    )
}
