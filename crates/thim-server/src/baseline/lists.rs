//! Which TCB evaluation data number answers a caller who named none. Pure.
//!
//! The rule is the vendor's (`spec/intel-verification.md` section 8): *standard* is the highest number
//! whose TCB recovery event is at least 12 months old, *early* the highest there is, both read from the
//! signed lists. Lists of SGX and TDX number the same events and inform each other; a list past its next
//! update still informs the choice and is flagged. Without any list, standard is what the source called
//! standard, else the highest current number. What a baseline makes of it is in [`selection`](super::selection).

use thim_verify::{EvaluationEntry, EvaluationNumber, EvaluationNumbers, Tee, UnixTime};

/// What the caller asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Choice {
    /// `update=early`.
    Early,
    /// `tcbEvaluationDataNumber=N`.
    Number(EvaluationNumber),
    /// `update=standard`, or nothing.
    Standard,
}

/// What the newest known lists say, of both TEEs.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    sgx: Option<List>,
    tdx: Option<List>,
}

#[derive(Clone, Debug)]
struct List {
    issued: UnixTime,
    next_update: UnixTime,
    entries: Vec<EvaluationEntry>,
}

/// A number chosen from the lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chosen {
    /// The number.
    pub number: EvaluationNumber,
    /// True where no list before its next update informed the choice.
    pub from_expired_list: bool,
}

/// What is known about the numbers of one subject (an FMSPC's TCB info, an enclave's identity)
/// where no list says anything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Called {
    /// The number the source last called standard.
    pub standard: Option<EvaluationNumber>,
    /// The number the source last called early.
    pub early: Option<EvaluationNumber>,
    /// Numbers with a current edition.
    pub current: Vec<EvaluationNumber>,
}

impl Lists {
    /// True where a list is newer than the one known for its TEE.
    pub fn is_news(&self, list: &EvaluationNumbers) -> bool {
        let known = match list.tee {
            Tee::Sgx => &self.sgx,
            Tee::Tdx => &self.tdx,
        };
        known
            .as_ref()
            .is_none_or(|known| known.issued < list.issued)
    }

    /// Takes in a list if it is newer than the one known for its TEE.
    pub fn learn(&mut self, list: &EvaluationNumbers) {
        if !self.is_news(list) {
            return;
        }
        let slot = match list.tee {
            Tee::Sgx => &mut self.sgx,
            Tee::Tdx => &mut self.tdx,
        };
        *slot = Some(List {
            issued: list.issued,
            next_update: list.next_update,
            entries: list.numbers.clone(),
        });
    }

    /// The newest list known for a TEE: when it was issued, and its numbers.
    pub fn of(&self, tee: Tee) -> Option<(UnixTime, &[EvaluationEntry])> {
        let known = match tee {
            Tee::Sgx => &self.sgx,
            Tee::Tdx => &self.tdx,
        };
        let known = known.as_ref()?;
        Some((known.issued, known.entries.as_slice()))
    }

    /// True where nothing is known.
    pub fn is_empty(&self) -> bool {
        self.sgx.is_none() && self.tdx.is_none()
    }

    /// The number of `choice` for `tee`, or `None` where no list tells. A number the caller named is
    /// the caller's.
    pub fn choose(&self, choice: Choice, now: UnixTime) -> Option<Chosen> {
        let pick = |entries: &mut dyn Iterator<Item = &EvaluationEntry>| match choice {
            Choice::Early => entries.map(|entry| entry.number).max(),
            Choice::Number(number) => Some(number),
            Choice::Standard => entries
                .filter(|entry| standard_from(entry) <= now)
                .map(|entry| entry.number)
                .max(),
        };
        let number = pick(&mut self.both().flat_map(|list| list.entries.iter()))?;
        let fresh = self.both().any(|list| now < list.next_update);
        Some(Chosen {
            number,
            from_expired_list: !fresh,
        })
    }

    /// The highest number whose TCB recovery event is at least so many days old; `None` where no list has one.
    pub fn at_least_days_old(&self, days: u32, now: UnixTime) -> Option<Chosen> {
        let entries = self.both().flat_map(|list| list.entries.iter());
        let latest = now.plus_secs(-i64::from(days) * DAY_SECS);
        let number = entries
            .filter(|entry| entry.event_date <= latest)
            .map(|entry| entry.number)
            .max()?;
        let fresh = self.both().any(|list| now < list.next_update);
        Some(Chosen {
            number,
            from_expired_list: !fresh,
        })
    }

    /// Every number the newest lists name with its event's date, lowest first.
    pub fn entries(&self) -> Vec<EvaluationEntry> {
        let all = self.both().flat_map(|list| list.entries.iter());
        let mut entries: Vec<EvaluationEntry> = all.cloned().collect();
        entries.sort_by_key(|entry| entry.number);
        entries.dedup_by_key(|entry| entry.number);
        entries
    }

    /// When each number that is not standard yet becomes so, within `days` from `now`: (instant, number), soonest first.
    pub fn standard_moves(&self, now: UnixTime, days: u32) -> Vec<(UnixTime, EvaluationNumber)> {
        let until = now.plus_secs(i64::from(days) * DAY_SECS);
        let standard = self.choose(Choice::Standard, now).map(|one| one.number);
        let mut moves: Vec<_> = self
            .entries()
            .iter()
            .map(|entry| (standard_from(entry), entry.number))
            .filter(|(at, number)| {
                now < *at && *at <= until && standard.is_none_or(|standard| *number > standard)
            })
            .collect();
        moves.sort_unstable();
        moves
    }

    /// The lowest number that an unexpired list of either TEE still names.
    pub fn lowest_signed(&self, now: UnixTime) -> Option<EvaluationNumber> {
        let fresh = self.both().filter(|list| now < list.next_update);
        let numbers = fresh.flat_map(|list| list.entries.iter().map(|entry| entry.number));
        numbers.min()
    }

    /// The numbers that an unexpired list of either TEE still names, lowest first; empty where none is unexpired.
    pub fn signed_now(&self, now: UnixTime) -> Vec<EvaluationNumber> {
        let mut numbers: Vec<_> = self
            .both()
            .filter(|list| now < list.next_update)
            .flat_map(|list| list.entries.iter().map(|entry| entry.number))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn both(&self) -> impl Iterator<Item = &List> {
        self.sgx.iter().chain(&self.tdx)
    }
}

/// The number for a subject no list tells about; `None` means: ask the source what it calls so.
pub fn without_list(choice: Choice, called: &Called) -> Option<EvaluationNumber> {
    match choice {
        Choice::Early => called.early,
        Choice::Number(number) => Some(number),
        Choice::Standard => called
            .standard
            .or_else(|| called.current.iter().copied().max()),
    }
}

/// "At least 12 months old": the event's date plus 12 calendar months (number 18 of 2024-11-12 was served
/// as default from 2025-11-12 on, and not before).
fn standard_from(entry: &EvaluationEntry) -> UnixTime {
    entry.event_date.plus_months(12)
}

const DAY_SECS: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32, event: &str) -> EvaluationEntry {
        let event_date: UnixTime = event.parse().expect("a date in a test");
        EvaluationEntry {
            number,
            event_date,
            tcb_date: event_date.plus_secs(86_400),
        }
    }

    fn list(tee: Tee, issued: &str, entries: &[(u32, &str)]) -> EvaluationNumbers {
        let issued: UnixTime = issued.parse().expect("a date in a test");
        EvaluationNumbers {
            tee,
            issued,
            next_update: issued.plus_secs(30 * 86_400),
            numbers: entries
                .iter()
                .map(|(number, event)| entry(*number, event))
                .collect(),
        }
    }

    fn at(text: &str) -> UnixTime {
        text.parse().expect("a date in a test")
    }

    #[test]
    fn standard_turns_on_the_day_the_event_is_twelve_months_old() {
        let mut lists = Lists::default();
        lists.learn(&list(
            Tee::Tdx,
            "2025-10-13T11:17:10Z",
            &[
                (19, "2025-05-13T00:00:00Z"),
                (18, "2024-11-12T00:00:00Z"),
                (17, "2024-03-12T00:00:00Z"),
            ],
        ));
        for (now, number, expired) in [
            ("2025-11-11T23:59:59Z", 17, false),
            ("2025-11-12T00:00:00Z", 18, false),
            ("2025-11-12T11:17:10Z", 18, true),
            ("2026-05-12T23:59:59Z", 18, true),
            ("2026-05-13T00:00:00Z", 19, true),
        ] {
            let expected = Some(Chosen {
                number,
                from_expired_list: expired,
            });
            assert_eq!(lists.choose(Choice::Standard, at(now)), expected, "{now}");
        }
        assert_eq!(
            lists
                .choose(Choice::Early, at("2025-11-01T00:00:00Z"))
                .map(|c| c.number),
            Some(19)
        );
    }

    #[test]
    fn lists_of_both_tees_inform_each_other_and_an_older_list_teaches_nothing() {
        let mut lists = Lists::default();
        lists.learn(&list(
            Tee::Sgx,
            "2025-06-05T00:00:00Z",
            &[(17, "2024-03-12T00:00:00Z")],
        ));
        lists.learn(&list(
            Tee::Tdx,
            "2025-10-13T00:00:00Z",
            &[(18, "2024-11-12T00:00:00Z")],
        ));
        lists.learn(&list(
            Tee::Tdx,
            "2025-06-05T00:00:00Z",
            &[(99, "2020-01-01T00:00:00Z")],
        ));
        assert_eq!(
            lists
                .choose(Choice::Standard, at("2026-03-30T00:00:00Z"))
                .map(|c| c.number),
            Some(18)
        );
        assert_eq!(lists.signed_now(at("2025-10-14T00:00:00Z")), vec![18]);
    }

    #[test]
    fn without_a_list_the_source_decides_then_the_highest_current() {
        let nothing = Called::default();
        assert_eq!(without_list(Choice::Standard, &nothing), None);
        let called = Called {
            standard: Some(17),
            early: None,
            current: vec![17, 19],
        };
        assert_eq!(without_list(Choice::Standard, &called), Some(17));
        assert_eq!(without_list(Choice::Early, &called), None);
        let uncalled = Called {
            current: vec![17, 19],
            ..Called::default()
        };
        assert_eq!(without_list(Choice::Standard, &uncalled), Some(19));
        assert_eq!(without_list(Choice::Number(5), &uncalled), Some(5));
    }
}
