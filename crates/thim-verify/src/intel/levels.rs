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

use super::advisory::AdvisoryId;
use super::components::ComponentSvn;
use super::convergence::{ConvergedStatus, Relaunch, Wants, relaunch};
use super::enclave_identity::EnclaveIdentity;
use super::pck::PckCertificate;
use super::raw_tcb::PceSvn;
use super::tcb_info::{TcbInfo, TcbLevel};
use super::tcb_level::{IsvLevel, TcbStatus};
use super::tdx_module::{ModuleFinding, reached};
use crate::ids::{hex_array, not, serde_as_text};
use crate::{Error, Tee, UnixTime};

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

/// Why there is no level. When several reasons hold, the first in this order of the search is told: SGX level, TDX
/// level, TDX module, quoting enclave.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NotSupported {
    /// Relaunch was looked at, and the TDX module that runs now has no identity (or one without levels).
    CurrentModuleIdentityMissing,
    /// The TCB info has no list of TDX module identities, which the module needs: they do not fit together.
    ModuleIdentitiesMissing,
    /// The TCB info does not know the TDX module's major version.
    ModuleIdentityMissing,
    /// The TDX module is older than every level.
    NoModuleLevel,
    /// The quoting enclave is older than every level.
    NoQeLevel,
    /// The platform's SGX components or PCESVN reach no level.
    NoSgxLevel,
    /// Levels are reached by the SGX components, by the TDX components none of them.
    NoTdxLevel,
}

impl NotSupported {
    /// A sentence about it.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::CurrentModuleIdentityMissing => {
                "The TCB info has no identity for the TDX module that runs now."
            }
            Self::ModuleIdentitiesMissing => {
                "The TCB info has no TDX module identities, and the TDX module needs one."
            }
            Self::ModuleIdentityMissing => {
                "The TCB info has no identity for the major version of the TDX module."
            }
            Self::NoModuleLevel => "The TDX module is older than every level of its identity.",
            Self::NoQeLevel => "The quoting enclave is older than every level of its identity.",
            Self::NoSgxLevel => "The platform's SGX TCB reaches no level of the TCB info.",
            Self::NoTdxLevel => {
                "No level of the TCB info that the SGX TCB reaches is reached by the TDX TCB."
            }
        }
    }
}

impl fmt::Display for NotSupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// What was found about the quoting enclave.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum QeFinding<'a> {
    /// No identity or no ISVSVN was given: the quoting enclave takes no part in the status.
    NotAsked,
    /// It is older than every level.
    NoLevel,
    /// Its level.
    Level(&'a IsvLevel),
}

impl<'a> QeFinding<'a> {
    /// The level.
    pub fn level(self) -> Option<&'a IsvLevel> {
        match self {
            Self::NotAsked | Self::NoLevel => None,
            Self::Level(level) => Some(level),
        }
    }

    /// The level's status.
    pub fn status(self) -> Option<TcbStatus> {
        self.level().map(|level| level.status)
    }
}

/// What was found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TcbEvaluation<'a> {
    tee: Tee,
    status: Option<ConvergedStatus>,
    not_supported: Option<NotSupported>,
    sgx_level: Option<&'a TcbLevel>,
    tdx_level: Option<&'a TcbLevel>,
    module: ModuleFinding<'a>,
    qe: QeFinding<'a>,
    relaunch_advised: bool,
}

impl<'a> TcbEvaluation<'a> {
    /// The status of everything together; none when it is unknown, which is when the TCB info is about TDX and no TEE
    /// TCB SVN was given.
    pub fn status(&self) -> Option<ConvergedStatus> {
        self.status
    }

    /// Why the status is [`ConvergedStatus::NotSupported`]; none when it is not.
    pub fn not_supported(&self) -> Option<NotSupported> {
        self.not_supported
    }

    /// The first level that the SGX components and PCESVN reach.
    pub fn sgx_level(&self) -> Option<&'a TcbLevel> {
        self.sgx_level
    }

    /// The first level that the TDX components reach as well; none under an SGX TCB info.
    pub fn tdx_level(&self) -> Option<&'a TcbLevel> {
        self.tdx_level
    }

    /// The level that counts for the platform: the TDX level under a TDX TCB info, else the SGX level.
    pub fn platform_level(&self) -> Option<&'a TcbLevel> {
        match self.tee {
            Tee::Sgx => self.sgx_level,
            Tee::Tdx => self.tdx_level,
        }
    }

    /// What was found about the TDX module.
    pub fn module(&self) -> ModuleFinding<'a> {
        self.module
    }

    /// What was found about the quoting enclave; [`QeFinding::NotAsked`] says that it took no part.
    pub fn qe(&self) -> QeFinding<'a> {
        self.qe
    }

    /// The quoting enclave's level.
    pub fn qe_level(&self) -> Option<&'a IsvLevel> {
        self.qe.level()
    }

    /// The status of the quoting enclave's level.
    pub fn qe_status(&self) -> Option<TcbStatus> {
        self.qe.status()
    }

    /// Whether the trust domain should be started again.
    pub fn relaunch_advised(&self) -> bool {
        self.relaunch_advised
    }

    /// The advisories of the platform's level, the module's and the quoting enclave's: in this order and that of the
    /// document, each once.
    pub fn advisory_ids(&self) -> Vec<AdvisoryId> {
        let platform = self.platform_level().map(|level| &level.advisory_ids);
        let module = self.module.level().map(|level| &level.advisory_ids);
        let qe = self.qe_level().map(|level| &level.advisory_ids);
        let mut ids = Vec::new();
        for id in [platform, module, qe].into_iter().flatten().flatten() {
            if !ids.contains(id) {
                ids.push(*id);
            }
        }
        ids
    }

    /// The TCB recovery of the platform's level.
    pub fn tcb_date(&self) -> Option<UnixTime> {
        self.platform_level().map(|level| level.tcb_date)
    }

    /// The TCB recovery of the quoting enclave's level.
    pub fn qe_tcb_date(&self) -> Option<UnixTime> {
        self.qe_level().map(|level| level.tcb_date)
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
