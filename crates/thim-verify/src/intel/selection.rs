//! Which of a platform's PCK certificates goes with its raw TCB: Intel's algorithm, byte for byte that of PCCS.
//!
//! A certificate suits when the platform covers its TCB; of those that suit, the one is taken that reaches the best
//! TCB level, and within a level the first in an order that is almost "best first". Almost, because PCCS inserts a
//! certificate too early when it skips one it cannot be compared with; fleets have been given certificates by that
//! order, and a service that replaced it would answer differently, so it is kept. Source: PCCS 1.27,
//! `pckCertSelection/pckCertSelection.js`; Intel's C++ library leaves levels in the order of the TCB info, which is
//! the same for every TCB info that is sorted.

use std::cmp::Ordering;

use super::pck::PckCertificate;
use super::raw_tcb::{CpuSvn, PceSvn, RawTcb};
use super::tcb_info::{TcbInfo, TcbLevel};
use crate::{Fmspc, PceId};

/// Why no PCK certificate was selected.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectionError {
    /// A certificate is for other hardware than the rest is about.
    #[error("a PCK certificate is for FMSPC {found}, not {expected}")]
    FmspcDiffers {
        /// The FMSPC asked for.
        expected: Fmspc,
        /// The certificate's.
        found: Fmspc,
    },
    /// There is nothing to select from.
    #[error("no PCK certificate")]
    NoCertificates,
    /// The TCB info has no TCB level.
    #[error("the TCB info has no TCB level")]
    NoLevels,
    /// The platform covers the TCB of none of the certificates.
    #[error("no PCK certificate suits the TCB {raw}")]
    NoneSuits {
        /// What the platform has.
        raw: RawTcb,
    },
    /// The certificates or the TCB info are about another provisioning certification enclave than the platform's.
    #[error("PCE id {found}, not {expected}")]
    PceIdDiffers {
        /// The platform's.
        expected: PceId,
        /// The one found.
        found: PceId,
    },
    /// The certificates are those of more than one platform.
    #[error("PCK certificates of different platforms")]
    PpidsDiffer,
    /// The TCB info compares levels in another way than component by component.
    #[error("TCB type {tcb_type} is not known")]
    UnknownTcbType {
        /// The type found; 0 is known.
        tcb_type: u8,
    },
}

/// The index into `certificates` (their TCBs, in the order they were delivered) of the one for the platform whose
/// TCB is `raw`. Work grows with `certificates` times (levels plus `certificates`).
///
/// That the certificates belong together is for [`check_one_platform`] to say, once for many raw TCBs.
///
/// # Errors
/// Every [`SelectionError`] but [`SelectionError::FmspcDiffers`] and [`SelectionError::PpidsDiffer`].
pub fn select_pck(
    raw: &RawTcb,
    pce_id: PceId,
    certificates: &[RawTcb],
    tcb_info: &TcbInfo,
) -> Result<usize, SelectionError> {
    if tcb_info.tcb_type != 0 {
        return Err(SelectionError::UnknownTcbType {
            tcb_type: tcb_info.tcb_type,
        });
    }
    if tcb_info.pce_id != pce_id {
        return Err(SelectionError::PceIdDiffers {
            expected: pce_id,
            found: tcb_info.pce_id,
        });
    }
    if tcb_info.levels.is_empty() {
        return Err(SelectionError::NoLevels);
    }
    if certificates.is_empty() {
        return Err(SelectionError::NoCertificates);
    }
    let mut levels: Vec<RawTcb> = tcb_info.levels.iter().map(tcb_of).collect();
    sort_descending(&mut levels);
    buckets(&levels, certificates)
        .into_iter()
        .flatten()
        .find(|(_, tcb)| raw.covers(tcb))
        .map(|(index, _)| index)
        .ok_or(SelectionError::NoneSuits { raw: *raw })
}

/// Whether the certificates are those of one platform with this PCE id and FMSPC.
///
/// # Errors
/// [`SelectionError::NoCertificates`], [`SelectionError::PceIdDiffers`], [`SelectionError::FmspcDiffers`],
/// [`SelectionError::PpidsDiffer`]; the first that holds, certificate after certificate.
pub fn check_one_platform(
    certificates: &[&PckCertificate],
    pce_id: PceId,
    fmspc: Fmspc,
) -> Result<(), SelectionError> {
    let first = certificates.first().ok_or(SelectionError::NoCertificates)?;
    for certificate in certificates {
        if certificate.pce_id() != pce_id {
            return Err(SelectionError::PceIdDiffers {
                expected: pce_id,
                found: certificate.pce_id(),
            });
        }
        if certificate.fmspc() != fmspc {
            return Err(SelectionError::FmspcDiffers {
                expected: fmspc,
                found: certificate.fmspc(),
            });
        }
        if certificate.ppid() != first.ppid() {
            return Err(SelectionError::PpidsDiffer);
        }
    }
    Ok(())
}

/// A certificate's place in the list, and its TCB.
type Indexed = (usize, RawTcb);

/// A bucket a level, in which the certificates lie that reach it and no better one; and one for those that reach
/// none.
fn buckets(levels: &[RawTcb], certificates: &[RawTcb]) -> Vec<Vec<Indexed>> {
    let mut buckets: Vec<Vec<Indexed>> = vec![Vec::new(); levels.len()];
    let mut rest = Vec::new();
    for (index, tcb) in certificates.iter().enumerate() {
        let reached = levels.iter().position(|level| tcb.covers(level));
        match reached.and_then(|at| buckets.get_mut(at)) {
            Some(bucket) => {
                let at = place(bucket, tcb).unwrap_or(bucket.len());
                bucket.insert(at, (index, *tcb));
            }
            None => rest.push((index, *tcb)),
        }
    }
    buckets.push(rest);
    buckets
}

/// Where a certificate goes in a bucket: before the first that it covers, but one place earlier for each before it
/// that it cannot be compared with. The end when it covers none.
fn place(bucket: &[Indexed], tcb: &RawTcb) -> Option<usize> {
    let mut better = 0;
    for (_, other) in bucket {
        match tcb.compare_components(other) {
            Some(Ordering::Equal | Ordering::Greater) => return Some(better),
            Some(Ordering::Less) => better += 1,
            // PCCS goes on here without counting; see the opening of this file.
            None => {}
        }
    }
    None
}

/// Sorts best first; two that cannot be compared count as equal and keep their order.
///
/// That is no total order, so the outcome for a list that is not sorted depends on the algorithm, and the standard
/// library's sort may refuse it. This is what V8, hence PCCS, does with fewer than 64 items, and no genuine TCB info
/// has half as many: the run at the start is kept (turned round if it falls), the rest is inserted by binary search.
/// V8: `third_party/v8/builtins/array-sort.tq`, `CountAndMakeRun`, `BinaryInsertionSort`.
fn sort_descending(levels: &mut [RawTcb]) {
    let before =
        |one: &RawTcb, other: &RawTcb| one.compare_components(other) == Some(Ordering::Greater);
    let turned = |pair: &[RawTcb]| matches!(pair, [earlier, later] if before(later, earlier));
    let Some(wrong_way) = levels.windows(2).next().map(turned) else {
        return;
    };
    let pairs = levels.windows(2);
    let run = 1 + pairs.take_while(|pair| turned(pair) == wrong_way).count();
    if wrong_way && let Some(start) = levels.get_mut(..run) {
        start.reverse();
    }
    for end in run..levels.len() {
        let Some((sorted, [item, ..])) = levels.split_at_mut_checked(end) else {
            return;
        };
        let at = insertion_point(sorted, |other| before(item, other));
        if let Some(moved) = levels.get_mut(at..=end) {
            moved.rotate_right(1);
        }
    }
}

/// By bisection, for a list that need not be parted by `goes_before`; which items are looked at is part of the outcome.
fn insertion_point(sorted: &[RawTcb], goes_before: impl Fn(&RawTcb) -> bool) -> usize {
    let (mut left, mut right) = (0, sorted.len());
    while left < right {
        let middle = left + (right - left) / 2;
        if sorted.get(middle).is_some_and(&goes_before) {
            right = middle;
        } else {
            left = middle + 1;
        }
    }
    left
}

/// A level's SGX components in the form of a raw TCB; right for TCB type 0.
fn tcb_of(level: &TcbLevel) -> RawTcb {
    RawTcb {
        cpu_svn: CpuSvn(
            level
                .sgx_components
                .each_ref()
                .map(|component| component.svn),
        ),
        pce_svn: PceSvn(level.pce_svn),
    }
}
