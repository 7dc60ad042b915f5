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
use super::levels::{TcbEngine, TcbEvaluation, TcbSubject};
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
mod tests {
    use super::super::made_levels::{
        identity, info, qe, sgx_level, subject, tdx_level, tdx_subject,
    };
    use super::super::tcb_info::TcbInfo;
    use super::TcbStatus as T;
    use super::*;

    fn shortfalls<'a>(engine: &TcbEngine<'a>, subject: &TcbSubject) -> Shortfalls<'a> {
        engine.shortfall(subject, &engine.evaluate(subject))
    }

    fn platform<'a>(info: &'a TcbInfo, subject: &TcbSubject) -> PartShortfall<'a> {
        let all = shortfalls(&TcbEngine::new(info, None), subject);
        all.platform.expect("a known status")
    }

    type Short = (ShortComponent, u16, u16);

    fn short(target: &TcbTarget<'_>) -> (T, Vec<Short>) {
        let short = |one: &Shortfall<'_>| (one.component, one.have, one.need);
        (target.status, target.short.iter().map(short).collect())
    }

    fn next(part: &PartShortfall<'_>) -> Option<(T, Vec<Short>)> {
        part.next_better.as_ref().map(short)
    }

    fn best(part: &PartShortfall<'_>) -> Option<(T, Vec<Short>)> {
        match &part.up_to_date {
            UpToDateTarget::Already | UpToDateTarget::NoneAbove => None,
            UpToDateTarget::Reachable(target) => Some(short(target)),
        }
    }

    const fn sgx(at: u8, have: u16, need: u16) -> Short {
        (ShortComponent::Sgx(at), have, need)
    }

    #[test]
    fn up_to_date_is_short_of_nothing() {
        let info = info(
            vec![
                sgx_level(&[6], 9, T::UpToDate),
                sgx_level(&[5], 9, T::UpToDate),
            ],
            vec![],
        );
        let part = platform(&info, &subject(&[5], 9));
        assert_eq!(part.status, Some(T::UpToDate));
        assert_eq!(part.next_better, None);
        assert_eq!(part.up_to_date, UpToDateTarget::Already);
    }

    #[test]
    fn the_closest_better_level_and_the_lowest_up_to_date() {
        let info = info(
            vec![
                sgx_level(&[9, 9], 9, T::UpToDate),
                sgx_level(&[8, 8], 9, T::UpToDate),
                sgx_level(&[7, 8], 9, T::SwHardeningNeeded),
                sgx_level(&[6], 9, T::OutOfDate),
                sgx_level(&[5], 9, T::OutOfDate),
                sgx_level(&[4], 5, T::Revoked),
            ],
            vec![],
        );
        let part = platform(&info, &subject(&[5], 10));
        assert_eq!(
            next(&part),
            Some((T::SwHardeningNeeded, vec![sgx(0, 5, 7), sgx(1, 0, 8)]))
        );
        assert_eq!(
            best(&part),
            Some((T::UpToDate, vec![sgx(0, 5, 8), sgx(1, 0, 8)]))
        );
        // From Revoked the closest better one is the nearest OutOfDate; PCESVN is short too.
        let part = platform(&info, &subject(&[4], 5));
        let (status, missing) = next(&part).expect("a better level");
        assert_eq!(status, T::OutOfDate);
        assert_eq!(missing, [sgx(0, 4, 5), (ShortComponent::PceSvn, 5, 9)]);
        let target = part.next_better.expect("a better level");
        assert_eq!(target.tcb_date, UnixTime::from_secs(5));
        // Without a match the lowest that is not revoked.
        let part = platform(&info, &subject(&[3], 9));
        assert_eq!(part.status, None);
        assert_eq!(next(&part), Some((T::OutOfDate, vec![sgx(0, 3, 5)])));
    }

    #[test]
    fn of_several_levels_the_fewest_components_if_that_is_one_level() {
        let up_to_date = |levels: Vec<TcbLevel>| {
            let info = info(levels, vec![]);
            best(&platform(&info, &subject(&[5, 5, 5], 9)))
        };
        let at = |first: &[u8], status| sgx_level(first, 9, status);
        let one = up_to_date(vec![
            at(&[9, 5, 5], T::UpToDate),
            at(&[6, 6, 5], T::UpToDate),
            at(&[5, 5, 5], T::OutOfDate),
        ]);
        assert_eq!(one, Some((T::UpToDate, vec![sgx(0, 5, 9)])));
        let two = up_to_date(vec![
            at(&[9, 5, 5], T::UpToDate),
            at(&[8, 5, 5], T::UpToDate),
            at(&[6, 6, 5], T::UpToDate),
            at(&[5, 5, 5], T::OutOfDate),
        ]);
        assert_eq!(two, Some((T::UpToDate, vec![sgx(0, 5, 6), sgx(1, 5, 6)])));
    }

    #[test]
    fn without_an_up_to_date_level_needs_are_left() {
        let info = info(
            vec![
                sgx_level(&[6], 9, T::ConfigurationAndSwHardeningNeeded),
                sgx_level(&[5], 9, T::OutOfDateConfigurationNeeded),
            ],
            vec![],
        );
        let engine = TcbEngine::new(&info, None);
        let all = shortfalls(&engine, &subject(&[6], 9));
        assert_eq!(all.needs, [Need::Configuration, Need::SoftwareHardening]);
        let part = all.platform.expect("a known status");
        assert_eq!(part.next_better, None);
        assert_eq!(part.up_to_date, UpToDateTarget::NoneAbove);
        let all = shortfalls(&engine, &subject(&[5], 9));
        assert_eq!(all.needs, [Need::Configuration]);
        assert_eq!(all.short_of_next_better().count(), 1);
        assert_eq!(all.short_of_up_to_date().count(), 0);
        // Only revoked levels: nothing is better, matched or not.
        let revoked = super::super::made_levels::info(vec![sgx_level(&[5], 9, T::Revoked)], vec![]);
        assert_eq!(platform(&revoked, &subject(&[5], 9)).next_better, None);
        assert_eq!(platform(&revoked, &subject(&[4], 9)).next_better, None);
    }

    #[test]
    fn module_and_quoting_enclave_join() {
        let info = info(
            vec![
                tdx_level(&[5], &[9, 0, 4], 9, T::UpToDate),
                tdx_level(&[5], &[9, 0, 2], 9, T::OutOfDate),
            ],
            vec![identity(
                1,
                &[
                    (8, T::UpToDate),
                    (6, T::UpToDate),
                    (4, T::OutOfDate),
                    (2, T::Revoked),
                ],
            )],
        );
        let qe = qe(&[(8, T::UpToDate), (6, T::OutOfDate)]);
        let engine = TcbEngine::new(&info, Some(&qe));
        let subject = TcbSubject {
            qe_isv_svn: Some(5),
            ..tdx_subject(&[5], &[3, 1, 3], 9)
        };
        let all = shortfalls(&engine, &subject);
        let module = |need| {
            (
                ShortComponent::TdxModuleIsvSvn { major_version: 1 },
                3,
                need,
            )
        };
        let part = all.tdx_module.as_ref().expect("a module");
        assert_eq!(next(part), Some((T::OutOfDate, vec![module(4)])));
        // Both have one short component: not the fewest alone, so the closest.
        assert_eq!(best(part), Some((T::UpToDate, vec![module(6)])));
        let part = all.qe.as_ref().expect("a quoting enclave");
        assert_eq!(part.status, None);
        let isv_svn = |need| vec![(ShortComponent::QeIsvSvn, 5, need)];
        assert_eq!(next(part), Some((T::OutOfDate, isv_svn(6))));
        assert_eq!(best(part), Some((T::UpToDate, isv_svn(8))));
        // Components 0 and 1 are the module's business.
        let part = all.platform.as_ref().expect("a known status");
        let microcode = vec![(ShortComponent::Tdx(2), 3, 4)];
        assert_eq!(best(part), Some((T::UpToDate, microcode)));
        assert_eq!(all.short_of_up_to_date().count(), 3);
        for one in all.short_of_next_better() {
            assert_eq!(one.actor(), Actor::HostOperator, "{one:?}");
        }

        let version_0 = shortfalls(&engine, &tdx_subject(&[5], &[8, 0, 4], 9));
        assert_eq!((&version_0.tdx_module, &version_0.qe), (&None, &None));
        let part = version_0.platform.expect("a known status");
        let module = vec![(ShortComponent::Tdx(0), 8, 9)];
        assert_eq!(best(&part), Some((T::UpToDate, module)));
        let unknown = shortfalls(&engine, &super::super::made_levels::subject(&[1], 9));
        assert_eq!((unknown.platform, unknown.tdx_module), (None, None));
    }

    #[test]
    fn relaunch_is_a_need() {
        let info = info(
            vec![tdx_level(&[5], &[9, 0, 4], 9, T::ConfigurationNeeded)],
            vec![identity(1, &[(6, T::UpToDate), (4, T::OutOfDate)])],
        );
        let launch = tdx_subject(&[5], &[4, 1, 4], 9);
        let now = tdx_subject(&[5], &[6, 1, 4], 9).tee_tcb_svn;
        let subject = TcbSubject {
            tee_tcb_svn2: now,
            ..launch
        };
        let engine = TcbEngine::new(&info, None);
        let needs = shortfalls(&engine, &subject).needs;
        assert_eq!(needs, [Need::Configuration, Need::Relaunch]);
        assert_eq!(shortfalls(&engine, &launch).needs, [Need::Configuration]);
    }

    #[test]
    fn labels_are_the_documents_or_said_to_be_by_convention() {
        let mut info = info(
            vec![sgx_level(&[5, 5, 5, 5, 5, 5, 5, 5], 9, T::UpToDate)],
            vec![],
        );
        let level = info.levels.first_mut().expect("a level");
        level.sgx_components[0].category = Some("OS/VMM".into());
        level.sgx_components[1].category = Some("Somebody".into());
        let part = platform(&info, &subject(&[], 8));
        let target = part.next_better.expect("a better level");
        let labels: Vec<_> = target
            .short
            .iter()
            .map(|one| (one.labels, one.category, one.kind, one.actor()))
            .collect();
        let (by, os) = (LabelSource::Convention, Some("OS/VMM"));
        let bios = (by, Some("BIOS"), None, Actor::PlatformOwner);
        assert_eq!(
            labels,
            [
                (LabelSource::Document, os, None, Actor::HostOperator),
                (
                    LabelSource::Document,
                    Some("Somebody"),
                    None,
                    Actor::Unknown
                ),
                (by, os, Some("TXT SINIT"), Actor::HostOperator),
                bios,
                bios,
                bios,
                (by, None, None, Actor::Unknown),
                (by, os, Some("SEAMLDR ACM"), Actor::HostOperator),
                (LabelSource::Document, None, None, Actor::HostOperator),
            ]
        );
        let actions: std::collections::BTreeSet<_> =
            target.short.iter().map(Shortfall::action).collect();
        assert_eq!(actions.len(), 6);
        assert_eq!(
            target
                .short
                .first()
                .map(|one| one.action().contains("microcode")),
            Some(true)
        );
    }
}
