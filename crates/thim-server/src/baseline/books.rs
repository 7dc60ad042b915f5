//! What the acts come to: of each scope and TEE the versions there ever were, and which of them is in force when.
//!
//! At an instant the promotion with the latest effective date not after it is in force; of those with one date, the later act.
//! A rollback withdraws what had been promoted and had not taken effect, else it would not last.

use std::collections::BTreeMap;

use thim_verify::{Digest, UnixTime};

use super::acts::{ActKind, ActRow};
use super::rule::Rule;
use super::scope::{BaselineTee, Scope, Tenant};

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Books {
    ledgers: BTreeMap<(Scope, BaselineTee), Ledger>,
    last: Option<(i64, Digest)>,
    latest: Option<UnixTime>,
}

/// One scope and TEE.
#[derive(Clone, Debug)]
pub struct Ledger {
    versions: BTreeMap<u32, Version>,
    promotions: Vec<Promotion>,
    head: Digest,
}

/// A version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// From 1, rising.
    pub number: u32,
    /// What it wants.
    pub rule: Rule,
    /// When it was written.
    pub issued: UnixTime,
    /// Who wrote it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Of a rollback: the version whose rule it is.
    pub from_version: Option<u32>,
    /// True from its draft until it is promoted, and again where the promotion is withdrawn.
    pub is_draft: bool,
    /// True where it was thrown away.
    pub is_discarded: bool,
}

/// A version that is or will be in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Promotion {
    /// Which version.
    pub version: u32,
    /// From when on.
    pub effective: UnixTime,
    /// Which act.
    pub seq: i64,
}

/// A version in force.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// Which.
    pub version: &'a Version,
    /// Since when.
    pub since: UnixTime,
    /// By which act.
    pub seq: i64,
}

/// Rows that are no acts of ours; the text says which and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("act {seq} makes no sense: {why}")]
pub struct Senseless {
    /// Which row.
    pub seq: i64,
    /// Why.
    pub why: String,
}

impl Books {
    /// The books of a chain from its beginning.
    ///
    /// # Errors
    /// [`Senseless`] for an act that cannot follow those before it.
    pub fn read(rows: &[ActRow]) -> Result<Self, Senseless> {
        let mut books = Self::default();
        for row in rows {
            books.enter(row)?;
        }
        Ok(books)
    }

    /// Takes in the next act.
    ///
    /// # Errors
    /// [`Senseless`] where it cannot follow those before it; nothing is changed then.
    pub fn enter(&mut self, row: &ActRow) -> Result<(), Senseless> {
        let act = &row.act;
        let senseless = |why: &str| Senseless {
            seq: row.seq,
            why: why.to_owned(),
        };
        let rule = act.rule.as_deref();
        let rule = rule
            .map(|text| Rule::from_json(act.tee, text))
            .transpose()
            .map_err(|error| senseless(&error.to_string()))?;
        let key = (act.scope.clone(), act.tee);
        let ledger = self.ledgers.get(&key);
        let known = ledger.and_then(|ledger| ledger.versions.get(&act.version));
        let next = ledger.map_or(1, Ledger::next_version);
        match act.kind {
            ActKind::Draft | ActKind::Rollback => {
                if act.version != next {
                    return Err(senseless("its version is not the next one"));
                }
                if rule.is_none() {
                    return Err(senseless("it makes a version and has no rule"));
                }
                if act.kind == ActKind::Rollback && act.effective.is_none() {
                    return Err(senseless("it has no effective date"));
                }
            }
            ActKind::Discard | ActKind::Promote => {
                if !known.is_some_and(|version| version.is_draft) {
                    return Err(senseless("its version is no draft"));
                }
                if act.kind == ActKind::Promote && act.effective.is_none() {
                    return Err(senseless("it has no effective date"));
                }
            }
            ActKind::Withdraw => {
                let waits = ledger.is_some_and(|ledger| {
                    ledger.waiting(act.at).any(|one| one.version == act.version)
                });
                if !waits {
                    return Err(senseless("its version waits for no effective date"));
                }
            }
        }
        let ledger = self.ledgers.entry(key).or_insert_with(|| Ledger {
            versions: BTreeMap::new(),
            promotions: Vec::new(),
            head: Digest([0; 32]),
        });
        ledger.enter(row, rule);
        self.last = Some((row.seq, row.hash));
        self.latest = self.latest.max(Some(act.at));
        Ok(())
    }

    /// The number and hash of the last act.
    pub fn last(&self) -> Option<(i64, Digest)> {
        self.last
    }

    /// The hash of the last act; zeros where there is none.
    pub fn head(&self) -> Digest {
        self.last.map_or(Digest([0; 32]), |(_, hash)| hash)
    }

    /// When the last act was done.
    pub fn latest(&self) -> Option<UnixTime> {
        self.latest
    }

    /// The ledger of a scope and TEE, where an act ever named them.
    pub fn ledger(&self, scope: &Scope, tee: BaselineTee) -> Option<&Ledger> {
        self.ledgers.get(&(scope.clone(), tee))
    }

    /// All ledgers, by scope and TEE.
    pub fn ledgers(&self) -> impl Iterator<Item = (&Scope, BaselineTee, &Ledger)> {
        let all = self.ledgers.iter();
        all.map(|((scope, tee), ledger)| (scope, *tee, ledger))
    }

    /// Every tenant that an act ever named, once.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        let mut last = None;
        self.ledgers
            .keys()
            .filter_map(move |(scope, _)| match scope {
                Scope::Tenant(tenant) if last != Some(tenant) => {
                    last = Some(tenant);
                    Some(tenant)
                }
                Scope::Default | Scope::Floor | Scope::Tenant(_) => None,
            })
    }

    /// What is in force for a scope itself at an instant; a tenant without one follows `default`, which is for the caller to ask.
    pub fn in_force(&self, scope: &Scope, tee: BaselineTee, now: UnixTime) -> Option<InForce<'_>> {
        self.ledger(scope, tee)?.in_force(now)
    }
}

impl Ledger {
    fn enter(&mut self, row: &ActRow, rule: Option<Rule>) {
        let act = &row.act;
        if let (ActKind::Draft | ActKind::Rollback, Some(rule)) = (act.kind, rule) {
            let version = Version {
                number: act.version,
                rule,
                issued: act.at,
                author: act.who.clone(),
                reason: act.reason.clone(),
                from_version: act.from_version,
                is_draft: act.kind == ActKind::Draft,
                is_discarded: false,
            };
            self.versions.insert(act.version, version);
        }
        if act.kind == ActKind::Rollback {
            self.promotions.retain(|one| one.effective <= act.at);
        }
        if let (ActKind::Promote | ActKind::Rollback, Some(effective)) = (act.kind, act.effective) {
            self.promotions.push(Promotion {
                version: act.version,
                effective,
                seq: row.seq,
            });
        }
        if act.kind == ActKind::Withdraw {
            let at = act.at;
            self.promotions
                .retain(|one| one.version != act.version || one.effective <= at);
        }
        if let Some(version) = self.versions.get_mut(&act.version) {
            match act.kind {
                ActKind::Discard => {
                    version.is_draft = false;
                    version.is_discarded = true;
                }
                ActKind::Draft | ActKind::Withdraw => version.is_draft = true,
                ActKind::Promote | ActKind::Rollback => version.is_draft = false,
            }
        }
        self.head = row.hash;
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.versions.values()
    }

    /// A version.
    pub fn version(&self, number: u32) -> Option<&Version> {
        self.versions.get(&number)
    }

    /// The newest draft.
    pub fn draft(&self) -> Option<&Version> {
        self.versions
            .values()
            .rev()
            .find(|version| version.is_draft)
    }

    /// The number the next version will have.
    pub fn next_version(&self) -> u32 {
        let last = self.versions.keys().next_back();
        last.map_or(1, |number| number.saturating_add(1))
    }

    /// What is in force at an instant.
    pub fn in_force(&self, now: UnixTime) -> Option<InForce<'_>> {
        let then = self.promotions.iter().filter(|one| one.effective <= now);
        let promotion = then.max_by_key(|one| (one.effective, one.seq))?;
        Some(InForce {
            version: self.versions.get(&promotion.version)?,
            since: promotion.effective,
            seq: promotion.seq,
        })
    }

    /// Every promotion that counts, in the order in which they take effect; of those with one date, the later act last.
    pub fn promotions(&self) -> Vec<Promotion> {
        let mut all = self.promotions.clone();
        all.sort_by_key(|one| (one.effective, one.seq));
        all
    }

    /// What is promoted and has not taken effect, by when it will.
    pub fn waiting(&self, now: UnixTime) -> impl Iterator<Item = Promotion> {
        let mut waiting: Vec<Promotion> = self
            .promotions
            .iter()
            .filter(|one| one.effective > now)
            .copied()
            .collect();
        waiting.sort_by_key(|one| (one.effective, one.seq));
        waiting.into_iter()
    }

    /// The hash of the last act on this scope and TEE: what a forecast was made on.
    pub fn head(&self) -> Digest {
        self.head
    }
}
