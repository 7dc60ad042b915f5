//! The forecast for SEV-SNP: every chip of the register under the least TCB of its product.

use std::collections::BTreeMap;

use thim_client::{ForecastColumn, ForecastReport};
use thim_verify::UnixTime;

use super::{Candidate, ForecastError, Listed, MOST_CHIPS, PAGE, count, finished, followers};
use crate::baseline::{AmdRule, Scope};
use crate::baselines::forecast::amd::{self, Chip};
use crate::baselines::{Baselines, applied, floor_of};
use crate::store::ChipFilter;

impl Baselines {
    pub(super) async fn of_amd(
        &self,
        candidate: &Candidate,
        rule: &AmdRule,
        listed: &Listed,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        let books = self.books();
        let is_floor = candidate.scope == Scope::Floor;
        let whose = if is_floor {
            &Scope::Default
        } else {
            &candidate.scope
        };
        let now_holds = applied(&books, whose, candidate.tee, now);
        let current = now_holds.rule.amd().cloned().unwrap_or_default();
        let floor = floor_of(&books, candidate.tee, now);
        let floor = floor.as_ref().and_then(|floor| floor.rule.amd());
        let (after_rule, after_floor) = if is_floor {
            (&current, Some(rule))
        } else {
            (rule, floor)
        };
        let mut chips: Vec<Chip> = Vec::new();
        loop {
            let filter = ChipFilter {
                after: chips.last().map(|chip| chip.id.clone()).unwrap_or_default(),
                limit: PAGE,
                ..ChipFilter::default()
            };
            let page = self.store().chips(&filter).await?;
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            chips.extend(page.into_iter().map(|row| {
                let facts = self.products.facts(row.product);
                Chip {
                    id: row.id,
                    product: row.product,
                    reported: row.reported.and_then(|tcb| tcb.decode(facts).ok()),
                }
            }));
            if is_last || chips.len() >= MOST_CHIPS {
                break;
            }
        }
        let judge = |rule: &AmdRule, floor: Option<&AmdRule>, at| -> Vec<amd::ChipStanding> {
            let all = chips.iter();
            all.map(|chip| amd::standing(chip, rule, floor, at))
                .collect()
        };
        // What takes effect later, by the act or by a minimum's own date, comes without another act: judged as of the last of it.
        let dates = rule.minimums.iter().filter_map(|one| one.effective);
        let then = candidate.judged_at(now);
        let then = dates.max().map_or(then, |last| last.max(then));
        let before = judge(&current, floor, now);
        let after = judge(after_rule, after_floor, then);
        let column = |name: &str, rule: &AmdRule, standings: &[amd::ChipStanding]| {
            let mut told = ForecastColumn {
                name: name.to_owned(),
                version: None,
                rule: serde_json::to_value(rule).unwrap_or_default(),
                number: None,
                note: None,
                statuses: BTreeMap::new(),
                verdicts: BTreeMap::new(),
                unknown: BTreeMap::new(),
                qe_unknown: 0,
                collateral: Vec::new(),
            };
            for one in standings {
                *told.statuses.entry(one.status.to_owned()).or_default() += 1;
                *told
                    .verdicts
                    .entry(one.verdict.name().to_owned())
                    .or_default() += 1;
                if let Some(why) = one.unknown {
                    *told.unknown.entry(why.to_owned()).or_default() += 1;
                }
            }
            told
        };
        let mut hash = self.context(candidate, &books, &now_holds);
        let mut dropped = 0;
        for (chip, (from, to)) in chips.iter().zip(before.iter().zip(&after)) {
            if from.verdict.passes() && !to.verdict.passes() {
                dropped += 1;
            }
            let line = format!(
                "{} {} {} {:?}\n",
                chip.id, from.verdict, to.verdict, chip.reported
            );
            hash.update(line.as_bytes());
        }
        let unknown = chips.iter().filter(|chip| chip.reported.is_none()).count();
        let (causes, more_causes) =
            amd::causes(&chips, &before, &after, listed.limit, &listed.after);
        Ok(ForecastReport {
            tee: candidate.tee.to_string(),
            tenant: candidate.scope.to_string(),
            at: now.to_string(),
            digest: finished(hash).to_string(),
            rule_digest: candidate.rule.digest().to_string(),
            dropped,
            notes: Vec::new(),
            platforms: count(chips.len()),
            not_applicable: 0,
            known_by: [
                ("reported".to_owned(), count(chips.len() - unknown)),
                ("unknown".to_owned(), count(unknown)),
            ]
            .into(),
            columns: vec![
                ForecastColumn {
                    version: Some(now_holds.version),
                    ..column("current", &current, &before)
                },
                column("candidate", after_rule, &after),
            ],
            causes,
            more_causes,
            moves: Vec::new(),
            followers: followers(&books, &candidate.scope, candidate.tee, now),
            below_floor: Vec::new(),
        })
    }
}
