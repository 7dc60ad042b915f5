//! Which evaluation number answers a caller: what a request needs of the books, ready to be looked at without a lock, a
//! disk or an allocation.
//!
//! A number moves in one place alone, [`Baselines::tick`]: readers go on with what was *reached* until then. It moves when the new
//! number has an edition for everything that the old one has, so that the TCB infos and identities a client gathers come from
//! one number; when the old one cannot be served to the end any more (the vendor retired it, an edition has ended), it moves
//! in any case. Who has reached nothing yet gets what the rule selects.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use thim_verify::{Enclave, EvaluationNumber, Tee, UnixTime};

use super::{Baselines, Reached};
use crate::baseline::{
    BaselineTee, Books, Choice, IntelRule, NotSelected, Rule, Scope, Selection, Selector, Vendor,
    select,
};
use crate::sentinel::State;
use crate::store::{ReachedRow, StoreError};
use crate::view::{Subject, View};

/// What a caller's baseline makes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decided<'a> {
    /// What to answer with.
    pub choice: Choice,
    /// Whose baseline it is by: a tenant's name, or `default`.
    pub scope: &'a str,
    /// Its version; 0 where nobody ever acted.
    pub version: u32,
    /// True where the number is the baseline's and not the caller's own word.
    pub by_baseline: bool,
    /// True where editions past their next update are served.
    pub serve_archived: bool,
    /// True where the vendor has retired the number, and the baseline stays on it.
    pub is_archive: bool,
}

/// Why a caller's baseline has no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotServed {
    /// The number is below the operator's floor.
    BelowFloor {
        /// The number.
        number: EvaluationNumber,
        /// The floor's.
        floor: EvaluationNumber,
    },
    /// The rule selects no number.
    NoNumber(NotSelected),
    /// No act ever named the tenant.
    UnknownTenant,
}

/// What is in force when, of every scope and of Intel's TEEs.
#[derive(Debug, Default)]
pub struct Table {
    default: Lines,
    floor: Lines,
    tenants: HashMap<Box<str>, Lines>,
    latest: Option<UnixTime>,
}

/// Of one scope, by TEE: SGX, then TDX.
#[derive(Debug, Default)]
struct Lines([Vec<Entry>; 2]);

/// A version from its effective date on.
#[derive(Debug)]
struct Entry {
    effective: UnixTime,
    version: u32,
    rule: IntelRule,
    // 0: nothing yet.
    reached: AtomicU32,
}

impl Table {
    /// What a request needs of `books`; numbers that were reached go on.
    pub(super) fn of(books: &Books, reached: &Reached) -> Self {
        let mut table = Self {
            latest: books.latest(),
            ..Self::default()
        };
        for tee in [Tee::Sgx, Tee::Tdx] {
            // Version 0, which holds until somebody acts.
            let rule = IntelRule::default();
            let entry = Entry::new(UnixTime::MIN, 0, rule, &Scope::Default, tee, reached);
            table.default.of_mut(tee).push(entry);
        }
        for (scope, tee, ledger) in books.ledgers() {
            let Some(tee) = tee.intel() else { continue };
            let lines = match scope {
                Scope::Default => &mut table.default,
                Scope::Floor => &mut table.floor,
                Scope::Tenant(tenant) => table.tenants.entry(tenant.as_str().into()).or_default(),
            };
            let line = lines.of_mut(tee);
            for promotion in ledger.promotions() {
                let rule = ledger.version(promotion.version).map(|one| &one.rule);
                if let Some(Rule::Intel(rule)) = rule {
                    let (effective, version) = (promotion.effective, promotion.version);
                    let rule = rule.clone();
                    line.push(Entry::new(effective, version, rule, scope, tee, reached));
                }
            }
        }
        // A tenant that has acted on AMD's baselines alone, or only drafted, is known all the same.
        for tenant in books.tenants() {
            table.tenants.entry(tenant.as_str().into()).or_default();
        }
        table
    }

    /// Takes in numbers that were reached.
    pub(super) fn raise(&self, reached: &Reached) {
        for ((scope, tee, version), number) in reached {
            let Some(tee) = tee.intel() else { continue };
            let lines = self.of_scope(scope.as_str());
            let mut entries = lines.into_iter().flat_map(|lines| lines.of(tee));
            if let Some(entry) = entries.find(|entry| entry.version == *version) {
                entry.reached.fetch_max(*number, Ordering::AcqRel);
            }
        }
    }

    /// Whether the operator ever set a floor for one of Intel's TEEs.
    pub fn has_floor(&self) -> bool {
        let Lines([sgx, tdx]) = &self.floor;
        !sgx.is_empty() || !tdx.is_empty()
    }

    fn in_force<'a>(&'a self, lines: &'a Lines, tee: Tee, now: UnixTime) -> Option<&'a Entry> {
        let now = self.latest.map_or(now, |latest| latest.max(now));
        let line = lines.of(tee).iter();
        line.rev().find(|entry| entry.effective <= now)
    }

    fn entry(&self, scope: &str, tee: Tee, place: usize) -> Option<&Entry> {
        self.of_scope(scope)?.of(tee).get(place)
    }

    fn of_scope(&self, scope: &str) -> Option<&Lines> {
        match scope {
            DEFAULT => Some(&self.default),
            "floor" => Some(&self.floor),
            tenant => self.tenants.get(tenant),
        }
    }

    /// Every line with its scope.
    fn lines(&self) -> impl Iterator<Item = (&str, &Lines)> {
        let own = [(DEFAULT, &self.default), ("floor", &self.floor)];
        let tenants = self.tenants.iter();
        own.into_iter()
            .chain(tenants.map(|(name, lines)| (&**name, lines)))
    }
}

impl Lines {
    const fn of(&self, tee: Tee) -> &Vec<Entry> {
        let Self([sgx, tdx]) = self;
        match tee {
            Tee::Sgx => sgx,
            Tee::Tdx => tdx,
        }
    }

    const fn of_mut(&mut self, tee: Tee) -> &mut Vec<Entry> {
        let Self([sgx, tdx]) = self;
        match tee {
            Tee::Sgx => sgx,
            Tee::Tdx => tdx,
        }
    }
}

impl Entry {
    fn new(
        effective: UnixTime,
        version: u32,
        rule: IntelRule,
        scope: &Scope,
        tee: Tee,
        reached: &Reached,
    ) -> Self {
        let key = (scope.clone(), BaselineTee::from(tee), version);
        let reached = reached.get(&key).copied().unwrap_or(0);
        Self {
            effective,
            version,
            rule,
            reached: AtomicU32::new(reached),
        }
    }

    fn reached(&self) -> Option<EvaluationNumber> {
        Some(self.reached.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    /// The number now: what the rule selects, or what was reached, where the tick has yet to move it.
    fn number(&self, vendor: Vendor<'_>, now: UnixTime) -> Result<Selection, NotSelected> {
        in_use(&self.rule, vendor, self.reached(), now)
    }
}

/// What a rule comes to for those who are served by it: what it selects, or what was reached, where a set has yet to move.
///
/// # Errors
/// [`NotSelected`].
pub(super) fn in_use(
    rule: &IntelRule,
    vendor: Vendor<'_>,
    reached: Option<EvaluationNumber>,
    now: UnixTime,
) -> Result<Selection, NotSelected> {
    let selection = select(rule, vendor, reached, now)?;
    Ok(match reached {
        Some(reached) if reached < selection.number && !vendor.has_retired(reached, now) => {
            Selection {
                number: reached,
                rolled_from: None,
                ..selection
            }
        }
        Some(_) | None => selection,
    })
}

/// The least number that a floor allows; where its own is retired, that all the same.
///
/// # Errors
/// Why it is not known.
pub(super) fn least(
    selected: Result<Selection, NotSelected>,
) -> Result<EvaluationNumber, NotSelected> {
    match selected {
        Ok(selection) => Ok(selection.number),
        Err(NotSelected::Retired { number }) => Ok(number),
        Err(why @ (NotSelected::NoList | NotSelected::NoneOldEnough { .. })) => Err(why),
    }
}

impl Baselines {
    /// What answers a caller for a subject. `asked`: the caller's own word, where there is one.
    ///
    /// # Errors
    /// [`NotServed`] says why nothing does.
    pub fn decide<'a>(
        &self,
        table: &'a Table,
        tenant: Option<&'a str>,
        subject: Subject,
        asked: Option<Choice>,
        view: &View,
        now: UnixTime,
    ) -> Result<Decided<'a>, NotServed> {
        let tee = tee_of(subject);
        let own = match tenant {
            None | Some(DEFAULT) => None,
            Some(name) => {
                let lines = table.tenants.get(name).ok_or(NotServed::UnknownTenant)?;
                table.in_force(lines, tee, now).map(|entry| (name, entry))
            }
        };
        let default = || {
            let entry = table.in_force(&table.default, tee, now);
            (DEFAULT, entry.expect("version 0 holds since ever"))
        };
        let (scope, entry) = own.unwrap_or_else(default);
        let vendor = Vendor {
            lists: &view.lists,
            retired: view.retired,
        };
        let mut is_archive = false;
        let choice = match asked {
            Some(choice) => choice,
            None => match (entry.number(vendor, now), entry.rule.selector) {
                (Ok(selection), _) => {
                    is_archive = selection.is_archive;
                    Choice::Number(selection.number)
                }
                // Without a list only the source can tell, of each subject for itself.
                (Err(NotSelected::NoList), Selector::Early) => Choice::Early,
                (Err(NotSelected::NoList), Selector::Standard) => Choice::Standard,
                (Err(why), _) => return Err(NotServed::NoNumber(why)),
            },
        };
        if let Some(floor) = table.in_force(&table.floor, tee, now) {
            // A floor that nobody can tell is not taken for none.
            let least = least(floor.number(vendor, now)).map_err(NotServed::NoNumber)?;
            if let Some(resolved) = view.resolve(subject, choice, now)
                && resolved.number < least
            {
                return Err(NotServed::BelowFloor {
                    number: resolved.number,
                    floor: least,
                });
            }
        }
        Ok(Decided {
            choice,
            scope,
            version: entry.version,
            by_baseline: asked.is_none(),
            serve_archived: entry.rule.serve_archived,
            is_archive,
        })
    }

    /// Whether a tenant is known, without an allocation.
    pub fn knows_name(&self, tenant: &str) -> bool {
        tenant == DEFAULT || self.table.load().tenants.contains_key(tenant)
    }

    /// The table in force.
    pub fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    /// Lets numbers move that are due, and notes what is reached; says what has to be kept fresh for it.
    pub async fn tick(&self, now: UnixTime) -> Result<(), StoreError> {
        let table = self.table.load_full();
        let view = self.collateral().view();
        let vendor = Vendor {
            lists: &view.lists,
            retired: view.retired,
        };
        let mut wanted: BTreeSet<EvaluationNumber> = BTreeSet::new();
        let mut moves: Vec<(Arc<str>, Tee, usize, EvaluationNumber, EvaluationNumber)> = Vec::new();
        for (scope, lines) in table.lines() {
            for tee in [Tee::Sgx, Tee::Tdx] {
                let entry = table.in_force(lines, tee, now);
                let place = entry.and_then(|entry| {
                    let mut line = lines.of(tee).iter();
                    line.position(|one| std::ptr::eq(one, entry))
                });
                // What is to come has to be here before it does, also where nothing is in force yet.
                for coming in lines.of(tee).get(place.unwrap_or(0)..).unwrap_or_default() {
                    if let Ok(selection) = select(&coming.rule, vendor, None, now) {
                        wanted.insert(selection.number);
                    }
                }
                let (Some(entry), Some(place)) = (entry, place) else {
                    continue;
                };
                let reached = entry.reached();
                if let Ok(selection) = select(&entry.rule, vendor, reached, now) {
                    wanted.insert(selection.number);
                    if reached != Some(selection.number) {
                        let from = reached.unwrap_or(0);
                        moves.push((scope.into(), tee, place, from, selection.number));
                    }
                }
            }
        }
        let books = self.books.load_full();
        for (_, _, ledger) in books.ledgers() {
            if let Some(Rule::Intel(rule)) = ledger.draft().map(|draft| &draft.rule)
                && let Ok(selection) = select(rule, vendor, None, now)
            {
                wanted.insert(selection.number);
            }
        }
        // What a forecast looks at: standard, early, and what becomes standard soon.
        for choice in [Choice::Early, Choice::Standard] {
            wanted.extend(view.lists.choose(choice, now).map(|chosen| chosen.number));
        }
        let soon = view.lists.standard_moves(now, AHEAD_DAYS);
        wanted.extend(soon.into_iter().map(|(_, number)| number));
        wanted.retain(|number| !vendor.has_retired(*number, now));
        self.collateral().want_numbers(wanted);
        if moves.is_empty() || self.collateral().is_read_only() {
            return Ok(());
        }
        let due = self.due(&moves, vendor, now).await?;
        let mut rows = Vec::new();
        for (scope, tee, place, _, number) in due {
            let scope: Scope = scope.parse().expect("scopes came out of the books");
            if let Some(entry) = table.entry(scope.as_str(), tee, place) {
                rows.push(ReachedRow {
                    scope,
                    tee: BaselineTee::from(tee),
                    version: entry.version,
                    number,
                });
            }
        }
        // In the store first: what was served once is not taken back by a restart.
        self.note_reached(rows, now).await?;
        // An act may have made another table meanwhile: readers look at that one.
        self.table.load().raise(&self.reached.load());
        Ok(())
    }

    /// Those of the moves that are made now.
    async fn due(
        &self,
        moves: &[(Arc<str>, Tee, usize, EvaluationNumber, EvaluationNumber)],
        vendor: Vendor<'_>,
        now: UnixTime,
    ) -> Result<Vec<(Arc<str>, Tee, usize, EvaluationNumber, EvaluationNumber)>, StoreError> {
        let waits = moves
            .iter()
            .any(|(_, _, _, from, _)| *from > 0 && !vendor.has_retired(*from, now));
        let held: Vec<(Tee, Subject, EvaluationNumber, bool)> = if waits {
            let rows = self.store().keys().await?;
            let current = rows.iter().filter(|row| row.state == State::Current);
            current
                .filter_map(|row| {
                    let (subject, number) = Subject::of(&row.key)?;
                    // Version 2 ended with API version 3: no later number has one.
                    if matches!(subject, Subject::TcbInfo { version: 2, .. }) {
                        return None;
                    }
                    let policy = self.collateral().policy(row.key.kind());
                    let ends = policy.serve_expired.end(row.next_update);
                    Some((tee_of(subject), subject, number, now < ends))
                })
                .collect()
        } else {
            Vec::new()
        };
        let mut judged: HashMap<(Tee, EvaluationNumber, EvaluationNumber), bool> = HashMap::new();
        let due = moves.iter().filter(|(_, tee, _, from, to)| {
            if *from == 0 || vendor.has_retired(*from, now) {
                return true;
            }
            *judged.entry((*tee, *from, *to)).or_insert_with(|| {
                let of = |wanted: EvaluationNumber| {
                    let own = held
                        .iter()
                        .filter(move |(one, _, number, _)| one == tee && *number == wanted);
                    own.map(|(_, subject, _, servable)| (*subject, *servable))
                };
                let new: std::collections::HashSet<Subject> = of(*to)
                    .filter(|(_, servable)| *servable)
                    .map(|(subject, _)| subject)
                    .collect();
                let mut old = of(*from);
                // All there, or the old set is broken already.
                old.clone().all(|(subject, _)| new.contains(&subject))
                    || old.any(|(_, servable)| !servable)
            })
        });
        Ok(due.cloned().collect())
    }
}

/// The TEE whose baseline counts for a subject: the identity of a trust domain's quoting enclave goes with TDX, all others
/// with SGX.
pub const fn tee_of(subject: Subject) -> Tee {
    match subject {
        Subject::EnclaveIdentity { enclave } => match enclave {
            Enclave::TdQe => Tee::Tdx,
            Enclave::Qae | Enclave::Qe | Enclave::Qve => Tee::Sgx,
        },
        Subject::TcbInfo { tee, .. } => tee,
    }
}

/// `/tenants/default/...` is what everybody gets.
const DEFAULT: &str = "default";
/// What becomes standard within so many days is fetched ahead: as long as news of it are told.
const AHEAD_DAYS: u32 = 60;
