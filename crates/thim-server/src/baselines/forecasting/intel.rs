//! The forecast for one of Intel's TEEs: current, candidate, standard and early side by side, and what comes when standard moves.

use std::collections::{BTreeMap, BTreeSet};

use thim_client::{ForecastColumn, ForecastReport, StandardMove};
use thim_verify::{Digest, EvaluationNumber, Fmspc, Tee, UnixTime};

use super::{
    Candidate, DAY_SECS, ForecastError, Listed, MOVES_DAYS, count, finished, followers, number,
};
use crate::baseline::{Books, IntelRule, Scope, Selector, Vendor, select};
use crate::baselines::forecast::{Column, Documents, Fleet, report};
use crate::baselines::{Applied, Baselines, applied};
use crate::view::Subject as Wanted;

impl Baselines {
    pub(super) async fn of_intel(
        &self,
        candidate: &Candidate,
        rule: &IntelRule,
        tee: Tee,
        listed: &Listed,
        mut fetches: usize,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        let books = self.books();
        // What a rule selects is known only with a list.
        if fetches > 0 && self.collateral().view().lists.is_empty() {
            self.collateral().learn_lists(now).await;
        }
        let view = std::sync::Arc::clone(&self.collateral().view());
        let vendor = Vendor {
            lists: &view.lists,
            retired: view.retired,
        };
        // Of a floor, what it does to everybody without a baseline of their own is told.
        let whose = match &candidate.scope {
            Scope::Floor => &Scope::Default,
            scope @ (Scope::Default | Scope::Tenant(_)) => scope,
        };
        let now_holds = applied(&books, whose, candidate.tee, now);
        let current = now_holds.rule.intel().cloned().unwrap_or_default();
        let current_number = number(self.selection(&now_holds, candidate.tee, &view, now));
        // What takes effect later is judged as of then.
        let then = candidate.judged_at(now);
        let wanted = number(Some(select(rule, vendor, None, then)));
        let is_floor = candidate.scope == Scope::Floor;
        let (after_rule, after_number) = if is_floor {
            let kept = current_number
                .0
                .filter(|number| wanted.0.is_none_or(|floor| *number >= floor));
            let note = kept.is_none().then(|| "it is below the floor".to_owned());
            (&current, (kept, note))
        } else {
            (rule, wanted.clone())
        };
        let with = |selector| IntelRule {
            selector,
            ..current.clone()
        };
        let (standard, early) = (with(Selector::Standard), with(Selector::Early));
        let standard_number = number(Some(select(&standard, vendor, None, now)));
        let early_number = number(Some(select(&early, vendor, None, now)));
        let follows = !is_floor && rule.selector == Selector::Standard;
        let moves = view.lists.standard_moves(now, MOVES_DAYS);

        let mut numbers: BTreeSet<EvaluationNumber> = BTreeSet::new();
        numbers.extend(
            [
                current_number.0,
                after_number.0,
                standard_number.0,
                early_number.0,
            ]
            .into_iter()
            .flatten(),
        );
        if follows {
            numbers.extend(moves.iter().map(|(_, number)| *number));
        }
        let families = self.store().platform_fmspcs().await?;
        let mut documents: BTreeMap<EvaluationNumber, Documents> = BTreeMap::new();
        for number in numbers {
            let found = self
                .documents(tee, number, &families, &mut fetches, now)
                .await?;
            documents.insert(number, found);
        }
        let mut known: BTreeSet<Fmspc> = documents
            .values()
            .flat_map(|documents| documents.infos.keys().copied())
            .collect();
        // Under whatever number: a family does not change what it is.
        for row in self.store().keys().await? {
            if let Some((Wanted::TcbInfo { tee: of, fmspc, .. }, _)) = Wanted::of(&row.key)
                && of == tee
            {
                known.insert(fmspc);
            }
        }
        let (fleet, not_applicable) = self.fleet(tee, &known).await?;

        static NOTHING: Documents = Documents {
            infos: BTreeMap::new(),
            identity: None,
        };
        let of = |number: Option<EvaluationNumber>| {
            let found = number.and_then(|number| documents.get(&number));
            found.unwrap_or(&NOTHING)
        };
        let judge = |rule, number| Column::judge(rule, number, of(number), &fleet, now);
        let before = judge(&current, current_number.0);
        let documents_after = of(after_number.0);
        let after = Column::judge(after_rule, after_number.0, documents_after, &fleet, then);
        let told = |name, column: &Column<'_>, note: Option<String>, version| ForecastColumn {
            note,
            version,
            ..report::column(name, column, &fleet)
        };
        let columns = vec![
            told(
                "current",
                &before,
                current_number.1.clone(),
                Some(now_holds.version),
            ),
            told("candidate", &after, after_number.1.clone(), None),
            told(
                "standard",
                &judge(&standard, standard_number.0),
                standard_number.1,
                None,
            ),
            told(
                "early",
                &judge(&early, early_number.0),
                early_number.1,
                None,
            ),
        ];
        let (causes, more_causes) =
            report::causes(&before, &after, &fleet, listed.limit, &listed.after);
        let mut told_moves = Vec::new();
        let mut last = None;
        for (at, number) in moves {
            let mut told = StandardMove {
                at: at.to_string(),
                days: at.since(now).div_euclid(DAY_SECS),
                number,
                followed: follows,
                dropped: 0,
                causes: Vec::new(),
                more_causes: 0,
            };
            if follows {
                // What is put up with then is not what is put up with now.
                let then = Column::judge(rule, Some(number), of(Some(number)), &fleet, at);
                let until = last.as_ref().unwrap_or(&after);
                told.dropped = report::dropped(until, &then, &fleet);
                (told.causes, told.more_causes) =
                    report::causes(until, &then, &fleet, listed.limit, &listed.after);
                last = Some(then);
            }
            told_moves.push(told);
        }
        let below_floor = if is_floor {
            self.below(&books, candidate.tee, wanted.0, &view, now)
        } else {
            Vec::new()
        };
        let mut notes = notes(&before, &after);
        // A tolerance ends without another act, too.
        let ends: BTreeSet<UnixTime> = after_rule
            .tolerated_advisories
            .iter()
            .map(|one| one.until)
            .filter(|until| then < *until)
            .collect();
        for until in ends.into_iter().take(ENDS) {
            let past = Column::judge(after_rule, after_number.0, documents_after, &fleet, until);
            let dropped = report::dropped(&after, &past, &fleet);
            if dropped > 0 {
                notes.push(format!(
                    "When advisories are tolerated no longer, at {until}, {dropped} more drop out."
                ));
            }
        }
        let digest = self.digest_of_intel(
            candidate,
            (&books, &now_holds),
            &before,
            &after,
            &fleet,
            &below_floor,
        );
        let mut known_by: BTreeMap<String, u64> = BTreeMap::new();
        for class in fleet.classes() {
            *known_by
                .entry(class.subject.known_by.name().to_owned())
                .or_default() += class.count;
        }
        Ok(ForecastReport {
            tee: candidate.tee.to_string(),
            tenant: candidate.scope.to_string(),
            at: now.to_string(),
            digest: digest.to_string(),
            rule_digest: candidate.rule.digest().to_string(),
            dropped: report::dropped(&before, &after, &fleet),
            notes,
            platforms: count(fleet.len()),
            not_applicable,
            known_by,
            columns,
            causes,
            more_causes,
            moves: told_moves,
            followers: followers(&books, &candidate.scope, candidate.tee, now),
            below_floor,
        })
    }

    fn digest_of_intel(
        &self,
        candidate: &Candidate,
        (books, now_holds): (&Books, &Applied),
        before: &Column<'_>,
        after: &Column<'_>,
        fleet: &Fleet,
        below_floor: &[String],
    ) -> Digest {
        let mut hash = self.context(candidate, books, now_holds);
        hash.update(format!("{}\n", below_floor.join(" ")).as_bytes());
        for column in [before, after] {
            let used = column
                .documents
                .infos
                .values()
                .chain(&column.documents.identity);
            let ids: Vec<String> = used.map(|artefact| artefact.id().to_string()).collect();
            hash.update(format!("{:?} {}\n", column.number, ids.join(" ")).as_bytes());
        }
        let lines: Vec<String> = before
            .standings
            .iter()
            .zip(&after.standings)
            .map(|(from, to)| {
                let (one, two) = (from.status_name(), to.status_name());
                format!(" {one} {} {two} {}\n", from.verdict, to.verdict)
            })
            .collect();
        for (id, class) in fleet.members() {
            hash.update(id.as_bytes());
            hash.update(lines.get(class).map_or(&[], |line| line.as_bytes()));
        }
        finished(hash)
    }
}

fn notes(before: &Column<'_>, after: &Column<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let qe_unknown = [before, after].iter().any(|column| {
        let mut all = column.standings.iter();
        all.any(|standing| standing.qe_unknown)
    });
    if qe_unknown {
        notes.push("Of some platforms no quote told the version of the quoting enclave; they are judged without it.".to_owned());
    }
    if after.documents.identity.is_none() && after.number.is_some() {
        notes.push("The quoting enclave's identity under the candidate's number is not held; platforms are judged without it.".to_owned());
    }
    notes
}

/// So many ends of tolerances are looked at.
const ENDS: usize = 8;
