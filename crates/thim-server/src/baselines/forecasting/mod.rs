//! What a step would break, before it is taken: the fleet out of the register, the collateral of each number, and the report.
//!
//! A forecast says of every platform what `thim verify quote --number` says of its quote, from what the register knows: the PCK
//! certificate, and what recorded quotes told (TEE TCB SVN, QE ISVSVN). Its digest is over everything that decides it and no
//! clock: who promotes names it, and it is made again then.

mod amd;
mod floor;
mod gathering;
mod intel;

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use thim_client::ForecastReport;
use thim_verify::{Digest, EvaluationNumber, UnixTime};

use super::{Applied, Baselines, applied};
use crate::baseline::{BaselineTee, Books, IntelRule, NotSelected, Rule, Scope, Selector};
use crate::news::BelowCount;
use crate::store::StoreError;

/// What could be in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// Whose baseline.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// What it would want.
    pub rule: Rule,
    /// From when on; `None` for now.
    pub effective: Option<UnixTime>,
}

impl Candidate {
    /// The instant it is judged as of: when it takes effect, and never before now.
    fn judged_at(&self, now: UnixTime) -> UnixTime {
        self.effective.map_or(now, |effective| effective.max(now))
    }
}

/// What somebody wants foreseen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The newest draft.
    Draft,
    /// The rule in force with another selector.
    Selector(Selector),
    /// This rule.
    Rule(Rule),
    /// A version.
    Version(u32),
}

/// A forecast in brief.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Foreseen {
    /// Of everything that decides it.
    pub digest: Digest,
    /// So many platforms pass now and would not.
    pub dropped: u32,
}

/// Which ids are listed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listed {
    /// At most so many in each cause.
    pub limit: usize,
    /// Only those after this one.
    pub after: String,
}

/// Why a forecast cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// There is nothing to foresee.
    #[error("{0}")]
    NoCandidate(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Baselines {
    /// What is meant by a target.
    ///
    /// # Errors
    /// [`ForecastError::NoCandidate`] where there is no such draft or version, or a selector for AMD.
    pub fn candidate(
        &self,
        scope: &Scope,
        tee: BaselineTee,
        target: &Target,
        now: UnixTime,
    ) -> Result<Candidate, ForecastError> {
        let books = self.books();
        let ledger = books.ledger(scope, tee);
        let none = |what: String| {
            ForecastError::NoCandidate(format!("baseline {scope} for {tee} has {what}"))
        };
        let rule = match target {
            Target::Draft => {
                let draft = ledger.and_then(|ledger| ledger.draft());
                draft
                    .ok_or_else(|| none("no draft".to_owned()))?
                    .rule
                    .clone()
            }
            Target::Rule(rule) => rule.clone(),
            Target::Selector(selector) => match applied(&books, scope, tee, now).rule {
                Rule::Intel(rule) => Rule::Intel(IntelRule {
                    selector: *selector,
                    ..rule
                }),
                Rule::Amd(_) => return Err(none("no evaluation numbers to select".to_owned())),
            },
            Target::Version(number) => {
                let version = ledger.and_then(|ledger| ledger.version(*number));
                let version = version.ok_or_else(|| none(format!("no version {number}")))?;
                version.rule.clone()
            }
        };
        Ok(Candidate {
            scope: scope.clone(),
            tee,
            rule,
            effective: None,
        })
    }

    /// The forecast of a candidate in brief, as it is now.
    pub async fn foresee(
        &self,
        candidate: &Candidate,
        now: UnixTime,
    ) -> Result<Foreseen, ForecastError> {
        let report = self.forecast(candidate, &Listed::default(), now).await?;
        Ok(Foreseen {
            digest: report.digest.parse().unwrap_or(Digest([0; 32])),
            dropped: u32::try_from(report.dropped).unwrap_or(u32::MAX),
        })
    }

    /// How many platforms are below the baselines in force: `default`'s, and those that tenants have of their own.
    ///
    /// # Errors
    /// The store's.
    pub async fn counts(&self, now: UnixTime) -> Result<Vec<BelowCount>, StoreError> {
        let books = self.books();
        let mut scopes: BTreeSet<(Scope, BaselineTee)> = BaselineTee::ALL
            .into_iter()
            .map(|tee| (Scope::Default, tee))
            .collect();
        let own = books.ledgers().filter(|(scope, _, ledger)| {
            matches!(scope, Scope::Tenant(_)) && ledger.in_force(now).is_some()
        });
        scopes.extend(
            own.take(COUNTED)
                .map(|(scope, tee, _)| (scope.clone(), tee)),
        );
        let mut counts = Vec::with_capacity(scopes.len());
        for (scope, tee) in scopes {
            let candidate = Candidate {
                rule: applied(&books, &scope, tee, now).rule,
                scope: scope.clone(),
                tee,
                effective: None,
            };
            // Nobody waits for a count: it goes by what is held, and asks no vendor.
            let listed = Listed::default();
            let report = match self.made(&candidate, &listed, 0, now).await {
                Ok(report) => report,
                Err(ForecastError::NoCandidate(_)) => continue,
                Err(ForecastError::Store(error)) => return Err(error),
            };
            let of = |word: &str| {
                let column = report.columns.first();
                column.and_then(|column| column.verdicts.get(word).copied())
            };
            counts.push(BelowCount {
                scope,
                tee,
                below: of("below").unwrap_or(0),
                unknown: of("unknown").unwrap_or(0),
                total: report.platforms,
            });
        }
        Ok(counts)
    }

    /// The forecast of a candidate, as it is now.
    pub async fn forecast(
        &self,
        candidate: &Candidate,
        listed: &Listed,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        self.made(candidate, listed, FETCHES, now).await
    }

    async fn made(
        &self,
        candidate: &Candidate,
        listed: &Listed,
        fetches: usize,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        // One at a time: a fleet in memory is enough.
        let _one_at_a_time = self.forecasting.lock().await;
        match (&candidate.rule, candidate.tee.intel()) {
            (Rule::Intel(rule), Some(tee)) => {
                self.of_intel(candidate, rule, tee, listed, fetches, now)
                    .await
            }
            (Rule::Amd(rule), _) => self.of_amd(candidate, rule, listed, now).await,
            (Rule::Intel(_), None) => Err(ForecastError::NoCandidate(
                "a rule of Intel's is none for sev-snp".to_owned(),
            )),
        }
    }

    /// What decides a forecast beside the fleet: the rule, what is in force, the floor, and who acted last.
    fn context(&self, candidate: &Candidate, books: &Books, now_holds: &Applied) -> Context {
        let mut hash = Context::new(&SHA256);
        let head = |scope: &Scope| {
            let ledger = books.ledger(scope, candidate.tee);
            ledger.map_or(Digest([0; 32]), |ledger| ledger.head())
        };
        let text = format!(
            "thim-forecast-1\n{}\n{}\n{}\n{} {} {}\n{}\n{}\n",
            candidate.scope,
            candidate.tee,
            head(&candidate.scope),
            now_holds.scope,
            now_holds.version,
            now_holds.rule.digest(),
            head(&Scope::Floor),
            candidate.rule.digest()
        );
        hash.update(text.as_bytes());
        if candidate.scope == Scope::Floor {
            // It is everybody's, so what anybody did counts.
            let all = books.ledgers().filter(|(_, tee, _)| *tee == candidate.tee);
            for (_, _, ledger) in all {
                hash.update(&ledger.head().0);
            }
        }
        hash
    }
}

/// A number, or why there is none.
fn number(
    selected: Option<Result<crate::baseline::Selection, NotSelected>>,
) -> (Option<EvaluationNumber>, Option<String>) {
    match selected {
        None => (None, None),
        Some(Ok(selection)) => (Some(selection.number), selection.note()),
        Some(Err(why)) => (None, Some(why.to_string())),
    }
}

fn followers(books: &Books, scope: &Scope, tee: BaselineTee, now: UnixTime) -> Vec<String> {
    if *scope != Scope::Default {
        return Vec::new();
    }
    let tenants = books.tenants();
    tenants
        .filter(|tenant| {
            let scope = Scope::Tenant((*tenant).clone());
            books.in_force(&scope, tee, now).is_none()
        })
        .map(ToString::to_string)
        .take(FOLLOWERS)
        .collect()
}

fn finished(hash: Context) -> Digest {
    let bytes = hash.finish();
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(bytes.as_ref()) {
        *to = *from;
    }
    Digest(digest)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const DAY_SECS: i64 = 86_400;
/// Thirteen months: every number that is listed today becomes standard within.
const MOVES_DAYS: u32 = 400;
/// Rows of the register in memory at once.
const PAGE: u32 = 500;
/// A fleet of a few families and numbers misses fewer; the refresh keeps what baselines need.
const FETCHES: usize = 32;
/// Some 100 MB.
const MOST_CHIPS: usize = 2_000_000;
/// Each is a look at the whole fleet.
const COUNTED: usize = 100;
/// A list that somebody reads.
const FOLLOWERS: usize = 1_000;
