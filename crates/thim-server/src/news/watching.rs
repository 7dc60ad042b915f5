//! What is known now, compared with what was known before: what of it is news. Pure.
//!
//! [`Known`] is all that was ever told or seen, by key; a [`Look`] collects what is to be told and noted. What is there when
//! a thing is looked at for the first time is noted and not told: a service that starts knows nothing, and everything would
//! be new to it. Two are told all the same, because they ask for an act whenever they are first seen: standard that moves
//! soon, and machines past servicing.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;
use thim_verify::amd::Product;
use thim_verify::{Digest, EvaluationNumber, TcbInfo, Tee, UnixTime};

use super::item::{NewsItem, NewsKind};
use super::levels;
use crate::baseline::{BaselineTee, Choice, Lists, Scope};

/// All that was ever told or seen: a key, and a value where it changes.
#[derive(Clone, Debug, Default)]
pub struct Known(HashMap<String, String>);

/// What one look found.
#[derive(Debug)]
pub struct Look<'a> {
    known: &'a Known,
    now: UnixTime,
    /// To be told, in order.
    pub items: Vec<NewsItem>,
    /// To be known from now on.
    pub noted: Vec<(String, String)>,
}

/// A number that a source called standard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SaidStandard {
    /// Of what: a key without its number.
    pub subject: String,
    /// The number.
    pub number: EvaluationNumber,
    /// When.
    pub at: UnixTime,
}

/// A TCB info of a machine type that the register has.
#[derive(Clone, Copy, Debug)]
pub struct FleetTcbInfo<'a> {
    /// The document.
    pub info: &'a TcbInfo,
    /// The lowest level (by its place in the document) that a platform of the fleet reaches: that one and those before it
    /// are reached or can be. `None` where that is not known: all of them count.
    pub lowest_reached: Option<usize>,
}

/// A revocation list of AMD's that is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AmdCrlSeen {
    /// Whose.
    pub product: Product,
    /// Its number.
    pub number: u64,
    /// When it was issued.
    pub this_update: UnixTime,
    /// Serial numbers of what it revokes: certificates of authorities.
    pub revoked: BTreeSet<Vec<u8>>,
}

/// How many platforms are below a baseline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BelowCount {
    /// Whose baseline.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// Platforms that are below it.
    pub below: u64,
    /// Platforms of which it is not known.
    pub unknown: u64,
    /// All platforms that it is about.
    pub total: u64,
}

impl Known {
    /// From what the store has.
    pub fn new(rows: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(rows.into_iter().collect())
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Takes in what a look has noted, once it is stored.
    pub fn learn(&mut self, noted: Vec<(String, String)>) {
        self.0.extend(noted);
    }
}

impl<'a> Look<'a> {
    /// A look at `now`.
    pub const fn new(known: &'a Known, now: UnixTime) -> Self {
        Self {
            known,
            now,
            items: Vec::new(),
            noted: Vec::new(),
        }
    }

    /// When it is.
    pub const fn now(&self) -> UnixTime {
        self.now
    }

    /// The value of a key, as it will be after this look.
    pub fn value(&self, key: &str) -> Option<&str> {
        let noted = self.noted.iter().rev();
        let noted = noted.filter(|(noted, _)| noted == key);
        let noted = noted.map(|(_, value)| value.as_str()).next();
        noted.or_else(|| self.known.value(key))
    }

    /// Whether a key is known.
    pub fn knows(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Notes a key.
    pub fn note(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.noted.push((key.into(), value.into()));
    }

    /// Notes a key; true where this was the first time.
    pub fn is_first(&mut self, key: &str) -> bool {
        let first = !self.knows(key);
        if first {
            self.note(key, "");
        }
        first
    }

    /// Tells a piece of news, unless its key is known.
    pub fn tell(&mut self, item: NewsItem) {
        if self.is_first(&item.key) {
            self.items.push(item);
        }
    }

    /// Numbers that the lists have and did not have before. Each TEE's first list is where it begins.
    pub fn numbers(&mut self, lists: &Lists) {
        for tee in [Tee::Sgx, Tee::Tdx] {
            let Some((_, entries)) = lists.of(tee) else {
                continue;
            };
            let begins = self.is_first(&format!("watch/evaluation-numbers/{tee}"));
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|entry| entry.number);
            for entry in entries {
                let (number, event) = (entry.number, entry.event_date);
                let key = format!("evaluation-number/{number}");
                if begins {
                    self.is_first(&key);
                    continue;
                }
                let standard = event.plus_months(12);
                self.tell(NewsItem {
                    kind: NewsKind::EvaluationNumberNew,
                    key,
                    subject: format!("intel/evaluation-number/{number}"),
                    text: format!(
                        "Intel has a new TCB evaluation number: {number}, of the TCB recovery event of {}. It becomes standard on {} by itself.",
                        day(event),
                        day(standard)
                    ),
                    data: json!({
                        "number": number,
                        "event_date": event,
                        "tcb_date": entry.tcb_date,
                        "standard_from": standard,
                    }),
                });
            }
        }
    }

    /// Standard that moves within 60, 30 and 7 days. Of several that have come at once the nearest is told.
    pub fn standard_moves(&mut self, lists: &Lists) {
        let now = self.now;
        let from = lists.choose(Choice::Standard, now).map(|one| one.number);
        let farthest = AHEAD_DAYS[0];
        for (at, number) in lists.standard_moves(now, farthest) {
            let mut due = None;
            for days in AHEAD_DAYS {
                let key = format!("standard-moves/{number}/{}/{days}", day(at));
                if at.since(now) <= i64::from(days) * DAY_SECS {
                    if !self.knows(&key) {
                        // A nearer one takes this one's place.
                        if let Some((_, passed)) = due.replace((days, key)) {
                            self.note(passed, "");
                        }
                    } else {
                        due = None;
                    }
                }
            }
            let Some((days, key)) = due else { continue };
            let left = at.since(now).max(0).div_euclid(DAY_SECS);
            let now_standard = from.map_or_else(
                || "none so far".to_owned(),
                |number| format!("{number} now"),
            );
            self.tell(NewsItem {
                kind: NewsKind::StandardMoves,
                key,
                subject: format!("intel/standard/{number}"),
                text: format!(
                    "Intel's standard moves to TCB evaluation number {number} on {} ({now_standard}), in {left} days. A forecast names the platforms that drop out.",
                    day(at)
                ),
                data: json!({
                    "number": number,
                    "standard_now": from,
                    "at": at,
                    "within_days": days,
                }),
            });
        }
    }

    /// What sources called standard, against the lists at that instant. A source that turns a day early or late is not
    /// wrong, and one that spoke before the newest list was signed could not know it.
    pub fn said_standard(&mut self, lists: &Lists, said: &[SaidStandard]) {
        let newest = [Tee::Sgx, Tee::Tdx]
            .into_iter()
            .filter_map(|tee| lists.of(tee))
            .map(|(issued, _)| issued)
            .max();
        for one in said {
            if newest.is_none_or(|newest| one.at < newest) {
                continue;
            }
            let agrees = [-DAY_SECS, 0, DAY_SECS].into_iter().any(|shift| {
                let then = lists.choose(Choice::Standard, one.at.plus_secs(shift));
                then.is_none_or(|then| then.number == one.number)
            });
            let computed = lists.choose(Choice::Standard, one.at);
            let Some(computed) = computed.filter(|_| !agrees) else {
                continue;
            };
            let (number, said) = (computed.number, one.number);
            self.tell(NewsItem {
                kind: NewsKind::StandardDiffers,
                key: format!("standard-differs/{said}/{number}"),
                subject: "intel/standard".to_owned(),
                text: format!(
                    "By Intel's signed lists standard is TCB evaluation number {number}, and what was served as standard on {} ({}) has {said}.",
                    day(one.at),
                    one.subject
                ),
                data: json!({
                    "computed": number,
                    "served": said,
                    "served_for": one.subject,
                    "at": one.at,
                }),
            });
        }
    }

    /// Advisories and ends of servicing in a TCB info of the fleet; `highest` is the highest number of the lists.
    pub fn tcb_info(&mut self, fleet: FleetTcbInfo<'_>, highest: Option<EvaluationNumber>) {
        levels::advisories(self, fleet.info, highest);
        levels::end_of_servicing(self, fleet);
    }

    /// AMD's lists that have another number or more entries than before.
    pub fn amd_crl(&mut self, seen: &AmdCrlSeen) {
        let product = seen.product;
        let watch = format!("watch/amd-crl/{product}");
        let entries = hash(&seen.revoked);
        let value = format!("{} {} {entries}", seen.number, seen.revoked.len());
        let Some(before) = self.value(&watch).map(ToOwned::to_owned) else {
            return self.note(watch, value);
        };
        if before == value {
            return;
        }
        let mut before = before.split(' ');
        let (number, count) = (before.next(), before.next());
        let number: u64 = number.and_then(|text| text.parse().ok()).unwrap_or(0);
        let count: u64 = count.and_then(|text| text.parse().ok()).unwrap_or(0);
        // An older list, as the sentinel may put back in force, is nothing new.
        if seen.number < number {
            return;
        }
        self.note(watch, value);
        let revoked = u64::try_from(seen.revoked.len()).unwrap_or(u64::MAX);
        let added = revoked.saturating_sub(count);
        let what = match added {
            0 => "and revokes what it revoked before".to_owned(),
            _ => format!("and revokes {added} more of AMD's authorities"),
        };
        self.tell(NewsItem {
            kind: NewsKind::AmdCrlChanged,
            key: format!("amd-crl/{product}/{}/{entries}", seen.number),
            subject: format!("amd/crl/{product}"),
            text: format!(
                "AMD's revocation list of {product} has number {} of {} now, {what}: {revoked} in all.",
                seen.number,
                day(seen.this_update)
            ),
            data: json!({
                "product": product.name(),
                "number": seen.number,
                "number_before": number,
                "this_update": seen.this_update,
                "revoked": revoked,
                "revoked_before": count,
            }),
        });
    }

    /// Product lines of AMD's: those whose chain is served, and those that the register has chips of.
    pub fn amd_products(&mut self, served: &[Product], registered: &[Product]) {
        let begins = self.is_first("watch/amd-products");
        for (how, text, products) in [
            ("served", "is served from now on", served),
            (
                "registered",
                "is in the register for the first time",
                registered,
            ),
        ] {
            for product in products {
                let key = format!("amd-product/{product}/{how}");
                if begins {
                    self.is_first(&key);
                    continue;
                }
                self.tell(NewsItem {
                    kind: NewsKind::AmdProductSeen,
                    key,
                    subject: format!("amd/product/{product}"),
                    text: format!("AMD's product line {product} {text}."),
                    data: json!({ "product": product.name(), "how": how }),
                });
            }
        }
    }

    /// Platforms below baselines: told when their number changes.
    pub fn below(&mut self, counts: &[BelowCount]) {
        for count in counts {
            let BelowCount { scope, tee, .. } = count;
            let watch = format!("watch/below/{scope}/{tee}");
            let before = self.value(&watch).and_then(|text| text.parse::<u64>().ok());
            if before == Some(count.below) {
                continue;
            }
            self.note(watch, count.below.to_string());
            // That nobody is below is the rule, and news only after it was otherwise.
            if before.is_none() && count.below == 0 {
                continue;
            }
            let was = before.map_or_else(String::new, |before| format!(", {before} before"));
            let unsure = match count.unknown {
                0 => String::new(),
                unknown => format!(" Of {unknown} more it is not known."),
            };
            // No key of its own among what is known: a number may come back.
            self.items.push(NewsItem {
                kind: NewsKind::PlatformsBelow,
                key: format!("below/{scope}/{tee}/{}/{}", count.below, self.now),
                subject: format!("baseline/{scope}/{tee}"),
                text: format!(
                    "{} of {} platforms are below the {tee} baseline of {scope}{was}.{unsure}",
                    count.below, count.total
                ),
                data: json!({
                    "scope": scope.as_str(),
                    "tee": tee.name(),
                    "below": count.below,
                    "below_before": before,
                    "unknown": count.unknown,
                    "total": count.total,
                }),
            });
        }
    }
}

/// The day of an instant.
pub(super) fn day(at: UnixTime) -> String {
    at.to_string().chars().take(DAY_CHARS).collect()
}

fn hash(serials: &BTreeSet<Vec<u8>>) -> String {
    let mut bytes = Vec::new();
    for serial in serials {
        // Each with its length, so that no two sets look alike.
        bytes.extend(serial.len().to_be_bytes());
        bytes.extend(serial);
    }
    Digest::of(&bytes).short()
}

/// Issue 6: "standard moving within 60/30/7 days". Farthest first.
const AHEAD_DAYS: [u32; 3] = [60, 30, 7];
const DAY_SECS: i64 = 86_400;
/// `2026-11-24`.
const DAY_CHARS: usize = 10;

#[cfg(test)]
#[path = "watching_tests.rs"]
mod tests;
