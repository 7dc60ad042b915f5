//! The evaluation number of a rule at an instant: what the vendor's lists say, what the vendor has retired, and what was
//! reached before. A number never falls by itself: what a version of a baseline has reached it keeps, whatever a later list
//! or a clock that was set back says.

use thim_verify::{EvaluationNumber, UnixTime};

use super::lists::{Choice, Lists};
use super::rule::{IntelRule, OnRetired, Selector};

/// What is known of the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Vendor<'a> {
    /// The newest lists.
    pub lists: &'a Lists,
    /// The vendor signs this number and all below it no longer, as its answers showed.
    pub retired: Option<EvaluationNumber>,
}

/// A number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Selection {
    /// Which.
    pub number: EvaluationNumber,
    /// Where the rule's own number is retired, and this is the one it went on to: the rule's own.
    pub rolled_from: Option<EvaluationNumber>,
    /// True where the number is retired and its last editions are to be served.
    pub is_archive: bool,
    /// True where no list before its next update informed the choice.
    pub from_expired_list: bool,
}

/// Why there is no number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotSelected {
    /// Nothing is that old.
    NoneOldEnough {
        /// How old, in days.
        lag_days: u32,
    },
    /// There is no list, so only the source can tell what it calls so.
    NoList,
    /// The vendor has retired it, and the rule says to refuse then.
    Retired {
        /// Which number.
        number: EvaluationNumber,
    },
}

impl Vendor<'_> {
    /// Whether the vendor signs a number no longer: it said so, or its unexpired lists begin above it. Its standard and what is
    /// above it are never retired, whatever an answer said: the signed list says otherwise.
    pub fn has_retired(&self, number: EvaluationNumber, now: UnixTime) -> bool {
        let standard = self.lists.choose(Choice::Standard, now);
        if standard.is_some_and(|standard| standard.number <= number) {
            return false;
        }
        let gone = self.retired.is_some_and(|retired| number <= retired);
        let signed = self.lists.signed_now(now);
        gone || signed.first().is_some_and(|lowest| number < *lowest)
    }

    /// The lowest number above `number` that is still signed.
    fn next_signed(&self, number: EvaluationNumber, now: UnixTime) -> Option<EvaluationNumber> {
        let signed = self.lists.signed_now(now).into_iter();
        let mut above = signed.filter(|one| *one > number);
        above.find(|one| !self.has_retired(*one, now))
    }
}

/// The number of `rule` at `now`. `reached`: the highest this version of the baseline ever had.
///
/// # Errors
/// [`NotSelected`] says why there is none.
pub fn select(
    rule: &IntelRule,
    vendor: Vendor<'_>,
    reached: Option<EvaluationNumber>,
    now: UnixTime,
) -> Result<Selection, NotSelected> {
    let chosen = |choice| vendor.lists.choose(choice, now);
    let found =
        match rule.selector {
            Selector::Early => chosen(Choice::Early).ok_or(NotSelected::NoList)?,
            Selector::LagDays(lag_days) => vendor
                .lists
                .at_least_days_old(lag_days, now)
                .ok_or_else(|| {
                    if vendor.lists.is_empty() {
                        NotSelected::NoList
                    } else {
                        NotSelected::NoneOldEnough { lag_days }
                    }
                })?,
            Selector::Number(number) => chosen(Choice::Number(number)).unwrap_or(super::Chosen {
                number,
                from_expired_list: false,
            }),
            Selector::Standard => chosen(Choice::Standard).ok_or(NotSelected::NoList)?,
        };
    let number = found.number.max(reached.unwrap_or(0));
    let mut selection = Selection {
        number,
        rolled_from: (number > found.number && matches!(rule.selector, Selector::Number(_)))
            .then_some(found.number),
        is_archive: false,
        from_expired_list: found.from_expired_list,
    };
    if !vendor.has_retired(number, now) {
        return Ok(selection);
    }
    match rule.on_retired {
        OnRetired::Archive => selection.is_archive = true,
        OnRetired::Refuse => return Err(NotSelected::Retired { number }),
        OnRetired::RollForward => {
            let next = vendor.next_signed(number, now);
            selection.number = next.ok_or(NotSelected::Retired { number })?;
            selection.rolled_from = Some(found.number);
        }
    }
    Ok(selection)
}
