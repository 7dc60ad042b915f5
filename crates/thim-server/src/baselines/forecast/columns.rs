//! A rule with a number, and where every class of the fleet stands under it.

use std::collections::{BTreeMap, HashMap};

use thim_verify::{
    Artefact, Content, ConvergedStatus, EnclaveIdentity, EvaluationNumber, Fmspc, TcbEngine,
    TcbInfo, UnixTime, Verified,
};

use super::classes::Fleet;
use crate::baseline::{IntelRule, Judgement, Verdict};

/// The collateral of one number of one TEE.
#[derive(Debug, Default)]
pub struct Documents {
    /// TCB infos by family.
    pub infos: BTreeMap<Fmspc, Verified<Artefact>>,
    /// The quoting enclave's identity.
    pub identity: Option<Verified<Artefact>>,
}

/// Where a class stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Its status; `None` where it is unknown.
    pub status: Option<ConvergedStatus>,
    /// The verdict of the rule.
    pub verdict: Verdict,
    /// Why the status is unknown.
    pub unknown: Option<Unknown>,
    /// True where the quoting enclave took no part, whose version nobody told.
    pub qe_unknown: bool,
}

/// Why a status is unknown. Text: lower-case words joined by hyphens.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Unknown {
    /// The platform has no PCK certificate here.
    NoCertificate,
    /// The baseline selects no number.
    NoNumber,
    /// The TCB info of its family under that number is not held.
    NoTcbInfo,
    /// No quote of a trust domain told its TEE TCB SVN.
    NoTeeTcbSvn,
}

impl Unknown {
    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::NoNumber => "no-number",
            Self::NoTcbInfo => "no-tcb-info",
            Self::NoTeeTcbSvn => "no-tee-tcb-svn",
        }
    }
}

impl Standing {
    /// The status as it is told.
    pub fn status_name(&self) -> &'static str {
        self.status.map_or("unknown", ConvergedStatus::name)
    }

    const fn unknown(why: Unknown) -> Self {
        Self {
            status: None,
            verdict: Verdict::Unknown,
            unknown: Some(why),
            qe_unknown: false,
        }
    }
}

/// A rule with a number.
#[derive(Debug)]
pub struct Column<'a> {
    /// The rule.
    pub rule: &'a IntelRule,
    /// The number; `None` where the rule selects none.
    pub number: Option<EvaluationNumber>,
    /// Its collateral.
    pub documents: &'a Documents,
    /// Where each class stands, in the order of the classes.
    pub standings: Vec<Standing>,
}

impl<'a> Column<'a> {
    /// Judges every class.
    pub fn judge(
        rule: &'a IntelRule,
        number: Option<EvaluationNumber>,
        documents: &'a Documents,
        fleet: &Fleet,
        now: UnixTime,
    ) -> Self {
        let engines = engines(documents);
        let standings = fleet.classes().iter().map(|class| {
            if number.is_none() {
                return Standing::unknown(Unknown::NoNumber);
            }
            let subject = &class.subject;
            let (Some(fmspc), Some(tcb)) = (subject.fmspc, subject.as_tcb_subject()) else {
                return Standing::unknown(Unknown::NoCertificate);
            };
            let Some(engine) = engines.get(&fmspc) else {
                return Standing::unknown(Unknown::NoTcbInfo);
            };
            let evaluation = engine.evaluate(&tcb);
            let Some(status) = evaluation.status() else {
                return Standing::unknown(Unknown::NoTeeTcbSvn);
            };
            Standing {
                status: Some(status),
                verdict: Judgement::of_intel(rule, &evaluation, now).verdict,
                unknown: None,
                qe_unknown: subject.qe_isv_svn.is_none(),
            }
        });
        Self {
            rule,
            number,
            documents,
            standings: standings.collect(),
        }
    }

    /// Where a class stands.
    pub fn standing(&self, class: usize) -> Standing {
        let found = self.standings.get(class).copied();
        found.unwrap_or(Standing::unknown(Unknown::NoCertificate))
    }
}

/// An engine for each family.
pub fn engines(documents: &Documents) -> HashMap<Fmspc, TcbEngine<'_>> {
    let identity = documents.identity.as_ref().and_then(as_identity);
    let infos = documents.infos.iter();
    infos
        .filter_map(|(fmspc, artefact)| {
            Some((*fmspc, TcbEngine::new(as_info(artefact)?, identity)))
        })
        .collect()
}

fn as_info(artefact: &Verified<Artefact>) -> Option<&TcbInfo> {
    match artefact.content() {
        Content::TcbInfo(info) => Some(info),
        Content::AmdCertChain(_)
        | Content::AmdCrl(_)
        | Content::Crl(_)
        | Content::EnclaveIdentity(_)
        | Content::EvaluationNumbers(_) => None,
    }
}

fn as_identity(artefact: &Verified<Artefact>) -> Option<&EnclaveIdentity> {
    match artefact.content() {
        Content::EnclaveIdentity(identity) => Some(identity),
        Content::AmdCertChain(_)
        | Content::AmdCrl(_)
        | Content::Crl(_)
        | Content::EvaluationNumbers(_)
        | Content::TcbInfo(_) => None,
    }
}
