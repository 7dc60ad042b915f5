//! What a TCB info says about the TDX module of a trust domain.
//!
//! The module's major version is the second byte of the TEE TCB SVN. Version 0 is described by `tdxModule` and judged
//! by the platform's levels; every other has an identity with levels of its own, of which the highest that the
//! module reaches counts. Source: spec/intel-verification.md, section 5.

use super::levels::TeeTcbSvn;
use super::tcb_info::{TcbInfo, TdxModule, TdxModuleIdentity};
use super::tcb_level::{IsvLevel, TcbStatus};

/// What was found about the TDX module. In the order in which one comes to know it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ModuleFinding<'a> {
    /// The document is about SGX, or no TEE TCB SVN was given.
    NotAsked,
    /// Major version 0: components 0 and 1 of the platform's TDX level judge it.
    InPlatformLevel(Option<&'a TdxModule>),
    /// The document has no list of module identities, though the module needs one.
    ListMissing {
        /// The module's.
        major_version: u8,
    },
    /// The list has no identity for the module.
    EntryMissing {
        /// The module's.
        major_version: u8,
    },
    /// The module is older than every level of its identity.
    NoLevel(&'a TdxModuleIdentity),
    /// The module's level.
    Level(&'a TdxModuleIdentity, &'a IsvLevel),
}

impl<'a> ModuleFinding<'a> {
    /// Finds the module in the document.
    pub(super) fn of(info: &'a TcbInfo, tee_tcb_svn: TeeTcbSvn) -> Self {
        let major_version = tee_tcb_svn.module_major_version();
        if major_version == 0 {
            return Self::InPlatformLevel(info.tdx_module.as_ref());
        }
        if info.tdx_module_identities.is_empty() {
            return Self::ListMissing { major_version };
        }
        let identity = info
            .tdx_module_identities
            .iter()
            .find(|identity| identity.major_version == major_version);
        let Some(identity) = identity else {
            return Self::EntryMissing { major_version };
        };
        match reached(&identity.levels, tee_tcb_svn.module_isv_svn().into()) {
            Some(level) => Self::Level(identity, level),
            None => Self::NoLevel(identity),
        }
    }

    /// Signer and attributes that MRSIGNERSEAM and SEAMATTRIBUTES are to be held against.
    pub fn module(self) -> Option<&'a TdxModule> {
        match self {
            Self::NotAsked | Self::ListMissing { .. } | Self::EntryMissing { .. } => None,
            Self::InPlatformLevel(module) => module,
            Self::NoLevel(identity) | Self::Level(identity, _) => Some(&identity.module),
        }
    }

    /// The identity, for major versions above 0.
    pub fn identity(self) -> Option<&'a TdxModuleIdentity> {
        match self {
            Self::NotAsked
            | Self::InPlatformLevel(_)
            | Self::ListMissing { .. }
            | Self::EntryMissing { .. } => None,
            Self::NoLevel(identity) | Self::Level(identity, _) => Some(identity),
        }
    }

    /// The module's level.
    pub fn level(self) -> Option<&'a IsvLevel> {
        match self {
            Self::Level(_, level) => Some(level),
            Self::NotAsked
            | Self::InPlatformLevel(_)
            | Self::ListMissing { .. }
            | Self::EntryMissing { .. }
            | Self::NoLevel(_) => None,
        }
    }

    /// The status of the module's level.
    pub fn status(self) -> Option<TcbStatus> {
        self.level().map(|level| level.status)
    }
}

/// The level with the highest ISVSVN that `isv_svn` reaches; of several the first in the document. The same as the
/// first that is reached in a list sorted best first.
pub(super) fn reached(levels: &[IsvLevel], isv_svn: u16) -> Option<&IsvLevel> {
    highest(levels.iter().filter(|level| level.isv_svn <= isv_svn))
}

/// The level with the highest ISVSVN.
pub(super) fn newest(levels: &[IsvLevel]) -> Option<&IsvLevel> {
    highest(levels.iter())
}

fn highest<'a>(levels: impl Iterator<Item = &'a IsvLevel>) -> Option<&'a IsvLevel> {
    levels.reduce(|best, next| {
        if next.isv_svn > best.isv_svn {
            next
        } else {
            best
        }
    })
}
