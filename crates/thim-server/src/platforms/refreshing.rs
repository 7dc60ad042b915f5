//! PCCS's `refresh`: everything that is kept fresh, or the certificates of platforms, fetched again now, while somebody
//! waits for the outcome (`spec/intel-pcs-and-pccs.md` sections 2.10 and 5.2).
//!
//! One thing that fails keeps nothing else from being refreshed, and the outcome names it. Whoever waits does so for a
//! bounded time; what is not done then goes on in the background, since platforms stay due until they are fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use thim_verify::{ArtefactKey, Fmspc};
use tokio::time::Instant;

use super::{Cause, PlatformRefusal, Platforms};
use crate::clock::Clock;
use crate::collateral::{Ask, Refusal};
use crate::refresh::{self, Step};
use crate::upstream::Fill;

/// Why not everything is fresh.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefreshRefused {
    /// Time is over; the rest goes on.
    #[error("{done} of {total} {what} are refreshed, the others are not yet")]
    Busy {
        /// How many are done.
        done: u64,
        /// Of how many.
        total: u64,
        /// Of what.
        what: &'static str,
    },
    /// Collateral that the vendor did not give.
    #[error("{what}: {refusal}")]
    Collateral {
        /// Which.
        what: String,
        /// Why.
        refusal: Refusal,
    },
    /// Nobody is asked.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A platform that the vendor gave no certificates for.
    #[error(transparent)]
    Platform(#[from] PlatformRefusal),
}

impl Platforms {
    /// Asks for all collateral that is kept fresh.
    ///
    /// # Errors
    /// The first thing that is not fresh now; the others were asked for all the same.
    pub async fn refresh_collateral(
        &self,
        clock: &Clock,
        patience: Duration,
    ) -> Result<(), RefreshRefused> {
        self.may_refresh()?;
        let steps = refresh::plan(&self.collateral, clock.now(), true)
            .await
            .map_err(|error| self.storage(&error))?;
        let total = steps.len() as u64;
        // The root CRL first, then the lists: what follows is judged and chosen by them.
        let (root_crl, steps): (Vec<Step>, Vec<Step>) = steps
            .into_iter()
            .partition(|step| step.ask == Ask::Artefact(ArtefactKey::RootCrl));
        let (lists, rest): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| {
            matches!(
                step.ask,
                Ask::Artefact(ArtefactKey::EvaluationNumbers { .. })
            )
        });
        let done = AtomicU64::new(0);
        let all = async {
            let mut failed = None;
            for group in [root_crl, lists, rest] {
                let mut outcomes = futures_util::stream::iter(group)
                    .map(|step| async {
                        let outcome = refresh::execute(&self.collateral, &step, clock.now()).await;
                        (step.subject, outcome)
                    })
                    .buffered(AT_ONCE);
                while let Some((what, outcome)) = outcomes.next().await {
                    done.fetch_add(1, Ordering::Relaxed);
                    match outcome {
                        Ok(()) => {}
                        // The vendor's word that there is none, or none any more, is an answer.
                        Err(Refusal::Absent { .. } | Refusal::Retired { .. }) => {}
                        Err(refusal) => {
                            failed.get_or_insert(RefreshRefused::Collateral { what, refusal });
                        }
                    }
                }
            }
            failed
        };
        match tokio::time::timeout(patience, all).await {
            Ok(None) => Ok(()),
            Ok(Some(refused)) => Err(refused),
            Err(_) => Err(RefreshRefused::Busy {
                done: done.load(Ordering::Relaxed),
                total,
                what: "things",
            }),
        }
    }

    /// Fetches the certificates of every platform of these FMSPCs again; of all platforms without any.
    ///
    /// # Errors
    /// The first platform whose list did not come; the others were fetched all the same.
    pub async fn refresh_certificates(
        self: &Arc<Self>,
        fmspcs: &[Fmspc],
        clock: &Clock,
        patience: Duration,
    ) -> Result<(), RefreshRefused> {
        self.may_refresh()?;
        let until = Instant::now() + patience;
        let since = clock.now();
        let failed = |error| RefreshRefused::Platform(self.storage(&error));
        // Whoever writes a platform's row meanwhile would write back when it was due before.
        let changing = self.admission.lock().await;
        let total = if fmspcs.is_empty() {
            self.store().platforms_make_due(None, since).await
        } else {
            let mut total = 0;
            for fmspc in fmspcs {
                total += self
                    .store()
                    .platforms_make_due(Some(*fmspc), since)
                    .await
                    .map_err(failed)?;
            }
            Ok(total)
        }
        .map_err(failed)?;
        drop(changing);
        let mut refused: Option<PlatformRefusal> = None;
        let mut vendor_is_there = true;
        while vendor_is_there
            && self
                .store()
                .unfetched(fmspcs, since)
                .await
                .map_err(failed)?
                .due
                > 0
        {
            let Ok(round) = tokio::time::timeout_at(until, self.fetch_due(clock)).await else {
                break;
            };
            let round = round.map_err(failed)?;
            if round.fetched == 0 && round.failed.is_empty() {
                break;
            }
            for (id, refusal) in round.failed {
                // The others would hear the same, each after its time.
                vendor_is_there &= !matches!(
                    refusal.cause,
                    Cause::VendorThrottled | Cause::VendorUnavailable | Cause::ApiKeyRefused
                );
                refused.get_or_insert(refusal.of(&id));
            }
        }
        let left = self
            .store()
            .unfetched(fmspcs, since)
            .await
            .map_err(failed)?;
        if vendor_is_there && left.due > 0 {
            return Err(RefreshRefused::Busy {
                done: total.saturating_sub(left.due),
                total,
                what: "platforms",
            });
        }
        if refused.is_none() && left.count > 0 {
            // The background was at work too, and it heard the refusal.
            refused = self.refused_since(fmspcs, since).await.map_err(failed)?;
        }
        match refused {
            Some(refusal) => Err(RefreshRefused::Platform(told(refusal, left.count, total))),
            None => Ok(()),
        }
    }

    async fn refused_since(
        &self,
        fmspcs: &[Fmspc],
        since: thim_verify::UnixTime,
    ) -> Result<Option<PlatformRefusal>, crate::store::StoreError> {
        let Some(id) = self.store().failed_since(fmspcs, since).await? else {
            return Ok(None);
        };
        let row = self.store().platform(&id).await?;
        Ok(row.map(|row| PlatformRefusal::new(row.cause, row.detail).of(&row.id)))
    }

    fn may_refresh(&self) -> Result<(), RefreshRefused> {
        let collateral = &self.collateral;
        let why = if collateral.is_read_only() {
            "this is a read-only view of the past"
        } else if collateral.fill() == Fill::Offline {
            "nothing is fetched in fill mode offline"
        } else if collateral.intel().is_empty() {
            "no upstream is configured"
        } else {
            return Ok(());
        };
        Err(RefreshRefused::Forbidden(why))
    }
}

/// The refusal of one platform as the outcome of a refresh of many.
fn told(refusal: PlatformRefusal, failed: u64, total: u64) -> PlatformRefusal {
    let platform = refusal.platform.as_deref().unwrap_or("-");
    PlatformRefusal {
        detail: format!(
            "{failed} of {total} platforms are not refreshed; {platform}: {}",
            refusal.detail
        ),
        ..refusal
    }
}

/// Steps in flight; the upstream's own concurrency limit is below.
const AT_ONCE: usize = 2;
