//! TCB evaluation data numbers: which exist, which are answered, and the signed list of them.
//!
//! One sequence for SGX TCB info, TDX TCB info and all enclave identities, raised by each TCB recovery event.
//! `standard` is the highest number whose event is at least twelve calendar months old, computed from the clock at each
//! request; `early` is the highest number. Below standard a number is withdrawn (410), above early unknown (404).
//! Rules: spec/intel-verification.md section 8 and spec/intel-pcs-and-pccs.md section 4.

use crate::calendar;
use jiff::civil::Date;
use serde::Serialize;

/// How a request names the number it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// `update=early`.
    Early,
    /// `tcbEvaluationDataNumber=n`.
    Number(u32),
    /// `update=standard`, or nothing.
    Standard,
}

/// Why a number is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotServed {
    /// Above early.
    Unknown,
    /// Below standard.
    Withdrawn,
}

/// A TCB recovery event and the number it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoveryEvent {
    pub(crate) number: u32,
    pub(crate) date: Date,
}

impl RecoveryEvent {
    /// The vendor dates a number's best TCB level one day after the event.
    pub(crate) fn tcb_date(&self) -> Date {
        calendar::next_day(self.date)
    }
}

/// All events the vendor lists, oldest first; never empty.
#[derive(Clone, Debug)]
pub(crate) struct EvaluationNumbers {
    events: Vec<RecoveryEvent>,
    /// Answered from this number on, though below standard; none: standard and above alone.
    kept_from: Option<u32>,
}

impl EvaluationNumbers {
    /// The window at the start: 16 and 17 withdrawn, 18 standard, 19 between, 20 early.
    pub(crate) fn at_start(now: i64) -> Self {
        let today = calendar::date(now);
        let events = FIRST_EVENTS
            .iter()
            .map(|&(number, months)| RecoveryEvent {
                number,
                date: calendar::second_tuesday(today, months),
            })
            .collect();
        Self {
            events,
            kept_from: None,
        }
    }

    /// A TCB recovery: the next number, with its event so many days ago.
    pub(crate) fn recover(&mut self, now: i64, event_days_ago: u32) -> u32 {
        let number = self.early() + 1;
        let date = calendar::days_before(calendar::date(now), event_days_ago);
        self.events.push(RecoveryEvent { number, date });
        number
    }

    /// Goes on to answer numbers from this one on when they fall below standard; with `None` they are withdrawn then.
    pub(crate) fn keep_from(&mut self, number: Option<u32>) {
        self.kept_from = number;
    }

    /// The lowest number that is answered.
    fn lowest(&self, now: i64) -> u32 {
        let standard = self.standard(now);
        self.kept_from.map_or(standard, |kept| kept.min(standard))
    }

    /// The highest number.
    pub(crate) fn early(&self) -> u32 {
        self.events
            .iter()
            .map(|event| event.number)
            .max()
            .unwrap_or(0)
    }

    /// The highest number whose event is a year old; the lowest of all if none is (a clock set far back).
    pub(crate) fn standard(&self, now: i64) -> u32 {
        let today = calendar::date(now);
        self.events
            .iter()
            .filter(|event| calendar::is_a_year_old(event.date, today))
            .map(|event| event.number)
            .max()
            .or_else(|| self.events.iter().map(|event| event.number).min())
            .unwrap_or(0)
    }

    /// The number a request gets.
    pub(crate) fn select(&self, selector: Selector, now: i64) -> Result<u32, NotServed> {
        match selector {
            Selector::Early => Ok(self.early()),
            Selector::Standard => Ok(self.standard(now)),
            Selector::Number(number) if number > self.early() => Err(NotServed::Unknown),
            Selector::Number(number) if number < self.lowest(now) => Err(NotServed::Withdrawn),
            Selector::Number(number) => Ok(number),
        }
    }

    /// Another number that is answered today, for the fault that swaps them; `None` if there is but one.
    pub(crate) fn other(&self, number: u32, now: i64) -> Option<u32> {
        let served = self.lowest(now)..=self.early();
        [number.checked_add(1), number.checked_sub(1)]
            .into_iter()
            .flatten()
            .find(|other| served.contains(other))
    }

    /// The events a document of `number` knows of, newest first.
    pub(crate) fn up_to(&self, number: u32) -> Vec<RecoveryEvent> {
        let mut known: Vec<_> = self
            .events
            .iter()
            .copied()
            .filter(|event| event.number <= number)
            .collect();
        known.sort_by_key(|event| std::cmp::Reverse(event.number));
        known
    }

    /// Every event, newest first.
    pub(crate) fn all(&self) -> Vec<RecoveryEvent> {
        self.up_to(u32::MAX)
    }
}

/// The inner object of `tcbevaluationdatanumbers`. The wire says `tcbEvalNumbers` where older documentation says
/// `tcbNumbers` (spec/intel-pcs-and-pccs.md section 4).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NumberList {
    id: &'static str,
    version: u32,
    issue_date: String,
    next_update: String,
    tcb_eval_numbers: Vec<ListedNumber>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedNumber {
    tcb_evaluation_data_number: u32,
    tcb_recovery_event_date: String,
    tcb_date: String,
}

impl NumberList {
    pub(crate) fn new(
        id: &'static str,
        numbers: &EvaluationNumbers,
        issued: i64,
        next: i64,
    ) -> Self {
        let tcb_eval_numbers = numbers
            .all()
            .iter()
            .map(|event| ListedNumber {
                tcb_evaluation_data_number: event.number,
                tcb_recovery_event_date: calendar::midnight(event.date),
                tcb_date: calendar::midnight(event.tcb_date()),
            })
            .collect();
        Self {
            id,
            version: 1,
            issue_date: calendar::iso(issued),
            next_update: calendar::iso(next),
            tcb_eval_numbers,
        }
    }

    /// Another body for the same dates: the oldest number is missing.
    pub(crate) fn diverge(&mut self) {
        self.tcb_eval_numbers.pop();
    }
}

/// Numbers and the months since their events at the start. Chosen so that on any day 18 is standard (its second
/// Tuesday is at least 14 months back), 19 is answered on request, and 20 is early.
const FIRST_EVENTS: [(u32, u32); 5] = [(16, 42), (17, 30), (18, 15), (19, 9), (20, 3)];

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_800_000_000;

    #[test]
    fn the_window_has_withdrawn_served_and_unknown_numbers_on_every_day_of_the_year() {
        for day in 0..366 {
            let now = NOW + day * DAY;
            let numbers = EvaluationNumbers::at_start(now);
            assert_eq!((numbers.standard(now), numbers.early()), (18, 20));
            let select = |n| numbers.select(Selector::Number(n), now);
            assert_eq!(select(15), Err(NotServed::Withdrawn));
            assert_eq!(select(17), Err(NotServed::Withdrawn));
            assert_eq!(select(18), Ok(18));
            assert_eq!(select(19), Ok(19));
            assert_eq!(select(20), Ok(20));
            assert_eq!(select(21), Err(NotServed::Unknown));
        }
    }

    #[test]
    fn standard_moves_with_the_clock() {
        let numbers = EvaluationNumbers::at_start(NOW);
        assert_eq!(numbers.standard(NOW + 120 * DAY), 19);
        assert_eq!(numbers.standard(NOW + 330 * DAY), 20);
        assert_eq!(numbers.standard(0), 16);
    }

    #[test]
    fn numbers_below_standard_are_kept_until_they_are_not() {
        let mut numbers = EvaluationNumbers::at_start(NOW);
        let later = NOW + 330 * DAY;
        let select = |numbers: &EvaluationNumbers, n| numbers.select(Selector::Number(n), later);
        assert_eq!(select(&numbers, 19), Err(NotServed::Withdrawn));
        numbers.keep_from(Some(19));
        assert_eq!(select(&numbers, 18), Err(NotServed::Withdrawn));
        assert_eq!(select(&numbers, 19), Ok(19));
        assert_eq!(numbers.select(Selector::Standard, later), Ok(20));
        numbers.keep_from(None);
        assert_eq!(select(&numbers, 19), Err(NotServed::Withdrawn));
    }

    #[test]
    fn a_recovery_raises_early_and_an_old_one_standard_too() {
        let mut numbers = EvaluationNumbers::at_start(NOW);
        assert_eq!(numbers.recover(NOW, 0), 21);
        assert_eq!((numbers.standard(NOW), numbers.early()), (18, 21));
        assert_eq!(numbers.recover(NOW, 400), 22);
        assert_eq!((numbers.standard(NOW), numbers.early()), (22, 22));
        assert_eq!(numbers.other(22, NOW), None);
    }
}
