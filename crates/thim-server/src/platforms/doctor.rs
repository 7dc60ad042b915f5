//! The doctor: from facts to one cause and one next step. Pure.
//!
//! Which cause, where several would do? What comes first here hides what comes after, so that whoever follows the
//! next step and asks again learns of the next fault:
//!
//! 1. The name asked about names nothing (an all-zero QE id), or nothing is registered under it: then what was last
//!    tried under it says why.
//! 2. The platform has no certificates: the cause of its state.
//! 3. What its clients feel now: the certificate they get is revoked or has ended, none is for their firmware, or
//!    collateral that their verifiers need is missing.
//! 4. What they will feel: the vendor gave nothing when it was last asked, or part of what it gave does not verify.
//! 5. What somebody wanted for it and did not get: a name that is another's, a direct registration.
//! 6. Nothing is wrong.
//!
//! What a platform runs is what it was last registered with: an open request may name any raw TCB, and must not make a
//! healthy platform look ill, nor an ill one healthy. Only where nobody ever told one does the newest count that an open
//! request was served with, and without such the one that was asked with in vain.
//!
//! Words are in [`words`]; docs/doctor.md has a paragraph for each cause.

mod words;

use thim_client::Diagnosis;
use thim_verify::{PceId, RawTcb, UnixTime};

use super::registration::QeId;
use super::{Cause, PlatformState, SeenPpid, Sighting};
use crate::store::{
    AliasRow, Gap, GapRow, PckRow, PlatformOrigin, PlatformRow, RawTcbRow, TimelineRow,
};

pub use words::{Words, words};

/// All that is looked at.
#[derive(Debug)]
pub struct Facts {
    /// The service's clock.
    pub now: UnixTime,
    /// The name that was asked about, where it was asked by name.
    pub asked: Option<(QeId, PceId)>,
    /// What the register has.
    pub known: Option<Known>,
    /// The last request for a certificate that was in vain.
    pub sighting: Option<Sighting>,
    /// The last registration that was refused.
    pub refused: Option<Sighting>,
    /// True where the vendor is asked at all.
    pub fetches: bool,
    /// The upstreams, and whether each is being asked.
    pub upstreams: Vec<(String, bool)>,
}

/// What the register has of a platform.
#[derive(Debug)]
pub struct Known {
    /// Its row.
    pub row: PlatformRow,
    /// What it is asked for by.
    pub names: Vec<AliasRow>,
    /// Certificates that are served or revoked, in the order of the vendor's list.
    pub certificates: Vec<PckRow>,
    /// Levels without one.
    pub gaps: Vec<GapRow>,
    /// Raw TCBs it was seen with, the newest first.
    pub raw_tcbs: Vec<(RawTcbRow, Gets)>,
    /// What a raw TCB that was last asked with in vain would get now.
    pub in_vain: Option<(RawTcb, Gets)>,
    /// Its story, oldest first.
    pub timeline: Vec<TimelineRow>,
    /// What verifiers of its quotes ask for.
    pub collateral: Vec<Piece>,
}

impl Known {
    /// The raw TCB it runs, as far as anybody's word can be taken for it.
    fn runs(&self) -> Option<&(RawTcbRow, Gets)> {
        let told = self
            .raw_tcbs
            .iter()
            .filter(|(row, _)| row.told.is_some())
            .max_by_key(|(row, _)| row.told);
        told.or_else(|| self.raw_tcbs.first())
    }
}

/// What a raw TCB gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gets {
    /// This one of the certificates.
    Certificate(usize),
    /// None is low enough.
    Nothing,
    /// There is nothing to choose by.
    Unknown,
}

/// Something that verifiers ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Its key, or what is known of it.
    pub what: String,
    /// Whether it is there.
    pub held: Held,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Held {
    /// It ended.
    Expired {
        /// When.
        since: UnixTime,
    },
    /// It is.
    Fresh,
    /// It is not.
    Missing,
}

/// Names one cause.
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let Finding { cause, because } = match &facts.known {
        None => unregistered(facts),
        Some(known) if known.certificates.is_empty() => Finding {
            // A state without a cause is that of a registration that nobody has looked at.
            cause: match known.row.cause {
                Cause::None => Cause::Queued,
                cause => cause,
            },
            because: known.row.detail.clone(),
        },
        Some(known) => felt_now(facts, known)
            .or_else(|| felt_later(known))
            .or_else(|| wanted(facts, known))
            .unwrap_or_else(|| Finding::new(Cause::None, String::new())),
    };
    let Words { what, next } = words(cause);
    let mut evidence = Vec::new();
    if !because.is_empty() {
        evidence.push(because);
    }
    evidence.extend(evidence_of(facts));
    evidence.dedup();
    evidence.truncate(EVIDENCE_LINES);
    Diagnosis {
        platform: facts.known.as_ref().map(|known| known.row.id.clone()),
        cause: cause.name().to_owned(),
        healthy: cause == Cause::None,
        summary: what.to_owned(),
        next_step: next.to_owned(),
        evidence,
    }
}

struct Finding {
    cause: Cause,
    /// The fact that decided.
    because: String,
}

impl Finding {
    fn new(cause: Cause, because: impl Into<String>) -> Self {
        Self {
            cause,
            because: because.into(),
        }
    }
}

fn unregistered(facts: &Facts) -> Finding {
    if facts
        .asked
        .as_ref()
        .is_some_and(|(qe_id, _)| qe_id.is_zero())
    {
        return Finding::new(Cause::QeIdZero, "the QE id is all zeros");
    }
    if let Some(refused) = &facts.refused {
        // A host that tried: what it lacks is known better than by any request.
        return Finding::new(refused.refusal.cause, registration(refused));
    }
    let Some(sighting) = &facts.sighting else {
        return Finding::new(
            Cause::QeIdUnknown,
            "nobody has asked for it or tried to register it since the service started",
        );
    };
    let reads_its_tcb = sighting
        .raw_tcb
        .is_none_or(|raw| raw.cpu_svn.0.iter().any(|svn| *svn != 0) || raw.pce_svn.0 != 0);
    match sighting.encrypted_ppid {
        // A guest's quoting library knows what the machine runs and cannot tell which machine it is.
        SeenPpid::Absent | SeenPpid::Zero if reads_its_tcb => {
            Finding::new(Cause::GuestNotHost, request(sighting))
        }
        SeenPpid::Absent | SeenPpid::Given | SeenPpid::Zero => {
            Finding::new(sighting.refusal.cause, request(sighting))
        }
    }
}

/// What is wrong with what clients get now.
fn felt_now(facts: &Facts, known: &Known) -> Option<Finding> {
    let runs = known.runs().map(|(row, gets)| (row.tcb, *gets));
    let (raw, gets) = match runs.or(known.in_vain) {
        Some((raw, gets)) => (Some(raw), gets),
        None => (None, Gets::Unknown),
    };
    let chosen = match gets {
        Gets::Certificate(index) => known.certificates.get(index),
        Gets::Nothing | Gets::Unknown => None,
    };
    if let Some(chosen) = chosen {
        if let Some(by) = chosen.revoked {
            let why = format!(
                "the certificate of level {}, which it gets, is named by the {} CRL of {by}",
                chosen.tcbm, chosen.ca
            );
            return Some(Finding::new(Cause::CertificateRevoked, why));
        }
        if chosen.not_after <= facts.now {
            let why = format!(
                "the certificate of level {}, which it gets, ended at {}",
                chosen.tcbm, chosen.not_after
            );
            return Some(Finding::new(Cause::Untrusted, why));
        }
    } else if known.certificates.iter().all(|one| one.revoked.is_some()) {
        let why = "every certificate it has is named by the CRL";
        return Some(Finding::new(Cause::CertificateRevoked, why));
    }
    if let (Gets::Nothing, Some(raw)) = (gets, raw) {
        let lowest = known.certificates.last().map(|one| one.tcbm.to_string());
        let why = format!(
            "it runs raw TCB {raw}, which covers none of its {} certificates; the last of the list is for {}",
            known.certificates.len(),
            lowest.unwrap_or_default()
        );
        return Some(Finding::new(Cause::TcbTooLow, why));
    }
    let lacking: Vec<String> = known.collateral.iter().filter_map(lacking).collect();
    (!lacking.is_empty()).then(|| Finding::new(Cause::CollateralMissing, lacking.join("; ")))
}

/// What is wrong with what the vendor gave last.
fn felt_later(known: &Known) -> Option<Finding> {
    let row = &known.row;
    if row.cause != Cause::None {
        let why = format!("{}; what it has goes on being served", row.detail);
        return Some(Finding::new(row.cause, why));
    }
    let quarantined = known.gaps.iter().find(|gap| gap.gap == Gap::Quarantined)?;
    let why = format!(
        "the certificate of level {} does not verify: {}; the others are served",
        quarantined.tcbm, quarantined.why
    );
    Some(Finding::new(Cause::Untrusted, why))
}

/// What somebody wanted and did not get.
fn wanted(facts: &Facts, known: &Known) -> Option<Finding> {
    if let Some(refused) = &facts.refused
        && refused.refusal.cause == Cause::QeIdTaken
    {
        return Some(Finding::new(Cause::QeIdTaken, registration(refused)));
    }
    let named = known.names.iter().map(|name| name.since).max();
    let taken =
        known.timeline.iter().rev().find(|line| {
            line.cause == Cause::QeIdTaken && named.is_none_or(|since| since <= line.at)
        });
    if let Some(line) = taken {
        return Some(Finding::new(Cause::QeIdTaken, moment(line)));
    }
    let last = known.timeline.last()?;
    (last.cause == Cause::CachedKeysPolicy).then(|| Finding::new(last.cause, moment(last)))
}

/// What is so, whatever the cause.
fn evidence_of(facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((qe_id, pce_id)) = &facts.asked
        && facts.known.is_none()
    {
        lines.push(format!("nothing is registered as {qe_id}:{pce_id}"));
    }
    if let Some(refused) = &facts.refused {
        lines.push(registration(refused));
    }
    if let Some(sighting) = &facts.sighting {
        lines.push(request(sighting));
    }
    if let Some(known) = &facts.known {
        lines.extend(register(known));
    }
    if facts.fetches {
        lines.extend(facts.upstreams.iter().map(|(name, up)| {
            if *up {
                format!("{name} is being asked")
            } else {
                format!("{name} is left alone for a while, since it does not answer")
            }
        }));
    } else {
        lines.push(
            "the vendor is not asked: fill mode offline, no upstream, or a view of the past"
                .to_owned(),
        );
    }
    lines
}

fn register(known: &Known) -> Vec<String> {
    let row = &known.row;
    let mut lines = vec![format!(
        "{} since {}: {}",
        row.state,
        row.since,
        if row.detail.is_empty() {
            row.cause.name()
        } else {
            &row.detail
        }
    )];
    let kept = match (row.manifest.is_some(), row.enc_ppid.is_some()) {
        (true, true) => "its manifest and its encrypted PPID are kept",
        (true, false) => "its manifest is kept",
        (false, true) => "its encrypted PPID is kept",
        (false, false) => "nothing is kept that the vendor could be asked with",
    };
    let origin = match row.origin {
        PlatformOrigin::Asked => "first seen in an open request",
        PlatformOrigin::Imported => "imported",
        PlatformOrigin::Registered => "registered",
    };
    lines.push(format!("{origin} at {}; {kept}", row.registered));
    if known.names.is_empty() {
        lines.push("no QE id is its name".to_owned());
    }
    let got = |gets: &Gets| match gets {
        Gets::Certificate(index) => known
            .certificates
            .get(*index)
            .map_or_else(String::new, |one| format!("which gets level {}", one.tcbm)),
        Gets::Nothing => "which gets none".to_owned(),
        Gets::Unknown => "and there is nothing to choose a level by".to_owned(),
    };
    if let Some((raw, gets)) = known.runs()
        && let Some(told) = raw.told
    {
        let (raw, got) = (raw.tcb, got(gets));
        lines.push(format!("registered with raw TCB {raw} at {told}, {got}"));
    }
    if let Some((raw, gets)) = known.raw_tcbs.first() {
        let (raw, last, got) = (raw.tcb, raw.last, got(gets));
        lines.push(format!("last seen with raw TCB {raw} at {last}, {got}"));
    }
    if let Some((raw, gets)) = &known.in_vain {
        let got = got(gets);
        lines.push(format!("last asked for in vain with raw TCB {raw}, {got}"));
    }
    if row.state == PlatformState::Waiting || row.cause != Cause::None {
        lines.extend(
            row.due
                .map(|due| format!("the vendor is asked again at {due}")),
        );
    }
    let missing = known
        .gaps
        .iter()
        .filter(|gap| gap.gap == Gap::NotAvailable)
        .count();
    if missing > 0 {
        lines.push(format!("{missing} levels are Not available at the vendor"));
    }
    lines.extend(known.collateral.iter().filter_map(lacking));
    let story = known.timeline.iter().rev().take(TIMELINE_LINES);
    lines.extend(story.map(moment));
    lines
}

fn lacking(piece: &Piece) -> Option<String> {
    match piece.held {
        Held::Expired { since } => Some(format!("{} is expired since {since}", piece.what)),
        Held::Fresh => None,
        Held::Missing => Some(format!("{} is not here", piece.what)),
    }
}

fn request(sighting: &Sighting) -> String {
    format!(
        "a certificate was asked for in vain at {}, {}: {}",
        sighting.at,
        brought(sighting.encrypted_ppid),
        sighting.refusal
    )
}

fn registration(refused: &Sighting) -> String {
    format!(
        "a registration under this name was refused at {}, {}: {}",
        refused.at,
        brought(refused.encrypted_ppid),
        refused.refusal
    )
}

const fn brought(encrypted_ppid: SeenPpid) -> &'static str {
    match encrypted_ppid {
        SeenPpid::Absent => "without an encrypted PPID",
        SeenPpid::Given => "with an encrypted PPID",
        SeenPpid::Zero => "with an encrypted PPID of zeros",
    }
}

fn moment(line: &TimelineRow) -> String {
    format!(
        "at {}: {}, {}: {}",
        line.at, line.state, line.cause, line.text
    )
}

/// More than a screen helps nobody.
const EVIDENCE_LINES: usize = 16;
/// The end of the story; `thim platform show` has all of it.
const TIMELINE_LINES: usize = 3;

#[cfg(test)]
mod tests;
