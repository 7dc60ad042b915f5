//! The line before the key server: who misses which certificate, and who is next.
//!
//! Chips of the fleet go first. Of the others, and of what an operator wants fetched ahead, every other turn belongs to
//! each, so that neither a flood of made-up chip ids nor a long list keeps the other waiting for ever. The line is in
//! memory and bounded: what is lost with a restart is asked for again by whoever still wants it.

use std::collections::{BTreeMap, HashMap};

use thim_verify::UnixTime;
use thim_verify::amd::VcekKey;
use tokio::sync::watch;

use crate::collateral::Refusal;

/// What came of it, once something has.
pub(super) type Landing = watch::Receiver<Option<Result<(), Refusal>>>;

/// A place in line.
pub(super) struct Place {
    /// How many are asked for before it.
    pub ahead: usize,
    /// What comes of it.
    pub landing: Landing,
}

/// The line.
#[derive(Default)]
pub(super) struct Waiting {
    by_key: HashMap<VcekKey, Entry>,
    /// Of registered chips, then of others: number and key, the longest waiting first.
    ranks: [BTreeMap<u64, VcekKey>; 2],
    number: u64,
    /// Whose turn it is between strangers and what is wanted ahead.
    strangers_turn: bool,
}

struct Entry {
    number: u64,
    rank: usize,
    since: UnixTime,
    /// True while it is being asked for.
    flying: bool,
    report: watch::Sender<Option<Result<(), Refusal>>>,
}

/// What to ask for next.
pub(super) enum Next {
    /// Somebody waits for it.
    Missed(VcekKey),
    /// Nobody waits; what is wanted ahead may be asked for.
    WantedAhead,
}

impl Waiting {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Takes a place, or shares the one that this key has. None where the line is full.
    pub fn join(&mut self, key: VcekKey, registered: bool, now: UnixTime) -> Option<Place> {
        if let Some(entry) = self.by_key.get(&key) {
            let (rank, number) = (entry.rank, entry.number);
            let landing = entry.report.subscribe();
            let ahead = if entry.flying {
                0
            } else {
                self.ahead(rank, number)
            };
            return Some(Place { ahead, landing });
        }
        let rank = usize::from(!registered);
        if self.ranks[rank].len() >= PLACES[rank] {
            return None;
        }
        self.number += 1;
        let number = self.number;
        let (report, landing) = watch::channel(None);
        self.ranks[rank].insert(number, key);
        self.by_key.insert(
            key,
            Entry {
                number,
                rank,
                since: now,
                flying: false,
                report,
            },
        );
        Some(Place {
            ahead: self.ahead(rank, number),
            landing,
        })
    }

    /// Who is next, where there is `wanted` ahead. It stays in line until [`Waiting::land`] takes it out.
    pub fn next(&mut self, wanted: bool) -> Option<Next> {
        if let Some(key) = self.ranks[0].values().next() {
            return Some(Next::Missed(*key));
        }
        match self.ranks[1].values().next() {
            Some(key) if !wanted || self.strangers_turn => Some(Next::Missed(*key)),
            _ => wanted.then_some(Next::WantedAhead),
        }
    }

    /// It is being asked for now: nobody else is to ask for it.
    pub fn fly(&mut self, key: &VcekKey) {
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.flying = true;
            self.ranks[entry.rank].remove(&entry.number);
            self.strangers_turn = entry.rank == 0 && self.strangers_turn;
        }
    }

    /// What is wanted ahead is being asked for now, and the next turn is a stranger's. It is in line, so that whoever
    /// misses it meanwhile shares the call.
    pub fn take_turn_ahead(&mut self, key: &VcekKey, now: UnixTime) {
        self.join(*key, true, now);
        self.fly(key);
        self.strangers_turn = true;
    }

    /// It may not be asked for yet: back to the end of its rank.
    pub fn defer(&mut self, key: &VcekKey) {
        if let Some(entry) = self.by_key.get_mut(key) {
            self.number += 1;
            self.ranks[entry.rank].remove(&entry.number);
            entry.number = self.number;
            entry.flying = false;
            self.ranks[entry.rank].insert(self.number, *key);
        }
    }

    /// It came, or will not: everybody who waits for it is told.
    pub fn land(&mut self, key: &VcekKey, result: Result<(), Refusal>) {
        if let Some(entry) = self.by_key.remove(key) {
            self.ranks[entry.rank].remove(&entry.number);
            entry.report.send_replace(Some(result));
        }
    }

    /// Whether somebody asks for it at this moment.
    pub fn is_flying(&self, key: &VcekKey) -> bool {
        self.by_key.get(key).is_some_and(|entry| entry.flying)
    }

    /// Takes out who has waited since before `since`, all of whom have been sent away long ago.
    pub fn forget_before(&mut self, since: UnixTime) {
        let old: Vec<VcekKey> = self
            .by_key
            .iter()
            .filter(|(_, entry)| entry.since < since && !entry.flying)
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            if let Some(entry) = self.by_key.remove(&key) {
                self.ranks[entry.rank].remove(&entry.number);
            }
        }
    }

    fn ahead(&self, rank: usize, number: u64) -> usize {
        let own = self.ranks[rank].range(..number).count();
        if rank == 0 {
            own
        } else {
            self.ranks[0].len() + own
        }
    }
}

/// A fleet that starts all at once; and strangers, of whom half an hour's worth is enough.
const PLACES: [usize; 2] = [20_000, 1_000];

#[cfg(test)]
mod tests {
    use thim_verify::amd::{HwId, Product, Products, SnpTcb};

    use super::*;

    fn key(chip: u8) -> VcekKey {
        let products = Products::builtin();
        let facts = products.facts(Product::Milan);
        VcekKey {
            product: Product::Milan,
            hw_id: HwId::from_bytes(facts, &[chip; 64]).expect("64 bytes"),
            tcb: SnpTcb::from_u64(facts, 3).expect("a TCB"),
        }
    }

    fn now() -> UnixTime {
        UnixTime::from_secs(1_800_000_000)
    }

    fn missed(next: Option<Next>) -> Option<VcekKey> {
        match next {
            Some(Next::Missed(key)) => Some(key),
            Some(Next::WantedAhead) | None => None,
        }
    }

    #[test]
    fn the_fleet_goes_first_and_then_by_the_clock() {
        let mut line = Waiting::default();
        let ahead: Vec<usize> = [(1, false), (2, false), (3, true), (4, true), (1, false)]
            .into_iter()
            .map(|(chip, registered)| {
                let place = line.join(key(chip), registered, now());
                place.expect("there is room").ahead
            })
            .collect();
        assert_eq!(ahead, [0, 1, 0, 1, 2]);
        for chip in [3, 4, 1, 2] {
            let next = missed(line.next(false)).expect("somebody waits");
            assert_eq!(next, key(chip));
            line.fly(&next);
            line.land(&next, Ok(()));
        }
        assert!(line.next(false).is_none());
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn strangers_and_what_is_wanted_ahead_take_turns() {
        let mut line = Waiting::default();
        for chip in 1..=3 {
            line.join(key(chip), false, now());
        }
        let mut turns = String::new();
        for _ in 0..6 {
            match line.next(true).expect("something is wanted") {
                Next::Missed(next) => {
                    line.fly(&next);
                    line.land(&next, Ok(()));
                    turns.push('s');
                }
                Next::WantedAhead => {
                    line.take_turn_ahead(&key(9), now());
                    line.land(&key(9), Ok(()));
                    turns.push('w');
                }
            }
        }
        assert_eq!(turns, "wswsws");
    }

    #[test]
    fn those_who_share_a_place_hear_the_same_and_a_full_line_says_so() {
        let mut line = Waiting::default();
        let first = line.join(key(1), true, now()).expect("there is room");
        let second = line.join(key(1), true, now()).expect("there is room");
        line.fly(&key(1));
        assert!(line.is_flying(&key(1)));
        assert!(line.next(false).is_none());
        let refusal = Refusal::Absent {
            what: "it".to_owned(),
        };
        line.land(&key(1), Err(refusal.clone()));
        for landing in [first.landing, second.landing] {
            assert_eq!(*landing.borrow(), Some(Err(refusal.clone())));
        }

        let chip = |number: u16| {
            let mut bytes = [0; 64];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            let products = Products::builtin();
            let facts = products.facts(Product::Milan);
            VcekKey {
                hw_id: HwId::from_bytes(facts, &bytes).expect("64 bytes"),
                ..key(1)
            }
        };
        for number in 0..1000 {
            assert!(line.join(chip(number), false, now()).is_some());
        }
        assert!(line.join(chip(1000), false, now()).is_none());
        assert!(line.join(chip(1000), true, now()).is_some());
        line.forget_before(now());
        assert_eq!(line.len(), 1001);
        line.forget_before(now().plus_secs(1));
        assert_eq!(line.len(), 0);
    }
}
