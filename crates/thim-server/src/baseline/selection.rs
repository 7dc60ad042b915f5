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

impl Selection {
    /// What is particular about the number, in a sentence.
    pub fn note(&self) -> Option<String> {
        if self.is_archive {
            let number = self.number;
            return Some(format!(
                "the vendor signs number {number} no longer; its last editions are served"
            ));
        }
        if let Some(from) = self.rolled_from {
            return Some(format!("the vendor signs number {from} no longer"));
        }
        self.from_expired_list
            .then(|| "the lists of evaluation numbers are past their next update".to_owned())
    }
}

/// Why there is no number.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSelected {
    /// Nothing that old is signed any more, and the rule says to refuse then.
    #[error("no TCB recovery event that the lists name is {lag_days} days old")]
    NoneOldEnough {
        /// How old, in days.
        lag_days: u32,
    },
    /// There is no list, so only the source can tell what it calls so.
    #[error("no list of evaluation numbers is held, so only the vendor can tell")]
    NoList,
    /// The vendor has retired it, and the rule says to refuse then.
    #[error("the vendor signs number {number} no longer, and the rule goes on to no other")]
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
        let lowest = self.lists.lowest_signed(now);
        gone || lowest.is_some_and(|lowest| number < lowest)
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
    let named = |number, from_expired_list| super::Chosen {
        number,
        from_expired_list,
    };
    let found = match rule.selector {
        Selector::Early => chosen(Choice::Early),
        Selector::LagDays(lag_days) => vendor.lists.at_least_days_old(lag_days, now),
        Selector::Number(number) => {
            Some(chosen(Choice::Number(number)).unwrap_or(named(number, false)))
        }
        Selector::Standard => chosen(Choice::Standard),
    };
    let found = match (found, reached, rule.selector) {
        (Some(found), _, _) => found,
        // A list that got shorter, or is gone, takes nothing back.
        (None, Some(reached), _) => named(reached, true),
        (None, None, Selector::LagDays(lag_days)) => {
            let entries = vendor.lists.entries();
            let lowest = entries.first().ok_or(NotSelected::NoList)?.number;
            // What is old enough the vendor signs no longer.
            if rule.on_retired == OnRetired::Refuse {
                return Err(NotSelected::NoneOldEnough { lag_days });
            }
            named(lowest, false)
        }
        (None, None, _) => return Err(NotSelected::NoList),
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

#[cfg(test)]
mod tests {
    use thim_verify::{EvaluationEntry, EvaluationNumbers, Tee};

    use super::*;

    fn at(text: &str) -> UnixTime {
        text.parse().expect("an instant")
    }

    /// Lists with these numbers, each with its event's day, good for a month from `issued`.
    fn lists(issued: &str, numbers: &[(u32, &str)]) -> Lists {
        let mut lists = Lists::default();
        let issued = at(issued);
        let entry = |(number, day): &(u32, &str)| EvaluationEntry {
            number: *number,
            event_date: at(&format!("{day}T00:00:00Z")),
            tcb_date: at(&format!("{day}T00:00:00Z")),
        };
        lists.learn(&EvaluationNumbers {
            tee: Tee::Tdx,
            issued,
            next_update: issued.plus_secs(30 * 86_400),
            numbers: numbers.iter().map(entry).collect(),
        });
        lists
    }

    const EVENTS: [(u32, &str); 4] = [
        (17, "2024-03-12"),
        (18, "2024-11-12"),
        (19, "2025-05-13"),
        (20, "2025-08-12"),
    ];

    fn number(
        selector: Selector,
        on_retired: OnRetired,
        lists: &Lists,
        reached: Option<u32>,
    ) -> Result<u32, NotSelected> {
        let rule = IntelRule {
            selector,
            on_retired,
            serve_archived: on_retired == OnRetired::Archive,
            ..IntelRule::default()
        };
        let vendor = Vendor {
            lists,
            retired: None,
        };
        select(&rule, vendor, reached, at("2025-11-13T00:00:00Z")).map(|found| found.number)
    }

    #[test]
    fn each_selector_has_its_number_and_what_was_reached_stays() {
        let whole = lists("2025-11-01T00:00:00Z", &EVENTS);
        let forward = OnRetired::RollForward;
        for (selector, reached, wanted) in [
            (Selector::Standard, None, Ok(18)),
            (Selector::Standard, Some(19), Ok(19)),
            (Selector::Early, None, Ok(20)),
            (Selector::LagDays(400), None, Ok(17)),
            (Selector::LagDays(100), None, Ok(19)),
            (Selector::LagDays(0), None, Ok(20)),
            (Selector::Number(19), None, Ok(19)),
            (Selector::Number(19), Some(20), Ok(20)),
        ] {
            let found = number(selector, forward, &whole, reached);
            assert_eq!(found, wanted, "{selector:?} {reached:?}");
        }
    }

    #[test]
    fn a_list_that_got_shorter_or_is_gone_takes_nothing_back() {
        let shorter = lists("2025-11-12T00:00:00Z", &EVENTS[1..]);
        let gone = Lists::default();
        let lag = Selector::LagDays(400);
        for (lists, on_retired, reached, wanted) in [
            // 17 was reached, and is signed no longer.
            (&shorter, OnRetired::RollForward, Some(17), Ok(18)),
            (&shorter, OnRetired::Archive, Some(17), Ok(17)),
            (
                &shorter,
                OnRetired::Refuse,
                Some(17),
                Err(NotSelected::Retired { number: 17 }),
            ),
            (&shorter, OnRetired::RollForward, Some(18), Ok(18)),
            // Nothing was reached: the lowest that is signed, or nothing.
            (&shorter, OnRetired::RollForward, None, Ok(18)),
            (
                &shorter,
                OnRetired::Refuse,
                None,
                Err(NotSelected::NoneOldEnough { lag_days: 400 }),
            ),
            (&gone, OnRetired::RollForward, Some(18), Ok(18)),
            (
                &gone,
                OnRetired::RollForward,
                None,
                Err(NotSelected::NoList),
            ),
        ] {
            let found = number(lag, on_retired, lists, reached);
            assert_eq!(found, wanted, "{on_retired:?} {reached:?}");
        }
        let standard = number(Selector::Standard, OnRetired::RollForward, &gone, Some(19));
        assert_eq!(standard, Ok(19));
        // A number is a number, whatever the lists say.
        let named = number(Selector::Number(19), OnRetired::RollForward, &gone, None);
        assert_eq!(named, Ok(19));
    }
}
