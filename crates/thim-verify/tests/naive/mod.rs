//! Intel's selection of a PCK certificate once more, written from its description and from nothing else, without a
//! thought for speed: what `select_pck` is held against.

use thim_verify::{RawTcb, TcbInfo};

/// 16 CPUSVN bytes and PCESVN.
type Components = [u32; 17];

fn of_raw(raw: &RawTcb) -> Components {
    let mut components = [0; 17];
    for (at, svn) in raw.cpu_svn.0.iter().enumerate() {
        components[at] = u32::from(*svn);
    }
    components[16] = u32::from(raw.pce_svn.0);
    components
}

/// -1, 0 or 1; none for two that cannot be compared.
fn compare(a: &Components, b: &Components) -> Option<i32> {
    let lower = (0..17).any(|at| a[at] < b[at]);
    let greater = (0..17).any(|at| a[at] > b[at]);
    match (lower, greater) {
        (true, true) => None,
        (true, false) => Some(-1),
        (false, true) => Some(1),
        (false, false) => Some(0),
    }
}

/// What PCCS's comparator answers for `sort`: negative when `x` belongs before `y`.
fn comparator(x: &Components, y: &Components) -> i32 {
    compare(y, x).unwrap_or(0)
}

/// Array.prototype.sort of V8 for fewer than 64 items: a run at the start, then binary insertion.
fn sorted(items: &[Components]) -> Vec<Components> {
    let mut run: Vec<Components> = Vec::new();
    let mut falling = false;
    for item in items {
        if let Some(last) = run.last() {
            let order = comparator(item, last);
            if run.len() == 1 {
                falling = order < 0;
            } else if falling != (order < 0) {
                break;
            }
        }
        run.push(*item);
    }
    let rest = items[run.len()..].to_vec();
    if falling {
        run.reverse();
    }
    for item in rest {
        let mut range = 0..run.len();
        while !range.is_empty() {
            let middle = (range.start + range.end) >> 1;
            if comparator(&item, &run[middle]) < 0 {
                range.end = middle;
            } else {
                range.start = middle + 1;
            }
        }
        run.insert(range.start, item);
    }
    run
}

/// The order in which certificates are tried, for any raw TCB: indices into `certificates`.
pub fn order(certificates: &[RawTcb], tcb_info: &TcbInfo) -> Vec<usize> {
    let levels: Vec<Components> = tcb_info
        .levels
        .iter()
        .map(|level| {
            let mut components = [0; 17];
            for (at, component) in level.sgx_components.iter().enumerate() {
                components[at] = u32::from(component.svn);
            }
            components[16] = u32::from(level.pce_svn);
            components
        })
        .collect();
    let levels = sorted(&levels);
    let tcbs: Vec<Components> = certificates.iter().map(of_raw).collect();
    let mut buckets: Vec<Vec<usize>> = vec![vec![]; levels.len() + 1];
    for (certificate, tcb) in tcbs.iter().enumerate() {
        let mut bucket = levels.len();
        for (at, level) in levels.iter().enumerate().rev() {
            if matches!(compare(tcb, level), Some(0 | 1)) {
                bucket = at;
            }
        }
        let inside = &mut buckets[bucket];
        if bucket == levels.len() {
            inside.push(certificate);
            continue;
        }
        let hit = inside
            .iter()
            .position(|other| matches!(compare(tcb, &tcbs[*other]), Some(0 | 1)));
        let place = match hit {
            None => inside.len(),
            Some(hit) => inside[..hit]
                .iter()
                .filter(|other| compare(tcb, &tcbs[**other]) == Some(-1))
                .count(),
        };
        inside.insert(place, certificate);
    }
    buckets.concat()
}

/// The first in that order that `raw` is equal to or greater than.
pub fn select(raw: &RawTcb, order: &[usize], certificates: &[RawTcb]) -> Option<usize> {
    let raw = of_raw(raw);
    let mut suitable = order.iter().copied().filter(|at| {
        let tcb = of_raw(&certificates[*at]);
        (0..17).all(|component| raw[component] >= tcb[component])
    });
    suitable.next()
}
