//! How the key server is asked: one certificate after the other, whoever's turn it is, as fast as the budgets allow.
//!
//! Two rules are kept, over restarts too: an upstream's budget, and one call in ten seconds for one chip and TCB, which
//! is written down before the call is made. Who waits is told what came of it; what is wanted ahead is tried again later.

use std::sync::Arc;
use std::time::Duration;

use thim_verify::UnixTime;
use thim_verify::amd::{Endorsement, Vcek, VcekKey};

use super::admitting::{Offered, OfferedAs};
use super::waiting::Next;
use super::{ChipAsk, Chips, describe};
use crate::admission::Refused;
use crate::clock::Clock;
use crate::collateral::Refusal;
use crate::store::{Batch, StoreError, WantedRow, WantedWrite};
use crate::upstream::{Fetched, Lane, VcekRequest};

/// What a step came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A call is under way, or something was settled without one.
    Done,
    /// Nobody waits and nothing is wanted.
    Idle,
    /// Nothing may be asked for before this has passed.
    Wait(Duration),
}

impl Chips {
    /// Waits until somebody joins the line, or something is wanted.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Lets the next one have its turn, if a call may be made now.
    pub async fn step(self: &Arc<Self>, clock: &Clock) -> Result<Step, StoreError> {
        // What one step finds in a budget, the next one is not to find too.
        let _one_at_a_time = self.stepping.lock().await;
        self.collateral.metrics().waiting(self.waiting());
        let now = clock.now();
        let mut wanted = self.store().wanted_vceks(now, WANTED_AT_ONCE).await?;
        wanted.retain(|row| {
            self.key_of(row)
                .is_none_or(|key| !self.line().is_flying(&key))
        });
        let next = self.line().next(!wanted.is_empty());
        let (key, row) = match next {
            None => return Ok(Step::Idle),
            Some(Next::Missed(key)) => (key, None),
            Some(Next::WantedAhead) => {
                let Some(row) = wanted.into_iter().next() else {
                    return Ok(Step::Idle);
                };
                match self.key_of(&row) {
                    Some(key) => (key, Some(row)),
                    None => {
                        // Facts about the product have changed: there is no such TCB any more.
                        self.settle_wanted(WantedWrite::Done(row)).await?;
                        return Ok(Step::Done);
                    }
                }
            }
        };
        if let Some(row) = &row
            && self.is_there(&key, now).await?
        {
            self.settle_wanted(WantedWrite::Done(row.clone())).await?;
            return Ok(Step::Done);
        }
        let Ok(permit) = Arc::clone(&self.flying).try_acquire_owned() else {
            return Ok(Step::Wait(BREATH));
        };
        if let Some(wait) = self.budget_wait().await {
            return Ok(Step::Wait(wait.min(BREATH)));
        }
        let name = self.call_name(&key);
        let wait = self
            .store()
            .note_vcek_call(&name, clock.now_millis(), INTERVAL_MILLIS)
            .await?;
        if wait > 0 {
            match row {
                None => self.line().defer(&key),
                Some(row) => {
                    let due = now.plus_secs((wait + 999) / 1000);
                    self.settle_wanted(WantedWrite::Tried(WantedRow { due, ..row }))
                        .await?;
                }
            }
            return Ok(Step::Wait(BREATH));
        }
        let Some(first) = self.reserve().await else {
            return Ok(Step::Wait(BREATH));
        };
        {
            let mut line = self.line();
            if row.is_some() {
                // So that whoever misses it meanwhile shares this call. A full line only means that nobody does.
                line.take_turn_ahead(&key, now);
            } else {
                line.fly(&key);
            }
        }
        let (this, clock) = (Arc::clone(self), clock.clone());
        tokio::spawn(async move {
            let _permit = permit;
            this.fly(key, row, first, &clock).await;
        });
        Ok(Step::Done)
    }

    /// How long until any upstream may be asked; none where one may be now.
    async fn budget_wait(&self) -> Option<Duration> {
        let mut shortest: Option<i64> = None;
        for source in self.collateral.kds().sources() {
            let wait = source.wait_millis(Lane::Miss).await;
            let wait = wait.unwrap_or(STORAGE_MILLIS);
            if wait <= 0 {
                return None;
            }
            shortest = Some(shortest.map_or(wait, |shortest| shortest.min(wait)));
        }
        let millis = shortest.unwrap_or(STORAGE_MILLIS);
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }

    /// Takes a call from the budget of the first source that has one to give: which one, in order. Taken here and not in
    /// the flight, or the next step would find the same call and send a flight after it that comes back with nothing.
    async fn reserve(&self) -> Option<usize> {
        for (place, source) in self.collateral.kds().sources().enumerate() {
            if source.reserve().await.is_ok() {
                return Some(place);
            }
        }
        None
    }

    /// One certificate, from the call to whoever waits for it. The source at `first` has given a call for it.
    async fn fly(
        self: Arc<Self>,
        key: VcekKey,
        row: Option<WantedRow>,
        first: usize,
        clock: &Clock,
    ) {
        // Should this task end early, nobody waits for ever.
        let landed = Landed {
            chips: &self,
            key: &key,
        };
        let result = self.ask(&key, first).await;
        let now = clock.now();
        if let Err(refusal) = &result {
            let until = now.plus_secs(refusal.remembered_secs());
            self.refusals
                .remember(ChipAsk::Vcek(key), refusal.clone(), until);
        }
        if let Some(row) = row {
            let write = match &result {
                Ok(()) => WantedWrite::Done(row),
                Err(refusal) => WantedWrite::Tried(again(row, refusal, now)),
            };
            if let Err(error) = self.settle_wanted(write).await {
                self.storage(&error);
            }
        }
        self.line().land(&key, result);
        drop(landed);
        self.wanted.notify_one();
    }

    /// Asks one source after the other until one gives what is admitted, from the `first` whose budget has a call.
    async fn ask(self: &Arc<Self>, key: &VcekKey, first: usize) -> Result<(), Refusal> {
        let what = || describe(&ChipAsk::Vcek(*key));
        let request = VcekRequest {
            key,
            line: self.products.facts(key.product).kds_line(),
        };
        let mut failures = Vec::new();
        for (place, source) in self.collateral.kds().sources().enumerate().skip(first) {
            let (result, turn) = source.vcek(&request, place == first).await;
            self.collateral.note_upstream(source, turn, &result).await;
            match result {
                Err(error) => failures.push(Refusal::from_fetch(what(), &error)),
                Ok(fetched) => match self.take(key, fetched).await {
                    Ok(()) => return Ok(()),
                    Err(refusal) => {
                        self.collateral.metrics().upstream(source.name(), "refused");
                        failures.push(refusal);
                    }
                },
            }
        }
        Err(Refusal::gravest(what(), failures))
    }

    /// Admits what an upstream sent for `key`, if it is that.
    async fn take(self: &Arc<Self>, key: &VcekKey, fetched: Fetched) -> Result<(), Refusal> {
        let untrusted = |why: String| Refusal::Untrusted {
            what: describe(&ChipAsk::Vcek(*key)),
            why,
        };
        let vcek = match Vcek::from_der(&fetched.body) {
            Ok(vcek) => vcek,
            Err(error) => {
                self.collateral
                    .quarantine(&fetched.url, None, &error, fetched.body, fetched.at)
                    .await
                    .map_err(|error| self.storage(&error))?;
                return Err(untrusted(error.to_string()));
            }
        };
        let offered = Offered {
            leaf: Endorsement::Vcek(vcek),
            offered: OfferedAs::Answer(*key),
            source: &fetched.url,
            at: fetched.at,
        };
        match self.offer(offered).await {
            Ok(_) => Ok(()),
            Err(Refused::Store(error)) => Err(self.storage(&error)),
            Err(refused @ (Refused::Future(_) | Refused::Judged(_) | Refused::Unverified(_))) => {
                Err(untrusted(refused.to_string()))
            }
        }
    }

    /// What is wanted, as it is asked for; none where the product has no such chip or TCB any more.
    fn key_of(&self, row: &WantedRow) -> Option<VcekKey> {
        let facts = self.products.facts(row.product);
        let fits = row.hw_id.as_bytes().len() == facts.hw_id_bytes();
        Some(VcekKey {
            product: row.product,
            hw_id: row.hw_id,
            tcb: row.tcb.decode(facts).ok().filter(|_| fits)?,
        })
    }

    async fn settle_wanted(&self, write: WantedWrite) -> Result<(), StoreError> {
        self.collateral
            .commit(&Batch {
                wanted: vec![write],
                ..Batch::default()
            })
            .await
    }
}

/// Lands a flight that ended without a word.
struct Landed<'a> {
    chips: &'a Chips,
    key: &'a VcekKey,
}

impl Drop for Landed<'_> {
    fn drop(&mut self) {
        let lost = Refusal::Busy {
            retry_after_secs: 1,
        };
        self.chips.line().land(self.key, Err(lost));
    }
}

/// When to try again what was wanted ahead and did not come.
fn again(row: WantedRow, refusal: &Refusal, now: UnixTime) -> WantedRow {
    let (outcome, wait) = match refusal {
        // The chip has not had this TCB, or the key server does not know it yet.
        Refusal::Absent { .. } => ("absent", 6 * HOUR),
        Refusal::Throttled {
            retry_after_secs, ..
        } => ("throttled", *retry_after_secs),
        Refusal::Untrusted { .. } => ("untrusted", HOUR),
        Refusal::Busy { .. }
        | Refusal::Expired { .. }
        | Refusal::NotHeld { .. }
        | Refusal::Retired { .. }
        | Refusal::Storage
        | Refusal::Unavailable { .. }
        | Refusal::Version3 { .. } => ("unavailable", 60),
    };
    let tries = row.tries.saturating_add(1);
    let longer = wait.max(10) << tries.min(6);
    WantedRow {
        due: now.plus_secs(if outcome == "throttled" {
            wait.max(10)
        } else {
            longer.min(DAY)
        }),
        tries,
        outcome: outcome.to_owned(),
        ..row
    }
}

/// "1 request per 10 s for the same (hwid, TCB)": spec/amd-kds-and-thim.md 1.6.
pub(super) const INTERVAL_MILLIS: i64 = 10_000;
/// Calls under way at once; each source's own limit is lower.
pub(super) const FLYING: usize = 8;
/// Rows looked at in one step: as many as may be under way, and one more.
const WANTED_AT_ONCE: u32 = FLYING as u32 + 1;
/// A clock may be moved by hand, so nobody sleeps longer than this before looking at it again.
const BREATH: Duration = Duration::from_millis(250);
/// A store that failed is tried again after this long.
const STORAGE_MILLIS: i64 = 5_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
