//! Advisories, and Intel's marks of ended servicing, in the TCB infos of machine types that the fleet has. Pure.
//!
//! Intel's words for the marks, in the documents that they are named after ("INTEL-DOC-10000", "INTEL-DOC-10001" at Intel's
//! portal of trusted services): the first appears with the first TCB recovery after the end of servicing updates, from when on
//! only extended servicing is offered; the second after the end of servicing, and no platform with it gets a positive result.

use std::collections::BTreeSet;

use serde_json::json;
use thim_verify::{EvaluationNumber, TcbInfo, TcbLevel};

use super::item::{NewsItem, NewsKind};
use super::watching::{FleetTcbInfo, Look};

/// Advisories that a TCB info names and none before it did. Where a machine type is looked at for the first time, everything
/// is where it begins, also under the other numbers that there are by then: those documents come one after the other.
pub(super) fn advisories(look: &mut Look<'_>, info: &TcbInfo, highest: Option<EvaluationNumber>) {
    let (tee, fmspc, number) = (info.tee, info.fmspc, info.number);
    let watch = format!("watch/advisories/{tee}/{fmspc}");
    let begins_at = match look.value(&watch) {
        Some(text) => text.parse().unwrap_or(0),
        None => {
            let highest = highest.unwrap_or(number).max(number);
            look.note(watch, highest.to_string());
            highest
        }
    };
    let document = format!("watch/advisories/{tee}/{fmspc}/{number}");
    let begins = look.is_first(&document) && number <= begins_at;
    let modules = info.tdx_module_identities.iter();
    let modules = modules.flat_map(|module| module.levels.iter());
    let modules = modules.flat_map(|level| level.advisory_ids.iter());
    let named = all(&info.levels).chain(modules.map(|name| name.as_str()));
    let named = named.filter(|name| mark(name).is_none());
    let fresh: BTreeSet<&str> = named
        .filter(|name| look.is_first(&format!("advisory/{tee}/{fmspc}/{name}")))
        .collect();
    if begins || fresh.is_empty() {
        return;
    }
    let list: Vec<&str> = fresh.iter().copied().take(LISTED).collect();
    let more = match fresh.len() - list.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let these = match fresh.len() {
        1 => "An advisory that is",
        _ => "Advisories that are",
    };
    let first = fresh.first().copied().unwrap_or_default();
    look.tell(NewsItem {
        kind: NewsKind::AdvisoryNew,
        key: format!(
            "advisories/{tee}/{fmspc}/{number}/{first}/{}",
            fresh.len()
        ),
        subject: format!("intel/tcb-info/{tee}/{fmspc}"),
        text: format!(
            "{these} new for the fleet: the {tee} TCB info of FMSPC {fmspc} under number {number} names {}{more}.",
            list.join(", "),
        ),
        data: json!({
            "tee": tee.to_string(),
            "fmspc": fmspc.to_string(),
            "number": number,
            "advisories": list,
            "advisories_in_all": fresh.len(),
        }),
    });
}

/// Marks of ended servicing on levels that the fleet reaches or can reach.
pub(super) fn end_of_servicing(look: &mut Look<'_>, fleet: FleetTcbInfo<'_>) {
    let info = fleet.info;
    let (tee, fmspc, number) = (info.tee, info.fmspc, info.number);
    let within = match fleet.lowest_reached {
        None => info.levels.as_slice(),
        Some(lowest) => info.levels.get(..=lowest).unwrap_or(info.levels.as_slice()),
    };
    let marks: BTreeSet<&str> = all(within).filter(|name| mark(name).is_some()).collect();
    for name in marks {
        let Some(meaning) = mark(name) else { continue };
        let statuses: BTreeSet<&str> = within
            .iter()
            .filter(|level| level.advisory_ids.iter().any(|one| one.as_str() == name))
            .map(|level| level.status.name())
            .collect();
        look.tell(NewsItem {
            kind: NewsKind::EndOfServicing,
            key: format!("end-of-servicing/{tee}/{fmspc}/{name}"),
            subject: format!("intel/tcb-info/{tee}/{fmspc}"),
            text: format!(
                "Intel marks {tee} levels of FMSPC {fmspc} with {name} under number {number}: {meaning}"
            ),
            data: json!({
                "tee": tee.to_string(),
                "fmspc": fmspc.to_string(),
                "number": number,
                "mark": name,
                "statuses": statuses,
            }),
        });
    }
}

fn all(levels: &[TcbLevel]) -> impl Iterator<Item = &str> {
    let ids = levels.iter().flat_map(|level| level.advisory_ids.iter());
    ids.map(|name| name.as_str())
}

/// What a mark of ended servicing means; `None` for any other advisory.
fn mark(name: &str) -> Option<&'static str> {
    match name {
        "INTEL-DOC-10000" => Some(
            "the end of servicing updates is past, later updates come by extended servicing alone.",
        ),
        "INTEL-DOC-10001" => Some(
            "the end of servicing is past, no update comes any more and no result will be positive.",
        ),
        _ => None,
    }
}

/// Real documents name 21 at most.
const LISTED: usize = 50;
