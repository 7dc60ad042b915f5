//! Acts on baselines: what may be done, and doing it. One at a time; each names the act it follows, so that of two operators
//! who act at once, in two processes even, one is told to look again.
//!
//! A version is promoted on a forecast: whoever promotes names the digest of the forecast they looked at, it is made again
//! under the lock, and where it differs nothing is done. Platforms that would drop out have to be allowed by number.

use thim_verify::{Digest, UnixTime};

use super::Baselines;
use super::forecasting::{Candidate, ForecastError, Foreseen};
use crate::baseline::acts::{REASON_CHARS, WHO_CHARS};
use crate::baseline::declared::Declared;
use crate::baseline::{Act, ActKind, ActRow, BaselineTee, Books, Rule, Scope, WrongRule};
use crate::sentinel::{Remark, Severity};
use crate::store::{Acted, StoreError};

/// A promotion or rollback that is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// Whose baseline.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// Of a promotion: the draft, the newest where `None`. Of a rollback: the older version whose rule is wanted; where
    /// `None`, the one that was in force before.
    pub version: Option<u32>,
    /// The digest of the forecast that was looked at.
    pub forecast: Digest,
    /// So many platforms may drop out.
    pub accept: u32,
    /// From when on; at once where `None` or past. Of a rollback: always at once.
    pub effective: Option<UnixTime>,
    /// Why.
    pub reason: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// Platforms would drop out.
    #[error("{dropped} platforms would drop out, and {accept} are accepted")]
    Drops {
        /// So many.
        dropped: u32,
        /// So many may.
        accept: u32,
    },
    /// The forecast could not be made.
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    /// There is no such version, or none that this can be done to.
    #[error("{0}")]
    NoVersion(String),
    /// Somebody else acted meanwhile.
    #[error("somebody else acted meanwhile; look again")]
    Overtaken,
    /// It would be below the operator's floor.
    #[error("{0}")]
    BelowFloor(String),
    /// This is a view of the past.
    #[error("this is a read-only view of the past")]
    ReadOnly,
    /// The forecast that was looked at is not how it is now.
    /// What it is now is not told: whoever promotes has to have looked.
    #[error("the forecast is another one by now, or was made for something else; look at it again")]
    Stale,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field is wrong.
    #[error(transparent)]
    Wrong(#[from] WrongRule),
}

/// What became of a declared baseline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Drafted {
    /// A new draft.
    New(Box<ActRow>),
    /// The newest draft says so already: its version.
    SameAsDraft(u32),
    /// What is in force, or will be, says so already, and no draft says otherwise: its version.
    SameAsPromoted(u32),
}

impl Baselines {
    /// Drafts what a file declares, all of it or nothing; what says nothing new is left alone.
    pub async fn draft(
        &self,
        declared: Vec<Declared>,
        who: &str,
        now: UnixTime,
    ) -> Result<Vec<Drafted>, NotDone> {
        let _one_at_a_time = self.acting.lock().await;
        self.refuse_in_the_past()?;
        let books = self.books();
        let at = at(&books, now);
        let mut outcome: Vec<Option<Drafted>> = Vec::with_capacity(declared.len());
        let mut acts = Vec::new();
        for one in declared {
            let ledger = books.ledger(&one.scope, one.tee);
            let draft = ledger.and_then(|ledger| ledger.draft());
            if let Some(draft) = draft.filter(|draft| draft.rule == one.rule) {
                outcome.push(Some(Drafted::SameAsDraft(draft.number)));
                continue;
            }
            let promoted = ledger.and_then(|ledger| {
                let last = ledger.waiting(at).last().map(|waiting| waiting.version);
                let number = last.or(ledger.in_force(at).map(|now| now.version.number))?;
                ledger.version(number)
            });
            if let Some(promoted) = promoted.filter(|one_| draft.is_none() && one_.rule == one.rule)
            {
                outcome.push(Some(Drafted::SameAsPromoted(promoted.number)));
                continue;
            }
            let version = ledger.map_or(1, |ledger| ledger.next_version());
            let text = format!(
                "version {version} of baseline {} for {} is drafted, by {who}",
                one.scope, one.tee
            );
            acts.push((
                Act {
                    rule: Some(one.rule.to_json()),
                    reason: one.reason,
                    ..blank(at, who, ActKind::Draft, &one.scope, one.tee, version)
                },
                Remark::new("baseline.drafted", Severity::Info, text),
            ));
            outcome.push(None);
        }
        let mut rows = self.commit(&books, acts).await?.into_iter();
        let outcome = outcome.into_iter();
        Ok(outcome
            .filter_map(|one| one.or_else(|| rows.next().map(|row| Drafted::New(Box::new(row)))))
            .collect())
    }

    /// Throws a draft away, or takes a promotion back that has not taken effect.
    pub async fn take_back(
        &self,
        kind: TakeBack,
        wish: &Unwish,
        who: &str,
        now: UnixTime,
    ) -> Result<ActRow, NotDone> {
        let Unwish {
            scope,
            tee,
            version,
            reason,
        } = wish;
        let (tee, version) = (*tee, *version);
        let _one_at_a_time = self.acting.lock().await;
        self.refuse_in_the_past()?;
        judge_words(reason, who)?;
        let books = self.books();
        let at = at(&books, now);
        let ledger = books.ledger(scope, tee);
        let (kind, name, said, can) = match kind {
            TakeBack::Draft => (
                ActKind::Discard,
                "baseline.discarded",
                "is thrown away",
                ledger
                    .and_then(|ledger| ledger.version(version))
                    .is_some_and(|version| version.is_draft),
            ),
            TakeBack::Promotion => (
                ActKind::Withdraw,
                "baseline.withdrawn",
                "is not to take effect",
                ledger.is_some_and(|ledger| ledger.waiting(at).any(|one| one.version == version)),
            ),
        };
        if !can {
            let what = match kind {
                ActKind::Discard => "is no draft",
                ActKind::Draft | ActKind::Promote | ActKind::Rollback | ActKind::Withdraw => {
                    "waits for no effective date"
                }
            };
            return Err(NotDone::NoVersion(format!(
                "version {version} of baseline {scope} for {tee} {what}"
            )));
        }
        let text = format!("version {version} of baseline {scope} for {tee} {said}, by {who}");
        let act = Act {
            reason: reason.clone(),
            ..blank(at, who, kind, scope, tee, version)
        };
        let remark = Remark::new(name, Severity::Info, text);
        self.one(&books, act, remark).await
    }

    /// Puts a draft in force, from an instant on.
    pub async fn promote(&self, wish: &Wish, who: &str, now: UnixTime) -> Result<ActRow, NotDone> {
        let _one_at_a_time = self.acting.lock().await;
        self.refuse_in_the_past()?;
        judge_words(&wish.reason, who)?;
        let books = self.books();
        let (scope, tee) = (&wish.scope, wish.tee);
        let ledger = books.ledger(scope, tee);
        let draft = match wish.version {
            None => ledger.and_then(|ledger| ledger.draft()),
            Some(number) => ledger
                .and_then(|ledger| ledger.version(number))
                .filter(|version| version.is_draft),
        };
        let draft = draft.ok_or_else(|| {
            NotDone::NoVersion(match wish.version {
                None => format!("baseline {scope} for {tee} has no draft"),
                Some(number) => {
                    format!("version {number} of baseline {scope} for {tee} is no draft")
                }
            })
        })?;
        let at = at(&books, now);
        let effective = wish.effective.map_or(at, |wanted| wanted.max(at));
        if let Some(why) =
            ledger.and_then(|ledger| ledger.may_promote(draft.number, effective).err())
        {
            return Err(NotDone::NoVersion(format!(
                "version {} of baseline {scope} for {tee} cannot be promoted: {why}",
                draft.number
            )));
        }
        let candidate = Candidate {
            scope: scope.clone(),
            tee,
            rule: draft.rule.clone(),
            effective: Some(effective),
        };
        let foreseen = self.judged(&candidate, wish, now).await?;
        let text = format!(
            "version {} of baseline {scope} for {tee} is promoted, effective {effective}, by {who}; {} platforms drop out by the forecast",
            draft.number, foreseen.dropped
        );
        let act = Act {
            effective: Some(effective),
            reason: wish.reason.clone(),
            forecast: Some(foreseen.digest),
            dropped: Some(foreseen.dropped),
            ..blank(at, who, ActKind::Promote, scope, tee, draft.number)
        };
        let remark = Remark::new("baseline.promoted", Severity::Info, text);
        self.one(&books, act, remark).await
    }

    /// Puts an older version's rule in force again, at once, as a new version.
    pub async fn roll_back(
        &self,
        wish: &Wish,
        who: &str,
        now: UnixTime,
    ) -> Result<ActRow, NotDone> {
        let _one_at_a_time = self.acting.lock().await;
        self.refuse_in_the_past()?;
        judge_words(&wish.reason, who)?;
        if wish.reason.trim().is_empty() {
            return Err(wrong("reason", "a rollback wants one"));
        }
        let books = self.books();
        let (scope, tee) = (&wish.scope, wish.tee);
        let at = at(&books, now);
        let (from, rule) = older(&books, wish, at)?;
        let candidate = Candidate {
            scope: scope.clone(),
            tee,
            rule: rule.clone(),
            effective: None,
        };
        let foreseen = self.judged(&candidate, wish, now).await?;
        let version = books
            .ledger(scope, tee)
            .map_or(1, |ledger| ledger.next_version());
        let text = format!(
            "baseline {scope} for {tee} is rolled back to the rule of version {from}, as version {version}, by {who}; {} platforms drop out by the forecast",
            foreseen.dropped
        );
        let act = Act {
            rule: Some(rule.to_json()),
            from_version: Some(from),
            effective: Some(at),
            reason: wish.reason.clone(),
            forecast: Some(foreseen.digest),
            dropped: Some(foreseen.dropped),
            ..blank(at, who, ActKind::Rollback, scope, tee, version)
        };
        let remark = Remark::new("baseline.rolled-back", Severity::Info, text);
        self.one(&books, act, remark).await
    }

    /// The rule that a rollback would put in force, and of which version it is.
    pub fn rollback_rule(&self, wish: &Wish, now: UnixTime) -> Result<(u32, Rule), NotDone> {
        let books = self.books();
        older(&books, wish, at(&books, now))
    }

    /// The forecast of a candidate as it is now, if it is the one that was looked at and drops no more than may.
    async fn judged(
        &self,
        candidate: &Candidate,
        wish: &Wish,
        now: UnixTime,
    ) -> Result<Foreseen, NotDone> {
        if let Some(why) = self.below_floor(candidate, now) {
            return Err(NotDone::BelowFloor(why));
        }
        let foreseen = self.foresee(candidate, now).await?;
        if foreseen.digest != wish.forecast {
            return Err(NotDone::Stale);
        }
        if foreseen.dropped > wish.accept {
            return Err(NotDone::Drops {
                dropped: foreseen.dropped,
                accept: wish.accept,
            });
        }
        Ok(foreseen)
    }

    fn refuse_in_the_past(&self) -> Result<(), NotDone> {
        if self.collateral().is_read_only() {
            return Err(NotDone::ReadOnly);
        }
        Ok(())
    }

    async fn one(&self, books: &Books, act: Act, remark: Remark) -> Result<ActRow, NotDone> {
        let mut rows = self.commit(books, vec![(act, remark)]).await?;
        rows.pop().ok_or(NotDone::Overtaken)
    }

    /// Writes acts and then lets readers see them.
    async fn commit(
        &self,
        books: &Books,
        acts: Vec<(Act, Remark)>,
    ) -> Result<Vec<ActRow>, NotDone> {
        if acts.is_empty() {
            return Ok(Vec::new());
        }
        let told: Vec<(&'static str, String)> = acts
            .iter()
            .map(|(_, remark)| (remark.name, remark.text.clone()))
            .collect();
        let rows = match self.store().act(books.last(), acts).await? {
            Acted::Done(rows) => rows,
            Acted::Overtaken => {
                // Somebody wrote whom these books do not know: look again from the store.
                self.reread().await?;
                return Err(NotDone::Overtaken);
            }
        };
        for (event, text) in told {
            tracing::info!(event, "{text}");
        }
        let mut next = books.clone();
        for row in &rows {
            next.enter(row)
                .expect("each act was judged by the books it follows");
        }
        self.publish(next);
        Ok(rows)
    }

    /// Reads the books from the store again.
    async fn reread(&self) -> Result<(), NotDone> {
        let (rows, _) = self.acts().await?;
        match Books::read(&rows) {
            Ok(books) => self.publish(books),
            Err(error) => {
                tracing::error!(error = %error, "acts on baselines in the store make no sense")
            }
        }
        Ok(())
    }

    fn publish(&self, books: Books) {
        let table = super::serving::Table::of(&books, &self.reached.load());
        self.books.store(std::sync::Arc::new(books));
        let table = std::sync::Arc::new(table);
        self.table.store(std::sync::Arc::clone(&table));
        // The tick may have noted what is reached while the table was made.
        table.raise(&self.reached.load());
    }
}

/// What is to be taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unwish {
    /// Whose baseline.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// Which version.
    pub version: u32,
    /// Why; may be empty.
    pub reason: String,
}

/// Which kind of thing is taken back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TakeBack {
    /// A draft.
    Draft,
    /// A promotion that has not taken effect.
    Promotion,
}

/// When an act is done: now, or when the last one was, whichever is later; a clock that was set back reorders nothing.
fn at(books: &Books, now: UnixTime) -> UnixTime {
    books.latest().map_or(now, |latest| latest.max(now))
}

fn older(books: &Books, wish: &Wish, at: UnixTime) -> Result<(u32, Rule), NotDone> {
    let (scope, tee) = (&wish.scope, wish.tee);
    let none = |what: String| NotDone::NoVersion(format!("baseline {scope} for {tee} {what}"));
    let ledger = books.ledger(scope, tee);
    let in_force = ledger.and_then(|ledger| ledger.in_force(at));
    let (Some(ledger), Some(in_force)) = (ledger, in_force) else {
        return Err(none("has no version in force".to_owned()));
    };
    // Those that ever took effect, in that order.
    let effected: Vec<u32> = ledger
        .promotions()
        .iter()
        .filter(|one| one.effective <= at)
        .map(|one| one.version)
        .collect();
    let wanted = match wish.version {
        Some(number) => effected.contains(&number).then_some(number),
        None => {
            let mut before = effected.iter().rev();
            before
                .find(|number| **number != in_force.version.number)
                .copied()
        }
    };
    let found = wanted.and_then(|number| ledger.version(number));
    match (found, wish.version) {
        (Some(version), _) if version.number == in_force.version.number => {
            Err(none(format!("has version {} in force", version.number)))
        }
        (Some(version), _) => Ok((version.number, version.rule.clone())),
        (None, None) => Err(none("had no version in force before".to_owned())),
        (None, Some(number)) => Err(none(format!("never had version {number} in force"))),
    }
}

fn blank(
    at: UnixTime,
    who: &str,
    kind: ActKind,
    scope: &Scope,
    tee: BaselineTee,
    version: u32,
) -> Act {
    Act {
        at,
        who: who.to_owned(),
        kind,
        scope: scope.clone(),
        tee,
        version,
        rule: None,
        from_version: None,
        effective: None,
        reason: String::new(),
        forecast: None,
        dropped: None,
    }
}

fn judge_words(reason: &str, who: &str) -> Result<(), NotDone> {
    if reason.chars().count() > REASON_CHARS {
        return Err(wrong(
            "reason",
            &format!("longer than {REASON_CHARS} characters"),
        ));
    }
    if who.is_empty() || who.chars().count() > WHO_CHARS {
        return Err(wrong(
            "author",
            &format!("wanted 1 to {WHO_CHARS} characters"),
        ));
    }
    Ok(())
}

fn wrong(field: &str, why: &str) -> NotDone {
    NotDone::Wrong(WrongRule {
        field: field.to_owned(),
        why: why.to_owned(),
    })
}
