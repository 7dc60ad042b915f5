//! What a step would break, before it is taken: every platform of the register under what is in force and under a candidate.

use thim_verify::{Digest, UnixTime};

use super::{Baselines, floor_of};
use crate::baseline::{BaselineTee, NotSelected, Rule, Scope, Vendor, select};
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
}

/// A forecast in brief.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Foreseen {
    /// Of everything that decides it.
    pub digest: Digest,
    /// So many platforms pass now and would not.
    pub dropped: u32,
}

/// Why a forecast cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// The rule has no number now.
    #[error("the candidate has no evaluation number: {0}")]
    NoNumber(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Baselines {
    /// The forecast of a candidate as it is now.
    pub async fn foresee(
        &self,
        candidate: &Candidate,
        _now: UnixTime,
    ) -> Result<Foreseen, ForecastError> {
        let books = self.books();
        let head = books
            .ledger(&candidate.scope, candidate.tee)
            .map_or(Digest([0; 32]), |ledger| ledger.head());
        let text = format!(
            "{} {} {} {head}",
            candidate.scope,
            candidate.tee,
            candidate.rule.digest()
        );
        Ok(Foreseen {
            digest: Digest::of(text.as_bytes()),
            dropped: 0,
        })
    }

    /// Why a candidate is below the operator's floor, if it is.
    pub fn below_floor(&self, candidate: &Candidate, now: UnixTime) -> Option<String> {
        if candidate.scope == Scope::Floor {
            return None;
        }
        let floor = floor_of(&self.look(), candidate.tee, now)?;
        let view = self.collateral().view();
        let vendor = Vendor {
            lists: &view.lists,
            retired: view.retired,
        };
        match (&candidate.rule, &floor.rule) {
            (Rule::Intel(rule), Rule::Intel(floor)) => {
                let number = select(rule, vendor, None, now).ok()?.number;
                let least = match select(floor, vendor, None, now) {
                    Ok(selection) => selection.number,
                    Err(NotSelected::Retired { number }) => number,
                    Err(NotSelected::NoList | NotSelected::NoneOldEnough { .. }) => return None,
                };
                (number < least).then(|| {
                    format!("evaluation number {number} is below the operator's floor, {least}")
                })
            }
            (Rule::Amd(rule), Rule::Amd(floor)) => floor.minimums.iter().find_map(|least| {
                let wanted = rule.minimum(least.product, now)?;
                (!wanted.tcb().covers(&least.tcb())).then(|| {
                    format!(
                        "the minimum for {} is below the operator's floor",
                        least.product
                    )
                })
            }),
            (Rule::Amd(_), Rule::Intel(_)) | (Rule::Intel(_), Rule::Amd(_)) => None,
        }
    }
}
