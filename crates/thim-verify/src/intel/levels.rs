//! The TCB level engine: which levels of a TCB info and an enclave identity a platform reaches, and what that makes.
//!
//! Promises: a status costs no allocation; what depends on the document alone is done once, in [`TcbEngine::new`],
//! without an allocation for a document whose levels are sorted, as all of Intel's are. Levels are taken best first:
//! descending by SGX components, then TDX components, then PCESVN, as in Intel's QVL, whatever the order of the
//! document. Whether the documents fit the platform (FMSPC, PCEID, enclave) and are signed and current is for others
//! to say. Source: spec/intel-verification.md, sections 4 to 6.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXUPPER;

use super::components::ComponentSvn;
use super::convergence::{ConvergedStatus, Relaunch, Wants, relaunch};
use super::enclave_identity::EnclaveIdentity;
use super::evaluation::{NotSupported, QeFinding, TcbEvaluation};
use super::pck::PckCertificate;
use super::raw_tcb::PceSvn;
use super::tcb_info::{TcbInfo, TcbLevel};
use super::tdx_module::{ModuleFinding, reached};
use crate::ids::{hex_array, not, serde_as_text};
use crate::{Error, Tee};

/// What a PCK certificate says about a platform's TCB.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PlatformTcb {
    /// The 16 component versions (`.2.1` to `.2.16` of the SGX extension), never the raw CPUSVN.
    pub components: [u8; 16],
    /// Security version of the provisioning certification enclave.
    pub pce_svn: PceSvn,
}

impl From<&PckCertificate> for PlatformTcb {
    fn from(certificate: &PckCertificate) -> Self {
        Self {
            components: certificate.components(),
            pce_svn: certificate.tcbm().pce_svn,
        }
    }
}

/// The security versions of a trust domain's surroundings: 16 bytes as they stand in a TD report. Byte 0 is the TDX
/// module's ISVSVN, byte 1 its major version, byte 2 the late microcode's. Text: 32 hex digits, written in upper case.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TeeTcbSvn(pub [u8; 16]);

impl TeeTcbSvn {
    /// The TDX module's ISVSVN.
    pub const fn module_isv_svn(self) -> u8 {
        let [isv_svn, ..] = self.0;
        isv_svn
    }

    /// The TDX module's major version.
    pub const fn module_major_version(self) -> u8 {
        let [_, major_version, ..] = self.0;
        major_version
    }

    /// How many components at the start do not count: those of a module that has an identity of its own.
    pub(super) const fn skipped(self) -> usize {
        if self.module_major_version() > 0 {
            2
        } else {
            0
        }
    }
}

impl fmt::Display for TeeTcbSvn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.0))
    }
}

impl FromStr for TeeTcbSvn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hex_array(text)
            .map(Self)
            .ok_or_else(|| not("TEE TCB SVN", "32 hex digits"))
    }
}

serde_as_text!(TeeTcbSvn);

/// What is judged.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TcbSubject {
    /// Of the PCK certificate.
    pub platform: PlatformTcb,
    /// Of the TD report, at the trust domain's launch; without effect under an SGX TCB info.
    pub tee_tcb_svn: Option<TeeTcbSvn>,
    /// Of a TD report 1.5 or later, now; makes relaunch advice possible.
    pub tee_tcb_svn2: Option<TeeTcbSvn>,
    /// Of the quoting enclave's report.
    pub qe_isv_svn: Option<u16>,
}

/// Judges platforms under one TCB info and one enclave identity.
#[derive(Clone, Debug)]
pub struct TcbEngine<'a> {
    info: &'a TcbInfo,
    levels: Levels<'a>,
    qe: Option<&'a EnclaveIdentity>,
}

impl<'a> TcbEngine<'a> {
    /// Brings the levels into order. Without `qe` the quoting enclave takes no part.
    pub fn new(info: &'a TcbInfo, qe: Option<&'a EnclaveIdentity>) -> Self {
        Self {
            info,
            levels: Levels::new(&info.levels),
            qe,
        }
    }

    /// The TCB info.
    pub fn tcb_info(&self) -> &'a TcbInfo {
        self.info
    }

    /// The quoting enclave's identity.
    pub fn qe_identity(&self) -> Option<&'a EnclaveIdentity> {
        self.qe
    }

    /// The levels, best first.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &'a TcbLevel> + '_ {
        self.levels.iter()
    }

    /// Finds the levels and what they make together.
    pub fn evaluate(&self, subject: &TcbSubject) -> TcbEvaluation<'a> {
        let tdx = self.info.tee == Tee::Tdx;
        let tee_tcb_svn = subject.tee_tcb_svn.filter(|_| tdx);
        let (sgx_level, tdx_level) = match &self.levels {
            Levels::Sorted(levels) => matching(levels.iter(), &subject.platform, tee_tcb_svn),
            Levels::Reordered(levels) => {
                matching(levels.iter().copied(), &subject.platform, tee_tcb_svn)
            }
        };
        let module = tee_tcb_svn.map_or(ModuleFinding::NotAsked, |svn| {
            ModuleFinding::of(self.info, svn)
        });
        let qe = match (self.qe, subject.qe_isv_svn) {
            (Some(identity), Some(isv_svn)) => {
                reached(&identity.levels, isv_svn).map_or(QeFinding::NoLevel, QeFinding::Level)
            }
            (None, _) | (_, None) => QeFinding::NotAsked,
        };
        let mut evaluation = TcbEvaluation {
            tee: self.info.tee,
            status: None,
            not_supported: None,
            sgx_level,
            tdx_level,
            module,
            qe,
            relaunch_advised: false,
        };
        if tdx && tee_tcb_svn.is_none() {
            return evaluation;
        }
        match self.converge(&evaluation, subject) {
            Ok(wants) => {
                evaluation.status = Some(wants.status());
                evaluation.relaunch_advised = wants.relaunch;
            }
            Err(why) => {
                evaluation.status = Some(ConvergedStatus::NotSupported);
                evaluation.not_supported = Some(why);
            }
        }
        evaluation
    }

    fn converge(
        &self,
        found: &TcbEvaluation<'a>,
        subject: &TcbSubject,
    ) -> Result<Wants, NotSupported> {
        let sgx = found.sgx_level.ok_or(NotSupported::NoSgxLevel)?;
        let mut wants = Wants::from(sgx.status);
        if found.tee == Tee::Tdx {
            wants = found
                .tdx_level
                .ok_or(NotSupported::NoTdxLevel)?
                .status
                .into();
            match found.module {
                ModuleFinding::NotAsked | ModuleFinding::InPlatformLevel(_) => {}
                ModuleFinding::ListMissing { .. } => {
                    return Err(NotSupported::ModuleIdentitiesMissing);
                }
                ModuleFinding::EntryMissing { .. } => {
                    return Err(NotSupported::ModuleIdentityMissing);
                }
                ModuleFinding::NoLevel(_) => return Err(NotSupported::NoModuleLevel),
                ModuleFinding::Level(_, level) => wants = wants.and(level.status.into()),
            }
            let qe_refuses = found.qe == QeFinding::NoLevel;
            if let Some(current) = subject.tee_tcb_svn2.filter(|_| !qe_refuses) {
                let advice = relaunch(
                    self.info,
                    self.levels.iter().next(),
                    sgx.status,
                    wants,
                    found.module.status(),
                    found.qe.status(),
                    current,
                );
                match advice {
                    Relaunch::Advised => {
                        wants.update = false;
                        wants.relaunch = true;
                        wants.configuration |= Wants::from(sgx.status).configuration;
                    }
                    Relaunch::No => {}
                    Relaunch::UnknownModule => {
                        return Err(NotSupported::CurrentModuleIdentityMissing);
                    }
                }
            }
        }
        match found.qe {
            QeFinding::NotAsked => Ok(wants),
            QeFinding::NoLevel => Err(NotSupported::NoQeLevel),
            QeFinding::Level(level) => Ok(wants.and(level.status.into())),
        }
    }
}

/// Levels, best first.
#[derive(Clone, Debug)]
enum Levels<'a> {
    /// As the document has them.
    Sorted(&'a [TcbLevel]),
    /// The document has them in another order.
    Reordered(Vec<&'a TcbLevel>),
}

impl<'a> Levels<'a> {
    fn new(levels: &'a [TcbLevel]) -> Self {
        if levels.is_sorted_by(|earlier, later| descending(earlier, later).is_le()) {
            return Self::Sorted(levels);
        }
        let mut reordered: Vec<_> = levels.iter().collect();
        // Stable: of two equal ones the first in the document counts, as in QVL's set.
        reordered.sort_by(|one, other| descending(one, other));
        Self::Reordered(reordered)
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &'a TcbLevel> + '_ {
        let (sorted, reordered) = match self {
            Self::Sorted(levels) => (*levels, [].as_slice()),
            Self::Reordered(levels) => ([].as_slice(), levels.as_slice()),
        };
        sorted.iter().chain(reordered.iter().copied())
    }
}

/// Less when `one` comes first.
fn descending(one: &TcbLevel, other: &TcbLevel) -> Ordering {
    let svns = |components: &[ComponentSvn; 16]| components.each_ref().map(|one| one.svn);
    let key = |level: &TcbLevel| {
        (
            svns(&level.sgx_components),
            level.tdx_components.as_deref().map(svns),
            level.pce_svn,
        )
    };
    key(other).cmp(&key(one))
}

/// The first level that the SGX TCB reaches, and the first that the TDX TCB reaches as well.
fn matching<'a>(
    levels: impl Iterator<Item = &'a TcbLevel>,
    platform: &PlatformTcb,
    tee_tcb_svn: Option<TeeTcbSvn>,
) -> (Option<&'a TcbLevel>, Option<&'a TcbLevel>) {
    let mut sgx_level = None;
    for level in levels {
        let sgx = platform.pce_svn.0 >= level.pce_svn
            && covers(&platform.components, &level.sgx_components, 0);
        if !sgx {
            continue;
        }
        sgx_level = sgx_level.or(Some(level));
        let (Some(svn), Some(components)) = (tee_tcb_svn, &level.tdx_components) else {
            return (sgx_level, None);
        };
        if covers(&svn.0, components, svn.skipped()) {
            return (sgx_level, Some(level));
        }
    }
    (sgx_level, None)
}

fn covers(have: &[u8; 16], need: &[ComponentSvn; 16], skipped: usize) -> bool {
    have.iter()
        .zip(need)
        .skip(skipped)
        .all(|(have, need)| *have >= need.svn)
}

#[cfg(test)]
mod tests;
