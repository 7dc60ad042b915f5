//! One status out of those of the platform, the TDX module and the quoting enclave, and Intel's relaunch advice.
//!
//! The order is fixed: the module joins the platform, then relaunch is looked at, then the quoting enclave joins.
//! Intel's table (spec/intel-verification.md, section 6) is a union of what is wrong: configuration that is needed
//! stays needed, out of date swallows software hardening, Revoked swallows all. Written as such it also has an answer
//! for statuses of modules and enclaves that Intel's library leaves without effect (`ConfigurationNeeded`, ...), never
//! a better one than Intel's. Relaunch: Intel's QVL of 2024, `TDRelaunchCheck.cpp`.

use std::fmt;
use std::str::FromStr;

use super::levels::TeeTcbSvn;
use super::tcb_info::{TcbInfo, TcbLevel};
use super::tcb_level::TcbStatus;
use super::tdx_module::newest;
use crate::Error;
use crate::ids::serde_as_text;

/// The status of a platform together with its TDX module and quoting enclave. Text: Intel's words.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConvergedStatus {
    /// Configuration and software hardening are needed.
    ConfigurationAndSwHardeningNeeded,
    /// Up to date, if configured as the advisories ask.
    ConfigurationNeeded,
    /// There is no level for what was found; neither good nor revoked.
    NotSupported,
    /// Updates exist.
    OutOfDate,
    /// Updates exist, and configuration is needed too.
    OutOfDateConfigurationNeeded,
    /// Not to be trusted any more.
    Revoked,
    /// Up to date, if the software inside mitigates what the advisories list.
    SwHardeningNeeded,
    /// The host is up to date, the trust domain was started before it was: start it again.
    TdRelaunchAdvised,
    /// Start the trust domain again; configuration is needed too.
    TdRelaunchAdvisedConfigurationNeeded,
    /// Nothing is known to be missing.
    UpToDate,
}

impl ConvergedStatus {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::ConfigurationAndSwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::NotSupported,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
        Self::SwHardeningNeeded,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
        Self::UpToDate,
    ];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::NotSupported => "NotSupported",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::UpToDate => "UpToDate",
        }
    }
}

impl From<TcbStatus> for ConvergedStatus {
    fn from(status: TcbStatus) -> Self {
        match status {
            TcbStatus::ConfigurationAndSwHardeningNeeded => Self::ConfigurationAndSwHardeningNeeded,
            TcbStatus::ConfigurationNeeded => Self::ConfigurationNeeded,
            TcbStatus::OutOfDate => Self::OutOfDate,
            TcbStatus::OutOfDateConfigurationNeeded => Self::OutOfDateConfigurationNeeded,
            TcbStatus::Revoked => Self::Revoked,
            TcbStatus::SwHardeningNeeded => Self::SwHardeningNeeded,
            TcbStatus::UpToDate => Self::UpToDate,
        }
    }
}

impl fmt::Display for ConvergedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ConvergedStatus {
    type Err = Error;

    /// [`Error::Format`] for another word; its text lists the words there are.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut all = Self::ALL.into_iter();
        all.find(|status| status.name() == text)
            .ok_or_else(|| Error::Format {
                what: "TCB status".to_owned(),
                why: format!("it is none of {}", Self::ALL.map(Self::name).join(", ")),
            })
    }
}

serde_as_text!(ConvergedStatus);

/// What a status asks for, one by one.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Wants {
    pub(super) configuration: bool,
    pub(super) relaunch: bool,
    pub(super) sw_hardening: bool,
    pub(super) update: bool,
    pub(super) revoked: bool,
}

impl Wants {
    /// What either of two asks for.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            configuration: self.configuration || other.configuration,
            relaunch: self.relaunch || other.relaunch,
            sw_hardening: self.sw_hardening || other.sw_hardening,
            update: self.update || other.update,
            revoked: self.revoked || other.revoked,
        }
    }

    pub(super) const fn status(self) -> ConvergedStatus {
        if self.revoked {
            ConvergedStatus::Revoked
        } else if self.update {
            if self.configuration {
                ConvergedStatus::OutOfDateConfigurationNeeded
            } else {
                ConvergedStatus::OutOfDate
            }
        } else if self.relaunch {
            if self.configuration {
                ConvergedStatus::TdRelaunchAdvisedConfigurationNeeded
            } else {
                ConvergedStatus::TdRelaunchAdvised
            }
        } else {
            match (self.configuration, self.sw_hardening) {
                (true, true) => ConvergedStatus::ConfigurationAndSwHardeningNeeded,
                (true, false) => ConvergedStatus::ConfigurationNeeded,
                (false, true) => ConvergedStatus::SwHardeningNeeded,
                (false, false) => ConvergedStatus::UpToDate,
            }
        }
    }
}

impl From<TcbStatus> for Wants {
    fn from(status: TcbStatus) -> Self {
        let none = Self::default();
        match status {
            TcbStatus::ConfigurationAndSwHardeningNeeded => Self {
                configuration: true,
                sw_hardening: true,
                ..none
            },
            TcbStatus::ConfigurationNeeded => Self {
                configuration: true,
                ..none
            },
            TcbStatus::OutOfDate => Self {
                update: true,
                ..none
            },
            TcbStatus::OutOfDateConfigurationNeeded => Self {
                configuration: true,
                update: true,
                ..none
            },
            TcbStatus::Revoked => Self {
                revoked: true,
                ..none
            },
            TcbStatus::SwHardeningNeeded => Self {
                sw_hardening: true,
                ..none
            },
            TcbStatus::UpToDate => none,
        }
    }
}

/// What a look at the TCB a host has now, beside that at the trust domain's launch, says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Relaunch {
    /// A relaunch would help.
    Advised,
    /// It would not, or the question does not arise.
    No,
    /// The module that runs now has no identity in the document, or one without levels: Intel refuses.
    UnknownModule,
}

/// Whether a relaunch is advised. `tdx` is the platform's TDX level and the module together; `module` and `qe` are
/// the statuses of either, a quoting enclave that takes no part has none.
///
/// Intel asks for `tdx` to be out of date and for the module to be so, not for the module to be the only reason.
pub(super) fn relaunch(
    info: &TcbInfo,
    newest_level: Option<&TcbLevel>,
    sgx: TcbStatus,
    tdx: Wants,
    module: Option<TcbStatus>,
    qe: Option<TcbStatus>,
    current: TeeTcbSvn,
) -> Relaunch {
    let bad = |status: TcbStatus| {
        let wants = Wants::from(status);
        wants.update || wants.revoked
    };
    let launch_outdated = tdx.update && !tdx.revoked && module == Some(TcbStatus::OutOfDate);
    let arises = launch_outdated && !bad(sgx) && !qe.is_some_and(bad);
    if !arises {
        return Relaunch::No;
    }
    let Some(tdx_components) = newest_level.and_then(|level| level.tdx_components.as_deref())
    else {
        return Relaunch::No;
    };
    let [isv_svn, major_version, late_microcode, ..] = current.0;
    let [newest_isv_svn, _, newest_microcode, ..] = tdx_components;
    let needed = if major_version == 0 {
        u16::from(newest_isv_svn.svn)
    } else {
        let identity = info
            .tdx_module_identities
            .iter()
            .find(|identity| identity.major_version == major_version);
        match identity.and_then(|identity| newest(&identity.levels)) {
            Some(level) => level.isv_svn,
            None => return Relaunch::UnknownModule,
        }
    };
    if u16::from(isv_svn) >= needed && late_microcode >= newest_microcode.svn {
        Relaunch::Advised
    } else {
        Relaunch::No
    }
}

#[cfg(test)]
mod tests {
    use super::ConvergedStatus as S;
    use super::TcbStatus as T;
    use super::*;

    const PLATFORM: [T; 7] = [
        T::UpToDate,
        T::SwHardeningNeeded,
        T::ConfigurationNeeded,
        T::ConfigurationAndSwHardeningNeeded,
        T::OutOfDate,
        T::OutOfDateConfigurationNeeded,
        T::Revoked,
    ];

    #[test]
    fn every_row_of_the_table() {
        let rows = [
            (T::UpToDate, PLATFORM.map(S::from)),
            (
                T::OutOfDate,
                [
                    S::OutOfDate,
                    S::OutOfDate,
                    S::OutOfDateConfigurationNeeded,
                    S::OutOfDateConfigurationNeeded,
                    S::OutOfDate,
                    S::OutOfDateConfigurationNeeded,
                    S::Revoked,
                ],
            ),
            (T::Revoked, [S::Revoked; 7]),
        ];
        for (component, row) in rows {
            for (platform, expected) in PLATFORM.into_iter().zip(row) {
                let converged = Wants::from(platform).and(component.into()).status();
                assert_eq!(converged, expected, "{component} joins {platform}");
            }
        }
    }

    #[test]
    fn names() {
        for status in S::ALL {
            assert_eq!(status.name().parse(), Ok(status));
            assert_eq!(
                serde_json::to_string(&status).expect("text"),
                format!("\"{status}\"")
            );
        }
        for status in PLATFORM {
            assert_eq!(S::from(status).name(), status.name());
            assert_eq!(Wants::from(status).status(), S::from(status));
        }
        for text in ["", "uptodate", "UpToDate ", "SwHardeningNeeded"] {
            assert!(text.parse::<S>().is_err(), "{text}");
        }
    }
}
