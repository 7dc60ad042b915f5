//! AMD's chips in a forecast: the TCB each reports, against the least TCB of its product.

use std::collections::BTreeMap;

use thim_client::{ForecastCause, ForecastStanding, ShortComponent};
use thim_verify::amd::{Product, SnpTcb};

use super::report::CAUSES;
use crate::baseline::verdict::short_of;
use crate::baseline::{AmdRule, Judgement, Verdict};
use thim_verify::UnixTime;

/// A chip.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chip {
    /// The register's id.
    pub id: String,
    /// Of which product.
    pub product: Product,
    /// What it reports, where that is known.
    pub reported: Option<SnpTcb>,
}

/// Where a chip stands under a rule and the operator's floor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChipStanding {
    /// `compliant`, `short` or `unknown`.
    pub status: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Of an unknown one: why, a token.
    pub unknown: Option<&'static str>,
    /// What is short.
    pub short: Vec<ShortComponent>,
}

/// Judges a chip.
pub fn standing(
    chip: &Chip,
    rule: &AmdRule,
    floor: Option<&AmdRule>,
    now: UnixTime,
) -> ChipStanding {
    let least = |rule: &AmdRule| rule.least_tcb(chip.product, now);
    let own = least(rule);
    let floored = floor.and_then(least);
    let reported = chip.reported.as_ref();
    let judged = Judgement::of_amd(own.as_ref(), reported).verdict;
    let under =
        floored.filter(|floor| Judgement::of_amd(Some(floor), reported).verdict == Verdict::Below);
    let (verdict, minimum) = match under {
        Some(floor) => (Verdict::Below, Some(floor)),
        None => (judged, own),
    };
    let unknown = match (verdict, reported) {
        (Verdict::Unknown, None) => Some("no-reported-tcb"),
        (Verdict::Unknown, Some(_)) => Some("no-minimum"),
        (Verdict::Below | Verdict::Met | Verdict::Tolerated, _) => None,
    };
    let short = match (verdict, reported, minimum) {
        (Verdict::Below, Some(reported), Some(minimum)) => short_of(reported, &minimum)
            .into_iter()
            .map(|(component, have, need)| ShortComponent {
                component: component.name().to_owned(),
                have: have.unwrap_or(0).into(),
                need: need.unwrap_or(0).into(),
                category: None,
                kind: None,
                by_convention: false,
                who: "platform owner".to_owned(),
                action: "Install AMD's SEV firmware and microcode of the bulletin, through a BIOS update or the host's operating system.".to_owned(),
                afterwards: "Then let the host report the new TCB and get its VCEK.".to_owned(),
            })
            .collect(),
        _ => Vec::new(),
    };
    ChipStanding {
        status: match verdict {
            Verdict::Below => "short",
            Verdict::Met | Verdict::Tolerated => "compliant",
            Verdict::Unknown => "unknown",
        },
        verdict,
        unknown,
        short,
    }
}

/// Who changes verdict, by cause: who drops out first, then by how many. At most [`CAUSES`], with `limit` ids each after
/// `after_id`; how many causes there are beyond.
pub fn causes(
    chips: &[Chip],
    before: &[ChipStanding],
    after: &[ChipStanding],
    limit: usize,
    after_id: &str,
) -> (Vec<ForecastCause>, u64) {
    let mut all: BTreeMap<String, ForecastCause> = BTreeMap::new();
    for (chip, (from, to)) in chips.iter().zip(before.iter().zip(after)) {
        if from.verdict == to.verdict {
            continue;
        }
        let told = |one: &ChipStanding| ForecastStanding {
            status: one.status.to_owned(),
            verdict: one.verdict.name().to_owned(),
        };
        let key = format!("{:?} {:?} {}", from.verdict, to, chip.product);
        let cause = all.entry(key).or_insert_with(|| ForecastCause {
            drops: from.verdict.passes() && !to.verdict.passes(),
            from: told(from),
            to: told(to),
            why: to.unknown.map(str::to_owned),
            short: to.short.clone(),
            needs: Vec::new(),
            advisories: Vec::new(),
            families: vec![chip.product.to_string()],
            count: 0,
            platforms: Vec::new(),
            more: false,
        });
        cause.count += 1;
        if chip.id.as_str() > after_id {
            if cause.platforms.len() < limit {
                cause.platforms.push(chip.id.clone());
            } else {
                cause.more = true;
            }
        }
    }
    let mut all: Vec<ForecastCause> = all.into_values().collect();
    all.sort_by_key(|cause| (!cause.drops, std::cmp::Reverse(cause.count)));
    let more = all.len().saturating_sub(CAUSES);
    all.truncate(CAUSES);
    (all, u64::try_from(more).unwrap_or(u64::MAX))
}
