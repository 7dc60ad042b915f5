//! A forecast as it is told: counts, who changes and why, and what all of it hangs on.

use std::collections::{BTreeMap, BTreeSet};

use thim_client::{
    CollateralUsed, ForecastCause, ForecastColumn, ForecastStanding, NeedRecord, ShortComponent,
};
use thim_verify::{Artefact, Verified};

use super::classes::Fleet;
use super::columns::{Column, Documents, Standing, engines};
use crate::evidence::short_record;

/// Counts of one column.
pub fn column(name: &str, column: &Column<'_>, fleet: &Fleet) -> ForecastColumn {
    let mut told = ForecastColumn {
        name: name.to_owned(),
        version: None,
        rule: serde_json::to_value(column.rule).unwrap_or_default(),
        number: column.number,
        note: None,
        statuses: BTreeMap::new(),
        verdicts: BTreeMap::new(),
        unknown: BTreeMap::new(),
        qe_unknown: 0,
        collateral: used(column.documents),
    };
    for (class, standing) in fleet.classes().iter().zip(&column.standings) {
        let count = class.count;
        *told
            .statuses
            .entry(standing.status_name().to_owned())
            .or_default() += count;
        *told
            .verdicts
            .entry(standing.verdict.name().to_owned())
            .or_default() += count;
        if let Some(why) = standing.unknown {
            *told.unknown.entry(why.name().to_owned()).or_default() += count;
        }
        if standing.qe_unknown {
            told.qe_unknown += count;
        }
    }
    told
}

/// How many platforms pass before and do not after.
pub fn dropped(before: &Column<'_>, after: &Column<'_>, fleet: &Fleet) -> u64 {
    let pairs = before.standings.iter().zip(&after.standings);
    let classes = fleet.classes().iter().zip(pairs);
    classes
        .filter(|(_, (before, after))| drops(before, after))
        .map(|(class, _)| class.count)
        .sum()
}

fn drops(before: &Standing, after: &Standing) -> bool {
    before.verdict.passes() && !after.verdict.passes()
}

/// Who changes verdict or status, by cause: who drops out first, then by how many. At most [`CAUSES`], with `limit` ids each after
/// `after`; how many causes there are beyond.
pub fn causes(
    before: &Column<'_>,
    after: &Column<'_>,
    fleet: &Fleet,
    limit: usize,
    after_id: &str,
) -> (Vec<ForecastCause>, u64) {
    let old = engines(before.documents);
    let new = engines(after.documents);
    // Of each class that changes: which cause.
    let mut of_class: Vec<Option<usize>> = vec![None; fleet.classes().len()];
    let mut all: Vec<ForecastCause> = Vec::new();
    for (index, class) in fleet.classes().iter().enumerate() {
        let (from, to) = (before.standing(index), after.standing(index));
        // Why a platform is unknown may be another thing, and it is unknown as before.
        if (from.status, from.verdict) == (to.status, to.verdict) {
            continue;
        }
        let subject = class.subject.as_tcb_subject();
        let engine = class.subject.fmspc.and_then(|fmspc| new.get(&fmspc));
        let evaluated = subject.zip(engine);
        let mut short: Vec<ShortComponent> = Vec::new();
        let mut needs: Vec<NeedRecord> = Vec::new();
        let mut advisories: BTreeSet<String> = BTreeSet::new();
        let mut why = to.unknown.map(|why| why.name().to_owned());
        if let (Some((subject, engine)), Some(_)) = (&evaluated, to.status) {
            let evaluation = engine.evaluate(subject);
            why = evaluation
                .not_supported()
                .map(|why| why.sentence().to_owned());
            let shortfall = engine.shortfall(subject, &evaluation);
            short = shortfall.short_of_up_to_date().map(short_record).collect();
            if short.is_empty() {
                short = shortfall.short_of_next_better().map(short_record).collect();
            }
            let asked = shortfall.needs.iter();
            needs = asked
                .map(|need| NeedRecord {
                    name: need.name().to_owned(),
                    action: need.action().to_owned(),
                })
                .collect();
            advisories.extend(evaluation.advisory_ids().iter().map(ToString::to_string));
            if let Some(engine) = class.subject.fmspc.and_then(|fmspc| old.get(&fmspc)) {
                for known in engine.evaluate(subject).advisory_ids() {
                    advisories.remove(known.as_str());
                }
            }
        }
        let standing = |standing: &Standing| ForecastStanding {
            status: standing.status_name().to_owned(),
            verdict: standing.verdict.name().to_owned(),
        };
        let cause = ForecastCause {
            drops: drops(&from, &to),
            from: standing(&from),
            to: standing(&to),
            why,
            short,
            needs,
            advisories: advisories.into_iter().collect(),
            families: Vec::new(),
            count: 0,
            platforms: Vec::new(),
            more: false,
        };
        let same = |known: &ForecastCause| {
            (
                known.drops,
                &known.from,
                &known.to,
                &known.why,
                &known.short,
                &known.advisories,
            ) == (
                cause.drops,
                &cause.from,
                &cause.to,
                &cause.why,
                &cause.short,
                &cause.advisories,
            )
        };
        let place = all.iter().position(same).unwrap_or_else(|| {
            all.push(cause);
            all.len() - 1
        });
        if let Some(cause) = all.get_mut(place) {
            cause.count += class.count;
            let family = class.subject.fmspc.map(|fmspc| fmspc.to_string());
            if let Some(family) = family.filter(|family| !cause.families.contains(family)) {
                cause.families.push(family);
                cause.families.sort_unstable();
            }
        }
        if let Some(class) = of_class.get_mut(index) {
            *class = Some(place);
        }
    }
    for (id, class) in fleet.members() {
        let place = of_class.get(class).copied().flatten();
        if let Some(cause) = place.and_then(|place| all.get_mut(place))
            && id > after_id
        {
            if cause.platforms.len() < limit {
                cause.platforms.push(id.to_owned());
            } else {
                cause.more = true;
            }
        }
    }
    all.sort_by_key(|cause| (!cause.drops, std::cmp::Reverse(cause.count)));
    let more = all.len().saturating_sub(CAUSES);
    all.truncate(CAUSES);
    (all, u64::try_from(more).unwrap_or(u64::MAX))
}

fn used(documents: &Documents) -> Vec<CollateralUsed> {
    let all = documents.infos.values().chain(&documents.identity);
    all.map(|artefact: &Verified<Artefact>| CollateralUsed {
        key: artefact.key().to_string(),
        id: artefact.id().to_string(),
        issued: artefact.issued().to_string(),
        next_update: artefact.next_update().to_string(),
        source: "store".to_owned(),
    })
    .collect()
}

/// A list that somebody reads; what is beyond is counted.
pub(super) const CAUSES: usize = 200;
