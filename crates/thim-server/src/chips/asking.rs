//! The story of a request for a chip's certificate, top to bottom: what is ready in memory, what the store has and
//! still verifies, and else the line before the key server.
//!
//! A miss waits as long as its turn is near. Otherwise it is told when to come back, and keeps its place: the key server
//! gives one certificate in ten seconds, and a fleet that starts asks for hundreds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thim_verify::amd::{
    CertChain, Endorsement, EndorsementKind, Product, TcbVersion, Vcek, VcekKey, VerifiedAmd, Vlek,
    VlekKey, verify_vcek, verify_vlek,
};
use thim_verify::{ArtefactKey, Error, UnixTime};

use super::answer::Endorsed;
use super::waiting::Place;
use super::{ChipAsk, Chips, ReadyEndorsement, describe};
use crate::collateral::{Ask, Refusal};
use crate::sentinel::{Remark, Severity, State};
use crate::store::{Batch, EndorsementRow};
use crate::upstream::Source;

/// A certificate to serve.
pub struct Found {
    /// The prepared answers.
    pub ready: Arc<ReadyEndorsement>,
    /// True where it was in memory before the request came.
    pub hit: bool,
}

impl Chips {
    /// The answer at `now` from memory: no disk, no waiting.
    pub fn peek(&self, ask: &ChipAsk, now: UnixTime) -> Option<Found> {
        let ready = self.ready.get(ask)?;
        let holds = ready.epoch == self.epoch() && ready.holds_at(now);
        holds.then_some(Found { ready, hit: true })
    }

    /// The answer at `now`, from wherever it is to be had.
    ///
    /// # Errors
    /// [`Refusal`], none of which names the chip.
    pub async fn answer(self: &Arc<Self>, ask: &ChipAsk, now: UnixTime) -> Result<Found, Refusal> {
        if let Some(found) = self.peek(ask, now) {
            return Ok(found);
        }
        self.served(ask.product())?;
        if let Some(found) = self.look_up(ask, now).await? {
            return Ok(found);
        }
        if let Some(failure) = self.refusals.recent_failure(ask, now) {
            return Err(failure);
        }
        let key = match ask {
            ChipAsk::Vcek(key) => key,
            ChipAsk::Vlek(_) => {
                return Err(Refusal::NotHeld {
                    what: describe(ask),
                    why: "AMD gives it to the cloud alone, so it has to be imported",
                });
            }
        };
        if key.hw_id.is_zero() {
            return Err(Refusal::Absent {
                what: "a chip id of zeros: the host masks it, or signs with a VLEK".to_owned(),
            });
        }
        if let Some(why) = self.collateral.why_no_vcek_is_asked() {
            return Err(Refusal::NotHeld {
                what: describe(ask),
                why,
            });
        }
        self.wait_in_line(key, now).await?;
        // Time has passed: AMD's certificates may begin at the second in which they are signed.
        let edges = self.collateral.kds().sources().map(Source::now);
        let now = edges.fold(now, UnixTime::max);
        match self.look_up(ask, now).await? {
            Some(found) => Ok(found),
            // It came, and something about it changed at once.
            None => Err(Refusal::Busy {
                retry_after_secs: 1,
            }),
        }
    }

    /// Takes a place in line, and waits for its turn where that is near.
    async fn wait_in_line(self: &Arc<Self>, key: &VcekKey, now: UnixTime) -> Result<(), Refusal> {
        let registered = self
            .store()
            .is_registered(key.product, &key.hw_id)
            .await
            .map_err(|error| self.storage(&error))?;
        let place = self.line().join(*key, registered, now);
        let Some(Place { ahead, landing }) = place else {
            return Err(Refusal::Busy {
                retry_after_secs: CROWDED_SECS,
            });
        };
        // It may have come after it was looked for and before this place was taken: then nobody is to ask again, nor to be
        // sent away by the length of a line that it is not in.
        if self.look_up(&ChipAsk::Vcek(*key), now).await?.is_some() {
            self.line().land(key, Ok(()));
            return Ok(());
        }
        self.wanted.notify_one();
        let wait = self.estimate_secs(ahead).await?;
        let later = |why: &str| Refusal::Throttled {
            what: describe(&ChipAsk::Vcek(*key)),
            why: format!("{why}; {ahead} are asked for before it"),
            retry_after_secs: wait.clamp(1, RETRY_SECS),
        };
        // Its turn may have come while that was reckoned, and the budget is used up by its own call.
        let settled = self.line().is_flying(key) || landing.borrow().is_some();
        if wait > PATIENCE.as_secs().cast_signed() && !settled {
            return Err(later("its turn at the key server is not near"));
        }
        let mut landing = landing;
        let landed = tokio::time::timeout(PATIENCE, landing.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(result)) => match result.as_ref() {
                Some(Err(refusal)) => Err(refusal.clone()),
                Some(Ok(())) | None => Ok(()),
            },
            // The line was emptied.
            Ok(Err(_)) => Err(later("it was not asked for")),
            Err(_) => Err(later("the key server has not answered yet")),
        }
    }

    /// In how many seconds somebody with so many before him has his turn, as far as one can tell.
    async fn estimate_secs(&self, ahead: usize) -> Result<i64, Refusal> {
        let mut soonest: Option<i64> = None;
        for source in self.collateral.kds().sources() {
            let wait = match source.wait_millis(crate::upstream::Lane::Miss).await {
                Ok(wait) => wait.max(0),
                Err(_) => return Err(Refusal::Storage),
            };
            let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
            let own = wait.saturating_add(ahead.saturating_mul(source.interval_millis()));
            soonest = Some(soonest.map_or(own, |soonest| soonest.min(own)));
        }
        Ok((soonest.unwrap_or(0) + 999) / 1000)
    }

    /// Makes ready what the store has for this, if it verifies and holds.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        ask: &ChipAsk,
        now: UnixTime,
    ) -> Result<Option<Found>, Refusal> {
        // Read before anything that it stands for.
        let epoch = self.epoch();
        let rows = self.held(ask).await.map_err(|error| self.storage(&error))?;
        let current = rows.into_iter().rev().find(|row| {
            matches!(row.state, State::Current | State::Superseded)
                && row.not_before <= now
                && now <= row.not_after
        });
        let Some(row) = current else { return Ok(None) };
        let chain = self.chain(ask.product(), ask.kind(), now).await?;
        let leaf = match self.verify_row(ask, &row, &chain, now) {
            Ok(leaf) => leaf,
            Err(error) => {
                self.stop(ask, &row, &error, now).await?;
                return Ok(None);
            }
        };
        let endorsed = Endorsed {
            leaf,
            tcb: row.tcb,
            chain,
            admitted: row.admitted,
            epoch,
        };
        let max_age = self.config.max_age.secs().clamp(1, DAY);
        let ready = Arc::new(ReadyEndorsement::new(endorsed, max_age));
        if !ready.holds_at(now) {
            return Ok(None);
        }
        self.ready.insert(*ask, Arc::clone(&ready));
        self.refusals.forget(ask);
        Ok(Some(Found { ready, hit: false }))
    }

    /// Every certificate that was admitted for this, the one that starts first before the others.
    pub(crate) async fn held(
        &self,
        ask: &ChipAsk,
    ) -> Result<Vec<EndorsementRow>, crate::store::StoreError> {
        let Ok(tcb) = self.tcb_version(ask) else {
            return Ok(Vec::new());
        };
        match ask {
            ChipAsk::Vcek(key) => self.store().vceks(key, tcb).await,
            ChipAsk::Vlek(key) => self.store().vleks(key.product, tcb).await,
        }
    }

    /// The TCB asked for, as a report has it.
    pub(super) fn tcb_version(&self, ask: &ChipAsk) -> Result<TcbVersion, Error> {
        let facts = self.products.facts(ask.product());
        let tcb = match ask {
            ChipAsk::Vcek(key) => key.tcb,
            ChipAsk::Vlek(key) => key.tcb,
        };
        tcb.to_u64(facts).map(TcbVersion)
    }

    /// The chain in force, fetched where there is none.
    pub(super) async fn chain(
        &self,
        product: Product,
        kind: EndorsementKind,
        now: UnixTime,
    ) -> Result<Arc<VerifiedAmd<CertChain>>, Refusal> {
        if let Some(chain) = self.collateral.amd().chain(product, kind) {
            return Ok(chain);
        }
        let key = ArtefactKey::AmdCertChain { product, kind };
        self.collateral.answer(Ask::Artefact(key), now).await?;
        // It is put in force when it is admitted; an answer without that is one that has just been taken back.
        self.collateral
            .amd()
            .chain(product, kind)
            .ok_or(Refusal::Busy {
                retry_after_secs: 1,
            })
    }

    /// Verifies what the store gave: it is not trusted on the way out.
    fn verify_row(
        &self,
        ask: &ChipAsk,
        row: &EndorsementRow,
        chain: &VerifiedAmd<CertChain>,
        now: UnixTime,
    ) -> Result<Endorsement, Error> {
        let crl = self.collateral.amd().crl(ask.product(), ask.kind());
        match ask {
            ChipAsk::Vcek(key) => {
                let vcek = Vcek::from_der(&row.der)?;
                let verified = verify_vcek(vcek, key, chain, crl.as_deref(), &self.products, now)?;
                Ok(Endorsement::Vcek(verified.into_inner()))
            }
            ChipAsk::Vlek(key) => {
                let vlek = Vlek::from_der(&row.der)?;
                let verified = verify_vlek(vlek, key, chain, crl.as_deref(), &self.products, now)?;
                Ok(Endorsement::Vlek(verified.into_inner()))
            }
        }
    }

    /// A stored certificate does not verify any more: it is never served again, and somebody should look.
    async fn stop(
        &self,
        ask: &ChipAsk,
        row: &EndorsementRow,
        error: &Error,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        self.ready.remove(ask);
        // An authority that is revoked takes its chain with it, which says so; another chain may yet be had.
        if self.collateral.is_read_only() || matches!(error, Error::Revoked { .. }) {
            return Ok(());
        }
        let text = format!(
            "{} ({}) does not verify on the way out: {error}",
            describe(ask),
            row.digest.short()
        );
        let remark = Remark::new("vcek.stopped", Severity::Alarm, text);
        let batch = Batch {
            endorsement_states: vec![(row.digest, State::Quarantined)],
            events: vec![crate::admission::event(now, remark, None, None)],
            ..Batch::default()
        };
        let written = self.collateral.commit(&batch).await;
        written.map_err(|error| self.storage(&error))
    }

    pub(super) fn epoch(&self) -> u64 {
        self.collateral.endorsement_epoch.load(Ordering::SeqCst)
    }
}

/// A VLEK is asked for by whoever has a report that one signed.
impl From<VlekKey> for ChipAsk {
    fn from(key: VlekKey) -> Self {
        Self::Vlek(key)
    }
}

impl From<VcekKey> for ChipAsk {
    fn from(key: VcekKey) -> Self {
        Self::Vcek(key)
    }
}

const DAY: i64 = 24 * 3600;
/// "Misses answer within a bounded time": 10 s with some to spare. What is asked for is fetched without the caller.
const PATIENCE: Duration = Duration::from_millis(9_000);
/// The line is full of others.
const CROWDED_SECS: i64 = 60;
/// Nobody is sent away for longer than this: estimates are no promises, and a line may shorten.
const RETRY_SECS: i64 = 3600;
