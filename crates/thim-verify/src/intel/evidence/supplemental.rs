//! What Intel's quote verification enclave tells beside its result, under its names, so that an appraisal policy can be
//! written once.
//!
//! Source: spec/intel-verification.md, section 9 (QvE supplemental data, major version 3, minor 4) and section 7 for
//! the dates: eight sources, of which those that are there count. Two differences: the chains of collateral are those
//! that THIM judges it by, ending in the current root; and the PCE id is told whole, where QvE copies its first byte.
//! The PPID and the platform instance id are for the caller to show or not: they name a machine for ever.

use aws_lc_rs::digest::{SHA384, digest};

use super::collateral::{CollateralPart, QuoteCollateral};
use super::findings::QuoteFindings;
use super::pck_chain::PckChain;
use crate::{
    AdvisoryId, Certificate, ConvergedStatus, CpuSvn, EvaluationNumber, PceId, PceSvn,
    PlatformInstanceId, Ppid, QeFinding, SgxType, Tee, UnixTime,
};

/// The supplemental data of one quote. Each date is none when nothing it could come from was there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SupplementalData {
    /// `earliest_issue_date`.
    pub earliest_issue_date: Option<UnixTime>,
    /// `latest_issue_date`.
    pub latest_issue_date: Option<UnixTime>,
    /// `earliest_expiration_date`.
    pub earliest_expiration_date: Option<UnixTime>,
    /// `collateral_expiration_status`: whether that date is not after the instant of the judgement.
    pub collateral_expired: bool,
    /// `tcb_level_date_tag`: the older of the next two.
    pub tcb_level_date_tag: Option<UnixTime>,
    /// `platform_tcb_level_date_tag`.
    pub platform_tcb_level_date_tag: Option<UnixTime>,
    /// `qe_iden_tcb_level_date_tag`.
    pub qe_iden_tcb_level_date_tag: Option<UnixTime>,
    /// `pck_crl_num`; 1 in practice.
    pub pck_crl_num: Option<u64>,
    /// `root_ca_crl_num`; 1 in practice.
    pub root_ca_crl_num: Option<u64>,
    /// `tcb_eval_ref_num`: the lower of the numbers of TCB info and identity.
    pub tcb_eval_ref_num: Option<EvaluationNumber>,
    /// `qe_iden_tcb_eval_ref_num`.
    pub qe_iden_tcb_eval_ref_num: Option<EvaluationNumber>,
    /// `root_key_id`: SHA-384 of the root's public point, 65 bytes.
    pub root_key_id: Option<[u8; 48]>,
    /// `pck_ppid`.
    pub pck_ppid: Option<Ppid>,
    /// `tcb_cpusvn`.
    pub tcb_cpusvn: Option<CpuSvn>,
    /// `tcb_pce_isvsvn`.
    pub tcb_pce_isvsvn: Option<PceSvn>,
    /// `pce_id`.
    pub pce_id: Option<PceId>,
    /// `tee_type`.
    pub tee: Tee,
    /// `sgx_type`.
    pub sgx_type: Option<SgxType>,
    /// `platform_instance_id`.
    pub platform_instance_id: Option<PlatformInstanceId>,
    /// `dynamic_platform`; none is "undefined".
    pub dynamic_platform: Option<bool>,
    /// `cached_keys`; none is "undefined".
    pub cached_keys: Option<bool>,
    /// `smt_enabled`; none is "undefined".
    pub smt_enabled: Option<bool>,
    /// `sa_list`.
    pub sa_list: Vec<AdvisoryId>,
    /// `qe_iden_earliest_issue_date`.
    pub qe_iden_earliest_issue_date: Option<UnixTime>,
    /// `qe_iden_latest_issue_date`.
    pub qe_iden_latest_issue_date: Option<UnixTime>,
    /// `qe_iden_earliest_expiration_date`.
    pub qe_iden_earliest_expiration_date: Option<UnixTime>,
    /// `qe_iden_status`.
    pub qe_iden_status: Option<ConvergedStatus>,
}

impl SupplementalData {
    /// Collects it.
    pub fn of(findings: &QuoteFindings<'_>) -> Self {
        let collateral = findings.collateral();
        let chain = findings.pck_chain();
        let leaf = chain.map(PckChain::leaf);
        let mut all = Dates::default();
        for part in CollateralPart::ALL {
            all.part(collateral, part);
        }
        let certificates = chain.into_iter().flat_map(|chain| chain.certificates());
        certificates.for_each(|certificate| all.certificate(certificate));
        let mut qe = Dates::default();
        qe.part(collateral, CollateralPart::QeIdentity);

        let evaluation = findings.evaluation();
        let platform_date = evaluation.and_then(|one| one.tcb_date());
        let qe_date = evaluation.and_then(|one| one.qe_tcb_date());
        let number = collateral.tcb_info().map(|info| info.number);
        let qe_number = collateral.qe_identity().map(|identity| identity.number);
        let configuration = leaf.and_then(|leaf| leaf.configuration());
        // QvE never says "false" of the first two: a platform that does not say so may still do so.
        let only_true = |said: Option<bool>| said.filter(|said| *said);
        let crl_number = |part| {
            let number = collateral.crl(part)?.number.as_deref()?;
            number.iter().try_fold(0_u64, |sum, byte| {
                sum.checked_mul(256)?.checked_add(u64::from(*byte))
            })
        };
        Self {
            earliest_issue_date: all.earliest_issue,
            latest_issue_date: all.latest_issue,
            earliest_expiration_date: all.earliest_expiration,
            collateral_expired: all
                .earliest_expiration
                .is_some_and(|end| end <= findings.judged_at()),
            tcb_level_date_tag: platform_date.into_iter().chain(qe_date).min(),
            platform_tcb_level_date_tag: platform_date,
            qe_iden_tcb_level_date_tag: qe_date,
            pck_crl_num: crl_number(CollateralPart::PckCrl),
            root_ca_crl_num: crl_number(CollateralPart::RootCrl),
            tcb_eval_ref_num: number.into_iter().chain(qe_number).min(),
            qe_iden_tcb_eval_ref_num: qe_number,
            root_key_id: chain.map(|chain| sha384(chain.root().public_key())),
            pck_ppid: leaf.map(|leaf| *leaf.ppid()),
            tcb_cpusvn: leaf.map(|leaf| leaf.tcbm().cpu_svn),
            tcb_pce_isvsvn: leaf.map(|leaf| leaf.tcbm().pce_svn),
            pce_id: leaf.map(|leaf| leaf.pce_id()),
            tee: findings.quote().tee(),
            sgx_type: leaf.map(|leaf| leaf.sgx_type()),
            platform_instance_id: leaf.and_then(|leaf| leaf.platform_instance_id().copied()),
            dynamic_platform: configuration.and_then(|set| only_true(set.dynamic_platform)),
            cached_keys: configuration.and_then(|set| only_true(set.cached_keys)),
            smt_enabled: configuration.and_then(|set| set.smt_enabled),
            sa_list: evaluation.map(|one| one.advisory_ids()).unwrap_or_default(),
            qe_iden_earliest_issue_date: qe.earliest_issue,
            qe_iden_latest_issue_date: qe.latest_issue,
            qe_iden_earliest_expiration_date: qe.earliest_expiration,
            qe_iden_status: evaluation.and_then(|one| match one.qe() {
                QeFinding::Level(level) => Some(level.status.into()),
                QeFinding::NoLevel => Some(ConvergedStatus::NotSupported),
                QeFinding::NotAsked => None,
            }),
        }
    }
}

/// Begin and end of several things.
#[derive(Default)]
struct Dates {
    earliest_issue: Option<UnixTime>,
    latest_issue: Option<UnixTime>,
    earliest_expiration: Option<UnixTime>,
}

impl Dates {
    fn add(&mut self, from: UnixTime, until: UnixTime) {
        let earliest = self.earliest_issue.unwrap_or(from);
        let latest = self.latest_issue.unwrap_or(from);
        let end = self.earliest_expiration.unwrap_or(until);
        self.earliest_issue = Some(earliest.min(from));
        self.latest_issue = Some(latest.max(from));
        self.earliest_expiration = Some(end.min(until));
    }

    fn certificate(&mut self, certificate: &Certificate) {
        self.add(certificate.not_before(), certificate.not_after());
    }

    /// A document and the chain it was verified by.
    fn part(&mut self, collateral: &QuoteCollateral, part: CollateralPart) {
        let Ok(artefact) = collateral.part(part) else {
            return;
        };
        self.add(artefact.issued(), artefact.next_update());
        let certificates = artefact.chain().certificates().into_iter();
        certificates.for_each(|certificate| self.certificate(certificate));
    }
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    let mut array = [0; 48];
    for (to, from) in array.iter_mut().zip(digest(&SHA384, bytes).as_ref()) {
        *to = *from;
    }
    array
}
