//! What a platform lacks: for the next better status and for `UpToDate`, each component that is too old, who updates
//! it, and how.
//!
//! Platform, TDX module and quoting enclave are asked apart, for different people update them. The choice of a level
//! among those above the matched one, the closest first:
//! - next better: the status is that of the closest level with a better one; with no match the lowest level that is not
//!   Revoked is taken as it is;
//! - up to date: the status is `UpToDate`;
//! - of several levels with that status, the one with the fewest short components if it is the only one with so few,
//!   else the closest.
//!
//! "Better" is Intel's sense of it, best first: `UpToDate`, `SWHardeningNeeded`, `ConfigurationNeeded`,
//! `ConfigurationAndSWHardeningNeeded`, `OutOfDate`, `OutOfDateConfigurationNeeded`, `Revoked`. Labels of components
//! are the document's; version 2 has none, there those of version 3 are taken by position and said to be so.
//! Source: spec/intel-verification.md, section 4.

use super::components::ComponentSvn;
use super::convergence::Wants;
use super::evaluation::TcbEvaluation;
use super::levels::{TcbEngine, TcbSubject};
use super::tcb_info::TcbLevel;
use super::tcb_level::{IsvLevel, TcbStatus};
use crate::{Tee, UnixTime};

/// What is short of a platform, part by part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortfalls<'a> {
    /// The platform's own TCB; none when its status is unknown (TDX, and no TEE TCB SVN was given).
    pub platform: Option<PartShortfall<'a>>,
    /// The TDX module, when it has an identity of its own in the document.
    pub tdx_module: Option<PartShortfall<'a>>,
    /// The quoting enclave, when it takes part.
    pub qe: Option<PartShortfall<'a>>,
    /// What the levels ask for that is no newer component; each once, in order.
    pub needs: Vec<Need>,
}

impl<'a> Shortfalls<'a> {
    /// All that is short of the next better status: platform, TDX module, quoting enclave.
    pub fn short_of_next_better(&self) -> impl Iterator<Item = &Shortfall<'a>> {
        let targets = self.parts().filter_map(|part| part.next_better.as_ref());
        targets.flat_map(|target| &target.short)
    }

    /// All that is short of `UpToDate`: platform, TDX module, quoting enclave.
    pub fn short_of_up_to_date(&self) -> impl Iterator<Item = &Shortfall<'a>> {
        let targets = self.parts().filter_map(|part| match &part.up_to_date {
            UpToDateTarget::Already | UpToDateTarget::NoneAbove => None,
            UpToDateTarget::Reachable(target) => Some(target),
        });
        targets.flat_map(|target| &target.short)
    }

    fn parts(&self) -> impl Iterator<Item = &PartShortfall<'a>> {
        let parts = [&self.platform, &self.tdx_module, &self.qe];
        parts.into_iter().filter_map(Option::as_ref)
    }
}

/// What is short of one part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartShortfall<'a> {
    /// The status it has; none when it reaches no level.
    pub status: Option<TcbStatus>,
    /// The next better level; none when there is no better one above.
    pub next_better: Option<TcbTarget<'a>>,
    /// The level that is `UpToDate`.
    pub up_to_date: UpToDateTarget<'a>,
}

/// Whether and how `UpToDate` can be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpToDateTarget<'a> {
    /// It is.
    Already,
    /// No level of the document above the matched one is `UpToDate`: what is left is configuration or software
    /// hardening ([`Shortfalls::needs`]), not an update.
    NoneAbove,
    /// By these updates.
    Reachable(TcbTarget<'a>),
}

/// A level to reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcbTarget<'a> {
    /// The status the part has then.
    pub status: TcbStatus,
    /// The TCB recovery the level belongs to.
    pub tcb_date: UnixTime,
    /// The components that are too old; never empty.
    pub short: Vec<Shortfall<'a>>,
}

/// A component that is too old.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Shortfall<'a> {
    /// Which.
    pub component: ShortComponent,
    /// Its security version.
    pub have: u16,
    /// The security version that the target needs.
    pub need: u16,
    /// Who provides it in Intel's words, e.g. `BIOS`, `OS/VMM`.
    pub category: Option<&'a str>,
    /// What it is in Intel's words, e.g. `Early Microcode Update`; `type` in documents.
    pub kind: Option<&'a str>,
    /// Where the two labels come from.
    pub labels: LabelSource,
}

/// The components there are.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ShortComponent {
    /// PCESVN.
    PceSvn,
    /// ISVSVN of the quoting enclave.
    QeIsvSvn,
    /// An SGX component, 0 to 15.
    Sgx(u8),
    /// A TDX component, 0 to 15.
    Tdx(u8),
    /// ISVSVN of the TDX module.
    TdxModuleIsvSvn {
        /// Of the module.
        major_version: u8,
    },
}

/// Where labels come from.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum LabelSource {
    /// The document has none: those that other documents give a component of this position.
    Convention,
    /// The document; also of what has no labels there, such as PCESVN.
    Document,
}

/// Who must act.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Actor {
    /// Whoever runs the host's operating system or hypervisor. Text: `host operator`.
    HostOperator,
    /// Whoever runs the machine and its firmware. Text: `platform owner`.
    PlatformOwner,
    /// Intel's documents do not say. Text: `unknown`.
    Unknown,
}

impl Actor {
    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostOperator => "host operator",
            Self::PlatformOwner => "platform owner",
            Self::Unknown => "unknown",
        }
    }
}

impl Shortfall<'_> {
    /// Who must act.
    pub fn actor(&self) -> Actor {
        match self.component {
            ShortComponent::PceSvn
            | ShortComponent::QeIsvSvn
            | ShortComponent::TdxModuleIsvSvn { .. } => Actor::HostOperator,
            ShortComponent::Sgx(_) | ShortComponent::Tdx(_) => match self.category {
                Some(BIOS) => Actor::PlatformOwner,
                Some(OS_VMM) => Actor::HostOperator,
                Some(_) | None => Actor::Unknown,
            },
        }
    }

    /// What to do, a sentence.
    pub fn action(&self) -> &'static str {
        match self.component {
            ShortComponent::PceSvn => {
                "Install a newer provisioning certification enclave (PCE), part of Intel's SGX PSW and DCAP packages."
            }
            ShortComponent::QeIsvSvn => {
                "Install a newer quoting enclave, part of Intel's SGX and TDX DCAP packages."
            }
            ShortComponent::TdxModuleIsvSvn { .. } => TDX_MODULE_ACTION,
            ShortComponent::Sgx(_) | ShortComponent::Tdx(_) => match (self.actor(), self.kind) {
                (Actor::PlatformOwner, _) => {
                    "Install a BIOS or firmware update from the vendor of the board or system."
                }
                (Actor::HostOperator, Some("TDX Module")) => TDX_MODULE_ACTION,
                (Actor::HostOperator, Some("SEAMLDR ACM")) => {
                    "Install a newer SEAM loader (SEAMLDR) on the host, through its operating system."
                }
                (Actor::HostOperator, Some("TXT SINIT")) => {
                    "Install a newer TXT SINIT module on the host, through its operating system."
                }
                (Actor::HostOperator, Some(kind)) if kind.contains("Microcode") => {
                    "Install newer microcode on the host, through its operating system."
                }
                (Actor::HostOperator, _) => {
                    "Update the host's operating system or hypervisor and the microcode, SINIT and SEAMLDR it loads."
                }
                (Actor::Unknown, _) => {
                    "Update firmware, microcode and host software; Intel's documents do not say which of them it is."
                }
            },
        }
    }

    /// What must follow, a sentence. PCK certificates are made for SGX components and PCESVN and for nothing else, so
    /// a new one is asked for after those.
    pub fn afterwards(&self) -> &'static str {
        match self.component {
            ShortComponent::PceSvn | ShortComponent::Sgx(_) => {
                "Then get the platform's new PCK certificate and make a new quote."
            }
            ShortComponent::QeIsvSvn => "Then make a new quote.",
            ShortComponent::Tdx(_) | ShortComponent::TdxModuleIsvSvn { .. } => {
                "Then start the trust domain again and make a new quote."
            }
        }
    }
}

/// What a level asks for that is no newer component.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Need {
    /// Settings of the platform.
    Configuration,
    /// A restart of the trust domain.
    Relaunch,
    /// Mitigations in the software inside the enclave or trust domain.
    SoftwareHardening,
}

impl Need {
    /// Lower-case words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Relaunch => "relaunch",
            Self::SoftwareHardening => "software-hardening",
        }
    }

    /// What to do, a sentence.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Configuration => {
                "The platform owner must configure the platform as the listed advisories ask, for example switch off simultaneous multithreading in the BIOS."
            }
            Self::Relaunch => {
                "The host runs a good TDX module already: the owner of the trust domain must start it again."
            }
            Self::SoftwareHardening => {
                "The author of the software inside the enclave or trust domain must mitigate the listed advisories, for example by rebuilding it with a newer SDK."
            }
        }
    }
}

impl<'a> TcbEngine<'a> {
    /// What `subject` is short of; `evaluation` is what this engine found about it.
    pub fn shortfall(
        &self,
        subject: &TcbSubject,
        evaluation: &TcbEvaluation<'a>,
    ) -> Shortfalls<'a> {
        let known = evaluation.status().is_some();
        let module = evaluation.module();
        let isv = |identity_levels: &'a [IsvLevel], component, have, reached| {
            let mut levels: Vec<&IsvLevel> = identity_levels.iter().collect();
            levels.sort_by_key(|level| std::cmp::Reverse(level.isv_svn));
            let short = |level: &&'a IsvLevel| {
                (level.isv_svn > have).then_some(Shortfall {
                    component,
                    have,
                    need: level.isv_svn,
                    category: None,
                    kind: None,
                    labels: LabelSource::Document,
                })
            };
            part(levels.into_iter(), reached, |level| {
                short(level).into_iter().collect()
            })
        };
        let tdx_module = module
            .identity()
            .zip(subject.tee_tcb_svn)
            .map(|(identity, svn)| {
                let component = ShortComponent::TdxModuleIsvSvn {
                    major_version: identity.major_version,
                };
                let have = svn.module_isv_svn().into();
                isv(&identity.levels, component, have, module.level())
            });
        let qe = self
            .qe_identity()
            .zip(subject.qe_isv_svn)
            .map(|(identity, have)| {
                let component = ShortComponent::QeIsvSvn;
                isv(&identity.levels, component, have, evaluation.qe_level())
            });
        Shortfalls {
            platform: known.then(|| {
                part(self.levels(), evaluation.platform_level(), |level| {
                    short_of_level(self.tcb_info().tee, subject, level)
                })
            }),
            tdx_module,
            qe,
            needs: needs(evaluation),
        }
    }
}

/// A level of a platform, a module or an enclave.
trait Level {
    fn status(&self) -> TcbStatus;
    fn tcb_date(&self) -> UnixTime;
}

impl Level for TcbLevel {
    fn status(&self) -> TcbStatus {
        self.status
    }

    fn tcb_date(&self) -> UnixTime {
        self.tcb_date
    }
}

impl Level for IsvLevel {
    fn status(&self) -> TcbStatus {
        self.status
    }

    fn tcb_date(&self) -> UnixTime {
        self.tcb_date
    }
}

/// `levels` stand best first; `matched` is one of them.
fn part<'a, L: Level + 'a>(
    levels: impl Iterator<Item = &'a L>,
    matched: Option<&'a L>,
    short: impl Fn(&&'a L) -> Vec<Shortfall<'a>>,
) -> PartShortfall<'a> {
    let mut above: Vec<&L> = levels
        .take_while(|level| !matched.is_some_and(|matched| std::ptr::eq(matched, *level)))
        .collect();
    above.reverse();
    let status = matched.map(|level| level.status());
    let target = |level: &'a L| TcbTarget {
        status: level.status(),
        tcb_date: level.tcb_date(),
        short: short(&level),
    };
    let choose = |wanted: TcbStatus| -> Option<TcbTarget<'a>> {
        let targets: Vec<_> = above
            .iter()
            .filter(|level| level.status() == wanted)
            .map(|level| target(level))
            .collect();
        let fewest = targets.iter().map(|one| one.short.len()).min()?;
        let mut so_few = targets.iter().filter(|one| one.short.len() == fewest);
        match (so_few.next(), so_few.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => targets.into_iter().next(),
        }
    };
    let next_better = match status {
        None => {
            let lowest = above
                .iter()
                .find(|level| level.status() != TcbStatus::Revoked);
            lowest.map(|level| target(level))
        }
        Some(status) => above
            .iter()
            .map(|level| level.status())
            .find(|better| rank(*better) < rank(status))
            .and_then(choose),
    };
    let up_to_date = if status == Some(TcbStatus::UpToDate) {
        UpToDateTarget::Already
    } else {
        choose(TcbStatus::UpToDate).map_or(UpToDateTarget::NoneAbove, UpToDateTarget::Reachable)
    };
    PartShortfall {
        status,
        next_better,
        up_to_date,
    }
}

/// Best first.
const fn rank(status: TcbStatus) -> u8 {
    match status {
        TcbStatus::UpToDate => 0,
        TcbStatus::SwHardeningNeeded => 1,
        TcbStatus::ConfigurationNeeded => 2,
        TcbStatus::ConfigurationAndSwHardeningNeeded => 3,
        TcbStatus::OutOfDate => 4,
        TcbStatus::OutOfDateConfigurationNeeded => 5,
        TcbStatus::Revoked => 6,
    }
}

fn short_of_level<'a>(tee: Tee, subject: &TcbSubject, level: &'a TcbLevel) -> Vec<Shortfall<'a>> {
    let platform = &subject.platform;
    let mut short: Vec<_> = short_components(
        &platform.components,
        &level.sgx_components,
        0,
        ShortComponent::Sgx,
        &SGX_LABELS,
    )
    .collect();
    let tdx = subject.tee_tcb_svn.filter(|_| tee == Tee::Tdx);
    if let Some((svn, components)) = tdx.zip(level.tdx_components.as_deref()) {
        short.extend(short_components(
            &svn.0,
            components,
            svn.skipped(),
            ShortComponent::Tdx,
            &TDX_LABELS,
        ));
    }
    if platform.pce_svn.0 < level.pce_svn {
        short.push(Shortfall {
            component: ShortComponent::PceSvn,
            have: platform.pce_svn.0,
            need: level.pce_svn,
            category: None,
            kind: None,
            labels: LabelSource::Document,
        });
    }
    short
}

fn short_components<'a>(
    have: &[u8; 16],
    need: &'a [ComponentSvn; 16],
    skipped: usize,
    component: impl Fn(u8) -> ShortComponent,
    convention: &[Labels; 16],
) -> impl Iterator<Item = Shortfall<'a>> {
    let all = (0_u8..).zip(have).zip(need).zip(convention).skip(skipped);
    all.filter(|(((_, have), need), _)| **have < need.svn).map(
        move |(((at, have), need), convention)| {
            let unlabelled = need.category.is_none() && need.kind.is_none();
            let (labels, (category, kind)) = if unlabelled {
                (LabelSource::Convention, *convention)
            } else {
                let labels = (need.category.as_deref(), need.kind.as_deref());
                (LabelSource::Document, labels)
            };
            Shortfall {
                component: component(at),
                have: (*have).into(),
                need: need.svn.into(),
                category,
                kind,
                labels,
            }
        },
    )
}

fn needs(evaluation: &TcbEvaluation<'_>) -> Vec<Need> {
    let statuses = [
        evaluation.platform_level().map(|level| level.status),
        evaluation.module().status(),
        evaluation.qe_status(),
    ];
    let wants = statuses
        .into_iter()
        .flatten()
        .fold(Wants::default(), |wants, status| wants.and(status.into()));
    let needs = [
        (wants.configuration, Need::Configuration),
        (evaluation.relaunch_advised(), Need::Relaunch),
        (wants.sw_hardening, Need::SoftwareHardening),
    ];
    let asked = needs.into_iter().filter(|(asked, _)| *asked);
    asked.map(|(_, need)| need).collect()
}

/// Category and type.
type Labels = (Option<&'static str>, Option<&'static str>);

const BIOS: &str = "BIOS";
const OS_VMM: &str = "OS/VMM";
const TDX_MODULE_ACTION: &str = "Install a newer TDX module on the host, through its operating system or the firmware that loads it.";

/// Labels of Intel's documents of version 3, by position: spec/intel-verification.md, section 4.
const SGX_LABELS: [Labels; 16] = [
    (Some(BIOS), Some("Early Microcode Update")),
    (Some(OS_VMM), Some("SGX Late Microcode Update")),
    (Some(OS_VMM), Some("TXT SINIT")),
    (Some(BIOS), None),
    (Some(BIOS), None),
    (Some(BIOS), None),
    (None, None),
    (Some(OS_VMM), Some("SEAMLDR ACM")),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
];
const TDX_LABELS: [Labels; 16] = [
    (Some(OS_VMM), Some("TDX Module")),
    (Some(OS_VMM), Some("TDX Module")),
    (Some(OS_VMM), Some("TDX Late Microcode Update")),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
    (None, None),
];

#[cfg(test)]
mod tests;
