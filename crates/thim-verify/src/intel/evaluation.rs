//! What the TCB level engine finds about one platform: levels, the status they make, and why there is none.
//!
//! All of it borrows from the documents; only the list of advisories, made on demand, is allocated.

use std::fmt;

use super::advisory::AdvisoryId;
use super::convergence::ConvergedStatus;
use super::tcb_info::TcbLevel;
use super::tcb_level::{IsvLevel, TcbStatus};
use super::tdx_module::ModuleFinding;
use crate::{Tee, UnixTime};

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
    pub(super) tee: Tee,
    pub(super) status: Option<ConvergedStatus>,
    pub(super) not_supported: Option<NotSupported>,
    pub(super) sgx_level: Option<&'a TcbLevel>,
    pub(super) tdx_level: Option<&'a TcbLevel>,
    pub(super) module: ModuleFinding<'a>,
    pub(super) qe: QeFinding<'a>,
    pub(super) relaunch_advised: bool,
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
