//! Baselines as people and tools read them: the shapes of the own API out of the books.

use std::collections::BTreeSet;

use serde_json::Value;
use thim_client::{
    ActLog, ActRecord, AppliedBaseline, BaselineDifference, BaselineRecord, BaselineSummary,
    BaselineVersion, WaitingVersion,
};
use thim_verify::UnixTime;

use super::acting::Drafted;
use super::{Applied, Baselines, applied};
use crate::baseline::declared::Declared;
use crate::baseline::{
    ActRow, BaselineTee, Books, Ledger, NotSelected, Rule, Scope, Selection, Vendor, Version,
};
use crate::store::StoreError;
use crate::view::View;

impl Baselines {
    /// Every scope that an act ever named, and `default` in any case, of each TEE.
    pub fn list(&self, tee: Option<BaselineTee>, now: UnixTime) -> Vec<BaselineSummary> {
        let books = self.books();
        let view = self.collateral().view();
        let wanted = |one: BaselineTee| tee.is_none_or(|tee| tee == one);
        let defaults = BaselineTee::ALL.map(|tee| (Scope::Default, tee));
        let named = books.ledgers().map(|(scope, tee, _)| (scope.clone(), tee));
        let all: BTreeSet<(Scope, BaselineTee)> = defaults.into_iter().chain(named).collect();
        all.into_iter()
            .filter(|(_, tee)| wanted(*tee))
            .map(|(scope, tee)| self.summary(&books, &view, &scope, tee, now))
            .collect()
    }

    /// A baseline with all its versions; `None` for a scope that no act named, `default` apart.
    pub fn record(&self, scope: &Scope, tee: BaselineTee, now: UnixTime) -> Option<BaselineRecord> {
        let books = self.books();
        let ledger = books.ledger(scope, tee);
        let known = match scope {
            Scope::Default => true,
            Scope::Floor => ledger.is_some(),
            Scope::Tenant(tenant) => self.knows(tenant),
        };
        let view = self.collateral().view();
        known.then(|| BaselineRecord {
            summary: self.summary(&books, &view, scope, tee, now),
            versions: ledger.map_or(Vec::new(), |ledger| {
                let one = |version| self::version(ledger, version, now);
                ledger.versions().map(one).collect()
            }),
        })
    }

    /// How a file differs from what is promised: of each baseline the version that was promoted last, in force or not.
    pub fn differences(&self, declared: &[Declared], now: UnixTime) -> Vec<BaselineDifference> {
        let books = self.books();
        let mut all = Vec::new();
        for one in declared {
            let ledger = books.ledger(&one.scope, one.tee);
            let promoted = ledger.and_then(|ledger| promoted_last(ledger, now));
            let drafted = ledger
                .and_then(Ledger::draft)
                .is_some_and(|draft| draft.rule == one.rule);
            let difference = |field: &str, file, service| BaselineDifference {
                tenant: one.scope.to_string(),
                tee: one.tee.to_string(),
                field: field.to_owned(),
                file,
                service,
                drafted,
            };
            let file = json(&one.rule);
            match promoted {
                None => all.push(difference("baseline", Some(file), None)),
                Some(version) => {
                    let service = json(&version.rule);
                    for field in fields(&file, &service) {
                        let (file, service) = (file.get(&field), service.get(&field));
                        if file != service {
                            all.push(difference(&field, file.cloned(), service.cloned()));
                        }
                    }
                }
            }
        }
        let declared: BTreeSet<_> = declared.iter().map(|one| (&one.scope, one.tee)).collect();
        for (scope, tee, ledger) in books.ledgers() {
            if let Some(version) = promoted_last(ledger, now)
                && !declared.contains(&(scope, tee))
            {
                all.push(BaselineDifference {
                    tenant: scope.to_string(),
                    tee: tee.to_string(),
                    field: "baseline".to_owned(),
                    file: None,
                    service: Some(json(&version.rule)),
                    drafted: false,
                });
            }
        }
        all
    }

    /// Acts after a number, with the head that is kept beside the chain.
    pub async fn log(&self, after: i64, limit: u32) -> Result<ActLog, StoreError> {
        let (rows, head) = self.acts().await?;
        Ok(log(&rows, head.to_string(), after, limit))
    }

    /// The number that a scope is served at an instant, floor apart: where a set has yet to move, the one it moves from.
    pub fn selection(
        &self,
        applied: &Applied,
        tee: BaselineTee,
        view: &View,
        now: UnixTime,
    ) -> Option<Result<Selection, NotSelected>> {
        let rule = applied.rule.intel()?;
        let vendor = Vendor {
            lists: &view.lists,
            retired: view.retired,
        };
        let reached = self.reached(&applied.scope, tee, applied.version);
        Some(super::serving::in_use(rule, vendor, reached, now))
    }

    fn summary(
        &self,
        books: &Books,
        view: &View,
        scope: &Scope,
        tee: BaselineTee,
        now: UnixTime,
    ) -> BaselineSummary {
        let applied = applied(books, scope, tee, now);
        let no_floor = *scope == Scope::Floor && applied.version == 0;
        let (number, note) = match self.selection(&applied, tee, view, now) {
            Some(_) if no_floor => (None, Some("no floor is in force".to_owned())),
            None => (None, None),
            Some(Ok(selection)) => (Some(selection.number), selection.note()),
            Some(Err(why)) => (None, Some(why.to_string())),
        };
        let ledger = books.ledger(scope, tee);
        let waiting = ledger.map(|ledger| ledger.waiting(now));
        BaselineSummary {
            tenant: scope.to_string(),
            tee: tee.to_string(),
            version: applied.version,
            since: applied.since.map(|since| since.to_string()),
            follows_default: applied.scope != *scope,
            rule: json(&applied.rule),
            number,
            note,
            waiting: waiting.map_or(Vec::new(), |waiting| {
                waiting
                    .map(|one| WaitingVersion {
                        version: one.version,
                        effective: one.effective.to_string(),
                    })
                    .collect()
            }),
            draft: ledger.and_then(Ledger::draft).map(|draft| draft.number),
        }
    }
}

/// Acts after a number, at most `limit` of them, as the own API tells them.
pub fn log(rows: &[ActRow], head: String, after: i64, limit: u32) -> ActLog {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let wanted = rows.iter().filter(|row| row.seq > after).take(limit);
    ActLog {
        acts: wanted.map(act).collect(),
        head,
    }
}

/// An act as the own API tells it.
pub fn act(row: &ActRow) -> ActRecord {
    let act = &row.act;
    ActRecord {
        seq: row.seq,
        at: act.at.to_string(),
        who: act.who.clone(),
        act: act.kind.to_string(),
        tenant: act.scope.to_string(),
        tee: act.tee.to_string(),
        version: act.version,
        rule: act.rule.clone(),
        from_version: act.from_version,
        effective: act.effective.map(|at| at.to_string()),
        reason: act.reason.clone(),
        forecast: act.forecast.map(|digest| digest.to_string()),
        dropped: act.dropped,
        previous: row.previous.to_string(),
        hash: row.hash.to_string(),
    }
}

/// What became of the baselines of a file, in its order.
pub fn outcomes(declared: &[(Scope, BaselineTee)], drafted: &[Drafted]) -> Vec<AppliedBaseline> {
    let one = |((scope, tee), drafted): (&(Scope, BaselineTee), &Drafted)| {
        let (outcome, version) = match drafted {
            Drafted::New(row) => ("drafted", row.act.version),
            Drafted::SameAsDraft(version) => ("same-as-draft", *version),
            Drafted::SameAsPromoted(version) => ("same-as-promoted", *version),
        };
        AppliedBaseline {
            tenant: scope.to_string(),
            tee: tee.to_string(),
            outcome: outcome.to_owned(),
            version,
        }
    };
    declared.iter().zip(drafted).map(one).collect()
}

fn promoted_last(ledger: &Ledger, now: UnixTime) -> Option<&Version> {
    let waiting = ledger.waiting(now).last().map(|one| one.version);
    let in_force = ledger.in_force(now).map(|one| one.version.number);
    ledger.version(waiting.or(in_force)?)
}

fn version(ledger: &Ledger, version: &Version, now: UnixTime) -> BaselineVersion {
    let in_force = ledger.in_force(now).map(|one| one.version.number);
    let state = if version.is_draft && ledger.is_overtaken(version.number) {
        "overtaken"
    } else if version.is_draft {
        "draft"
    } else if version.is_discarded {
        "discarded"
    } else if in_force == Some(version.number) {
        "in-force"
    } else if ledger
        .waiting(now)
        .any(|waiting| waiting.version == version.number)
    {
        "waiting"
    } else {
        "superseded"
    };
    BaselineVersion {
        version: version.number,
        state: state.to_owned(),
        issued: version.issued.to_string(),
        author: version.author.clone(),
        reason: version.reason.clone(),
        from_version: version.from_version,
        rule_digest: version.rule.digest().to_string(),
        rule: json(&version.rule),
    }
}

fn fields(one: &Value, two: &Value) -> BTreeSet<String> {
    let of = |value: &Value| {
        let object = value.as_object();
        object.map_or(Vec::new(), |object| object.keys().cloned().collect())
    };
    of(one).into_iter().chain(of(two)).collect()
}

fn json(rule: &Rule) -> Value {
    serde_json::from_str(&rule.to_json()).expect("a rule's canonical text is JSON")
}
