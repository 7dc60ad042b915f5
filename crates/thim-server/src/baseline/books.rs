//! What the acts come to: of each scope and TEE the versions there ever were, and which of them is in force when.
//!
//! At an instant the promotion with the latest effective date not after it is in force; of those with one date, the later act.
//! Versions take effect in the order of their numbers, so that the one in force never falls: whoever holds a statement of version 7
//! refuses one of 6. A rollback withdraws what had been promoted and had not taken effect, else it would not last.

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
            ActKind::Discard => {
                if !known.is_some_and(|version| version.is_draft) {
                    return Err(senseless("its version is no draft"));
                }
            }
            ActKind::Promote => {
                if !known.is_some_and(|version| version.is_draft) {
                    return Err(senseless("its version is no draft"));
                }
                let effective = act
                    .effective
                    .ok_or_else(|| senseless("it has no effective date"))?;
                let may =
                    ledger.map_or(Ok(()), |ledger| ledger.may_promote(act.version, effective));
                may.map_err(|why| senseless(&why))?;
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

    /// The newest draft, if it can be promoted: one that is older than what was promoted is overtaken.
    pub fn draft(&self) -> Option<&Version> {
        let mut versions = self.versions.values().rev();
        versions
            .find(|version| version.is_draft)
            .filter(|draft| !self.is_overtaken(draft.number))
    }

    /// Whether a version that is newer, or this one, was promoted.
    pub fn is_overtaken(&self, number: u32) -> bool {
        self.newest_promoted()
            .is_some_and(|newest| newest >= number)
    }

    fn newest_promoted(&self) -> Option<u32> {
        self.promotions.iter().map(|one| one.version).max()
    }

    /// Whether a version can be promoted from an instant on.
    ///
    /// # Errors
    /// What is in the way: a newer version that was promoted, or an older one that is to take effect after it.
    pub fn may_promote(&self, number: u32, effective: UnixTime) -> Result<(), String> {
        if let Some(newer) = self.newest_promoted().filter(|newer| *newer >= number) {
            return Err(format!(
                "version {newer} was promoted, which is newer; draft the rule anew"
            ));
        }
        let mut all = self.promotions.iter();
        match all.find(|one| one.effective > effective) {
            Some(waiting) => Err(format!(
                "version {} is to take effect later, at {}; withdraw it first",
                waiting.version, waiting.effective
            )),
            None => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::super::acts::Act;
    use super::super::rule::IntelRule;
    use super::*;

    const TDX: BaselineTee = BaselineTee::Tdx;

    struct Story {
        books: Books,
        seq: i64,
    }

    impl Story {
        fn act(
            &mut self,
            at: i64,
            kind: ActKind,
            version: u32,
            effective: Option<i64>,
        ) -> Result<(), Senseless> {
            self.seq += 1;
            let makes = matches!(kind, ActKind::Draft | ActKind::Rollback);
            let act = Act {
                at: UnixTime::from_secs(at),
                who: "ops".to_owned(),
                kind,
                scope: Scope::Default,
                tee: TDX,
                version,
                rule: makes.then(|| Rule::Intel(IntelRule::default()).to_json()),
                from_version: None,
                effective: effective.map(UnixTime::from_secs),
                reason: String::new(),
                forecast: None,
                dropped: None,
            };
            let hash = Digest([0; 32]);
            self.books.enter(&ActRow {
                seq: self.seq,
                act,
                previous: hash,
                hash,
            })
        }

        fn in_force(&self, at: i64) -> Option<u32> {
            let at = UnixTime::from_secs(at);
            let found = self.books.in_force(&Scope::Default, TDX, at)?;
            Some(found.version.number)
        }

        fn draft(&self) -> Option<u32> {
            let ledger = self.books.ledger(&Scope::Default, TDX)?;
            ledger.draft().map(|draft| draft.number)
        }
    }

    #[test]
    fn the_version_in_force_never_falls() {
        let mut story = Story {
            books: Books::default(),
            seq: 0,
        };
        for version in 1..=3 {
            story
                .act(1, ActKind::Draft, version, None)
                .expect("drafted");
        }
        // 2 is to take effect later: nothing newer can before it, nothing older at all.
        story
            .act(2, ActKind::Promote, 2, Some(100))
            .expect("promoted");
        assert_eq!((story.in_force(50), story.in_force(100)), (None, Some(2)));
        let early = story
            .act(3, ActKind::Promote, 3, Some(50))
            .expect_err("2 comes after it");
        assert!(
            early.why.contains("version 2 is to take effect later"),
            "{early}"
        );
        let older = story
            .act(3, ActKind::Promote, 1, Some(200))
            .expect_err("2 is newer");
        assert!(older.why.contains("version 2 was promoted"), "{older}");
        assert_eq!(story.draft(), Some(3));
        story
            .act(4, ActKind::Promote, 3, Some(100))
            .expect("the same date, the later act");
        assert_eq!(story.in_force(100), Some(3));
        assert_eq!(story.draft(), None, "1 is overtaken");
        story
            .act(5, ActKind::Discard, 1, None)
            .expect("thrown away");
        // A rollback is a new version, and what waited before it stays withdrawn.
        story.act(6, ActKind::Draft, 4, None).expect("drafted");
        story
            .act(150, ActKind::Promote, 4, Some(900))
            .expect("promoted");
        story
            .act(160, ActKind::Rollback, 5, Some(160))
            .expect("rolled back");
        assert_eq!(
            (story.in_force(160), story.in_force(900)),
            (Some(5), Some(5))
        );
        assert!(story.act(170, ActKind::Promote, 4, Some(170)).is_err());
        assert_eq!(story.draft(), None);
    }

    #[test]
    fn what_was_withdrawn_can_be_promoted_again() {
        let mut story = Story {
            books: Books::default(),
            seq: 0,
        };
        story.act(1, ActKind::Draft, 1, None).expect("drafted");
        story
            .act(2, ActKind::Promote, 1, Some(100))
            .expect("promoted");
        story.act(3, ActKind::Withdraw, 1, None).expect("withdrawn");
        assert_eq!((story.draft(), story.in_force(100)), (Some(1), None));
        story
            .act(4, ActKind::Promote, 1, Some(4))
            .expect("promoted");
        assert_eq!(story.in_force(4), Some(1));
        assert!(
            story.act(5, ActKind::Withdraw, 1, None).is_err(),
            "it has taken effect"
        );
    }
}
