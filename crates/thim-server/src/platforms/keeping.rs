//! What happens while nobody asks: platforms are fetched again when they are due, all of them after a TCB recovery
//! event, by manifest and within the upstream's budget; and certificates that a CRL names are told of.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use thim_verify::{Artefact, Content, Digest, PckCa, RawTcb, UnixTime, Verified};

use super::fetching::Fetch;
use super::{Cause, PlatformRefusal, PlatformState, Platforms};
use crate::clock::Clock;
use crate::sentinel::{Remark, Severity};
use crate::store::{Batch, PlatformRow, StoreError};
use crate::upstream::{Fill, Lane};

/// What a round of fetching came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Round {
    /// Platforms whose list came.
    pub fetched: u64,
    /// Platforms whose list did not come, each with the reason.
    pub failed: Vec<(String, PlatformRefusal)>,
    /// True where more are due.
    pub more: bool,
}

impl Platforms {
    /// Time decides: a new evaluation number makes every platform due, a new CRL marks certificates. Called about once
    /// a second, and by tests that move the clock.
    pub async fn tick(&self, now: UnixTime) -> Result<(), StoreError> {
        if self.collateral.is_read_only() {
            return Ok(());
        }
        for ca in PckCa::ALL {
            self.judge_revocations(ca, now).await?;
        }
        let counted = self.counted.load(Ordering::SeqCst);
        if now.secs() >= counted + COUNT_SECS || now.secs() < counted {
            self.counted.store(now.secs(), Ordering::SeqCst);
            let counts = self.store().platform_counts().await?;
            self.collateral.metrics().platforms(&counts);
        }
        let number = self.collateral.highest_number(now);
        let known = self.highest_number.load(Ordering::SeqCst);
        if number > known && self.collateral.fill() != Fill::Offline {
            let due = {
                let _one_at_a_time = self.admission.lock().await;
                self.store().platforms_recovered(number, now).await?
            };
            self.highest_number.store(number, Ordering::SeqCst);
            if due > 0 {
                let text =
                    format!("evaluation number {number}: {due} platforms are to be fetched again");
                self.tell("platform.recovery", Severity::Info, text, now)
                    .await?;
            }
        }
        Ok(())
    }

    /// Fetches the platforms that are due, one after the other, a bounded number a round.
    pub async fn fetch_due(self: &Arc<Self>, clock: &Clock) -> Result<Round, StoreError> {
        let mut round = Round::default();
        if !self.collateral.may_ask() {
            return Ok(round);
        }
        let due = self.store().platforms_due(clock.now(), ROUND).await?;
        round.more = due.len() == ROUND as usize;
        for row in due {
            // Waited for here and not in the flight, which somebody may want to join.
            if let Some(source) = self.collateral.intel().bases().next() {
                source.pace(Lane::Background).await;
            }
            match self.fetch_again(&row, clock.now()).await? {
                Ok(()) => round.fetched += 1,
                Err(refusal) => {
                    let wait = matches!(
                        refusal.cause,
                        Cause::VendorThrottled | Cause::VendorUnavailable | Cause::ApiKeyRefused
                    );
                    round.failed.push((row.id, refusal));
                    if wait {
                        // The others would hear the same.
                        break;
                    }
                }
            }
        }
        Ok(round)
    }

    pub(super) async fn fetch_again(
        self: &Arc<Self>,
        row: &PlatformRow,
        now: UnixTime,
    ) -> Result<Result<(), PlatformRefusal>, StoreError> {
        let result = match self.material_of(row) {
            None => Err(PlatformRefusal::new(
                Cause::ManifestStale,
                "what it was registered with cannot be read; it has to be registered again",
            )),
            Some(material) => {
                self.fetch_in_time(Fetch {
                    material,
                    pce_id: row.pce_id,
                    of: Some(row.id.clone()),
                    origin: row.origin,
                    lane: Lane::Background,
                    now,
                    name: None,
                })
                .await
            }
        };
        let refusal = match result {
            Ok(id) => {
                if let Some(fmspc) = self.store().platform(&id).await?.and_then(|row| row.fmspc) {
                    // So that the first to ask under a new number finds what certificates are chosen by.
                    let _ = self.collateral.selection_levels(fmspc, true, now).await;
                }
                return Ok(Ok(()));
            }
            Err(refusal) => refusal,
        };
        self.note_failure(&row.id, &refusal, now).await?;
        let state = refusal.cause.state();
        if matches!(state, PlatformState::NeedsManifest | PlatformState::Refused)
            && row.cause != refusal.cause
        {
            let text = format!(
                "platform {} could not be fetched again; what it has goes on being served. {refusal}",
                row.id
            );
            self.tell("platform.refetch-failed", Severity::Warning, text, now)
                .await?;
        }
        Ok(Err(refusal))
    }

    /// Compares the certificates of the register with the CRL in force, once a CRL.
    async fn judge_revocations(&self, ca: PckCa, now: UnixTime) -> Result<(), StoreError> {
        let Some(crl) = self.collateral.pck_crl(ca) else {
            return Ok(());
        };
        let judged = &self.judged_crls[ca as usize];
        if *judged.lock().unwrap_or_else(PoisonError::into_inner) == Some(crl.id()) {
            return Ok(());
        }
        let Content::Crl(list) = crl.content() else {
            return Ok(());
        };
        let this_update = crl.issued();
        let serials: Vec<String> = list
            .serials()
            .map(|serial| data_encoding::HEXLOWER.encode(serial))
            .collect();
        let named = self.store().pck_by_serials(ca, &serials).await?;
        let marked = self.store().pck_revoked(ca).await?;
        let named_now: BTreeSet<(&str, Digest)> = named
            .iter()
            .map(|(platform, row)| (platform.as_str(), row.digest))
            .collect();
        let mut batch = Batch::default();
        for (platform, row) in named.iter().filter(|(_, row)| row.revoked.is_none()) {
            let remark = revoked(platform, row.digest, row.tcbm, &crl);
            batch
                .events
                .push(crate::admission::event(now, remark, None, None));
            batch
                .pck_revoked
                .push((platform.clone(), row.digest, Some(this_update)));
        }
        for (platform, row) in &marked {
            if !named_now.contains(&(platform.as_str(), row.digest)) {
                let text = format!(
                    "certificate {} (level {}) of platform {platform} is no longer named by the {ca} CRL of {this_update}",
                    row.digest.short(),
                    row.tcbm
                );
                let remark = Remark::new("pck.unrevoked", Severity::Warning, text);
                batch
                    .events
                    .push(crate::admission::event(now, remark, None, None));
                batch.pck_revoked.push((platform.clone(), row.digest, None));
            }
        }
        if !batch.pck_revoked.is_empty() {
            self.collateral.commit(&batch).await?;
        }
        *judged.lock().unwrap_or_else(PoisonError::into_inner) = Some(crl.id());
        Ok(())
    }
}

/// What is told of a certificate that a CRL names.
pub(super) fn revoked(
    platform: &str,
    digest: Digest,
    tcbm: RawTcb,
    crl: &Verified<Artefact>,
) -> Remark {
    let text = format!(
        "certificate {} (level {tcbm}) of platform {platform} is revoked by {} of {}",
        digest.short(),
        crl.key(),
        crl.issued()
    );
    Remark::new("pck.revoked", Severity::Alarm, text)
}

/// Counting a million platforms takes a moment.
const COUNT_SECS: i64 = 30;
/// Platforms fetched in one round; the next one begins a few seconds later.
const ROUND: u32 = 200;
